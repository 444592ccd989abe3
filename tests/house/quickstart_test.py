#!/usr/bin/env python3
"""The quickstart's helpers: how a text is cut, and what its last table says."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LIB = pathlib.Path(__file__).resolve().parents[2] / "launch" / "lib"


def run(script, *arguments):
    return subprocess.run([sys.executable, LIB / script, *map(str, arguments)], capture_output=True, text=True,
                          check=False)


class FolderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


class SplitTextTest(FolderTest):
    def split(self, data):
        (self.folder / "text").write_bytes(data)
        return run("split_text.py", self.folder / "text", self.folder)

    def part(self, name):
        return (self.folder / f"{name}.txt").read_bytes()

    def test_shares_and_nothing_lost(self):
        text = "".join(f"line {i % 100:02} of the text\r\n" for i in range(1000)).encode()
        self.assertEqual(self.split(text).returncode, 0)
        self.assertEqual(self.part("train") + self.part("valid") + self.part("test"), text)
        self.assertEqual([self.part(n).count(b"\n") for n in ("train", "valid", "test")], [900, 50, 50])

    def test_characters_that_training_lacks_move_there(self):
        lines = ["plain words here\n"] * 1000
        lines[920], lines[970] = "caf\u00e9 noir\n", "caf\u00e9 au lait\n"
        result = self.split("".join(lines).encode())
        self.assertIn("2 lines moved", result.stdout)
        self.assertIn("caf\u00e9 noir\ncaf\u00e9 au lait\n", self.part("train").decode())
        for name in ("valid", "test"):
            self.assertLessEqual(set(self.part(name)), set(self.part("train")))

    def test_refusals(self):
        self.assertIn("byte 3 is not UTF-8", self.split(b"abc\xff\n" * 9000).stderr)
        self.assertIn("expected 10000 in 40", self.split(b"short\n").stderr)
        self.assertIn("cannot be read", run("split_text.py", self.folder / "no", self.folder).stderr)
        self.assertFalse((self.folder / "train.txt").exists())


class ReportTest(FolderTest):
    def report(self, dagpam, softmax):
        results = self.folder / "results"
        results.mkdir(exist_ok=True)
        for name, bits in (("dagpam", dagpam), ("softmax", softmax)):
            (results / f"{name}.json").write_text("a line of progress\n" + json.dumps({"bpc": bits}) + "\n")
            (results / f"{name}.parameters").write_text("804096\n")
            run_dir = self.folder / name
            run_dir.mkdir(exist_ok=True)
            lines = ({"step": 20, "step_ms": 1000}, {"step": 20, "split": "valid"}, {"step": 50, "step_ms": 1370})
            (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows = ({"order": 3, "bpc": 2.4}, {"order": 5, "bpc": 1.9})
        (results / "ngram.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return run("quickstart_report.py", self.folder)

    def test_table(self):
        result = self.report(2.0, 2.1)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"dagpam +804,096 +2\.0000 +-0\.4000 +\+0\.1000 +61\n")
        self.assertRegex(result.stdout, r"5-gram +1\.9000 +-0\.5000 +\+0\.0000\n")

    def test_model_behind_the_3_gram(self):
        result = self.report(2.0, 2.5)
        self.assertEqual(result.returncode, 1)
        self.assertIn("softmax (2.5000)", result.stderr)
        self.assertNotIn("dagpam", result.stderr)


class RunJobTest(FolderTest):
    JOB = "trap 'touch saved; exit 8' USR1; touch started; while :; do sleep 0.05; done"

    def start(self, job):
        script = f'source "{LIB}/common.sh"; cd "{self.folder}"; run_job bash -c "$JOB" || exit $?'
        return subprocess.Popen(["bash", "-c", script], env={**os.environ, "JOB": job},
                                start_new_session=True)

    def test_status_of_the_job(self):
        self.assertEqual(self.start("exit 0").wait(), 0)
        self.assertEqual(self.start("exit 5").wait(), 5)

    def test_a_stop_becomes_a_wish_to_save(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number):
                (self.folder / "started").unlink(missing_ok=True)
                (self.folder / "saved").unlink(missing_ok=True)
                script = self.start(self.JOB)
                while not (self.folder / "started").exists():
                    self.assertIsNone(script.poll())
                    time.sleep(0.01)
                os.killpg(script.pid, number)  # as a terminal does
                self.assertEqual(script.wait(timeout=10), 8)
                self.assertTrue((self.folder / "saved").exists())


if __name__ == "__main__":
    unittest.main()
