# SPDX-License-Identifier: GPL-2.0
"""Boots one kernel in QEMU, runs commands in it and reports what came of it.

guest.py runs QEMU; judge.py says whether the boot has passed.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import guest
import judge

# Of QEMU's "info registers": lines with a program counter or a stack pointer; and
# the line that says why there are none.
REGISTERS = re.compile(r"^CPU|^no answer|^ *(PC|pc|[ER]IP|[ER]SI)\b|\b(SP|x2/sp)\b")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arch", default="x86_64", choices=guest.MACHINES)
    parser.add_argument("--name", default="boot", help="what reports call this boot")
    parser.add_argument("--kernel-image", required=True, type=Path)
    parser.add_argument("--initrd", required=True, action="append", type=Path)
    parser.add_argument("--gen-init-cpio", required=True, type=Path)
    parser.add_argument("--programs", type=Path,
                        help="folder; those of its programs that commands name go to /bin")
    parser.add_argument("--cpu", help="a CPU model of QEMU; each machine has a default")
    parser.add_argument("--smp", default=1, type=int)
    parser.add_argument("--mem", default="512M")
    parser.add_argument("--numa", action="store_true", help="two nodes, half the memory each")
    parser.add_argument("--prealloc", action="store_true",
                        help="allocate the guest's memory before it starts, for benchmarks")
    parser.add_argument("--disk", action="store_true", help="a disk of 1 GiB, all zeros")
    parser.add_argument("--drive", action="append", default=[], type=Path,
                        help="a disk with this image; what the guest writes to it is lost")
    parser.add_argument("--resets", action="store_true",
                        help="the guest may restart itself, and go on")
    parser.add_argument("--append", default="", help="words for the kernel command "
                        "line; '-word' leaves out a default one")
    parser.add_argument("--accel", default="tcg", choices=["tcg", "kvm"])
    parser.add_argument("--icount", action="store_true",
                        help="the guest's clock counts instructions, each as one nanosecond")
    parser.add_argument("--timeout", default=300, type=float, help="in seconds")
    parser.add_argument("--start-timeout", default=180, type=float,
                        help="the same, until the first command has started")
    parser.add_argument("--log-dir", required=True, type=Path)
    parser.add_argument("--file", action="append", default=[], type=Path,
                        help="goes to /job in the guest")
    parser.add_argument("--command", action="append", default=[],
                        help="a test, whose output is TAP; "
                        "or status:COMMAND, of which only the exit status counts")
    parser.add_argument("--skips", type=Path, help="list of the skips allowed")
    parser.add_argument("--leaks", action="store_true",
                        help="kmemleak has to report, and to report nothing")
    parser.add_argument("--oom", action="store_true", help="the guest may run out of memory")
    parser.add_argument("--races", action="store_true",
                        help="KCSAN may report races in which secret memory has no part")
    parser.add_argument("--expect", action="append", metavar="REGEX",
                        help="the boot must be judged as failed, for a reason like this")
    parser.add_argument("--totals", type=Path, help="file to add the counts to")
    parser.add_argument("--passthrough", action="store_true",
                        help="pass on the output and the exit status of the single command")
    parser.add_argument("--interactive", action="store_true",
                        help="a shell on the terminal instead of commands")
    return parser.parse_args()


def rules_of(args):
    skips = judge.read_skips(args.skips.read_text(), args.arch) if args.skips else []
    return judge.Rules(args.name, args.command, skips, args.leaks, args.oom, args.races)


def save_outputs(args, record):
    for index, command in enumerate(args.command):
        output = record.outputs[index] if index < len(record.outputs) else b""
        (args.log_dir / f"{index}-{judge.program_of(command)}").write_bytes(output)


def print_diagnostics(args, verdict):
    """What helps to find out why a boot has failed."""
    for remark in list(dict.fromkeys(verdict.remarks))[:20]:
        print(f"    {remark}")
    if verdict.record.timed_out:
        registers = (args.log_dir / "registers").read_text("utf-8", "replace")
        print("Registers at the time-out:\n" + "".join(
            f"    {line}\n" for line in registers.splitlines() if REGISTERS.search(line)), end="")
    print(f"The console's last lines (all of it, and all output: {args.log_dir}):")
    lines = verdict.record.console.splitlines()
    print("".join(f"    {line}\n" for line in lines[-20:]), end="")
    qemu = (args.log_dir / "qemu").read_text("utf-8", "replace").strip()
    if qemu:
        print(f"QEMU says:\n    {qemu}")


def report_check(args, verdict):
    """A line for each command, and the reasons if the boot has failed."""
    for line in verdict.lines:
        print(line)
    for reason in verdict.reasons:
        print(f"FAIL {args.name}: {reason}")
    if verdict.reasons:
        print_diagnostics(args, verdict)
    return verdict.totals()


def report_expected(args, verdict):
    """For a boot that must fail: it passes if it was judged so for the right reasons."""
    missing = judge.missing_reasons(verdict, args.expect)
    if not missing:
        reason = next(r for r in verdict.reasons if re.search(args.expect[0], r))
        print(f"ok   {args.name}: judged as failed: {reason}")
        return 1, 0, 0
    print(f"FAIL {args.name}: must be judged as failed for {', '.join(missing)}; "
          f"but the reasons were: {'; '.join(verdict.reasons) or 'none'}")
    return 0, 1, 0


def report_program(args, verdict):
    """For a program of the user: returns its status, or one that says what happened."""
    status, message = judge.program_status(verdict)
    if status:
        print(message, file=sys.stderr)
    if message.startswith("error: ") and status < judge.STATUS_SIGNAL:
        print(f"The kernel's messages: {args.log_dir}/console", file=sys.stderr)
    return status


def main():
    args = parse_arguments()
    guest.check_tools(args)
    shutil.rmtree(args.log_dir, ignore_errors=True)
    args.log_dir.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    guest.die_with_parent(signal.SIGTERM)

    machine = guest.Guest(args)
    if args.interactive:
        return machine.run_on_terminal()
    try:
        machine.start()
        record = machine.run()
    finally:
        machine.stop()
    save_outputs(args, record)
    verdict = judge.Judge(rules_of(args), record)
    if args.passthrough:
        return report_program(args, verdict)
    report = report_expected if args.expect else report_check
    totals = report(args, verdict)
    if args.totals:
        with args.totals.open("a", encoding="ascii") as f:
            print(*totals, file=f)
    return 1 if totals[1] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (guest.Failed, OSError, subprocess.CalledProcessError) as err:
        sys.exit(f"error: {err}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
