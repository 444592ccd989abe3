#!/usr/bin/env python3
"""The event files of a run that stopped and went on from an earlier checkpoint, as TensorBoard's own reader reads
them: the numbers of metrics.jsonl, each step once."""
import json
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".deps" / "tensorboard" / "bin" / "python"
TAGS = {"train": ("loss", "lr", "grad_norm", "skipped"), "speed": ("tokens_per_s", "step_ms", "memory_gib")}


def as_float(value):
    return struct.unpack("f", struct.pack("f", value))[0]


class TensorBoardTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-tensorboard-"))
        cls.config = program.write_config(cls.folder, program.prepare(cls.folder, characters=20_000))
        cls.arguments = ("train", "--config", cls.config, "--set", "train.steps=40", "--set", "checkpoint.every=20",
                         "--set", "train.eval_every=10", "--set", "log.analyze_every=20")
        cls.run_dir = cls.folder / "run"
        program.check(*cls.arguments, "--run-dir", cls.run_dir, "--stop-after", 33)
        program.check(*cls.arguments, "--run-dir", cls.run_dir, "--resume", 20)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def read(self):
        done = subprocess.run([PYTHON, ROOT / "tests" / "peers" / "tensorboard_read.py", self.run_dir / "tensorboard"],
                              capture_output=True, text=True, timeout=240, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_its_reader_finds_each_step_once(self):
        if not PYTHON.exists():
            print("skipped: no .deps/tensorboard: launch/setup --tensorboard", flush=True)
            self.skipTest("no tensorboard")
        found = self.read()
        steps, evaluations = program.metrics(self.run_dir)
        self.assertEqual([line["step"] for line in steps], list(range(1, 41)))
        for group, keys in TAGS.items():
            for key in keys:
                self.assertEqual(found["scalars"][f"{group}/{key}"],
                                 [[line["step"], as_float(line[key])] for line in steps])
        for key in ("nll", "ppl"):
            self.assertEqual(found["scalars"][f"valid/{key}"],
                             [[line["step"], as_float(line[key])] for line in evaluations])
        for name in ("collapse_ratio_1inf", "lambda_plus", "lambda_minus", "query_gradient"):
            for layer in ("01", "02"):
                self.assertEqual([step for step, _ in found["scalars"][f"{name}/layer_{layer}"]], [0, 20, 40])
        self.assertEqual(found["scalars"]["lambda_plus/layer_01"][0], [0, 1.0])
        # Steps 21 to 33 are there twice for who does not know of the second start.
        self.assertEqual(len(found["all_scalars"]["train/loss"]), 40 + 13)
        self.assertEqual([step for step, _ in found["texts"]["config"]], [1, 21])
        shown = "".join(line[4:] for line in found["texts"]["config"][1][1].splitlines(keepends=True))
        self.assertEqual(shown, (self.run_dir / "config.textproto").read_text())

    def test_a_report_names_the_resume(self):
        page = self.folder / "report.html"
        program.check("report", self.run_dir, "--out", page)
        self.assertIn('<td>40 / 40</td>', page.read_text())
        self.assertIn('<td>1 <span class="soft">@ 20</span></td>', page.read_text())

    def test_it_can_be_left_out(self):
        run_dir = self.folder / "without"
        program.check(*self.arguments, "--set", "log.tensorboard=false", "--run-dir", run_dir, "--stop-after", 1)
        self.assertFalse((run_dir / "tensorboard").exists())

    def test_a_folder_that_cannot_be_made_is_told(self):
        run_dir = self.folder / "file"
        run_dir.mkdir()
        (run_dir / "tensorboard").write_text("")
        done = program.run(*self.arguments, "--run-dir", run_dir, "--stop-after", 1)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertIn(f"{run_dir}/tensorboard: cannot make the folder", done.stderr)


if __name__ == "__main__":
    unittest.main()
