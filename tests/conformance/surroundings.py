"""What stands around Tenantry in a guest beside its defaults: PostgreSQL as the ledger, TLS as the way to the server. Each is set up as the
book says (docs/ledger.md, docs/network.md), by an administrator's commands, before the services start."""

import json
import shutil
import subprocess

import work
from guest import LAB, ROOT, Failed

SERVER_TOML = "/etc/tenantry/server.toml"
AS_POSTGRES = "cd / && runuser -u postgres --"
ROLES = ("meter_owner", "meter_writer", "billing_reader")

# The authority and the certificate of PostgreSQL, as a site's own would make them.
CERTIFICATES = """
cd /etc/tenantry
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=databases' -keyout /root/databases.key -out postgres-ca.pem
cert() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$2.key" -out /root/request.pem
  printf '%s\\n' "$3" > /root/extensions
  openssl x509 -req -in /root/request.pem -CA postgres-ca.pem -CAkey /root/databases.key -CAcreateserial -days 30 -extfile /root/extensions -out "$2.pem"
}
cert db1 /etc/postgresql/db1 'subjectAltName=DNS:n1'
for role in meter_owner meter_writer billing_reader; do cert $role /etc/tenantry/$role 'extendedKeyUsage=clientAuth'; done
cp postgres-ca.pem /etc/postgresql/ && chown postgres: /etc/postgresql/db1.*
for role in meter_writer billing_reader; do chgrp tenantry $role.key && chmod 0640 $role.key; done
"""
# A role's certificate and its password, over TLS, and no other way in from the network.
HBA = """local all postgres peer
local replication postgres peer
hostssl tenantry meter_owner,meter_writer,billing_reader all scram-sha-256 clientcert=verify-full
"""


def postgres(guest):
    """A primary and a synchronous standby, reached over the network by TLS with a certificate at both ends."""
    subprocess.run([LAB, "install", guest.name, "postgresql"], check=True)
    shutil.copytree(ROOT / "packaging/postgres", guest.share() / "postgres", dirs_exist_ok=True)
    version = guest.sh("ls /usr/lib/postgresql").strip()
    conf, data = f"/etc/postgresql/{version}", f"/var/lib/postgresql/{version}"
    guest.sh(CERTIFICATES)
    guest.sh(f"pg_createcluster {version} standby --port 5433")
    guest.write("/tmp/pg_hba.conf", HBA)
    guest.write("/tmp/network.conf", "listen_addresses = '*'\nssl = on\nssl_ca_file = '/etc/postgresql/postgres-ca.pem'\n"
                "ssl_cert_file = '/etc/postgresql/db1.pem'\nssl_key_file = '/etc/postgresql/db1.key'\n")
    for node in ("main", "standby"):
        guest.sh(f"install -o postgres -m 0640 /tmp/pg_hba.conf {conf}/{node}/pg_hba.conf"
                 f" && install -o postgres -m 0644 /tmp/network.conf /host/postgres/tenantry.conf {conf}/{node}/conf.d/")
    guest.sh(f"systemctl restart postgresql@{version}-main && rm -rf {data}/standby"
             f" && {AS_POSTGRES} pg_basebackup -D {data}/standby -R -X stream -c fast && systemctl start postgresql@{version}-standby")
    guest.until("the standby confirms", lambda: psql(guest, "SELECT sync_state FROM pg_stat_replication") == "sync")
    guest.sh(f"{AS_POSTGRES} createdb tenantry && {AS_POSTGRES} psql -X -q -v ON_ERROR_STOP=1 -d tenantry -f /host/postgres/setup.sql")
    for role in ROLES:
        secret = f"/etc/tenantry/{role}.password"
        guest.sh(f"umask 077; openssl rand -hex 24 > {secret}")
        # The words of \\password, with the password on standard input only.
        guest.sh(f"cd / && {{ printf \"ALTER ROLE {role} PASSWORD '\"; tr -d '\\n' < {secret}; echo \"'\"; }}"
                 " | runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 -d tenantry")
    guest.sh("cd /etc/tenantry && chgrp tenantry meter_writer.password billing_reader.password && chmod 0640 meter_writer.password billing_reader.password")
    with_settings(guest, "[postgres]\n" + "".join(f"{key} = {value}\n" for key, value in {
        "hosts": '["n1:5432", "n1:5433"]', "ca_file": '"/etc/tenantry/postgres-ca.pem"',
        **{f"{key}_password_file": f'"/etc/tenantry/{role}.password"' for key, role in (("writer", ROLES[1]), ("reader", ROLES[2]))},
        **{f"{key}_certificate": f'{{ file = "/etc/tenantry/{role}.pem", key_file = "/etc/tenantry/{role}.key" }}'
           for key, role in (("writer", ROLES[1]), ("reader", ROLES[2]))}}.items()))
    as_owner(guest, "migrate")
    drop_in(guest, "server-network.conf", "tenantry-server")


