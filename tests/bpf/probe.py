"""What a process of a tenant can do, tried from inside the guest: prints {"name": "ok" or the errno's name} as JSON.

Usage: probe.py VERB JSON. Runs on python3-minimal, and imports nothing of ours."""

import errno
import json
import os
import socket
import struct
import sys
import threading
import time

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def outcome(function, *args):
    try:
        value = function(*args)
        return "ok" if value is None else value
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def made(address, kind, protocol=0):
    sock = socket.socket(family_of(address), KINDS[kind], protocol)
    sock.settimeout(3)
    return sock


# devices


def device_open(path, flags):
    os.close(os.open(path, {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}[flags]))


def device_make(path, major, minor):
    os.mknod(path, 0o20600, os.makedev(major, minor))
    os.unlink(path)


def devices(tries):
    """{name: ["open", path, "r" | "w" | "rw"] or ["make", path, major, minor]}"""
    calls = {"open": device_open, "make": device_make}
    return {name: outcome(calls[call], *args) for name, (call, *args) in tries.items()}


# sockets


def connect(address, port, kind="tcp", protocol=0):
    with made(address, kind, protocol) as sock:
        sock.connect((address, port))


def send(address, port, flags=0, kind="udp"):
    with made(address, kind) as sock:
        sock.sendto(b"x", flags, (address, port))



def bind(address, port, kind="tcp"):
    with made(address, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))


def ping_socket():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()


def unix_pair():
    one, other = socket.socketpair(socket.AF_UNIX)
    one.sendall(b"x")
    other.recv(1)
    one.close()
    other.close()


def mark(family):
    with socket.socket(FAMILIES[family], socket.SOCK_STREAM) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)


def bound_to(family):
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0").decode()


def bind_to(interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())


def set_mark(value):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, value)


def pktinfo(address, port, interface, text):
    """A datagram that asks for an interface of its own, past what the socket is bound to."""
    index = socket.if_nametoindex(interface)
    with made(address, "udp") as sock:
        if sock.family == socket.AF_INET:
            data = (socket.IPPROTO_IP, socket.IP_PKTINFO, struct.pack("=i4s4s", index, bytes(4), bytes(4)))
        else:
            data = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, bytes(16) + struct.pack("=i", index))
        sock.sendmsg([text.encode()], [data], 0, (address, port))


CALLS = {
    "connect": connect, "send": send, "bind": bind, "ping-socket": ping_socket, "unix": unix_pair, "mark": mark,
    "bound-to": bound_to, "bind-to": bind_to, "set-mark": set_mark, "pktinfo": pktinfo,
}


def sockets(tries):
    """{name: [call, argument...]}"""
    return {name: outcome(CALLS[call], *args) for name, (call, *args) in tries.items()}


# traffic


def datagrams(options):
    """{"to": [address, port], "size": bytes, "count": n}"""
    with made(options["to"][0], "udp") as sock:
        for _ in range(options["count"]):
            sock.sendto(bytes(options["size"]), tuple(options["to"]))
    return {"sent": options["size"] * options["count"]}


def exchange(sock, size):
    """Sends so many bytes, says that it is done, and takes what comes until the other is, too."""
    def pour():
        sock.sendall(bytes(size))
        sock.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=pour)
    sender.start()
    taken = 0
    while chunk := sock.recv(1 << 16):
        taken += len(chunk)
    sender.join()
    return taken


def stream(options):
    """{"to": [address, port], "size": bytes}: to an echo"""
    with made(options["to"][0], "tcp") as sock:
        sock.connect(tuple(options["to"]))
        taken = exchange(sock, options["size"])
        # The last acknowledgements are the socket's own while it is open.
        time.sleep(0.2)
    return {"taken": taken}


def loopback(options):
    """{"size": bytes}: both ends of a connection over lo, in this process"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            peer, _ = server.accept()
            with peer:
                exchange(peer, 1000)
                time.sleep(0.5)
        thread = threading.Thread(target=serve)
        thread.start()
        taken = stream({"to": list(server.getsockname()), "size": options["size"]})
        thread.join()
    return taken


def serve(options):
    """{"tcp": [[address, port]...], "udp": [...], "log": file}: echoes, and a line for each datagram, until killed"""
    def echo(peer):
        with peer:
            while chunk := peer.recv(1 << 16):
                peer.sendall(chunk)

    def accept(server):
        while True:
            threading.Thread(target=echo, args=(server.accept()[0],)).start()

    def receive(sock):
        with open(options["log"], "a") as log:
            while True:
                data, _ = sock.recvfrom(1 << 16)
                log.write(data[:40].decode(errors="replace") + "\n")
                log.flush()

    threads = []
    for address, port in options.get("tcp", []):
        server = socket.create_server((address, port), family=family_of(address))
        threads.append(threading.Thread(target=accept, args=(server,)))
    for address, port in options.get("udp", []):
        sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
        sock.bind((address, port))
        threads.append(threading.Thread(target=receive, args=(sock,)))
    for thread in threads:
        thread.start()
    with open(options["ready"], "w"):
        pass
    for thread in threads:
        thread.join()


VERBS = {
    "devices": devices, "sockets": sockets, "datagrams": datagrams, "stream": stream, "loopback": loopback, "serve": serve,
}

if __name__ == "__main__":
    print(json.dumps(VERBS[sys.argv[1]](json.loads(sys.argv[2]))))
