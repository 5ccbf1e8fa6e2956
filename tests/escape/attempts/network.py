"""Leaving by another interface, talking to whom the tenant may not."""

from attempt import Attempt

TITLE = "network"

GUARD = "The egress guard on the tenant's group: nothing leaves by an interface that is not listed"
HOOKS = "The address hooks on the tenant's group (connect, sendmsg, bind)"

# What leaves by the interface that the tenant may not use is counted by the kernel, per interface.
OTHER_BEFORE = "cat /sys/class/net/oth0/statistics/tx_packets > /root/escape/oth0.before"
OTHER_STILL = """
sleep 0.3; sent=$(( $(cat /sys/class/net/oth0/statistics/tx_packets) - $(cat /root/escape/oth0.before) ))
cat /sys/class/net/oth0/statistics/tx_packets > /root/escape/oth0.before
[ $sent = 0 ] || breach "$sent packets left by oth0" """

# A listener of root's notes what arrives.
SINK = """
rm -f /root/escape/sink; setsid python3 - >/dev/null 2>&1 <<'END' &
import select, socket
sockets = []
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        one = socket.socket(family, kind); one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6: one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((host, 7001))
        if kind == socket.SOCK_STREAM: one.listen(50)
        sockets.append(one)
open("/root/escape/sink.ready", "w").close()
while True:
    for one in select.select(sockets, [], [], 60)[0]:
        peer = one.accept()[1] if one.type == socket.SOCK_STREAM else one.recvfrom(2048)
        print(one.family, one.type, peer, file=open("/root/escape/sink", "a"), flush=True)
END
echo $! > /root/escape/sink.pid
for _ in $(seq 50); do [ -e /root/escape/sink.ready ] && break; sleep 0.1; done; rm -f /root/escape/sink.ready"""
HEARD = """
sleep 0.3; [ ! -s /root/escape/sink ] || { cat /root/escape/sink; rm -f /root/escape/sink; exit 10; }"""
SINK_OFF = "kill $(cat /root/escape/sink.pid)"


def acl(name, tries, program, stopped_by=HOOKS + "."):
    return Attempt(name, tries, stopped_by, f"python3 - <<'END'\n{PY}\n{program}\nEND", prepare=SINK, judge=HEARD + '\n[ -n "$CONTROL" ] || true',
                   control="root", undo=SINK_OFF, needs="network")


PY = """
import os, socket, struct
V4, V6 = "10.77.0.1", "fd77::1"
def tried(what, call):
    try: call(); print("tried:", what, "done")
    except OSError as error: print("tried:", what, error)
def new(family=socket.AF_INET, kind=socket.SOCK_DGRAM, protocol=0):
    one = socket.socket(family, kind, protocol); one.settimeout(1); return one
"""

LEAVE = """
def leave(what, family, target, *options, control=None):
    def call():
        one = new(family)
        for option in options: one.setsockopt(*option)
        if control: one.sendmsg([b"x"], [control], 0, target)
        else: one.sendto(b"x", target)
    tried(what, call)
index = socket.if_nametoindex("oth0")
"""


def leaving(name, tries, program, stopped_by=GUARD + "."):
    return Attempt(name, tries, stopped_by, f"python3 - <<'END'\n{PY}{LEAVE}{program}\nEND", prepare=OTHER_BEFORE, judge=OTHER_STILL, control="root",
                   needs="network")


