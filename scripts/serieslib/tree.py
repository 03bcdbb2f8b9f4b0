# SPDX-License-Identifier: GPL-2.0
"""The kernel tree that is built, edited and rebased in."""

import contextlib
import signal

from .common import Fail, complaint, git, rev_parse, run, say


def open_tree(tree):
    """The git repository the commits are made in."""
    if (tree / ".git").exists():
        if run("git", "config", "series.tree", cwd=tree).stdout != b"yes\n":
            raise Fail(f"{tree} was not made by this tool: move it away, or give another --dir")
        return tree
    if tree.exists() and any(tree.iterdir()):
        raise Fail(f"{tree} holds other files: move it away, or give another --dir")
    tree.mkdir(parents=True, exist_ok=True)
    git(tree, "init", "-q", "-b", "series")
    for key, value in (("gc.auto", "0"), ("core.fsync", "none"), ("pack.compression", "1"),
                       ("core.abbrev", "12"), ("checkout.workers", "0"), ("series.tree", "yes")):
        git(tree, "config", key, value)
    return tree


def guard_tree(tree, force):
    """Fails if edits or commits in the tree would be lost."""
    for name in ("rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD"):
        if (tree / ".git" / name).exists():
            raise Fail(f"a rebase or merge is under way in {tree}: finish or abort it there first")
    made = rev_parse(tree, "refs/series/made")
    if force or not made:
        return
    if edits := git(tree, "status", "--porcelain", "--untracked-files=no"):
        names = [line[3:] for line in edits.split("\n")]
        raise Fail(complaint(names, f"edited in {tree} but not committed, commit it there and run "
                        "`scripts/series import`, or drop it with --force"))
    if rev_parse(tree, "HEAD") != made:
        raise Fail(f"{tree} has commits that are not in the checkout: run `scripts/series import`, "
                   "or drop them with --force")


@contextlib.contextmanager
def undisturbed():
    """Holds Ctrl-C back, here and in the programs started, until a short step is whole."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def move_tree(tree, base, tip, force):
    """Moves the tree to the new commits; touches only files that differ."""
    refs = f"update refs/series/base {base}\nupdate refs/series/made {tip}\n".encode()
    if not rev_parse(tree, "refs/series/made"):
        say(f"writing the kernel tree to {tree}")
        git(tree, "checkout", "-q", "-f", "-B", "series", tip)
        git(tree, "update-ref", "--stdin", stdin=refs)
        return
    with undisturbed():
        if force or rev_parse(tree, "HEAD") != tip:
            git(tree, "reset", "-q", "--hard" if force else "--keep", tip)
        git(tree, "update-ref", "--stdin", stdin=refs)


def base_of(tree, head):
    """The base under the commits, which a rebase can have changed."""
    root = git(tree, "rev-list", "--max-parents=0", head)
    bases = git(tree, "for-each-ref", "--format=%(objectname)", "refs/series/bases/")
    if root not in bases.split("\n"):
        raise Fail(f"the commits in {tree} do not stand on the commit of a base: rebase them")
    return root
