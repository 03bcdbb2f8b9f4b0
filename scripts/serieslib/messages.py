# SPDX-License-Identifier: GPL-2.0
"""What series/ has: the order, the messages, the cover letter."""

import dataclasses
import email.utils
import re
from datetime import timezone

from .common import PLANNED, ROOT, Fail, Path, complaint, read_file
from .layers import exists

ORDER = "series/order"
COVER = "cover"
PARTS = ("kernel", "tests")
TESTS = "tools/testing/"
FIELDS = ("Origin", "Bug", "Forwarded")


@dataclasses.dataclass(frozen=True)
class Patch:
    name: str
    author: str
    date: str
    subject: str
    body: str
    fields: tuple = ()
    paths: tuple = ()
    replaces: tuple = ()    # pairs of a path and the blob that the base has there

    def hooks(self):
        return [path for path in self.paths if path.endswith(".patch")]

    def new_files(self):
        return [path for path in self.paths if not path.endswith(".patch")]

    def kernel_paths(self):
        return [path.removesuffix(".patch") for path in self.paths]

    def part(self):
        """Tests are what lies in TESTS and nowhere else."""
        outside = [path for path in self.paths if not path.startswith(TESTS)]
        return "tests" if self.paths and not outside else "kernel"

    def message(self):
        return f"{self.subject}\n\n{self.body}\n" if self.body else f"{self.subject}\n"

    def msg_file(self):
        head = f"From: {self.author}\nDate: {self.date}\nSubject: {self.subject}\n"
        fields = "".join(f"{key}: {value}\n" for key, value in self.fields)
        body = f"{self.body}\n" if self.body else ""
        blobs = dict(self.replaces)
        paths = "".join(f"{path} replaces {blobs[path]}\n" if path in blobs else f"{path}\n"
                        for path in self.paths)
        return f"{head}{fields}\n{body}---\n{paths}".encode()


def message_file(layer, name):
    return f"{layer.folder}series/{name}.msg"


def own_messages(layer):
    """The names of the messages in the layer's own folder."""
    found = {file.stem for file in (ROOT / layer.folder / "series").glob("*.msg")}
    found |= {Path(name).stem for name in PLANNED if name == message_file(layer, Path(name).stem)}
    return {name for name in found if read_file(message_file(layer, name))}


def inherited_message(layer, name):
    """The message of the parent, with the paths moved."""
    patch = read_message(layer.parent, name)
    return dataclasses.replace(
        patch, paths=tuple(sorted(map(layer.moved, patch.paths))),
        replaces=tuple(sorted((layer.moved(path), blob) for path, blob in patch.replaces)))


def read_message(layer, name):
    """The message of a layer, or else that of its parent."""
    file = message_file(layer, name)
    if layer.parent and not read_file(file):
        return inherited_message(layer, name)
    try:
        head, _, rest = text_of(file).partition("\n\n")
        lines = [tuple(line.split(": ", 1)) for line in head.split("\n")]
        author, date, subject = (dict(lines)[key] for key in ("From", "Date", "Subject"))
        fields = tuple(line for line in lines if line[0] not in ("From", "Date", "Subject"))
        if unknown := [key for key, _ in fields if key not in FIELDS]:
            raise ValueError(f"there is no field {unknown[0]}")
        raw_date(date)
        split_author(author)
    except (OSError, ValueError, KeyError) as error:
        raise Fail(f"{file} cannot be read ({error}): it needs the lines From: Name "
                   "<mail>, Date: and Subject:, may have Origin:, Bug: and Forwarded: after them, "
                   "then an empty line") from error
    body, line, paths = f"\n{rest}".partition("\n---\n")
    if name != COVER and not line:
        raise Fail(f"{file} lists no paths: end it with a line --- and the paths")
    listed = [path.partition(" replaces ") for path in paths.split("\n")[:-1]]
    replaces = tuple((path, blob) for path, word, blob in listed if word)
    for path, blob in replaces:
        if path.endswith(".patch") or not re.fullmatch("[0-9a-f]{40}", blob):
            raise Fail(f"{file} says '{path} replaces {blob}': name a whole file, "
                       "and the blob of the base as `git rev-parse` does, with 40 digits")
    return Patch(name, author, date, subject, body.strip("\n"), fields,
                 tuple(path for path, _, _ in listed), replaces)


