# SPDX-License-Identifier: GPL-2.0
"""Fails, with the reason, if a program cannot run in the guest, which has no libraries.

    static_elf.py ARCH FILE
"""

import struct
import sys

# Class (1: 32 bits, 2: 64 bits) and machine in the ELF header. All of these are
# little-endian.
MACHINES = {"x86_64": (2, 62), "i386": (1, 3), "arm64": (2, 183), "riscv64": (2, 243)}
PT_INTERP = 3


def problem(arch, data):
    """What is wrong with the program, or None."""
    if data[:4] != b"\x7fELF" or len(data) < 64:
        return "not an ELF program"
    if (data[4], struct.unpack_from("<H", data, 18)[0]) != MACHINES[arch]:
        return f"not a program for {arch}"
    if data[4] == 2:
        offset, = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
    else:
        offset, = struct.unpack_from("<I", data, 28)
        size, count = struct.unpack_from("<HH", data, 42)
    for header in range(offset, offset + size * count, size or 1):
        if struct.unpack_from("<I", data, header)[0] == PT_INTERP:
            return "not a static program (link it with -static)"
    return None


def main():
    arch, path = sys.argv[1:]
    if arch not in MACHINES:
        return f"error: ARCH={arch}: no such architecture"
    try:
        with open(path, "rb") as f:
            found = problem(arch, f.read())
    except OSError as err:
        found = err.strerror
    except struct.error:
        found = "a damaged ELF program"
    return f"error: PROG={path}: {found}" if found else 0


if __name__ == "__main__":
    sys.exit(main())
