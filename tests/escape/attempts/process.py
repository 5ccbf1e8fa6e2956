"""Outliving the job, touching others' processes, taking more than the share."""

from attempt import Attempt

TITLE = "processes"

KILL = "`cgroup.kill` of the job's group in the epilog: the kernel kills every process in it at once, forks included"


def survivor(kind, tries, stopped_by=KILL + "."):
    name = f"outlive-{kind}"
    comm = f"out-{kind}"
    return Attempt(
        name, tries, stopped_by, f'"$BIN/survivor" {kind} {comm} 60', judge=f"left {comm}", job="",
        control=f'"$BIN/survivor" {kind} {comm} 6', undo=f"pkill -KILL -x {comm}; pkill -KILL -x {comm}; true")


ATTEMPTS = [
    survivor("daemon", "leaves a daemon: `setsid`, two forks, deaf to every signal"),
    survivor("comet", "leaves a chain of processes that fork and end at once, seven abreast, so that no list of pids is ever true"),
    survivor("stopped", "leaves a process that is stopped"),
    survivor("vfork", "leaves a parent that hangs in `vfork`, its child deaf"),
    survivor("pidns", "leaves the init of a pid namespace in a user namespace, which no ordinary signal ends"),
    survivor("traced", "leaves a process that a deaf tracer holds at its exit"),
    survivor("subreaper", "leaves a subreaper that nobody may dump or trace"),
    Attempt(
        "signal-others", "stops, continues and kills the victim, Slurm's and Tenantry's daemons and its own slurmstepd",
        "The kernel lets a user signal his own processes alone.", """
for pid in "$VICTIM" "$DAEMON" "$WARDEN" "$SERVER" "$SLURMD" "$STEPD" 1; do try kill -STOP "$pid"; try kill -KILL "$pid"; done
userns -pf <<'END'
for pid in "$VICTIM" "$DAEMON" "$WARDEN" "$SLURMD"; do try kill -STOP "$pid"; done
END
python3 - "$VICTIM" <<'END'
import os, signal, sys
try: fd = os.pidfd_open(int(sys.argv[1])); signal.pidfd_send_signal(fd, signal.SIGSTOP); print("tried: pidfd: done")
except OSError as error: print("tried: pidfd:", error)
END""", judge="lives", control='tried; kill -STOP "$VICTIM"', undo='kill -CONT "$VICTIM"; sleep 0.3'),
    Attempt(
        "spy-on-victim", "reads and writes the victim's memory, environment and descriptors: ptrace, `/proc/PID/mem`, `process_vm_writev`, `pidfd_getfd`",
        "All of it takes the right to trace the process, which a user has over his own alone.", """
"$BIN/spy" "$VICTIM" "$(sed -n 's/.*canary //p' /home/carol/victim.facts)" overrun > spied; cat spied | grep -a ^tried""",
        judge="knows_secret; lives", control="root",
        undo="""
"$BIN/spy" "$VICTIM" "$(sed -n 's/.*canary //p' /home/carol/victim.facts)" untouched > /dev/null; sleep 0.3"""),
    Attempt(
        "spy-on-victim-userns", "the same as root of a user namespace with a pid namespace",
        "CAP_SYS_PTRACE counts only over processes of that namespace.", """
userns -m <<'END'
"$BIN/spy" "$VICTIM" > spied; cat spied | grep -a ^tried
END""", judge="knows_secret; lives", uncontrolled="judged as spy-on-victim is"),
    Attempt(
        "trace-slurmstepd", "traces its own slurmstepd, slurmd, tenantryd and the warden, which are root and outside the tenant",
        "All of it takes the right to trace the process, which a user has over his own alone.", """
for pid in "$STEPD" "$SLURMD" "$DAEMON" "$WARDEN"; do timeout 3 "$BIN/spy" "$pid" >> spied; done; grep -a ^tried spied""",
        judge="""! grep -qaE 'tried: (ptrace .*|open mem|read maps): done' "$OUT" "$WORK/spied" || breach "$(grep -aE ': done' "$WORK/spied" | head -n 3)" """,
        control='timeout 3 "$BIN/spy" "$STEPD" > spied; grep -a ^tried spied'),
    Attempt(
        "set-uid-file", "makes set-uid files, in its home, in /tmp and as root of a user namespace, and runs set-uid programs with a preload",
        "Root in a user namespace is mallory outside; the loader ignores preloads of set-uid programs.", """
cp "$BIN/escapee" suid; userns -m <<'END'
chown 0:0 suid; chmod 6755 suid; tried "set-uid as root of a namespace"
END
cp "$BIN/escapee" /tmp/suid; chmod 6755 /tmp/suid; tried "set-uid"
for program in su mount umount newgrp passwd chsh; do LD_PRELOAD=$BIN/evil.so timeout 2 $program --version </dev/null >/dev/null 2>&1; tried "$program"; done
./suid escapee 40 & """, judge="""
rm -f /tmp/escape-preload-2004
for file in "$WORK/suid" /tmp/suid; do
  [ ! -u "$file" ] || [ "$(stat -c %u "$file")" != 0 ] || breach "$file is set-uid root"
done
for pid in $(pgrep -x escapee); do
  [ "$WHO" = root ] || [ "$(stat -c %u "/proc/$pid")" = "$(id -u "$WHO")" ] || breach "process $pid runs as uid $(stat -c %u "/proc/$pid")"
done""", control='tried; rm -f /tmp/suid; cp "$BIN/escapee" /tmp/suid; chmod 6755 /tmp/suid', undo="rm -f /tmp/suid /run/escape-root"),
    Attempt(
        "out-of-memory-shield", "shields itself from the out-of-memory killer and points it at the victim",
        "Lowering `oom_score_adj` takes CAP_SYS_RESOURCE; the kill stays in the group whose limit was hit.", """
escapee; write -1000 "/proc/$!/oom_score_adj"; write -17 "/proc/$!/oom_adj"; write 1000 "/proc/$VICTIM/oom_score_adj"
userns <<'END'
write -1000 /proc/self/oom_score_adj
END""", judge="""
for pid in $(pgrep -x escapee); do
  [ "$(cat "/proc/$pid/oom_score_adj")" -ge 0 ] || breach "process $pid has oom_score_adj $(cat "/proc/$pid/oom_score_adj")"
done""", control="root", undo='echo 0 > "/proc/$VICTIM/oom_score_adj"'),
    Attempt(
        "scheduler-privilege", "asks for real-time scheduling, negative nice, real-time IO, and processors outside its cpuset",
        "Each takes CAP_SYS_NICE; the cpuset of Slurm's group bounds the affinity.", """
escapee; pid=$!
try chrt -f -p 50 $pid; try chrt -r -p 50 $pid; try chrt -d --sched-runtime 100000 --sched-period 1000000 -p 0 $pid
try renice -n -10 -p $pid; try ionice -c 1 -p $pid; try taskset -p ff $pid
userns <<END
chrt -f -p 50 $pid; tried "as root of a namespace: \\$?"
END""", judge="""
for pid in $(pgrep -x escapee); do
  read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ nice _ < "/proc/$pid/stat"
  policy=$(chrt -p "$pid" | sed -n 's/.*policy: //p')
  [ "$policy" = SCHED_OTHER ] && [ "$nice" -ge 0 ] || breach "process $pid has $policy and nice $nice"
  [ "$WHO" = root ] || [ "$(taskset -cp "$pid" | sed 's/.*: //')" = "$(cat "$MALLORY_LEAF/step_batch/user/task_0/cpuset.cpus.effective")" ] ||
    breach "process $pid runs on $(taskset -cp "$pid")"
done""", control="root"),
    Attempt(
        "fork-bomb", "forks without end", "`pids.max` of the tenant's group.",
        '"$BIN/bomb" fork 1000', user="bob", job="", alone=True, prepare="""
value "$SCOPE/tenant_acme/tenant_physics/pids.events" max > /root/escape/pids.before""", judge="""
group=$SCOPE/tenant_acme/tenant_physics
if [ -n "$CONTROL" ]; then
  [ "$(sed -n 's/got \\([0-9]*\\):.*/\\1/p' "$OUT")" -lt 150 ] || breach "300 processes were made"
else
  [ "$(cat $group/pids.peak)" -le 150 ] || breach "$(cat $group/pids.peak) processes"
  [ "$(value $group/pids.events max)" -gt "$(cat /root/escape/pids.before)" ] || exit 3
  lives
fi""", control='"$BIN/bomb" fork 300'),
    Attempt(
        "thread-bomb", "makes threads without end", "`pids.max` of the tenant's group, which counts threads.",
        '"$BIN/bomb" thread 1000', user="bob", job="", alone=True, prepare="""
value "$SCOPE/tenant_acme/tenant_physics/pids.events" max > /root/escape/pids.before""", judge="""
group=$SCOPE/tenant_acme/tenant_physics
if [ -n "$CONTROL" ]; then
  [ "$(sed -n 's/got \\([0-9]*\\):.*/\\1/p' "$OUT")" -lt 150 ] || breach "300 threads were made"
else
  [ "$(cat $group/pids.peak)" -le 150 ] || breach "$(cat $group/pids.peak) threads"
  [ "$(value $group/pids.events max)" -gt "$(cat /root/escape/pids.before)" ] || exit 3
  lives
fi""", control='"$BIN/bomb" thread 300'),
    Attempt(
        "cpu-hog", "keeps eight busy processes on a node where its tenant has half a processor",
        "`cpu.max` of the tenant's group, and `cpu.weight` between tenants.", """
tried hog; for _ in $(seq 8); do timeout 5 sh -c 'while :; do :; done' & done; wait""",
        user="bob", job="", alone=True, during="""
used() { value "$SCOPE/tenant_acme/tenant_physics/cpu.stat" usage_usec; }
sleep 1; from=$(used) start=$(date +%s%N); sleep 2; to=$(used) end=$(date +%s%N)
echo $(( (to - from) * 100000 / (end - start) )) > /root/escape/hog""", judge="""
if [ -n "$CONTROL" ]; then share=$(cat "$WORK/share"); else share=$(cat /root/escape/hog); fi
echo "it got $share % of a processor"
[ "$share" -le 58 ] || exit 10
[ -n "$CONTROL" ] || [ "$share" -ge 25 ] || { echo "it hardly ran"; exit 3; }
[ -n "$CONTROL" ] || lives""", control="""
tried; group=/sys/fs/cgroup/system.slice/lab-agent.service/cpu.stat
for _ in $(seq 8); do timeout 2 sh -c 'while :; do :; done' & done; sleep 0.3
from=$(sed -n 's/^usage_usec //p' $group) start=$(date +%s%N); sleep 1; to=$(sed -n 's/^usage_usec //p' $group) end=$(date +%s%N)
echo $(( (to - from) * 100000 / (end - start) )) > share; wait"""),
    Attempt(
        "io-uring-thread", "has io_uring's polling thread and workers run for it",
        "They are threads of the process that asked, in its group, charged to it.", '"$BIN/ring" sqpoll', judge="""
for pid in $(pgrep -x escapee); do
  for thread in /proc/$pid/task/*; do
    case $(cut -d: -f3- "$thread/cgroup") in "$HOME_GROUP"*) ;; *) breach "$(cat "$thread/comm") is in $(cat "$thread/cgroup")" ;; esac
  done
done""", uncontrolled="no kernel from 5.12 on lets its threads run elsewhere", kernel="CONFIG_IO_URING=y"),
    Attempt(
        "job-storm", "submits jobs and cancels them at every moment of their lives, while the warden and the daemon look",
        "One lock for each job, which prolog, epilog, warden and daemon take; an end is taken once.", """
for i in 0 1 2 3 4 5; do
  job=$(sbatch --parsable --mem=20M -o /dev/null --wrap "$BIN/escapee storm 5"); echo "$job"
  ( sleep "$((i / 3)).$((i * 3 % 10))"; scancel "$job" ) &
done
wait; tried storm""", judge="""
quiet
sweep_refused
[ -n "$CONTROL" ] || [ "$(grep -cxE '[0-9]+' "$OUT")" = 6 ] || { echo "Slurm took not all"; exit 3; }
for _ in $(seq 20); do pgrep -x storm >/dev/null || break; sleep 0.1; done
! pgrep -x storm || breach "a job's process is left"
for job in $(grep -xE '[0-9]+' "$OUT"); do
  rows=$(tenantry usage --job "$job" --format json | grep -c '"state"'); [ "$rows" -le 1 ] || breach "job $job is billed $rows times"
done""", control='tried; "$BIN/escapee" storm 20 & sleep 0.2', undo="pkill -KILL -x storm; true"),
    Attempt(
        "warden-misled", "makes groups that look like jobs, in its own step, its job and its tenant and in namespaces, and records of them",
        "The warden goes by groups and records that root alone can make.", """
for group in "$LEAF/step_batch/user/task_0" "$LEAF" "$TENANT" "$SCOPE"; do try mkdir "$group/job_999997" "$group/tenant_globex"; done
for dir in /run/tenantry/jobs/n1_slurmstepd.scope/999997 /run/tenantry/users/2003 /run/tenantry/jobs/mine; do try mkdir -p "$dir"; done
userns -mC <<'END'
mkdir -p fs; mount -t cgroup2 none fs; try mkdir fs/job_999997; mount -t tmpfs none /run; try mkdir -p /run/tenantry/jobs/n1_slurmstepd.scope/999997
END
for pid in "$STEPD" "$WARDEN"; do try kill -STOP "$pid"; done; try exec 9</run/tenantry/jobs; flock -n 9; tried "a lock on the records: $?" """,
        control='tried; mkdir "$SCOPE/system/job_999997"', undo='rmdir "$SCOPE/system/job_999997"'),
    Attempt(
        "warden-fooled", "has programs named slurmstepd outlive a job whose epilog was lost, so that the warden takes the job for one that still runs: its own, and a set-uid one",
        "slurmstepd is root's by its real user, too: the warden closes the job.", """
"$BIN/survivor" subreaper slurmstepd 60
ln -sf "$(command -v su)" slurmstepd; sleep 60 | setsid ./slurmstepd carol -c true >/dev/null 2>&1 &
sleep 0.5; tried "$(pgrep -x slurmstepd -U "$(id -u)" | wc -l) programs"
""", judge="""
# Root makes it what a crash leaves: a job that Slurm does not know, with a group and a record, and the attacker's programs in it.
group=$MALLORY_TENANT/job_999998 records=/run/tenantry/jobs/n1_slurmstepd.scope/999998
mkdir -p "$group/tenantry" "$records"
for pid in $(pgrep -U mallory -x slurmstepd; pgrep -U root -f "^./slurmstepd 60"); do echo "$pid" > "$group/tenantry/cgroup.procs"; n=$((${n:-0} + 1)); done
real=/run/tenantry/jobs/n1_slurmstepd.scope/$MALLORY_JOB/registration.json; sluid=$(sed -nE 's/.*"sluid": *"([^"]+)".*/\\1/p' "$real")
sed -E "s/(job_|job_id.: *)$MALLORY_JOB\\b/\\1999998/${sluid:+; s/$sluid/S0MADEUP/g}" "$real" > "$records/new"
mkdir -p "$SCOPE/job_999998"; mount --bind "$group" "$SCOPE/job_999998"; mv "$records/new" "$records/registration.json"
look() { for _ in $(seq "$1"); do [ -d "$group" ] || return; kill -HUP "$WARDEN"; sleep 0.5; done; }
look 20
if [ -d "$group" ]; then
  echo 1 > "$group/cgroup.kill"; look 20; [ ! -d "$group" ] || { echo "the warden closes no job"; exit 3; }
  breach "the warden did not close a job with only ${n:-no} of the attacker's programs in it"
fi
[ "${n:-0}" -ge 1 ] || { echo "there was no program"; exit 3; }
quiet""", control='tried; ln -sf "$(command -v sleep)" slurmstepd; ./slurmstepd 60 & sleep 0.3',
        undo='pkill -KILL -f "^./slurmstepd 60"; true'),
]
