# SPDX-License-Identifier: GPL-2.0
"""Boots kernels, runs the benchmark in each, and reports medians over the boots.

    measure.py KERNEL_IMAGE...

The Makefile calls this, with its settings in the environment. The kernels are
booted in turn, BOOTS times. Every figure of every boot goes to
build/bench/ARCH.csv, the report to ARCH.txt and a plot to ARCH.svg. Each ratio
is of two figures of one boot. Bounds are for the first kernel; a bound that is
missed is marked, but is no failure.
"""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ENV = os.environ
ARCH = ENV["ARCH"]
BUILD = Path(ENV["BUILD_PATH"])
OUT = BUILD / "bench"
KINDS = ("secret", "memfd", "anon")
CASES = {case: KINDS for case in (
    "first", "small", "latency", "steady", "reused", "random", "one_file", "two_files", "beside")}
CASES |= {"before": ("none",), "after": ("none",), "whole": ("all",)}
# Metrics in the order of the report, with their titles there.
METRICS = {
    "touch": "touch", "free": "munmap() and close()",
    "p50": "one page: median", "p99": "one page: 99 of 100", "max": "one page: longest",
    "touch_calls": "calls between CPUs, touch", "free_calls": "calls between CPUs, free",
    "DirectMap4k": "growth of DirectMap4k", "DirectMap2M": "growth of DirectMap2M",
    "DirectMap4M": "growth of DirectMap4M", "DirectMap1G": "growth of DirectMap1G",
    "kept": "not given back", "step": "a bystander's pointer chase",
}
MIB = 1 << 20


class Failed(Exception):
    """There are no figures to report."""


class Boot:
    """What the benchmark printed: values by (case, kind, size, threads, metric)."""

    def __init__(self, output):
        where = re.search(r"^# Linux (\S+) (.*)$", output, re.MULTILINE)
        if not where:
            raise Failed("the benchmark does not print which kernel this is")
        self.release, self.machine = where.groups()
        self.rows = [row for row in csv.reader(output.splitlines())
                     if len(row) == 7 and not row[0].startswith("#")]
        self.values, self.units = {}, {}
        for case, kind, size, threads, metric, value, unit in self.rows:
            self.values[case, kind, int(size), int(threads), metric] = float(value)
            self.units[metric] = unit
        there = {key[:2] for key in self.values}
        lost = [f"{case} {kind}" for case, kinds in CASES.items() for kind in kinds
                if (case, kind) not in there]
        if lost:
            raise Failed(f"no figures of {', '.join(lost)}")

    def get(self, case, kind, size, threads, metric):
        return self.values.get((case, kind, size, threads, metric))

    def ratio(self, case, size, threads, metric):
        secret, memfd = (self.get(case, kind, size, threads, metric) for kind in KINDS[:2])
        return secret / memfd if secret is not None and memfd else None


class Kernel:
    """One kernel and all its boots."""

    def __init__(self, image):
        self.image = Path(image)
        self.boots = []

    @property
    def name(self):
        return re.match(r"[\d.]*\d|", self.boots[0].release)[0]

    def boot(self, name):
        done = subprocess.run(
            [sys.executable, HERE / "boot.py", "--arch", ARCH, "--accel", ENV["ACCEL"],
             "--kernel-image", self.image, "--initrd", BUILD / f"{ARCH}-initrd/cpio",
             "--gen-init-cpio", BUILD / f"{ARCH}-initrd/gen_init_cpio",
             "--programs", BUILD / f"{ARCH}-tests", "--smp", ENV["SMP"],
             "--mem", ENV["MEM"], "--prealloc", "--timeout", ENV["TIMEOUT"],
             f"--append={ENV['APPEND']}",
             "--log-dir", BUILD / "log" / name, "--passthrough", "--command", "status:bench"],
            check=False, text=True, errors="replace", stdout=subprocess.PIPE)
        if done.returncode:
            print(done.stdout, end="")
            raise Failed(f"{name}: status {done.returncode}; logs: {BUILD / 'log' / name}")
        self.boots.append(Boot(done.stdout))

    def median(self, value):
        """Median of value(boot) over all boots; None if one of them has no value."""
        values = [value(boot) for boot in self.boots]
        return None if None in values else median(values)


# Bounds

def calls_while_touching(boot):
    counts = [boot.get(case, "secret", 64 * MIB, 1, "touch_calls") for case in ("first", "steady")]
    return None if None in counts else max(counts)


def gain_of_threads(boot, kind):
    one = boot.get("steady", kind, 64 * MIB, 1, "touch")
    two = boot.get("two_files", kind, 64 * MIB, 2, "touch")
    return one / two if one and two else None


def ratio_of_life(boot):
    """Touching and freeing together: a kernel zeroes memory in one of them or the other."""
    costs = [boot.get("steady", kind, 64 * MIB, 1, metric)
             for kind in KINDS[:2] for metric in ("touch", "free")]
    return None if None in costs else sum(costs[:2]) / sum(costs[2:])


