# SPDX-License-Identifier: GPL-2.0
"""Boots one kernel in QEMU, runs commands in it and judges what happened.

QEMU's own exit status says nothing: a guest that panics ends it with 0. A boot
has passed if every command was reported on the control port, under a nonce that
only this boot knows; if every test's TAP plan is complete and has no failure
and no skip that is not listed; if the console is free of kernel complaints; and
if all that happened in time.

The guest's side is init.c.
"""

import argparse
import ctypes
import fnmatch
import json
import mmap
import os
import platform
import re
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

MACHINES = {
    "x86_64": {
        "qemu": "qemu-system-x86_64",
        "options": ["-M", "q35"],
        # QEMU emulates "rep stosb" a byte at a time, and that would be most of the
        # cost of all memory that is zeroed. Without ERMS kernels use "rep stosq".
        "cpu": "max,-erms",
        "virtio-serial": "virtio-serial-pci",
        # Without tsc=reliable the kernel patches its code whenever a busy
        # host makes the clock look wrong, which emulation may not survive.
        "append": "console=ttyS0 tsc=reliable",
    },
    "i386": {
        "qemu": "qemu-system-i386",
        "options": ["-M", "q35"],
        # An AMD of family 6 is an Athlon to a 32-bit kernel, with two of them not allowed.
        "cpu": "max,vendor=GenuineIntel",
        "virtio-serial": "virtio-serial-pci",
        "append": "console=ttyS0 tsc=reliable",
    },
    "arm64": {
        "qemu": "qemu-system-aarch64",
        "options": ["-M", "virt"],
        # Pointer authentication by the architecture's own algorithm takes forever.
        "cpu": "max,pauth-impdef=on",
        "virtio-serial": "virtio-serial-pci",
        "append": "console=ttyAMA0",
    },
    "riscv64": {
        "qemu": "qemu-system-riscv64",
        "options": ["-M", "virt", "-bios", "default"],
        "cpu": "rv64",
        "virtio-serial": "virtio-serial-device",
        "append": "console=ttyS0",
    },
}

APPEND = "panic=-1 oops=panic panic_on_warn=1 secretmem.enable=1"

# Programs that a program runs.
NEEDS = {"usage": ["growing_buffer", "ring_buffer", "sealed_handover"]}

SPLATS = re.compile(r"""
    \bOops\b | \bBUG: | \bBUG\ \S+\ \( | kernel\ BUG\ at | \bWARNING: |
    general\ protection | Call\ [Tt]race | Kernel\ panic | double\ fault |
    [Uu]nable\ to\ handle | stack\ guard\ page |
    possible\ (recursive|circular|irq)\ lock | inconsistent\ lock\ state |
    lock\ held\ when\ returning | bad\ unlock\ balance | suspicious\ RCU\ usage |
    Invalid\ wait\ context | scheduling\ while\ atomic | sleeping\ function |
    (KASAN|KCSAN|UBSAN): | unreferenced\ object |
    kmemleak:\ (?!Kernel\ memory\ leak\ detector\ (?:initialized|disabled)) |
    pagealloc:\ | Bad\ page | Bad\ rss-counter | list_(add|del)\ corruption |
    blocked\ for\ more\ than | rcu.*\ stall | soft\ lockup | hard\ LOCKUP |
    ^init:\ | invoked\ oom-killer | [Oo]ut\ of\ memory | oom-kill:
    """, re.VERBOSE)

# From the first to the last line of it, with the call trace in between. Whoever was
# killed has the last reserves, and tells at length if these are used up before he ends.
OOM_REPORT = re.compile(
    r"^[^\n]*invoked oom-killer:.*?\bout of memory: Killed process (\d+)[^\n]*\n"
    r"(?:(?:[^\n]*(?:drop_caches|oom_reaper):[^\n]*\n)*"
    r"[^\n]*: page allocation failure: order:0,[^\n]*\n[^\n]* PID: \1 [^\n]*\n"
    r".*?\bpages reserved\s*\n)?",
    re.MULTILINE | re.DOTALL | re.IGNORECASE)

