# SPDX-License-Identifier: GPL-2.0
"""Compares kernels without the series and with it, where nothing uses secret memory.

The Makefile calls this, with its settings in the environment. An exported symbol or
a structure that the series changes or removes is a failure. Size, memory and the
cost of common operations are only reported: count.c counts instructions, because
QEMU's clock advances by one for each. That is exact, but knows no caches.

The kernels are booted in turn, BOOTS times. Every figure of every boot goes to
build/unused/counts.csv, the report to report.txt, and what has changed in a
structure to STATE.diff.
"""

import collections
import csv
import difflib
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

from baseline import Failed, check_configurations

HERE = Path(__file__).resolve().parent
ENV = os.environ
BUILD = Path(ENV["BUILD_PATH"])
OUT = BUILD / "unused"

# The columns of the report: the kernel, and whether secret memory is enabled there.
STATES = {
    "without": ("unused-base", False),
    "=n": ("unused-n", False),
    "=y": ("unused-y", False),
    "enabled": ("unused-y", True),
}
BASE = "without"
BUILT = ("=n", "=y")
MEMORY = ("MemTotal", "MemFree")
# What count.c counts, with the titles in the report.
OPERATIONS = {
    "call": "getppid(), a system call that does little",
    "touch_anon": "touch a page of anonymous memory",
    "unmap_anon": "unmap a page of it",
    "touch_file": "touch a page of a new memfd",
    "touch_file_again": "touch a page that the memfd has",
    "get_pages": "get_user_pages_fast() and put, a page",
    "splice_pages": "vmsplice() and drop, a page",
    "wake_futex": "wake nobody on a shared futex",
    "allocate": "chdir(\"\"), which allocates and frees",
    "send_messages": "msgsnd() and msgrcv()",
    "switch_tasks": "switch tasks, with a byte in a pipe",
    "fork_child": "fork(), exit, wait",
    "lock_pages": "mlock() and munlock(), a page",
    "resize": "mremap(), shrink and grow",
    "read_meminfo": "read /proc/meminfo",
}
APPEND = "nokaslr norandmaps"


def output_of(*command):
    return subprocess.run(command, check=True, text=True, errors="replace",
                          stdout=subprocess.PIPE).stdout


def folder_of(state):
    return BUILD / f"x86_64-{STATES[state][0]}"


# Symbols and structures

def symbols_of(state):
    """{exported symbol: checksums of its type}; there is one."""
    path = folder_of(state) / "vmlinux.symvers"
    rows = [line.split("\t") for line in path.read_text("ascii").splitlines()]
    unknown = [row[1] for row in rows if not int(row[0], 16)]
    if not rows or unknown:
        raise Failed(f"{path}: no checksum of {', '.join(unknown) or 'any symbol'}")
    return {row[1]: {row[0]} for row in rows}


def structures_of(state):
    """{structure or union: layouts}; files can have different ones of one name."""
    vmlinux = folder_of(state) / "vmlinux"
    found = collections.defaultdict(set)
    for layout in re.findall(r"^\S[^\n]* \{\n.*?^\}[^\n]*;$", output_of("pahole", "-a", vmlinux),
                             re.MULTILINE | re.DOTALL):
        # What has no name but a typedef's has that in its last line.
        name = f"{layout.partition(' {')[0]}{layout.rpartition('}')[2].rstrip(';')}"
        found[name].add(layout)
    if not found:
        raise Failed(f"pahole finds no structure in {vmlinux}")
    return found


def compare(old, new):
    """(names that are new, changed, gone)"""
    lost = [name for name in sorted(old) if not old[name] <= new.get(name, set())]
    return (sorted(new.keys() - old.keys()), [name for name in lost if name in new],
            [name for name in lost if name not in new])


def write_diff(state, old, new, names):
    """Both layouts of structures that have changed."""
    with (OUT / f"{state.strip('=')}.diff").open("w", encoding="utf-8") as f:
        for name in names:
            texts = ["\n".join(sorted(one[name] - other[name])).splitlines(keepends=True)
                     for one, other in ((old, new), (new, old))]
            f.writelines(difflib.unified_diff(*texts, BASE, state, n=100))
            f.write("\n")


def compare_all(what, read, failures):
    """Lines of the report; adds to the failures what is changed or gone."""
    old = read(BASE)
    rows = {word: [""] for word in ("new", "changed", "gone")}
    names = []
    for state in BUILT:
        new = read(state)
        found = dict(zip(rows, compare(old, new)))
        if what == "structures":
            write_diff(state, old, new, found["changed"])
        for word, those in found.items():
            rows[word].append(f"{len(those):,}")
            if word != "new":
                failures += [f"{state}: {what}: {name} is {word}" for name in those]
            elif what == "exported symbols":
                names += [f"  new with {state}: {name}" for name in those]
    yield line_of(what, [f"{len(old):,}"])
    yield from (line_of(f"  {word}", cells) for word, cells in rows.items())
    yield from names


