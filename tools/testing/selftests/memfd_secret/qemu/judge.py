# SPDX-License-Identifier: GPL-2.0
"""Judges a boot by what came out of it.

QEMU's own exit status says nothing: it is 0 even if the guest panicked. A boot
has passed if every command was reported on the control port, with the token
that only this boot knows; if every test's TAP plan is complete and has no
failure and no skip that is not listed; if the console has no complaint of the
kernel; and if all of that happened in time.

This module starts nothing and opens no file, so that test_judge.py can have it
judge sample boots.
"""

import dataclasses
import fnmatch
import os
import re
import signal

# A line of the console that matches one of these is a complaint. Lockdep,
# KASAN, KCSAN and the checks of contexts and pages begin theirs with WARNING:
# or BUG:.
COMPLAINTS = (
    r"\bOops\b",
    r"\bBUG:",
    r"\bBUG \S+ \(",            # SLUB, which names the cache
    r"kernel BUG at",
    r"\bWARNING:",
    r"general protection",
    r"Call [Tt]race",
    r"Kernel panic",
    r"double fault",
    r"[Uu]nable to handle",
    r"KASAN:",
    r"UBSAN:",
    r"unreferenced object",
    r"kmemleak: (?!Kernel memory leak detector (?:initialized|disabled))",
    r"pagealloc: ",
    r"Bad page",
    r"list_(add|del) corruption",
    r"blocked for more than",
    r"rcu.* stall",
    r"hard LOCKUP",
    r"^init: ",                 # the harness's own init.c
    r"invoked oom-killer",
    r"[Oo]ut of memory",
    r"oom-kill:",
)
COMPLAINT = re.compile("|".join(COMPLAINTS))

# The time, and with CONFIG_PRINTK_CALLER the task or CPU.
STAMP = re.compile(r"^\[[ .\d]+\]( *\[[ TC\d]+\])? ")

# A report of the OOM killer, from its first to its last line, with the call
# trace in between. The killed task may use up the last reserves; if it does,
# its failed allocations follow until it ends.
OOM_REPORT = re.compile(
    r"^[^\n]*invoked oom-killer:.*?\bout of memory: Killed process (\d+)[^\n]*\n"
    r"(?:(?:[^\n]*(?:drop_caches|oom_reaper):[^\n]*\n)*"
    r"[^\n]*: page allocation failure: order:0,[^\n]*\n[^\n]* PID: \1 [^\n]*\n"
    r".*?\bpages reserved\s*\n)?",
    re.MULTILINE | re.DOTALL | re.IGNORECASE)

# From the line that names the two functions to the line of "=" that ends the
# report.
RACE_REPORT = re.compile(r"^[^\n]*BUG: KCSAN:.*?^[^\n]*={60,}[^\n]*\n", re.MULTILINE | re.DOTALL)
# The rest of the kernel has races of its own. A race counts if one of these
# functions is in its report, ...
RACE_OF_OURS = re.compile(r"secretmem|set_direct_map|kernel_page_present|gup_pte_range")
# ... except where the fault handler called what the handler of any file calls:
# the page cache reads the flags of a page while another task sets the bit that
# locks it, or waits for that bit.
RACE_OF_ALL_FILES = re.compile(
    r"data-race in (page_add_file_rmap|__add_to_page_cache_locked) / "
    r"(pagecache_get_page|wait_on_page_bit_common)\n")

# The exit status of a boot that runs a single program for the user, if there is
# none of the program itself to pass on: as timeout(1) and shells have it.
STATUS_TIMEOUT = 124
STATUS_GUEST_FAILED = 125
STATUS_SIGNAL = 128


@dataclasses.dataclass
class Rules:
    """What is expected of a boot."""
    name: str                   # what reports call it
    commands: list              # a test, or status:COMMAND
    skips: list = ()            # those allowed, as read_skips() gives them
    leaks: bool = False         # kmemleak has to report, and to report nothing
    oom: bool = False           # the guest may run out of memory
    races: bool = False         # KCSAN may report races that are not ours


def read_skips(text, arch):
    """[(program, pattern)] of the lines of a table that are for @arch."""
    rows = (line.split(maxsplit=2) for line in text.splitlines())
    return [tuple(row[1:]) for row in rows if len(row) == 3 and row[0] in ("*", arch)]


