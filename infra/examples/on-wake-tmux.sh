#!/bin/sh
# For `--on-wake`: the command in a tmux session named after the agent, where a person can look in:
# `tmux -L rollcall attach -t GATEWAY-AGENT`. It runs as long as the session, and ends it when it is ended.
#
# usage: rollcall gateway GW ... --on-wake 'exec /path/on-wake-tmux.sh my-agent --flag'
set -eu
command -v tmux >/dev/null || { echo "tmux is not installed" >&2 && exit 127; }
# tmux takes `.` and `:` in a name for its own.
session=$(printf '%s' "$ROLLCALL_AGENT" | tr '/.:' '---')
tmux() { command tmux -L rollcall "$@"; }
tmux kill-session -t "=$session" 2>/dev/null || true
trap 'tmux kill-session -t "=$session" 2>/dev/null || true' EXIT
trap 'exit 143' HUP INT TERM
tmux new-session -d -s "$session" -c "$PWD" -e "ROLLCALL_AGENT=$ROLLCALL_AGENT" -e "ROLLCALL_WAKE=$ROLLCALL_WAKE" "$@"
while tmux has-session -t "=$session" 2>/dev/null; do
    # In the background: a signal is taken at once, not when sleep ends.
    sleep 1 & wait $!
done
