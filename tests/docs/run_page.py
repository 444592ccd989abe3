#!/usr/bin/env python3
"""Runs the shell blocks of one page as they stand there, in order, in a checkout of their own (stock.py)."""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pages
import stock

LIMIT_S = 600
TAIL = 30  # lines of output shown of a block that failed


def clear_runs(blocks, tree):
    """A page that starts a run finds its folder free."""
    for block in blocks:
        for folder in re.findall(r"--run-dir (\S+)", block.text):
            shutil.rmtree(tree / folder, ignore_errors=True)


def script_of(blocks):
    """One shell for the whole page: what a block sets or where it goes to holds for the next, except the folder."""
    parts = ["set -euo pipefail", "top=$PWD"]
    for block in blocks:
        if block.reason:
            print(f"skipped: block at line {block.line}: {block.reason}")
            continue
        parts.append(f"cd \"$top\"; echo '@ {block.line}'\n{block.text}")
    return "\n".join(parts)


def run(page, binary, tree):
    """Exit code 0, or 1 with the block that failed."""
    blocks = pages.shell_blocks(page.read_text(encoding="utf-8"))
    if all(block.reason for block in blocks):
        return 0
    clear_runs(blocks, tree)
    done = subprocess.run(["bash", "-c", script_of(blocks)], cwd=tree, timeout=LIMIT_S, text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**stock.environment(tree), "DAGPAM_BINARY": binary,
                               "DAGPAM_MPIRUN": os.environ.get("DAGPAM_MPIRUN", "mpirun")})
    lines = done.stdout.splitlines()
    if done.returncode == 0:
        print(f"{page.name}: {sum(not block.reason for block in blocks)} blocks ran")
        return 0
    at = max((i for i, line in enumerate(lines) if line.startswith("@ ")), default=0)
    print(f"{page}: the block at line {lines[at].removeprefix('@ ')} ended with {done.returncode}:")
    print("\n".join(lines[at + 1:][-TAIL:]))
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="the dagpam program")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--page", type=pathlib.Path, help="run this page")
    what.add_argument("--make-stock", action="store_true", help="make the checkout that pages are run in copies of")
    parser.add_argument("--stock", type=pathlib.Path, required=True, help="where it is")
    args = parser.parse_args()
    if args.make_stock:
        shutil.rmtree(args.stock, ignore_errors=True)
        stock.make(args.stock, args.binary)
        return 0
    with tempfile.TemporaryDirectory(prefix="dagpam-page-") as folder:
        tree = pathlib.Path(folder) / "dagpam"
        shutil.copytree(args.stock, tree, symlinks=True)
        return run(args.page, args.binary, tree)


if __name__ == "__main__":
    sys.exit(main())
