#!/bin/sh
# An agent with mosquitto's clients: answers its wakes, then sends a heartbeat every 5 s. Ends with its terminal.
#
# usage: ROLLCALL_HOST=HOST ROLLCALL_MQTT_PORT=PORT agent-mosquitto.sh GATEWAY/AGENT TOKEN-FILE
set -eu
name=$1 file=$2
client() {
    program=$1 part=$2
    shift 2
    "$program" -h "$ROLLCALL_HOST" -p "$ROLLCALL_MQTT_PORT" -i "$name~$part" -u "$name" -P "$(cat "$file")" "$@"
}
beat() { client mosquitto_pub beat -t "rollcall/v1/agents/$name/heartbeat" -q 1 "$@"; }

beating=
client mosquitto_sub wakes -q 1 -t "rollcall/v1/agents/$name/wake" | {
    # A shell shields what it starts with & from Ctrl-C: a heartbeat must not outlive its agent.
    trap '[ -z "$beating" ] || kill "$beating" 2>/dev/null || true' EXIT
    trap 'exit' HUP INT TERM
    while read -r wake; do
        beat -n
        [ -n "$beating" ] || { while sleep 5; do beat -m '{"status":"ok"}' || true; done & beating=$!; }
    done
}