def program_of(command):
    return os.path.basename(command.removeprefix("status:").split()[0])


class Record:
    """What came out of a boot.

    init.c writes to two ports: on one the output of the commands, with a mark
    after each, on the other a line for each thing it has to report. The marks and
    the reports have the token, which no command knows.
    """

    def __init__(self, nonce):
        self.nonce = nonce
        self.outputs = []           # one for each command that has ended
        self.unfinished = b""       # output after the last mark
        self.shown = 0              # how much of it add_output() has returned
        self.results = {}           # index: ("exit" or "signal", number)
        self.started = {}           # index: seconds
        self.ended = {}
        self.leaks = None           # lines that kmemleak reported
        self.done = False           # the guest has said so
        self.complete = False       # and all its output has been read
        self.timed_out = None       # the limit in seconds that was exceeded
        self.problems = []
        self.console = ""

    def add_output(self, data):
        """Takes data of the job port; returns the part of it that is output for certain."""
        ready = b""
        self.unfinished += data
        while True:
            mark = f"\0end {self.nonce} {len(self.outputs)}\n".encode()
            output, found, rest = self.unfinished.partition(mark)
            if not found:
                break
            ready += output[self.shown:]
            self.outputs.append(output)
            self.unfinished, self.shown = rest, 0
        # Keep back what can be the beginning of a mark.
        end = self.unfinished.rfind(b"\0", max(self.shown, len(self.unfinished) - len(mark)))
        end = len(self.unfinished) if end < 0 else end
        ready += self.unfinished[self.shown:end]
        self.shown = max(self.shown, end)
        self.check_complete()
        return ready

    def add_report(self, line, now):
        """Takes a line of the control port."""
        words = line.split()
        if len(words) < 2 or words[1] != self.nonce:
            self.problems.append(f"control port: wrong nonce: {' '.join(words)[:80]}")
            return
        verb, numbers = words[0], [int(word) for word in words[2:]]
        if verb == "start":
            self.started[numbers[0]] = now
        elif verb in ("exit", "signal"):
            self.ended[numbers[0]] = now
            self.results[numbers[0]] = (verb, numbers[1])
        elif verb == "leaks":
            self.leaks = numbers[0]
        elif verb == "done":
            self.done = True
        self.check_complete()

    def check_complete(self):
        self.complete |= self.done and len(self.outputs) == len(self.results)

    def end(self):
        """The guest is gone; returns what add_output() has kept back."""
        rest = self.unfinished[self.shown:]
        if self.unfinished:
            self.outputs.append(self.unfinished)
        self.unfinished = b""
        return rest


