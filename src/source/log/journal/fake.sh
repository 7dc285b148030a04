#!/bin/sh
# A journalctl for tests. Entries are in the file `journal` beside the link by which it is called, one a line: number,
# tab, JSON. The files `refuse`, `die`, `die-once`, `hang`, `hang-once`, `hang-query` and `instead` make it misbehave, as
# is read below. Every call is written down in `calls`.
d=$(dirname "$0")
echo "$@" >> "$d/calls"
for a; do case $a in
--follow) follow=1 ;;
--cursor=*) from=${a##*i=} ;;
--lines=1) last=1 ;;
--output-fields=_PID) query=1 ;;
--unit=*) unit=${a#--unit=} ;;
esac; done
show() { awk -F '\t' -v n="$1" -v m="${2:-999999}" -v from="${from:-0}" -v unit="$unit" 'NR > n && NR <= m && $1 >= from + 0 && index($2, unit) { print $2 }' "$d/journal"; }
if test -e "$d/refuse"; then cat "$d/refuse" >&2; exit 0; fi
if test -n "$query"; then
    if test -e "$d/hang-query"; then exec sleep 1000; fi
    if test -n "$last"; then show 0 | tail -n 1; else show 0; fi
    exit 0
fi
if test -e "$d/die"; then echo "Failed to iterate through journal: Bad message" >&2; exit 1; fi
if test -z "$follow"; then show 0; exit 0; fi
if test -e "$d/hang"; then exec sleep 1000; fi
if test -e "$d/hang-once"; then rm "$d/hang-once"; exec sleep 1000; fi
if test -e "$d/instead"; then cat "$d/instead"; rm "$d/instead"; exit 1; fi
n=0
while :; do
    now=$(wc -l < "$d/journal")
    if test "$now" -gt "$n"; then show "$n" "$now"; n=$now; fi
    if test -e "$d/die-once"; then rm "$d/die-once"; exit 1; fi
    sleep 0.01
done
