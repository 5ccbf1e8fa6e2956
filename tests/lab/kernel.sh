#!/bin/bash
# kernel.sh DIR: builds user-mode Linux (SMP, cgroup v2 with every controller) from Debian's linux-source
# into DIR: linux (the program), config, source (the package's version). 4 to 10 minutes of two cores.
. "$(dirname "$0")/common.sh"
OUT=${1:?folder to fill}
SRC=$OUT/src
trap 'rm -rf "$SRC"' EXIT

# newest: the highest X.Y of linux-source-X.Y that APT's lists hold, or nothing.
newest() {
  apt-cache "${APT[@]}" dumpavail | sed -n 's/^Package: linux-source-\([0-9.]*\)$/\1/p' | sort -V | tail -n 1
}

unpack() {
  # Backports carry the newest kernel; a day without one there is no reason to fail.
  apt_for "$SRC/apt" trixie-backports || apt_for "$SRC/apt" trixie
  V=${LAB_KERNEL:-$(newest)}
  if [ -z "$V" ] || ! (cd "$SRC" && apt-get "${APT[@]}" download "linux-source-$V"); then
    apt_for "$SRC/apt" trixie
    V=${LAB_KERNEL:-$(newest)}
    (cd "$SRC" && apt-get "${APT[@]}" download "linux-source-$V")
  fi
  # The folders left out are half of the tree's bytes and no part of a UML kernel.
  dpkg-deb --fsys-tarfile "$SRC"/linux-source-*.deb | tar -xO "./usr/src/linux-source-$V.tar.xz" | xz -dc -T0 |
    tar -C "$SRC" -x --exclude='*/Documentation/*' --exclude='*/drivers/gpu/drm/amd/include/*' \
      --exclude='*/tools/testing/*'
  dpkg-deb -f "$SRC"/linux-source-*.deb Version >"$OUT/source"
  TREE=$SRC/linux-source-$V
}

configure() {
  mkdir -p Documentation
  [ -e Documentation/Kconfig ] || : >Documentation/Kconfig
  patch -p1 -F3 <"$LAB_HOME/kernel/uml.patch"
  make -s ARCH=um tinyconfig
  ./scripts/kconfig/merge_config.sh -m .config "$LAB_HOME/kernel/uml.fragment" >/dev/null
  make -s ARCH=um olddefconfig
  # A symbol whose dependency moved is dropped without a word; what the fragment asks for is what we get.
  local line lost=0
  while read -r line; do
    case $line in
      CONFIG_*) grep -qxF -- "$line" .config || { echo "the kernel's configuration lost $line"; lost=1; } ;;
    esac
  done <"$LAB_HOME/kernel/uml.fragment"
  [ "$lost" = 0 ] || { echo "try another source: LAB_KERNEL=X.Y lab kernel"; return 1; }
}

mkdir -p "$SRC"
unpack
cd "$TREE"
configure
make -s ARCH=um -j"${LAB_JOBS:-$(nproc)}" linux
strip -o "$OUT/linux" linux
cp .config "$OUT/config"
