"""What a job leaves for whoever comes after."""

from attempt import Attempt

TITLE = "residue"

GONE = """
[ -z "$CONTROL" ] || ENDED_JOB=
uid=$(id -u "$WHO")
left=$(ipcs -m -p 2>/dev/null | awk -v who="$WHO" '$2 == who'; ipcs -q | awk -v who="$WHO" '$3 == who'; ipcs -s | awk -v who="$WHO" '$3 == who'
  find /dev/shm /dev/mqueue -mindepth 1 -uid "$uid" ! -name 'shared-by*' 2>/dev/null)
[ -z "$left" ] || breach "left: $left"
"""

CLEAR = """
rm -rf /dev/shm/escape-residue* /dev/mqueue/escape-residue
for id in $(ipcs -m | awk '$1 == "0x000001e5" {print $2}'); do ipcrm -m "$id"; done
for id in $(ipcs -q | awk '$1 == "0x000001e5" {print $2}'); do ipcrm -q "$id"; done
for id in $(ipcs -s | awk '$1 == "0x000001e5" {print $2}'); do ipcrm -s "$id"; done; true"""

MOUNTED = "mountpoint -q /dev/mqueue || mount -t mqueue none /dev/mqueue"

ATTEMPTS = [
    Attempt(
        "shared-memory-left", "leaves data in System V shared memory, semaphores and queues, POSIX queues and /dev/shm for the next job, charged to its tenant for ever",
        "The epilog removes what the job's user owns there when his last job on the node ends (`shared_memory = \"remove\"`).",
        '"$BIN/ipc" leave "a message to the next tenant"', prepare=MOUNTED, judge=GONE, user="bob", job="",
        control=CLEAR + '\n"$BIN/ipc" leave "a message to the next tenant"', undo=CLEAR, needs="residue", alone=True),
    Attempt(
        "shared-memory-hidden", "hides it: directories of mode 0, names with newlines and bytes that are no text, a tree deeper than a path may be long",
        "The epilog walks by descriptors, beneath one directory, whatever the names and modes.", """
tried; cd /dev/shm; python3 - <<'END'
import os
os.mkdir("escape-residue-d", 0o700); open("escape-residue-d/x", "w").write("secret"); os.chmod("escape-residue-d", 0)
open(b"escape-residue-\\n\\xff'\\"; rm -rf x", "w").write("secret")
os.mkdir("escape-residue-deep"); os.chdir("escape-residue-deep")
for _ in range(3000): os.mkdir("d" * 40); os.chdir("d" * 40)
open("x", "w").write("secret")
END""", judge=GONE, user="bob", job="", control='tried; touch /dev/shm/escape-residue-x; chown root /dev/shm/escape-residue-x', undo=CLEAR, needs="residue", alone=True),
    Attempt(
        "removal-misled", "leaves links in /dev/shm and /tmp to the victim's and to root's files, and swaps a directory for a link all the while, for the epilog to follow",
        "The removal follows no link and removes what the job's user owns, beneath the directory alone.", """
tried; ln -s /home/carol /dev/shm/escape-residue-l; ln -s /etc/tenantry /tmp/escape-residue-l; ln -s /home/carol/precious /dev/shm/escape-residue-f
mkdir -p /dev/shm/escape-residue-race /dev/shm/escape-residue-y; ln -s /home/carol /dev/shm/escape-residue-z
python3 - <<'END'
import os, time
os.chdir("/dev/shm"); end = time.time() + 2
while time.time() < end:
    os.rename("escape-residue-race", "escape-residue-q"); os.rename("escape-residue-z", "escape-residue-race")
    os.rename("escape-residue-race", "escape-residue-z"); os.rename("escape-residue-q", "escape-residue-race")
END""", prepare="echo precious > /home/carol/precious; chown carol /home/carol/precious", judge="""
[ "$(cat /home/carol/precious 2>/dev/null)" = precious ] || breach "the victim's file is gone"
[ -s /home/carol/secret ] && [ -d /home/carol/arena ] || breach "the victim's home was emptied"
""" + GONE, user="bob", job="", control="tried; rm -f /home/carol/precious", undo="rm -rf /tmp/escape-residue*; " + CLEAR.strip(), needs="residue", alone=True),
    Attempt(
        "temporary-files-left", "leaves files in /tmp and /var/tmp for the next job, readable by all, where the site wants them removed",
        "The epilog removes them (`tmp = \"remove\"`).", """
tried; echo message > /tmp/escape-residue-bob; mkdir -p /var/tmp/escape-residue-bob/x; echo message > /var/tmp/escape-residue-bob/x/y; chmod 0 /var/tmp/escape-residue-bob/x""", judge="""
left=$(find /tmp /var/tmp -uid "$(id -u "$WHO")" -name 'escape-residue*'); [ -z "$left" ] || breach "left: $left" """, user="bob", job="",
        control="tried; touch /tmp/escape-residue-root", undo="rm -rf /tmp/escape-residue* /var/tmp/escape-residue*", needs="residue", alone=True),
    Attempt(
        "others-files-in-mine", "makes directories in /dev/shm and /tmp that anybody may write to, so that the removal of what it leaves takes others' files with it; "
        "leaves a file in another's directory, so that it stays",
        "What another owns stays, with the directories that hold it; in /dev/shm what the job's user owns is found in others' directories, too.", """
for dir in /dev/shm /tmp; do mkdir -m 0777 $dir/escape-residue-common; mkdir -m 0777 $dir/escape-residue-common/deep; done
for _ in $(seq 100); do [ -d /dev/shm/escape-carol ] && break; sleep 0.1; done
echo mine > /dev/shm/escape-carol/escape-residue; mkdir -p /dev/shm/escape-carol/escape-residue-d/x; tried "$(ls /dev/shm/escape-carol)"; sleep 1""", during="""
for _ in $(seq 100); do [ -d /tmp/escape-residue-common/deep ] && break; sleep 0.1; done
lab-as carol 'for dir in /dev/shm /tmp; do mkdir $dir/escape-residue-common/deep/data; echo precious > $dir/escape-residue-common/deep/data/file; done
mkdir -m 0777 /dev/shm/escape-carol; echo precious > /dev/shm/escape-carol/file'""", judge="""
here=$(cat /dev/shm/escape-residue-common/deep/data/file /tmp/escape-residue-common/deep/data/file /dev/shm/escape-carol/file 2>&1)
of_bob=$(find /dev/shm/escape-carol -uid "$(id -u bob)")
rm -rf /dev/shm/escape-carol /dev/shm/escape-residue-common /tmp/escape-residue-common
[ "$here" = $'precious\\nprecious\\nprecious' ] || breach "of carol's files there are: $here"
[ -z "$of_bob" ] || breach "left: $of_bob"
[ -s /dev/shm/victim ] && ipcs -m | grep -q 0x00007e57 || breach "the victim's shared memory is gone"
""", control="tried", user="bob", job="", needs="residue", alone=True),
    Attempt(
        "planted-names", "plants links at /tmp names that a careless root program would write to", "Nothing of ours writes below /tmp; the kernel's `protected_symlinks`.", """
for name in tenantry tenantry.log tenantryd.pid spank_tenantry.log slurm.log outbox job.sh; do ln -sf /etc/tenantry/tenants.toml "/tmp/$name" 2>&1; tried "/tmp/$name"; done
sbatch -Q --parsable --mem=20M -o /dev/null --wrap true; sleep 2""", judge="""
quiet
find /tmp -maxdepth 1 -user mallory -type l -delete""", control="tried; echo >> /etc/tenantry/server.toml", undo="rm -f /etc/tenantry/server.toml; printf '' > /etc/tenantry/server.toml"),
]
