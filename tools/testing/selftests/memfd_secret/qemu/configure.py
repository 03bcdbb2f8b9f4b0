# SPDX-License-Identifier: GPL-2.0
"""Makes a kernel's .config of fragments; fails if a symbol does not get its value.

    configure.py TREE BUILD_FOLDER FRAGMENT...

A symbol that no fragment names is as allnoconfig has it. Kconfig silently drops
a request whose dependencies are not met.
"""

import os
import re
import subprocess
import sys
from pathlib import Path


def read_symbols(path):
    """{symbol: value}; the value is "n" for "is not set"."""
    symbols = {}
    for line in path.read_text("utf-8").splitlines():
        if found := re.match(r"(CONFIG_\w+)=(.*)$", line):
            symbols[found[1]] = found[2]
        elif found := re.match(r"# (CONFIG_\w+) is not set$", line):
            symbols[found[1]] = "n"
    return symbols


def main():
    tree, folder, *fragments = (Path(arg).resolve() for arg in sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    # The options and variables of the calling make are not meant for kconfig.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
    merge = subprocess.run(
        ["scripts/kconfig/merge_config.sh", "-n", "-O", folder, *fragments],
        cwd=tree, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    (folder.parent / f"{folder.name}.config.log").write_text(merge.stdout, "utf-8")
    if merge.returncode:
        return merge.stdout + "error: merge_config.sh failed"

    got = read_symbols(folder / ".config")
    want = {}
    for fragment in fragments:
        want |= read_symbols(fragment)
    lost = [f"    {symbol}={value} became {got.get(symbol, 'n')}\n"
            for symbol, value in want.items() if got.get(symbol, "n") != value]
    if lost:
        (folder / ".config").unlink()
        return f"error: the kernel cannot be configured as asked for:\n{''.join(lost)}"[:-1]
    return 0


if __name__ == "__main__":
    sys.exit(main())
