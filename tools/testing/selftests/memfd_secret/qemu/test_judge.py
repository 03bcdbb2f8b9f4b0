# SPDX-License-Identifier: GPL-2.0
"""Tests of the judge: sample boots that pass, or fail for one reason each.

testdata/ has consoles, outputs of a test, and lines in which a kernel complains,
as kernels and tests print them, but shortened.
"""

import re
import unittest
from pathlib import Path

import judge

TESTDATA = Path(__file__).resolve().parent / "testdata"
TOKEN = "8f2c6a51d07b94e3"
SKIPS = "*  access  pages.*_not_move_them # SKIP only one node with memory\n"
# What the guest reports on the control port.
REPORTS = {
    "passing": ("start TOKEN 0", "exit TOKEN 0 0", "leaks TOKEN 0", "done TOKEN"),
    "status 1": ("start TOKEN 0", "exit TOKEN 0 1", "leaks TOKEN 0", "done TOKEN"),
    "status 4": ("start TOKEN 0", "exit TOKEN 0 4", "leaks TOKEN 0", "done TOKEN"),
    "signal 11": ("start TOKEN 0", "signal TOKEN 0 11", "leaks TOKEN 0", "done TOKEN"),
    "7 leaks": ("start TOKEN 0", "exit TOKEN 0 0", "leaks TOKEN 7", "done TOKEN"),
    "no leaks": ("start TOKEN 0", "exit TOKEN 0 0", "done TOKEN"),
    "not done": ("start TOKEN 0", "exit TOKEN 0 0", "leaks TOKEN 0"),
    "not ended": ("start TOKEN 0",),
    "not started": (),
    "forged": ("start TOKEN 0", "exit 0 0 0", "done 0", "exit TOKEN 0 0", "done TOKEN"),
    "no token": ("start 0 0", "exit 0 0 0", "done 0"),
}


def read(name):
    return (TESTDATA / name).read_text("utf-8")


def record(console="passing", output="passing", reports="passing", mark=TOKEN, timed_out=None):
    """A boot of one command. What is not given is as in a boot that passes."""
    boot = judge.Record(TOKEN)
    for now, line in enumerate(REPORTS[reports]):
        boot.add_report(line.replace("TOKEN", TOKEN), float(now))
    boot.add_output(read(f"output/{output}").encode() + f"\0end {mark} 0\n".encode())
    boot.end()
    boot.console = read(f"console/{console}")
    boot.timed_out = timed_out
    return boot


def judged(boot, command="access", **rules):
    skips = judge.read_skips(SKIPS, "x86_64")
    return judge.Judge(judge.Rules("boot", [command], skips, **rules), boot)


class TestCase(unittest.TestCase):
    def fails_for(self, verdict, *reasons):
        self.assertEqual(verdict.reasons, list(reasons))

    def passes(self, verdict):
        self.fails_for(verdict)


class PassingBoot(TestCase):
    def test_passes(self):
        self.passes(judged(record(), leaks=True))

    def test_is_counted(self):
        self.assertEqual(judged(record()).totals(), (2, 0, 1))

    def test_has_a_line_for_its_command(self):
        self.assertEqual(judged(record()).lines, ["ok   boot access: 2 passed, 1 skipped (1.0 s)"])

    def test_passes_by_status(self):
        verdict = judged(record(), "status:/job/access 1")
        self.passes(verdict)
        self.assertEqual(verdict.totals(), (1, 0, 0))


class Console(TestCase):
    def fails_with(self, console, line, **rules):
        self.fails_for(judged(record(console=console), **rules), f"console: {line}")

    def test_oops(self):
        self.fails_with("oops", "[   12.118803] BUG: kernel NULL pointer dereference, "
                        "address: 0000000000000008")

    def test_warning(self):
        self.fails_with("warning", "[   11.403410] WARNING: CPU: 0 PID: 71 at mm/secretmem.c:131 "
                        "secretmem_fault+0x1c4/0x210")

    def test_lockdep(self):
        self.fails_with("lockdep", "[   14.770644] WARNING: possible recursive locking detected")

    def test_kasan(self):
        self.fails_with("kasan", "[   25.118790] BUG: KASAN: use-after-free in "
                        "block_put_page+0x5e/0x1a0")

    def test_hung_task(self):
        self.fails_with("hung_task", "[  245.760331] INFO: task holes:77 blocked for more than "
                        "122 seconds.")

    def test_panic(self):
        self.fails_with("panic", "[   10.330303] Kernel panic - not syncing: sysrq triggered crash")

    def test_leaks(self):
        self.fails_with("kmemleak", "unreferenced object 0xffff888004a7c9c0 (size 64):")

    def test_empty(self):
        boot = record()
        boot.console = "\n"
        self.fails_for(judged(boot), "nothing on the console")

    def test_out_of_memory(self):
        self.fails_with("oom", "[   30.511408] churn invoked oom-killer: "
                        "gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=1000")

    def test_out_of_memory_if_allowed(self):
        self.passes(judged(record(console="oom"), oom=True))

    def test_complaint_between_reports_of_the_oom_killer(self):
        boot = record(console="oom")
        boot.console += read("console/warning") + boot.console
        self.fails_for(judged(boot, oom=True), "console: [   11.403410] WARNING: CPU: 0 PID: 71 at "
                       "mm/secretmem.c:131 secretmem_fault+0x1c4/0x210")

    def test_races_of_others(self):
        self.fails_with("races_of_others", "[   18.110611] BUG: KCSAN: data-race in "
                        "__add_to_page_cache_locked / wait_on_page_bit_common")

    def test_races_of_others_if_allowed(self):
        self.passes(judged(record(console="races_of_others"), races=True))

    def test_race_of_secret_memory(self):
        self.fails_with("race_of_ours", "[   18.110611] BUG: KCSAN: data-race in gup_pte_range / "
                        "secretmem_remove_pages", races=True)


