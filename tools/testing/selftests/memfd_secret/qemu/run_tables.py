# SPDX-License-Identifier: GPL-2.0
"""Builds and boots what tables list, and keeps all processors busy with that.

    run_tables.py TABLE[,TABLE] [TOTALS]

The Makefile calls this, with its settings in the environment. The counts of each
boot are added to the file TOTALS; without one, the last line has their sums. The
columns of a table are described at its top.
"""

import ctypes
import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENV = os.environ
BUILD = Path(ENV["BUILD_PATH"])
# Time limits of a boot in seconds.
TIMEOUT = {"boots": "1500"}
LONG_TIMEOUT = "3600"
OPTIONS = {name: f"--{name}" for name in ("numa", "oom", "leaks", "disk", "resets", "races")}


def rows(table):
    for line in (HERE / "tables" / table).read_text("ascii").splitlines():
        if line and not line.startswith("#"):
            yield line.split(maxsplit=5 if line.startswith("negative-") else 7)


def test_programs():
    """The tests that the makefile of kselftest runs, as it lists them."""
    lines = subprocess.run(
        [ENV["SUBMAKE"], "-s", "-C", HERE.parent, "emit_tests", "OUTPUT=x", "COLLECTION=x"],
        check=True, text=True, stdout=subprocess.PIPE).stdout
    return re.findall(r"^x:(\S+)$", lines, re.MULTILINE)


def programs_of(column):
    programs = []
    for word in column.split(","):
        if word.startswith("-"):
            programs.remove(word[1:])
        else:
            programs += test_programs() if word == "all" else [word]
    only = ENV.get("TEST")
    return [p for p in programs if not only or p.removeprefix("status:") == only]


def option_words(arch, options):
    for option in options.split(","):
        if option.startswith("cpu="):
            yield from ("--cpu", option[4:])
        elif option == "tools":
            yield from ("--initrd", str(BUILD / f"{arch}-initrd/tools.cpio"))
        elif option != "-":
            yield OPTIONS[option]


def boot_row(table, arch, smp, mem, options, tests, append=""):
    words = list(option_words(arch, options))
    for program in programs_of(tests):
        words += ["--command", program]
    return words + ["--smp", ENV.get("SMP") or smp, "--mem", ENV.get("MEM") or mem,
                    "--timeout", ENV.get("TIMEOUT") or TIMEOUT.get(table, LONG_TIMEOUT),
                    f"--append={append} {ENV.get('APPEND', '')}"]


def negative_row(_table, _arch, timeout, command, reason):
    reason = reason.replace("_", " ")
    words = ["--timeout", timeout]
    if command == "all":
        pairs = [(program, f"^{program}: {reason}") for program in test_programs()]
    else:
        pairs = [(f"misbehave {one}", why) for one, why in
                 zip(command.split(","), reason.split(","), strict=True)]
    for program, why in pairs:
        words += ["--command", program, "--expect", why]
    return words


def wanted(name, arch, kernel):
    return all(ENV.get(setting, "") in ("", value) for setting, value in
               (("ONLY_ARCH", arch), ("ONLY_KERNEL", kernel), ("BOOT", name)))


class Part:
    """A program to run, and the number of processors it keeps busy."""

    def __init__(self, name, command, processors, needs=(), totals=None, guest=False, size=0):
        self.name = name
        self.command = [str(word) for word in command]
        self.processors = processors
        self.needs = needs          # names of parts that must have succeeded
        self.after = ()             # names of parts that must be over
        self.totals = totals        # the file for its counts, if it counts
        self.guest = guest          # otherwise it compiles, with a lower priority
        self.size = size            # how much it does, compared with others of its kind
        self.process = None
        self.began = self.seconds = self.cpu_seconds = 0

    def kind(self):
        if not self.guest:
            return "work"
        return "wide guest" if self.processors > 1 else "guest"

    def output(self):
        return self.totals.with_suffix(".output")

    def start(self):
        out = self.output().open("wb") if self.totals else None
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            self.command, env=ENV | {"PROGRESS": "lines"}, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT if out else None,
            preexec_fn=functools.partial(prepare_child, 0 if self.guest else 10))
        if out:
            out.close()

    def end(self, status, usage):
        """Prints its output and returns its counts; None if it does not count."""
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - self.began
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        if not self.totals:
            return None
        print(self.output().read_text("utf-8", "replace"), end="", flush=True)
        if not self.totals.exists():
            return self.fail("it did not get to its end")
        return tuple(int(count) for count in self.totals.read_text("ascii").split())

    def fail(self, reason):
        print(f"FAIL {self.name}: {reason}", flush=True)
        return 0, 1, 0


def prepare_child(niceness):
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    os.nice(niceness)


