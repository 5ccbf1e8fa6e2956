"""Device nodes, and the kernel's programs that guard them."""

from attempt import Attempt

TITLE = "devices and BPF"

# Opens a node in any way it may, and stays with the descriptor, so that root can see it.
OPENER = """
cat > opener.py <<'END'
import os, sys
for flags in (os.O_RDWR, os.O_WRONLY) + ((os.O_RDONLY,) if "read" in sys.argv else ()):
    try: fd = os.open(sys.argv[1], flags | os.O_NONBLOCK); break
    except OSError as error: print("tried:", error, flush=True)
else: sys.exit()
print("tried:", sys.argv[1], "open", flush=True)
os.set_inheritable(fd, True)
os.execv(os.environ["BIN"] + "/escapee", ["escapee", "escapee", "20"])
END
"""

ATTEMPTS = [
    Attempt(
        "make-device-nodes", "makes nodes of the disk, of kernel memory and of the kernel log, in its home and in a user namespace",
        "mknod takes CAP_MKNOD in the first user namespace.", """
for node in 'ubd b 98 0' 'mem c 1 1' 'kmsg c 1 11' 'zero c 1 5'; do set -- $node; try mknod "$1" "$2" "$3" "$4"; done
userns -m <<'END'
mount -t tmpfs none /mnt; mount -t devtmpfs none /media; tried "devtmpfs: $?"
for node in 'ubd b 98 0' 'mem c 1 1' 'kmsg c 1 11'; do set -- $node; try mknod "ns-$1" "$2" "$3" "$4"; try mknod "/mnt/$1" "$2" "$3" "$4"; done
END""", judge='find "$WORK" /dev/shm /tmp -type b -o -type c -user "$WHO" | grep . && exit 10; true', control="root",
        undo="rm -f /root/escape/control/make-device-nodes/*"),
    Attempt(
        "open-root-devices", "opens the disk, the kernel log, loop devices, consoles and other users' terminals",
        "The nodes' modes.", OPENER + """
for node in /dev/ubda /dev/kmsg /dev/mem /dev/port /dev/loop-control /dev/loop0 /dev/console /dev/tty1 /dev/hwrng /dev/autofs /proc/kcore /proc/kmsg; do
  python3 opener.py "$node" &
done; sleep 2""", judge="""holds /dev/ubda /dev/kmsg /dev/mem '/dev/loop*' /dev/console /dev/tty1 '/proc/k*' """, control="root"),
    Attempt(
        "open-unlisted-devices", "opens nodes that anybody may open but that are not in the tenant's list: /dev/fuse, the disk and the kernel log by nodes of mode 666",
        "The device program on the tenant's group.", OPENER + """
for node in /tmp/nodes/kmsg /tmp/nodes/ubd /tmp/nodes/full2 /dev/fuse; do
  python3 opener.py "$node" read &
done; sleep 1; head -c 4 /dev/zero > listed; echo > /dev/null && tried "the listed ones: $(stat -c %s listed)" """, prepare="""
mkdir -p /tmp/nodes; mknod -m 666 /tmp/nodes/kmsg c 1 11; mknod -m 666 /tmp/nodes/ubd b 98 0; mknod -m 666 /tmp/nodes/full2 c 10 237; true""", judge="""
holds '/tmp/nodes/*' /dev/fuse
[ "$(stat -c %s "$WORK/listed")" = 4 ] || { echo "a listed device does not work"; exit 3; }""", control="root", needs="devices"),
    Attempt(
        "write-read-only-device", "writes to a device that its list has to read", "The device program on the tenant's group.", OPENER + """
python3 opener.py /dev/zero & sleep 0.7""", judge="holds /dev/zero", control="root", needs="devices"),
    Attempt(
        "bpf-replace", "loads BPF programs that allow everything, attaches them to its groups, and detaches those that stand there",
        "`unprivileged_bpf_disabled`, and attaching takes CAP_NET_ADMIN or CAP_SYS_ADMIN of the first namespace.", """
for group in "$LEAF" "$TENANT" "$SCOPE"; do "$BIN/bpf" "$group"; done
userns -n <<'END'
for group in "$LEAF" "$TENANT"; do "$BIN/bpf" "$group"; done
END
ls /sys/fs/bpf; rm -rf /sys/fs/bpf/tenantry; tried pins""", prepare="""
bpftool cgroup tree "$SCOPE" > /root/escape/bpf.before 2>&1""", judge="""
bpftool cgroup tree "$SCOPE" > /root/escape/bpf.after 2>&1
diff /root/escape/bpf.before /root/escape/bpf.after || exit 10""", control='"$BIN/bpf" "$SCOPE/system" & sleep 0.5; wait', undo="""
for kind in cgroup_device cgroup_inet_egress cgroup_inet_sock_create cgroup_inet4_connect; do
  for id in $(bpftool cgroup list "$SCOPE/system" 2>/dev/null | awk '$2 == "'$kind'" {print $1}'); do bpftool cgroup detach "$SCOPE/system" $kind id "$id"; done
done; true"""),
]
