#!/usr/bin/env python3
"""Bad sweep files, each refused in one line with nothing run; and the arithmetic of launch/sweep."""
import contextlib
import dataclasses
import math
import pathlib
import random
import subprocess
import sys
import unittest

import sweep_fakes
from sweep_fakes import SCRIPT, SweepTest


sys.path.insert(0, str(sweep_fakes.ROOT / "launch" / "lib"))

from sweep import budget, children, failure, resolve, spec, stats, textproto  # noqa: E402


class BadFiles(SweepTest):
    def refused(self, text, *words, code=2, file="bad.toml"):
        if text is not None:
            (self.folder / file).write_text(text)
        done = self.sweep(code=code, file=file)
        self.assertEqual((done.stderr.count("\n"), done.stdout), (1, ""), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse((self.folder / "runs").exists())
        self.assertEqual(self.calls(), [])

    def misread(self, text, *words):
        """As refused(), by the reader alone: a program a file would take minutes."""
        (self.folder / "bad.toml").write_text(text)
        with self.assertRaises(failure.Failure) as caught, contextlib.chdir(self.folder):
            spec.load(pathlib.Path("bad.toml"))
        self.assertEqual((caught.exception.code, str(caught.exception).count("\n")), (2, 0))
        for word in words:
            self.assertIn(word, str(caught.exception))

    def changed(self, old, new, *words):
        self.assertIn(old, sweep_fakes.SWEEP)
        self.misread(sweep_fakes.SWEEP.replace(old, new, 1), *words)

    def test_typos_are_one_line_and_run_nothing(self):
        self.refused(None, "missing.toml: cannot be read", file="missing.toml")
        self.refused("seeds = [1", "bad.toml: is no TOML")
        self.refused(sweep_fakes.SWEEP.replace("control", "contrl"), "contrl: unknown key: did you mean control?")

    def test_each_key_is_checked(self):
        self.misread("seeds = [1]\n", "variant: missing")
        self.changed("seeds =", "sedes =", "seeds: missing: is sedes meant for it?")
        self.changed("[1, 2, 3]", "[1, 1]", "seeds: [1, 1]", "each once")
        self.changed("[1, 2, 3]", '"1"', "seeds: '1'")
        self.changed("[1, 2, 3]", "[true]", "seeds: [True]")
        self.changed('control = "wide"', 'contrl = "wide"', "contrl: unknown key: did you mean control?")
        self.changed('control = "wide"', 'control = "wid"', "control: 'wid' is no variant: did you mean wide?")
        self.changed('control = "wide"', 'metric = "ppl"', "metric: 'ppl'", "valid_ppl")
        self.changed('control = "wide"', "metric = []", "metric: []")
        self.changed('control = "wide"', "slots = 0", "slots: 0")
        self.changed('control = "wide"', "minutes = nan", "minutes: nan")
        self.changed('name = "wide"', 'name = "plain"', "variant[1].name: 'plain' is the name of an earlier variant")
        self.changed('name = "wide"', 'name = "a/b"', "variant[1].name: 'a/b'")
        self.changed('name = "wide"', 'name = "wide"\nsets = 1', "variant[1].sets: unknown key: did you mean set?")
        self.changed('name = "plain"', 'name = "plain"\nset = 1', "variant[0].set: 1 where a table")
        self.changed('name = "wide"', 'name = "wide"\nset."attention.kind" = "X"', "attention.kind: is set twice")
        self.changed('name = "wide"', 'name = "wide"\nset.train.seed = 3', "train.seed: seeds are the sweep's own")
        self.changed("recipe.textproto", "recipes.textproto", "no such file", "did you mean recipe.textproto?")

    def test_what_the_program_refuses(self):
        for line, words, code in (("set.model.layrs = 3", "variant plain: --set model.layrs: unknown field", 2),
                                  ('set.data.valid = "missing"', "missing.json", 3),
                                  ('set.data.valid = ""', "needs data.valid", 2)):
            plain = 'name = "plain"\n'
            self.refused(sweep_fakes.SWEEP.replace(plain, f"{plain}{line}\n"), words, code=code)
        self.refused('metric = "test_nll"\n' + sweep_fakes.SWEEP, "metric test_nll needs data.test")

    def test_tuning(self):
        tune = "[tune]\nseed = 1\ngrid.optimizer.lr = [1e-3]\n"
        for old, new, words in (("seed = 1", "", "tune.seed: missing"), ("[1e-3]", "[]", "tune.grid.optimizer.lr: []"),
                                ("[1e-3]", "1e-3", "tune.grid.optimizer.lr: 0.001"),
                                ("[1e-3]", "[1, 1]", "each value once"),
                                ("optimizer.lr = [1e-3]", "attention.kind = ['DAGPAM']", "is set in variant wide too")):
            self.misread(sweep_fakes.SWEEP + tune.replace(old, new), words)
        self.refused(sweep_fakes.SWEEP + tune.replace("optimizer.lr", "optimizer.l"),
                     "variant plain: --set optimizer.l: unknown field")

    def test_comparisons_of_one_variant(self):
        self.changed('name = "wide"', 'name = "wide"\nbaseline = "our"', "variant wide.baseline: 'our' is no variant")

    def test_files_of_the_tree_are_read(self):
        with contextlib.chdir(sweep_fakes.ROOT):
            files = sorted(pathlib.Path("launch/sweeps").glob("*.toml"))
            found = {file.stem: spec.load(file) for file in files}
        self.assertEqual([v.set["attention.kind"] for v in found["shakespeare_variants"].variants], [
            "SOFTMAX", "SOFTMAX_WIDE", "DAGPAM", "NON", "NAP", "CODA", "COG", "DIFF", "DIFF2"])
        self.assertEqual(found["depth"].compared_with("dagpam_15l", "baseline"), "softmax_15l")
        self.assertIsNone(found["depth"].compared_with("softmax_4l", "baseline"))

    def test_command_line(self):
        for words in (["--slots", "0"], ["--slots", "x"], ["--list", "--report"], ["--minutes", "-1"]):
            done = self.sweep(*words, code=2)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        done = subprocess.run([SCRIPT, "sweep.toml", "--program", "./none"], cwd=self.folder, capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--program", done.stderr)
        self.assertFalse((self.folder / "runs").exists())


def central(t, degrees):
    """Probability that Student's t lies between -t and t, as a finite sum (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle, odd = math.atan(t / math.sqrt(degrees)), degrees % 2
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for k in range(odd, degrees - 1, 2):
        total += term
        term *= (k + 1) / (k + 2) * math.cos(angle) ** 2
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


class Arithmetic(unittest.TestCase):
    def test_quantiles(self):
        self.assertAlmostEqual(stats.t_quantile(1), math.tan(math.pi * 0.475), delta=1e-12)
        self.assertAlmostEqual(stats.t_quantile(2), 0.95 * math.sqrt(2 / (1 - 0.95 ** 2)), delta=1e-12)
        for degrees in (1, 2, 3, 4, 5, 9, 10, 29, 200):
            for level in (0.5, 0.95, 0.999):
                self.assertAlmostEqual(central(stats.t_quantile(degrees, level), degrees), level, delta=1e-13)

    def test_incomplete_beta(self):
        for x in (0.0, 0.1, 0.5, 0.9, 1.0):
            self.assertAlmostEqual(stats.incomplete_beta(1, 1, x), x, delta=1e-14)
            self.assertAlmostEqual(stats.incomplete_beta(3, 1, x), x ** 3, delta=1e-14)
            self.assertAlmostEqual(stats.incomplete_beta(1, 4, x), 1 - (1 - x) ** 4, delta=1e-14)
            arc = 2 / math.pi * math.asin(math.sqrt(x))
            self.assertAlmostEqual(stats.incomplete_beta(0.5, 0.5, x), arc, delta=1e-14)

    def test_paired_difference(self):
        found = stats.paired({1: 2.0, 2: 4.0, 3: 7.0, 9: 1.0}, {1: 1.0, 2: 2.0, 3: 4.0, 8: 5.0})
        self.assertEqual((found.seeds, found.values, found.mean), ([1, 2, 3], [1.0, 2.0, 3.0], 2.0))
        self.assertAlmostEqual(found.high - 2, 4.302652729749464 / math.sqrt(3))  # a deviation of 1 over 3 seeds
        self.assertAlmostEqual(found.low + found.high, 4)
        self.assertEqual(found.verdict(), "not resolved at 95 %")
        self.assertEqual(stats.paired({1: 1.0, 2: 1.1}, {1: 2.0, 2: 2.1000001}).verdict(), "better")
        self.assertEqual(stats.paired({1: 2.0, 2: 2.1000001}, {1: 1.0, 2: 1.1}).verdict(), "worse")
        self.assertEqual(stats.paired({1: 1.0}, {1: 2.0}).verdict(), "one seed: no interval")
        self.assertEqual(stats.paired({1: 1.0}, {2: 2.0}).verdict(), "no common seed")

    def test_intervals_hold_what_they_say(self):
        rng, inside = random.Random(4), 0
        for _ in range(4000):
            found = stats.paired({s: rng.gauss(0.3, 1) for s in range(3)}, dict.fromkeys(range(3), 0.0))
            inside += found.low <= 0.3 <= found.high
        self.assertAlmostEqual(inside / 4000, 0.95, delta=0.01)  # three deviations

    def test_times(self):
        self.assertEqual([budget.show(s) for s in (11.6, 185, 3725)], ["12 s", "3:05", "1:02:05"])
        self.assertIsNone(budget.remaining_s({}, [("a", 1)], 1))
        # b is unknown: as slow as a. Two slots: half of 30, but no run is shorter than itself.
        self.assertEqual(budget.remaining_s({"a": [8, 12]}, [("a", 1), ("b", 1), ("a", 1)], 2), 15)
        self.assertEqual(budget.remaining_s({"a": [10]}, [("a", 1)], 4), 10)
        now = iter((0, 30, 30, 30))
        time = budget.Budget(1, clock=lambda: next(now))
        self.assertEqual(budget.max_minutes(time, 0, 0), 0.5)
        self.assertEqual(budget.max_minutes(time, 0.4, 6), 0.3)

    def test_slots(self):
        made = spec.Sweep(**{**dict.fromkeys(f.name for f in dataclasses.fields(spec.Sweep)),
                             "threads": 0, "ranks": 2, "gpus_per_run": 2})
        slots = children.make_slots(made, 2, [0, 1, 2, 3, 4, 5, 6, 7], None)
        self.assertEqual([(s.cores, s.threads, s.gpus) for s in slots], [
            ((0, 1, 2, 3), 2, "0,1"), ((4, 5, 6, 7), 2, "2,3")])
        self.assertEqual([s.cores for s in children.make_slots(made, 3, [0, 1], None)], [(), (), ()])

    def test_what_a_dry_run_says(self):
        for batch, tokens in (("12 sequences = 768 tokens a step; a rank: 1 micro-batches of 12", 768),
                              ("4096 padded tokens a step, about 3000 targets; a rank: at most 2048 at once", 4096)):
            found = resolve.read_answer(f"run        x\nparameters 804096 (794752 in matrix products)\nbatch      {batch}\n"
                                        "length     2000 steps = 1.5e+06 tokens\n\nname: \"x\"\n")
            self.assertEqual(found, resolve.Answer(2000, 804096, tokens, 'name: "x"\n'))
        self.assertIsNone(resolve.read_answer("usage: something else\n"))

    def test_config_fields(self):
        text = ('name: "a"\nmodel {\n  layers: 4\n}\ndata {\n  train {\n    prefix: "x: {"\n  }\n  train {\n'
                '    prefix: "y"\n  }\n}\n')
        found = textproto.fields(text + "optimizer {\n  betas: 0.9\n  betas: 0.99\n}\n")
        self.assertEqual(found, {"name": '"a"', "model.layers": "4", "data.train.prefix": '"x: {"',
                                 "data.train.1.prefix": '"y"', "optimizer.betas": "0.9, 0.99"})
        self.assertEqual(textproto.difference({"log.every": "1", "a.b": "2"}, {"log.every": "2", "a.b": "2"}), "")
        self.assertEqual(textproto.difference({"a.b": "2"}, {}), "a.b is 2 there and not set now")


if __name__ == "__main__":
    sys.exit(unittest.main())
