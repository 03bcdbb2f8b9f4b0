# SPDX-License-Identifier: GPL-2.0
"""From the checkout to commits, and from commits to patches and files."""

import dataclasses
import re

from .common import (ROOT, Fail, complaint, fast_import, git, git_bytes, git_mode, import_command,
                     rev_parse, run, zlist)
from .messages import (COVER, ORDER, PARTS, Patch, duplicate_paths, missing_files, order_file,
                       raw_date, read_series)
from .source import base_paths


# From the checkout to commits

def read_hook(path):
    data = (ROOT / path).read_bytes()
    kernel = path.removesuffix(".patch")
    heads = re.findall(rb"^diff .*", data, re.M)
    if heads != [f"diff --git a/{kernel} b/{kernel}".encode()] or not data.startswith(heads[0]):
        raise Fail(f"{path} must begin with 'diff --git a/{kernel} b/{kernel}', "
                   "and change no other file")
    return data


def try_hooks(tree, base, patches):
    """Applies all hooks without fuzz to an index of its own.

    Gives the index, as path -> "mode blob"; why hooks fail, and by how many lines others are off.
    """
    index = {"GIT_INDEX_FILE": str(tree / ".git/series-index")}
    hooks = [path for patch in patches for path in patch.hooks()]
    git(tree, "read-tree", "--empty", **index)
    if not hooks:
        return {}, {}, {}
    kernel = [path.removesuffix(".patch") for path in hooks]
    before = git_bytes(tree, "ls-tree", "-z", base, *kernel)
    git(tree, "update-index", "-z", "--index-info", stdin=before, **index)
    failed, offset = {}, {}
    for path in hooks:
        done = run("git", "apply", "--cached", "-v", "--whitespace=nowarn",
                   cwd=tree, stdin=read_hook(path), **index)
        if done.returncode:
            failed[path] = why_not(done.stderr.decode(errors="replace"))
        elif lines := re.findall(rb"\(offset (-?\d+) lines?\)", done.stderr):
            offset[path] = max(map(int, lines), key=abs)
    after = zlist(git_bytes(tree, "ls-files", "-sz", **index))
    entries = (line.split("\t", 1) for line in after)
    return {path: entry.removesuffix(" 0") for entry, path in entries}, failed, offset


def why_not(errors):
    if line := re.search(r"^error: patch failed: .*:(\d+)$", errors, re.M):
        return f"finds other lines around line {line[1]}"
    if "does not exist" in errors:
        return "the base has no such file"
    return errors.strip().rpartition("error: ")[2]


def apply_hooks(tree, base, patches):
    """As path -> "mode blob" what the hooks make of the base, and those with an offset."""
    changed, failed, offset = try_hooks(tree, base, patches)
    if failed:
        raise Fail(f"{', '.join(failed)} does not apply without fuzz: mend its context lines, "
                   "or use the base that series/base names; `scripts/series hooks` says more")
    return changed, list(offset)


def commit_commands(base, patches, changed):
    for patch in patches:
        person = f"{patch.author} {raw_date(patch.date)}"
        yield import_command(f"commit refs/series/commits\nauthor {person}\ncommitter {person}",
                      patch.message().encode())
        if patch is patches[0]:
            yield import_command(f"from {base}")
        for path in patch.new_files():
            mode = git_mode((ROOT / path).stat().st_mode)
            yield import_command(f"M {mode} inline {path}", (ROOT / path).read_bytes())
        for kernel in (path.removesuffix(".patch") for path in patch.hooks()):
            entry = changed.get(kernel)
            yield import_command(f"M {entry} {kernel}" if entry else f"D {kernel}")


def misfits(patches, base):
    """Whole files that do not fit the base, as path -> reason."""
    blobs = dict(pair for patch in patches for pair in patch.replaces)
    reasons = {}
    for path in (path for patch in patches for path in patch.new_files()):
        has, replaced = base.get(path), blobs.get(path)
        if has != replaced:
            reasons[path] = ("the base has this file" if not replaced else
                             "the base's own file has changed" if has else
                             "the base has no such file")
    return reasons


def wrong_kind(tree, patches, base):
    reasons = misfits(patches, base)
    for patch in patches:
        for path, blob in patch.replaces:
            if path in reasons and path in base:
                return changed_blob(tree, patch, path, blob, base[path])
    hooks = [path for patch in patches for path in patch.hooks()]
    return (complaint([path for path in reasons if path in base],
                      "the base has this file, write a hook instead, or say in the message "
                      "which blob the file replaces")
            or complaint(reasons, "the base has no such file, do not say that this one replaces it")
            or complaint([path for path in hooks if path.removesuffix(".patch") not in base],
                         "a hook for a file the base does not have, add the file itself"))


def changed_blob(tree, patch, path, old, new):
    known = rev_parse(tree, f"{old}^{{blob}}")
    look = f"diff {old[:12]} {new[:12]}" if known else f"show {new[:12]}"
    return (f"{path}: the base's own file has changed: read `git -C {tree} {look}`, take over what "
            f"this file needs of it, and write '{path} replaces {new}' into "
            f"series/{patch.name}.msg")


