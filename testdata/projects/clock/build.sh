#!/bin/sh
# Stamps the time of this build into ./clock. Where date has no nanoseconds the
# machine's uptime makes the difference.
set -eu
built="$(date +%s%N) $(cut -d ' ' -f 1 /proc/uptime)"
sed "s/@BUILT@/$built/" clock.sh.in >clock
chmod 0755 clock
