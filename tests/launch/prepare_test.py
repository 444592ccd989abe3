"""`dagpam data prepare` by the ranks of mpirun: the same files for any number, and nothing half done."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

import program


class PrepareTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        (self.folder / "out").mkdir()

    def made(self, ranks, threads, *words):
        """The files of a data set, by name, made by so many ranks and threads of each."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        done = program.check("data", "prepare", *words, "--threads", threads, "--out", folder / "set", ranks=ranks)
        self.assertEqual(done.stdout.count("vocabulary"), 1)  # one rank speaks
        return program.listing(folder)

    def test_the_same_files_for_any_number_of_ranks(self):
        (self.folder / "a").write_bytes("\u20ac \xe9\r\n\nx".encode())  # fewer lines than ranks, no end of line
        (self.folder / "b").write_bytes("x\n\n\nx \u20ac\xe9\xe9\n".encode())
        texts = ("--train", self.folder / "a", self.folder / "b", "--valid", self.folder / "a")
        for words, jobs in ((("char",), ((3, 1),)), (("word", "--documents", "blank-line"), ((2, 1), (4, 1), (2, 3)))):
            words = (*texts, "--tokenizer", *words)
            whole = self.made(1, 1, *words)
            self.assertEqual(len(whole), 5)
            for ranks, threads in jobs:
                self.assertEqual(self.made(ranks, threads, *words), whole)

    def test_a_refusal_is_one_line_and_leaves_nothing(self):
        text = self.folder / "a"
        text.write_text("".join(json.dumps({"text": f"line {i}"}) + "\n" for i in range(1000)) + "{}\n")
        before = program.listing(self.folder)
        done = program.run("data", "prepare", "--train", text, "--json-key", "text", "--tokenizer", "byte", "--out",
                           self.folder / "out" / "set", ranks=3)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr.count("dagpam:"), 1, done.stderr)
        self.assertIn(f'{text}: line 1001: field "text" is missing', done.stderr)
        self.assertEqual(program.listing(self.folder), before)

    def long_job(self):
        text = self.folder / "long.txt"
        program.write_text(text, 40_000, seed=2)
        text.write_text(text.read_text() * 1000)  # 40 MB: seconds
        job = subprocess.Popen(program.command("data", "prepare", "--train", text, "--tokenizer", "word", "--out",
                                               self.folder / "out" / "set", ranks=2),
                               env=program.ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        while not list((self.folder / "out").glob("set.partial-*.train.bin*")):
            self.assertIsNone(job.poll())
            time.sleep(0.01)
        return job

    def test_a_signal_to_one_rank_ends_all(self):
        job = self.long_job()
        os.kill(program.children(job.pid)[1], signal.SIGTERM)
        _, said = job.communicate(timeout=60)
        self.assertEqual(job.returncode, 8, said)
        self.assertEqual(said.count("nothing was changed"), 1, said)
        self.assertEqual(list((self.folder / "out").iterdir()), [])

    def test_what_a_killed_job_leaves_the_next_removes(self):
        job = self.long_job()
        os.kill(program.children(job.pid)[1], signal.SIGKILL)
        job.communicate(timeout=60)
        left = [path.name for path in (self.folder / "out").iterdir()]
        self.assertTrue(left)
        self.assertTrue(all(name.startswith("set.partial-") for name in left), left)
        (self.folder / "a").write_text("abc")
        program.check("data", "prepare", "--train", self.folder / "a", "--tokenizer", "char", "--out",
                      self.folder / "out" / "set", ranks=2)
        self.assertEqual(sorted(path.name for path in (self.folder / "out").iterdir()),
                         ["set.json", "set.train.bin", "set.train.idx"])


if __name__ == "__main__":
    unittest.main()
