"""PostgreSQL of the distribution's packages on a machine of the network: primary or synchronous standby."""

import pathlib
import shutil
import subprocess

from network import cpu_seconds, wait_for

PORT = 5432
SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "packaging/postgres/tenantry.conf"
SETTINGS = """
listen_addresses = '*'
port = 5432
unix_socket_directories = '{sockets}'
max_connections = 100
max_wal_senders = 10
shared_buffers = 1GB
wal_level = replica
hot_standby = on
# What pg_rewind reads of a primary that died.
wal_keep_size = 512MB
synchronous_commit = on
synchronous_standby_names = '{standbys}'
# A standby that was cut off is missed, and misses its primary, within seconds.
wal_sender_timeout = 2s
wal_receiver_timeout = 2s
wal_retrieve_retry_interval = 200ms
"""
HBA = """
local all         all                     trust
host  all         all         10.99.0.0/24 scram-sha-256
host  replication replicator  10.99.0.0/24 scram-sha-256
"""


def binaries():
    """Where the newest installed PostgreSQL has its programs; None: there is none."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


class Postgres:
    """One server and its files."""

    def __init__(self, network, name, place, partner):
        self.network, self.name, self.partner = network, name, partner
        self.address = network.address[name]
        self.place = place / name
        self.data = self.place / "data"
        self.bin = binaries()
        self.place.mkdir()
        shutil.chown(self.place, "postgres", "postgres")

    def as_postgres(self, program, *words, **options):
        """One of PostgreSQL's programs, on this machine, as its user."""
        return self.network.run_on(self.name, "runuser", "-u", "postgres", "--", self.bin / program, *words, cwd="/", **options)

    def write(self, name, text):
        """A file of the server's."""
        path = self.data / name
        path.write_text(text)
        shutil.chown(path, "postgres", "postgres")
        path.chmod(0o600)

    def init(self):
        """An empty primary."""
        self.as_postgres("initdb", "-D", self.data, "-A", "trust", "--data-checksums", "-E", "UTF8", "--locale", "C", "-N")
        self.settle()

    def settle(self):
        """The settings that differ between the two: whose acknowledgement a commit waits for, and where to listen."""
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"{SHIPPED.read_text()}include 'drill.conf'\n")
        self.configure()
        self.write("pg_hba.conf", HBA)

    def configure(self):
        """Writes this machine's own settings anew: what came with another's files is the other's."""
        self.write("drill.conf", SETTINGS.format(sockets=self.place, standbys=f"FIRST 1 ({self.partner})"))
        conninfo = f"host={self.network.address[self.partner]} port={PORT} user=replicator password=replicator application_name={self.name}"
        with (self.data / "drill.conf").open("a") as conf:
            conf.write(f"primary_conninfo = '{conninfo} connect_timeout=1'\n")

    def start(self, wait=True):
        """Starts it, as what its files say it is."""
        self.as_postgres("pg_ctl", "-D", self.data, "-l", self.place / "log", "-t", "60", *(["-w"] if wait else ["-W"]), "start")

    def stop(self):
        """Ends it well."""
        self.as_postgres("pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop")

    def reload(self):
        """Settings that were changed hold."""
        self.as_postgres("pg_ctl", "-D", self.data, "reload")

    def promote(self):
        """The standby becomes the primary."""
        self.as_postgres("pg_ctl", "-D", self.data, "-w", "promote")

    def is_up(self):
        """Whether it answers."""
        return self.hears(self.place)

    def hears(self, host):
        """Whether PostgreSQL answers there, asked from this machine."""
        ask = self.network.command_on(self.name, self.bin / "pg_isready", "-q", "-h", host, "-p", PORT)
        return subprocess.run(ask, check=False).returncode == 0

    def sql(self, statement, database="postgres"):
        """What a statement gives, unaligned, as the superuser and over the machine's own socket."""
        return self.as_postgres("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.place, "-p", PORT, "-d", database, "-c", statement)

    def sql_file(self, path, database):
        """A file of statements, as the superuser."""
        self.as_postgres("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.place, "-p", PORT, "-d", database, "-f", "-", input=path.read_text())

    def cpu_seconds(self):
        """CPU time of all its processes."""
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        children = pathlib.Path(f"/proc/{first}/task/{first}/children").read_text().split()
        # The first process last: it has the time of a child that ends meanwhile.
        return sum(cpu_seconds(pid) for pid in [*children, first])

    def has_synchronous_standby(self):
        """Whether a commit here has somewhere to wait for."""
        return self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'").strip() == "1"

    def clone(self, primary):
        """Becomes a standby with a copy of the primary's files."""
        shutil.rmtree(self.data, ignore_errors=True)
        source = f"host={primary.address} port={PORT} user=replicator password=replicator"
        self.as_postgres("pg_basebackup", "-D", self.data, "-d", source, "-X", "stream", "-c", "fast")
        self.write("standby.signal", "")
        self.configure()
        self.start()

    def rejoin(self, primary):
        """A primary that was becomes a standby: what it has beyond the new one's is undone."""
        # A link that was healed just now has no way yet to a neighbour that did not answer.
        wait_for(f"{self.name} reaches {primary.name}", lambda: self.hears(primary.address))
        # Without a checkpoint on the new timeline pg_rewind finds nothing to do.
        primary.sql("CHECKPOINT")
        source = f"host={primary.address} port={PORT} user=rewinder password=rewinder dbname=postgres"
        self.as_postgres("pg_rewind", "-D", self.data, "--source-server", source)
        self.write("standby.signal", "")
        self.configure()
        self.start()


class Pair:
    """A primary and its synchronous standby."""

    def __init__(self, network, place, names=("pg1", "pg2")):
        first, second = names
        self.primary = Postgres(network, first, place, second)
        self.standby = Postgres(network, second, place, first)
        self.primary.init()
        self.primary.start()
        # Before there is a standby no commit may wait for it.
        self.primary.sql("SET synchronous_commit = local; CREATE ROLE replicator REPLICATION LOGIN PASSWORD 'replicator';"
                         "CREATE ROLE rewinder SUPERUSER LOGIN PASSWORD 'rewinder'")
        self.standby.clone(self.primary)
        self.wait_until_whole()

    def wait_until_whole(self):
        """Until the standby confirms commits; returns the seconds that took."""
        return wait_for(f"{self.standby.name} is the synchronous standby of {self.primary.name}", self.primary.has_synchronous_standby)

    def fail_over(self):
        """The standby is the primary from now on; who was it is out until it rejoins."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def rejoin(self):
        """The primary that was is the standby."""
        self.standby.rejoin(self.primary)
        self.wait_until_whole()

    def make_asynchronous(self):
        """The naive setting: a commit waits for nobody. For the control."""
        self.primary.sql("ALTER SYSTEM SET synchronous_commit = local")
        self.primary.reload()
