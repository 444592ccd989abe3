#!/usr/bin/env python3
"""Every link in the pages leads somewhere, and every `dagpam ...` command and option in them exists."""
import functools
import re
import subprocess

import tree

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`]+`", re.DOTALL)
# Where a command starts: the bare name or a path to the program, then a word.
COMMAND = re.compile(r"(?:^|[\s/`])dagpam((?: [a-z]+)+)([^\n`|]*)")
TWO_WORDS = ("data", "ckpt", "bench")


def dead_links(path, text):
    for target in LINK.findall(text):
        name = target.split("#")[0]
        if name and "://" not in name and not name.startswith("mailto:"):
            if not (path.parent / name).exists():
                yield f"{target}: no such file"


@functools.lru_cache(maxsize=None)
def help_of(program, words):
    """The help text of a subcommand, or None where it does not exist."""
    run = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=False)
    return run.stdout if run.returncode == 0 else None


def unknown_commands(program, text):
    for code in CODE.findall(text):
        joined = code.replace("\\\n", " ")
        for words, rest in COMMAND.findall(joined):
            words = words.split()
            words = tuple(words[: 2 if words[0] in TWO_WORDS else 1])
            shown = help_of(program, words)
            if shown is None:
                yield f"dagpam {' '.join(words)}: no such command"
                continue
            own = re.sub(r"'[^']*'", "", rest)  # a quoted command has options of its own
            for option in re.findall(r"(?<!\S)\[?(--[a-z][a-z-]*)", own):
                if not re.search(rf"{option}(?![a-z-])", shown):
                    yield f"dagpam {' '.join(words)} {option}: no such option"


def check(root, program):
    problems = []
    for path in tree.own_files(root, (".md",)):
        text = tree.read(path)
        found = list(dead_links(path, text))
        if program:
            found += unknown_commands(program, text)
        problems += [f"{path.relative_to(root)}: {problem}" for problem in found]
    return problems


if __name__ == "__main__":
    tree.main(__doc__, check, program="the dagpam program; without it only links are checked")
