"""The job mix, and what Slurm, the kernel and the bill say of it."""

import json
import time

BURN = "timeout {} sh -c 'while :; do :; done'"

# kind: (user, options of sbatch, program)
MIX = {
    "CPU burner": ("alice", "", BURN.format(2) + "; true"),
    "memory eater": ("bob", "--mem=300M", "head -c 100M /dev/zero | tail -n 1 | wc -c"),
    "IO writer": ("carol", "", "dd if=/dev/zero of=written bs=1M count=30 conv=fsync"),
    "0.1 s job": ("bob", "", "sleep 0.1"),
    "array of 20": ("carol", "--array=1-20", "true"),
    "job of two steps": ("alice", "-n2", "srun -n1 true; srun -n2 " + BURN.format(0.3) + "; true"),
    "cancelled job": ("alice", "", "sleep 600"),
    "job out of memory": ("bob", "--mem=50M", "tail /dev/zero"),
    "job with a daemon": ("carol", "", "setsid sh -c 'while :; do sleep 0.01; done' >/dev/null 2>&1 & sleep 0.5"),
    "job that fails": ("carol", "", "exit 3"),
}


def submit(guest, kind, env=""):
    """Submits one of the mix; its job id."""
    user, options, program = MIX[kind]
    return sbatch(guest, user, options, program, env)


def sbatch(guest, user, options, program, env=""):
    script = "#!/bin/sh\n" + program + "\n"
    guest.write("/tmp/job.sh", script)
    return int(guest.sh(f"{env} sbatch --parsable -o out.%j {options} /tmp/job.sh", user).split(";")[0])


def run_mix(guest, say=lambda _: None):
    """Runs the whole mix and one interactive srun; {kind: [job ids]}."""
    jobs = {}
    for kind in MIX:
        jobs[kind] = [submit(guest, kind)]
        say(f"submitted: {kind}, job {jobs[kind][0]}")
    guest.sh("srun -J interactive true", "alice")
    cancelled = jobs["cancelled job"][0]
    guest.until("the job to cancel runs", lambda: state(guest, cancelled) == "RUNNING")
    guest.sh(f"scancel {cancelled}")
    say(f"cancelled: job {cancelled}")
    settle(guest)
    for row in sacct(guest):
        for kind, ids in jobs.items():
            if row["array"] == str(ids[0]) and row["job"] not in ids:
                ids.append(row["job"])
        if row["name"] == "interactive":
            jobs["interactive srun"] = [row["job"]]
    return jobs


def state(guest, job):
    return guest.sh(f"scontrol -o show job {job} | grep -o 'JobState=[A-Z_]*' | cut -d= -f2").strip()


def settle(guest, seconds=180):
    """Waits until no job is left and every epilog is through."""
    guest.until("the queue is empty", lambda: not guest.sh("squeue -h").strip(), seconds)
    guest.until("the nodes are idle", lambda: set(guest.node_states()) == {"idle"}, seconds)


def sacct(guest):
    """Slurm's record of every job that ran: a dictionary each. A requeued job has a row for each run.

    `array` is the job id as people write it without its task: `7` for `7_3`, `8+0` for a component."""
    columns = "JobIDRaw,JobID,JobName,State,ExitCode,Account,User,CPUTimeRAW"
    rows, line = [], ""
    for part in guest.sh(f"sacct -nPXaD -S 2020-01-01 -o {columns}").split("\n"):
        # An account's name may hold a newline.
        line = f"{line}\n{part}" if line else part
        if line.count("|") < columns.count(","):
            continue
        raw, job, name, state_, code, account, user, cpu = line.split("|")
        line = ""
        if state_ not in ("PENDING", ""):
            rows.append({"job": int(raw), "array": job.split("_")[0], "name": name, "state": state_.split(" ")[0],
                         "exit": code, "account": account, "user": user, "cpu_s": int(cpu)})
    return rows


def outcomes(guest, jobs):
    """{kind: states and exit codes}: what must be the same with the plugin and without."""
    by_job = {row["job"]: (row["state"], row["exit"]) for row in sacct(guest)}
    return {kind: sorted(by_job[job] for job in ids) for kind, ids in jobs.items()}


def tenant_counters(guest):
    """{(scope, tenant): usage_usec} as the kernel adds it up, ended children included."""
    text = guest.sh(
        "cd /sys/fs/cgroup/system.slice && for f in $(find *slurmstepd.scope -path '*/tenant_*' -name cpu.stat"
        " | grep -E '^[^/]*(/tenant_[^/]*)+/cpu.stat$'); do echo ${f%/cpu.stat} $(sed -n 's/^usage_usec //p' $f); done")
    counters = {}
    for line in text.splitlines():
        path, usec = line.split()
        scope, *levels = path.split("/")
        counters[scope, "/".join(level.removeprefix("tenant_") for level in levels)] = int(usec)
    return counters


