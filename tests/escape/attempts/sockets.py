"""Our sockets, and others' shared memory, queues and keys."""

import pathlib

from attempt import Attempt

TITLE = "sockets and shared memory"

ASK = """
import glob, os, socket, sys
def ask(path, text, wait=3):
    peer = socket.socket(socket.AF_UNIX); peer.settimeout(wait)
    try:
        peer.connect(path); peer.sendall(text)
        answer = b""
        while True:
            part = peer.recv(65536)
            if not part: break
            answer += part
    except OSError as error:
        print("tried:", path, text[:60], error); return b""
    print("tried:", path, text[:60], answer[:20])
    return answer
def get(query): return b"GET " + query.encode() + b" HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\nX-Correlation-Id: a\\r\\nX-Forwarded-User: root\\r\\n\\r\\n"
INGEST, API = "/run/tenantry-server/ingest.sock", "/run/tenantry-server/api.sock"
"""

# A heartbeat of a node called "forged", whole, and signed with a key of its own: what the server takes from who may send.
BLOCK = (pathlib.Path(__file__).parent / "forged.hex").read_text().strip()

FORGED = ASK + f"""
body = bytes.fromhex("{BLOCK}")
post = lambda path, body: b"POST " + path + b" HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\nContent-Type: application/vnd.tenantry.block\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body
for text in (post(b"/v1/blocks", body), get("/v1/blocks"), post(b"/v1/../v1/blocks", body), b"PUT /v1/blocks HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 99999999999\\r\\nConnection: close\\r\\n\\r\\n"):
    for path in (INGEST, API):
        open("answers", "ab").write(b"\\n" + path.encode() + b" " + ask(path, text))
"""

