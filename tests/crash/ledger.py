"""What the ledger says in the guest."""

import json

import work


def report(guest):
    """`tenantry usage`, whole: usage, the tenants' counters, gaps."""
    return json.loads(guest.sh("tenantry usage --format json"))


def gaps(guest):
    """What is missing of the node's record, in the order in which it was told."""
    return report(guest)["gaps"]


def wait_billed(guest, seconds=120):
    """Waits until everything the daemon has is in the ledger: no job, no file that waits."""
    work.settle(guest)
    waiting = "find /var/lib/tenantry/outbox /var/lib/tenantry/spooled /run/tenantry/outbox /run/tenantry/spooled -name '*.json'"
    guest.until("every end is in the ledger", lambda: not guest.sh(f"{waiting} 2>/dev/null; true").strip(), seconds)


def same_again(guest):
    """Whether every daemon, killed and started again, leaves the bill as it was."""
    before = guest.usage()
    for unit in ("tenantryd", "tenantry-server"):
        guest.sh(f"systemctl kill -s KILL {unit}")
    guest.until("both are back", lambda: guest.run("systemctl is-active -q tenantryd && systemctl is-active -q tenantry-server"
                                                   " && tenantry usage").returncode == 0)
    wait_billed(guest)
    return guest.usage() == before