class Complaints(TestCase):
    def test_each_is_found(self):
        for line in read("complaints").splitlines():
            with self.subTest(line):
                self.assertEqual(judge.complaints(f"good\n{line}\ngood\n"), [line])

    def test_each_pattern_is_needed(self):
        lines = [judge.without_stamp(line) for line in read("complaints").splitlines()]
        for pattern in judge.COMPLAINTS:
            others = "|".join(p for p in judge.COMPLAINTS if p != pattern)
            with self.subTest(pattern):
                self.assertTrue(any(not re.search(others, line) for line in lines))

    def test_time_and_caller_are_no_part_of_a_line(self):
        for stamp in ("[   12.118803] ", "[   12.118803][    T1] ", "[   12.118803] [C0] "):
            with self.subTest(stamp):
                self.assertEqual(judge.without_stamp(f"{stamp}init: [1] text"), "init: [1] text")

    def test_none_in_a_boot_that_passes(self):
        self.assertEqual(judge.complaints(read("console/passing")), [])


class Tap(TestCase):
    def test_failed_test(self):
        verdict = judged(record(output="failing", reports="status 1"))
        self.fails_for(verdict, "access: not ok 2 global.link_in_proc_names_secretmem")
        self.assertEqual(verdict.totals(), (1, 1, 1))
        self.assertEqual(verdict.remarks, [
            "access: create.c:133:link_in_proc_names_secretmem:Expected "
            "'/memfd:secretmem (deleted)' == '/secretmem (deleted)'"])
        self.assertEqual(verdict.lines,
                         ["FAIL boot access: 1 passed, 1 failed, 1 skipped (1.0 s)"])

    def test_no_plan(self):
        self.fails_for(judged(record(output="plan_missing")), "access: no TAP plan")

    def test_fewer_results_than_planned(self):
        self.fails_for(judged(record(output="plan_short")),
                       "access: incomplete TAP: 1 results of 3 planned")

    def test_results_out_of_order(self):
        boot = record()
        boot.outputs = [boot.outputs[0].replace(b"ok 2", b"ok 1")]
        self.fails_for(judged(boot), "access: incomplete TAP: 3 results of 3 planned")

    def test_skip_that_is_not_listed(self):
        self.fails_for(judged(record(output="skip_not_listed")),
                       "access: skipped, which is not listed: "
                       "pages.written.move_pages_does_not_move_them # SKIP no memory for it")

    def test_skip_that_is_listed_for_another_program(self):
        self.fails_for(judged(record(), "pool"), "pool: skipped, which is not listed: pages.written."
                       "move_pages_does_not_move_them # SKIP only one node with memory")

    def test_all_skipped(self):
        boot = record(output="skip_all", reports="status 4")
        self.fails_for(judged(boot), "access: skipped, which is not listed: no such hardware")

    def test_all_skipped_if_listed(self):
        rules = judge.Rules("boot", ["access"], [("access", "no such *")])
        verdict = judge.Judge(rules, record(output="skip_all", reports="status 4"))
        self.passes(verdict)
        self.assertEqual(verdict.totals(), (0, 0, 1))

    def test_exit_status_4_without_a_skip(self):
        self.fails_for(judged(record(reports="status 4")), "access: exit status 4")


class Skips(TestCase):
    TABLE = ("# A comment.\n"
             "\n"
             "i386  pool  policy.* # SKIP only one node with memory\n"
             "*     lsm   * # SKIP another policy is loaded\n")

    def test_of_one_architecture(self):
        self.assertEqual(judge.read_skips(self.TABLE, "i386"), [
            ("pool", "policy.* # SKIP only one node with memory"),
            ("lsm", "* # SKIP another policy is loaded")])

    def test_of_another_architecture(self):
        self.assertEqual(judge.read_skips(self.TABLE, "arm64"), [
            ("lsm", "* # SKIP another policy is loaded")])