def as_owner(guest, action):
    """One of the database's own commands; what it said."""
    own = "/etc/tenantry/meter_owner"
    done = guest.run(f"tenantry-server {action} --password-file {own}.password --certificate-file {own}.pem --key-file {own}.key")
    if done.returncode:
        raise Failed(f"tenantry-server {action}: {done.stderr}")
    return done.stderr


def network(guest):
    """An authority of the cluster's own, a certificate for the node and for a reader; the daemon sends over TLS, the socket for blocks is gone."""
    own = "/etc/tenantry/pki"
    # The authority is elsewhere; what each needs is brought to where it is read.
    guest.sh("pki() { tenantry-server pki --dir /root/authority \"$@\"; }; pki init --cluster lab && pki issue server n1 10.77.0.1 && pki issue node n1"
             f" && pki issue reader billing && cd /root/authority && install -d -m 0750 -g tenantry {own}"
             f" && install -m 0644 ca.pem crl.pem server-n1.pem node-n1.pem reader-billing.pem {own}"
             f" && install -m 0640 -g tenantry server-n1.key {own} && install -m 0600 node-n1.key reader-billing.key {own}")
    with_settings(guest, f'[network]\nlisten = ["0.0.0.0:9747"]\ncluster = "lab"\nca = "{own}/ca.pem"\n'
                  f'certificate = "{own}/server-n1.pem"\nkey = "{own}/server-n1.key"\ncrl = "{own}/crl.pem"\n')
    with_settings(guest, client("node-n1"), "/etc/tenantry/tenantryd.toml")
    drop_in(guest, "server-network.conf", "tenantry-server")
    drop_in(guest, "node-network.conf", "tenantryd")


def psql(guest, statement, database="postgres", port=5432):
    """What a statement gives the superuser, unaligned."""
    guest.write("/tmp/statement", statement)
    return guest.sh(f"{AS_POSTGRES} psql -X -q -A -t -v ON_ERROR_STOP=1 -p {port} -d {database} < /tmp/statement").strip()


def client(name):
    own = "/etc/tenantry/pki"
    return f'server_url = "https://n1:9747"\nca = "{own}/ca.pem"\ncertificate = "{own}/{name}.pem"\nkey = "{own}/{name}.key"\n'


def with_settings(guest, text, file=SERVER_TOML):
    """Adds to a file of settings, which tenantry-server may read and no user of the node."""
    guest.write("/tmp/settings", text)
    guest.sh(f"umask 027; cat /tmp/settings >> {file} && chgrp tenantry {file}")


def drop_in(guest, example, unit):
    folder = f"/etc/systemd/system/{unit}.service.d"
    guest.sh(f"install -D -m 0644 /usr/share/tenantry/systemd/{example} {folder}/network.conf && systemctl daemon-reload")