class Judge:
    """Judges one boot; the reasons are why it has failed, if there are any."""

    def __init__(self, rules, record):
        self.rules = rules
        self.record = record
        self.passed = self.skipped = 0
        self.reasons = []
        self.remarks = []           # what failed assertions of tests print
        self.lines = []             # one for each command
        for index, command in enumerate(rules.commands):
            self.judge_command(index, command)
        self.reasons += record.problems
        self.judge_end()
        self.judge_console()
        self.judge_leaks()

    def judge_command(self, index, command):
        program = program_of(command)
        as_tap = not command.startswith("status:")
        before = len(self.reasons), self.passed, self.skipped
        outputs = self.record.outputs
        output = outputs[index] if index < len(outputs) else b""

        verb, number = self.record.results.get(index, ("", 0))
        allowed_skip = False
        if as_tap:
            allowed_skip = self.judge_tap(program, output.decode("utf-8", "replace"))
        if verb == "signal":
            self.reasons.append(f"{program}: killed by {signal_name(number)}")
        elif verb != "exit":
            self.reasons.append(f"{program}: no report that it ended")
        elif number and not (number == 4 and allowed_skip):
            # That of a test whose failures are reasons already is not one more.
            if len(self.reasons) == before[0]:
                self.reasons.append(f"{program}: exit status {number}")
        elif not as_tap:
            self.passed += 1
        self.add_line(index, program, before)

    def judge_tap(self, program, output):
        """Returns true if all of the program was skipped, and may be."""
        plan = re.search(r"^1\.\.(\d+)(.*)$", output, re.MULTILINE)
        results = re.findall(r"^(ok|not ok) (\d+) ?(.*)$", output, re.MULTILINE)
        names = re.findall(r"^# +RUN +(\S+) \.\.\.$", output, re.MULTILINE)
        self.remarks += [f"{program}: {line}" for line in
                         re.findall(r"^# (\S+\.c:\d+:\w+:Expected .*)$", output, re.MULTILINE)]
        if not plan:
            self.reasons.append(f"{program}: no TAP plan")
        elif plan[1] == "0":
            reason = plan[2].partition("SKIP")[2].strip()
            if self.may_skip(program, reason):
                self.skipped += 1
                return True
            self.reasons.append(f"{program}: skipped, which is not listed: {reason}")
        elif [int(number) for _, number, _ in results] != list(range(1, int(plan[1]) + 1)):
            self.reasons.append(f"{program}: incomplete TAP: "
                                f"{len(results)} results of {plan[1]} planned")
        for position, (word, number, text) in enumerate(results):
            name = text
            if text.startswith("#") and position < len(names):
                name = f"{names[position]} {text}"
            if word != "ok":
                self.reasons.append(f"{program}: not ok {number} {name}")
            elif not re.search(r"#\s*(SKIP|XFAIL|TODO)", text, re.IGNORECASE):
                self.passed += 1
            elif self.may_skip(program, name):
                self.skipped += 1
            else:
                self.reasons.append(f"{program}: skipped, which is not listed: {name}")
        return False

    def may_skip(self, program, text):
        return any(program == name and fnmatch.fnmatchcase(text, pattern)
                   for name, pattern in self.rules.skips)

    def judge_end(self):
        if self.record.timed_out:
            what = "done" if self.record.started else "started"
            self.reasons.append(f"time-out: not {what} after {self.record.timed_out:g} s")
        elif not self.record.complete:
            self.reasons.append("the guest ended without saying that it is done")

    def judge_console(self):
        console = self.record.console
        if not console.strip():
            self.reasons.append("nothing on the console")
        if self.rules.oom:
            console = OOM_REPORT.sub("", console)
        if self.rules.races:
            console = RACE_REPORT.sub(keep_race_of_ours, console)
        self.reasons += [f"console: {line.strip()}" for line in complaints(console)[:1]]

    def judge_leaks(self):
        if self.rules.leaks and self.record.leaks != 0:
            self.reasons.append("no report of kmemleak" if self.record.leaks is None else
                                "kmemleak reports leaks, see the console")

    def add_line(self, index, program, before):
        reasons, passed, skipped = before
        failed = len(self.reasons) - reasons
        text = f"{self.passed - passed} passed"
        text += f", {failed} failed" if failed else ""
        text += f", {self.skipped - skipped} skipped" if self.skipped > skipped else ""
        if index in self.record.ended:
            text += f" ({self.record.ended[index] - self.record.started[index]:.1f} s)"
        self.lines.append(f"{'FAIL' if failed else 'ok  '} {self.rules.name} {program}: {text}")

    def totals(self):
        return self.passed, len(self.reasons), self.skipped


def complaints(console):
    """The lines in which the kernel complains."""
    return [line for line in console.splitlines() if COMPLAINT.search(without_stamp(line))]


def without_stamp(line):
    return STAMP.sub("", line)


def keep_race_of_ours(report):
    ours = RACE_OF_OURS.search(report[0]) and not RACE_OF_ALL_FILES.search(report[0])
    return report[0] if ours else ""


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def missing_reasons(judge, expected):
    """Those of the regular expressions that match none of the reasons."""
    return [regex for regex in expected
            if not any(re.search(regex, reason) for reason in judge.reasons)]


def program_status(judge):
    """(status, message) for a boot that runs a single program for the user."""
    record = judge.record
    verb, number = record.results.get(0, ("", 0))
    console = [r for r in judge.reasons if r.startswith("console: ")]
    if console:
        return STATUS_GUEST_FAILED, f"error: the kernel complains: {console[0][9:]}"
    if verb == "signal":
        return STATUS_SIGNAL + number, f"error: program killed by {signal_name(number)}"
    if record.timed_out:
        what = "done after {:g} s (TIMEOUT=)" if record.started else "started after {:g} s"
        return STATUS_TIMEOUT, "error: time-out: program not " + what.format(record.timed_out)
    if verb != "exit" or not record.complete:
        return STATUS_GUEST_FAILED, "error: " + "; ".join(judge.reasons)
    return number, f"program exited with status {number}"
