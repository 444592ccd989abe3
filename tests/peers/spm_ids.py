#!/usr/bin/env python3
"""Holds dagpam-tokenize against the `sentencepiece` package (Apache-2.0): the same ids, and the same texts back.

    tests/peers/spm_ids.py --model PREFIX.model [FILE...]   # lines of FILEs, and mixed Unicode lines of a fixed seed
    tests/peers/spm_ids.py --train FILE... --vocab-size N   # a model by each from the same texts, too

Needs: pip install sentencepiece. Exit code 0: all equal; 1: some differ (they are printed); 2: cannot run.
SentencePiece's training changes between versions: with the one that `dagpam-tokenize` is linked with (Debian 12:
0.1.97) say --same-version, and every symbol and score must be equal; else it is only said how many symbols both have.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from gpt2_ids import mixed_lines


def lines_of(files, count, seed):
    lines = [line for file in files for line in pathlib.Path(file).read_text(encoding="utf-8").split("\n")]
    # A line is a line end's alone; U+2581 is a space to a model, so its text does not come back.
    mixed = [line.replace("\n", " ") for line in mixed_lines(count, seed)]
    return lines + [line for line in mixed if "\u2581" not in line]


def run(program, command, model, lines):
    done = subprocess.run([program, command, "--model", model], input="".join(f"{line}\n" for line in lines).encode(),
                          stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().split("\n")[:-1]


def compare(name, ours, theirs):
    different = [i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]]
    for i in different[:10]:
        print(f"{name} {i + 1}:\n  ours   {ascii(ours[i])}\n  theirs {ascii(theirs[i])}")
    print(f"{name}: {len(ours)} compared, {len(different)} differ")
    return len(ours) == len(theirs) and not different


def symbols(model):
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))]


def compare_training(options, folder):
    import sentencepiece
    ours, theirs = folder / "ours", folder / "theirs"
    subprocess.run([options.program, "train", "--input", *options.train, "--vocab-size", str(options.vocab_size),
                    "--kind", options.kind, "--out", ours], stdout=subprocess.DEVNULL, check=True)
    sentencepiece.SentencePieceTrainer.train(
        input=options.train, model_prefix=str(theirs), vocab_size=options.vocab_size, model_type=options.kind,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, pad_id=0, unk_id=1,
        bos_id=2, eos_id=3, num_threads=1, max_sentence_length=1 << 24, minloglevel=2)
    mine, others = symbols(f"{ours}.model"), symbols(f"{theirs}.model")
    common = {piece for piece, _ in mine} & {piece for piece, _ in others}
    print(f"symbols: {len(common)} of {len(mine)} are in both models")
    return f"{ours}.model", not options.same_version or compare("symbol and score", mine, others)


def check(options, folder):
    import sentencepiece
    model, good = options.model, True
    if options.train:
        model, good = compare_training(options, folder)
    lines = lines_of(options.files + options.train, options.lines, options.seed)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    theirs = [processor.encode(line) for line in lines]
    ours = [[int(word) for word in line.split()] for line in run(options.program, "encode", model, lines)]
    good &= compare("ids of line", ours, theirs)
    texts = run(options.program, "decode", model, [" ".join(map(str, ids)) for ids in theirs])
    good &= compare("text of line", texts, [processor.decode(ids) for ids in theirs])
    print(f"{sum(map(len, theirs))} ids; the text came back in "
          f"{sum(text == line for text, line in zip(texts, lines))} of {len(lines)} lines")
    return good


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", help="texts whose lines are compared")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--train", nargs="+", default=[], help="texts to train on, and to compare")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--kind", default="bpe", choices=("bpe", "unigram"))
    parser.add_argument("--same-version", action="store_true", help="the trained models must be equal")
    parser.add_argument("--program", default=f"{root}/build/bin/dagpam-tokenize")
    parser.add_argument("--lines", type=int, default=2000, help="mixed lines")
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    if not options.model and not options.train:
        parser.error("--model or --train is needed")
    try:
        with tempfile.TemporaryDirectory() as folder:
            return 0 if check(options, pathlib.Path(folder)) else 1
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        print(f"spm_ids: cannot run: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
