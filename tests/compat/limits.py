"""The tenants file changes while jobs run."""

import json
import time

import work
from guest import TENANTS
from trial import SCOPE, Trial, all_within, begin, end, leaf, tenants_file

ACME = f"{SCOPE}/tenant_acme"
CHANGED = TENANTS.replace('cpu_weight = 200\nmemory_max = "1GiB"', 'cpu_weight = 300\nmemory_max = "700MiB"\npids_max = 400')
FILES = "cd %s && cat cpu.weight memory.max pids.max" % ACME


def reach(c, g):
    """Within two seconds, by the warden; what Slurm set for the job stays."""
    job = begin(g, options="--mem=300M")
    c.equal("limits: as the file has them at first", g.sh(FILES).split(), ["200", str(1 << 30), "max"])
    own = f"cat {leaf(job)}/memory.max"
    before = g.sh(own)
    with tenants_file(g, CHANGED):
        written = time.monotonic()
        wanted = ["300", str(700 << 20), "400"]
        g.until("the limits are the new ones", lambda: g.sh(FILES).split() == wanted, 10, 0.05)
        took = time.monotonic() - written
        c.check("limits: a change reaches a running tenant within 2 s", took < 2, f"{took:.1f} s")
        c.equal("limits: the job's own memory.max", g.sh(own), before)
        g.write("/etc/tenantry/tenants.toml", CHANGED + '\n[tenants.initech]\nmemory_max = "lots"\n')
        time.sleep(2)
        c.equal("limits: a broken file changes nothing", g.sh(FILES).split(), wanted)
        told = g.sh("journalctl -u tenantry-warden -o cat | grep -c 'memory_max.*lots\\|lots'; true").strip()
        c.check("limits: the warden says what is wrong with it", told != "0", g.sh("journalctl -u tenantry-warden -o cat | tail -n 5"))
        done = g.run("tenantry tenants check")
        line = len(CHANGED.splitlines()) + 3
        c.check("limits: so does tenants check, by line", done.returncode == 78 and f"tenants.toml:{line}:" in done.stderr, done.stderr)
    g.until("the limits are the first ones", lambda: g.sh(FILES).split() == ["200", str(1 << 30), "max"], 10)
    all_within(c, "limits: the job was never moved", end(g, job), at_least=2)


def commands(c, g):
    """tenants check, show, tree, diff and apply, as root."""
    job = begin(g, options="--mem=300M")
    c.equal("tenants check: a good file", g.run("tenantry tenants check").returncode, 0)
    done = g.run("tenantry tenants diff")
    c.equal("tenants diff: nothing", done.returncode, 0)
    c.check("tenants tree: has the job", f"{job}" in g.sh("tenantry tenants tree"), g.sh("tenantry tenants tree"))
    shown = g.sh("tenantry tenants show acme")
    c.check("tenants show: wanted and had", "200" in shown and "1GiB" in shown.replace(" ", ""), shown)
    g.sh("systemctl stop tenantry-warden")
    with tenants_file(g, CHANGED):
        done = g.run("tenantry tenants diff")
        c.check("tenants diff: ends with 1 and names what differs", done.returncode == 1 and "pids.max" in done.stdout, done.stdout)
        done = g.run("tenantry tenants apply", "alice")
        c.check("tenants apply: not for everybody", done.returncode != 0 and "root" in done.stderr, done.stderr)
        done = g.run("tenantry tenants apply")
        c.check("tenants apply: says what it changed", done.returncode == 0 and "pids.max" in done.stdout, done.stdout + done.stderr)
        c.equal("tenants apply: and did", g.sh(FILES).split(), ["300", str(700 << 20), "400"])
        c.equal("tenants diff: nothing then", g.run("tenantry tenants diff").returncode, 0)
        c.check("tenants show --format json: is JSON", bool(json.loads(g.sh("tenantry tenants show --format json"))))
    g.sh("systemctl start tenantry-warden")
    g.until("the limits are the first ones", lambda: g.sh(FILES).split() == ["200", str(1 << 30), "max"], 10)
    all_within(c, "tenants: the job was never moved", end(g, job), at_least=2)


SHARED, ALONE = "PartitionName=main .*", "s/ OverSubscribe=FORCE:4$//"


def two_jobs_over_their_tenants_limit(c, g):
    """Two jobs of a tenant, each within its own limit, are together over the tenant's: the kill falls in that tenant."""
    g.sh(f"sed -i 's/^{SHARED}/& OverSubscribe=FORCE:4/' /etc/slurm/slurm.conf; systemctl restart slurmctld slurmd; lab-wait-slurm 120")
    other = work.sbatch(g, "carol", "--mem=100M", "head -c 40M /dev/zero > /dev/shm/mine; for i in $(seq 60); do sleep 0.2; done; wc -c < /dev/shm/mine; echo whole")
    with tenants_file(g, TENANTS.replace('memory_max = "1GiB"', 'memory_max = "300MiB"')):
        jobs = [work.sbatch(g, "alice", "--mem=250M", "(head -c 200M /dev/zero; sleep 5) | tail -n 1 | wc -c") for _ in range(2)]
        work.settle(g)
    rows = {row["job"]: row["state"] for row in work.sacct(g)}
    states = sorted(rows[job] for job in jobs)
    c.check("tenant's limit: Slurm reports a job of the tenant out of memory", "OUT_OF_MEMORY" in states, states)
    c.equal("tenant's limit: the other tenant's job is whole", (rows[other], g.sh(f"cat /home/carol/out.{other}").split()), ("COMPLETED", [str(40 << 20), "whole"]))
    kills = {row["job_id"]: row["memory_oom_kills"] for row in g.usage() if row["job_id"] in (*jobs, other)}
    c.check("tenant's limit: the kills are billed where they fell", kills[other] == 0 and sum(kills[job] for job in jobs) > 0, kills)
    g.sh(f"sed -i '{ALONE}' /etc/slurm/slurm.conf; systemctl restart slurmctld slurmd; lab-wait-slurm 120")


ALL = [Trial("limits change while jobs run", reach), Trial("tenantry tenants", commands),
       Trial("two jobs over their tenant's limit", two_jobs_over_their_tenants_limit)]