# From the line that names the two functions to the one that ends it.
RACE_REPORT = re.compile(r"^[^\n]*BUG: KCSAN:.*?^[^\n]*={60,}[^\n]*\n", re.MULTILINE | re.DOTALL)
# Functions of which a race counts where the rest of the kernel has its own.
RACE_OF_OURS = re.compile(r"secretmem|set_direct_map|kernel_page_present|gup_pte_range")
# But not if the fault handler only called what any file's does: the page cache reads
# the flags of a page while another task sets the bit that locks it, or waits for that.
RACE_OF_ALL_FILES = re.compile(
    r"data-race in (page_add_file_rmap|__add_to_page_cache_locked) / "
    r"(pagecache_get_page|wait_on_page_bit_common)\n")

# What a boot that runs a single program for its user exits with, when there
# is no status of the program's own to pass on: as timeout(1) and shells do.
STATUS_TIMEOUT = 124
STATUS_GUEST_FAILED = 125
STATUS_SIGNAL = 128

# Lines of QEMU's with a program counter, a stack pointer, or what could not be had.
REGISTERS = re.compile(r"^CPU|^no answer|^ *(PC|pc|[ER]IP|[ER]SI)\b|\b(SP|x2/sp)\b")


class Failed(Exception):
    """What the user asked for can not be done."""


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arch", default="x86_64", choices=MACHINES)
    parser.add_argument("--name", default="boot", help="what reports call this boot")
    parser.add_argument("--kernel-image", required=True, type=Path)
    parser.add_argument("--initrd", required=True, action="append", type=Path)
    parser.add_argument("--gen-init-cpio", required=True, type=Path)
    parser.add_argument("--programs", type=Path,
                        help="folder; those of its programs that commands name go to /bin")
    parser.add_argument("--cpu", help="of QEMU's models; each machine has a default")
    parser.add_argument("--smp", default=1, type=int)
    parser.add_argument("--mem", default="512M")
    parser.add_argument("--numa", action="store_true", help="two nodes, half the memory each")
    parser.add_argument("--prealloc", action="store_true",
                        help="memory is there from the beginning, for those who measure")
    parser.add_argument("--disk", action="store_true", help="a disk of 1 GiB, all zeros")
    parser.add_argument("--resets", action="store_true",
                        help="the guest may restart itself, and go on")
    parser.add_argument("--append", default="", help="words for the kernel command "
                        "line; a default one is left out by a '-' in front of it")
    parser.add_argument("--accel", default="tcg", choices=["tcg", "kvm"])
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
                        help="KCSAN may report races, if they are none of secret memory's")
    parser.add_argument("--expect", action="append", metavar="REGEX",
                        help="the boot must be judged failed, for a reason like this")
    parser.add_argument("--totals", type=Path, help="file to add the counts to")
    parser.add_argument("--passthrough", action="store_true",
                        help="the single command's output and exit status become this one's")
    parser.add_argument("--interactive", action="store_true",
                        help="a shell on the terminal instead of commands")
    return parser.parse_args()


def command_line(args):
    words = f"{MACHINES[args.arch]['append']} {APPEND}".split()
    for word in args.append.split():
        if word.startswith("-"):
            words = [w for w in words if w != word[1:]]
        else:
            words.append(word)
    if args.interactive:
        size = shutil.get_terminal_size()
        words += ["loglevel=3", f"LINES={size.lines}", f"COLUMNS={size.columns}"]
    return " ".join(words)


def make_initrd(args, nonce, commands):
    """The initial RAM disk: the given ones, and this boot's /job after them."""
    texts = {"shell": ""} if args.interactive else {
        "nonce": nonce + "\n", "commands": "".join(c + "\n" for c in commands)}
    entries = ["dir /job 0755 0 0"]
    for name, text in texts.items():
        path = args.log_dir / f"job.{name}"
        path.write_text(text)
        entries.append(f"file /job/{name} {path} 0600 0 0")
    # Not all there are: each boot has to unpack them, and to do without the memory.
    names = [command.split()[0] for command in commands]
    names += [needed for name in names for needed in NEEDS.get(name, ())]
    for path in (args.programs / name for name in dict.fromkeys(names) if args.programs):
        if path.parent == args.programs and path.is_file():
            entries.append(f"file /bin/{path.name} {path} 0755 0 0")
    for path in args.file:
        # gen_init_cpio reads words; this name has no space, whatever PATH has.
        link = args.log_dir / f"job.file{len(entries)}"
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
        entries.append(f"file /job/{path.name.replace(' ', '_')} {link} 0755 0 0")
    listing = args.log_dir / "job.list"
    listing.write_text("\n".join(entries) + "\n")

    initrd = args.log_dir / "initrd"
    with initrd.open("wb") as out:
        for path in args.initrd:
            out.write(path.read_bytes())
            out.write(b"\0" * (-out.tell() % 512))
        out.flush()
        subprocess.run([args.gen_init_cpio, listing], stdout=out, check=True)
    return initrd


