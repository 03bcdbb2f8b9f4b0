# SPDX-License-Identifier: GPL-2.0
"""What all parts need: where things are, git, and how a problem is said."""

import contextlib
import os
import pathlib
import stat
import subprocess
import sys

Path = pathlib.Path
ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("BUILD") or ROOT / "build").absolute()
# What import is about to write to the checkout, as name -> (mode, content), or None for
# what it removes.
PLANNED = {}

# Git without a user's configuration, so that every user gets the same bytes.
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "QUILT_"))}
ENV |= {
    "LC_ALL": "C", "TZ": "UTC",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1",
    "GIT_LITERAL_PATHSPECS": "1", "GIT_COMMITTER_NAME": "series", "GIT_COMMITTER_EMAIL": "",
    "GIT_CONFIG_COUNT": "4",
    "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
    "GIT_CONFIG_KEY_1": "core.attributesFile", "GIT_CONFIG_VALUE_1": "/dev/null",
    "GIT_CONFIG_KEY_2": "core.excludesFile", "GIT_CONFIG_VALUE_2": "/dev/null",
    "GIT_CONFIG_KEY_3": "core.quotePath", "GIT_CONFIG_VALUE_3": "false",
}


class Fail(Exception):
    """What is wrong and what to do, in one sentence."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def complaint(paths, text):
    paths = sorted(set(paths))
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return f"{', '.join(paths[:5])}{more}: {text}" if paths else None


def run(*command, cwd, stdin=b"", **env):
    return subprocess.run(command, cwd=cwd, input=stdin, env=ENV | env,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


def git_bytes(tree, *args, **more):
    done = run("git", *args, cwd=tree, **more)
    if done.returncode:
        why = " ".join(done.stderr.decode(errors="replace").split())
        raise Fail(f"git {args[0]} failed in {tree}: {why[:300]}")
    return done.stdout


def git(tree, *args, **more):
    return git_bytes(tree, *args, **more).decode().rstrip("\n")


def zlist(output):
    return [item.decode() for item in output.split(b"\0") if item]


def rev_parse(tree, name):
    return run("git", "rev-parse", "-q", "--verify", name, cwd=tree).stdout.decode().strip()


def git_mode(mode):
    return "100755" if mode & stat.S_IXUSR else "100644"


def read_file(name):
    """A file of the checkout as (mode, content), or None if there is no plain file."""
    if name in PLANNED:
        return PLANNED[name]
    path = ROOT / name
    if path.is_symlink() or not path.is_file():
        return None
    return git_mode(path.stat().st_mode), path.read_bytes()


def import_command(line, data=None):
    """One command to git fast-import, with its data if it takes any."""
    return f"{line}\n".encode() + (b"" if data is None else b"data %d\n%b\n" % (len(data), data))


def fast_import(tree, commands):
    call = ["git", "fast-import", "--quiet", "--force", "--done", "--depth=0"]
    with subprocess.Popen(call, cwd=tree, env=ENV, stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.writelines(commands)
            process.stdin.write(b"done\n")
            process.stdin.close()
        why = process.stderr.read().decode(errors="replace").partition("\n")[0]
    if process.returncode:
        raise Fail(f"git could not store the commits in {tree} ({why}): see that its disk has room")
