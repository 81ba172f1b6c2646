#!/bin/sh
# For `--on-wake`: one turn of an OpenClaw agent for each wake, by its command line; then a heartbeat for as long as its
# gateway answers. The call is `openclaw agent --agent ID --message TEXT`; OPENCLAW names another program.
#
# usage: rollcall gateway GW ... --on-wake 'exec /path/on-wake-openclaw.sh'
set -eu
openclaw=${OPENCLAW:-openclaw}
command -v "$openclaw" >/dev/null || { echo "$openclaw is not installed, or not in PATH" >&2 && exit 127; }
id=${ROLLCALL_AGENT#*/}
"$openclaw" agent --agent "$id" --message "Read the files in $PWD and carry on (wake $ROLLCALL_REASON)." || exit $?
# The runtime sends heartbeats while this runs. It ends, and the agent lapses, when the gateway is not healthy any more.
while "$openclaw" health >/dev/null; do
    sleep 10 & wait $!
done
exit 1
