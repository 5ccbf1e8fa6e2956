"""Being somebody else, and making others' programs believe it."""

from attempt import Attempt

TITLE = "identity and records"

SIGNED = "The account comes from the credential that slurmctld signed; nothing that a user sets is read"

PLACED = """
# The witness is a SPANK plugin of the tests': it saw where each task ran.
if [ -n "$CONTROL" ]; then job=$(cat "$WORK/job"); else job=$ENDED_JOB; fi
groups=$(grep "\\"job\\":[ ]*$job[,}]" /var/log/oracle/tasks)
[ -n "$groups" ] || { echo "the witness saw no task of job $job"; exit 3; }
! grep -v /tenant_initech/job_ <<<"$groups" || breach "a task ran outside tenant initech"
for _ in $(seq 40); do
  tenants=$(tenantry usage --job "$job" --format json | grep -o '"tenant": *"[^"]*"' | sort -u)
  [ -n "$tenants" ] && break; sleep 0.2
done
[ "${tenants//[ ]/}" = '"tenant":"initech"' ] || breach "the bill says: ${tenants:-nothing}"
"""

# What another tenant's honest job looks like to the same judge.
HONEST_OTHER = """
tried; printf '#!/bin/sh\\ntrue\\n' > /tmp/honest.sh
lab-as carol "sbatch --parsable --mem=30M -o /dev/null /tmp/honest.sh" > job
for _ in $(seq 100); do squeue -h -j "$(cat job)" 2>/dev/null | grep -q . || break; sleep 0.2; done; sleep 1.5"""


def pretended(name, tries, options, control=True):
    return Attempt(
        name, tries, SIGNED + ".", "tried; cat /proc/self/cgroup", judge=PLACED, job=options,
        **({"control": HONEST_OTHER} if control else {"uncontrolled": "as pretend-account-variables'"}))