def oracle(guest, file):
    return [json.loads(line) for line in guest.sh(f"cat /var/log/oracle/{file}").splitlines()]


def billed_all(guest, ends):
    """The bill, once it has `ends` closed records and none is open."""
    def complete():
        usage = guest.usage()
        return usage if len(usage) >= ends and all(row["state"] == "final" for row in usage) else None
    return guest.until(f"{ends} records are billed", complete, 60)


def compare(guest, before):
    """Bill, witness and tenants' groups side by side: the differences a check looks at."""
    witnessed = oracle(guest, "epilog")
    usage = billed_all(guest, len(witnessed))
    differences = {"cpu": 0, "memory": 0, "unmatched": []}
    rows = sorted(usage, key=lambda row: row["ended"])
    for seen in witnessed:
        match = next((row for row in rows if (row["job_id"], row["node"]) == (seen["job"], seen["node"])), None)
        if match is not None and match["tenant"] is None and match["quality"] == "gap":
            # A refused job had no group of ours: what the witness saw is Slurm's own directory, which it leaves now and then.
            rows.remove(match)
            continue
        if match is None or match["quality"] != "exact":
            differences["unmatched"].append(seen)
            continue
        rows.remove(match)
        differences["cpu"] = max(differences["cpu"], abs(match["cpu_usage_usec"] - seen["usage_usec"]))
        differences["memory"] = max(differences["memory"], abs(match["memory_peak_bytes"] - seen["memory_peak"]))
    differences["unmatched"] += [row for row in rows if row["quality"] != "gap"]
    tenants = {}
    for (scope, tenant), usec in tenant_counters(guest).items():
        node = scope.removesuffix("_slurmstepd.scope")
        own = [row["cpu_usage_usec"] for row in usage if row["node"] == node and row["cpu_usage_usec"] is not None
               and (row["tenant"] == tenant or (row["tenant"] or "").startswith(tenant + "/"))]
        growth = usec - before.get((scope, tenant), 0)
        tenants[node, tenant] = (sum(own), growth)
        differences["cpu"] = max(differences["cpu"], abs(sum(own) - growth))
    differences["tenants"] = tenants
    return usage, differences


def steps_beside_the_witness(guest, usage):
    """({job: its steps' CPU time as billed, and whether the rest is Slurm's}, the same by the witness)."""
    witnessed = {}
    for seen in oracle(guest, "steps"):
        witnessed[seen["job"]] = witnessed.get(seen["job"], 0) + seen["usage_usec"]
    exact = [row for row in usage if row["quality"] == "exact" and row["job_id"] in witnessed]
    billed = {row["job_id"]: (row["steps_cpu_usec"],
                              row["steps_cpu_usec"] is not None
                              and row["slurm_overhead_usec"] == row["cpu_usage_usec"] - row["steps_cpu_usec"]) for row in exact}
    return billed, {row["job_id"]: (witnessed[row["job_id"]], True) for row in exact}


def leftovers(guest):
    """What should not be there when no job runs: groups, mounts, records, processes."""
    text = guest.sh("""
        cd /sys/fs/cgroup/system.slice
        find *slurmstepd.scope -mindepth 1 -type d | grep -vE '^[^/]+/(system|tenant_[^/]+(/tenant_[^/]+)*)$'
        for pid in self $(pgrep -x slurmd); do grep -E '^[0-9]+ [0-9]+ [0-9:]+ /.+ /sys/fs/cgroup/' /proc/$pid/mountinfo; done
        find /run/tenantry/jobs -mindepth 1
        find /var/lib/tenantry/outbox /var/lib/tenantry/spooled /run/tenantry -name '*.json*'
        for f in $(find *slurmstepd.scope -path '*/tenant_*' -name cgroup.procs); do cat $f; done
        true""")
    return text.splitlines()


def sweep(guest):
    """Removes what plain Slurm leaves now and then, a job's directory: what is left later is ours."""
    guest.sh("cd /sys/fs/cgroup/system.slice && find *slurmstepd.scope -mindepth 1 -depth -type d -not -name system"
             " -exec rmdir {} + ; true")


def wait_clean(guest, seconds=20):
    """The leftovers once the daemon had its time to take the outbox."""
    end = time.monotonic() + seconds
    while (left := leftovers(guest)) and time.monotonic() < end:
        time.sleep(0.5)
    return left