class Ports(TestCase):
    def test_report_without_the_token(self):
        self.fails_for(judged(record(reports="forged")),
                       "control port: wrong nonce: exit 0 0 0", "control port: wrong nonce: done 0")

    def test_no_report_with_the_token(self):
        self.fails_for(judged(record(reports="no token")),
                       "access: no report that it ended",
                       "control port: wrong nonce: start 0 0",
                       "control port: wrong nonce: exit 0 0 0",
                       "control port: wrong nonce: done 0",
                       "the guest ended without saying that it is done")

    def test_mark_with_another_token_is_output(self):
        boot = record(mark="0123456789abcdef")
        self.assertTrue(boot.outputs[0].endswith(b"\0end 0123456789abcdef 0\n"))
        self.fails_for(judged(boot), "the guest ended without saying that it is done")

    def test_output_in_pieces(self):
        marks = [f"\0end {TOKEN} {index}\n".encode() for index in range(2)]
        second = b"sec\0ond\n" + marks[0]
        boot = judge.Record(TOKEN)
        shown = b"".join(boot.add_output(bytes([byte])) for byte in
                         b"first\n" + marks[0] + second + marks[1] + b"rest\0")
        self.assertEqual(boot.outputs, [b"first\n", second])
        self.assertEqual(shown + boot.end(), b"first\n" + second + b"rest\0")
        self.assertEqual(boot.outputs, [b"first\n", second, b"rest\0"])

    def test_no_part_of_a_mark_is_shown(self):
        boot = judge.Record(TOKEN)
        self.assertEqual(boot.add_output(b"text\0end "), b"text")
        self.assertEqual(boot.add_output(f"{TOKEN} 0\n".encode()), b"")

    def test_complete_only_with_all_output(self):
        boot = judge.Record(TOKEN)
        for line in (f"exit {TOKEN} 0 0", f"done {TOKEN}"):
            boot.add_report(line, 0.0)
        self.assertFalse(boot.complete)
        boot.add_output(f"\0end {TOKEN} 0\n".encode())
        self.assertTrue(boot.complete)


class End(TestCase):
    def test_exit_status(self):
        self.fails_for(judged(record(reports="status 1")), "access: exit status 1")

    def test_exit_status_of_no_test(self):
        verdict = judged(record(reports="status 1"), "status:access")
        self.fails_for(verdict, "access: exit status 1")
        self.assertEqual(verdict.totals(), (0, 1, 0))

    def test_signal(self):
        self.fails_for(judged(record(reports="signal 11")), "access: killed by SIGSEGV")

    def test_time_out(self):
        self.fails_for(judged(record(reports="not ended", timed_out=300.0)),
                       "access: no report that it ended", "time-out: not done after 300 s")

    def test_time_out_before_the_start(self):
        self.fails_for(judged(record(reports="not started", timed_out=180.0)),
                       "access: no report that it ended", "time-out: not started after 180 s")

    def test_guest_is_not_done(self):
        self.fails_for(judged(record(reports="not done")),
                       "the guest ended without saying that it is done")

    def test_a_command_was_not_run(self):
        rules = judge.Rules("boot", ["status:access", "status:create"])
        self.fails_for(judge.Judge(rules, record()), "create: no report that it ended")


class Leaks(TestCase):
    def test_reported(self):
        self.fails_for(judged(record(reports="7 leaks"), leaks=True),
                       "kmemleak reports leaks, see the console")

    def test_not_reported(self):
        self.fails_for(judged(record(reports="no leaks"), leaks=True), "no report of kmemleak")

    def test_need_no_report(self):
        self.passes(judged(record(reports="no leaks")))


class ExpectedFailure(TestCase):
    def missing(self, *expected):
        return judge.missing_reasons(judged(record(console="panic", reports="signal 11")), expected)

    def test_all_reasons(self):
        self.assertEqual(self.missing("^access: killed", "console:.*Kernel panic"), [])

    def test_another_reason(self):
        self.assertEqual(self.missing("^access: killed", "console:.*WARNING:"),
                         ["console:.*WARNING:"])


class ProgramStatus(TestCase):
    def status(self, status, message, **parts):
        verdict = judged(record(**parts), "status:access")
        self.assertEqual(judge.program_status(verdict), (status, message))

    def test_success(self):
        self.status(0, "program exited with status 0")

    def test_failure(self):
        self.status(1, "program exited with status 1", reports="status 1")

    def test_signal(self):
        self.status(139, "error: program killed by SIGSEGV", reports="signal 11")

    def test_complaint(self):
        self.status(125, "error: the kernel complains: [   10.330303] Kernel panic - not syncing: "
                    "sysrq triggered crash", console="panic")

    def test_time_out(self):
        self.status(124, "error: time-out: program not done after 300 s (TIMEOUT=)",
                    reports="not ended", timed_out=300.0)

    def test_time_out_before_the_start(self):
        self.status(124, "error: time-out: program not started after 180 s",
                    reports="not started", timed_out=180.0)

    def test_no_report(self):
        self.status(125, "error: access: no report that it ended; "
                    "the guest ended without saying that it is done", reports="not ended")

    def test_guest_is_not_done(self):
        self.status(125, "error: the guest ended without saying that it is done",
                    reports="not done")

    def test_nothing_was_run(self):
        boot = judge.Record(TOKEN)
        boot.add_report(f"done {TOKEN}", 0.0)
        boot.console = read("console/passing")
        self.assertEqual(judge.program_status(judged(boot, "status:access")),
                         (125, "error: access: no report that it ended"))


if __name__ == "__main__":
    unittest.main()
