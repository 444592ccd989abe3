#!/usr/bin/env python3
"""File length, marks of unfinished work, and paths of one person's machine."""
import re

import tree

SOFT, HARD = 300, 500
CODE = tree.CPP + (".proto", ".py", ".sh", ".cmake")
# Spelled apart, so that this file does not find itself.
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|BUG" r"BUG)\b")
MACHINE = re.compile(r"(?<![\w.:/])/(?:home|Users|root|work|mnt|scratch)/[\w.]")


def check(root):
    problems = []
    for path in tree.own_files(root):
        if path.suffix == ".safetensors" and "golden" in path.parts:
            continue  # checkpoints of earlier format versions
        if not tree.is_text(path):
            problems.append(f"{path.relative_to(root)}: a binary file")
            continue
        text, relative = tree.read(path), path.relative_to(root)
        lines = text.splitlines()
        if path.suffix in CODE or path.name == "CMakeLists.txt" or tree.is_shell(path):
            if len(lines) > HARD:
                problems.append(f"{relative}: {len(lines)} lines, at most {HARD}: split it")
            elif len(lines) > SOFT:
                print(f"note: {relative}: {len(lines)} lines, better below {SOFT}")
        for number, line in enumerate(lines, 1):
            mark = MARKS.search(line)
            if mark and path.name != "LICENSE":
                problems.append(f"{relative}:{number}: {mark.group()}: finish it or leave it out")
            if MACHINE.search(line):
                problems.append(f"{relative}:{number}: a path of one machine: {line.strip()[:80]}")
    return problems


if __name__ == "__main__":
    tree.main(__doc__, check)
