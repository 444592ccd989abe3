#!/usr/bin/env python3
"""launch/to_wandb offline: what wandb has written, read back in its own messages; and how it refuses."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import made_runs

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "launch" / "to_wandb"
PYTHON = ROOT / ".deps" / "wandb" / "bin" / "python"


class WandbTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-wandb-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.run_dir = made_runs.make(self.folder / "a", steps=200)

    def call(self, *arguments, script=SCRIPT, code=0):
        home = {**{k: v for k, v in os.environ.items() if not k.startswith("WANDB")}, "HOME": str(self.folder / "home")}
        done = subprocess.run([script, *map(str, arguments)], env=home, capture_output=True, text=True, timeout=240,
                              check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr if code else done.stdout

    def test_what_wandb_writes(self):
        if not PYTHON.exists():
            print("SKIPPED WHOLE: no .deps/wandb: launch/setup --wandb", flush=True)
            self.skipTest("no wandb")
        said = self.call(self.run_dir, "--project", "mine")
        folder = pathlib.Path(said.partition("wandb sync ")[2].strip())
        self.assertEqual(folder.parents[1], self.run_dir)
        done = subprocess.run([PYTHON, ROOT / "tests" / "peers" / "wandb_read.py", next(folder.glob("*.wandb"))],
                              capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        self.assertEqual((found["name"], found["project"]), ("a", "mine"))
        self.assertEqual(found["config"]["model"], {"layers": 2, "width": 32})
        self.assertEqual(found["config"]["optimizer"]["lr"], 0.001)
        lines = [json.loads(line) for line in (self.run_dir / "metrics.jsonl").read_text().splitlines()]
        steps = {line["step"]: line for line in lines if "loss" in line}
        self.assertEqual([row["_step"] for row in found["history"]], list(steps))
        for row in found["history"]:
            line = steps[row["_step"]]
            for name in ("tokens", "loss", "lr", "grad_norm", "tokens_per_s", "step_ms", "memory_gib", "skipped"):
                self.assertEqual(row[f"train/{name}"], line[name])
            self.assertNotIn("train/mfu", row)
        self.assertEqual([(row["_step"], row["valid/nll"]) for row in found["history"] if "valid/nll" in row],
                         [(line["step"], line["nll"]) for line in lines if line.get("split") == "valid"])
        self.assertEqual(found["history"][-1]["test/nll"], 2.25)
        self.assertFalse((self.folder / "home").exists())

    def test_bad_runs_are_one_line(self):
        with open(self.run_dir / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write("x\n")
        words = self.call(self.run_dir, code=3)
        self.assertIn("metrics.jsonl:24: no JSON object", words)
        self.assertEqual(words.count("\n"), 1)
        self.assertIn("cannot be read", self.call(self.folder / "none", code=3))
        self.assertFalse((self.run_dir / "wandb").exists())

    def test_without_the_package_it_says_how_to_get_it(self):
        # A checkout without .deps, and a Python that finds no wandb.
        shutil.copytree(ROOT / "launch" / "lib", self.folder / "copy" / "launch" / "lib")
        script = self.folder / "copy" / "launch" / "to_wandb"
        shutil.copy(SCRIPT, script)
        probe = subprocess.run([sys.executable, "-c", "import wandb"], capture_output=True, check=False)
        if probe.returncode == 0:
            self.skipTest("the system's Python has wandb")
        self.assertIn("launch/setup --wandb", self.call(self.run_dir, script=script, code=2))


if __name__ == "__main__":
    unittest.main()
