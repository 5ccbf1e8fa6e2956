"""A lab guest, and Tenantry in it."""

import json
import pathlib
import shlex
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "tests/lab/lab"
SUITES = {"22.05": "bookworm", "24.11": "trixie", "26.05": "sid"}

ACCOUNTS = {"alice": "acme", "bob": "acme-physics", "carol": "globex"}

TENANTS = """
[tenants.acme]
accounts = ["acme"]
cpu_weight = 200
memory_max = "1GiB"

[tenants."acme/physics"]
accounts = ["acme-physics"]
pids_max = 500

[tenants.globex]
accounts = ["globex"]
cpu_max = "1.5 cores"
"""


class Failed(Exception):
    """A command in the guest that should have succeeded."""


class Guest:
    """A running guest; leave the `with` block and it is off."""

    def __init__(self, name, slurm, nodes=1):
        self.name, self.slurm, self.nodes = name, slurm, nodes

    def __enter__(self):
        self._lab("boot", self.name, SUITES[self.slurm], "--nodes", str(self.nodes))
        self._lab("wait-slurm", self.name)
        return self

    def __exit__(self, *_):
        subprocess.run([LAB, "off", self.name], check=False, stdout=subprocess.DEVNULL)

    @staticmethod
    def _lab(*args):
        return subprocess.run([LAB, *args], check=True, stdout=subprocess.PIPE, text=True).stdout

    def share(self):
        return pathlib.Path(self._lab("share", self.name).strip())

    def run(self, command, user=None):
        """The command's result, whatever its exit code."""
        verb = ["as", self.name, user] if user else ["run", self.name]
        return subprocess.run([LAB, *verb, command], check=False, capture_output=True, text=True)

    def sh(self, command, user=None):
        """The command's output; its failure is ours."""
        done = self.run(command, user)
        if done.returncode:
            raise Failed(f"{user or 'root'}: {command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def write(self, path, text):
        self.sh(f"printf %s {shlex.quote(text)} > {path}")

    def until(self, what, condition, seconds=90, pause=0.3):
        """Waits for a condition in the guest; what it waited for is in the error."""
        end = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {seconds} s")
            time.sleep(pause)

    def slurm_of(self, slurm):
        """The folder of packages that make this guest's Slurm another."""
        return pathlib.Path(self._lab("upgrade", SUITES[self.slurm], SUITES[slurm]).strip())

    # Tenantry

    def add_accounts(self):
        for user, account in ACCOUNTS.items():
            self.sh(f"sacctmgr -iQ add account {account}; sacctmgr -iQ add user {user} account={account}")

    def install(self, around=()):
        """What an admin does: the files, the tenants, what stands around (surroundings.py), the services, slurmd anew."""
        stage = self.share() / "stage"
        make = ["make", "-s", "-C", str(ROOT), "install", f"DESTDIR={stage}"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        self.build_oracle(stage)
        self.sh("cp -a --no-preserve=ownership /host/stage/. / && mkdir -p /var/log/oracle && touch /var/log/oracle/tasks /var/log/oracle/epilog /var/log/oracle/steps"
                " && chmod 666 /var/log/oracle/*")
        self.write("/etc/tenantry/tenants.toml", TENANTS)
        self.write("/etc/tenantry/tenantryd.toml", "sample_interval_ms = 1000\nblock_interval_ms = 2000\n")
        self.sh("systemd-sysusers && systemd-tmpfiles --create /usr/lib/tmpfiles.d/tenantry.conf && systemctl daemon-reload")
        for set_up in around:
            set_up(self)
        self.sh("systemctl enable -q --now tenantry-server tenantryd.socket tenantryd tenantry-warden")
        self.restart_slurmd()

    def build_oracle(self, stage):
        headers = self._lab("headers", SUITES[self.slurm]).strip()
        oracle = stage / "usr/lib/tenantry/oracle.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-I", headers, "-o", oracle,
                        ROOT / "tests/conformance/oracle/oracle.c"], check=True)
        conf = stage / "etc/slurm/plugstack.conf.d/00-oracle.conf"
        conf.write_text("required /usr/lib/tenantry/oracle.so\n")

    def restart_slurmd(self):
        units = " ".join(["slurmd"] if self.nodes == 1 else [f"slurmd@n{n}" for n in range(1, self.nodes + 1)])
        self.sh(f"systemctl restart {units}")
        self._lab("wait-slurm", self.name)

    def use_plugin(self, kind=""):
        """The plugin as it is packaged, or another build of it: "fault"."""
        file = f"spank_tenantry-{self.slurm}.so"
        shutil.copy(ROOT / "target/plugins" / kind / file, self.share())
        # A new file under the name: a running slurmstepd keeps the old one.
        self.sh(f"cp /host/{file} /usr/lib/tenantry/new.so && mv /usr/lib/tenantry/new.so /usr/lib/tenantry/{file}")

    def usage(self, *args):
        return json.loads(self.sh("tenantry usage --format json " + " ".join(args)))["usage"]

    def slurmd_log(self):
        return self.sh("cat /var/log/slurm/slurmd*.log")

    def node_states(self):
        return self.sh("sinfo -h -N -o %T").split()
