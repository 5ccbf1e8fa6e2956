#!/bin/bash
# headers.sh SUITE DIR: the headers that a SPANK plugin for this suite's Slurm is built with, into DIR:
# usr/include/slurm/spank.h and its neighbours, and version (the package's). A few seconds.
. "$(dirname "$0")/common.sh"
SUITE=${1:?suite}
OUT=${2:?folder to fill}
trap 'rm -rf "$OUT/apt"' EXIT

apt_for "$OUT/apt" "$SUITE"
cd "$OUT/apt"
apt-get "${APT[@]}" download libslurm-dev slurm-wlm-basic-plugins-dev
for deb in *.deb; do dpkg-deb -x "$deb" "$OUT"; done
dpkg-deb -f libslurm-dev_*.deb Version >"$OUT/version"
test -s "$OUT/usr/include/slurm/spank.h"