def memory_size(text):
    """Bytes, of a number with M or G behind it."""
    found = re.fullmatch(r"(\d+)([MG])", text)
    if not found:
        raise Failed(f"MEM={text}: must be a number with M or G behind it")
    return int(found[1]) << {"M": 20, "G": 30}[found[2]]


def disk_path(args):
    return args.log_dir / "disk"


def qemu_command(args, initrd, fds):
    machine = MACHINES[args.arch]
    chardev = "socket,id={},fd={}".format
    cpu = args.cpu or ("host" if args.accel == "kvm" else machine["cpu"])
    command = [machine["qemu"], *machine["options"], "-cpu", cpu,
               "-accel", args.accel,
               # A socket for each processor: two nodes on one are not believed in.
               "-smp", f"{args.smp},sockets={args.smp}", "-m", f"size={memory_size(args.mem)}B",
               "-nodefaults", "-no-user-config", "-display", "none",
               "-kernel", args.kernel_image, "-initrd", initrd,
               "-append", command_line(args)]
    if args.numa:
        half = memory_size(args.mem) // 2
        for node in range(2):
            cpus = [f"cpus={cpu}" for cpu in range(args.smp) if cpu % 2 == node]
            command += ["-object", f"memory-backend-ram,id=ram{node},size={half}",
                        "-numa", ",".join(["node", f"nodeid={node}", f"memdev=ram{node}", *cpus])]
    if args.prealloc:
        size = memory_size(args.mem)
        command += ["-object", f"memory-backend-ram,id=ram,size={size},prealloc=on",
                    "-machine", "memory-backend=ram"]
    if not args.resets:
        command += ["-no-reboot"]
    if args.disk:
        command += ["-drive", f"file={disk_path(args)},format=raw,if=none,id=disk",
                    "-device", machine["virtio-serial"].replace("serial", "blk") + ",drive=disk"]
    if args.interactive:
        command += ["-chardev", f"stdio,id=console,signal=off,logfile={args.log_dir}/console"]
    else:
        command += ["-chardev", f"file,id=console,path={args.log_dir}/console",
                    "-chardev", chardev("control", fds["control"]),
                    "-chardev", chardev("job", fds["job"]),
                    "-device", machine["virtio-serial"],
                    "-device", "virtserialport,chardev=control,name=control",
                    "-device", "virtserialport,chardev=job,name=job",
                    "-chardev", chardev("monitor", fds["monitor"]),
                    "-mon", "chardev=monitor,mode=control"]
    return command + ["-serial", "chardev:console"]


def die_with_parent(how=signal.SIGKILL):
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, how)


def count_in_file(path, key):
    """How often the key is in the file, not counting overlaps."""
    with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        count, at = 0, data.find(key)
        while at >= 0:
            count, at = count + 1, data.find(key, at + len(key))
        return count


