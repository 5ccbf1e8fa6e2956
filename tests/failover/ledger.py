"""The ledger of the drills: its database, the tenantry-servers over it, and what stands in it."""

import pathlib
import subprocess

from network import cpu_seconds, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = ROOT / "target/release/tenantry-server"
SETUP = ROOT / "packaging/postgres/setup.sql"
DATABASE = "tenantry"
PASSWORD = "of-the-drill"
ROLES = ("meter_owner", "meter_writer", "billing_reader")


def migrate(network, machine, place, primary):
    """The database as docs/ledger.md has an administrator make it: setup.sql as the superuser, then the tables as the owner."""
    primary.sql(f"CREATE DATABASE {DATABASE}")
    primary.sql_file(SETUP, DATABASE)
    for role in ROLES:
        primary.sql(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    password = place / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    settings = place / "migrate.toml"
    settings.write_text(server_settings(place, "migrate", [primary.address], "optional"))
    network.run_on(machine, SERVER, "--config", settings, "migrate", "--password-file", password)


def server_settings(place, name, hosts, standby):
    """A server.toml."""
    listed = ", ".join(f'"{host}"' for host in hosts)
    return f"""
ingest_socket = "{place}/{name}.ingest.sock"
api_socket = "{place}/{name}.api.sock"
[postgres]
hosts = [{listed}]
writer_password_file = "{place}/password"
reader_password_file = "{place}/password"
tls = "off"
standby = "{standby}"
acknowledge_timeout_ms = 3000
"""


class Servers:
    """Two tenantry-servers on one machine, over one ledger."""

    def __init__(self, network, machine, place, names, count=2):
        self.network, self.machine, self.place = network, machine, place
        self.names = [f"server{number}" for number in range(1, count + 1)]
        self.hosts = [network.address[name] for name in names]
        self.sockets = [place / f"{name}.ingest.sock" for name in self.names]
        self.processes = []
        self.configure("required")

    def configure(self, standby):
        """Writes their settings; the control's allow a ledger without a synchronous standby."""
        for name in self.names:
            (self.place / f"{name}.toml").write_text(server_settings(self.place, name, self.hosts, standby))

    def start(self):
        """Both, until both listen."""
        for name in self.names:
            with (self.place / f"{name}.log").open("a") as log:
                command = self.network.command_on(self.machine, SERVER, "--config", self.place / f"{name}.toml")
                self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_for("both servers listen", self.are_listening)

    def are_listening(self):
        """By the kernel's list of the machine's sockets; a server that has ended is an error."""
        for process, name in zip(self.processes, self.names):
            if process.poll() is not None:
                raise RuntimeError(f"a server ended with exit code {process.returncode}: {(self.place / f'{name}.log').read_text()[-500:]}")
        listed = pathlib.Path(f"/proc/{self.processes[0].pid}/net/unix").read_text()
        return all(str(socket) in listed for socket in self.sockets)

    def kill(self):
        """kill -9 of both."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.processes = []

    def resident_bytes(self):
        """What each has in memory."""
        page = 4096
        return [int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * page for process in self.processes]

    def cpu_seconds(self):
        """CPU time of all of them."""
        return sum(cpu_seconds(process.pid) for process in self.processes)


def ledger_blocks(primary, prefix):
    """(name, hash) of each block that the nodes of a prefix have in the ledger: the hash by PostgreSQL, of the bytes that are stored.

    The last 100 bytes of a block are key, signature and checksum, which its hash leaves out (docs/block-format.md)."""
    rows = primary.sql("SELECT boot.node || '/' || boot.boot_id || '/' || b.sequence, "
                       "encode(sha256(substring(b.payload FROM 1 FOR octet_length(b.payload) - 100)), 'hex') "
                       f"FROM meter.block b JOIN meter.boot USING (boot) WHERE boot.node LIKE '{prefix}%'", DATABASE)
    return [row.split("|") for row in rows.splitlines()]


def usage_rows(primary, prefix):
    """(blocks, rows, runs): each block of a drill ends one run, which the ledger must count once."""
    said = primary.sql("SELECT (SELECT count(*) FROM meter.block JOIN meter.boot USING (boot) WHERE node LIKE '{0}%'), count(*), "
                       "count(DISTINCT (job_id, node, boot_id, began_unix_usec)) FROM meter.usage WHERE node LIKE '{0}%'".format(prefix), DATABASE)
    return tuple(int(figure) for figure in said.strip().split("|"))
