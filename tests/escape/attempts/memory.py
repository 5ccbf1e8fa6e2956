"""Taking memory, and having others charged for it."""

from attempt import Attempt

TITLE = "memory"

HELD = """
group=$SCOPE/tenant_acme/tenant_physics
if [ -n "$CONTROL" ]; then
  got=$(sed -n 's/got \\([0-9]*\\):.*/\\1/p' "$OUT"); [ "${got:-0}" -lt 200 ] || breach "it got $got of what was bounded to 160 MiB"
else
  peak=$(cat $group/memory.peak); echo "the tenant's peak: $((peak >> 20)) MiB"
  [ "$peak" -le $((160 << 20)) ] || exit 10
  [ "$(value "$CAROL_TENANT/memory.events" oom_kill)" = 0 ] || breach "the victim's tenant had a process killed"
  lives
fi
"""


def bomb(kind, tries, stopped_by, amount=400, state="OUT_OF_MEMORY", uncontrolled=""):
    return Attempt(
        f"{kind}-bomb", tries, stopped_by, f'"$BIN/bomb" {kind} {amount}', judge=HELD, user="bob", job="--mem=400M", alone=True, state=state,
        uncontrolled=uncontrolled, control=None if uncontrolled else f'"$BIN/bomb" {kind} 220')


SAME = "judged as memory-bomb is"
LIMIT = "`memory.max` of the tenant's group; the kernel kills within it, and Slurm reports OUT_OF_MEMORY"

ATTEMPTS = [
    bomb("memory", "takes anonymous memory beyond its tenant's limit, in a job that Slurm allows more", LIMIT + "."),
    bomb("memfd", "takes it as files in memory that have no name", LIMIT + ".", uncontrolled=SAME),
    bomb("sysv", "takes it as System V segments", LIMIT + ".", uncontrolled=SAME),
    bomb("pipes", "takes kernel memory: pipes full of what nobody reads",
         "Kernel memory is charged to the group too: " + LIMIT + "; and the pipe limits of a user.", state="", uncontrolled="how much kernel memory 400 rounds take is the kernel's to say"),
    bomb("tmpfs", "takes it as a file in /dev/shm", LIMIT + ".", uncontrolled=SAME),
    Attempt(
        "page-cache-bomb", "fills the page cache with a file larger than its tenant's limit",
        "The cache is charged to the group and reclaimed within it.", '"$BIN/bomb" cache 300; rm -f cache-bomb', judge="""
peak=$(cat $SCOPE/tenant_acme/tenant_physics/memory.peak)
[ "$peak" -le $((160 << 20)) ] || breach "the tenant's peak was $peak"
lives""", user="bob", job="--mem=400M", alone=True, uncontrolled="root's own cache has no bound to compare with"),
    Attempt(
        "two-jobs-over-the-limit", "runs two jobs that are each within Slurm's limit and together beyond the tenant's",
        "`memory.max` of the tenant's group: the kernel kills in this tenant and nowhere else.", """
tried; sbatch -Q --parsable --mem=130M -o /dev/null --wrap "$BIN/bomb memory 110"; "$BIN/bomb" memory 110; sleep 1; "$BIN/bomb" memory 110""", judge="""
group=$SCOPE/tenant_acme/tenant_physics
[ "$(cat $group/memory.peak)" -le $((160 << 20)) ] || breach "the tenant's peak was $(cat $group/memory.peak)"
[ "$(value "$CAROL_TENANT/memory.events" oom_kill)" = 0 ] || breach "the victim's tenant had a process killed"
lives""", user="bob", job="--mem=130M", alone=True, uncontrolled="memory-bomb's control shows that the limit is what holds"),
    Attempt(
        "charge-the-victim", "has its own memory charged to the victim: writes into the victim's shared file, extends it, pins it",
        "A page is charged to the group of the process that first touches it.", """
python3 - <<'END'
import os
try:
    fd = os.open("/dev/shm/shared-by-carol", os.O_RDWR); os.pwrite(fd, b"x" * (20 << 20), 1 << 20); print("tried: wrote 20 MiB into carol's file")
except OSError as error: print("tried:", error)
END""", prepare="""
rm -f /dev/shm/shared-by-carol; install -o carol -m 0666 /dev/null /dev/shm/shared-by-carol
cat "$CAROL_TENANT/memory.current" > /root/escape/charge.before""", judge="""
[ "$(stat -c %s /dev/shm/shared-by-carol)" -gt $((20 << 20)) ] || [ -n "$CONTROL" ] || { echo "the file was not written"; exit 3; }
grown=$(( $(cat "$CAROL_TENANT/memory.current") - $(cat /root/escape/charge.before) ))
echo "the victim's tenant was charged $((grown >> 10)) KiB"
[ $grown -le $((2 << 20)) ] || exit 10
rm -f /dev/shm/shared-by-carol""", control="""
tried; for i in $(seq 30); do :; done; pid=$VICTIM
sh -c 'echo $$ > "$VICTIM_LEAF/tenantry/cgroup.procs"; exec head -c 8M /dev/zero > /dev/shm/charged'""", undo="rm -f /dev/shm/charged /dev/shm/shared-by-carol"),
    Attempt(
        "free-ride", "uses page cache that the victim paid for, and frees it from under him",
        "**Not stopped**: what two tenants read is charged to the first. The bound is what the victim reads himself; it frees no memory of his.", """
tried; cat /home/carol/public > /dev/null; python3 - <<'END'
import os
fd = os.open("/home/carol/public", os.O_RDONLY); os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED); print("tried: fadvise")
END""", prepare="""
head -c 12M /dev/urandom > /home/carol/public; chown carol /home/carol/public; sync -f /home/carol/public; echo 1 > /proc/sys/vm/drop_caches
{ told /home/carol/arena/desk/x; echo 'cat /home/carol/public | wc -c'; } > /home/carol/arena/queue/free-ride.tmp
rm -f /home/carol/arena/out/free-ride.rc; mv /home/carol/arena/queue/free-ride.tmp /home/carol/arena/queue/free-ride.sh; echo > /home/carol/arena/bell
for _ in $(seq 100); do [ -e /home/carol/arena/out/free-ride.rc ] && break; sleep 0.1; done
value "$MALLORY_TENANT/memory.stat" file > /root/escape/ride.before""", judge="""
grown=$(( $(value "$MALLORY_TENANT/memory.stat" file) - $(cat /root/escape/ride.before) ))
echo "of 12288 KiB that both read, mallory's tenant was charged $((grown >> 10)) KiB"
lives""", uncontrolled="it records a bound; nothing stops it"),
]