class Monitor:
    """QEMU's machine protocol: one command, one answer, events left aside."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rw", encoding="utf-8")
        self.greeted = False

    def execute(self, command, **arguments):
        if not self.greeted:
            self.greeted = True
            self.file.readline()
            self.execute("qmp_capabilities")
        json.dump({"execute": command, "arguments": arguments}, self.file)
        self.file.write("\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline() or '{"error": {"desc": "QEMU is gone"}}')
            if "error" in answer:
                raise Failed(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]


class Guest:
    """A running QEMU and what came out of it."""

    def __init__(self, args):
        self.args = args
        self.nonce = secrets.token_hex(16)
        self.commands = [c.removeprefix("status:") for c in args.command]
        self.process = None
        self.monitor = None
        self.sockets = {}
        self.control = b""          # an unfinished line
        self.job = b""              # output since the last mark
        self.shown = 0              # how much of it was passed through
        self.outputs = []           # one for each command that has ended
        self.results = {}           # index: ("exit" or "signal", number)
        self.started, self.ended = {}, {}
        self.leaks = None
        self.done = False
        self.timed_out = None       # the limit in seconds that was passed
        self.problems = []

    def start(self):
        initrd = make_initrd(self.args, self.nonce, self.commands)
        if self.args.disk:
            with disk_path(self.args).open("wb") as disk:
                disk.truncate(1 << 30)
        theirs = {}
        if not self.args.interactive:
            for name in ("control", "job", "monitor"):
                self.sockets[name], theirs[name] = socket.socketpair()
        command = qemu_command(self.args, initrd, {n: s.fileno() for n, s in theirs.items()})
        (self.args.log_dir / "qemu.command").write_text(
            " ".join(f"'{word}'" for word in command) + "\n")
        stdin = None if self.args.interactive else subprocess.DEVNULL
        with (self.args.log_dir / "qemu").open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=stdin, stderr=log,
                stdout=None if self.args.interactive else log,
                pass_fds=[s.fileno() for s in theirs.values()], preexec_fn=die_with_parent)
        for sock in theirs.values():
            sock.close()
        if self.sockets:
            self.monitor = Monitor(self.sockets["monitor"])

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        disk_path(self.args).unlink(missing_ok=True)

    def run(self):
        """Serves the guest until it ends or its time is over."""
        began = time.monotonic()
        selector = selectors.DefaultSelector()
        selector.register(self.sockets["control"], selectors.EVENT_READ, self.on_control)
        selector.register(self.sockets["job"], selectors.EVENT_READ, self.on_job)
        while selector.get_map():
            limit = self.args.timeout
            if not self.started:
                limit = min(limit, self.args.start_timeout)
            left = began + limit - time.monotonic()
            if left <= 0:
                self.timed_out = limit
                self.save_registers()
                break
            for key, _ in selector.select(left):
                data = key.fileobj.recv(65536)
                if data:
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
            self.let_go()
        self.stop()
        if self.job:
            self.show(self.job)
            self.outputs.append(self.job)

    def save_registers(self):
        """For whoever has to find out where a guest hangs."""
        self.sockets["monitor"].settimeout(10)
        try:
            text = self.monitor.execute("human-monitor-command",
                                        **{"command-line": "info registers -a"})
        except (Failed, OSError, ValueError) as err:
            text = f"no answer: {err}"
        (self.args.log_dir / "registers").write_text(text)

    def let_go(self):
        """The guest may end once all it had to say has been read."""
        if self.done and len(self.outputs) == len(self.results):
            self.done = False
            self.results["done"] = True
            self.sockets["control"].sendall(b"bye\n")

    def show(self, data):
        if self.args.passthrough:
            sys.stdout.buffer.write(data[self.shown:])
            sys.stdout.buffer.flush()

    def on_job(self, data):
        self.job += data
        while True:
            mark = f"\0end {self.nonce} {len(self.outputs)}\n".encode()
            output, found, rest = self.job.partition(mark)
            if not found:
                break
            self.show(output)
            self.outputs.append(output)
            self.job, self.shown = rest, 0
        # A mark may have come in part: what could begin one has to wait.
        safe = self.job.rfind(b"\0", max(self.shown, len(self.job) - len(mark)))
        safe = len(self.job) if safe < 0 else safe
        self.show(self.job[:safe])
        self.shown = max(self.shown, safe)

    def on_control(self, data):
        *lines, self.control = (self.control + data).split(b"\n")
        for line in lines:
            words = line.decode("ascii", "replace").split()
            if words[:1] == ["search"] and len(words) == 2:
                self.sockets["control"].sendall(self.search(words[1]).encode() + b"\n")
            elif len(words) < 2 or words[1] != self.nonce:
                self.problems.append(f"control port: wrong nonce: {' '.join(words)[:80]}")
            else:
                self.on_report(words[0], [int(word) for word in words[2:]])

    def on_report(self, verb, numbers):
        now = time.monotonic()
        if verb == "start":
            self.started[numbers[0]] = now
        elif verb in ("exit", "signal"):
            self.ended[numbers[0]] = now
            self.results[numbers[0]] = (verb, numbers[1])
        elif verb == "leaks":
            self.leaks = numbers[0]
        elif verb == "done":
            self.done = True

    def search(self, masked):
        """Answers how often a key is in the guest's memory, as QEMU sees it.

        The guest sends the key masked, or the request itself would be found.
        """
        dump = self.args.log_dir / "memory"
        try:
            key = bytes(byte ^ 0xff for byte in bytes.fromhex(masked))
            if not 16 <= len(key) <= 64:
                raise Failed("the key's length is not 16 to 64 bytes")
            # QEMU stops the guest for as long as this takes.
            self.monitor.execute("dump-guest-memory", paging=False,
                                 protocol=f"file:{dump.resolve()}")
            return f"found {count_in_file(dump, key)}"
        except (Failed, ValueError, OSError) as err:
            return f"error {err}"
        finally:
            dump.unlink(missing_ok=True)


class Judge:
    """Says what a boot was worth, and why."""

    def __init__(self, guest):
        self.args = guest.args
        self.guest = guest
        self.passed = self.skipped = 0
        self.reasons = []
        self.remarks = []           # what tests say of what they find wrong
        self.lines = []
        self.allowed = self.read_skips()

    def read_skips(self):
        allowed = []
        for line in self.args.skips.read_text().splitlines() if self.args.skips else []:
            words = line.split(maxsplit=2)
            if len(words) == 3 and words[0] in ("*", self.args.arch):
                allowed.append(tuple(words[1:]))
        return allowed

    def may_skip(self, program, text):
        return any(program == name and fnmatch.fnmatchcase(text, pattern)
                   for name, pattern in self.allowed)

    def judge(self):
        for index, command in enumerate(self.args.command):
            self.judge_command(index, command)
        self.reasons += self.guest.problems
        if self.guest.timed_out:
            what = "done" if self.guest.started else "started"
            self.reasons.append(f"time-out: not {what} after {self.guest.timed_out:g} s")
        elif "done" not in self.guest.results:
            self.reasons.append("the guest ended without saying that it is done")
        self.judge_console()
        if self.args.leaks and self.guest.leaks != 0:
            self.reasons.append("no report of kmemleak" if self.guest.leaks is None else
                                "kmemleak reports leaks, see the console")

    def judge_command(self, index, command):
        as_tap = not command.startswith("status:")
        command = command.removeprefix("status:")
        program = os.path.basename(command.split()[0])
        before = len(self.reasons), self.passed, self.skipped
        output = self.guest.outputs[index] if index < len(self.guest.outputs) else b""
        (self.args.log_dir / f"{index}-{program}").write_bytes(output)

        verb, number = self.guest.results.get(index, ("", 0))
        allowed_skip = False
        if as_tap:
            allowed_skip = self.judge_tap(program, output.decode("utf-8", "replace"))
        if verb == "signal":
            self.reasons.append(f"{program}: killed by {signal_name(number)}")
        elif verb != "exit":
            self.reasons.append(f"{program}: no report that it ended")
        elif number and not (number == 4 and allowed_skip):
            # That of a test with failures it has named already is not one more.
            if len(self.reasons) == before[0]:
                self.reasons.append(f"{program}: exit status {number}")
        elif not as_tap:
            self.passed += 1
        self.add_line(index, program, before)

    def judge_tap(self, program, output):
        """True if all of the program was skipped, and may be."""
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

    def judge_console(self):
        console = (self.args.log_dir / "console").read_text("utf-8", "replace")
        if not console.strip():
            self.reasons.append("nothing on the console")
        if self.args.oom:
            console = OOM_REPORT.sub("", console)
        if self.args.races:
            console = RACE_REPORT.sub(keep_race_of_ours, console)
        for line in console.splitlines():
            if SPLATS.search(re.sub(r"^\[[ .\d]+\]( *\[[ TC\d]+\])? ", "", line)):
                self.reasons.append(f"console: {line.strip()}")
                break

    def add_line(self, index, program, before):
        reasons, passed, skipped = before
        failed = len(self.reasons) - reasons
        text = f"{self.passed - passed} passed"
        text += f", {failed} failed" if failed else ""
        text += f", {self.skipped - skipped} skipped" if self.skipped > skipped else ""
        if index in self.guest.ended:
            text += f" ({self.guest.ended[index] - self.guest.started[index]:.1f} s)"
        self.lines.append(f"{'FAIL' if failed else 'ok  '} {self.args.name} {program}: {text}")

    def totals(self):
        return self.passed, len(self.reasons), self.skipped


def keep_race_of_ours(report):
    ours = RACE_OF_OURS.search(report[0]) and not RACE_OF_ALL_FILES.search(report[0])
    return report[0] if ours else ""


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def say_more(judge):
    """What helps to find out why a boot failed."""
    args = judge.args
    for remark in list(dict.fromkeys(judge.remarks))[:20]:
        print(f"    {remark}")
    if judge.guest.timed_out:
        registers = (args.log_dir / "registers").read_text("utf-8", "replace")
        print("Registers at the time-out:\n" + "".join(
            f"    {line}\n" for line in registers.splitlines() if REGISTERS.search(line)), end="")
    print(f"The console's last lines (all of it, and all output: {args.log_dir}):")
    lines = (args.log_dir / "console").read_text("utf-8", "replace").splitlines()
    print("".join(f"    {line}\n" for line in lines[-20:]), end="")
    qemu = (args.log_dir / "qemu").read_text("utf-8", "replace").strip()
    if qemu:
        print(f"QEMU says:\n    {qemu}")


def report_check(judge):
    """For tests: a line for each program, and the reasons why one failed."""
    for line in judge.lines:
        print(line)
    for reason in judge.reasons:
        print(f"FAIL {judge.args.name}: {reason}")
    if judge.reasons:
        say_more(judge)
    return judge.totals()


def report_expected(judge):
    """For a boot that has to fail: passed if it was judged so, and rightly."""
    missing = [regex for regex in judge.args.expect
               if not any(re.search(regex, reason) for reason in judge.reasons)]
    if not missing:
        reason = next(r for r in judge.reasons if re.search(judge.args.expect[0], r))
        print(f"ok   {judge.args.name}: judged as failed: {reason}")
        return 1, 0, 0
    print(f"FAIL {judge.args.name}: must be judged as failed for {', '.join(missing)}; "
          f"but the reasons were: {'; '.join(judge.reasons) or 'none'}")
    return 0, 1, 0


def report_program(judge):
    """For a user's program: its status, or an error that says what happened."""
    verb, number = judge.guest.results.get(0, ("", 0))
    console = [r for r in judge.reasons if r.startswith("console: ")]
    if console:
        message, status = f"the kernel complains: {console[0][9:]}", STATUS_GUEST_FAILED
    elif verb == "signal":
        message, status = f"program killed by {signal_name(number)}", STATUS_SIGNAL + number
    elif judge.guest.timed_out:
        what = "done after {:g} s (TIMEOUT=)" if judge.guest.started else "started after {:g} s"
        message = "time-out: program not " + what.format(judge.guest.timed_out)
        status = STATUS_TIMEOUT
    elif verb != "exit" or "done" not in judge.guest.results:
        message, status = "; ".join(judge.reasons), STATUS_GUEST_FAILED
    else:
        message, status = f"program exited with status {number}", number
    if status:
        sys.stdout.flush()
        print(f"error: {message}" if verb != "exit" or console else message, file=sys.stderr)
    if status in (STATUS_GUEST_FAILED, STATUS_TIMEOUT) and verb != "exit":
        print(f"The kernel's messages: {judge.args.log_dir}/console", file=sys.stderr)
    return status


