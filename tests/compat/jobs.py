"""What users do with jobs and steps."""

import time

import work
from trial import Trial, all_within, begin, billed, end, leaf, ran


def cpu(g, group):
    return int(g.sh(f"sed -n 's/^usage_usec //p' {group}/cpu.stat"))


def suspend(c, g):
    """Frozen and thawed through the mount; what was suspended used no CPU."""
    job = begin(g, program="cat /proc/self/cgroup; timeout 60 sh -c 'while [ ! -e /tmp/go ]; do :; done'; true")
    step = f"{leaf(job)}/step_batch/user"
    g.sh(f"scontrol suspend {job}")
    g.until("the job is suspended", lambda: work.state(g, job) == "SUSPENDED")
    # Slurm stops the processes, and freezes their group, a moment after it said so.
    time.sleep(3)
    first = cpu(g, step)
    time.sleep(1.5)
    c.equal("suspend: CPU time that its tasks used in 1.5 s (µs)", cpu(g, step) - first, 0)
    g.sh(f"scontrol resume {job}")
    g.until("the job runs again", lambda: work.state(g, job) == "RUNNING")
    g.until("its tasks use CPU again", lambda: cpu(g, step) > first + 100_000)
    all_within(c, "suspend: the job is where it was", end(g, job))
    row = billed(g, job)[0]
    c.check("suspend: billed exactly", row["quality"] == "exact" and row["cpu_usage_usec"] >= first, row)


def steps(c, g):
    """Steps side by side, overlapping ones, one in an allocation of salloc's, and a terminal attached to one."""
    inside = "cat /proc/self/cgroup"
    job = work.sbatch(g, "alice", "-n2", f"srun -n1 --exact {inside} & srun -n1 --exact {inside} & srun --overlap -n2 {inside} & wait;"
                                         f" srun --overlap -n1 sh -c '{inside}; sleep 0.2' & srun --overlap -n1 {inside}; wait")
    all_within(c, "steps: side by side and overlapping", ran(g, job), at_least=6)
    all_within(c, "steps: srun in salloc's allocation", g.sh(f"timeout 60 salloc -n2 srun -n2 {inside}", "alice"), at_least=2)
    job = begin(g, program=f"srun sh -c 'while [ ! -e /tmp/go ]; do {inside}; sleep 0.2; done'")
    attached = g.run(f"timeout 3 sattach {job}.0", "alice").stdout
    all_within(c, "steps: sattach shows the step's output", attached)
    all_within(c, "steps: a step from outside joins it with --overlap",
               g.sh(f"timeout 30 srun --jobid={job} --overlap {inside}", "alice"))
    end(g, job)


def terminals(c, g):
    """A step with a terminal, and salloc's interactive step where the site has chosen that."""
    shell = "printf 'cat /proc/self/cgroup; exit\\n'"
    all_within(c, "terminals: srun --pty", g.sh(f"{shell} | timeout 60 script -qec 'srun --pty sh -i' /dev/null", "alice").replace("\r", ""))
    flags = g.sh("scontrol show config | sed -n 's/^LaunchParameters *= //p'").strip()
    g.sh("printf 'LaunchParameters=use_interactive_step\\n' >> /etc/slurm/slurm.conf; scontrol reconfigure")
    try:
        output = g.sh(f"{shell} | timeout 60 script -qec salloc /dev/null", "alice").replace("\r", "")
    finally:
        g.sh("sed -i '/^LaunchParameters=/d' /etc/slurm/slurm.conf; scontrol reconfigure")
    all_within(c, f"terminals: salloc's interactive step (LaunchParameters was {flags})", output)


def signals(c, g):
    """scancel --signal reaches the tasks; --kill-on-bad-exit ends a step; sbcast brings a file."""
    job = begin(g, program="cat /proc/self/cgroup; srun sh -c 'trap \"echo told; exit 0\" USR1; echo ready; while :; do sleep 0.1; done'",
                says="ready")
    g.sh(f"scancel --signal=USR1 {job}")
    c.check("signals: scancel --signal reaches the step's tasks", "told" in ran(g, job).split())
    done = g.run("timeout 60 srun -n2 --kill-on-bad-exit sh -c '[ $SLURM_PROCID = 0 ] || exit 5; sleep 50'", "alice")
    c.check("signals: --kill-on-bad-exit ends the step", done.returncode not in (0, 124), done.stderr)
    job = work.sbatch(g, "alice", "", "echo cat /proc/self/cgroup > script; sbcast --force script /tmp/bcast.$SLURM_JOB_ID &&"
                                      " srun sh /tmp/bcast.$SLURM_JOB_ID")
    all_within(c, "signals: a file that sbcast brought is run", ran(g, job))


def out_of_memory(c, g):
    """A step out of memory ends, the job goes on."""
    job = work.sbatch(g, "bob", "--mem=200M", "srun --mem=50M tail /dev/zero; echo went on: $?; cat /proc/self/cgroup")
    output = ran(g, job, "bob")
    c.check("out of memory: the job goes on after its step", "went on: " in output and "went on: 0" not in output, output)
    c.check("out of memory: srun says what it was", "oom" in output.lower(), output)
    all_within(c, "out of memory: the job is where it was", output, "acme/physics")
    c.equal("out of memory: sacct has it", sorted(g.sh(f"sacct -nPj {job}.0 -o State").split()), ["OUT_OF_MEMORY"])


def many(c, g):
    """An array of which two run at a time, and thirty sruns at once."""
    array = work.sbatch(g, "carol", "--array=1-6%2", "cat /proc/self/cgroup")
    work.settle(g)
    rows = [row for row in work.sacct(g) if row["array"] == str(array)]
    c.equal("many: the array's tasks are billed", sorted(row["job_id"] for row in billed_of(g, rows)), sorted(row["job"] for row in rows))
    done = g.run("for i in $(seq 30); do srun -n1 -Q cat /proc/self/cgroup & done; wait", "alice")
    all_within(c, "many: thirty sruns at once", done.stdout, at_least=30)
    work.settle(g)
    c.equal("many: thirty jobs are billed", len({row["job_id"] for row in g.usage() if row["user"] == "alice"}), 30)


def billed_of(g, rows):
    return [row for job in rows for row in billed(g, job["job"])]


ALL = [
    Trial("suspend and resume", suspend),
    Trial("steps side by side, --overlap, salloc, sattach", steps),
    Trial("srun --pty, use_interactive_step", terminals),
    Trial("scancel --signal, --kill-on-bad-exit, sbcast", signals),
    Trial("a step out of memory", out_of_memory),
    Trial("array with %, thirty srun at once", many),
]
