#!/bin/sh
# For `--on-wake`: a container for each agent, by podman or docker (ROLLCALL_ENGINE names another). The agent's directory is
# its working directory. A container that an earlier life of the runtime left is removed first.
#
# usage: rollcall gateway GW ... --on-wake 'exec /path/on-wake-container.sh IMAGE [COMMAND...]'
set -eu
engine=${ROLLCALL_ENGINE:-}
if [ -z "$engine" ]; then
    for engine in podman docker none; do command -v "$engine" >/dev/null && break; done
fi
[ "$engine" != none ] || { echo "neither podman nor docker is installed" >&2 && exit 127; }
name=rollcall-$(printf '%s' "$ROLLCALL_AGENT" | tr '/' '-')
"$engine" rm -f "$name" >/dev/null 2>&1 || true
# --init: signals reach the command also when it is a shell.
exec "$engine" run --rm --init --name "$name" -v "$PWD:/agent" -w /agent \
    -e ROLLCALL_AGENT -e ROLLCALL_GENERATION -e ROLLCALL_ATTEMPT -e ROLLCALL_REASON -e ROLLCALL_WAKE "$@"
