# SPDX-License-Identifier: GPL-2.0
"""The files of the series in the checkout, as import finds and writes them."""

import contextlib
import os

from .common import ROOT, Fail, git_mode
from .messages import ORDER, read_series


def listed_files():
    """Every file that belongs to the series now, as split_commits() gives them."""
    names = [ORDER]
    for patch in read_series():
        names += (f"series/{patch.name}.msg", *patch.paths)
    return {name: (git_mode((ROOT / name).stat().st_mode), (ROOT / name).read_bytes())
            for name in names if (ROOT / name).is_file()}


def write_checkout(files):
    old = listed_files()
    for name in files.keys() - old.keys():
        if os.path.lexists(ROOT / name):
            raise Fail(f"{name} is in the checkout but no message lists it: "
                       "move one of the two away")
    for name in old.keys() - files.keys():
        (ROOT / name).unlink()
        with contextlib.suppress(OSError):
            os.removedirs((ROOT / name).parent)
    for name, (mode, data) in files.items():
        if old.get(name) == (mode, data):
            continue
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_bytes(data)
        (ROOT / name).chmod(0o755 if mode == "100755" else 0o644)
        print(f"  {name}")
    for name in old.keys() - files.keys():
        print(f"  {name} (removed)")