class Schedule:
    """Runs each part once the parts it needs have succeeded and processors are free.

    Parts that compile come first, because guests wait for them. Guests with several
    processors do not keep all of them busy, so parts that compile also run next to
    these, with a lower priority. Guests with one processor come last, the longest
    first.
    """

    def __init__(self, parts, processors):
        self.processors = processors
        self.waiting = sorted(parts, key=lambda p: (p.guest, -p.processors * p.guest, -p.size))
        self.running = []
        self.over = {}              # name: has it succeeded?
        self.counts = []
        self.done = []

    def busy(self, *kinds):
        return sum(part.processors for part in self.running if part.kind() in kinds)

    def fits(self, part):
        others = {"work": ("work", "guest"), "guest": ("work", "guest", "wide guest"),
                  "wide guest": ("guest", "wide guest")}[part.kind()]
        return self.busy(*others) + part.processors <= self.processors

    def start(self):
        """Starts all parts that can run; but no guest overtakes one that lacks processors."""
        no_guest = False
        for part in list(self.waiting):
            if not all(name in self.over for name in (*part.needs, *part.after)):
                continue
            missing = [name for name in part.needs if not self.over[name]]
            if missing:
                self.waiting.remove(part)
                self.over[part.name] = False
                self.counts.append(part.fail(f"no {missing[0]}"))
            elif self.fits(part) and not (no_guest and part.guest):
                self.waiting.remove(part)
                part.start()
                self.running.append(part)
            else:
                no_guest |= part.guest

    def wait(self):
        pid, status, usage = os.wait4(-1, 0)
        for part in [p for p in self.running if p.process.pid == pid]:
            self.running.remove(part)
            counts = part.end(status, usage)
            self.over[part.name] = not part.process.returncode
            self.done.append(part)
            if counts:
                self.counts.append(counts)

    def run(self):
        try:
            self.start()
            while self.running:
                self.wait()
                self.start()
        finally:
            for part in self.running:
                part.process.terminate()
            for part in self.running:
                part.process.wait()


def make(*words):
    return [ENV["SUBMAKE"], "-s", "--no-print-directory", "-C", HERE, *words]


def kernel_name(arch, kernel):
    return f"kernel {arch}-{kernel}"


def builds(arch, kernels, processors):
    """The parts that build what guests of an architecture need."""
    settings = (f"ARCH={arch}", f"JOBS={processors}")
    yield Part(f"initrd {arch}", make("initrd", *settings), processors)
    for kernel in kernels:
        part = Part(kernel_name(arch, kernel), make("kernel", f"KERNEL={kernel}", *settings),
                    processors)
        # The build folder of "without" begins as a copy of that of "lockdep".
        if kernel == "without" and "lockdep" in kernels:
            part.after = (kernel_name(arch, "lockdep"),)
        yield part


def guest(name, arch, kernel, words, processors, folder):
    smp = int(words[words.index("--smp") + 1]) if "--smp" in words else 1
    totals = folder / name
    return Part(name, [
        sys.executable, HERE / "boot.py", "--name", name, "--arch", arch, "--accel", ENV["ACCEL"],
        "--kernel-image", BUILD / f"{arch}-{kernel}" / ENV[f"IMAGE_{arch}"],
        "--initrd", BUILD / f"{arch}-initrd/cpio",
        "--gen-init-cpio", BUILD / f"{arch}-initrd/gen_init_cpio",
        "--programs", BUILD / f"{arch}-tests",
        "--log-dir", BUILD / "log" / name, "--skips", HERE / "tables/skips",
        "--totals", totals, *words],
        min(smp, processors), (f"initrd {arch}", kernel_name(arch, kernel)), totals,
        guest=True, size=words.count("--command"))


def parts_of(tables, processors, folder):
    """What the tables list and the settings ask for."""
    guests = []
    kernels = {}
    for table in tables:
        for name, arch, kernel, *columns in rows(table):
            row = negative_row if name.startswith("negative-") else boot_row
            words = row(table, arch, *columns)
            if wanted(name, arch, kernel) and "--command" in words:
                guests.append(guest(name, arch, kernel, words, processors, folder))
                kernels.setdefault(arch, {})[kernel] = True
    # Two builds run at a time, if there are two kernels to build.
    alone = sum(len(kernels[arch]) for arch in kernels) == 1
    share = processors if alone else (processors + 1) // 2
    return [*(part for arch in kernels for part in builds(arch, kernels[arch], share)), *guests]


def also(command, parts, processors, folder):
    """A program that the caller wants to be run next to the boots."""
    share = (processors + 1) // 2
    part = Part(Path(command).name, ["env", f"JOBS={share}", command, folder / "also"], share,
                totals=folder / "also")
    part.after = tuple(p.name for p in parts if p.name == kernel_name("x86_64", "lockdep"))
    return part


def print_table(parts, seconds):
    print("What it took, the longest first:")
    print("seconds  of CPUs  CPUs  part")
    for part in sorted(parts, key=lambda p: -p.seconds):
        print(f"{part.seconds:7.0f}  {part.cpu_seconds:7.0f}  {part.processors:4}  {part.name}")
    print(f"{seconds:7.0f}  {sum(p.cpu_seconds for p in parts):7.0f}        all of it")


def main():
    tables, *totals = sys.argv[1:]
    processors = int(ENV.get("JOBS") or os.cpu_count())
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        parts = parts_of(tables.split(","), processors, folder)
        if not parts:
            return "error: no boot in the table fits what was asked for"
        if command := ENV.get("ALSO"):
            parts.append(also(command, parts, processors, folder))
        schedule = Schedule(parts, processors)
        schedule.run()
    print_table(schedule.done, time.monotonic() - began)
    if totals:
        with Path(totals[0]).open("a", encoding="ascii") as f:
            for count in schedule.counts:
                print(*count, file=f)
    passed, failed, skipped = (sum(column) for column in zip(*schedule.counts))
    if not totals:
        print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
