#!/usr/bin/env bash
# The steps of Linux's memory-hotplug selftest: every removable block that is offline goes online, every one that is online
# goes offline and comes back, and each says so. Prints one line of `name=value` words; exits 0 where nothing failed.
set -u
memory=/sys/devices/system/memory
blocks=0 online=0 toggled=0 failed=0

is() { [ "$(<"$1/state")" = "$2" ] && [ "$(<"$1/online")" = "$([ "$2" = online ] && echo 1 || echo 0)" ]; }

turn() {
    if echo "$2" >"$1/state" && is "$1" "$2"; then return 0; fi
    echo "${1##*/}: not $2 but $(<"$1/state")" >&2
    failed=$((failed + 1))
    return 1
}

for block in "$memory"/memory[0-9]*; do
    blocks=$((blocks + 1))
    grep -q 1 "$block/removable" || continue
    is "$block" online || turn "$block" online
done
for block in "$memory"/memory[0-9]*; do
    grep -q 1 "$block/removable" || continue
    turn "$block" offline && turn "$block" online && toggled=$((toggled + 1))
done
for block in "$memory"/memory[0-9]*; do
    is "$block" online && online=$((online + 1))
done
echo "blocks=$blocks online=$online toggled=$toggled failed=$failed"
[ "$failed" = 0 ]
