#!/bin/bash
# upgrade.sh FROM TO DIR: the packages with which the Slurm of a guest of FROM becomes that of TO, as a repository without network,
# into DIR: what apt would fetch on that guest, Packages, and version (slurmd's). A few seconds; needs FROM's image.
. "$(dirname "$0")/common.sh"
FROM=${1:?suite of the guest}
TO=${2:?suite of the new Slurm}
OUT=${3:?folder to fill}
trap 'rm -rf "$OUT"/{apt,status,lock,lock-frontend}' EXIT

# What is installed there decides what has to come along.
debugfs -R "dump /var/lib/dpkg/status $OUT/status" "$(image_dir "$FROM")/disk.img"
apt_for "$OUT/apt" "$TO"
mapfile -t slurm < <(sed -n 's/^Package: //p' "$OUT/status" | grep -E '^(slurm|libpam-slurm)')
apt-get "${APT[@]/%Dir::State::status=\/dev\/null/Dir::State::status=$OUT/status}" -o APT::Install-Recommends=false \
  --download-only -y install "${slurm[@]}"
mv "$OUT"/apt/cache/archives/*.deb "$OUT"
cd "$OUT"
dpkg-scanpackages --multiversion . >Packages
dpkg-deb -f slurmd_*.deb Version >version
