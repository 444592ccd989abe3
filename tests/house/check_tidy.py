#!/usr/bin/env python3
"""clang-tidy, warnings as errors, over the folders that know no LibTorch."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess

import tree

FOLDERS = ("configs", "data")


def sources(root, build):
    """The .cpp files of FOLDERS that the build compiles."""
    commands = json.loads(tree.read(pathlib.Path(build) / "compile_commands.json"))
    files = {pathlib.Path(entry["file"]) for entry in commands}
    return sorted(path for path in files if path.is_relative_to(root)
                  and path.relative_to(root).parts[0] in FOLDERS)


def tidy(path, build):
    run = subprocess.run(["clang-tidy", "-p", build, "--quiet", str(path)],
                         capture_output=True, text=True, check=False)
    return [] if run.returncode == 0 else [f"{path.name}:"] + run.stdout.splitlines()


def check(root, build):
    if not shutil.which("clang-tidy"):
        tree.skip("clang-tidy is not installed")
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = pool.map(lambda path: tidy(path, build), sources(root, build))
    return [line for lines in found for line in lines]


if __name__ == "__main__":
    tree.main(__doc__, check, build="build folder with compile_commands.json")