def text_of(name):
    found = read_file(name)
    return found[1].decode() if found else (ROOT / name).read_text(encoding="utf-8")


def read_order(layer):
    """The names of each part, and for names and headings the comments above them."""
    file = layer.folder + ORDER
    try:
        lines = text_of(file).splitlines()
    except (OSError, ValueError) as error:
        raise Fail(f"{file} cannot be read ({error}): it needs the names of the patches, "
                   "one a line, under [kernel] and [tests]") from error
    names, part = {part: [] for part in PARTS}, None
    comments, above = {}, ""
    for line in lines:
        if not line or line.startswith("#"):
            above += f"{line}\n"
            continue
        comments[line], above = above, ""
        if line in (f"[{part}]" for part in PARTS):
            part = line[1:-1]
        elif part and not line.startswith("["):
            names[part].append(line)
        else:
            raise Fail(f"{file} has '{line}' where a heading should be: "
                       "write [kernel] or [tests]")
    comments[""] = above
    return names, comments


def order_file(layer, patches):
    """series/order for these patches, with the comments it has now."""
    text, comments = "", read_order(layer)[1]
    for part in PARTS:
        names = [patch.name for patch in patches if patch.part() == part]
        text += "".join(f"{comments.get(line, '')}{line}\n" for line in (f"[{part}]", *names))
    return (text + comments[""]).encode()


def read_series(layer, part="all"):
    order, _ = read_order(layer)
    file = layer.folder + ORDER
    names = [name for listed in order.values() for name in listed]
    own = own_messages(layer) - {COVER}
    there = own.union(*map(own_messages, layer.chain()))
    if problem := (
            complaint([name for name in names if names.count(name) > 1],
                      f"listed twice in {file}, list it once")
            or complaint([message_file(layer, name) for name in own.difference(names)],
                         f"not listed in {file}, list its name there or delete it")
            or complaint(set(names) - there,
                         f"listed in {file}, but {layer.folder}series/ has no such .msg, write it "
                         "or take it off the list")):
        raise Fail(problem)
    patches = [read_message(layer, name) for each in PARTS if part in (each, "all")
               for name in order[each]]
    if not patches:
        raise Fail(f"{file} lists no patch" + ("" if part == "all" else f" of the part {part}")
                   + ": write a series/NAME.msg, and NAME into that list")
    return patches


def read_cover(layer, part="all"):
    """The cover letter, without what it says of the other part."""
    cover = read_message(layer, COVER)
    common, *sections = re.split(r"^\[(%s)\]\n+" % "|".join(PARTS), cover.body, flags=re.M)
    texts = [common] + [text for about, text in zip(sections[::2], sections[1::2])
                        if part in (about, "all")]
    subject = cover.subject if part == "all" else f"{cover.subject} ({part})"
    return dataclasses.replace(cover, subject=subject,
                               body="\n\n".join(text.strip("\n") for text in texts if text))


def split_author(author):
    match = re.fullmatch(r"([^<>]+) <([^<>]*)>", author)
    if not match:
        raise ValueError(f"'{author}' is not Name <mail>")
    return match.groups()


def raw_date(date):
    """Git's own form of an RFC 2822 date: seconds and time zone."""
    when = email.utils.parsedate_to_datetime(date)
    if not when.tzinfo:
        when = when.replace(tzinfo=timezone.utc)
    return f"{int(when.timestamp())} {when:%z}"


def paths_of_part(layer, part):
    return [path for name in read_order(layer)[0][part]
            for path in read_message(layer, name).paths]


def duplicate_paths(patches):
    paths = sorted(path for patch in patches for path in patch.kernel_paths())
    return complaint([path for path, after in zip(paths, paths[1:]) if path == after],
                "listed twice, let one message list it once")


def missing_files(layer, patches):
    """Hooks are not inherited: the layer needs its own."""
    return complaint([layer.folder + path for patch in patches for path in patch.paths
                      if not path or not (read_file(layer.folder + path) if path.endswith(".patch")
                                          else exists(layer, path))],
                     "listed but no plain file, add it or take it off its message")
