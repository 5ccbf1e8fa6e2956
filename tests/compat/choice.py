"""--tenant: who may choose what, by each command, and what a forged environment does."""

import work
from guest import TENANTS
from trial import Trial, all_within, billed, ran, told_and_refused, tenants_file

# alice may choose globex, and members of the Unix group chem acme/physics.
CHOICE = TENANTS.replace('[tenants.globex]\n', '[tenants.globex]\nusers = ["alice"]\n') \
                .replace('[tenants."acme/physics"]\n', '[tenants."acme/physics"]\ngroups = ["chem"]\n')
INSIDE = "cat /proc/self/cgroup"


def chosen(c, g):
    g.sh("getent group chem >/dev/null || groupadd chem; usermod -aG chem carol")
    with tenants_file(g, CHOICE):
        job = work.sbatch(g, "alice", "--tenant=globex", f"{INSIDE}; srun {INSIDE}")
        all_within(c, "--tenant: sbatch, a member by name", ran(g, job), "globex", at_least=2)
        row = billed(g, job)[0]
        c.equal("--tenant: who pays, and whose account it was", (row["tenant"], row["account"]), ("globex", "acme"))
        all_within(c, "--tenant: srun", g.sh(f"srun --tenant=globex {INSIDE}", "alice"), "globex")
        all_within(c, "--tenant: salloc", g.sh(f"timeout 60 salloc --tenant=globex srun {INSIDE}", "alice"), "globex")
        job = work.sbatch(g, "carol", "--tenant=acme/physics", INSIDE)
        all_within(c, "--tenant: a member by Unix group", ran(g, job, "carol"), "acme/physics")
        job = work.sbatch(g, "bob", "--tenant=globex", "echo ran")
        told_and_refused(c, g, "--tenant: who is no member", job, "is not yours to choose", "bob")
        done = g.run(f"srun --tenant=globex {INSIDE}", "bob")
        c.check("--tenant: srun of who is no member", done.returncode != 0 and "not yours to choose" in done.stderr and not done.stdout, done.stderr)
        done = g.run(f"timeout 60 salloc --tenant=globex srun {INSIDE}", "bob")
        c.check("--tenant: salloc of who is no member", done.returncode != 0 and "not yours to choose" in done.stderr and "/" not in done.stdout,
                done.stderr)
        job = work.sbatch(g, "alice", "--tenant=initech", "echo ran")
        told_and_refused(c, g, "--tenant: no such tenant", job, "names no tenant here")
        done = g.run("sbatch --tenant=../x --wrap true", "alice")
        c.check("--tenant: what is no name is refused where it is typed", done.returncode != 0, done.stdout)


def forged(c, g):
    """The variable by which the option travels, set by hand: checked like the option."""
    names = ("SPANK__SLURM_SPANK_OPTION_tenantry_tenant", "_SLURM_SPANK_OPTION_tenantry_tenant",
             "SLURM_SPANK__SLURM_SPANK_OPTION_tenantry_tenant")
    with tenants_file(g, CHOICE):
        for name in names:
            job = work.sbatch(g, "bob", "--export=ALL", f"{INSIDE}; srun {INSIDE}", f"env {name}=globex")
            output = ran(g, job, "bob")
            c.check(f"forged: {name} gives a stranger nothing", "/tenant_globex/" not in output, output)
            rows = [row["tenant"] for row in billed(g, job)]
            c.check(f"forged: {name}: nor is globex billed", "globex" not in rows, rows)
            done = g.run(f"env {name}=globex srun {INSIDE}", "bob")
            c.check(f"forged: {name} with srun", "/tenant_globex/" not in done.stdout, done.stdout)
        # In a step of a job it is too late for any of them.
        assignments = " ".join(f"{name}=globex" for name in names)
        job = work.sbatch(g, "alice", "", f"env {assignments} srun {INSIDE}; srun --tenant=globex {INSIDE}")
        all_within(c, "forged: a step stays in its job's tenant", ran(g, job), at_least=2)
    for command in ("srun", "sbatch", "salloc"):
        c.check(f"forged: {command} --help has --tenant", "--tenant=NAME" in g.sh(f"{command} --help"))


ALL = [Trial("--tenant", chosen), Trial("--tenant, forged", forged)]
