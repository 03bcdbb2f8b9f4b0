# SPDX-License-Identifier: GPL-2.0
"""From the checkout to commits, and from commits to patches and files."""

import dataclasses

from .common import (Fail, complaint, fast_import, git, git_bytes, import_command, rev_parse, run,
                     zlist)
from .diffs import apply_diffs, content, make_diffs, read_diff
from .messages import (COVER, PARTS, Patch, duplicate_paths, message_file, missing_files,
                       own_messages, raw_date, read_series)
from .source import base_paths


# From the checkout to commits

def try_hooks(tree, base, layer, patches):
    """Applies all hooks to an index of its own, as apply_diffs() does."""
    hooks = [path for patch in patches for path in patch.hooks()]
    if not hooks:
        return {}, {}, {}
    kernel = [path.removesuffix(".patch") for path in hooks]
    names = [layer.folder + path for path in hooks]
    return apply_diffs(tree, git_bytes(tree, "ls-tree", "-z", base, *kernel),
                       {name: read_diff(name, path) for name, path in zip(names, kernel)})


def apply_hooks(tree, base, layer, patches):
    """As path -> "mode blob" what the hooks make of the base, and those with an offset."""
    changed, failed, offset = try_hooks(tree, base, layer, patches)
    if failed:
        raise Fail(f"{', '.join(failed)} does not apply without fuzz: mend its context lines, "
                   f"or use the base that {layer.base_file} names; `{layer.command('hooks')}` "
                   "says more")
    return changed, list(offset)


def commit_commands(base, patches, files, changed):
    for patch in patches:
        person = f"{patch.author} {raw_date(patch.date)}"
        yield import_command(f"commit refs/series/commits\nauthor {person}\ncommitter {person}",
                      patch.message().encode())
        if patch is patches[0]:
            yield import_command(f"from {base}")
        for path in patch.new_files():
            mode, data = files[path]
            yield import_command(f"M {mode} inline {path}", data)
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


def wrong_kind(tree, layer, patches, base):
    reasons = misfits(patches, base)
    for patch in patches:
        for path, blob in patch.replaces:
            if path in reasons and path in base:
                return changed_blob(tree, layer, patch, path, blob, base[path])
    hooks = [path for patch in patches for path in patch.hooks()]
    return (complaint([path for path in reasons if path in base],
                      "the base has this file, write a hook instead, or say in the message "
                      "which blob the file replaces")
            or complaint(reasons, "the base has no such file, do not say that this one replaces it")
            or complaint([path for path in hooks if path.removesuffix(".patch") not in base],
                         "a hook for a file the base does not have, add the file itself"))


def changed_blob(tree, layer, patch, path, old, new):
    known = rev_parse(tree, f"{old}^{{blob}}")
    look = f"diff {old[:12]} {new[:12]}" if known else f"show {new[:12]}"
    return (f"{path}: the base's own file has changed: read `git -C {tree} {look}`, take over what "
            f"this file needs of it, and write '{path} replaces {new}' into "
            f"{message_file(layer, patch.name)}")


def commit_series(tree, base, layer, patches):
    """One commit for each patch; gives the last one, and what applied with an offset."""
    for problem in (duplicate_paths(patches), missing_files(layer, patches),
                    wrong_kind(tree, layer, patches, base_paths(tree, base))):
        if problem:
            raise Fail(problem)
    moved = {}
    files = {path: content(tree, layer, path, moved)
             for patch in patches for path in patch.new_files()}
    changed, offset = apply_hooks(tree, base, layer, patches)
    fast_import(tree, commit_commands(base, patches, files, changed))
    return git(tree, "rev-parse", "refs/series/commits"), [*moved, *offset]


# From commits to the checkout

def split_commits(tree, base, layer, tip):
    """The patches, and every file of theirs as path -> (mode, content)."""
    before = read_series(layer)
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
    patches = with_names(patches, before, layer)
    return sorted(patches, key=lambda each: PARTS.index(each.part())), files


def with_names(patches, before, layer):
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
    for below in layer.chain()[1:]:
        taken |= own_messages(below)
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
    attributes = run("git", "cat-file", "blob", f"{base}:.gitattributes", cwd=tree).stdout
    return make_diffs(tree, base, tip, attributes)
