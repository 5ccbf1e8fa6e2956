#!/usr/bin/env python3
"""A primary of PostgreSQL and a synchronous standby, really running, in a temporary directory, gone at the end.

    tests/postgres/cluster.py COMMAND...     runs COMMAND with the cluster's addresses in its environment

    TENANTRY_TEST_POSTGRES_HOSTS  "127.0.0.1:P,127.0.0.1:S", the primary first
    TENANTRY_TEST_POSTGRES_DIR    the directory: primary/, standby/, primary.log, standby.log
    TENANTRY_TEST_POSTGRES_SUPER  "postgres://postgres:...@127.0.0.1:P/postgres", for the tests' own superuser
    TENANTRY_TEST_POSTGRES_PASSWORD  of every role here

Other tests import `Cluster`. It needs Debian's postgresql (tests/deps); as root it runs PostgreSQL as user postgres."""

import contextlib
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETUP = ROOT / "packaging/postgres/setup.sql"
SETTINGS = ROOT / "packaging/postgres/tenantry.conf"
ROLES = ("meter_owner", "meter_writer", "billing_reader")


def binaries():
    """PostgreSQL's own programs: Debian keeps them out of PATH."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if not initdb:
        sys.exit("no PostgreSQL: run tests/deps")
    return pathlib.Path(initdb).resolve().parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """One server of the cluster."""

    def __init__(self, cluster, name):
        self.cluster, self.name, self.port = cluster, name, free_port()
        self.data, self.log = cluster.dir / name, cluster.dir / f"{name}.log"
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = self.cluster.popen(
                ["postgres", "-D", self.data, "-p", self.port, "-c", f"unix_socket_directories={self.cluster.dir}"],
                stdout=log, stderr=log)
        self.cluster.wait(lambda: self.cluster.run(["pg_isready", "-q", "-h", "127.0.0.1", "-p", self.port], check=False)
                          .returncode == 0, f"{self.name} to start")

    def pid(self):
        """The postmaster's: the process that was started may be runuser."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def stop(self, how=signal.SIGINT):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.pid(), how)
        if self.process:
            self.process.wait(30)
            self.process = None

    def promote(self):
        self.cluster.run(["pg_ctl", "promote", "-w", "-D", self.data])

    def sql(self, text, database="postgres", user="postgres", check=True):
        """What psql says, unaligned, as that user."""
        return self.cluster.psql(self.port, text, database, user, check)

    def text(self):
        return self.log.read_text(errors="replace")


class Cluster:
    """A primary and its synchronous standby."""

    def __init__(self, settings=()):
        self.bin = binaries()
        self.root = os.geteuid() == 0
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tenantry-postgres-"))
        self.password = secrets.token_hex(16)
        self.settings = settings
        if self.root:
            owner = pwd.getpwnam("postgres")
            os.chown(self.dir, owner.pw_uid, owner.pw_gid)
            self.dir.chmod(0o711)
        self.primary, self.standby = Node(self, "primary"), Node(self, "standby")

    def command(self, arguments):
        program, *rest = [str(argument) for argument in arguments]
        own = ["runuser", "-u", "postgres", "--"] if self.root else []
        return [*own, str(self.bin / program), *rest]

    def environment(self):
        return {**os.environ, "PGPASSWORD": self.password, "LC_ALL": "C"}

    def popen(self, arguments, **more):
        return subprocess.Popen(self.command(arguments), cwd="/", env=self.environment(), stdin=subprocess.DEVNULL, **more)

    def run(self, arguments, check=True, **more):
        done = subprocess.run(self.command(arguments), cwd="/", env=self.environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, **more)
        if check and done.returncode:
            raise RuntimeError(f"{arguments[0]} failed: {done.stderr or done.stdout}")
        return done

    def psql(self, port, text, database="postgres", user="postgres", check=True):
        done = subprocess.run([str(self.bin / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
                               "-p", str(port), "-U", user, "-d", database, "-c", text],
                              env=self.environment(), capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip() if check else done

    @staticmethod
    def wait(condition, what, patience=30):
        end = time.monotonic() + patience
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"waited {patience} s for {what}")
            time.sleep(0.02)

    def start(self):
        secret = self.dir / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        self.run(["initdb", "-D", self.primary.data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret}",
                  "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync"])
        secret.unlink()
        with (self.primary.data / "postgresql.conf").open("a") as conf:
            conf.write(SETTINGS.read_text())
            conf.write("listen_addresses = '127.0.0.1'\nmax_connections = 200\nshared_buffers = '256MB'\n"
                       "synchronous_standby_names = ''\n" + "".join(f"{line}\n" for line in self.settings))
        with (self.primary.data / "pg_hba.conf").open("a") as hba:
            hba.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        self.primary.start()
        self.run(["pg_basebackup", "-D", self.standby.data, "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d",
                  f"host=127.0.0.1 port={self.primary.port} user=postgres password={self.password} application_name=standby"])
        self.standby.start()
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (*)'")
        self.primary.sql("SELECT pg_reload_conf()")
        self.wait(lambda: self.primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync", "the standby")
        return self

    def make_database(self, name="tenantry", node=None):
        """An empty ledger's database as the administrator makes it, roles with this cluster's password."""
        node = node or self.primary
        node.sql(f"CREATE DATABASE {name}")
        done = subprocess.run([str(self.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(node.port),
                               "-U", "postgres", "-d", name, "-f", str(SETUP)],
                              env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        for role in ROLES:
            node.sql(f"ALTER ROLE {role} PASSWORD '{self.password}'")

    def hosts(self):
        return f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"

    def variables(self):
        return {"TENANTRY_TEST_POSTGRES_HOSTS": self.hosts(), "TENANTRY_TEST_POSTGRES_DIR": str(self.dir),
                "TENANTRY_TEST_POSTGRES_PASSWORD": self.password,
                "TENANTRY_TEST_POSTGRES_SUPER": f"postgres://postgres:{self.password}@127.0.0.1:{self.primary.port}/postgres"}

    def close(self):
        for node in (self.standby, self.primary):
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.stop(signal.SIGQUIT)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with Cluster() as cluster:
        cluster.make_database()
        return subprocess.run(sys.argv[1:], env={**os.environ, **cluster.variables()}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
