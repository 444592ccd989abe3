#!/usr/bin/env python3
"""Sentence pairs and dagpam-tokenize: the way from two texts to a data set, and bad input on it."""
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import program

TOKENIZE = pathlib.Path(program.BINARY).with_name("dagpam-tokenize")


class PairsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-pairs-"))
        for seed, name in enumerate(("train.a", "train.b")):
            program.write_text(cls.folder / name, 6_000, seed)
        lines = [(cls.folder / name).read_text().splitlines() for name in ("train.a", "train.b")]
        count = min(map(len, lines))
        for name, own in zip(("train.a", "train.b"), lines):
            (cls.folder / name).write_text("\n".join(own[:count]) + "\n")
        cls.count = count
        program.check("train", "--input", cls.folder / "train.a", cls.folder / "train.b", "--vocab-size", 330,
                      "--out", cls.folder / "joint", binary=str(TOKENIZE))
        cls.tokenizer = f"spm:{cls.folder / 'joint.model'}"
        program.check(*cls.pairs("train.a", "train.b", "set"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def pairs(cls, source, target, out, *more, tokenizer=None):
        return ["data", "pairs", "--train-source", cls.folder / source, "--train-target", cls.folder / target,
                "--tokenizer", tokenizer or cls.tokenizer, "--out", cls.folder / out, *more]

    def refuse(self, code, words, *arguments, binary=program.BINARY, **options):
        """Exit `code` with one line that holds every word, and no file of the folder changed."""
        before = program.listing(self.folder)
        done = program.run(*arguments, binary=str(binary), **options)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith(f"{pathlib.Path(binary).name}: "), lines)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertEqual(before, program.listing(self.folder), "a refused command changed files")

    def test_set(self):
        sidecar = json.loads((self.folder / "set.json").read_text())
        self.assertEqual([sidecar[name] for name in ("vocab_size", "pad", "bos", "eos")], [330, 0, 2, 3])
        self.assertEqual(sidecar["splits"]["train"]["pairs"], self.count)
        told = program.check("data", "verify", self.folder / "set").stdout
        self.assertIn(f"{self.count} pairs", told)
        self.assertEqual(told.count("  good"), 2)
        told = program.check("data", "info", self.folder / "set", "--batch-tokens", 256).stdout
        self.assertIn("batches of at most 256 tokens a side", told)

    def test_encode_and_decode(self):
        text = "abc  fe \n\ndas \u00fc\U0001F600\n"
        model = ("--model", self.folder / "joint.model")
        ids = program.check("encode", *model, binary=str(TOKENIZE), input=text).stdout
        self.assertEqual(ids.splitlines()[1], "")
        self.assertEqual(program.check("decode", *model, binary=str(TOKENIZE), input=ids).stdout, text)

    def test_libraries_that_must_not_meet(self):
        """Debian's SentencePiece has a protobuf of its own: no program may have both."""
        for binary, spm in ((TOKENIZE, True), (program.BINARY, False)):
            libraries = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
            self.assertEqual("libsentencepiece" in libraries, spm)
            self.assertEqual("libprotobuf" in libraries, not spm)

    def test_bad_texts(self):
        whole = (self.folder / "train.a").read_bytes()
        bad = self.folder / "bad"
        lines = whole.split(b"\n")
        for text, words in ((whole + b"ab\n", [f"bad: {self.count + 1} lines", f"train.b: {self.count}"]),
                            (b"\n".join([lines[0], b" ", *lines[2:]]), ["bad: line 2 is empty", "--skip-empty"]),
                            (b"\n".join([lines[0], b"a\xe9b", *lines[2:]]), ["bad: byte 0xE9", "(line 2, column 2)"]),
                            (whole.decode().encode("utf-16"), ["bad: byte 0xFF is not UTF-8 at byte 0"]),
                            (whole.replace(b"\n", b"\r\n"), ["bad: line 1 ends in a carriage return"]),
                            (b"", ["bad: empty text"])):
            with self.subTest(words=words):
                bad.write_bytes(text)
                self.refuse(3, words, *self.pairs("bad", "train.b", "made"))
        bad.unlink()
        self.refuse(3, ["bad"], *self.pairs("train.a", "bad", "made"))

    def test_bad_options(self):
        self.refuse(2, ["--train-target"], "data", "pairs", "--train-source", self.folder / "train.a",
                    "--tokenizer", "word", "--out", self.folder / "made")
        self.refuse(2, ["--test-target: missing"],
                    *self.pairs("train.a", "train.b", "made", "--test-source", self.folder / "train.a"))
        self.refuse(2, ["morse", "spm:MODEL"], *self.pairs("train.a", "train.b", "made", tokenizer="morse"))
        self.refuse(3, ["train.a", "no SentencePiece model"],
                    *self.pairs("train.a", "train.b", "made", tokenizer=f"spm:{self.folder / 'train.a'}"))
        self.refuse(3, ["no pair is left", "--max-tokens 1"],
                    *self.pairs("train.a", "train.b", "made", "--max-tokens", 1))
        self.refuse(7, ["train.a", "cannot be made"], *self.pairs("train.a", "train.b", "train.a/made"))

    def test_the_other_kind_of_set(self):
        config = program.write_config(self.folder, self.folder / "set")
        self.refuse(3, ["set.json", "sentence pairs"], "train", "--config", config, "--run-dir", self.folder / "run")
        self.refuse(3, ["set.json", "sentence pairs"], "data", "ngram", self.folder / "set")
        program.check("data", "prepare", "--train", self.folder / "train.a", "--tokenizer", self.tokenizer,
                      "--out", self.folder / "text")
        self.refuse(3, ["text.json", "one text"], "data", "info", self.folder / "text", "--batch-tokens", 99)

    def test_damaged_sets(self):
        for suffix, words in ((".train.source.bin", ["copy.train.source"]), (".train.target.idx", ["copy.train.target"]),
                              (".json", ["copy.json"])):
            for path in self.folder.glob("set.*"):
                shutil.copy(path, self.folder / path.name.replace("set.", "copy."))
            damaged = self.folder / f"copy{suffix}"
            damaged.write_bytes(damaged.read_bytes()[:-2])  # .json: its last brace
            with self.subTest(suffix=suffix):
                self.refuse(3, words, "data", "verify", self.folder / "copy")
                damaged.unlink()
                if suffix != ".json":
                    self.refuse(3, words, "data", "verify", self.folder / "copy")

    def test_tokenize(self):
        made = self.folder / "made"
        train = ("train", "--out", made, "--input")
        text = self.folder / "train.a"
        latin = self.folder / "latin1"
        latin.write_bytes(b"ab\n\xe4\n")
        for code, words, arguments in (
                (2, ["--vocab-size"], [*train, text]),
                (2, ["--vocab-size"], [*train, text, "--vocab-size", 200]),
                (2, ["--vocab-size 9999999", "<="], [*train, text, "--vocab-size", 9999999]),
                (2, ["--kind"], [*train, text, "--vocab-size", 300, "--kind", "word"]),
                (3, ["gone"], [*train, self.folder / "gone", "--vocab-size", 300]),
                (3, ["latin1", "0xE4", "line 2"], [*train, latin, "--vocab-size", 300]),
                (7, ["nowhere"], ["train", "--input", text, "--vocab-size", 300, "--out", "/nowhere/made"]),
                (3, ["train.a", "no SentencePiece model"], ["encode", "--model", text]),
                (2, ["--help"], []), (2, ["--help"], ["encode"])):
            with self.subTest(words=words):
                self.refuse(code, words, *arguments, binary=TOKENIZE)
        model = ("--model", self.folder / "joint.model")
        self.refuse(3, ["line 1: token id 330", "0 to 329"], "decode", *model, binary=TOKENIZE, input="330\n")
        self.refuse(3, ["line 1", "'x'"], "decode", *model, binary=TOKENIZE, input="x\n")

    def test_a_missing_program(self):
        alone = self.folder / "dagpam"
        shutil.copy(program.BINARY, alone)
        self.refuse(7, ["dagpam-tokenize: cannot be started", "beside"],
                    *self.pairs("train.a", "train.b", "made"), binary=alone)
        broken = self.folder / "dagpam-tokenize"
        broken.write_text("#!/bin/sh\nexit 3\n")
        broken.chmod(0o755)
        self.refuse(7, ["dagpam-tokenize: ended with code 3"], *self.pairs("train.a", "train.b", "made"), binary=alone)
        broken.unlink()
        alone.unlink()


if __name__ == "__main__":
    unittest.main(verbosity=2)
