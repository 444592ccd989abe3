#!/usr/bin/env python3
"""Holds the gpt2 tokenizer against the `tokenizers` package (Apache-2.0): the same ids on mixed Unicode text.

    tests/peers/gpt2_ids.py --vocabulary DIR            # DIR: encoder.json and vocab.bpe of GPT-2
    tests/peers/gpt2_ids.py --vocabulary DIR --all-code-points

Needs: pip install tokenizers. Exit code 0: all ids equal; 1: some differ (they are printed); 2: cannot run.

The text is made from fixed ranges and a fixed seed, so it is the same everywhere. Both sides classify characters by
their own copy of the Unicode database; the ranges hold characters of Unicode 13 and older alone, and
--all-code-points says where two copies differ (code points that one side does not know yet).
`--write-golden FILE` writes what tests/data/gpt2_tokenizer_test.cpp reads: one {"text", "ids"} object a line, ids by
the package.
"""

import argparse
import json
import pathlib
import random
import shlex
import subprocess
import sys

SCRIPTS = [  # first and last code point
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0xFF), (0x100, 0x17F), (0x391, 0x3A1), (0x3B1, 0x3C9), (0x410, 0x44F),
    (0x531, 0x556), (0x5D0, 0x5EA), (0x620, 0x64A), (0x905, 0x939), (0x985, 0x98C), (0xB85, 0xB8A), (0xE01, 0xE30),
    (0xF40, 0xF47), (0x10D0, 0x10F0), (0x1100, 0x1112), (0x1200, 0x1248), (0x13A0, 0x13F4), (0x1780, 0x17B3),
    (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0x10330, 0x1034A), (0x1D400, 0x1D454),
    (0x20000, 0x20010)]
DIGITS = [(0x30, 0x39), (0xB2, 0xB3), (0xBC, 0xBE), (0x660, 0x669), (0x966, 0x96F), (0x2160, 0x2188),
          (0x2460, 0x2473), (0xFF10, 0xFF19), (0x1D7CE, 0x1D7FF)]
MARKS = [(0x300, 0x36F), (0x483, 0x489), (0x591, 0x5BD), (0x64B, 0x65F), (0x93E, 0x94D), (0xFE00, 0xFE0F),
         (0x20D0, 0x20F0), (0x1F3FB, 0x1F3FF)]
SIGNS = [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0xA1, 0xBF), (0x2010, 0x2027), (0x20A0, 0x20B9),
         (0x2190, 0x21FF), (0x2200, 0x22FF), (0x3001, 0x3003), (0xE000, 0xE010), (0xFFFC, 0xFFFD)]
EMOJI = [(0x1F300, 0x1F320), (0x1F400, 0x1F440), (0x1F600, 0x1F64F), (0x1F680, 0x1F6C5), (0x2600, 0x2604),
         (0x1F1E6, 0x1F1FF)]
CONTROLS = [(0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x84), (0x86, 0x9F), (0x200B, 0x200F), (0x202A, 0x202E),
            (0x2060, 0x2064), (0xFEFF, 0xFEFF), (0x180E, 0x180E), (0xAD, 0xAD)]
SPACES = [" "] * 8 + list("\t\n\r\v\f\u0085\u00a0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000") + ["\r\n"]
TAILS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'", "''s", "\u2019s", "'x", "'tis"]
WHOLES = ["<|endoftext|>", "\U0001F468\u200D\U0001F469\u200D\U0001F467", "\u2764\uFE0F", "1\uFE0F\u20E3", "e\u0301",
          "http://example.org/a?b=c&d=%20", "3.14159", "1,000,000", "----", "=" * 20, "a" * 30, "x_y", "C++", "\\n"]


def pick(rng, ranges):
    first, last = rng.choice(ranges)
    return chr(rng.randint(first, last))


def word(rng):
    """Letters of one script, at times with marks, a contraction or a capital."""
    first, last = rng.choice(SCRIPTS[:2] * 6 + SCRIPTS)
    text = "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 7)))
    if rng.random() < 0.1:
        text += pick(rng, MARKS)
    if rng.random() < 0.3:
        text += rng.choice(TAILS)
    return text


def spaces(rng):
    return "".join(rng.choice(SPACES) for _ in range(rng.choice([1, 1, 1, 1, 2, 3, 5])))


def piece(rng):
    kind = rng.random()
    if kind < 0.45:
        return word(rng)
    if kind < 0.55:
        return "".join(pick(rng, DIGITS) for _ in range(rng.randint(1, 5)))
    if kind < 0.65:
        return "".join(pick(rng, SIGNS) for _ in range(rng.randint(1, 3)))
    if kind < 0.72:
        return "".join(pick(rng, EMOJI) for _ in range(rng.randint(1, 2)))
    if kind < 0.76:
        return pick(rng, CONTROLS)
    if kind < 0.8:
        return rng.choice(WHOLES)
    return spaces(rng)


def mixed_lines(count, seed):
    rng = random.Random(seed)
    lines = ["", " ", "\n", "\r\n", "  a", "a  ", "a \n b", "don't I'll we've", "\u3000\u3000a", "<|endoftext|>"]
    while len(lines) < count:
        parts = []
        for _ in range(rng.randint(1, 9)):
            parts.append(piece(rng))
            if rng.random() < 0.6:
                parts.append(spaces(rng))
        lines.append("".join(parts))
    return lines[:count]


def every_code_point():
    """A line for each code point: between letters, digits, signs and spaces."""
    points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    return [f"a{chr(c)}b 1{chr(c)}2 .{chr(c)}! {chr(c)} " for c in points]


def package_ids(folder, lines):
    from tokenizers import Tokenizer, models, pre_tokenizers
    vocabulary = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    merges = [tuple(line.split(" "))
              for line in (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:] if line]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for begin in range(0, len(lines), 10000):
        for encoding in tokenizer.encode_batch(lines[begin:begin + 10000]):
            yield encoding.ids


def program_ids(program, folder, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    command = shlex.split(program) + ["--tokenizer", f"gpt2:{folder}"]
    done = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocabulary", type=pathlib.Path, required=True, help="folder of encoder.json and vocab.bpe")
    parser.add_argument("--program", default=f"{root}/build/bin/dagpam data encode",
                        help="reads JSON strings, prints arrays of ids (default: %(default)s)")
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--all-code-points", action="store_true", help="every code point instead of mixed lines")
    parser.add_argument("--write-golden", type=pathlib.Path, help="write lines and the package's ids to this file")
    options = parser.parse_args()

    lines = every_code_point() if options.all_code_points else mixed_lines(options.lines, options.seed)
    try:
        theirs = list(package_ids(options.vocabulary, lines))
        ours = program_ids(options.program, options.vocabulary, lines)
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        print(f"gpt2_ids: cannot run: {error}", file=sys.stderr)
        return 2
    if options.write_golden:
        with options.write_golden.open("w", encoding="utf-8") as file:
            for line, ids in zip(lines, theirs):
                file.write(json.dumps({"text": line, "ids": ids}, separators=(",", ":")) + "\n")
    different = [i for i in range(len(lines)) if i >= len(ours) or ours[i] != theirs[i]]
    for i in different[:20]:
        print(f"line {i + 1}: {ascii(lines[i])}\n  ours   {ours[i] if i < len(ours) else None}\n  theirs {theirs[i]}")
    tokens = sum(len(ids) for ids in theirs)
    print(f"{len(lines)} lines, {tokens} ids, {len(ours)} answers, {len(different)} lines differ")
    return 1 if different or len(ours) != len(lines) else 0


if __name__ == "__main__":
    sys.exit(main())
