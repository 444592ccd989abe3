#!/usr/bin/env python3
"""Data that is not what a run was saved with is refused on resume, both digests named, until somebody allows it."""
import json
import pathlib
import re
import shutil
import tempfile
import unittest

import program

DIGEST = r"[0-9a-f]{32}"


class OtherDataTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-other-data-"))
        cls.prefix = program.prepare(cls.folder)
        cls.config = program.write_config(cls.folder, cls.prefix)
        cls.whole = cls.folder / "whole"
        program.check(*cls.words(cls.whole))
        cls.saved = cls.folder / "saved"
        program.check(*cls.words(cls.saved), "--stop-after", 20)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def words(cls, run_dir, *more):
        return ("train", "--config", cls.config, "--run-dir", run_dir, "--set", "train.steps=40",
                "--set", "schedule.decay_steps=40", *more)

    def resume(self, name, *more):
        """Of a copy of the saved run."""
        run_dir = self.folder / name
        if not run_dir.exists():
            shutil.copytree(self.saved, run_dir)
        return run_dir, program.run(*self.words(run_dir, "--resume", "latest", *more))

    def refuse(self, code, name, patterns, *more):
        before = program.listing(self.saved)
        run_dir, done = self.resume(name, *more)
        self.assertEqual(done.returncode, code, done.stderr)
        line, = (line for line in done.stderr.splitlines() if line.startswith("dagpam: "))
        for pattern in patterns:
            self.assertRegex(line, pattern)
        changed = {path for path, data in program.listing(run_dir).items() if before.get(path) != data}
        self.assertLessEqual(changed, {pathlib.Path("LOCK")}, "a refused resume changed files")
        return line

    def go_on(self, name, *more):
        run_dir, done = self.resume(name, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([line["step"] for line in program.metrics(run_dir)[0]], list(range(1, 41)))
        return done.stderr

    def put_in_place(self, other):
        """Other data under the run's own prefix, until the test is over."""
        kept = self.folder / "kept"
        kept.mkdir()
        for path in self.folder.glob("text.*"):
            shutil.move(path, kept / path.name)
        for path in other.parent.glob(other.name + ".*"):
            shutil.copy(path, self.folder / ("text" + path.name[len(other.name):]))

        def restore():
            for path in kept.iterdir():
                shutil.move(path, self.folder / path.name)
            kept.rmdir()
        self.addCleanup(restore)

    def prepare_changed(self, name, change):
        folder = self.folder / name
        folder.mkdir()
        for split in ("train", "valid"):
            (folder / f"{split}.txt").write_text(change(split, (self.folder / f"{split}.txt").read_text()))
        program.check("data", "prepare", "--train", folder / "train.txt", "--valid", folder / "valid.txt",
                      "--tokenizer", "char", "--out", folder / "text")
        return folder / "text"

    def test_content_and_length(self):
        changes = {"content": lambda split, text: text[::-1].lstrip() + "\n",
                   "length": lambda split, text: text + (text[:500] if split == "train" else "")}
        for name, change in changes.items():
            with self.subTest(name):
                other = self.prepare_changed(name + "_text", change)
                self.put_in_place(other)
                line = self.refuse(3, name, [r"text\.train", "saved with other data", "--allow-change data.train"])
                digests = re.findall(DIGEST, line)
                self.assertEqual(len(set(digests)), 2, line)
                self.assertEqual(digests[0], json.loads(pathlib.Path(f"{other}.json").read_text())["splits"]["train"]["digest"])
                said = self.go_on(name, "--allow-change", "data.train")
                self.assertRegex(said, rf"data.train.0 has digest {digests[0]}, the run was saved with {digests[1]}")
                self.assertIn("320 samples drawn", program.check("ckpt", "show", self.folder / name).stdout)
                self.doCleanups()

    def test_tokenizer(self):
        # Every letter by the next one: the same ids, so that their digest is the same, with another meaning.
        letters = {ord(a): b for a, b in zip("abcdefgh", "bcdefghi")}
        self.put_in_place(self.prepare_changed("tokenizer_text", lambda split, text: text.translate(letters)))
        line = self.refuse(3, "tokenizer", ["tokenizer", "--allow-change tokenizer"])
        self.assertEqual(len(set(re.findall(DIGEST, line))), 2, line)
        self.go_on("tokenizer", "--allow-change", "tokenizer")

    def test_another_place(self):
        moved = self.prepare_changed("moved", lambda split, text: text)
        there = ("--set", f"data.train.0.prefix={moved}")
        self.refuse(2, "moved_run", ["data.train.0.prefix", "--allow-change data.train.0.prefix"], *there)
        self.go_on("moved_run", *there, "--allow-change", "data.train.0.prefix")
        program.check("ckpt", "diff", self.whole, self.folder / "moved_run")  # the same data, the same run

    def test_length_of_a_sequence(self):
        shorter = ("--set", "model.context=16")
        self.refuse(2, "shorter", ["model.context", "--allow-change model.context"], *shorter)
        # Learned positions have a row for each place: nothing can be allowed there.
        self.refuse(4, "shorter", ["embedding.position"], *shorter, "--allow-change", "model.context")


if __name__ == "__main__":
    unittest.main(verbosity=2)
