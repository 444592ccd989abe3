#!/usr/bin/env python3
"""C++ is formatted as .clang-format says. Other releases format a little differently: the release is pinned."""
import re
import shutil
import subprocess

import tree

RELEASE = "14"


def formatter():
    """The pinned clang-format, or None and why not."""
    for name in (f"clang-format-{RELEASE}", "clang-format"):
        program = shutil.which(name)
        if program:
            text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
            release = re.search(r"version (\d+)", text).group(1)
            if release == RELEASE:
                return program, None
            reason = f"clang-format {release} is here, the tree is formatted with {RELEASE}"
        else:
            reason = "clang-format is not installed"
    return None, reason


def check(root):
    program, reason = formatter()
    if not program:
        tree.skip(reason)
    paths = [str(path) for path in tree.own_files(root, tree.CPP)]
    run = subprocess.run([program, "--dry-run", "-Werror", "--style=file", *paths],
                         capture_output=True, text=True, check=False) if paths else None
    if run is None or run.returncode == 0:
        return []
    bad = sorted({line.split(":")[0] for line in run.stderr.splitlines() if "error:" in line})
    return [f"{path}: run clang-format -i on it" for path in bad] or [run.stderr]


if __name__ == "__main__":
    tree.main(__doc__, check)