def bill_is_in_postgres(c, guest, usage):
    """PostgreSQL itself, asked as the superuser: the bill is there, on both servers, and the writers came by TLS."""
    billed = sum(row["cpu_usage_usec"] for row in usage if row["cpu_usage_usec"] is not None)
    sums = "SELECT count(*) || ' ' || sum(cpu_usage_usec) FROM billing.usage"
    expected = f"{len(usage)} {billed}"
    c.equal("the ledger in PostgreSQL has the bill: runs, and their CPU time (µs)", psql(guest, sums, "tenantry"), expected)
    def confirmed():
        return psql(guest, sums, "tenantry", 5433) == expected
    try:
        c.check("the standby has the same", guest.until("the standby has replayed it", confirmed, 20))
    except Failed as error:
        c.check("the standby has the same", False, error)
    said = psql(guest, "SELECT json_agg(DISTINCT jsonb_build_array(usename, ssl, client_dn)) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                      " WHERE application_name = 'tenantry-server'")
    roles = sorted(map(tuple, json.loads(said or "[]") or []))
    c.equal("the server is connected by TLS, with the roles' certificates", roles,
            [(role, True, f"/CN={role}") for role in ("billing_reader", "meter_writer")])
    c.equal("tenantry-server runs under systemd with the drop-in", guest.sh("systemctl show -P PrivateNetwork tenantry-server").split(), ["no"])


def no_embedded_ledger(c, guest, _):
    """The settings name a database, and nothing was written beside it."""
    c.check("no embedded ledger was made", guest.run("test -e /var/lib/tenantry-server/ledger.sqlite").returncode != 0)


def bill_came_over_tls(c, guest, _):
    """The server's own count of connections, and the bill as a reader of another machine gets it."""
    place = guest.run("ss -Hxn | grep -c ingest.sock").stdout.strip()
    c.equal("nobody is connected to the server's socket for blocks", place, "0")
    guest.write("/tmp/client.toml", client("reader-billing"))
    options = client("reader-billing").replace("server_url = ", "--server ").replace(" = ", " ")
    options = " ".join(f"--{word}" if word in ("ca", "certificate", "key") else word for word in options.split())
    far = json.loads(guest.sh(f"tenantry usage --format json {options}"))["usage"]
    c.equal("a reader's certificate gets the same bill over TLS as root over the socket", far, guest.usage())
    refused = guest.run(f"tenantry usage --format json {options.replace('reader-billing', 'node-n1')}")
    c.check("a node's certificate reads nothing", refused.returncode != 0 and "may not read usage" in refused.stderr, refused.stdout + refused.stderr)
    c.equal("tenantryd and tenantry-server run under systemd with their drop-ins",
            guest.sh("systemctl show -P PrivateNetwork tenantryd tenantry-server").split(), ["no", "no"])


def bill_moves_to_postgres(c, guest, usage):
    """The embedded ledger with the bill moves into PostgreSQL by the command; the bill is the same there, and the next job comes to it."""
    ledger = "/var/lib/tenantry-server/ledger.sqlite"
    guest.sh("systemctl stop tenantry-server")
    as_it_is = f"sha256sum {ledger}; stat -c %s {ledger}-wal 2>/dev/null || echo 0"
    before = guest.sh(as_it_is)
    postgres(guest)
    said = as_owner(guest, "migrate-to-postgres")
    c.check("migrate-to-postgres moves it, the same to the byte", "the same to the byte" in said, said)
    again = as_owner(guest, "migrate-to-postgres")
    c.check("done again it finds nothing to move", "the same to the byte" in again and "moving" not in again, again)
    c.equal("the file is as it was, and nothing waits beside it", guest.sh(as_it_is), before)
    guest.sh("systemctl start tenantry-server")
    c.equal("the bill is the same", guest.usage(), usage)
    bill_is_in_postgres(c, guest, usage)
    job = work.sbatch(guest, "alice", "", work.BURN.format(1) + "; true")
    work.settle(guest)
    def billed():
        return [row for row in guest.usage("--job", str(job)) if row["state"] == "final"]
    row = guest.until(f"job {job} is billed", billed, 60)[0]
    seen = next(seen for seen in work.oracle(guest, "epilog") if seen["job"] == job)
    c.equal("the next job is billed there, as the kernel says", (row["quality"], row["cpu_usage_usec"]), ("exact", seen["usage_usec"]))
