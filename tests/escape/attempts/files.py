"""Tenantry's files and directories, and the other tenant's."""

from attempt import Attempt

TITLE = "files"

OURS = "/run/tenantry /run/tenantry/jobs /var/lib/tenantry /var/lib/tenantry/outbox /var/lib/tenantry-server"
MODES = "The directories are 0700, root's or the server's"

READ_OURS = f"""
for dir in {OURS}; do cp -r "$dir" "copy-$(basename "$dir")"; tried "copy $dir: $?"; done
for file in /var/lib/tenantry/spool.sqlite /var/lib/tenantry-server/ledger.sqlite /var/lib/tenantry/tenants.last-good.json \\
  /run/tenantry/jobs/n1_slurmstepd.scope/$VICTIM_JOB/registration.json /proc/$DAEMON/environ /proc/$DAEMON/root/var/lib/tenantry/spool.sqlite; do
  cat "$file" >> stolen; tried "read $file: $?"
done"""

STOLEN = """
for file in /var/lib/tenantry/tenants.last-good.json "/run/tenantry/jobs/n1_slurmstepd.scope/$CAROL_JOB/registration.json"; do
  for copy in $(find "$WORK" -type f -size +0); do
    ! grep -qaF "$(head -c 200 "$file")" "$copy" || breach "$copy holds $file"
  done
done
! find "$WORK" -type f -size +0 -exec head -c 15 {} + | grep -qa 'SQLite format' || breach "the attacker has a database" """

WRITE_OURS = f"""
for file in /run/tenantry/x /run/tenantry/jobs/x /run/tenantry/jobs/n1_slurmstepd.scope/$JOB/registration.json /var/lib/tenantry/outbox/1-x-1.json \\
  /var/lib/tenantry/spool.sqlite /var/lib/tenantry/tenants.last-good.json /var/lib/tenantry-server/ledger.sqlite /run/tenantry-server/x \\
  /etc/tenantry/tenants.toml /etc/tenantry/tenantryd.toml /etc/tenantry/server.toml /usr/lib/tenantry/spank_tenantry-*.so \\
  /var/lib/tenantry-plugin/plugstack.conf /etc/slurm/plugstack.conf.d/tenantry.conf /etc/slurm/slurm.conf /usr/sbin/tenantryd; do
  write '' "$file"; try rm -f "$file"; try mv -f stolen "$file"
done 2>&1 | tail -n 60
for dir in {OURS} /etc/tenantry /usr/lib/tenantry; do try mkdir "$dir/mine"; try mv "$dir" "$dir.old"; try chmod 777 "$dir"; done 2>&1 | tail -n 30"""

