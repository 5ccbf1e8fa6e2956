# shellcheck shell=bash
# Sourced by every script of the lab: where things live, and the few functions they share.
set -euo pipefail

LAB_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_STATE=${TENANTRY_LAB:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tenantry-lab}
LAB_SUITES=(bookworm trixie sid)
LAB_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
export LAB_HOME LAB_STATE

# The kernel's command line carries these paths, and it splits at spaces and commas.
case $LAB_STATE in
  *[[:space:],]*) echo "lab: TENANTRY_LAB must not hold spaces or commas: $LAB_STATE" >&2; exit 64 ;;
esac

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$2"; exit "$1"; }

usage_error() { die 64 "$1 (try: lab --help)"; }

check_suite() {
  local known
  for known in "${LAB_SUITES[@]}"; do [ "$1" != "$known" ] || return 0; done
  usage_error "no suite '$1'; there are: ${LAB_SUITES[*]}"
}

# hash_of WORD... : 12 hex digits over the words; those that are files or folders under LAB_HOME
# count with their names, modes and bytes, so that a comment changed is a new hash too.
hash_of() {
  local word
  for word; do
    printf '%s\0' "$word"
    if [ -e "$LAB_HOME/$word" ]; then
      (cd "$LAB_HOME" && find "$word" -type f -printf '%p %m\0' | LC_ALL=C sort -z &&
        find "$word" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat)
    fi
  done | sha256sum | cut -c1-12
}

# Where each product is kept. common.sh and guest.sh are left out of the hashes: they say how a build is run,
# not what comes out, and a kernel costs minutes. The packages are left out because nobody knows them before.
kernel_dir() { echo "$LAB_STATE/kernel/$(hash_of kernel.sh kernel "${LAB_KERNEL:-newest}")"; }
image_dir() { echo "$LAB_STATE/image/$1-$(hash_of image.sh rootfs.sh image "$1")"; }
upgrade_dir() { echo "$LAB_STATE/upgrade/$1-$2-$(hash_of upgrade.sh "$1" "$2")"; }
headers_dir() { echo "$LAB_STATE/headers/$1-$(hash_of headers.sh "$1")"; }

# quietly LOG TITLE COMMAND... : one line when it starts and one when it is done; the log's end if it fails.
quietly() {
  local log=$1 title=$2 start=$SECONDS rc=0
  shift 2
  mkdir -p "$(dirname "$log")"
  say "$title ..."
  "$@" >"$log" 2>&1 </dev/null || rc=$?
  if [ "$rc" -ne 0 ]; then
    say "$title failed (exit code $rc); the end of $log:"
    tail -n 40 "$log" >&2
    return "$rc"
  fi
  say "$title done in $((SECONDS - start)) s"
}

# build_once DIR COMMAND... : runs COMMAND, which fills the folder named by its last argument, unless DIR
# is there. One builder at a time; DIR appears whole or not at all.
build_once() {
  local dir=$1 lock rc=0
  shift
  [ ! -d "$dir" ] || return 0
  mkdir -p "$LAB_STATE/lock" "$LAB_STATE/build" "$(dirname "$dir")"
  exec {lock}>"$LAB_STATE/lock/$(basename "$(dirname "$dir")")-$(basename "$dir")"
  if ! flock -n "$lock"; then
    say "another lab builds $(basename "$(dirname "$dir")")/$(basename "$dir"); waiting for it"
    flock "$lock"
  fi
  if [ ! -d "$dir" ]; then
    local work
    work=$LAB_STATE/build/$(basename "$(dirname "$dir")")-$(basename "$dir")
    rm -rf --one-file-system "$work"
    mkdir -p "$work"
    # The lock's descriptor is closed for the builder: a process it leaves behind must not hold the lock.
    "$@" "$work" {lock}>&- || rc=$?
    [ "$rc" -ne 0 ] || mv "$work" "$dir"
  fi
  exec {lock}>&-
  return "$rc"
}

# mirror NAME: the archive (debian, debian-security) that this machine's own apt sources use.
mirror() {
  local url
  url=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
    sed -nE "/^[[:space:]]*#/d; s#.*[[:space:]](https?://[^[:space:]]+/$1)/?([[:space:]].*)?\$#\1#p" | sed -n 1p)
  [ -n "$url" ] || die 1 "no archive named '$1' in this machine's apt sources (/etc/apt/sources.list and sources.list.d)"
  echo "$url"
}

# apt_lines SUITE: the sources.list lines of a suite, updates and security fixes included.
apt_lines() {
  local archive
  archive=$(mirror debian)
  echo "deb [signed-by=$LAB_KEYRING] $archive $1 main"
  case $1 in
    sid | *-backports) ;;
    *) echo "deb [signed-by=$LAB_KEYRING] $archive $1-updates main"
       echo "deb [signed-by=$LAB_KEYRING] $(mirror debian-security) $1-security main" ;;
  esac
}

# apt_for DIR SUITE...: sets APT to options that make apt-get work on these suites alone, with its state in
# DIR, and fetches the lists. sid's Release file may count as expired, and an old one does no harm here.
apt_for() {
  local dir=$1 suite
  shift
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  for suite; do apt_lines "$suite"; done >"$dir/sources.list"
  APT=(-qq -o Acquire::Check-Valid-Until=false -o "Dir::Etc::sourcelist=$dir/sources.list"
    -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$dir/lists" -o "Dir::Cache=$dir/cache"
    -o Dir::State::status=/dev/null -o APT::Sandbox::User=root)
  apt-get "${APT[@]}" update
}

# need_packages: what the builds use, installed only where it is missing.
need_packages() {
  local package missing=()
  for package in mmdebstrap e2fsprogs debian-archive-keyring ca-certificates gcc libc6-dev make patch flex \
    bison bc libelf-dev xz-utils python3 util-linux procps; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die 1 "these packages are missing, and only root can install them: ${missing[*]}"
  quietly "$LAB_STATE/log/deps.log" "installing ${missing[*]}" install_packages "${missing[@]}"
}

install_packages() {
  # An archive of the machine that is of no use here may be out of reach: the install decides.
  apt-get update || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}
