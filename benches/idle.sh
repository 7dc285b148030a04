#!/usr/bin/env bash
# What an agent costs that has nothing to do: `backstop run` with the embedded default.
#
#   benches/idle.sh [SECONDS]        default 60; builds the release binary first
#
# Prints, for one run: milliseconds from start to `/-/ready`, resident memory, CPU as a share of one core, and what it
# wrote to disk per minute, counted after a warm-up of SECONDS. Figures come from /proc, so only Linux.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
cargo build --release --locked --quiet
folder=$(mktemp -d)
trap 'kill "$agent" 2>/dev/null || true; wait "$agent" 2>/dev/null || true; rm -rf "$folder"' EXIT
agent=
begin=$(date +%s%N)
program=$PWD/target/release/backstop
cd "$folder"
env -u BACKSTOP_CONFIG -u BACKSTOP_STATE XDG_STATE_HOME="$folder" "$program" run >"$folder/log" 2>&1 &
agent=$!
until curl -fsS -o /dev/null http://127.0.0.1:9477/-/ready 2>/dev/null; do
    kill -0 "$agent" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
done
echo "ready after       $((($(date +%s%N) - begin) / 1000000)) ms"
busy() { awk '{sum += $1} END {printf "%.0f", sum}' /proc/"$agent"/task/*/schedstat; } # nanoseconds
written() { awk '/^write_bytes/ {print $2}' "/proc/$agent/io"; }
sleep "$seconds"
cpu=$(busy) disk=$(written)
sleep "$seconds"
cpu=$(($(busy) - cpu)) disk=$(($(written) - disk))
awk -v c="$cpu" -v s="$seconds" 'BEGIN {printf "CPU               %.3f %% of a core\n", 100 * c / 1e9 / s}'
awk '/^VmRSS/ {printf "resident memory   %.1f MiB\n", $2 / 1024}' "/proc/$agent/status"
awk '/^VmHWM/ {printf "at its highest    %.1f MiB\n", $2 / 1024}' "/proc/$agent/status"
awk -v d="$disk" -v s="$seconds" 'BEGIN {printf "written to disk   %.3f MiB/min\n", d / 1048576 * 60 / s}'
