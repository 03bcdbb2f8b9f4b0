# SPDX-License-Identifier: GPL-2.0
"""The patches as mails and as a quilt queue."""

import dataclasses
import email.utils

from .commits import commit_series, diffs
from .common import ENV, Fail, complaint, git
from .messages import raw_date, read_cover, read_series, split_author


def sign_off(tree, patches, signoff):
    try:
        split_author(signoff)
    except ValueError as error:
        raise Fail(f"SIGNOFF is wrong: {error}") from error
    for patch in patches:
        text = git(tree, "interpret-trailers", "--no-divider", "--if-exists=addIfDifferent",
                   "--trailer", f"Signed-off-by: {signoff}", stdin=patch.message().encode())
        yield dataclasses.replace(patch, body=text.partition("\n\n")[2].strip("\n"))


def dep3(patch):
    text = [f" {line}" if line else " ." for line in patch.body.split("\n") if patch.body]
    when = email.utils.parsedate_to_datetime(patch.date)
    fields = [f"{key}: {value}" for key, value in patch.fields]
    if "Forwarded" not in dict(patch.fields):
        fields.append("Forwarded: not-needed")
    return "\n".join([f"Description: {patch.subject}", *text, f"Author: {patch.author}", *fields,
                      f"Last-Update: {when:%Y-%m-%d}", "---", ""]).encode()


def write_export(tree, base, layer, part, out, signoff=None):
    patches = read_series(layer, part)
    if signoff:
        patches = list(sign_off(tree, patches, signoff))
    tip, _ = commit_series(tree, base, layer, patches)
    sections = diffs(tree, base, tip)
    mail, quilt = out / "mail", out / "quilt/patches"
    for folder in (mail, quilt):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.patch"):
            old.unlink()
    cover = read_cover(layer, part)
    sender, address = split_author(signoff or cover.author)
    git(tree, "format-patch", "-q", "-o", str(mail), "--cover-letter", "--numbered",
        "--zero-commit", "--no-signature", "--no-renames", "--abbrev=12", f"{base}..{tip}",
        GIT_COMMITTER_NAME=sender, GIT_COMMITTER_EMAIL=address,
        GIT_COMMITTER_DATE=raw_date(cover.date))
    letter = mail / "0000-cover-letter.patch"
    text = letter.read_text(encoding="utf-8").replace("*** SUBJECT HERE ***", cover.subject)
    letter.write_text(text.replace("*** BLURB HERE ***", cover.body), encoding="utf-8")
    queue = ""
    for number, patch in enumerate(patches, 1):
        name = f"{number:04}-{patch.name}.patch"
        changes_of_it = [sections[path] for path in sorted(patch.kernel_paths())]
        (quilt / name).write_bytes(dep3(patch) + b"".join(changes_of_it))
        queue += f"{name}\n"
    (quilt / "series").write_text(queue, encoding="utf-8")
    return tip


def same_bytes_again(tree, base, layer, part, out):
    """Exports once more, in another time zone, and compares with what is in @out."""
    again = out.with_name(f"{out.name}.again")
    ENV["TZ"] = "Asia/Kathmandu"
    write_export(tree, base, layer, part, again)
    ENV["TZ"] = "UTC"
    one, two = ({str(file.relative_to(folder)): file.read_bytes()
                 for file in folder.rglob("*") if file.is_file()} for folder in (out, again))
    return complaint([name for name in one.keys() | two.keys() if one.get(name) != two.get(name)],
                     "another export gives other bytes, look for what depends on time or place")