ATTEMPTS = [
    pretended("pretend-account-variables", "exports SLURM_JOB_ACCOUNT, SLURM_ACCOUNT, SLURM_JOB_UID of another tenant",
              "--export=ALL,SLURM_JOB_ACCOUNT=globex,SLURM_ACCOUNT=globex,SLURM_JOB_UID=2003,SLURM_JOB_USER=carol,SLURMD_NODENAME=n9"),
    pretended("pretend-spank-variables", "exports SPANK_ variables, which slurmd hands to the prolog as they are",
              "--export=ALL,SPANK_SLURM_JOB_ACCOUNT=globex,SPANK_SLURM_JOB_UID=0,SPANK_TENANTRY_TENANT=globex,SPANK_LD_PRELOAD=/host/escape/bin/evil.so",
              control=False),
    pretended("pretend-plugin-option", "exports the plugin's option as Slurm itself passes it",
              "--export=ALL,_SLURM_SPANK_OPTION_tenantry_tenant=globex,SLURM_SPANK__SLURM_SPANK_OPTION_tenantry_tenant=globex,SLURM_TENANT=globex",
              control=False),
    pretended("pretend-comment", "names the other tenant in the job's name, comment, extra, admin comment, wckey and mail user",
              "--job-name=globex --comment='account=globex tenant=globex' --mail-user=globex --extra=tenant=globex", control=False),
    Attempt(
        "preload-into-root", "has the loader of root's processes load its library: LD_PRELOAD, LD_LIBRARY_PATH and BASH_ENV in the job's environment",
        "slurmd and slurmstepd start their own programs with their own environment; the job's reaches its tasks alone.",
        "tried; ls -l /tmp/escape-preload-2004",
        judge="""[ -n "$CONTROL" ] || [ -e /tmp/escape-preload-2004 ] || { echo "not even the job's own programs loaded it"; exit 3; }""",
        job="--export=ALL,LD_PRELOAD=/host/escape/bin/evil.so,LD_LIBRARY_PATH=/host/escape/bin,BASH_ENV=/host/escape/prelude.sh",
        control='tried; LD_PRELOAD=$BIN/evil.so /bin/true', undo="rm -f /run/escape-root /tmp/escape-preload-*"),
    Attempt(
        "account-of-another", "submits under the other tenant's account, as another user, and moves its own job there",
        "Slurm's association check (`AccountingStorageEnforce=associations`); --uid is root's.", """
printf '#!/bin/sh\\nsleep 2\\n' > job.sh
for options in '-A globex' '-A GLOBEX' '--uid=carol' '-A acme-physics' '--uid=0'; do try sbatch -Q $options --mem=30M -o /dev/null job.sh; done
try scontrol update jobid="$JOB" account=globex; try scontrol update jobid="$JOB" userid=2003
try sacctmgr -iQ add user mallory account=globex; try sacctmgr -iQ modify user mallory set adminlevel=admin""", judge="""
! squeue -h -u mallory -A globex,acme-physics | grep . || exit 10
[ "$(squeue -h -j "$MALLORY_JOB" -o %a)" = initech ] || breach "its job is in account $(squeue -h -j "$MALLORY_JOB" -o %a)"
[ "$(squeue -h -u carol | wc -l)" = 1 ] || breach "somebody runs as carol"
! sacctmgr -nP show assoc user=mallory format=account | grep globex || exit 10""",
        control="tried; sacctmgr -iQ add user mallory account=globex", undo="sacctmgr -iQ delete user mallory account=globex"),
    Attempt(
        "step-in-anothers-job", "starts a step in the victim's job, attaches to it, reads its script, signals, updates and cancels it",
        "Slurm checks the job's owner in the message that munge signed.", """
try timeout 5 srun -Q --overlap --jobid="$VICTIM_JOB" "$BIN/escapee" escapee 40
try timeout 5 sattach "$VICTIM_JOB.batch"; try scontrol write batch_script "$VICTIM_JOB" -
try scancel -s STOP "$VICTIM_JOB"; try scancel "$VICTIM_JOB"; try scontrol update jobid="$VICTIM_JOB" timelimit=1 comment=mine
try scontrol suspend "$VICTIM_JOB"; try scontrol requeue "$VICTIM_JOB"; try scontrol hold "$VICTIM_JOB"
try timeout 5 srun -Q --jobid="$FRIEND_JOB" --overlap "$BIN/escapee" escapee 40; try timeout 5 sbcast -j "$VICTIM_JOB" "$BIN/escapee" /tmp/sbcast""",
        # Its time limit is another one where the backfill scheduler has started it.
        prepare="squeue -h -j $CAROL_JOB -o '%T %k %l' > /root/escape/carols",
        judge="""moved; lives
squeue -h -j "$CAROL_JOB" -o '%T %k %l' | cmp -s - /root/escape/carols || breach "$(squeue -h -j "$CAROL_JOB" -o '%T %k %l')" """,
        control="tried; scontrol update jobid=$VICTIM_JOB comment=mine", undo="scontrol update jobid=$CAROL_JOB comment=''"),
    Attempt(
        "job-within-a-job", "gets an allocation, a shell and steps from within its job: `salloc`, `srun --container`, `sbatch --wrap`",
        "A shell that salloc starts is the caller's child, in the caller's group; steps come from slurmstepd.", """
timeout 10 salloc -Q --mem=20M sh -c '"$BIN/escapee" escapee 20 >/dev/null 2>&1 & sleep 1'; tried "salloc: $?"
try timeout 5 srun -Q --overlap --container="$PWD" "$BIN/escapee" escapee 40""", judge="moved",
        control='tried; "$BIN/into_group" "$SCOPE/system"'),
    Attempt(
        "hostile-job-texts", "puts newlines, terminal codes, SQL, CSV formulas and 60 KiB into the job's name, comment, directory and environment",
        "Such texts are not read into the registration, the bill or a log line; SQL is by bound parameters alone.", """
tried; printf '#!/bin/sh\\ntrue\\n' > hostile.sh; evil=$(printf 'x\\n2026-01-01T00:00:00Z ERROR FORGED tenantry: tenant globex\\n\\033[2J\\033]0;FORGED\\007')
sql="'; DROP TABLE usage_record; --"; long=$(head -c 60000 /dev/zero | tr '\\0' A); mkdir -p "$evil" "$sql" '=HYPERLINK("x")'
for text in "$evil" "$sql" '=cmd|x!A1' "$(head -c 900 <<<"$long")" '../../../etc' '%s%n%x' '{"account":"globex"}'; do
  sbatch --parsable --mem=20M -o /dev/null -J "$text" --comment="$text" hostile.sh
done
sbatch --parsable --mem=20M -o /dev/null -D "$PWD/$evil" hostile.sh; sbatch --parsable --mem=20M -o /dev/null -D "$PWD/$sql" hostile.sh
EVIL=$evil SPANK_EVIL=$evil SPANK_LONG=$long SLURM_JOB_ACCOUNT=$sql sbatch --parsable --mem=20M -o /dev/null hostile.sh
sleep 1""", judge="""
if [ -z "$CONTROL" ]; then
  jobs=$(grep -xE '[0-9]+' "$OUT"); [ "$(wc -w <<<"$jobs")" -ge 6 ] || { echo "Slurm took only: $jobs"; exit 3; }
  quiet
  sleep 1.5
  for job in $jobs; do
    [ "$(tenantry usage --job "$job" --format json | grep -o '"tenant": *"[^"]*"' | tr -d ' ')" = '"tenant":"initech"' ] || breach "job $job is billed as: $(tenantry usage --job "$job" --format csv)"
  done
fi
journalctl -q -o cat -u tenantryd -u tenantry-server | grep -a FORGED && exit 10
tenantry usage --format csv | grep -aE 'FORGED|DROP|HYPERLINK|cmd' && exit 10
tenantry usage | grep -aE "FORGED|$(printf '\\033')" && exit 10
grep -a tenantry /var/log/slurm/slurmd-n1.log | grep -aE 'FORGED|DROP' && exit 10
true""", control="tried; systemd-run -q --unit=tenantryd-forged true; echo '2026 spank tenantry: FORGED' >> /var/log/slurm/slurmd-n1.log",
        undo="sed -i '/spank tenantry: FORGED/d' /var/log/slurm/slurmd-n1.log"),
    Attempt(
        "hostile-accounts", "runs under accounts named `../x`, a quoted SQL text, a newline, `tenant_globex`, a glob (made by a careless administrator)",
        "A name outside `[a-z0-9_.@+-]{1,128}` is refused before it is used, and an unknown one has no tenant.", """
printf '#!/bin/sh\\ntouch "$1"\\n' > odd.sh
for account in ../x "a'; drop table usage_record; --" 'globex
x' 'tenant_globex' 'glob*' 'globex/..'; do
  n=$((${n:-0} + 1)); sbatch -Q --parsable --mem=20M -o "odd.%j" -A "$account" odd.sh "$PWD/ran.$n"; tried "$account: $?"
done
sleep 1""", prepare="""
for account in ../x "a'; drop table usage_record; --" 'globex
x' 'tenant_globex' 'glob*' 'globex/..'; do
  sacctmgr -iQ add account "$account"; sacctmgr -iQ add user mallory account="$account"
done >/dev/null 2>&1; true""", judge="""
quiet
sweep_refused
! ls "$WORK"/ran.* 2>/dev/null || breach "a job under such an account ran"
tenantry usage --tenant globex --format json | grep -q '"user": *"mallory"' && breach "globex pays"
true""", control='tried; touch ran.1'),
    Attempt(
        "tenant-of-another", "chooses another tenant with `--tenant` of sbatch, srun and salloc, one that is not there, `../x`, and by the option's own variables",
        "The node looks the choice up in its own tenants file, in the prolog: who is no member of the tenant is refused before his program starts.", """
job() { printf '#!/bin/sh\\n%s\\n' "$1" > choose.sh; shift; timeout 20 "$@" sbatch -Q --parsable --mem=20M -o /dev/null $choice choose.sh 2>&1; }
for choice in --tenant=globex --tenant=acme --tenant=acme/physics --tenant=nosuch --tenant=../x --tenant=globex/../initech --tenant=GLOBEX --tenant=; do
  job "touch /tmp/escape-ran/batch$choice" env; tried "sbatch $choice: $?"
done
choice=
for name in _SLURM_SPANK_OPTION_tenantry_tenant SPANK__SLURM_SPANK_OPTION_tenantry_tenant SLURM_SPANK__SLURM_SPANK_OPTION_tenantry_tenant SBATCH_TENANT SLURM_TENANT TENANTRY_TENANT; do
  job "cat /proc/self/cgroup" env "$name=globex"; tried "sbatch with $name: $?"
done
# Without this job's variables: an allocation of its own.
unset ${!SLURM_*}
timeout 20 srun -Q --mem=20M --tenant=globex touch /tmp/escape-ran/srun 2>&1; tried "srun: $?"
timeout 20 salloc -Q --mem=20M --tenant=acme/physics srun -Q touch /tmp/escape-ran/salloc 2>&1; tried "salloc: $?" """, prepare="mkdir -p -m 1777 /tmp/escape-ran", judge="""
quiet
sweep_refused
ran=$(ls /tmp/escape-ran); rm -rf /tmp/escape-ran/*
[ -z "$ran" ] || breach "there ran: $ran"
for job in $(sacct -n -X -u mallory -o jobidraw); do
  ! grep "\"job\":[ ]*$job[,}]" /var/log/oracle/tasks | grep -v /tenant_initech/ || breach "job $job ran outside tenant initech"
done
tenantry usage --format json | python3 -c '
import json, sys
paid = {row["tenant"] for row in json.load(sys.stdin)["usage"] if row["user"] == "mallory"} - {"initech", None}
if paid: sys.exit(f"mallory is billed to {paid}")' 2>&1 || exit 10""", control="""
tried; printf '#!/bin/sh\\ntouch /tmp/escape-ran/member\\n' > /tmp/choose.sh
lab-as alice "sbatch --wait --mem=20M -o /dev/null --tenant=acme/physics /tmp/choose.sh"; rm /tmp/choose.sh""", undo="rm -rf /tmp/escape-ran", needs="choice"),
]
