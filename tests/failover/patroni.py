"""Three nodes of packaging/examples/patroni, each with etcd, Patroni and PostgreSQL, on machines of the network. The files are the
very ones: each machine sees directories of its own where they name /var/lib and /var/run."""

import json
import pathlib
import re
import shutil
import signal
import subprocess

from network import run, wait_for
from postgres import binaries

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "packaging/examples/patroni"
# Where the machine's own directories stand in place of the system's.
OWN = {"lib": "/var/lib/postgresql", "run": "/var/run/postgresql", "etcd": "/var/lib/etcd"}


class Node:
    """One of the three."""

    def __init__(self, network, name, place, names):
        self.network, self.name = network, name
        self.address = network.address[name]
        self.place = place / name
        self.bin = binaries()
        self.place.mkdir()
        for directory in OWN:
            (self.place / directory).mkdir()
        addresses = [network.address[other] for other in names]
        self.fill = {
            "NAME": name, "ADDRESS": self.address, "NETWORK": "10.99.0.0/24", "VERSION": self.bin.parts[4],
            "ETCD": ",".join(f"{address}:2379" for address in addresses),
            "PEERS": ",".join(f"{other}=http://{network.address[other]}:2380" for other in names),
            "REPLICATION_PASSWORD": "replication-of-the-drill", "REWIND_PASSWORD": "rewind-of-the-drill",
        }
        for example in ("config.yml", "etcd.default"):
            text = re.sub(r"@([A-Z_]+)@", lambda word: self.fill[word[1]], uncommented((EXAMPLES / example).read_text()))
            (self.place / example).write_text(text)
        for path in [self.place, *self.place.rglob("*")]:
            shutil.chown(path, "postgres", "postgres")
        self.processes = []

    def as_postgres(self, *command):
        """A command as the user postgres, where this machine's own directories are."""
        binds = "".join(f"mount --bind {self.place / own} {there} && " for own, there in OWN.items())
        script = f"mkdir -p {' '.join(OWN.values())} && {binds} exec runuser -u postgres -- \"$@\""
        return self.network.command_on(self.name, "sh", "-c", script, "sh", *command)

    def start(self):
        """What its units would start."""
        settings = (self.place / "etcd.default").read_text().split()
        for command in (["env", *settings, "etcd"], ["patroni", self.place / "config.yml"]):
            with (self.place / f"{pathlib.Path(str(command[-1])).stem}.log").open("a") as log:
                self.processes.append(subprocess.Popen(self.as_postgres(*command), cwd="/", stdout=log, stderr=log))

    def kill(self):
        """Its power."""
        self.network.kill(self.name)
        for process in self.processes:
            process.wait()
        self.processes = []

    def kill_postgres(self):
        """PostgreSQL's first process, and nothing else."""
        pid = int((self.place / "lib" / self.fill["VERSION"] / "tenantry/postmaster.pid").read_text().split()[0])
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(pid)], check=True)

    def sql(self, statement, database="postgres"):
        """What a statement gives; empty where PostgreSQL does not answer."""
        psql = [self.bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement]
        done = subprocess.run(self.as_postgres(*psql), cwd="/", capture_output=True, text=True, check=False)
        if done.returncode and "the database system" not in done.stderr and "connection to server" not in done.stderr:
            raise RuntimeError(done.stderr.strip())
        return done.stdout if not done.returncode else ""

    def sql_file(self, path, database):
        """A file of statements, as the superuser."""
        psql = [self.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]
        run(*self.as_postgres(*psql), cwd="/", input=path.read_text())

    def knows_whom_to_promote(self):
        """Whether Patroni has written down who is the synchronous standby: nobody else is promoted. PostgreSQL has one some seconds before."""
        listed = self.as_postgres("patronictl", "-c", self.place / "config.yml", "list", "-f", "json")
        done = subprocess.run(listed, cwd="/", capture_output=True, text=True, check=False)
        return not done.returncode and any(member["Role"] == "Sync Standby" for member in json.loads(done.stdout))

    def is_primary(self):
        """By PostgreSQL's own word."""
        return self.sql("SELECT pg_is_in_recovery()").strip() == "f"


class Cluster:
    """The three."""

    def __init__(self, network, place, names):
        self.network = network
        self.nodes = [Node(network, name, place, names) for name in names]

    def start(self):
        """From nothing to a primary with a synchronous standby and another one."""
        for node in self.nodes:
            node.start()
        self.wait_until_whole(120)

    def primary(self, beside=None):
        """The node that has the ledger; None: there is none now."""
        return next((node for node in self.nodes if node is not beside and node.is_primary()), None)

    def wait_for_another(self, old):
        """Until another node is the primary and has a synchronous standby."""
        def is_there():
            new = self.primary(beside=old)
            return new and self.standbys(new) >= (1, 0)
        wait_for(f"another primary than {old.name}, with a synchronous standby", is_there, 90)

    def standbys(self, primary):
        """(synchronous, others) that stream."""
        said = primary.sql("SELECT json_object_agg(sync_state, n) FROM (SELECT sync_state, count(*) AS n FROM pg_stat_replication "
                           "WHERE state = 'streaming' GROUP BY 1) AS states").strip()
        states = json.loads(said) if said else {}
        return states.get("sync", 0), states.get("async", 0) + states.get("potential", 0)

    def wait_until_whole(self, limit_s=90):
        """Until all three are there: a primary, a synchronous standby, another standby."""
        def whole():
            primary = self.primary()
            return primary and self.standbys(primary) == (1, 1) and primary.knows_whom_to_promote()
        wait_for("a primary, a synchronous standby and another one", whole, limit_s)


def uncommented(text):
    """Without lines that are comments: those of the examples explain the words to fill in."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))
