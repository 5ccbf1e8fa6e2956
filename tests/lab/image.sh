#!/bin/bash
# image.sh SUITE DIR: a Debian guest with Slurm and its accounting, into DIR: disk.img (a sparse ext4, started
# from copy-on-write), version (slurmd's), packages. Half a minute on two idle cores; needs the kernel.
. "$(dirname "$0")/common.sh"
. "$LAB_HOME/guest.sh"
SUITE=${1:?suite}
OUT=${2:?folder to fill}
ROOT=$OUT/root
SEED=seed-$SUITE-$$
trap 'guest_end "$SEED"; rm -rf "$(guest_dir "$SEED")"; rm -rf --one-file-system "$ROOT"' EXIT

packages=$(grep -v '^#' "$LAB_HOME/image/packages" | paste -sd,)
mapfile -t lines < <(apt_lines "$SUITE")
mmdebstrap --variant=minbase --mode=root --format=directory --skip=output/dev,check/empty \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
  --aptopt='Acquire::Check-Valid-Until "false"' --dpkgopt='force-unsafe-io' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --include="$packages" "$SUITE" "$ROOT" "${lines[@]}"
"$LAB_HOME/rootfs.sh" "$ROOT"
chroot "$ROOT" dpkg-query -W >"$OUT/packages"
# shellcheck disable=SC2016 # dpkg-query's own variable
chroot "$ROOT" dpkg-query -W -f '${Version}\n' slurmd >"$OUT/version"

truncate -s 3G "$OUT/disk.img"
# No journal: an image is either closed in order, below, or thrown away.
mke2fs -q -F -t ext4 -L root -m 0 -O ^has_journal,^metadata_csum_seed,^orphan_file \
  -E lazy_itable_init=1,nodiscard,root_owner=0:0 -d "$ROOT" "$OUT/disk.img"

# slurmdbd makes some sixty tables on its first start, the longest part of a guest's first boot. It does so
# here, once, in the image itself; every guest then starts from a registered cluster.
guest_start "$SEED" "$SUITE" "$OUT/disk.img" 2 1024M systemd.unit=lab-seed.target
guest_wait "$SEED"
guest_run "$SEED" '/usr/local/sbin/lab-cluster && sacctmgr -nP list cluster format=cluster && df -h /'
guest_off "$SEED"
