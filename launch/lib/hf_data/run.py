"""The commands of launch/prepare_hf."""
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import tokenizers

from .documents import Bad, documents
from .indexed import Writer

ROOT = pathlib.Path(__file__).resolve().parents[3]
BATCH = 1000  # documents that are encoded together, on all cores


def program():
    return os.path.abspath(os.environ.get("DAGPAM_BINARY", ROOT / "build" / "bin" / "dagpam"))


def tokenizer_json(path):
    """The text of tokenizer.json in a file that is one, or that carries one."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        value = json.loads(text)
        if isinstance(value, dict) and isinstance(value.get("tokenizer"), str):
            value = json.loads(value["tokenizer"])  # a data set's description
    except (OSError, ValueError) as error:
        raise Bad(f"{path}: cannot be read as JSON: {error}") from None
    if isinstance(value, dict) and "kind" in value:
        if value["kind"] != "hf" or not isinstance(value.get("tokenizer_json"), str):
            raise Bad(f"{path}: has a tokenizer of kind '{value['kind']}', expected one of prepare_hf")
        return value["tokenizer_json"]
    return text


def load(path):
    text = tokenizer_json(path)
    try:
        return text, tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the package raises no narrower type
        raise Bad(f"{path}: is no tokenizer.json: {error}") from None


def description(text, tokenizer, eod):
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    if eod is not None and eod not in vocabulary:
        raise Bad(f"--append-eod: the vocabulary has no token '{eod}'")
    return {"kind": "hf", "vocab_size": max(vocabulary.values()) + 1,
            "end_of_text": -1 if eod is None else vocabulary[eod], "tokenizer_json": text}


def encode_files(tokenizer, files, args, eod, writer):
    """A document's ids at a time to `writer`."""
    ending = [] if eod < 0 else [eod]
    texts = itertools.chain.from_iterable(documents(file, args.documents, args.json_key) for file in files)
    while batch := list(itertools.islice(texts, BATCH)):
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
            writer.add(encoding.ids + ending if encoding.ids else [])
    writer.finish()


def prepare(args):
    text, tokenizer = load(args.tokenizer)
    kind = description(text, tokenizer, args.append_eod)
    folder = pathlib.Path(args.out).absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{pathlib.Path(args.out).name}.hf-", dir=folder) as scratch:
        (pathlib.Path(scratch) / "tokenizer.json").write_text(json.dumps(kind), encoding="utf-8")
        words = [program(), "data", "import", "--format", "megatron", "--out", os.path.abspath(args.out),
                 "--tokenizer", "json:tokenizer.json"]
        for split in ("train", "valid", "test"):
            files = getattr(args, split)
            if not files:
                continue
            encode_files(tokenizer, files, args, kind["end_of_text"], Writer(f"{scratch}/{split}"))
            words += [f"--{split}", split]
        return subprocess.run(words, cwd=scratch, check=False).returncode


def encode(args):
    _, tokenizer = load(args.tokenizer)
    text = sys.stdin.read() if args.text is None else args.text
    print(" ".join(map(str, tokenizer.encode(text, add_special_tokens=False).ids)))
    return 0


def decode(args):
    _, tokenizer = load(args.tokenizer)
    words = sys.stdin.read().split()
    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    if not all(word.isascii() and word.isdigit() and int(word) < size for word in words):
        raise Bad(f"standard input: expected token ids from 0 to {size - 1} with white space between")
    print(tokenizer.decode([int(word) for word in words], skip_special_tokens=False))
    return 0


def main(args):
    try:
        return {"prepare": prepare, "encode": encode, "decode": decode}[args.command](args)
    except Bad as error:
        print(f"prepare_hf: error: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"prepare_hf: error: {error}", file=sys.stderr)
        return 7
    except KeyboardInterrupt:
        print("prepare_hf: stopped: nothing was changed", file=sys.stderr)
        return 8
