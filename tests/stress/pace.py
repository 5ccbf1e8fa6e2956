"""How long a job takes, from one start to the next in its place, on plain Slurm and with Tenantry: the same batch in turn, in one guest."""

import statistics

from load import drain

STACK = "/etc/slurm/plugstack.conf.d"
OFF = "/root/plugstack.off"
UNITS = "tenantry-server tenantryd tenantry-warden"
WAYS = ("plain", "tenantry")
PLACES = 2


def switch(g, way):
    """Makes the node one without anything of ours, or one with all of it; and sees that it is."""
    g.sh(f"mkdir -p {OFF}; mv {STACK}/*.conf {OFF}/ 2>/dev/null; true")
    if way == "tenantry":
        g.sh(f"cp {OFF}/tenantry.conf {STACK}/")
    g.sh(f"systemctl {'start' if way == 'tenantry' else 'stop'} {UNITS}")
    g.restart_slurmd()
    group = g.sh("srun cat /proc/self/cgroup", "alice")
    if ("/tenant_acme/" in group) != (way == "tenantry"):
        raise AssertionError(f"as {way} a job runs in {group}")


def batch(g, jobs):
    """Seconds for which a job keeps its place, prolog and epilog among them: from the first start to the last end, by the
    jobs that ran one after the other. PLACES run at a time, one a processor: more would measure how they wait for each other."""
    array = g.sh(f"sbatch --parsable -o /dev/null --array=1-{jobs}%{PLACES} /tmp/none.sh", "alice").strip()
    drain(g, 600)

    def spans():
        text = g.sh(f"SLURM_TIME_FORMAT=%s sacct -nPXD -j {array} -o State,Start,End")
        rows = [line.split("|") for line in text.splitlines()]
        return rows if len(rows) == jobs and all(row[0] == "COMPLETED" for row in rows) else None
    rows = g.until(f"array {array} is in sacct", spans, 60, pause=2)
    # Slurm has whole seconds, of which a batch takes many.
    taken = max(int(end) for _, _, end in rows) - min(int(start) for _, start, _ in rows)
    return taken * PLACES / jobs


def compare(g, pairs, jobs, say):
    """{way: seconds a job of each batch}, the same places being a pair; every other pair goes backwards."""
    means = {way: [] for way in WAYS}
    for pair in range(pairs):
        for way in WAYS if pair % 2 == 0 else WAYS[::-1]:
            switch(g, way)
            means[way].append(batch(g, jobs))
            say(f"{way}: a job takes {means[way][-1]:.2f} s")
    return means


def ratio(means):
    """The median of the pairs' ratios."""
    return statistics.median(ours / plain for ours, plain in zip(means["tenantry"], means["plain"], strict=True))
