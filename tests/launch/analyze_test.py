#!/usr/bin/env python3
"""`dagpam analyze` and `launch/figures` from outside: what they write, and that it says the same thing twice."""
import csv
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIGURES = ROOT / "launch" / "figures"
TABLES = ("stream", "attention_output", "weights", "weights_plus", "weights_minus", "lambdas", "gradients")


def pictures_can_be_made():
    python = ROOT / ".deps" / "figures" / "bin" / "python"
    command = [python if python.exists() else sys.executable, "-c", "import matplotlib"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class AnalyzeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-analyze-"))
        cls.prefix = program.prepare(cls.folder)
        cls.config = program.write_config(cls.folder, cls.prefix)
        cls.run_dir = cls.folder / "run"
        program.check("train", "--config", cls.config, "--run-dir", cls.run_dir, "--stop-after", 8,
                      "--set", "log.analyze_every=4")
        cls.out = cls.folder / "out"
        cls.analyze("--checkpoint", cls.run_dir, "--maps", "dad fed", out=cls.out)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def analyze(cls, *words, out):
        program.check("analyze", "--data", cls.prefix, "--out", out, *words)
        return json.loads((out / "analysis.json").read_text())

    def draw(self, *words):
        return subprocess.run([FIGURES, *map(str, words)], capture_output=True, text=True, check=False)

    def test_files(self):
        found = json.loads((self.out / "analysis.json").read_text())
        self.assertEqual((found["step"], found["attention"], found["sequences"], found["tokens"]), (8, "DAGPAM", 8, 32))
        self.assertEqual(sorted(p.name for p in self.out.iterdir()),
                         sorted(["analysis.json", "maps.json", *(f"{table}.csv" for table in TABLES)]))
        for table in TABLES:
            with (self.out / f"{table}.csv").open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self.assertEqual(len(rows), len(found[table]), table)
            self.assertEqual([[None if cell == "" else float(cell) for cell in row.values()] for row in rows],
                             [list(row.values()) for row in found[table]], table)
        for row in found["weights"]:
            self.assertAlmostEqual(row["row_sum_mean"], 1, delta=0.05)  # both lambdas near 1
            self.assertEqual(row["negative_share"] > 0, row["min"] < 0)
        for table in ("weights_plus", "weights_minus"):
            for row in found[table]:
                self.assertAlmostEqual(row["row_sum_min"], 1, places=5)
                self.assertEqual(row["negative_share"], 0)
                self.assertLess(row["entropy"], row["entropy_uniform"])

    def test_the_same_again(self):
        again = self.folder / "again"
        self.analyze("--checkpoint", self.run_dir, "--maps", "dad fed", out=again)
        self.assertEqual(program.listing(self.out), program.listing(again))

    def test_agrees_with_eval_and_with_float64(self):
        tokens = json.loads((self.out / "analysis.json").read_text())
        wide = self.analyze("--checkpoint", self.run_dir, "--double", out=self.folder / "wide")
        self.assertEqual(wide["precision"], "float64")
        self.assertAlmostEqual(wide["nll"], tokens["nll"], places=5)
        # One sequence that is the whole of a split is what eval scores.
        text = self.folder / "one.txt"
        text.write_text((self.folder / "valid.txt").read_text()[:32] + "\n")
        program.check("data", "prepare", "--train", self.folder / "train.txt", "--test", text, "--tokenizer", "char",
                      "--out", self.folder / "one")
        words = ("--checkpoint", self.run_dir, "--data", self.folder / "one", "--split", "test")
        program.check("analyze", *words, "--sequences", "1", "--out", self.folder / "whole")
        scored = json.loads(program.check("eval", *words, "--json").stdout.splitlines()[-1])
        found = json.loads((self.folder / "whole" / "analysis.json").read_text())
        self.assertAlmostEqual(found["nll"], scored["nll"], places=6)

    def test_options(self):
        whole = self.analyze("--checkpoint", self.run_dir, "--sequences", "2", out=self.folder / "two")
        skipped = self.analyze("--checkpoint", self.run_dir, "--sequences", "2", "--skip-first",
                               out=self.folder / "skipped")
        self.assertEqual((whole["first_position"], skipped["first_position"]), (True, False))
        self.assertNotEqual(whole["stream"], skipped["stream"])
        self.assertEqual(whole["gradients"], skipped["gradients"])
        short = self.analyze("--checkpoint", self.run_dir, "--tokens", "7", "--sight", "all", out=self.folder / "short")
        self.assertEqual((short["tokens"], short["sight"]), (7, "all"))
        for row in short["weights"]:
            self.assertAlmostEqual(row["entropy_uniform"], 1.9459101, places=6)  # log 7 in each row

    def test_untrained_stack_without_residuals_collapses(self):
        words = ("--untrained", "--config", self.config, "--double", "--sight", "all", "--set", "model.layers=6",
                 "--set", "attention.kind=SOFTMAX")
        pure = self.analyze(*words, "--stack", "attention_only", out=self.folder / "pure")
        full = self.analyze(*words, out=self.folder / "full")
        self.assertIsNone(pure["checkpoint"])
        ratios = [row["ratio_1inf_mean"] for row in pure["stream"]]
        self.assertGreater(ratios[0], 0.5)
        self.assertLess(ratios[2], 1e-2)
        self.assertGreater(full["stream"][-1]["ratio_1inf_mean"], 0.1)
        sharp = self.analyze(*words, "--stack", "attention_only", "--query-gain", "8", out=self.folder / "sharp")
        self.assertGreater(sharp["stream"][1]["ratio_1inf_mean"], 2 * ratios[1])

    def test_along_a_run(self):
        lines = [json.loads(line) for line in (self.run_dir / "analysis.jsonl").read_text().splitlines()]
        self.assertEqual([line["step"] for line in lines], [0, 4])  # a stop leaves step 8 to the resume
        self.assertEqual([len(line["gradients"]) for line in lines], [2, 2])

    def test_maps(self):
        maps = json.loads((self.out / "maps.json").read_text())
        self.assertEqual(maps["tokens"], list("dad fed"))
        self.assertEqual(len(maps["maps"]), 2 * 4)
        self.assertEqual([len(row) for row in maps["maps"][0]["minus"]], [7] * 7)

    @unittest.skipUnless(pictures_can_be_made(), "no matplotlib: run launch/setup --figures")
    def test_figures(self):
        other = self.folder / "softmax"
        self.analyze("--untrained", "--config", self.config, "--set", "attention.kind=SOFTMAX", out=other)
        for name, words in (("collapse", ("collapse", "OUT", self.out, other, "--double-log")),
                            ("gradients", ("gradients", "OUT", self.run_dir)),
                            ("lambdas", ("lambdas", "OUT", self.run_dir, self.out, "--labels", "a", "b")),
                            ("maps", ("maps", "OUT", self.out, "--layer", "1", "2", "--head", "3"))):
            with self.subTest(name):
                done = self.draw(*[self.folder / name if word == "OUT" else word for word in words])
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual((self.folder / f"{name}.png").read_bytes()[1:4], b"PNG")
                first = (self.folder / f"{name}.svg").read_text()
                self.assertIn("<svg", first)
                self.draw(*[self.folder / name if word == "OUT" else word for word in words])
                self.assertEqual(first, (self.folder / f"{name}.svg").read_text())
        for code, part, words in ((2, "nowhere", ("collapse", self.folder / "x", self.folder / "nowhere")),
                                  (2, "layer 9", ("maps", self.folder / "x", self.out, "--layer", "9")),
                                  (2, "--labels", ("gradients", self.folder / "x", self.out, "--labels", "a", "b")),
                                  (2, "no 'lambdas'", ("lambdas", self.folder / "x", other)),
                                  (2, "no table", ("collapse", self.folder / "x", self.out / "maps.json")),
                                  (7, "cannot write", ("collapse", self.folder / "none" / "x", self.out))):
            with self.subTest(part):
                done = self.draw(*words)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(part, done.stderr)

    def test_figures_help(self):
        done = subprocess.run([sys.executable, FIGURES, "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertIn("collapse", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
