# SPDX-License-Identifier: GPL-2.0
"""What check looks at."""

import dataclasses
import os
import re
import shutil
import tempfile

from .checkout import layer_files, listed_files, port_problems
from .commits import split_commits
from .common import BUILD, ROOT, Fail, Path, complaint, git, git_bytes, run, zlist
from .export import same_bytes_again, write_export
from .layers import PORTS, ports
from .messages import (COVER, ORDER, PARTS, TESTS, message_file, paths_of_part, read_message,
                       read_order, read_series)

# Every other file at the top level is a stray.
TOP_FILES = (".git", ".gitignore", "CHANGELOG.md", "COPYING", "MAINTAINING.md", "Makefile",
             "README.md")
# The kernel's mailing lists drop what is larger.
MAIL_LIMIT = 100_000


# Each function returns what is wrong and what to do, or None

def unlisted_files(patches, base):
    """Files that no message of the top lists: hooks, in the kernel's folders, at the top level."""
    kernel = {path.partition("/")[0] for path in base if "/" in path} - {"scripts"}
    known = {path for patch in patches for path in patch.paths}
    found = []
    for path in tracked_files():
        first, inside, _ = path.partition("/")
        stray = first in kernel if inside else path not in TOP_FILES
        if first != PORTS and (stray or path.endswith(".patch")):
            found.append(path)
    return complaint(set(found) - known, "no message lists it, list it or delete it")


def tracked_files():
    """All files of the checkout but those that git ignores."""
    ignored = set()
    if (ROOT / ".git").exists():
        ignored.update(zlist(git_bytes(ROOT, "ls-files", "-oiz", "--exclude-standard")))
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders
                      if name != ".git" and Path(folder, name) not in (BUILD, ROOT / "build")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            if path not in ignored:
                yield path


def bad_ports(tree):
    try:
        return "; ".join(port_problems(tree).values())
    except Fail as error:
        return str(error)


def strays_in_ports():
    known = set()
    try:
        for port in ports():
            known |= {port.base_file, port.folder + ORDER, message_file(port, COVER)}
            for patch in read_series(port):
                known.add(message_file(port, patch.name))
                known |= {port.folder + path for path in patch.paths}
                known |= {f"{port.folder}{path}.delta" for path in patch.new_files()}
    except Fail as error:
        return str(error)
    found = {path for path in tracked_files() if path.startswith(f"{PORTS}/")}
    return complaint(found - known, "no message of the port lists it, list it or delete it")


def wrong_part(layer):
    return complaint([path for part in PARTS for path in paths_of_part(layer, part)
                      if path.startswith(TESTS) != (part == "tests")],
                     f"in the wrong part: what lies in {TESTS} is for a patch of the part tests, "
                     "all else for one of the part kernel")


def bad_cover(layer):
    cover = read_message(layer, COVER)
    if not (cover.subject + cover.body).isascii():
        return f"{message_file(layer, COVER)} is not plain ASCII: reword it"
    return None


def too_large(folder):
    return complaint([f"{file.name} ({size} bytes)" for file in folder.iterdir()
                      if (size := file.stat().st_size) >= MAIL_LIMIT],
                     f"mailing lists take less than {MAIL_LIMIT} bytes, split the patch")


def round_trip(tree, base, layer, tip, pinned):
    """Import must write what the commits were made from, but for line numbers on another base."""
    def content(files, name):
        mode, data = files.get(name, (None, b""))
        if name.endswith(".patch") and not pinned:
            data = re.sub(rb"^@@.*", b"", data, flags=re.M)
        return mode, data
    now = listed_files(layer)
    then = layer_files(tree, layer, *split_commits(tree, base, layer, tip))
    return complaint([name for name in now.keys() | then.keys()
                 if content(now, name) != content(then, name)],
                f"not in the form that import writes, {layer.remedy()}")


# Three ways to apply what was exported, on the files it touches

def subtree(tree, commit, paths):
    """The tree of a commit with these paths only."""
    index = {"GIT_INDEX_FILE": str(tree / ".git/series-index")}
    git(tree, "read-tree", "--empty", **index)
    if entries := git_bytes(tree, "ls-tree", "-z", commit, *paths):
        git(tree, "update-index", "-z", "--index-info", stdin=entries, **index)
    return git(tree, "write-tree", **index)


