#!/usr/bin/env python3
"""load.py BYTES: keeps the first GPU that CUDA shows busy through the driver's own interface.

Takes BYTES of its memory and says "ready". Then each line "BUSY IDLE SECONDS" of its input is a load: kernels for BUSY
seconds, none for IDLE, again and again. It answers with the seconds in which kernels ran, by its own clock."""

import ctypes
import sys
import time

cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *arguments):
    """One call of the driver's interface."""
    answer = getattr(cuda, name)(*arguments)
    if answer:
        sys.exit(f"{name}: error {answer}")


def main():
    size = int(sys.argv[1])
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(size))
    print("ready", flush=True)
    for line in sys.stdin:
        busy, idle, seconds = (float(word) for word in line.split())
        end, total, value = time.monotonic() + seconds, 0.0, 0
        while (begin := time.monotonic()) < end:
            while time.monotonic() < min(begin + busy, end):
                # Setting all of it takes a millisecond or so; some are queued, so that none waits for Python.
                for _ in range(8):
                    value = (value + 1) % 256
                    call("cuMemsetD8_v2", memory, ctypes.c_ubyte(value), ctypes.c_size_t(size))
                call("cuCtxSynchronize")
            total += time.monotonic() - begin
            time.sleep(max(0.0, min(idle, end - time.monotonic())))
        print(total, flush=True)


if __name__ == "__main__":
    main()
