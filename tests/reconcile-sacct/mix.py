"""A hundred jobs of every kind that Slurm's accounting and a meter see differently."""

import time

import work

BURN = work.BURN

# kind: (jobs, user, options of sbatch, program)
KINDS = {
    "burns a CPU for 1 s": (10, "alice", "", BURN.format(1) + "; true"),
    "burns two CPUs for 0.5 s": (5, "alice", "-n2", "srun -n2 " + BURN.format(0.5) + "; true"),
    "does nothing": (25, "carol", "", "true"),
    "sleeps 2 s": (5, "bob", "", "sleep 2"),
    "three steps": (5, "alice", "", "for n in 1 2 3; do srun -n1 " + BURN.format(0.2) + "; done; true"),
    "500 short processes": (5, "carol", "", "n=0; while [ $n -lt 500 ]; do /bin/true; n=$((n + 1)); done"),
    "fills 100 MB of memory": (5, "bob", "--mem=300M", "head -c 100M /dev/zero | tail -n 1 | wc -c"),
    "writes a file of 30 MB": (5, "carol", "--mem=300M", "dd if=/dev/zero of=written.$SLURM_JOB_ID bs=1M count=30 conv=fsync; rm written.$SLURM_JOB_ID"),
    "reads a file of 30 MB again and again": (5, "carol", "--mem=300M",
                                             "dd if=/dev/zero of=read.$SLURM_JOB_ID bs=1M count=30; for n in 1 2 3; do cat read.$SLURM_JOB_ID >/dev/null; done; rm read.$SLURM_JOB_ID"),
    "out of memory": (3, "bob", "--mem=50M", "tail /dev/zero"),
    "fails": (5, "carol", "", "exit 3"),
    "leaves a daemon": (5, "carol", "", "setsid " + BURN.format(600) + " >/dev/null 2>&1 & sleep 1"),
    "is cancelled": (5, "alice", "", BURN.format(600)),
    "over its time limit": (2, "bob", "--time=0:01", BURN.format(600)),
    "is requeued": (3, "bob", "--requeue --open-mode=append", "test $SLURM_RESTART_COUNT && exit 0; " + BURN.format(600)),
    "is suspended for a while": (2, "alice", "", "sleep 8"),
    "is refused": (3, "mallory", "-A nobody-claims-this", "true"),
}
INTERACTIVE = 2


def prepare(guest):
    """An account that no tenant claims; a time limit that ends a job without a minute's grace."""
    guest.sh("sacctmgr -iQ add account nobody-claims-this; sacctmgr -iQ add user mallory account=nobody-claims-this")


def submit(guest):
    """Hands all over, the interactive ones first: they wait for what is in the queue. {kind: [job ids]}."""
    for n in range(INTERACTIVE):
        guest.sh(f"srun -J interactive-{n} " + BURN.format(0.2) + " || true", "alice")
    jobs = {}
    for kind, (count, user, options, program) in KINDS.items():
        guest.write("/tmp/job.sh", "#!/bin/sh\n" + program + "\n")
        # One by one, not as an array: one is cancelled, suspended or requeued without the others.
        ids = guest.sh(f"for n in $(seq {count}); do lab-as {user} 'sbatch --parsable -o /dev/null {options} /tmp/job.sh' || exit; done")
        jobs[kind] = [int(line) for line in ids.split()]
    return jobs


def disturb(guest, jobs, say):
    """Cancels, requeues and suspends what is to be, as soon as it runs; until all are through."""
    kinds = {"is cancelled": "scancel {}", "is requeued": "scontrol requeue {}",
             "is suspended for a while": "scontrol suspend {0} && sleep 3 && scontrol resume {0}"}
    waiting = {job: command for kind, command in kinds.items() for job in jobs[kind]}
    requeued = set(jobs["is requeued"])
    end = time.monotonic() + 900
    while time.monotonic() < end:
        queue = dict(line.split() for line in guest.sh("squeue -h -o '%A %T'").splitlines())
        if not queue:
            return
        for job in [job for job in waiting if queue.get(str(job)) == "RUNNING"]:
            # So that there is something to account for.
            time.sleep(1)
            guest.sh(waiting.pop(job).format(job))
            say(f"job {job} is disturbed")
        for job in requeued - set(waiting):
            if queue.get(str(job)) == "PENDING":
                guest.run(f"scontrol update jobid={job} starttime=now")
        time.sleep(1)
    raise TimeoutError("the queue is not empty after 900 s")