def commit_series(tree, base, patches):
    """One commit for each patch; gives the last one, and the hooks that applied with an offset."""
    for problem in (duplicate_paths(patches), missing_files(patches),
                    wrong_kind(tree, patches, base_paths(tree, base))):
        if problem:
            raise Fail(problem)
    changed, offset = apply_hooks(tree, base, patches)
    fast_import(tree, commit_commands(base, patches, changed))
    return git(tree, "rev-parse", "refs/series/commits"), offset


# From commits to the checkout

def split_commits(tree, base, tip):
    """What import writes: the patches, and every file of theirs as path -> (mode, content)."""
    before = read_series()
    replaced = {path for patch in before for path, _ in patch.replaces}
    commits = git(tree, "rev-list", "--reverse", f"{base}..{tip}").split()
    if not commits or git(tree, "rev-list", "--merges", f"{base}..{tip}"):
        raise Fail(f"the commits in {tree} must stand one after the other on its base commit: "
                   "rebase them")
    hooks, patches, files, owner = diffs(tree, base, tip), [], {}, {}
    for commit in commits:
        patch = read_commit(tree, commit)
        paths, replaces = [], []
        for path, mode, blob, old_mode, old_blob in changes(tree, commit):
            if path in owner:
                raise Fail(f"{path} is changed by both '{owner[path]}' and '{patch.subject}': "
                           "let one commit have it")
            owner[path] = patch.subject
            if path.endswith(".patch") or mode == "120000":
                raise Fail(f"{path} is a link or ends in .patch, which the series cannot hold: "
                           "rename it")
            if old_mode == "000000" or path in replaced and mode != "000000":
                paths.append(path)
                files[path] = (mode, git_bytes(tree, "cat-file", "blob", blob))
                if old_mode != "000000":
                    replaces.append((path, old_blob))
            else:
                paths.append(f"{path}.patch")
                files[f"{path}.patch"] = ("100644", hooks[path])
        patches.append(dataclasses.replace(patch, paths=tuple(sorted(paths)),
                                           replaces=tuple(sorted(replaces))))
    # No two patches share a path, so those of the kernel can go before the tests.
    patches = sorted(with_names(patches, before), key=lambda each: PARTS.index(each.part()))
    files |= {f"series/{patch.name}.msg": ("100644", patch.msg_file()) for patch in patches}
    files[ORDER] = ("100644", order_file(patches))
    return patches, files


def with_names(patches, before):
    """The patches with the names and fields they have had.

    A patch is known by its subject, or else by a path; a new one is named after its subject.
    """
    named, before = {}, list(before)
    for same in (lambda new, old: new.subject == old.subject,
                 lambda new, old: not set(new.paths).isdisjoint(old.paths)):
        for place, new in enumerate(patches):
            old = next((old for old in before if place not in named and same(new, old)), None)
            if old:
                before.remove(old)
                named[place] = dataclasses.replace(new, name=old.name, fields=old.fields)
    taken = {COVER} | {patch.name for patch in named.values()}
    for place, new in enumerate(patches):
        if place not in named:
            names = (new.name + more for more in ("", *(f"-{count}" for count in range(2, 1000))))
            name = next(name for name in names if name not in taken)
            taken.add(name)
            named[place] = dataclasses.replace(new, name=name)
    return [named[place] for place in range(len(patches))]


def read_commit(tree, commit):
    """A patch, without its paths yet, and named after its subject."""
    author, date, slug, subject, body = git(
        tree, "show", "-s", "--format=%an <%ae>%x00%aD%x00%f%x00%s%x00%b", commit).split("\0")
    if "\n---\n" in f"\n{body}\n":
        raise Fail(f"the message of '{subject}' has a line ---, where mail would cut it off: "
                   "reword it")
    return Patch(slug.lower()[:40].rstrip("-."), author, date, subject, body.strip("\n"))


def changes(tree, commit):
    """For each path of a commit: the path, its mode and blob, and those before."""
    fields = zlist(git_bytes(tree, "diff-tree", "-r", "-z", "--no-commit-id", "--no-renames",
                             commit))
    for about, path in zip(fields[::2], fields[1::2]):
        old_mode, mode, old_blob, blob, _ = about.lstrip(":").split()
        yield path, mode, blob, old_mode, old_blob


def diffs(tree, base, tip):
    """The changes as kernel path -> diff in the form of a hook, whole files included."""
    info = tree / ".git/info/attributes"
    info.parent.mkdir(exist_ok=True)
    info.write_bytes(run("git", "cat-file", "blob", f"{base}:.gitattributes", cwd=tree).stdout)
    output = git_bytes(tree, "diff-tree", "-p", "-U3", "--no-renames", base, tip)
    output = re.sub(rb"^index [0-9a-f]+\.\.[0-9a-f]+.*\n", b"", output, flags=re.M)
    if binary := re.search(rb"^Binary files a/(.*) and ", output, re.M):
        raise Fail(f"{binary[1].decode()} is binary, which a patch cannot hold: "
                   "leave it out")
    sections = re.split(rb"^(?=diff --git )", output, flags=re.M)[1:]
    return {re.match(rb"diff --git a/(.*) b/\1\n", part)[1].decode(): part for part in sections}
