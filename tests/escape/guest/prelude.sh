#!/bin/bash
# Sourced by an attempt's program, in the tenant's job or, as its control, as root.

# Every program says what it tried: one that says nothing did not get to its trick, and is no attempt.
tried() { printf 'tried: %s\n' "$*"; }

# write VALUE FILE
write() {
  if { printf '%s\n' "$1" >"$2"; } 2>&1; then tried "wrote '$1' to $2"; else tried "write '$1' to $2: refused"; fi
}

# try COMMAND...: its end, whatever it is
try() {
  if "$@"; then tried "$*: done"; else tried "$*: refused ($?)"; fi
}

# escapee: a process that stays to be looked at, in $!
escapee() { "$BIN/escapee" escapee 40 >/dev/null 2>&1 & }

# userns OPTIONS...: stdin's script as root of a new user namespace
userns() {
  local script
  script=$(cat)
  unshare -Ur "$@" bash -c ". '$ARENA/prelude.sh'; $script"
}