def messages(tree, *commits):
    return git(tree, "log", "--format=%an <%ae> %ad%n%B", *commits)


def by_am(repo, export, wanted):
    mails = sorted((export / "mail").glob("*.patch"))[1:]
    start = git(repo, "rev-parse", "HEAD")
    done = run("git", "am", "-q", "--whitespace=nowarn", *map(str, mails), cwd=repo)
    if not done.returncode and messages(repo, f"{start}..HEAD") != wanted:
        return "the authors or messages come out otherwise: reword what mail changes"
    return done


def by_patch(repo, export, _wanted):
    for file in sorted((export / "mail").glob("*.patch"))[1:]:
        done = run("patch", "-p1", "-F0", "-t", "--no-backup-if-mismatch", cwd=repo,
                   stdin=file.read_bytes())
        if done.returncode:
            break
    return done


def by_quilt(repo, export, _wanted):
    return run("quilt", "--quiltrc", "-", "push", "-a", "--fuzz=0", cwd=repo,
               QUILT_PATCHES=str(export / "quilt/patches"), QUILT_PC=f"{repo}.{export.name}.pc")


@dataclasses.dataclass(frozen=True)
class Step:
    """An export to apply: where it is, and what has to come of it."""
    export: Path
    tree_hash: str
    messages: str


def applies(how, tool, tree, start, steps, work):
    """Applies exports one after the other to a tree, and compares the tree hash after each."""
    if not shutil.which(tool):
        return f"{tool} is not installed: install the package {tool}"
    repo = Path(tempfile.mkdtemp(dir=work, prefix=f"{tool}."))
    git(repo, "init", "-q")
    (repo / ".git/objects/info/alternates").write_text(f"{tree}/.git/objects\n", encoding="utf-8")
    commit = git(repo, "commit-tree", start, "-m", "base",
                 GIT_AUTHOR_NAME="base", GIT_AUTHOR_EMAIL="")
    git(repo, "reset", "-q", "--hard", commit)
    for step in steps:
        done = how(repo, step.export, step.messages)
        if isinstance(done, str):
            return done
        if done.returncode:
            last = (done.stdout + done.stderr).decode(errors="replace").strip().split("\n")[-1]
            return f"{tool} does not apply it ({last}): mend the hook that this names"
        git(repo, "add", "-A", "-f")
        if git(repo, "write-tree") != step.tree_hash:
            names = git(repo, "diff", "--cached", "--name-only", step.tree_hash).split("\n")
            return complaint(names, "not what the commits hold, see what is unusual in its patch")
    return None


def check_export(tree, base, layer, tip, report):
    """Both parts on top of each other, and all at once, give the tree that the commits have."""
    parts = [part for part in PARTS if read_order(layer)[0][part]]
    touched = [path for patch in read_series(layer) for path in patch.kernel_paths()]
    start, end = (subtree(tree, commit, touched) for commit in (base, tip))
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="check.") as folder:
        work, steps = Path(folder), {}
        for part in (*parts, "all"):
            out = work / part
            made = write_export(tree, base, layer, part, out)
            result = end if part in (parts[-1], "all") else subtree(tree, made, touched)
            steps[part] = Step(out, result, messages(tree, f"{base}..{made}"))
        report("export gives the same bytes twice",
               same_bytes_again(tree, base, layer, "all", work / "all"))
        report("every mail is small enough to be sent", too_large(work / "all/mail"))
        # The patches of all differ from those of the parts in their numbers only.
        for name, how, tool, chain in (("git am", by_am, "git", parts),
                                       ("git am", by_am, "git", ["all"]),
                                       ("patch -p1 -F0", by_patch, "patch", parts),
                                       ("quilt push --fuzz=0", by_quilt, "quilt", parts)):
            report(f"{name} gives the same tree: {' and '.join(chain)}",
                   applies(how, tool, tree, start, [steps[part] for part in chain], work))