ATTEMPTS = [
    Attempt("read-our-files", "reads registrations, outbox, spool, ledger and the last good tenants file", MODES + ".", READ_OURS, judge=STOLEN,
            control="root"),
    Attempt("read-our-files-userns", "the same as root of a user namespace, with a mount namespace of its own", "A user namespace has no rights over files of users it does not map.",
            f"userns -m <<'END'\n{READ_OURS}\nmkdir -p b; mount --rbind /var/lib b && cp -r b/tenantry b/tenantry-server .\nEND", judge=STOLEN,
            uncontrolled="judged as read-our-files is"),
    Attempt("write-our-files", "writes, removes and replaces them, the tenants file, the plugin, and Slurm's configuration", "They are root's, and so are the directories they stand in.",
            WRITE_OURS, control="tried; mkdir /run/tenantry/mine", undo="rmdir /run/tenantry/mine"),
    Attempt("write-our-files-userns", "the same as root of a user namespace", "A user namespace has no rights over files of users it does not map.",
            f"userns -m <<'END'\n{WRITE_OURS}\nEND", uncontrolled="judged as write-our-files is"),
    Attempt(
        "links-to-our-files", "makes hard and symbolic links to them, and into their directories", "Modes; and the kernel's `protected_hardlinks`.", """
for file in /var/lib/tenantry/spool.sqlite /var/lib/tenantry-server/ledger.sqlite /etc/tenantry/tenants.toml /usr/lib/tenantry/spank_tenantry-*.so /run/tenantry-server/ingest.sock; do
  try ln -f "$file" "hard-$(basename "$file")"; try ln -sf "$file" "soft-$(basename "$file")"; try cat "soft-$(basename "$file")" >/dev/null
  write x "soft-$(basename "$file")"
done
for dir in /run/tenantry /run/tenantry/jobs /var/lib/tenantry/outbox /run/tenantry-server /etc/tenantry; do try ln -s /etc/shadow "$dir/link"; done""", judge="""
for file in "$WORK"/hard-*; do [ ! -e "$file" ] || breach "$file is a hard link to $(stat -c '%h links, inode %i' "$file")"; done""",
        control="tried; ln /var/lib/tenantry/spool.sqlite hard-spool", undo="rm -f /root/escape/control/links-to-our-files/hard-spool"),
    Attempt(
        "rename-race", "swaps a directory and a link to our directories a thousand times, at the names that our daemons and Slurm open in its reach",
        "Nothing of ours opens a path that a tenant can write in; cgroup paths are opened beneath one descriptor, without links.", """
python3 - <<'END'
import os
os.makedirs("real", exist_ok=True)
os.symlink("/var/lib/tenantry", "link") if not os.path.islink("link") else None
done = 0
for place in ("/tmp/tenantry", "/tmp/tenantry-outbox", "/var/tmp/tenantry", "/dev/shm/tenantry", "/run/lock/tenantry"):
    try:
        os.makedirs(place, exist_ok=True); os.symlink("/etc/tenantry", place + ".link")
    except OSError as error: print("tried:", error)
    for _ in range(200):
        try: os.rename(place, place + ".x"); os.rename(place + ".link", place); os.rename(place, place + ".link"); os.rename(place + ".x", place); done += 1
        except OSError as error: print("tried:", error); break
for place in ("/run/tenantry", "/run/tenantry/jobs", "/var/lib/tenantry/outbox", "/run/tenantry-server"):
    try: os.rename(place, place + ".x"); print("tried: renamed", place)
    except OSError as error: print("tried:", error)
print("tried:", done, "swaps")
END""", control="tried; mv /run/tenantry-server /run/tenantry-server.x", undo="""
mv /run/tenantry-server.x /run/tenantry-server; rm -rf /tmp/tenantry* /var/tmp/tenantry* /dev/shm/tenantry* /run/lock/tenantry*"""),
    Attempt(
        "job-output-into-ours", "names cgroup files, sockets and records of ours as a job's output, input, error and directory",
        "slurmstepd opens these as the user.", """
printf '#!/bin/sh\\necho $$\\nsleep 0.2\\n' > out.sh
for file in "$VICTIM_LEAF/tenantry/cgroup.procs" "$LEAF/memory.max" /run/tenantry/x /etc/tenantry/tenants.toml /var/lib/tenantry/outbox/x.json /run/escape-root; do
  sbatch -Q --parsable --mem=20M -o "$file" -e "$file" out.sh; tried "output $file: $?"
done
sbatch -Q --parsable --mem=20M -i /run/tenantry/jobs/n1_slurmstepd.scope/$VICTIM_JOB/registration.json -D /var/lib/tenantry -o "$PWD/in" --wrap cat
sleep 1""", judge="""
quiet
! grep -qs incarnation "$WORK/in" || breach "the job read a registration" """, control="tried; echo > /run/escape-root", undo="rm -f /run/escape-root"),
    Attempt(
        "fill-memory-file-systems", "fills /run/lock, /dev/shm and /tmp until nothing more goes in, and takes every inode it can; another tenant's job must go on as ever",
        "What it writes there is charged to its tenant; /run itself is root's.", """
python3 - <<'END'
import os
for place in ("/run/lock", "/run", "/run/user", "/run/tenantry", "/run/tenantry/users", "/run/tenantry-server", "/sys/fs/bpf", "/sys/fs/bpf/tenantry"):
    try:
        fd = os.open(place + "/fill-mallory", os.O_CREAT | os.O_WRONLY)
        size = 0
        while size < 64 << 20: size += os.write(fd, b"x" * (1 << 20))
    except OSError as error: print("tried:", place, error)
made = 0
try:
    for made in range(3000): os.close(os.open(f"/dev/shm/fill-mallory-{made}", os.O_CREAT | os.O_WRONLY))
except OSError as error: print("tried:", error)
print("tried:", made, "files")
END""", judge="""
printf '#!/bin/sh\\ncat /proc/self/cgroup\\n' > /tmp/after.sh; rm -f /home/carol/after.out
if [ -z "$CONTROL" ]; then
  lab-as carol "sbatch --parsable --mem=20M -o after.out --wait /tmp/after.sh" > /root/escape/after.job || breach "carol's job failed"
  grep -q "tenant_globex/job_$(cat /root/escape/after.job)/" /home/carol/after.out || breach "carol's job ran in $(cat /home/carol/after.out)"
  quiet
fi
free=$(df --output=avail /run | tail -n 1)
rm -f /run/lock/fill-mallory /dev/shm/fill-mallory-* /run/fill
[ "$free" -gt 200000 ] || breach "/run has $free KiB left" """, control="tried; head -c 380M /dev/zero > /run/fill"),
    Attempt(
        "secrets-in-logs", "collects every log, journal and crash file that it can read, and looks for others' secrets",
        "Tenantry logs no environment, and no value of a job's; logs are root's and Slurm's.", """
tried; cp -r /var/log /run/log logs 2>/dev/null; mkdir -p logs; cp -r /var/log/* logs/ 2>/dev/null; dmesg > logs/dmesg 2>&1
timeout 5 journalctl -q > logs/journal 2>&1; tried collected""", judge="""
knows_secret
secret=$(cat /root/escape/secret)
! { journalctl -q -o cat; cat /var/log/slurm/*.log; } | grep -qaF "$secret" || breach "a log holds the victim's secret"
! grep -rqaF "$secret" /var/lib/tenantry /var/lib/tenantry-server /run/tenantry || breach "a record of ours holds the victim's secret" """,
        control='tried; cat "/proc/$VICTIM/environ" > environ'),
]
