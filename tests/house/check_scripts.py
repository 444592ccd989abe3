#!/usr/bin/env python3
"""shellcheck over the shell scripts, codespell over all text."""
import shutil
import subprocess

import tree

# Where odd spelling is the content.
NOT_PROSE = ("tests/golden/", "tests/configs/", "tests/launch/", "LICENSE")  # misspelt fields, on purpose


def run(command, root):
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return [] if result.returncode == 0 else (result.stdout + result.stderr).splitlines()


def shellcheck(root):
    scripts = [str(path.relative_to(root)) for path in tree.own_files(root) if tree.is_shell(path)]
    return run(["shellcheck", "-x", *scripts], root) if scripts else []


def codespell(root):
    words = tree.pathlib.Path(__file__).with_name("codespell_words.txt")
    texts = [str(path.relative_to(root)) for path in tree.own_files(root) if tree.is_text(path)]
    texts = [name for name in texts if not name.startswith(NOT_PROSE)]
    return run(["codespell", f"--ignore-words={words}", *texts], root) if texts else []


def check(root, tool):
    if not shutil.which(tool):
        tree.skip(f"{tool} is not installed")
    return {"shellcheck": shellcheck, "codespell": codespell}[tool](root)


if __name__ == "__main__":
    tree.main(__doc__, check, tool="shellcheck or codespell")
