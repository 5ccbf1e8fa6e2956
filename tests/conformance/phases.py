"""What the main job must withstand, one function each. `c` collects the checks, `g` is the guest."""

import time

import work
from guest import TENANTS


def mix_is_billed(c, g, plain, say=lambda _: None):
    """The mix under Tenantry: placed, billed exactly, and as plain Slurm has it. Figures for the verdict."""
    before = work.tenant_counters(g)
    jobs = work.run_mix(g, say)
    ran = {job for ids in jobs.values() for job in ids}
    usage, differences = work.compare(g, before)
    tenant_of = {row["job_id"]: row["tenant"] for row in usage}
    tasks = [task for task in work.oracle(g, "tasks") if task["job"] in ran]
    placed = [task for task in tasks
              if f"/tenant_{tenant_of.get(task['job'], '?').replace('/', '/tenant_')}/job_{task['job']}/" in task["cgroup"]]
    c.check("every task ran in its tenant's group", len(tasks) >= len(ran) and placed == tasks,
            [task for task in tasks if task not in placed])
    c.equal("jobs run = jobs in sacct = jobs billed", ({row["job"] for row in work.sacct(g)} & ran, set(tenant_of) & ran), (ran, ran))
    c.equal("CPU time billed = the witness's, and the tenants' own growth (largest difference, µs)", differences["cpu"], 0)
    c.equal("memory.peak billed = the witness's (largest difference, bytes)", differences["memory"], 0)
    c.equal("every end the witness saw is billed exactly, and no other", differences["unmatched"], [])
    c.equal("each job's steps and what Slurm itself used are told apart, and as the witness has the steps (µs)",
            *work.steps_beside_the_witness(g, usage))
    c.check("memory over time is known, with its bound",
            all(row["memory_mib_seconds"] is not None and row["memory_mib_seconds_bound"] is not None for row in usage), usage)
    c.check("allocated quantities are known", all(row["allocated_cpus"] and row["allocated_memory_bytes"] for row in usage), usage)
    left = work.wait_clean(g)
    c.equal("nothing is left in cgroupfs, mountinfo or /run", left, [])
    if plain is not None:
        with_plugin = work.outcomes(g, jobs)
        c.equal("states and exit codes are plain Slurm's", with_plugin, {kind: plain.get(kind) for kind in with_plugin})
    return {"jobs": jobs, "usage": usage, "differences": differences, "leftovers": left}


def identity_cannot_be_chosen(c, g):
    """What a user exports or names changes nothing, and is answered clearly."""
    for how in ("SLURM_JOB_ACCOUNT=globex SLURM_ACCOUNT_X=globex", "SPANK_SLURM_JOB_ACCOUNT=globex SLURM_JOB_UID=0"):
        job = work.sbatch(g, "alice", "--export=ALL", "cat /proc/self/cgroup; srun cat /proc/self/cgroup", f"env {how}")
        work.settle(g)
        groups = g.sh(f"cat /home/alice/out.{job}").split()
        c.check(f"with {how} the job stays in its tenant", len(groups) == 2 and all("/tenant_acme/job_" in one for one in groups), groups)
        c.equal(f"with {how} its tenant pays", [row["tenant"] for row in billed(g, job)], ["acme"])
    odd = {"../x": "dots", "a'b\"c": "quotes", "x y": "space", "n\nl": "newline", "y" * 300: "300 bytes"}
    for name, what in odd.items():
        g.write("/tmp/odd", name)
        made = g.run('sacctmgr -iQ add account "$(cat /tmp/odd)" && sacctmgr -iQ add user mallory account="$(cat /tmp/odd)"')
        g.write("/tmp/job.sh", "#!/bin/sh\necho ran\n")
        sent = g.run('sbatch --parsable -o out.%j -A "$(cat /tmp/odd)" /tmp/job.sh', "mallory")
        if sent.returncode:
            c.check(f"an account with {what}: Slurm itself refuses it and says so", "error" in sent.stderr, made.stderr + sent.stderr)
            continue
        job = int(sent.stdout)
        work.settle(g)
        output = g.sh(f"cat /home/mallory/out.{job}")
        c.check(f"an account with {what}: its program does not run, and the user is told why",
                "ran" not in output.split() and "this job may not run here" in output and "account" in output, output)
        c.equal(f"an account with {what}: nobody pays", [(row["tenant"], row["cpu_usage_usec"]) for row in billed(g, job)], [(None, None)])
    c.equal("no refused job has drained a node", set(g.node_states()), {"idle"})


def billed(g, job):
    """A job's records once they are closed."""
    def closed():
        rows = g.usage("--job", str(job))
        return rows if rows and all(row["state"] == "final" for row in rows) else None
    return g.until(f"job {job} is billed", closed, 30)


def daemon_may_be_away(c, g):
    """Ten jobs without tenantryd, ten while it and the server are killed: all billed exactly."""
    program = work.BURN.format(0.2) + "; true"
    g.sh("systemctl stop tenantryd")
    jobs = [work.sbatch(g, "bob", "", program) for _ in range(10)]
    work.settle(g)
    g.sh("systemctl start tenantryd")
    jobs += [work.sbatch(g, "carol", "", program) for _ in range(10)]
    for unit in ("tenantryd", "tenantry-server", "tenantryd", "tenantryd"):
        g.sh(f"systemctl kill -s KILL {unit}")
        time.sleep(2)
    work.settle(g)
    g.until("tenantryd is back", lambda: g.run("systemctl is-active -q tenantryd").returncode == 0)
    usage, differences = work.compare(g, {})
    c.equal("jobs billed of those that ran without or under a killed daemon",
            sorted(row["job_id"] for row in usage if row["job_id"] in jobs), sorted(jobs))
    c.equal("their difference to witness and tenants (µs, bytes, records)",
            (differences["cpu"], differences["memory"], differences["unmatched"]), (0, 0, []))


