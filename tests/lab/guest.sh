# shellcheck shell=bash
# Sourced after common.sh: guests, from start to end. A guest NAME lives in run/NAME: pid (the process and
# its start time), suite, console.log, cow.img (its disk), share/ (/host in the guest), share/q (commands).

guest_dir() { echo "$LAB_STATE/run/$1"; }

# process_start PID: when the process started, in ticks since this machine's boot; nothing if there is none.
# With the pid it names one process for ever, so nothing that the lab did not start is ever ended.
process_start() {
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  # the name in field 2 may hold spaces
  stat=${stat##*) }
  # shellcheck disable=SC2086
  set -- $stat
  # a process that ended and is not collected yet runs no more
  [ "$1" != Z ] || return 1
  echo "${20}"
}

guest_pid() {
  local pid start
  read -r pid start 2>/dev/null <"$(guest_dir "$1")/pid" || return 1
  [ "$(process_start "$pid" 2>/dev/null)" = "$start" ] || return 1
  echo "$pid"
}

guest_alive() { guest_pid "$1" >/dev/null; }

# the console's last lines, without systemd's colours and progress bars and a panic's addresses
console_tail() {
  say "the end of $(guest_dir "$1")/console.log:"
  sed -E 's/\x1b\[[0-9;?]*[A-Za-z]//g; s/\r//g; s/^M+//' "$(guest_dir "$1")/console.log" |
    grep -vE '^\[[ *]+\] |^ \[<[0-9a-f]+>\]|^ [0-9a-f]{8} ' | tail -n "${2:-25}" >&2 || true
}

# memory_folder SIZE: where the guest's memory is a file. /dev/shm unless it is too small or forbids
# executable mappings, as in some containers: a disk is slower and always there.
memory_folder() {
  local want free
  want=$(numfmt --from=iec "${1^^}")
  free=$(df --output=avail -B1 /dev/shm 2>/dev/null | tail -n 1) || free=0
  if [ "$free" -gt "$want" ] && ! findmnt -no OPTIONS -T /dev/shm | grep -qw noexec; then
    echo /dev/shm
  else
    echo "$2"
  fi
}

# guest_start NAME SUITE DISK CPUS MEMORY [KERNEL ARGUMENT...]: DISK is IMAGE or COW,IMAGE
guest_start() {
  local name=$1 suite=$2 disk=$3 cpus=$4 memory=$5 dir
  shift 5
  dir=$(guest_dir "$name")
  rm -rf "$dir"
  mkdir -p "$dir/share/q"
  chmod 755 "$dir/share"
  echo "$suite" >"$dir/suite"
  [ "$cpus" = 1 ] || set -- "ncpus=$cpus" "$@"
  printf '%s\n' "mem=$memory" "ubd0=$disk" "$@" >"$dir/machine"
  guest_power "$name"
}

# guest_power NAME: starts the machine that guest_start described, on the disk as it is
guest_power() {
  local name=$1 dir folder pid machine
  dir=$(guest_dir "$name")
  mapfile -t machine <"$dir/machine"
  folder=$(memory_folder "${machine[0]#mem=}" "$dir")
  # seccomp=on is what makes it fast: the alternative traces every system call.
  TMPDIR=$folder setsid "$(kernel_dir)/linux" "umid=$name" "uml_dir=$dir" seccomp=on "${machine[@]}" \
    root=/dev/ubda rw rootfstype=ext4 \
    con0=null,fd:1 con=null ssl=null "labhost=$dir/share" \
    panic=-1 psi=1 cgroup_no_v1=all systemd.log_color=0 </dev/null >>"$dir/console.log" 2>&1 &
  pid=$!
  # its end is for guest_alive to see, not for a line of bash's
  disown "$pid"
  echo "$pid $(process_start "$pid")" >"$dir/pid"
}

# guest_wait NAME: until the agent answers
guest_wait() {
  local end=$((SECONDS + ${LAB_BOOT_WAIT:-180})) ready
  ready=$(guest_dir "$1")/share/q/ready
  until [ -e "$ready" ]; do
    guest_alive "$1" || { say "guest $1 died while it started"; console_tail "$1"; return 254; }
    [ "$SECONDS" -lt "$end" ] || { say "guest $1 does not answer"; console_tail "$1"; return 253; }
    sleep 0.05
  done
}

# guest_run NAME SCRIPT: the script's output, errors and exit code are ours
guest_run() {
  local queue id end limit=${LAB_TIMEOUT:-600}
  guest_alive "$1" || { say "guest $1 does not run"; return 254; }
  queue=$(guest_dir "$1")/share/q
  id=c$$-$RANDOM$RANDOM
  # The guest ends a command that takes too long; the host's own limit is for a guest that cannot.
  end=$((SECONDS + limit + 30))
  printf '#lab-limit %s\n%s\n' "$limit" "$2" >"$queue/$id.tmp"
  mv "$queue/$id.tmp" "$queue/$id.cmd"
  while [ ! -e "$queue/$id.rc" ]; do
    guest_alive "$1" || { say "guest $1 died"; console_tail "$1"; return 254; }
    [ "$SECONDS" -lt "$end" ] || { say "guest $1 gives no answer"; console_tail "$1"; return 253; }
    sleep 0.02
  done
  cat "$queue/$id.out"
  cat "$queue/$id.err" >&2
  return "$(cat "$queue/$id.rc")"
}

# guest_end NAME: ends its processes at once, all of one process group that guest_start made
guest_end() {
  local pid
  pid=$(guest_pid "$1") || return 0
  kill -KILL -- "-$pid" 2>/dev/null || true
}

# guest_reset NAME: a power cut, and power again: the disk has what was synced
guest_reset() {
  local dir
  dir=$(guest_dir "$1")
  guest_alive "$1" || { say "guest $1 does not run"; return 254; }
  guest_end "$1"
  while guest_alive "$1"; do sleep 0.05; done
  rm -rf "$dir/share/q" "${dir:?}/$1"
  mkdir -p "$dir/share/q"
  guest_power "$1"
  guest_wait "$1"
}

# guest_off NAME: shuts it down in order, or says that it could not
guest_off() {
  local end=$((SECONDS + 60)) rc=0
  if guest_alive "$1"; then
    printf 'systemctl poweroff\n' >"$(guest_dir "$1")/share/q/off.cmd"
    while guest_alive "$1"; do
      [ "$SECONDS" -lt "$end" ] || { say "guest $1 did not shut down and was ended"; console_tail "$1"; guest_end "$1"; rc=1; break; }
      sleep 0.1
    done
  fi
  # What it wrote to /host and the console stay for whoever looks; its disk is of no use any more.
  rm -f "$(guest_dir "$1")/cow.img"
  return "$rc"
}