# Boots

class Boot:
    """What count.c printed: values by name."""

    def __init__(self, state, name):
        _, enabled = STATES[state]
        append = f"{APPEND} {'' if enabled else '-secretmem.enable=1'} {ENV['APPEND']}"
        done = subprocess.run(
            [sys.executable, HERE / "boot.py", "--accel", "tcg", "--icount",
             "--kernel-image", folder_of(state) / ENV["IMAGE_NAME"],
             "--initrd", BUILD / "x86_64-initrd/cpio",
             "--gen-init-cpio", BUILD / "x86_64-initrd/gen_init_cpio",
             "--file", BUILD / "x86_64-initrd/count", "--timeout", ENV["TIMEOUT"],
             f"--append={append}", "--log-dir", BUILD / "log" / name,
             "--passthrough", "--command", "status:/job/count"],
            check=False, text=True, errors="replace", stdout=subprocess.PIPE)
        if done.returncode:
            print(done.stdout, end="")
            raise Failed(f"{name}: status {done.returncode}; logs: {BUILD / 'log' / name}")
        self.values = collections.defaultdict(list)
        for key, value in csv.reader(done.stdout.splitlines()):
            self.values[key].append(float(value))
        lost = [key for key in (*MEMORY, *OPERATIONS, "secret") if key not in self.values]
        if lost:
            raise Failed(f"{name}: no figures of {', '.join(lost)}")
        if self.values["secret"] != [enabled]:
            raise Failed(f"{name}: memfd_secret(2) {'fails' if enabled else 'works'}")

    def get(self, key):
        return median(self.values[key])


def boot_all():
    """{state: boots}"""
    boots = collections.defaultdict(list)
    for index in range(int(ENV.get("BOOTS") or 3)):
        for state in STATES:
            name = f"unused-{state.strip('=')}-{index}"
            print(f"boot {name}", file=sys.stderr, flush=True)
            boots[state].append(Boot(state, name))
    return boots


def value_of(boots, key):
    return median(boot.get(key) for boot in boots)


def largest_difference(boots):
    """Between boots of one kernel, as a part of the count."""
    return max((max(counts) - min(counts)) / median(counts)
               for key in OPERATIONS for counts in ([boot.get(key) for boot in several]
                                                    for several in boots.values()))


# The report

def line_of(title, cells):
    return f"{title:42}" + "".join(f"{cell:>16}" for cell in cells)


def differences(title, numbers):
    return line_of(title, [f"{numbers[0]:,.0f}"] +
                   [f"{number - numbers[0]:+,.0f}" for number in numbers[1:]])


def size_lines():
    tables = [output_of("size", folder_of(state) / "vmlinux").splitlines()
              for state in (BASE, *BUILT)]
    yield "size of vmlinux in bytes; how much more"
    for column, name in enumerate(("text", "data", "bss")):
        yield differences(f"  {name}", [int(rows[1].split()[column]) for rows in tables])


def memory_lines(boots):
    yield "memory after boot in kB; how much more"
    for key in MEMORY:
        yield differences(f"  {key}", [value_of(boots[state], key) for state in STATES])


def operation_lines(boots):
    yield "instructions; as a ratio"
    for key, title in OPERATIONS.items():
        first, *others = (value_of(boots[state], key) for state in STATES)
        yield line_of(f"  {title}", [f"{first:,.0f}"] +
                      [f"{count:,.0f}  {count / first:.3f}" for count in others])
    yield (f"Medians of {len(boots[BASE])} boots. Boots of one kernel differed by at most "
           f"{largest_difference(boots):.2%}.")


def write_csv(boots):
    with (OUT / "counts.csv").open("w", newline="", encoding="ascii") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow("state boot operation value".split())
        for state, several in boots.items():
            for index, boot in enumerate(several):
                out.writerows([state, index, key, value]
                              for key, values in boot.values.items() for value in values)


def main():
    check_configurations(kernel for kernel, _ in STATES.values())
    OUT.mkdir(exist_ok=True)
    failures = []
    report = [line_of("", STATES), *compare_all("exported symbols", symbols_of, failures),
              *compare_all("structures", structures_of, failures), *size_lines()]
    boots = boot_all()
    report += [*memory_lines(boots), *operation_lines(boots)]
    report += [f"FAIL unused {failure}" for failure in failures]
    text = "".join(f"{line.rstrip()}\n" for line in report)
    (OUT / "report.txt").write_text(text, "utf-8")
    write_csv(boots)
    print(text, end="")
    print(f"This report, all figures, what has changed in structures: {OUT}")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError, ValueError, subprocess.CalledProcessError) as err:
        sys.exit(f"error: {err}")
    except KeyboardInterrupt:
        sys.exit(130)
