# SPDX-License-Identifier: GPL-2.0
"""Runs a build with its output in a log file, and shows how far it has got.

    progress.py TITLE LOG ABOUT COMMAND...

Objects are counted by the lines kbuild prints for them; ABOUT is the number of
objects in a complete build. Progress goes to standard error. With PROGRESS=lines
in the environment it is printed line by line, because several builds share the
terminal.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

OBJECT = re.compile(r"^\s+(CC|AS|HOSTCC|LD|AR)\s")


class Progress:
    """One line: rewritten in place on a terminal, otherwise repeated now and then."""

    def __init__(self, title, about):
        self.title = title
        self.about = about
        self.count = 0
        self.start = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty() and os.environ.get("PROGRESS") != "lines"
        self.every = 0.5 if self.terminal else 20

    def text(self):
        of = f" of about {self.about}" if self.about >= self.count else ""
        return f"{self.title}: {self.count} objects built{of}, {self.seconds():.0f} s"

    def seconds(self):
        return time.monotonic() - self.start

    def add(self):
        self.count += 1
        if time.monotonic() - self.shown >= self.every:
            self.shown = time.monotonic()
            print(f"\r{self.text()} " if self.terminal else self.text(),
                  end="" if self.terminal else "\n", flush=True, file=sys.stderr)

    def finish(self):
        if self.terminal and self.count:
            print("\r" + " " * 78 + "\r", end="", file=sys.stderr)
        if self.count and self.seconds() >= 5:
            print(f"{self.title}: done, {self.count} objects, {self.seconds():.0f} s",
                  flush=True, file=sys.stderr)


def main():
    title, log, about, *command = sys.argv[1:]
    log = Path(log)
    progress = Progress(title, int(about))
    # The calling make may be silent; this one must print what it does.
    os.environ.pop("MAKEFLAGS", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with log.open("w", buffering=1, encoding="utf-8") as out, \
         subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as build:
        try:
            for line in build.stdout:
                out.write(line)
                if OBJECT.match(line):
                    progress.add()
        except BaseException:
            build.terminate()
            raise
    progress.finish()
    if build.returncode:
        lines = log.read_text("utf-8", "replace").splitlines()
        print(f"{title}: failed. The log's last lines ({log}):", file=sys.stderr)
        print("".join(f"    {line}\n" for line in lines[-25:]), end="", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
