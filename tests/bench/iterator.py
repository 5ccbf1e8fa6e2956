#!/usr/bin/env python3
"""One pass of a sleepable BPF cgroup iterator over a tree, as a contender of the sampler's bench.

iterator.py GROUP: reads the id and the CPU time of GROUP and of every group in it, as often as each line of input
says; the answer is the nanoseconds of CPU and wall time that took. Before the first, every group's figure is compared with its
cpu.stat. The program is twenty instructions, the kernel's own flush among them; offsets come from the kernel's BTF.
"""
import ctypes
import os
import struct
import sys
import time

SYS_BPF = 321 if os.uname().machine == "x86_64" else 280
PROG_LOAD, LINK_CREATE, ITER_CREATE = 5, 28, 33
TRACING, TRACE_ITER, SLEEPABLE, DESCENDANTS_PRE = 26, 28, 1 << 4, 2
SEQ_WRITE, KFUNC = 127, 2
RECORD = struct.Struct("=QQ")
CANNOT = 77  # the kernel does not offer what it takes, and the reason was said
# The kernel keeps one pass in eight pages, and refuses to go on where they are full.
PASS_BYTES = 8 * os.sysconf("SC_PAGE_SIZE")

libc = ctypes.CDLL(None, use_errno=True)


class Btf:
    """The kernel's types, as far as they are asked for."""

    EXTRA = {1: 4, 3: 12, 14: 4, 17: 4}  # int, array, var, decl tag
    EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}  # structs, enums, parameters, sections

    def __init__(self, path="/sys/kernel/btf/vmlinux"):
        with open(path, "rb") as file:
            self.data = file.read()
        magic, _, _, head, types, types_len, self.names, _ = struct.unpack_from("=HBBIIIII", self.data)
        if magic != 0xEB9F:
            raise ValueError("no BTF")
        self.names += head
        self.at = [None]
        place, end = head + types, head + types + types_len
        while place < end:
            self.at.append(place)
            _, info, _ = struct.unpack_from("=III", self.data, place)
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            place += 12 + self.EXTRA.get(kind, 0) + self.EACH.get(kind, 0) * count

    def name(self, offset):
        start = self.names + offset
        return self.data[start:self.data.index(0, start)].decode()

    def find(self, kind, name):
        wanted = name.encode() + b"\0"
        for number, place in enumerate(self.at[1:], 1):
            offset, info, _ = struct.unpack_from("=III", self.data, place)
            start = self.names + offset
            if info >> 24 & 0x1F == kind and self.data.startswith(wanted, start):
                return number
        raise LookupError(f"this kernel's BTF has no {name}")

    def offset(self, struct_name, *path):
        """Bytes from a structure's start to a member of its members."""
        number, total = self.find(4, struct_name), 0
        for member in path:
            number, bits = self.member(number, member)
            total += bits // 8
        return total

    def member(self, number, wanted):
        while True:
            _, info, size_or_type = struct.unpack_from("=III", self.data, self.at[number])
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            if kind not in (8, 9, 10, 11, 18):  # typedef, volatile, const, restrict, type tag
                break
            number = size_or_type
        if kind in (4, 5):
            for n in range(count):
                name, inner, bits = struct.unpack_from("=III", self.data, self.at[number] + 12 + 12 * n)
                bits = bits & 0xFFFFFF if info >> 31 else bits
                if self.name(name) == wanted:
                    return inner, bits
                if name == 0 or not self.name(name):
                    try:
                        found, further = self.member(inner, wanted)
                        return found, bits + further
                    except LookupError:
                        pass
        raise LookupError(f"this kernel's BTF has no member {wanted}")


def bpf(command, attr):
    buffer = ctypes.create_string_buffer(attr, len(attr))
    answer = libc.syscall(SYS_BPF, command, buffer, len(attr))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhi", code, dst | src << 4, off, imm)


