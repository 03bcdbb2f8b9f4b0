# SPDX-License-Identifier: GPL-2.0
"""The files of the series in the checkout, as import finds and writes them."""

import contextlib
import os
import tempfile

from .common import PLANNED, ROOT, Fail, Path, read_file, run
from .diffs import content, how_held
from .layers import exists, ports
from .messages import (ORDER, inherited_message, message_file, order_file, own_messages,
                       read_series)


def listed_files(layer):
    """Every file of the layer's own that belongs to the series now, as layer_files() gives them."""
    names = [layer.folder + ORDER]
    for patch in read_series(layer):
        names.append(message_file(layer, patch.name))
        names += (layer.folder + path for path in patch.paths)
        if layer.parent:
            names += (f"{layer.folder}{path}.delta" for path in patch.new_files())
    return {name: found for name in names if (found := read_file(name))}


def layer_files(tree, layer, patches, files):
    """What a layer has to hold of its own for these patches, as name -> (mode, content)."""
    own = {layer.folder + ORDER: ("100644", order_file(layer, patches))}
    for patch in patches:
        if not is_inherited(layer, patch):
            own[message_file(layer, patch.name)] = ("100644", patch.msg_file())
        for path in patch.hooks():
            own[layer.folder + path] = files[path]
        for path in patch.new_files():
            own |= how_held(tree, layer, path, files[path])
    return {name: file for name, file in own.items() if file}


def is_inherited(layer, patch):
    there = set().union(*map(own_messages, layer.chain()[1:]))
    return patch.name in there and patch == inherited_message(layer, patch.name)


# An import concerns other bases: files are shared with them

def plan_import(tree, layer, patches, files, own):
    """Fills PLANNED with all that changes; says where the edits of shared files go.

    With @own they stay with this base.  Fails if a port would break.
    """
    before, old = port_problems(tree), listed_files(layer)
    said = [] if own or not layer.parent else place_edits(tree, layer, files)
    new = layer_files(tree, layer, patches, files)
    for name in new.keys() - old.keys():
        if os.path.lexists(ROOT / name):
            raise Fail(f"{name} is in the checkout but no message lists it: "
                       "move one of the two away")
    PLANNED.update(dict.fromkeys(old))
    PLANNED.update(new)
    follow(tree, layer)
    broken = {name: text for name, text in port_problems(tree).items() if name not in before}
    if broken:
        raise Fail(f"nothing is imported, as a port would break: {'; '.join(broken.values())}")
    return said


@contextlib.contextmanager
def nothing_planned():
    plan = dict(PLANNED)
    PLANNED.clear()
    try:
        yield
    finally:
        PLANNED.clear()
        PLANNED.update(plan)


def place_edits(tree, layer, files):
    """Puts each edit of a shared file as far down as it goes; says where that is."""
    said = []
    for path, edited in files.items():
        was = None if path.endswith(".patch") else content(tree, layer, path)
        if not was or was == edited or not exists(layer.parent, layer.unmoved(path)):
            continue
        why, levels = carry_down(tree, layer, path, was, edited)
        while levels:
            plan = dict(PLANNED)
            for level in reversed(levels):
                PLANNED.update(how_held(tree, *level))
            breaks = first_broken(tree, layer, *levels[-1][:2])
            if not breaks:
                break
            why = f"{breaks} would not apply"
            PLANNED.clear()
            PLANNED.update(plan)
            levels.pop()
        target, name = levels[-1][:2] if levels else (layer, path)
        if target.parent and exists(target.parent, target.unmoved(name)):
            name = f"{name}.delta"
        said.append(f"{path}: the edit goes to {target.folder}{name}" + (why and f", as {why}"))
    return said


def carry_down(tree, layer, path, was, edited):
    """The edited file at each layer that takes the edit, from near to far: (layer, path, file).

    Also says why it goes no further.
    """
    levels = []
    while layer.parent and exists(layer.parent, layer.unmoved(path)):
        path, layer = layer.unmoved(path), layer.parent
        below = content(tree, layer, path)
        merged = merge(below, was, edited)
        if not merged or merged == below:
            how = "does not fit" if not merged else "leaves nothing to change in"
            return f"it {how} {layer.folder}{path}", levels
        levels.append((layer, path, merged))
        was, edited = below, merged
    return "", levels