def run_interactive(guest):
    """Gives the terminal to the guest, and takes it back as it was."""
    saved = termios.tcgetattr(0) if os.isatty(0) else None
    try:
        guest.start()
        return guest.process.wait()
    finally:
        guest.stop()
        if saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


def check_tools(args):
    qemu = MACHINES[args.arch]["qemu"]
    if not shutil.which(qemu):
        raise Failed(f"{qemu} is not installed")
    host = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    if args.accel == "kvm" and args.arch not in (host, {"x86_64": "i386"}.get(host)):
        raise Failed(f"ACCEL=kvm: this is not a {args.arch} machine")
    for path in [args.kernel_image, args.gen_init_cpio, *args.initrd, *args.file]:
        if not path.exists():
            raise Failed(f"{path}: no such file")


def main():
    args = parse_arguments()
    check_tools(args)
    shutil.rmtree(args.log_dir, ignore_errors=True)
    args.log_dir.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    die_with_parent(signal.SIGTERM)

    guest = Guest(args)
    if args.interactive:
        return run_interactive(guest)
    try:
        guest.start()
        guest.run()
    finally:
        guest.stop()
    judge = Judge(guest)
    judge.judge()
    if args.passthrough:
        return report_program(judge)
    totals = report_expected(judge) if args.expect else report_check(judge)
    if args.totals:
        with args.totals.open("a", encoding="ascii") as f:
            print(*totals, file=f)
    return 1 if totals[1] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError, subprocess.CalledProcessError) as err:
        sys.exit(f"error: {err}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
