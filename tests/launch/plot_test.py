#!/usr/bin/env python3
"""launch/plot: what it draws, its two formats, and how it refuses; and its reader of runs."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

import made_runs

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLOT = ROOT / "launch" / "plot"
sys.path.insert(0, str(ROOT / "launch" / "lib"))

from metrics import history  # noqa: E402  pylint: disable=wrong-import-position


def has_matplotlib():
    python = ROOT / ".deps" / "figures" / "bin" / "python"
    command = [python if python.exists() else sys.executable, "-c", "import matplotlib"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class PlotTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-plot-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.a = made_runs.make(self.folder / "softmax", kind="SOFTMAX")
        self.b = made_runs.make(self.folder / "dagpam", better=0.1, seed=2)

    def plot(self, *arguments, code=0):
        done = subprocess.run([PLOT, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr if code else done.stdout.split()

    def test_curves(self):
        if not has_matplotlib():
            print("skipped: no matplotlib: launch/setup --figures", flush=True)
            self.skipTest("no matplotlib")
        out = self.folder / "curves"
        paths = self.plot(self.a, self.b, "--out", out, "--x", "time", "--smooth", "0.05", "--log", "loss")
        self.assertEqual(paths, [f"{out}.png", f"{out}.svg"])
        self.assertEqual(pathlib.Path(paths[0]).read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
        drawn = xml.etree.ElementTree.parse(paths[1]).getroot()
        # A panel for all but mfu, which no run has; places without one are empty.
        panels = [part for part in drawn.iter() if part.get("id", "").startswith("axes_")]
        self.assertEqual(len([one for one in panels if len(one) > 1]), 7)
        self.assertEqual(self.plot(self.a, "--out", self.folder / "x.svg", "--show", "valid"),
                         [str(self.folder / "x.svg")])
        self.assertFalse((self.folder / "x.png").exists())
        self.assertIn("nothing to draw", self.plot(self.a, "--out", out, "--show", "mfu", code=3))
        self.assertIn("cannot write", self.plot(self.a, "--out", self.folder / "none" / "x.png", code=7))
        with open(self.b / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step": 610,\n')
        words = self.plot(self.a, self.b, "--out", out, code=3)
        self.assertIn("dagpam/metrics.jsonl:68: no JSON object", words)
        self.assertEqual(words.count("\n"), 1)

    def test_bad_arguments(self):
        for arguments in ((self.a,), (self.a, "--out", "x.jpg"), (self.a, "--out", "x", "--smooth", "1"),
                          (self.a, "--out", "x", "--labels", "a", "b")):
            self.plot(*arguments, code=2)


class HistoryTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-history-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, *lines, end="\n"):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (self.folder / "metrics.jsonl").write_text(text + end)

    def test_axes(self):
        self.write({"step": 10, "tokens": 100, "step_ms": 200}, {"step": 15, "split": "valid", "nll": 2, "ppl": 7.39},
                   {"step": 20, "tokens": 200, "step_ms": 100}, '{"step": 3', end="")
        run = history.read(self.folder)
        self.assertEqual([line["time_s"] for line in run.steps], [2.0, 3.0])
        self.assertEqual([run.at(15, axis) for axis in ("step", "tokens", "time_s")], [15, 150, 2.5])
        self.assertEqual((run.at(5, "tokens"), run.at(99, "tokens")), (50, 200))

    def test_damage_is_named(self):
        good = {"step": 10, "tokens": 100, "loss": None}
        for bad, words in (({"tokens": 1}, "step: None"), ({"step": True, "tokens": 1}, "step: True"),
                           ({"step": 20}, "tokens: None"), ({"step": 20, "tokens": 2, "loss": "x"}, "loss: 'x'"),
                           ({"step": 10, "tokens": 2}, "step 10 after step 10"), ("[1]", "no JSON object"),
                           ({"step": 20, "split": "x"}, "split: 'x'"), ("", "no JSON object"),
                           ("[" * 100_000, "no JSON object")):
            self.write(good, bad)
            with self.assertRaisesRegex(history.Bad, r"metrics\.jsonl:2: ") as caught:
                history.read(self.folder)
            self.assertIn(words, str(caught.exception))


if __name__ == "__main__":
    unittest.main()