ATTEMPTS = [
    Attempt(
        "forged-block", "sends the server a block of usage of its own making, by both sockets, with wrong methods and lengths",
        "The ingest socket is its group's (0660), and the server asks the kernel who is at the other end: root alone.",
        f"python3 - <<'END'\n{FORGED}\nEND", judge="""
! grep -qaE 'ingest.sock HTTP/1.1 2|"receipt"' "$WORK/answers" || breach "the server took a block: $(grep -a receipt "$WORK/answers")" """, control="root"),
    Attempt(
        "forged-block-userns", "the same as root of a user namespace", "The kernel tells the server the user outside the namespace.",
        f"userns -m <<'OUT'\npython3 - <<'END'\n{FORGED}\nEND\nOUT", judge="""
! grep -qaE 'ingest.sock HTTP/1.1 2|"receipt"' "$WORK/answers" || breach "the server took a block" """, uncontrolled="judged as forged-block is"),
    Attempt(
        "others-usage", "asks for other tenants' usage: by tenant, job, uid, traversal, SQL, headers, and as root of a user namespace",
        "Who is no reader gets the rows of the uid that the kernel tells; unknown parameters are refused.", f"""
cat > ask.py <<'END'
{ASK}
answers = b""
for query in ("/v1/usage", "/v1/usage?tenant=globex", "/v1/usage?tenant=acme/physics", "/v1/usage?tenant=../globex", "/v1/usage?uid=2003", "/v1/usage?uid=0",
              "/v1/usage?job=" + os.environ["VICTIM_JOB"], "/v1/usage?tenant=globex%27%20OR%201=1--", "/v1/usage?tenant=initech&tenant=globex",
              "/v1/../v1/usage?tenant=globex", "/v1/usage/../../etc/shadow", "//v1//usage", "/v1/usage?tenant=%00", "/v1/usage?job=1e9&job=-1"):
    answers += ask(API, get(query))
open("answers", "ab").write(answers)
END
python3 ask.py; userns <<'OUT'
python3 ask.py
OUT
tenantry usage --tenant globex >> answers 2>&1; tenantry usage --job "$VICTIM_JOB" --format json >> answers 2>&1""", judge="""
tenantry usage --tenant acme/physics --format json | grep -q '"user": *"bob"' || { echo "there is nothing to find"; exit 3; }
! grep -qaE '"user": *"(bob|carol|alice)"|"tenant": *"(globex|acme)' "$WORK/answers" || breach "$(grep -aoE '"(user|tenant)": *"[^"]*"' "$WORK/answers" | sort | uniq -c)" """,
        control="root"),
    Attempt(
        "slow-loris", "holds 300 connections open to the readers' socket, half a request on each; another reader must still be answered, and billing goes on",
        "One user has at most 8 connections, each for at most 60 s; the daemons' socket is another.", """
python3 - > loris 2>&1 <<'END' &
import socket, time
held = []
for _ in range(300):
    peer = socket.socket(socket.AF_UNIX); peer.settimeout(0.2)
    try: peer.connect("/run/tenantry-server/api.sock"); peer.send(b"GET /v1/usage HTTP/1.1\\r\\nHost: x\\r\\nX-Slow: "); held.append(peer)
    except OSError: pass
print("tried:", len(held), "held", flush=True)
time.sleep(25)
END
for _ in $(seq 100); do [ -s loris ] && break; sleep 0.1; done; cat loris""", judge="""
first=$(date +%s%N)
timeout 8 lab-as carol "tenantry usage --format json" > /root/escape/loris.answer 2>&1 || breach "carol is not answered within 8 s: $(head -c 200 /root/escape/loris.answer)"
echo "carol was answered after $(( ($(date +%s%N) - first) / 1000000 )) ms" """,
        uncontrolled="it has succeeded against a server without these bounds"),
    Attempt(
        "garbage-to-readers-socket", "sends the readers' socket a 4 MiB line, thousands of headers, binary, and a body without end",
        "The HTTP parser's bounds; the server lives on.", f"""
python3 - <<'END'
{ASK}
for text in (b"GET /" + b"A" * (4 << 20), b"GET / HTTP/1.1\\r\\n" + b"X: y\\r\\n" * 20000, os.urandom(1 << 20), b"\\r\\n" * 100000,
             b"POST /v1/usage HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nFFFFFFFFFFFFFFFF\\r\\n" + b"x" * (1 << 20)): ask(API, text, 1)
END""", judge="""
resident=$(sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' "/proc/$SERVER/status")
echo "the server has $resident KiB"; [ "$resident" -lt 150000 ] || exit 10
timeout 8 tenantry usage --format json >/dev/null || breach "the server does not answer" """,
        uncontrolled="a server that falls is seen by the world's picture: its pid"),
    Attempt(
        "take-over-socket", "removes our sockets and binds its own in their place",
        "The directory is the server's alone (0755).", """
python3 - <<'END'
import os, socket
for path in ("/run/tenantry-server/api.sock", "/run/tenantry-server/ingest.sock", "/run/tenantry/api.sock"):
    for call in (os.unlink, lambda path: socket.socket(socket.AF_UNIX).bind(path)):
        try: call(path); print("tried:", path, "done")
        except OSError as error: print("tried:", path, error)
END""", judge='[ "$(stat -c %U /run/tenantry-server/*.sock | sort -u)" = tenantry ] || breach "a socket is not the server\'s"', control="""
tried; chown mallory /run/tenantry-server/api.sock""", undo="chown tenantry /run/tenantry-server/api.sock"),
    Attempt(
        "others-shared-memory", "reads the victim's System V segments, message queues, /dev/shm files and keys while he uses them",
        "They are their owner's (0600); a key also asks for possession.", """
export VICTIM_KEY=$(sed -n 's/^key \\([0-9]*\\) .*/\\1/p' /home/carol/victim.facts); "$BIN/ipc" read > read; grep -a ^tried read""", judge="knows_secret",
        control="root", kernel="CONFIG_KEYS=y"),
    Attempt(
        "io-uring-open", "has an io_uring worker open what the process may not", "The worker uses the rights of the process that asked.", """
for file in /home/carol/secret /var/lib/tenantry/tenants.last-good.json "/proc/$VICTIM/environ"; do "$BIN/ring" open "$file" > got; cat got | grep -a ^tried; done
"$BIN/ring" open /home/carol/secret > secret; cat secret | grep -a ^tried""", judge="knows_secret", control="root", kernel="CONFIG_IO_URING=y"),
]
