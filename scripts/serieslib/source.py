# SPDX-License-Identifier: GPL-2.0
"""The base source, a directory or a tarball, as a commit."""

import gzip
import hashlib
import lzma
import os
import re
import stat
import tarfile
import time

from .common import (Fail, Path, fast_import, git, git_bytes, git_mode, import_command,
                     rev_parse, say, zlist)
from .layers import package, read_base_file


def base_source(layer, option):
    path = option or os.environ.get("LINUX")
    if not path:
        path = layer.build() / "src" / package(layer)
        if not path.exists():
            raise Fail(f"there is no kernel source in {path}: run `make tree`, which fetches it, "
                       "or set LINUX to a tree or a tarball")
    path = Path(path).absolute()
    if not path.exists():
        raise Fail(f"{path} does not exist: give the directory or tarball of a kernel source")
    return path


def source_files(source):
    """The files of a source directory; in a git work tree those that git tracks."""
    if (source / ".git").exists():
        names = zlist(git_bytes(source, "ls-files", "-z"))
    else:
        paths = (os.path.join(folder, name) for folder, folders, files in os.walk(source)
                 for name in files + folders)
        names = [os.path.relpath(path, source) for path in paths
                 if os.path.islink(path) or os.path.isfile(path)]
    return sorted(name for name in names if os.path.lexists(source / name))


def fingerprint(source):
    """Changes when the source does, but is quicker than reading all of a directory."""
    digest = hashlib.sha256()
    if source.is_file():
        with open(source, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()
    for name in source_files(source):
        info = os.lstat(source / name)
        digest.update(f"{name}\0{info.st_mode}\0{info.st_size}\0{info.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_directory(source):
    for name in source_files(source):
        file = source / name
        mode = os.lstat(file).st_mode
        if stat.S_ISLNK(mode):
            yield name, "120000", os.readlink(file).encode()
        elif stat.S_ISREG(mode):
            yield name, git_mode(mode), file.read_bytes()


def read_tarball(source):
    try:
        opener = lzma.open if source.suffix == ".xz" else gzip.open
        with opener(source) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./").partition("/")[2]
                if member.issym():
                    yield name, "120000", member.linkname.encode()
                elif member.isreg():
                    yield name, git_mode(member.mode), archive.extractfile(member).read()
                elif not member.isdir() and name:
                    raise Fail(f"{source} holds the special file {name}: unpack it, "
                               "and give the directory")
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise Fail(f"{source} cannot be read ({error}): give a whole .tar.xz or .tar.gz") from error


def base_commands(source):
    yield import_command("commit refs/series/reading\ncommitter base <> 0 +0000", b"base\n")
    shown = started = time.monotonic()
    files = read_tarball(source) if source.is_file() else read_directory(source)
    for count, (name, mode, data) in enumerate(files, 1):
        yield import_command(f"M {mode} inline {name}", data)
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            say(f"reading the kernel source: {count} files, {shown - started:.0f} s")


def base_commit(tree, source):
    """The commit that holds the source, made when the repository does not have it yet."""
    ref = f"refs/series/bases/{fingerprint(source)}"
    if commit := rev_parse(tree, ref):
        return commit
    for left in (tree / ".git/objects/pack").glob("tmp_*"):
        left.unlink()
    fast_import(tree, base_commands(source))
    commit = git(tree, "rev-parse", "refs/series/reading")
    if not rev_parse(tree, f"{commit}:Kbuild") and not rev_parse(tree, f"{commit}:Makefile"):
        raise Fail(f"{source} is no kernel source: give a directory or tarball that has one")
    git(tree, "update-ref", ref, commit)
    return commit


def base_version(tree, base, source):
    """The version of the package if scripts/fetch has got it, otherwise that of the kernel."""
    fetched = source.with_name(f"{source.name}.version")
    if fetched.exists():
        return fetched.read_text(encoding="ascii").strip()
    makefile = git(tree, "cat-file", "blob", f"{base}:Makefile")
    numbers = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+)$", makefile, re.M))
    if len(numbers) < 3:
        raise Fail(f"{source} is no kernel source: its Makefile lacks a version")
    return ".".join(numbers[name] for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def base_paths(tree, base):
    """The files of the base, as path -> blob."""
    entries = (entry.split("\t", 1) for entry in zlist(git_bytes(tree, "ls-tree", "-rz", base)))
    return {path: about.split()[2] for about, path in entries}


def is_pinned(tree, base, layer):
    pinned = dict(read_base_file(layer.base_file)).get("tree")
    return rev_parse(tree, f"{base}^{{tree}}") == pinned
