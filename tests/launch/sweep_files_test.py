#!/usr/bin/env python3
"""The sweep files of the tree: the program takes every variant and tuned value of theirs, over other data."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = {"shakespeare_char": "char", "ptb": "word", "wikitext2": "word", "bytes100m": "byte"}


class SweepFiles(unittest.TestCase):
    def test_all_are_taken(self):
        files = sorted((ROOT / "launch" / "sweeps").glob("*.toml"))
        self.assertGreaterEqual(len(files), 8)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "configs").symlink_to(ROOT / "configs")
            (folder / "data").mkdir()
            for split in ("train", "valid", "test"):
                program.write_text(folder / f"{split}.txt", 20_000 if split == "train" else 4_000, seed=1)
            for prefix, tokenizer in DATA.items():
                program.check("data", "prepare", "--train", "train.txt", "--valid", "valid.txt", "--test", "test.txt",
                              "--tokenizer", tokenizer, "--out", f"data/{prefix}", cwd=folder)
            for file in files:
                with self.subTest(file.name):
                    done = subprocess.run([ROOT / "launch" / "sweep", file, "--program", program.BINARY, "--list"],
                                          cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertIn("  0 ", done.stdout)
            self.assertFalse((folder / "runs").exists())


if __name__ == "__main__":
    sys.exit(unittest.main())