def broken_tenants_file_changes_nothing(c, g):
    """check-config says line and fix; the node keeps the last good file and says so."""
    g.write("/etc/tenantry/tenants.toml", TENANTS + '\n[tenants.initech]\nmemory_max = "lots"\n')
    line = len(TENANTS.splitlines()) + 3
    done = g.run("tenantry check-config")
    c.equal("check-config ends with EX_CONFIG", done.returncode, 78)
    c.check("check-config names file, line and fix", f"tenants.toml:{line}:" in done.stderr and "GiB" in done.stderr, done.stderr)
    job = work.sbatch(g, "alice", "", "cat /proc/self/cgroup")
    work.settle(g)
    c.check("a job runs under the last good file", "/tenant_acme/job_" in g.sh(f"cat /home/alice/out.{job}"))
    c.check("slurmd's log says that the last good file is in force", "the last good tenants file stays in force" in g.slurmd_log())
    g.write("/etc/tenantry/tenants.toml", TENANTS)
    done = g.run("tenantry check-config")
    c.equal("check-config is content with the mended file", done.returncode, 0)


def panic_harms_one_job(c, g):
    """A panic in each hook: that job fails by policy, the daemons and the node live, the log tells."""
    g.use_plugin("fault")
    slurmd = g.sh("pgrep -x slurmd")
    expected = {"job_prolog": "FAILED", "step_init": "FAILED", "task_init": "FAILED", "step_exit": "COMPLETED",
                "job_epilog": "COMPLETED"}
    for hook, outcome in expected.items():
        g.write("/run/tenantry-panic-in", hook)
        job = work.sbatch(g, "alice", "", "echo ran")
        work.settle(g)
        g.sh("rm /run/tenantry-panic-in")
        output = g.sh(f"cat /home/alice/out.{job}")
        c.equal(f"a panic in {hook}: the job is {outcome}", work.state(g, job), outcome)
        c.equal(f"a panic in {hook}: whether its program ran", "ran" in output.split(), outcome == "COMPLETED")
        c.check(f"a panic in {hook}: Slurm's log has it", f"fault injected into {hook}" in g.slurmd_log())
        c.equal(f"a panic in {hook}: slurmd lives, the node is idle", (g.sh("pgrep -x slurmd"), set(g.node_states())), (slurmd, {"idle"}))
    # The job whose epilog panicked is still registered; its next run's prolog closes the first.
    g.sh(f"scontrol requeue {job}")
    g.sh(f"scontrol update jobid={job} starttime=now")
    g.until("the job has run again", lambda: work.state(g, job) == "COMPLETED" and len(g.usage("--job", str(job))) == 2)
    work.settle(g)
    c.equal("the run whose epilog panicked is billed by the next prolog",
            [row["quality"] for row in billed(g, job)], ["exact", "exact"])
    g.use_plugin()
    c.equal("nothing is left of any of them", work.wait_clean(g), [])


def requeued_job_is_two_runs(c, g):
    """A requeued job is two runs under one id."""
    job = work.sbatch(g, "bob", "--requeue --open-mode=append", "sleep 300")
    g.until("the job runs", lambda: work.state(g, job) == "RUNNING")
    g.sh(f"scontrol requeue {job}")
    g.until("the first run has left the node", lambda: not work.leftovers(g), 30)
    time.sleep(2)
    g.sh(f"scontrol update jobid={job} starttime=now")
    g.until("the job runs again", lambda: work.state(g, job) == "RUNNING")
    time.sleep(2)
    g.sh(f"scancel {job}")
    work.settle(g)
    rows = sorted(billed(g, job), key=lambda row: row["began"])
    c.equal("a requeued job has two runs under one id", [(row["restart_count"], row["quality"]) for row in rows], [(0, "exact"), (1, "exact")])
    _, differences = work.compare(g, {})
    c.equal("their difference to witness and tenants (µs, bytes, records)",
            (differences["cpu"], differences["memory"], differences["unmatched"]), (0, 0, []))


def three_nodes(c, g):
    """A job on three nodes is billed node by node, and once."""
    before = work.tenant_counters(g)
    g.sh("srun -N3 sh -c \"" + work.BURN.format(0.5) + "; true\"", "alice")
    work.settle(g)
    usage, differences = work.compare(g, before)
    c.equal("a job on three nodes has one record a node", sorted(row["node"] for row in usage), ["n1", "n2", "n3"])
    c.equal("they are one job's", len({row["job_id"] for row in usage}), 1)
    c.check("each node's record is of what ran there", all(row["cpu_usage_usec"] > 100_000 for row in usage), usage)
    c.equal("their difference to witness and tenants (µs, bytes, records)",
            (differences["cpu"], differences["memory"], differences["unmatched"]), (0, 0, []))
    totals = g.sh("tenantry usage --format csv | tail -n +2 | wc -l").strip()
    c.equal("the report has them once", totals, "3")
    c.equal("nothing is left on any of the nodes", work.wait_clean(g), [])


def heterogeneous_job_is_its_components(c, g):
    """A heterogeneous job is billed as its components, each once."""
    # Slurm gives each component nodes of its own.
    g.sh("timeout 60 srun -N1 true : -N2 true", "alice")
    work.settle(g)
    components = [row["job"] for row in work.sacct(g) if "+" in row["array"]]
    c.equal("each component is billed on its own nodes", [len(billed(g, one)) for one in components], [1, 2])
    _, differences = work.compare(g, {})
    c.equal("their difference to witness and tenants (µs, bytes, records)",
            (differences["cpu"], differences["memory"], differences["unmatched"]), (0, 0, []))
