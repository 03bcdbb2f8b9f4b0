# SPDX-License-Identifier: GPL-2.0
"""A guest: the QEMU that boots a kernel, and the two ports that lead into it.

init.c is the other end of the ports. What comes out of the guest goes into a
judge.Record.
"""

import ctypes
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

from judge import Record

# An x86 kernel puts a breakpoint on code while it patches it. If another processor of
# the guest runs that code, QEMU 7.2 can keep what it translated of the breakpoint, and
# the kernel dies of it later ("int3"). So hot code is not patched: without tsc=reliable
# that happens whenever a busy host makes the clock look wrong, and with record-cmd each
# traced event patches the scheduler.
X86_APPEND = "console=ttyS0 tsc=reliable trace_options=norecord-cmd"

MACHINES = {
    "x86_64": {
        "qemu": "qemu-system-x86_64",
        "options": ["-M", "q35"],
        # Kernels zero memory with "rep stosb" if the CPU has ERMS. QEMU emulates
        # that a byte at a time; without ERMS they use "rep stosq".
        "cpu": "max,-erms",
        "virtio-serial": "virtio-serial-pci",
        "append": X86_APPEND,
    },
    "i386": {
        "qemu": "qemu-system-i386",
        "options": ["-M", "q35"],
        # A 32-bit kernel takes an AMD CPU of family 6 for an Athlon, and taints
        # itself if there are two.
        "cpu": "max,vendor=GenuineIntel",
        "virtio-serial": "virtio-serial-pci",
        "append": X86_APPEND,
    },
    "arm64": {
        "qemu": "qemu-system-aarch64",
        "options": ["-M", "virt"],
        # The architecture's own algorithm for pointer authentication is very slow
        # when it is emulated.
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

# Programs that another program runs.
NEEDS = {"usage": ["growing_buffer", "key_check", "ring_buffer", "sealed_handover"]}


class Failed(Exception):
    """What the user asked for cannot be done."""


def check_tools(args):
    qemu = MACHINES[args.arch]["qemu"]
    if not shutil.which(qemu):
        raise Failed(f"{qemu} is not installed")
    host = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    if args.accel == "kvm" and args.arch not in (host, {"x86_64": "i386"}.get(host)):
        raise Failed(f"ACCEL=kvm: this is not a {args.arch} machine")
    for path in [args.kernel_image, args.gen_init_cpio, *args.initrd, *args.drive, *args.file]:
        if not path.exists():
            raise Failed(f"{path}: no such file")


def kernel_command_line(args):
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
    """The initial RAM disk: those given, followed by /job and the programs of this boot."""
    texts = {"shell": ""} if args.interactive else {
        "nonce": nonce + "\n", "commands": "".join(c + "\n" for c in commands)}
    entries = ["dir /job 0755 0 0"]
    for name, text in texts.items():
        path = args.log_dir / f"job.{name}"
        path.write_text(text)
        entries.append(f"file /job/{name} {path} 0600 0 0")
    # Only the programs that are run: the guest has to unpack all it is given, and
    # they take part of its memory.
    names = [command.split()[0] for command in commands]
    names += [needed for name in names for needed in NEEDS.get(name, ())]
    for path in (args.programs / name for name in dict.fromkeys(names) if args.programs):
        if path.parent == args.programs and path.is_file():
            entries.append(f"file /bin/{path.name} {path} 0755 0 0")
    for path in args.file:
        # gen_init_cpio splits lines at spaces: give it a name that has none.
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
    """Bytes of a number followed by M or G."""
    found = re.fullmatch(r"(\d+)([MG])", text)
    if not found:
        raise Failed(f"MEM={text}: must be a number followed by M or G")
    return int(found[1]) << {"M": 20, "G": 30}[found[2]]


def disk_path(args):
    return args.log_dir / "disk"


def qemu_command(args, initrd, fds):
    machine = MACHINES[args.arch]
    chardev = "socket,id={},fd={}".format
    cpu = args.cpu or ("host" if args.accel == "kvm" else machine["cpu"])
    command = [machine["qemu"], *machine["options"], "-cpu", cpu,
               "-accel", args.accel,
               # The kernel rejects two NUMA nodes within one socket.
               "-smp", f"{args.smp},sockets={args.smp}", "-m", f"size={memory_size(args.mem)}B",
               "-nodefaults", "-no-user-config", "-display", "none",
               "-kernel", args.kernel_image, "-initrd", initrd,
               "-append", kernel_command_line(args)]
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
    if args.icount:
        command += ["-icount", "shift=0"]
    if not args.resets:
        command += ["-no-reboot"]
    drives = [f"file={path},snapshot=on" for path in args.drive]
    drives += [f"file={disk_path(args)}"] * args.disk
    for index, drive in enumerate(drives):
        command += ["-drive", f"{drive},format=raw,if=none,id=drive{index}", "-device",
                    machine["virtio-serial"].replace("serial", "blk") + f",drive=drive{index}"]
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
    """How often the file contains the key, not counting overlaps."""
    with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        count, at = 0, data.find(key)
        while at >= 0:
            count, at = count + 1, data.find(key, at + len(key))
        return count


class Monitor:
    """QEMU's machine protocol: a command has one answer; events are skipped."""

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
    """A running QEMU, and the record of what comes out of it."""

    def __init__(self, args):
        self.args = args
        self.record = Record(secrets.token_hex(16))
        self.process = None
        self.monitor = None
        self.sockets = {}
        self.control = b""          # an unfinished line
        self.released = False

    def start(self):
        commands = [c.removeprefix("status:") for c in self.args.command]
        initrd = make_initrd(self.args, self.record.nonce, commands)
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
        """Serves the guest until it ends or its time is over; returns the record."""
        began = time.monotonic()
        selector = selectors.DefaultSelector()
        selector.register(self.sockets["control"], selectors.EVENT_READ, self.on_control)
        selector.register(self.sockets["job"], selectors.EVENT_READ, self.on_job)
        while selector.get_map():
            limit = self.args.timeout
            if not self.record.started:
                limit = min(limit, self.args.start_timeout)
            left = began + limit - time.monotonic()
            if left <= 0:
                self.record.timed_out = limit
                self.save_registers()
                break
            for key, _ in selector.select(left):
                data = key.fileobj.recv(65536)
                if data:
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
            self.release()
        self.stop()
        self.show(self.record.end())
        console = self.args.log_dir / "console"
        # QEMU does not make it if it cannot start.
        if console.exists():
            self.record.console = console.read_text("utf-8", "replace")
        return self.record

    def run_on_terminal(self):
        """Gives the terminal to the guest, and restores its settings afterwards."""
        saved = termios.tcgetattr(0) if os.isatty(0) else None
        try:
            self.start()
            return self.process.wait()
        finally:
            self.stop()
            if saved:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)

    def save_registers(self):
        """They show where a guest hangs."""
        self.sockets["monitor"].settimeout(10)
        try:
            text = self.monitor.execute("human-monitor-command",
                                        **{"command-line": "info registers -a"})
        except (Failed, OSError, ValueError) as err:
            text = f"no answer: {err}"
        (self.args.log_dir / "registers").write_text(text)

    def release(self):
        """Lets the guest power off once all it had to say has been read."""
        if self.record.complete and not self.released:
            self.released = True
            self.sockets["control"].sendall(b"bye\n")

    def show(self, data):
        if self.args.passthrough:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def on_job(self, data):
        self.show(self.record.add_output(data))

    def on_control(self, data):
        *lines, self.control = (self.control + data).split(b"\n")
        for line in lines:
            line = line.decode("ascii", "replace")
            words = line.split()
            if words[:1] == ["search"] and len(words) == 2:
                self.sockets["control"].sendall(self.search(words[1]).encode() + b"\n")
            else:
                self.record.add_report(line, time.monotonic())

    def search(self, masked):
        """Says how often a key is in the guest's memory, as QEMU sees that from outside.

        The guest sends the complement of the key; otherwise the search would find
        the request.
        """
        dump = self.args.log_dir / "memory"
        try:
            key = bytes(byte ^ 0xff for byte in bytes.fromhex(masked))
            if not 16 <= len(key) <= 64:
                raise Failed("the key's length is not 16 to 64 bytes")
            # QEMU stops the guest while it writes the dump.
            self.monitor.execute("dump-guest-memory", paging=False,
                                 protocol=f"file:{dump.resolve()}")
            return f"found {count_in_file(dump, key)}"
        except (Failed, ValueError, OSError) as err:
            return f"error {err}"
        finally:
            dump.unlink(missing_ok=True)