ATTEMPTS = [
    leaving("leave-by-route", "sends by the routing table to a network behind another interface, v4 and v6", """
leave("udp", socket.AF_INET, ("10.99.0.2", 9)); leave("udp6", socket.AF_INET6, ("fd99::2", 9))
one = new(kind=socket.SOCK_STREAM); tried("tcp", lambda: one.connect(("10.99.0.2", 9)))"""),
    leaving("leave-by-pktinfo", "chooses the interface for each packet with IP_PKTINFO and IPV6_PKTINFO, which a bound socket obeys", """
leave("IP_PKTINFO", socket.AF_INET, ("10.99.0.2", 9), control=(socket.IPPROTO_IP, 8, struct.pack("=i4s4s", index, b"\\0" * 4, b"\\0" * 4)))
leave("IPV6_PKTINFO", socket.AF_INET6, ("fd99::2", 9), control=(socket.IPPROTO_IPV6, 50, struct.pack("=16sI", b"\\0" * 16, index)))
leave("scope id", socket.AF_INET6, ("ff02::1", 9, 0, index))"""),
    leaving("leave-by-multicast", "chooses it with IP_UNICAST_IF, IPV6_UNICAST_IF, IP_MULTICAST_IF and IPV6_MULTICAST_IF", """
leave("IP_UNICAST_IF", socket.AF_INET, ("10.99.0.2", 9), (socket.IPPROTO_IP, 50, struct.pack("!i", index)))
leave("IPV6_UNICAST_IF", socket.AF_INET6, ("fd99::2", 9), (socket.IPPROTO_IPV6, 76, struct.pack("!i", index)))
leave("IP_MULTICAST_IF", socket.AF_INET, ("239.1.1.1", 9), (socket.IPPROTO_IP, 32, struct.pack("=4s4si", b"\\0" * 4, b"\\0" * 4, index)))
leave("IPV6_MULTICAST_IF", socket.AF_INET6, ("ff05::1", 9), (socket.IPPROTO_IPV6, 17, struct.pack("=i", index)))"""),
    leaving("rebind-device", "binds its socket to another interface, and to none, with SO_BINDTODEVICE and SO_BINDTOIFINDEX", """
leave("SO_BINDTODEVICE oth0", socket.AF_INET, ("10.99.0.2", 9), (socket.SOL_SOCKET, 25, b"oth0\\0"))
leave("SO_BINDTODEVICE none", socket.AF_INET, ("10.99.0.2", 9), (socket.SOL_SOCKET, 25, b"\\0"))
leave("SO_BINDTOIFINDEX", socket.AF_INET, ("10.99.0.2", 9), (socket.SOL_SOCKET, 62, struct.pack("=i", index)))""",
            "The kernel lets a bound socket be bound anew by CAP_NET_RAW alone; " + GUARD[0].lower() + GUARD[1:] + "."),
    leaving("source-address", "binds to the other interface's address and sends from it", """
one = new(); tried("bind", lambda: one.bind(("10.99.0.1", 0))); tried("send", lambda: one.sendto(b"x", ("10.99.0.2", 9)))"""),
    Attempt(
        "change-mark", "changes the mark that the site's rules go by", "SO_MARK takes CAP_NET_ADMIN.",
        f"python3 - <<'END'\n{PY}" + """
one = new(kind=socket.SOCK_STREAM)
mark = one.getsockopt(socket.SOL_SOCKET, 36); tried(f"SO_MARK (it is {mark})", lambda: one.setsockopt(socket.SOL_SOCKET, 36, 99))
one.bind(("127.0.0.1", 0)); one.listen(1); os.set_inheritable(one.fileno(), True)
if os.fork() == 0: os.close(1); os.close(2); os.execv(os.environ["BIN"] + "/escapee", ["escapee", "escapee", "20"])
END""", judge="""
marks=$(ss -Hltnpe | grep escapee | grep -o 'fwmark:0x[0-9a-f]*' | sort -u)
[ -n "$(ss -Hltnp | grep escapee)" ] || { echo "no socket to look at"; exit 3; }
[ "$marks" = fwmark:0x11 ] || breach "its socket is marked ${marks:-with nothing}" """, control="root", needs="network"),
    Attempt(
        "raw-and-packet-sockets", "makes raw and packet sockets, plain and in user and network namespaces",
        "They take CAP_NET_RAW in the network namespace's owner; a namespace of its own has no way out.",
        f"cat > raw.py <<'END'\n{PY}" + """
for what, family, kind, protocol in (("raw icmp", 2, 3, 1), ("raw ip", 2, 3, 255), ("raw v6", 10, 3, 58), ("packet", 17, 3, 0x300), ("packet dgram", 17, 2, 0x300)):
    def call():
        one = socket.socket(family, kind, protocol)
        if family == 17: one.bind(("oth0", 0x0800)); one.send(b"\\xff" * 64)
        else: one.setsockopt(socket.SOL_SOCKET, 25, b"oth0\\0"); one.sendto(b"\\x08" * 64, ("10.99.0.2", 0) if family == 2 else ("fd99::2", 0))
    tried(what, call)
END
python3 raw.py; userns <<'END'
python3 raw.py
END
userns -n <<'END'
python3 raw.py; ip link add v0 type veth peer name v1 netns 1; tried "veth into the node: $?"; nsenter -t 1 -n true; tried "setns: $?"
END""", prepare=OTHER_BEFORE, judge=OTHER_STILL + """
! ip link show v1 2>/dev/null || exit 10""", control="python3 - <<'END'\n" + PY + """
one = socket.socket(17, 3, 0x300); one.bind(("oth0", 0x0800)); one.send(b"\\xff" * 64); print("tried: packet")
END"""),
    acl("connect-denied", "connects to a denied address and port: TCP and UDP, v4, v6, and v4 mapped into v6", """
for family, host in ((socket.AF_INET, V4), (socket.AF_INET6, V6), (socket.AF_INET6, "::ffff:" + V4)):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        def call():
            one = new(family, kind); one.connect((host, 7001)); one.send(b"x")
        tried(f"{host} {kind}", call)"""),
    acl("send-denied", "sends to it without connecting: sendto, sendmsg, v4, v6, mapped, and TCP with the first data (MSG_FASTOPEN)", """
for family, host in ((socket.AF_INET, V4), (socket.AF_INET6, V6), (socket.AF_INET6, "::ffff:" + V4)):
    tried(f"sendto {host}", lambda: new(family).sendto(b"x", (host, 7001)))
    tried(f"sendmsg {host}", lambda: new(family).sendmsg([b"x"], [], 0, (host, 7001)))
    tried(f"fast open {host}", lambda: new(family, socket.SOCK_STREAM).sendto(b"x", 0x20000000, (host, 7001)))
one = new(); tried("connect elsewhere", lambda: one.connect(("127.0.0.1", 9))); tried("then sendto", lambda: one.sendto(b"x", (V4, 7001)))"""),
    Attempt(
        "io-uring-connect", "has io_uring connect to a denied address", HOOKS + "; they look at the socket, whoever calls.",
        '"$BIN/ring" connect 10.77.0.1 7001', prepare=SINK, judge=HEARD, control="root", undo=SINK_OFF, needs="network", kernel="CONFIG_IO_URING=y"),
    acl("unspecified-address", "reaches a denied port of the node as 0.0.0.0 and ::, by connect and by sendto, and on a socket that was connected elsewhere", """
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"), (socket.AF_INET6, "::ffff:0.0.0.0")):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        tried(f"{host} {kind}", lambda: new(family, kind).connect((host, 7001)))
    tried(f"sendto {host}", lambda: new(family).sendto(b"x", (host, 7001)))
one = new(); tried("elsewhere", lambda: one.connect(("127.0.0.1", 9))); tried("then denied", lambda: (one.connect((V4, 7001)), one.send(b"x")))""",
        "The unspecified address is any of the node's: every deny rule matches it. " + HOOKS + ", at each call."),
    Attempt(
        "send-many", "sends to it with sendmmsg, behind a message to an address that is allowed", HOOKS + ", for each message.",
        'for host in 10.77.0.1 fd77::1 ::ffff:10.77.0.1; do "$BIN/sendmany" "$host" 7001; done', prepare=SINK, judge=HEARD, control="root",
        undo=SINK_OFF, needs="network"),
    Attempt(
        "bind-denied", "binds to a denied port, v4 and v6, and listens", HOOKS + ".", f"python3 - <<'END'\n{PY}" + """
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "10.77.0.1"), (socket.AF_INET6, "::"), (socket.AF_INET6, "::ffff:10.77.0.1")):
    def call():
        one = new(family, socket.SOCK_STREAM); one.bind((host, 8080)); one.listen(1); os.set_inheritable(one.fileno(), True)
        if os.fork() == 0: os.close(1); os.close(2); os.execv(os.environ["BIN"] + "/escapee", ["escapee", "escapee", "20"])
    tried(host, call)
END""", judge="sleep 0.2; ss -Hltn 'sport = :8080' | grep . && exit 10; true", control="root", needs="network"),
    Attempt(
        "ping-sockets", "sends ICMP by ping sockets, which no sendmsg hook sees, out of the tenant's interface",
        "Where the tenant has a list of addresses, such sockets cannot be made; and the egress guard.", f"python3 - <<'END'\n{PY}" + LEAVE + """
for family, protocol, host in ((socket.AF_INET, 1, "10.99.0.2"), (socket.AF_INET6, 58, "fd99::2")):
    def call():
        one = new(family, socket.SOCK_DGRAM, protocol); one.sendto(b"\\x08\\0\\0\\0\\0\\0\\0\\0" if protocol == 1 else b"\\x80\\0\\0\\0\\0\\0\\0\\0", (host, 0))
    tried("ping " + host, call)
END""", prepare='echo "0 65535" > /proc/sys/net/ipv4/ping_group_range; ' + OTHER_BEFORE, judge=OTHER_STILL, control="root",
        undo='echo "1 0" > /proc/sys/net/ipv4/ping_group_range', needs="network"),
    Attempt(
        "handed-over-socket", "uses a socket that a friend in another tenant made and handed over (SCM_RIGHTS)",
        "The guard and the hooks go by the socket's maker. **Not stopped** where that tenant may do it: a socket carries its maker's rights.", """
python3 - <<'END'
import array, socket, time
listener = socket.socket(socket.AF_UNIX); listener.bind("\\0escape-handover"); listener.listen(1); listener.settimeout(8)
open("listening", "w").close()
try:
    peer = listener.accept()[0]
    _, control, _, _ = peer.recvmsg(1, socket.CMSG_LEN(4))
    fd = int.from_bytes(control[0][2][:4], "little"); one = socket.socket(fileno=fd)
    print("tried: got", one); one.sendto(b"x", ("10.99.0.2", 9)); print("tried: sent")
except OSError as error: print("tried:", error)
END""", prepare=OTHER_BEFORE + """
{ told /home/alice/arena/desk/friend; cat <<'FRIEND'
python3 - <<'END'
import socket, time
for _ in range(60):
    try: peer = socket.socket(socket.AF_UNIX); peer.connect("\\0escape-handover"); break
    except OSError: time.sleep(0.1)
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, one.fileno().to_bytes(4, "little"))]); time.sleep(0.5)
END
FRIEND
} > /home/alice/arena/queue/friend.tmp; mv /home/alice/arena/queue/friend.tmp /home/alice/arena/queue/friend.sh; echo > /home/alice/arena/bell""", judge="""
sleep 0.3; sent=$(( $(cat /sys/class/net/oth0/statistics/tx_packets) - $(cat /root/escape/oth0.before) ))
echo "$sent packets left by the interface that the attacker may not use, on a socket of tenant acme's, which may"
[ "$sent" -le 1 ] || exit 10""", uncontrolled="it records a bound: what a tenant's friend may do, the tenant may through him", needs="network"),
]
