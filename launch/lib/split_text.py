#!/usr/bin/env python3
"""Cuts a text 90 / 5 / 5 at line ends into train.txt, valid.txt and test.txt.

A line of the last two that has a character which the training part lacks moves to the training part, so that
the characters of the training part are a vocabulary for all three.
"""
import argparse
import pathlib
import sys


def parts_of(lines):
    """Training, validation and test lines; the first takes 90 % of the characters, the others 5 % each."""
    total, seen = sum(map(len, lines)), 0
    parts = ([], [], [])
    for line in lines:
        share = seen / total
        parts[0 if share < 0.90 else 1 if share < 0.95 else 2].append(line)
        seen += len(line)
    return parts


def move_unknown(train, rest, known):
    """Lines of `rest` whose characters are all in `known`; the others go to `train`."""
    kept = []
    for line in rest:
        if known.issuperset(line):
            kept.append(line)
        else:
            train.append(line)
            known.update(line)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("text", type=pathlib.Path, help="UTF-8")
    parser.add_argument("folder", type=pathlib.Path, help="where the three files go")
    args = parser.parse_args()
    try:
        text = args.text.read_bytes().decode("utf-8")
    except OSError as error:
        sys.exit(f"{args.text}: cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        sys.exit(f"{args.text}: byte {error.start} is not UTF-8: convert the file, e.g. with iconv")
    lines = text.splitlines(keepends=True)
    if len(text) < 10000 or len(lines) < 40:
        sys.exit(f"{args.text}: {len(text)} characters in {len(lines)} lines: expected 10000 in 40 at least")
    train, valid, test = parts_of(lines)
    known = set().union(*train)
    before = len(train)
    valid, test = move_unknown(train, valid, known), move_unknown(train, test, known)
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("valid", valid), ("test", test)):
        (args.folder / f"{name}.txt").write_bytes("".join(part).encode("utf-8"))
    moved = f", {len(train) - before} lines moved to training for their characters" if len(train) > before else ""
    print(f"{len(train)} / {len(valid)} / {len(test)} lines to train / valid / test{moved}")


if __name__ == "__main__":
    main()
