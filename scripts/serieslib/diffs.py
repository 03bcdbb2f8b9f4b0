# SPDX-License-Identifier: GPL-2.0
"""Hooks and deltas: changes to one file, as git diff prints them, without the index line."""

import re

from .common import Fail, git, git_bytes, read_file, run, zlist

# What names the function in a line @@ of a delta, which does not depend on a base.
DELTA_ATTRIBUTES = b"*.[ch] diff=cpp\n*.py diff=python\n"


def read_diff(name, path):
    """The change in the file @name of the checkout, which is one to @path."""
    if not (found := read_file(name)):
        raise Fail(f"{name} is no plain file: add it, or take it off its message")
    data = found[1]
    heads = re.findall(rb"^diff .*", data, re.M)
    if heads != [f"diff --git a/{path} b/{path}".encode()] or not data.startswith(heads[0]):
        raise Fail(f"{name} must begin with 'diff --git a/{path} b/{path}', "
                   "and change no other file")
    return data


def apply_diffs(tree, entries, diffs):
    """Applies changes without fuzz to an index of its own that has these entries.

    Gives the index, as path -> "mode blob"; why changes fail, and by how many lines others
    are off.
    """
    index = {"GIT_INDEX_FILE": str(tree / ".git/series-index")}
    git(tree, "read-tree", "--empty", **index)
    git(tree, "update-index", "-z", "--index-info", stdin=entries, **index)
    failed, offset = {}, {}
    for name, data in diffs.items():
        done = run("git", "apply", "--cached", "-v", "--whitespace=nowarn",
                   cwd=tree, stdin=data, **index)
        if done.returncode:
            failed[name] = why_not(done.stderr.decode(errors="replace"))
        elif lines := re.findall(rb"\(offset (-?\d+) lines?\)", done.stderr):
            offset[name] = max(map(int, lines), key=abs)
    after = zlist(git_bytes(tree, "ls-files", "-sz", **index))
    pairs = (line.split("\t", 1) for line in after)
    return {path: entry.removesuffix(" 0") for entry, path in pairs}, failed, offset


def why_not(errors):
    if line := re.search(r"^error: patch failed: .*:(\d+)$", errors, re.M):
        return f"finds other lines around line {line[1]}"
    if "does not exist" in errors:
        return "the base has no such file"
    return errors.strip().rpartition("error: ")[2]


def make_diffs(tree, old, new, attributes):
    """The changes from one git tree to another, as kernel path -> diff, whole files included."""
    info = tree / ".git/info/attributes"
    info.parent.mkdir(exist_ok=True)
    info.write_bytes(attributes)
    output = git_bytes(tree, "diff-tree", "-p", "-U3", "--no-renames", old, new)
    output = re.sub(rb"^index [0-9a-f]+\.\.[0-9a-f]+.*\n", b"", output, flags=re.M)
    if binary := re.search(rb"^Binary files a/(.*) and ", output, re.M):
        raise Fail(f"{binary[1].decode()} is binary, which a patch cannot hold: "
                   "leave it out")
    sections = re.split(rb"^(?=diff --git )", output, flags=re.M)[1:]
    return {re.match(rb"diff --git a/(.*) b/\1\n", part)[1].decode(): part for part in sections}


# Our own files on each base

def store_blob(tree, file):
    """A file (mode, content) as "mode blob"."""
    mode, data = file
    return f"{mode} {git(tree, 'hash-object', '-w', '--stdin', stdin=data)}"


def index_entry(path, entry):
    """One entry for git update-index."""
    return f"{entry}\t{path}\0".encode()


def content(tree, layer, path, offset=None):
    """One of our files on a base, as (mode, content), or None; notes deltas with an offset."""
    if not layer:
        return None
    if own := read_file(layer.folder + path):
        return own
    below = content(tree, layer.parent, layer.unmoved(path), offset)
    delta = f"{layer.folder}{path}.delta"
    if not below or not read_file(delta):
        return below
    after, failed, moved = apply_diffs(tree, index_entry(path, store_blob(tree, below)),
                                       {delta: read_diff(delta, path)})
    if failed or path not in after:
        raise Fail(f"{delta} does not apply to the parent's file ({failed.get(delta, 'removes it')})"
                   f": change its lines so that it does, or write the whole file as {layer.name} "
                   f"needs it to {layer.folder}{path}, of which import makes a delta")
    if offset is not None:
        offset |= moved
    mode, blob = after[path].split()
    return mode, git_bytes(tree, "cat-file", "blob", blob)


def how_held(tree, layer, path, file):
    """How a layer holds one of our files, as name -> (mode, content), or None if not there."""
    below = content(tree, layer.parent, layer.unmoved(path))
    own = {layer.folder + path: None if below else file}
    if layer.parent:
        own[f"{layer.folder}{path}.delta"] = make_delta(tree, path, below, file)
    return own


def make_delta(tree, path, old, new):
    if not old or old == new:
        return None
    trees = []
    index = {"GIT_INDEX_FILE": str(tree / ".git/series-index")}
    for file in (old, new):
        git(tree, "read-tree", "--empty", **index)
        git(tree, "update-index", "-z", "--index-info", **index,
            stdin=index_entry(path, store_blob(tree, file)))
        trees.append(git(tree, "write-tree", **index))
    return "100644", make_diffs(tree, *trees, DELTA_ATTRIBUTES)[path]
