# SPDX-License-Identifier: GPL-2.0
"""Lists programs of this machine, and all they need in the guest, for gen_init_cpio.

    dynamic_elf.py ARCH PROGRAM...

A program is a path or the name of a command. It goes to /bin. The loader and the
libraries keep their paths, because the loader looks for them there.
"""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

# "name => path (address)", or "path (address)" for the loader.
LIBRARY = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
MISSING = re.compile(r"^\s+(\S+) => not found$", re.MULTILINE)


class Failed(Exception):
    """What the user asked for cannot be done."""


def libraries(program):
    """Paths of the loader and of all libraries, including those of other libraries."""
    ldd = subprocess.run(["ldd", program], check=False, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    missing = MISSING.findall(ldd.stdout)
    if missing:
        raise Failed(f"{program}: no library {', '.join(missing)}")
    found = LIBRARY.findall(ldd.stdout)
    if ldd.returncode or not found:
        raise Failed(f"{program}: not a dynamic program of this machine")
    return found


def lines_for(names):
    files = {}
    for name in names:
        program = shutil.which(name)
        if not program:
            raise Failed(f"{name}: no such program")
        files[f"/bin/{Path(program).name}"] = program
        files |= {library: library for library in libraries(program)}
    folders = {parent for name in files for parent in Path(name).parents} - {Path("/")}
    for folder in sorted(folders):
        yield f"dir {folder} 0755 0 0"
    for name, source in sorted(files.items()):
        # A link of this machine becomes the file itself in the guest.
        source = Path(source).resolve()
        if re.search(r"\s", f"{name}{source}"):
            raise Failed(f"{source}: gen_init_cpio cannot read names with a space")
        yield f"file {name} {source} 0755 0 0"


def main():
    arch, *names = sys.argv[1:]
    if arch != platform.machine():
        return f"error: ARCH={arch}: the programs of this machine are for {platform.machine()}"
    try:
        lines = list(lines_for(names))
    except (Failed, OSError) as err:
        return f"error: {err}"
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
