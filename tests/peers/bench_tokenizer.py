#!/usr/bin/env python3
"""Times the `tokenizers` package's GPT-2 tokenizer on a text: the peer of `dagpam bench data`.

It encodes the text in one piece without offsets (encode_batch_fast), the fastest way on one core that was found;
--lines gives it line by line, which --threads share. Alone it prints one JSON object with step_ms, the median of --repetitions encodings; with
--interactive it answers each line "N" of standard input with the object for N encodings.

Example:
  dagpam bench data --text book.txt --tokenizer gpt2:DIR \\
    --peer ".deps/peers/bin/python tests/peers/bench_tokenizer.py --vocabulary DIR --text book.txt --interactive"
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import sys
import time

try:
    import tokenizers
except ImportError:
    sys.exit("the tokenizers package is missing: run ./launch/setup --peers, then use .deps/peers/bin/python")


def make_encoder(args):
    """A function that encodes the text once and returns the number of ids."""
    vocabulary = pathlib.Path(args.vocabulary)
    tokenizer = tokenizers.ByteLevelBPETokenizer(str(vocabulary / "encoder.json"),
                                                 str(vocabulary / "vocab.bpe"))._tokenizer
    text = pathlib.Path(args.text).read_bytes().decode("utf-8")
    parts = text.splitlines(keepends=True) if args.lines else [text]
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    return lambda: sum(len(encoding.ids) for encoding in encode(parts, add_special_tokens=False))


def measure(encode, count):
    times, tokens = [], 0
    for _ in range(count):
        begin = time.perf_counter()
        tokens = encode()
        times.append(time.perf_counter() - begin)
    return {"step_ms": 1000 * statistics.median(times), "tokens": tokens,
            "peak_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--vocabulary", required=True, help="folder with encoder.json and vocab.bpe")
    parser.add_argument("--text", required=True, help="UTF-8")
    parser.add_argument("--lines", action="store_true", help="line by line in place of one piece")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of the package, for --lines")
    parser.add_argument("--interactive", action="store_true", help="answer lines of standard input")
    args = parser.parse_args()
    # Read when the package first encodes.
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if args.threads > 1 else "false"
    encode = make_encoder(args)
    name = {"peer": f"tokenizers {tokenizers.__version__}"}
    encode()
    if not args.interactive:
        print(json.dumps({**measure(encode, args.repetitions), **name}))
        return
    print(json.dumps({"ready": True, **name}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(encode, int(line))), flush=True)


if __name__ == "__main__":
    main()
