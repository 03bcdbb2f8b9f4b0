# SPDX-License-Identifier: GPL-2.0
"""The bases that the series is carried on: that of the top, and those in ports/."""

import dataclasses
import os

from .common import BUILD, ROOT, Fail, read_file

PORTS = "ports"


@dataclasses.dataclass(frozen=True)
class Layer:
    """What the checkout has for one base."""
    name: str
    base_file: str
    folder: str = ""
    parent: "Layer | None" = None
    moves: tuple = ()

    def build(self):
        """The folder for what is generated."""
        return BUILD / self.name if self.parent else BUILD

    def chain(self):
        """This layer and all below it, down to the top."""
        return [self, *(self.parent.chain() if self.parent else ())]

    def moved(self, path):
        """Where this base has a path of the parent."""
        return rename(path, self.moves)

    def unmoved(self, path):
        """Where the parent has a path of this base."""
        return rename(path, [(new, old) for old, new in self.moves])

    def path_of(self, below, path):
        """Where this base has a path of a layer below."""
        return path if self == below else self.moved(self.parent.path_of(below, path))

    def command(self, verb):
        prefix = f"BASE={self.name} " if self.parent else ""
        return f"{prefix}scripts/series {verb}"

    def remedy(self):
        return f"run `{self.command('tree')}` and then `{self.command('import')}`"


def rename(path, moves):
    for old, new in moves:
        if f"{path}/".startswith(f"{old}/"):
            return new + path[len(old):]
    return path


def read_base_file(name):
    """The lines of a base file, as pairs of key and value."""
    try:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pairs = [line.split(": ", 1) for line in lines if line]
        dict(pairs)
    except (OSError, ValueError) as error:
        raise Fail(f"{name} cannot be read ({error}): it needs lines 'key: value'") from error
    return pairs


def package(layer):
    """The name of the source package, which ends in -VERSION."""
    return dict(read_base_file(layer.base_file)).get("package", "linux")


def the_top():
    top = Layer("", "series/base")
    return dataclasses.replace(top, name=package(top).rpartition("-")[2])


def port_names():
    return sorted(path.name for path in (ROOT / PORTS).glob("*") if path.is_dir())


def find_port(name, above=()):
    file = f"{PORTS}/{name}/base"
    pairs = read_base_file(file)
    parent = dict(pairs).get("from")
    if parent != "." and (parent not in port_names() or parent in (name, *above)):
        raise Fail(f"{file} does not say what the port is from: write 'from: .' for the top, "
                   "or 'from: NAME' for a port that is not itself from this one")
    moves = tuple(tuple(value.split()) for key, value in pairs if key == "move")
    if any(len(move) != 2 for move in moves):
        raise Fail(f"{file} has a move that is not understood: write 'move: OLD-FOLDER NEW-FOLDER'")
    below = the_top() if parent == "." else find_port(parent, (name, *above))
    return Layer(name, file, f"{PORTS}/{name}/", below, moves)


def ports():
    """All ports, each after its parent."""
    return sorted(map(find_port, port_names()), key=lambda layer: len(layer.chain()))


def here():
    """The layer that BASE names, the top if it is not set."""
    name, top = os.environ.get("BASE"), the_top()
    if name in (None, "", top.name):
        return top
    if name not in port_names():
        raise Fail(f"BASE={name} is unknown: there are {', '.join([top.name, *port_names()])}")
    return find_port(name)


def exists(layer, path):
    """Whether one of our files is there for this base."""
    return bool(layer and (read_file(layer.folder + path)
                           or exists(layer.parent, layer.unmoved(path))))
