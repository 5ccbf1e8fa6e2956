"""tenantry-server, debug build, beside a Cluster: its settings, the program while it runs, and a way to ask it."""

import contextlib
import http.client
import json
import os
import socket
import subprocess

import cluster

PROGRAMS = cluster.ROOT / "target/debug"
SERVER = PROGRAMS / "tenantry-server"


class Unix(http.client.HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path, timeout=10):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def sockets(place):
    """Of server.toml: where it is asked."""
    return f'ingest_socket = "{place}/ingest.sock"\napi_socket = "{place}/api.sock"\n'


def database(lab, password):
    """Of server.toml: the cluster, in the clear; `password` is a file."""
    return (f'[postgres]\nhosts = {json.dumps(lab.hosts().split(","))}\ntls = "off"\n'
            f'writer_password_file = "{password}"\nreader_password_file = "{password}"\n')


@contextlib.contextmanager
def running(lab, place, settings, environment=()):
    """The program with these settings and the sockets of `place`, once it serves or has ended; its log is server.log there."""
    socket_file = place / "api.sock"
    socket_file.unlink(missing_ok=True)
    with (place / "server.log").open("wb") as log:
        program = subprocess.Popen([SERVER, "--config", settings], stderr=log, env={**os.environ, **dict(environment)})
    try:
        lab.wait(lambda: socket_file.exists() or program.poll() is not None, "tenantry-server")
        yield program
    finally:
        program.terminate()
        program.wait(20)