def bounds():
    """(text, limit, function of a boot that returns the value).

    A negative limit is a lower bound. Lines without a limit help to understand the
    others.
    """
    for metric, limit in (("touch", 1.0), ("free", 1.1)):
        for size in (1, 16, 64, 256):
            yield (f"{metric} {size} MiB, secret : memfd", limit,
                   lambda boot, size=size, metric=metric:
                   boot.ratio("steady", size * MIB, 1, metric))
    yield "touch and free 64 MiB together, secret : memfd", None, ratio_of_life
    for metric in ("touch", "free"):
        yield (f"{metric} 64 MiB that were freed just before, secret : memfd", None,
               lambda boot, metric=metric: boot.ratio("reused", 64 * MIB, 1, metric))
    yield ("create, touch, free 4 KiB, secret : memfd", 1.1,
           lambda boot: boot.ratio("small", 4096, 1, "p50"))
    yield "calls between CPUs while 64 MiB are touched", 64, calls_while_touching
    yield ("growth of DirectMap4k for 64 MiB, kB", 0,
           lambda boot: boot.get("first", "secret", 64 * MIB, 1, "DirectMap4k"))
    yield ("of 64 MiB not given back, kB", 2048,
           lambda boot: boot.get("first", "secret", 64 * MIB, 1, "kept"))
    if int(ENV["SMP"]) > 1:
        yield ("two threads on two files : one thread, 64 MiB", -1.6,
               lambda boot: gain_of_threads(boot, "secret"))
        yield ("the same with memfd_create()", None,
               lambda boot: gain_of_threads(boot, "memfd"))


def judge(got, limit):
    return "met" if (got >= -limit if limit < 0 else got <= limit) else "missed"


def bound_lines(kernels):
    counts = {"met": 0, "missed": 0}
    yield " " * 64 + "".join(f"{kernel.name:>18}" for kernel in kernels)
    for text, limit, value in bounds():
        line = f"      {text:56}"
        if limit is not None:
            line = f"bound {text:48} {'>=' if limit < 0 else '<='} {abs(limit):<5g}"
        for kernel in kernels:
            got = kernel.median(value)
            verdict = "" if None in (got, limit) else judge(got, limit)
            if verdict and kernel is kernels[0]:
                counts[verdict] += 1
            line += f"{number(got):>11} {verdict:6}"
        yield line.rstrip()
    yield f"bounds of the first kernel: {counts['met']} met, {counts['missed']} missed"


# The report

def number(value):
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 10 and value % 1 else f"{value:,.0f}"


def size_text(size):
    for unit, name in ((MIB, "MiB"), (1 << 10, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return "-" if not size else f"{size // MIB} MiB"


def cells(kernel, case, size, threads, metric):
    """A figure for each kind and secret : memfd; or one figure if there is only one kind."""
    values = [kernel.median(lambda boot, kind=kind: boot.get(case, kind, size, threads, metric))
              for kind in CASES[case]]
    if len(values) > 1:
        values.append(kernel.median(lambda boot: boot.ratio(case, size, threads, metric)))
    text = "".join(f"{number(value):>12}" for value in values)
    return f"{text:48}"


def table_lines(kernels):
    ours = kernels[0].boots[0]
    heading = "".join(f"{text:>12}" for text in (*KINDS, "ratio")) * len(kernels)
    yield " " * 28 + "".join(f"{kernel.name:>48}" for kernel in kernels)
    yield " " * 28 + heading
    for metric, title in METRICS.items():
        places = dict.fromkeys((case, size, threads)
                               for case, _, size, threads, found in ours.values if found == metric)
        if places:
            yield f"{title}, {ours.units[metric]}"
        for case, size, threads in places:
            cpus = "CPUs" if threads > 1 else "CPU "
            line = f"  {case:10}{size_text(size):>8}{threads:>3} {cpus} "
            for kernel in kernels:
                line += cells(kernel, case, size, threads, metric)
            yield line.rstrip()


def report(kernels):
    yield (f"medians of {len(kernels[0].boots)} boots of each kernel; "
           "ratio is secret : memfd in one boot")
    for kernel in kernels:
        yield f"  Linux {kernel.boots[0].release} {kernel.boots[0].machine}"
    yield ""
    yield from table_lines(kernels)
    yield ""
    yield from bound_lines(kernels)


def write_csv(kernels):
    with (OUT / f"{ARCH}.csv").open("w", newline="", encoding="ascii") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow("kernel boot case kind size threads metric value unit".split())
        for kernel in kernels:
            for index, boot in enumerate(kernel.boots):
                for row in boot.rows:
                    out.writerow([boot.release, index, *row])


def plot(kernels):
    """Writes a block for each line of the plot, with columns size, touch, free; plots them."""
    data = OUT / f"{ARCH}.dat"
    lines = [(kernel, kind) for kernel in kernels for kind in KINDS]
    with data.open("w", encoding="ascii") as f:
        for kernel, kind in lines:
            print(f'"{kernel.name} {kind}"', file=f)
            for size in sorted({key[2] for key in kernel.boots[0].values if key[0] == "steady"}):
                print(size, *(kernel.median(lambda boot: boot.get("steady", kind, size, 1, metric))
                              for metric in ("touch", "free")), file=f)
            print("\n", file=f)
    settings = (f"data='{data}'; lines={len(lines)}; kinds={len(KINDS)}; "
                f"image='{OUT / ARCH}.svg'; arch='{ARCH}'")
    subprocess.run(["gnuplot", "-e", settings, HERE / "measure.gnuplot"], check=True)


def main():
    kernels = [Kernel(image) for image in sys.argv[1:]]
    boots = int(ENV.get("BOOTS") or 3)
    for index in range(boots):
        for place, kernel in enumerate(kernels):
            print(f"boot {index + 1} of {boots}, kernel {place + 1} of {len(kernels)}",
                  file=sys.stderr, flush=True)
            kernel.boot(f"bench-{ARCH}-{place}-{index}")
    OUT.mkdir(exist_ok=True)
    text = "".join(f"{line}\n" for line in report(kernels))
    (OUT / f"{ARCH}.txt").write_text(text, "ascii")
    write_csv(kernels)
    plot(kernels)
    print(text, end="")
    print(f"All figures, this report, a plot: {OUT / ARCH}.csv, .txt, .svg")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError, ValueError, subprocess.CalledProcessError) as err:
        sys.exit(f"error: {err}")
    except KeyboardInterrupt:
        sys.exit(130)
