# shellcheck shell=bash
# Sourced after guest.sh: more of Debian's packages in a guest that runs. They are downloaded here, since a guest has no
# network, and kept by suite; an image that had them all would take every fresh machine longer to build.

# guest_install NAME SUITE PACKAGE...: with what they need and the guest lacks
guest_install() {
  local name=$1 suite=$2 kept share lock log uris file
  shift 2
  kept=$LAB_STATE/packages/$suite
  share=$(guest_dir "$name")/share
  log=$LAB_STATE/log/packages-$suite.log
  mkdir -p "$kept" "$LAB_STATE/lock" "$LAB_STATE/log"
  guest_run "$name" 'cp /var/lib/dpkg/status /host/dpkg-status && rm -rf /host/packages && mkdir /host/packages'
  exec {lock}>"$LAB_STATE/lock/packages-$suite"
  flock "$lock"
  apt_for "$kept" "$suite" >"$log" 2>&1 {lock}>&- || { tail -n 20 "$log" >&2; return 1; }
  APT+=(-y --no-install-recommends -o "Dir::State::status=$share/dpkg-status")
  # What is in the cache has no URI: an empty one is named.
  mkdir -p "$kept/none/partial"
  uris=$(apt-get "${APT[@]}" -o "Dir::Cache::archives=$kept/none" --print-uris install "$@")
  quietly "$log" "downloading $* for $suite" apt-get "${APT[@]}" --download-only install "$@"
  # 'URI' FILE SIZE HASH
  while read -r _ file _; do
    ln -f "$kept/cache/archives/$file" "$share/packages/" 2>/dev/null || cp "$kept/cache/archives/$file" "$share/packages/"
  done <<<"$uris"
  exec {lock}>&-
  guest_run "$name" "DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 dpkg --force-unsafe-io -i /host/packages/*.deb" >"$log" 2>&1 ||
    { tail -n 40 "$log" >&2; return 1; }
  rm -rf "$share/packages" "$share/dpkg-status"
}
