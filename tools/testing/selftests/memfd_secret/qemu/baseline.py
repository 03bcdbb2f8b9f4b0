# SPDX-License-Identifier: GPL-2.0
"""Runs the kernel's other selftests without the series and with it, and compares.

The Makefile calls this, with its settings in the environment. The tests are those
of the tree without the series; tables/selftests says which. Each line of their
output that has a result is compared. It is worse if it passed in every run
without the series, and fails or is missing in a run with it.

TEST, a collection or COLLECTION:TEST, runs only that. baseline_guest.sh is what
runs in the guest. The output of each run is in log/baseline; the console there
shows how far a run has got.
"""

import collections
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import judge

HERE = Path(__file__).resolve().parent
ENV = os.environ
BUILD = Path(ENV["BUILD_PATH"])
WORK = BUILD / "x86_64-baseline"
SELFTESTS = WORK / "selftests"
LIST = WORK / "kselftest-list.txt"
INITRD = BUILD / "x86_64-initrd"
LOG = BUILD / "log/baseline"

# The variants that baseline_guest.sh knows, and the kernel for each.
VARIANTS = {"without": "baseline-without", "with": "baseline-with", "in-use": "baseline-with"}
ROUNDS = 2
RETRIES = 3
# Up to so many tests are retried by name; if more are to be retried, all tests
# are. The guest's command line has a limit.
ALONE = 50
APPEND = "-panic_on_warn=1 ramdisk_size=131072 hugepages=136 printk.devkmsg=on"
# Limits in seconds for a test and for a boot.
TEST_SECONDS = 60
BOOT_SECONDS = ENV.get("TIMEOUT") or "900"

STARTS = re.compile(r"# selftests: (\S+): (\S+)$")
PART = re.compile(r"# (?:running|\[RUN\])\s+(.*)")
VERDICT = re.compile(r"[# ]*(ok|not ok) \d+ *(.*)|# *\[ *(OK|PASS|FAIL|SKIP|WARN) *\]\s*(.*)")
OUTCOME = re.compile(r"\s*# (SKIP|TIMEOUT|exit=|XFAIL|TODO).*")
# Addresses, times and other numbers that differ between runs.
VARYING = re.compile(r"\b0x[\da-f]+|\b[\da-f]{8,}\b|\d+\.\d+|\d{4,}|(?<= = )\d+")


class Failed(Exception):
    """Why there is nothing to compare."""


def list_tests():
    """Returns the tests to run, and writes the list that the guest reads."""
    installed = SELFTESTS / "kselftest-list.txt"
    lines = (HERE / "tables/selftests").read_text("ascii").splitlines()
    table = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    words = [columns[0] for columns in table]
    tests = installed.read_text("ascii").split()
    unknown = [w for w in words if w[0] == "-" and w[1:] not in tests]
    for word, *command in table:
        if ":" in word and word[0] != "-":
            path = SELFTESTS / word.replace(":", "/")
            if command:
                path.write_text(f"#!/bin/sh\nexec {command[0]}\n", "ascii")
                path.chmod(0o755)
            tests += [word] if word not in tests else []
            unknown += [word] if not path.exists() else []
    if unknown:
        raise Failed(f"tables/selftests names tests that do not exist: {' '.join(unknown)}")
    tests = [t for t in tests if f"-{t}" not in words]
    # The runner wants the tests of a collection next to each other.
    tests.sort(key=lambda test: words.index(test.partition(":")[0]))
    LIST.write_text("".join(f"{t}\n" for t in tests), "ascii")
    only = ENV.get("TEST", "")
    chosen = [t for t in tests if not only or only in (t, t.partition(":")[0])]
    if not chosen:
        raise Failed(f"TEST={only}: no such test; {LIST} lists them")
    for folder in {t.partition(":")[0] for t in tests}:
        (SELFTESTS / folder / "settings").write_text(f"timeout={TEST_SECONDS}\n", "ascii")
    return chosen


def check_configurations(kernels):
    """The configurations must not differ in anything but the series' symbols."""
    first, *others = ({line for line in (BUILD / f"x86_64-{kernel}/.config")
                       .read_text("ascii").splitlines() if "SECRETMEM" not in line}
                      for kernel in sorted(set(kernels)))
    for other in others:
        if other != first:
            raise Failed(f"the kernels are configured differently: {sorted(first ^ other)}")


