#!/bin/sh
# An agent with curl alone: a heartbeat every SECONDS (default 5). It cannot be woken; whoever starts it is its host.
#
# usage: ROLLCALL_HTTP=http://HOST:PORT agent-curl.sh TOKEN-FILE [SECONDS]
set -eu
while :; do
    # The token goes through a file descriptor: arguments can be read by everybody on the machine.
    status=$(printf 'X-Agent-Token: %s' "$(cat "$1")" |
        curl -sS -m 10 -o /dev/null -w '%{http_code}' -H @- -X POST "$ROLLCALL_HTTP/api/v1/agent/heartbeat") || status=0
    case $status in
        200) ;;
        401 | 422) echo "refused with $status: see the agent's record" >&2 && exit 1 ;;
        *) echo "no answer that counts ($status): trying again" >&2 ;;
    esac
    sleep "${2:-5}"
done