def merge(ours, base, theirs):
    """Three files of (mode, content) merged into one, or None if they conflict."""
    if ours == base:
        return theirs
    mode = ours[0] if theirs[0] == base[0] else theirs[0]
    if ours[0] not in (base[0], mode):
        return None
    with tempfile.TemporaryDirectory() as folder:
        for name, (_, data) in (("ours", ours), ("base", base), ("theirs", theirs)):
            Path(folder, name).write_bytes(data)
        done = run("git", "merge-file", "-p", "ours", "base", "theirs", cwd=folder)
    return None if done.returncode else (mode, done.stdout)


def first_broken(tree, layer, target, path):
    """The delta of another port that the planned file of @target breaks."""
    for port in ports():
        if target in port.chain() and layer not in port.chain() and port not in layer.chain():
            its = port.path_of(target, path)
            with nothing_planned():
                applied = applies(tree, port, its)
            if applied and not applies(tree, port, its):
                return f"{port.folder}{its}.delta"
    return None


def applies(tree, layer, path):
    try:
        return bool(content(tree, layer, path))
    except Fail:
        return False


def follow(tree, layer):
    """Plans the deltas of other ports anew where the file below them changes."""
    for port in ports():
        with contextlib.suppress(Fail):
            for path in kept_differences(port) if port != layer else ():
                if below_changes(tree, port, path) and applies(tree, port, path):
                    PLANNED.update(how_held(tree, port, path, content(tree, port, path)))


def kept_differences(port):
    """The files of the parent that a port has in another form."""
    return [path for patch in read_series(port) for path in patch.new_files()
            if exists(port.parent, port.unmoved(path))
            and (read_file(port.folder + path) or read_file(f"{port.folder}{path}.delta"))]


def below_changes(tree, port, path):
    below = port.unmoved(path)
    now = applies(tree, port.parent, below) and content(tree, port.parent, below)
    with nothing_planned():
        return not applies(tree, port.parent, below) or content(tree, port.parent, below) != now


# What is wrong with ports, which needs no kernel source

def port_problems(tree):
    """As name of a file or folder -> what is wrong and what to do."""
    problems = {}
    for port in ports():
        try:
            patches = read_series(port)
        except Fail as error:
            problems[port.folder] = str(error)
            continue
        for path in (path for patch in patches for path in patch.new_files()):
            try:
                problem = wrong_file(tree, port, path)
            except Fail as error:
                problem = str(error)
            if problem:
                problems[port.folder + path] = problem
    return problems


def wrong_file(tree, port, path):
    name, below = port.folder + path, port.unmoved(path)
    delta = read_file(f"{name}.delta")
    if not exists(port, path):
        return f"{name}: neither this port nor what it is from has the file, which a message lists"
    if delta and not exists(port.parent, below):
        return f"{name}.delta: what this port is from has no such file, delete it"
    if read_file(name) and exists(port.parent, below):
        return f"{name}: the parent has this file as well, {port.remedy()}, for a delta"
    if not delta or not applies(tree, port.parent, below):
        return None
    if not delta[1].strip():
        return f"{name}.delta is empty, delete it"
    offset = {}
    if content(tree, port, path, offset) == content(tree, port.parent, below):
        return f"{name}.delta changes nothing, delete it"
    if f"{name}.delta" in offset:
        return f"{name}.delta applies at another line than it says, {port.remedy()}"
    return None


def write_checkout(files):
    """Writes files (mode, content), and removes those that are None."""
    for name, file in files.items():
        if not file and read_file(name):
            (ROOT / name).unlink()
            with contextlib.suppress(OSError):
                os.removedirs((ROOT / name).parent)
            print(f"  {name} (removed)")
    for name, file in files.items():
        if file and read_file(name) != file:
            mode, data = file
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_bytes(data)
            (ROOT / name).chmod(0o755 if mode == "100755" else 0o644)
            print(f"  {name}")