def write_initrd():
    """Makes an archive of the tests, their libraries, and the commands their scripts call."""
    files = {f"/selftests/{p.relative_to(SELFTESTS)}": p for p in SELFTESTS.rglob("*")}
    for name in ("bash", "busybox", "timeout", "true"):
        files[f"/bin/{name}"] = Path(shutil.which(name)).resolve()
    files |= {"/selftests/kselftest-list.txt": LIST, "/bin/hold": INITRD / "hold",
              "/bin/baseline_guest.sh": HERE / "baseline_guest.sh"}
    listing = subprocess.run(["ldd", *files.values()], check=False, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    for library in re.findall(r"(/\S+) \(0x", listing):
        files[library] = Path(library).resolve()

    folders = {parent for name in files for parent in Path(name).parents} - {Path("/")}
    lines = [f"dir {folder} 0755 0 0" for folder in sorted(folders)]
    for name, path in files.items():
        if path.is_symlink():
            lines.append(f"slink {name} {os.readlink(path)} 0777 0 0")
        elif path.is_dir():
            lines.append(f"dir {name} 0755 0 0")
        else:
            mode = 0o755 if name.startswith("/bin/") else path.stat().st_mode & 0o777
            lines.append(f"file {name} {path} {mode:o} 0 0")
    lines += ["slink /bin/sh bash 0777 0 0"]
    lines += [f"slink {name} /bin 0777 0 0" for name in ("/sbin", "/usr/bin", "/usr/sbin")]
    applets = subprocess.run(["busybox", "--list"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.split()
    lines += [f"slink /bin/{name} busybox 0777 0 0" for name in applets
              if f"/bin/{name}" not in files and name != "sh"]
    (WORK / "list").write_text("dir /usr 0755 0 0\n" + "\n".join(lines) + "\n", "utf-8")
    with (WORK / "cpio").open("wb") as out:
        subprocess.run([INITRD / "gen_init_cpio", WORK / "list"], stdout=out, check=True)


def verdicts(output):
    """{line: whether it passed}; each line begins with the name of its test."""
    found, seen = {}, collections.Counter()
    test = part = ""
    for line in output.splitlines():
        if match := STARTS.match(line):
            test, part = f"{match[1]}:{match[2]}", ""
        elif match := PART.match(line):
            part = match[1]
        elif match := VERDICT.match(line):
            text = match[2] or match[4] or ""
            name = "" if text.startswith("selftests: ") else f"{part} {OUTCOME.sub('', text)}"
            name = " ".join([test, *VARYING.sub("N", name).split()])
            seen[name] += 1
            name += f" ({seen[name]})" if seen[name] > 1 else ""
            word = match[1] or match[3]
            found[name] = word in ("ok", "OK", "PASS") and not OUTCOME.search(text)
    return found


def complaints(console):
    """Lines in which the kernel complains, without the numbers in them."""
    lines = map(judge.without_stamp, judge.complaints(console))
    return {re.sub(r"\d+", "N", VARYING.sub("N", line)).strip() for line in lines}


class Run:
    """One boot and its results."""

    def __init__(self, name, variant, tests):
        log = LOG / name
        said = self.boot(name, log, variant, tests)
        if not (log / "0-baseline_guest.sh").stat().st_size:
            # The kernel patches its code as it boots. Emulation may not survive that.
            print(f"     {name}: did not get to the tests, see {log}; tried again", flush=True)
            log = LOG / f"{name}-again"
            said = self.boot(name, log, variant, tests)
        # The kernel's complaints are compared: they are no problem by themselves.
        self.problems = [line for line in re.findall(r"^FAIL (\S+: .*)", said, re.MULTILINE)
                         if not line.startswith(f"{name}: console: ")]
        self.lines = verdicts((log / "0-baseline_guest.sh").read_text("utf-8", "replace"))
        self.passed = {line for line, passed in self.lines.items() if passed}
        self.complaints = complaints((log / "console").read_text("utf-8", "replace"))
        took = re.search(r"\(([\d.]+) s\)", said)
        print(f"     {name}: {len(self.passed)} of {len(self.lines)} lines pass"
              f" ({took[1] if took else '?'} s)", flush=True)

    @staticmethod
    def boot(name, log, variant, tests):
        return subprocess.run(
            [sys.executable, HERE / "boot.py", "--name", name, "--accel", ENV["ACCEL"],
             "--kernel-image", BUILD / f"x86_64-{VARIANTS[variant]}" / ENV["IMAGE_NAME"],
             "--initrd", INITRD / "cpio", "--initrd", WORK / "cpio",
             "--gen-init-cpio", INITRD / "gen_init_cpio", "--smp", "2", "--mem", "2G",
             "--log-dir", log, "--timeout", BOOT_SECONDS,
             f"--append={APPEND} {ENV.get('APPEND', '')}",
             "--command", f"status:baseline_guest.sh {variant} {' '.join(tests)}"],
            check=False, text=True, stdout=subprocess.PIPE).stdout


def boot_all(prefix, rounds, tests):
    """{variant: runs}"""
    runs = collections.defaultdict(list)
    for number in range(1, rounds + 1):
        for variant in VARIANTS:
            runs[variant].append(Run(f"{prefix}{variant}-{number}", variant, tests))
    return runs


def always_passed(runs):
    return set.intersection(*(run.passed for run in runs))


def compare(runs):
    """Returns the lines that are worse as [(variant, line)], those that were worse but
    passed when they were tried again, and the runs in which that was tried."""
    good = always_passed(runs["without"])
    worse = [(variant, line) for variant in VARIANTS for line in sorted(good)
             if any(line not in run.passed for run in runs[variant])]
    # What failed each time needs no retry: that is seldom chance.
    again = [(variant, line) for variant, line in worse
             if any(line in run.passed for run in runs[variant])]
    if not again:
        return worse, [], {}
    tests = sorted({line.split()[0] for _, line in again})
    retried = boot_all("retry-", RETRIES, tests if len(tests) <= ALONE else [])
    good = always_passed(retried["without"])
    once = [(variant, line) for variant, line in again
            if line not in good or line in always_passed(retried[variant])]
    return [pair for pair in worse if pair not in once], once, retried


def problems_of(runs, retried, tests):
    """What makes the comparison void, and complaints of the kernel that are new."""
    every = {variant: runs[variant] + retried.get(variant, []) for variant in VARIANTS}
    problems = [problem for variant in VARIANTS for run in every[variant]
                for problem in run.problems]
    said = {variant: set().union(*(run.complaints for run in every[variant]))
            for variant in VARIANTS}
    problems += [f"{variant}: console: {line}" for variant in VARIANTS
                 for line in sorted(said[variant] - said["without"])]
    ran = [test for test in tests if all(test in run.lines for run in runs["without"])]
    passed = always_passed(runs["without"]).intersection(tests)
    if len(ran) < len(tests):
        problems.append(f"without: no result of {', '.join(sorted(set(tests) - set(ran)))}")
    if 2 * len(passed) < len(tests):
        problems.append(f"without: only {len(passed)} of {len(tests)} tests pass")
    return problems


def report(runs, worse, once, problems):
    good = always_passed(runs["without"])
    known = set().union(*(run.lines for run in runs["without"])) - good
    bad = {line for _, line in worse}
    for name in dict.fromkeys(line.partition(":")[0] for line in sorted(good | known)):
        same, less, other = (sum(line.startswith(f"{name}:") for line in lines)
                             for lines in (good - bad, bad, known))
        print(f"{'FAIL' if less else 'ok  '} baseline {name}: {same} same, {less} worse, "
              f"{other} do not pass without the series")
    for variant, line in once:
        print(f"     passes when tried again: {variant}: {line}")
    for variant, line in worse:
        print(f"FAIL baseline {variant}: {line}")
    for problem in problems:
        print(f"FAIL baseline {problem}")
    (LOG / "known").write_text("".join(f"{line}\n" for line in sorted(known)), "utf-8")
    print(f"{len(good - bad)} same, {len(bad) + len(problems)} worse; {len(known)} do not pass "
          f"without the series, see {LOG / 'known'}")
    return len(good - bad), len(bad) + len(problems), len(known)


def main():
    tests = list_tests()
    check_configurations(VARIANTS.values())
    write_initrd()
    shutil.rmtree(LOG, ignore_errors=True)
    runs = boot_all("", ROUNDS, tests if ENV.get("TEST") else [])
    worse, once, retried = compare(runs)
    counts = report(runs, worse, once, problems_of(runs, retried, tests))
    for totals in sys.argv[1:]:
        with Path(totals).open("a", encoding="ascii") as f:
            print(*counts, file=f)
    return 1 if counts[1] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError, subprocess.CalledProcessError) as err:
        sys.exit(f"error: {err}")
    except KeyboardInterrupt:
        sys.exit(130)
