"""A network of the test's own: machines are network namespaces on one bridge, cut off and healed by their link."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time


def run(*command, **options):
    """Runs a command that must succeed, and returns what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_for(what, condition, limit_s=30.0):
    """Waits until the condition holds; returns the seconds that took."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > limit_s:
            raise TimeoutError(f"after {limit_s:.0f} s still not: {what}")
        time.sleep(0.05)
    return time.monotonic() - start


def is_unreaped(pid):
    """Whether a process that was killed is still in the table, as somebody else's child: this program reaps its own later."""
    try:
        parent = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return False
    return int(parent) != os.getpid()


def cpu_seconds(pid):
    """CPU time of a process and of the children that it has seen end; none of one that is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


class Network:
    """Machines by name, with addresses that exist in here only."""

    def __init__(self, *names):
        self.prefix = f"tenantry-{os.getpid()}-"
        self.hub = self.prefix + "hub"
        self.address = {name: f"10.99.0.{number}" for number, name in enumerate(names, 1)}
        run("ip", "netns", "add", self.hub)
        self.in_hub("ip", "link", "add", "bridge", "type", "bridge")
        self.in_hub("ip", "link", "set", "bridge", "up")
        for name, address in self.address.items():
            space = self.space(name)
            run("ip", "netns", "add", space)
            self.in_hub("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space)
            self.in_hub("ip", "link", "set", name, "master", "bridge", "up")
            self.run_on(name, "ip", "link", "set", "lo", "up")
            self.run_on(name, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            self.run_on(name, "ip", "link", "set", "eth0", "up")

    def space(self, name):
        """A machine's namespace."""
        return self.prefix + name

    def in_hub(self, *command):
        """Runs a command where the bridge is."""
        return run("ip", "netns", "exec", self.hub, *command)

    def command_on(self, name, *command):
        """A command as it runs on a machine."""
        return ["ip", "netns", "exec", self.space(name), *map(str, command)]

    def run_on(self, name, *command, **options):
        """Runs a command on a machine."""
        return run(*self.command_on(name, *command), **options)

    def cut(self, name):
        """Nothing comes from or to the machine any more; nobody is told."""
        self.in_hub("ip", "link", "set", name, "down")

    def heal(self, name):
        """Undoes cut."""
        self.in_hub("ip", "link", "set", name, "up")

    def kill(self, name):
        """The machine's power: every process on it, at once."""
        killed = set()

        def is_dark():
            pids = run("ip", "netns", "pids", self.space(name)).split()
            # All are stopped before the first dies: none sees another's end, and reacts.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), number)
            killed.update(pids)
            # One that waits to be reaped still has its number, which PostgreSQL's lock file names.
            return not pids and not any(is_unreaped(pid) for pid in killed)
        wait_for(f"no process is left on {name}", is_dark)

    def remove(self):
        """Ends what still runs on the machines, and takes the network down."""
        for name in self.address:
            self.kill(name)
            run("ip", "netns", "del", self.space(name))
        run("ip", "netns", "del", self.hub)
