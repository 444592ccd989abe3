"""A checkout as a reader has it after the first pages: the project's files, the programs (stand-ins that make them
small), texts, prepared data, a configuration and two runs, under the names that pages use.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "peers"))

import token_files  # noqa: E402

STAND_INS = pathlib.Path(__file__).resolve().parent / "stand_ins"
COPIED = ("configs", "docs", "launch", "tests", "README.md", "CMakeLists.txt", "CMakePresets.json")
CHAR_DATA = ("data/mine", "data/shakespeare_char", "data/kjv", "data/webtext", "runs/quickstart/data/text")


def environment(tree):
    """Of a reader who has put the programs on the path, with a thread a rank."""
    return {**os.environ, "PATH": f"{tree}/build/bin:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}


def _texts(tree):
    """The pages themselves, as texts of one alphabet."""
    lines = [line for page in sorted((ROOT / "docs").glob("*.md")) for line in page.read_text().splitlines() if line]
    lines = ["".join(c for c in line if c.isascii() and c.isprintable()) for line in lines]
    alphabet = "".join(sorted(set("".join(lines))))
    text = "\n".join([alphabet, *lines[:900]]) + "\n"
    for name in ("input", "book", "train", "valid", "test", "a", "b", "v", "t"):
        (tree / f"{name}.txt").write_text(text if name in ("input", "book", "train") else text[:20000])
    pairs = [line for line in lines if 20 < len(line) < 90][:300]
    (tree / "multi30k").mkdir()
    for split in ("train", "val", "test_2016_flickr"):
        some = pairs if split == "train" else pairs[:12]
        for side, words in (("en", lambda line: line), ("de", lambda line: " ".join(reversed(line.split())))):
            (tree / "multi30k" / f"{split}.{side}").write_text("".join(words(line) + "\n" for line in some))
    for side in ("en", "de"):
        shutil.copy(tree / "multi30k" / f"test_2016_flickr.{side}", tree / f"test_2016_flickr.{side}")
    (tree / "hosts").write_text("localhost slots=4\n")


def _byte_symbols():
    """GPT-2's symbol for each byte: itself where it can be printed, else one of those from 256 on."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte if byte in printed else next(hidden)) for byte in range(256)]


def _other_programs_files(tree):
    """GPT-2's vocabulary without merges, JSON lines and llm.c's files in it."""
    (tree / "DIR").mkdir()
    symbols = {symbol: id for id, symbol in enumerate([*_byte_symbols(), "<|endoftext|>"])}
    (tree / "DIR" / "encoder.json").write_text(json.dumps(symbols))
    (tree / "DIR" / "vocab.bpe").write_text("#version: 0.2\n")
    text = (tree / "a.txt").read_text()
    with open(tree / "big.jsonl", "w", encoding="utf-8") as lines:
        for at in range(0, len(text), 50):
            lines.write(json.dumps({"text": text[at:at + 50]}) + "\n")
    for name in ("train_0", "train_1", "val"):
        token_files.write_llmc(tree / f"{name}.bin", [256, *range(60, 120)] * 40)


def make(tree, binary):
    """Makes the checkout in the new folder `tree`."""
    tree.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    if (ROOT / ".deps").exists():
        (tree / ".deps").symlink_to(ROOT / ".deps")
    shutil.copytree(STAND_INS, tree / "build" / "bin")
    for sweep in (tree / "launch" / "sweeps").glob("*.toml"):  # one seed, no tuning
        text = re.sub(r"^seeds = .*", "seeds = [1]", sweep.read_text(), flags=re.MULTILINE)
        sweep.write_text(re.sub(r"^\[tune\]\n(?:\S.*\n)*", "", text, flags=re.MULTILINE))
    _texts(tree)
    _other_programs_files(tree)

    def dagpam(*words):
        subprocess.run([tree / "build" / "bin" / "dagpam", *words], cwd=tree, check=True, capture_output=True, text=True,
                       env={**environment(tree), "DAGPAM_BINARY": binary})

    dagpam("data", "prepare", "--train", "train.txt", "--valid", "valid.txt", "--test", "test.txt", "--tokenizer",
           "char", "--out", CHAR_DATA[0])
    for prefix in CHAR_DATA[1:]:
        (tree / prefix).parent.mkdir(parents=True, exist_ok=True)
        for part in (tree / "data").glob("mine.*"):
            shutil.copy(part, tree / f"{prefix}{part.name.removeprefix('mine')}")
    for prefix in ("data/books", "data/web"):
        dagpam("data", "prepare", "--train", "big.jsonl", "--json-key", "text", "--tokenizer", "json:data/mine.json",
               "--out", prefix)
    recipe = (tree / "configs" / "recipes" / "kjv_tiny.textproto").read_text()
    (tree / "mine.textproto").write_text(recipe.replace("data/kjv", "data/mine"))
    for run in ("runs/a", "runs/b", "runs/mine"):
        dagpam("train", "--config", "mine.textproto", "--run-dir", run, "--set", "log.analyze_every=1", "--set",
               "log.every=1")