def program(btf):
    """For each group: flush what its CPUs still hold, then write its id and its CPU time."""
    try:
        flush = btf.find(12, "css_rstat_flush")
        css = btf.offset("cgroup", "self")
    except LookupError:  # before 6.16
        flush, css = btf.find(12, "cgroup_rstat_flush"), 0
    ldx, stx, mov, add = 0x79, 0x7B, 0xBF, 0x07
    body = [
        insn(mov, 1, 7),
        *([insn(add, 1, imm=css)] if css else []),
        insn(0x85, src=KFUNC, imm=flush),
        insn(ldx, 1, 7, btf.offset("cgroup", "kn")),
        insn(ldx, 1, 1, btf.offset("kernfs_node", "id")),
        insn(stx, 10, 1, -16),
        insn(ldx, 1, 7, btf.offset("cgroup", "bstat", "cputime", "sum_exec_runtime")),
        insn(stx, 10, 1, -8),
        insn(ldx, 1, 6, btf.offset("bpf_iter__cgroup", "meta")),
        insn(ldx, 1, 1, btf.offset("bpf_iter_meta", "seq")),
        insn(mov, 2, 10),
        insn(add, 2, imm=-RECORD.size),
        insn(0xB7, 3, imm=RECORD.size),
        insn(0x85, imm=SEQ_WRITE),
    ]
    head = [
        insn(mov, 6, 1),
        insn(ldx, 7, 6, btf.offset("bpf_iter__cgroup", "cgroup")),
        insn(0x15, 7, off=len(body)),  # after the last group there is none
    ]
    return b"".join(head + body + [insn(0xB7, 0), insn(0x95)])


def attach(group):
    btf = Btf()
    code = program(btf)
    insns, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"Dual MIT/GPL")
    log = ctypes.create_string_buffer(1 << 16)
    attr = struct.pack(
        "=IIQQIIQII16sIIIIQIIQII",
        TRACING, len(code) // 8, ctypes.addressof(insns), ctypes.addressof(licence), 1, len(log), ctypes.addressof(log),
        0, SLEEPABLE, b"tnty_iter", 0, TRACE_ITER, 0, 0, 0, 0, 0, 0, 0, btf.find(12, "bpf_iter_cgroup"))
    try:
        loaded = bpf(PROG_LOAD, attr)
    except OSError as error:
        raise LookupError(f"the kernel refuses the program: {error} {log.value.decode()}") from error
    info = ctypes.create_string_buffer(struct.pack("=IIQ", DESCENDANTS_PRE, os.open(group, os.O_RDONLY), 0), 16)
    return bpf(LINK_CREATE, struct.pack("=IIIIQI", loaded, 0, TRACE_ITER, 0, ctypes.addressof(info), 16))


def one_pass(link, groups):
    """The groups' ids and CPU times, in nanoseconds."""
    reader = bpf(ITER_CREATE, struct.pack("=II", link, 0))
    try:
        text = b""
        while piece := os.read(reader, groups * RECORD.size):
            text += piece
        return text
    finally:
        os.close(reader)


def compare(text, group):
    seen = dict(RECORD.iter_unpack(text))
    found = 0
    for path, _, _ in os.walk(group):
        with open(os.path.join(path, "cpu.stat"), encoding="ascii") as file:
            usage = int(file.readline().split()[1])
        if seen.get(os.stat(path).st_ino, -1) // 1000 != usage:
            raise SystemExit(f"{path}: the iterator and cpu.stat do not agree")
        found += 1
    if found != len(seen):
        raise SystemExit(f"the iterator saw {len(seen)} groups of {found}")


def main():
    group = sys.argv[1]
    groups = sum(1 for _ in os.walk(group))
    try:
        link = attach(group)
    except (OSError, LookupError, ValueError) as error:
        print(f"TENANTRY-SKIP bench-sampler: no BPF iterator: {error}", file=sys.stderr)
        sys.exit(CANNOT)
    compare(one_pass(link, groups), group)
    for line in sys.stdin:
        if int(line) > 1:  # the first of several is not counted: others have had the caches meanwhile
            one_pass(link, groups)
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(int(line)):
            one_pass(link, groups)
        print(time.process_time_ns() - cpu, time.perf_counter_ns() - wall, flush=True)


main()
