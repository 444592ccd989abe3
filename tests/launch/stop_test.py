#!/usr/bin/env python3
"""Ways to stop a run: signals at any time, files in the run folder; and starts that lead nowhere."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import program


class StopTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-stop-"))
        cls.prefix = program.prepare(cls.folder)
        cls.config = program.write_config(cls.folder, cls.prefix)
        cls.whole = cls.folder / "whole"
        program.check(*cls.train_words(cls.whole))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def train_words(cls, run_dir, *more):
        # A line of metrics only every 30 steps: what an interval has gathered must survive a stop.
        return ("train", "--config", cls.config, "--run-dir", run_dir, "--set", "log.every=30",
                "--set", "checkpoint.every=0", *more)

    def start(self, run_dir, *more, ranks=1, order=None):
        """With an order (tests/trainer/killing_file_system.h) its program obeys it."""
        binary = os.environ["DAGPAM_KILLED"] if order else program.BINARY
        return subprocess.Popen(program.command(*self.train_words(run_dir, *more), ranks=ranks, binary=binary),
                                env={**program.ENVIRONMENT, **({"DAGPAM_KILL": order} if order else {})},
                                stderr=subprocess.PIPE, text=True)

    def end(self, job, code):
        _, said = job.communicate(timeout=60)
        self.assertEqual(job.returncode, code, said)
        return said

    def check_resumes_to_the_same(self, run_dir):
        program.check(*self.train_words(run_dir, "--resume", "latest"))
        for mine, whole in zip(program.metrics(run_dir), program.metrics(self.whole)):
            self.assertEqual(program.untimed(mine), program.untimed(whole))
        program.check("ckpt", "diff", self.whole, run_dir)

    def test_each_signal_saves_once_and_ends_with_8(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            with self.subTest(number):
                run_dir = self.folder / number.name
                job = self.start(run_dir)
                program.await_words(job, "step 30/")
                job.send_signal(number)
                self.assertIn("--resume latest", self.end(job, 8))
                self.assertEqual(len(list((run_dir / "checkpoints").iterdir())), 1)
                if number == signal.SIGTERM:
                    self.check_resumes_to_the_same(run_dir)

    def test_a_signal_before_the_first_step(self):
        run_dir = self.folder / "early"
        job = self.start(run_dir, "--set", "train.steps=1000000", "--set", "schedule.decay_steps=100")
        while not (run_dir / "LOCK").exists():
            self.assertIsNone(job.poll())
        time.sleep(0.01)  # from here on signals count
        job.send_signal(signal.SIGTERM)
        self.assertIn("--resume latest", self.end(job, 8))
        self.assertEqual(len(list((run_dir / "checkpoints").iterdir())), 1)

    def test_a_signal_while_a_checkpoint_is_loaded(self):
        run_dir = self.folder / "loading"
        program.check(*self.train_words(run_dir, "--stop-after", 40))
        before = program.listing(run_dir / "checkpoints")
        # The first file that is read is the manifest; the fifth read is of the shard.
        job = self.start(run_dir, "--resume", "latest", order="before pread step 5 slow save 0")
        program.await_open(job, next((run_dir / "checkpoints").glob("step-*/*.safetensors")))
        job.send_signal(signal.SIGTERM)
        self.assertIn("stopped by a signal at step 40", self.end(job, 8))
        self.assertEqual(program.listing(run_dir / "checkpoints"), before)  # there was nothing new to save
        self.check_resumes_to_the_same(run_dir)

    def test_a_signal_while_a_checkpoint_is_written(self):
        run_dir = self.folder / "writing"
        job = self.start(run_dir, "--set", "checkpoint.every=20", order="before fsync shard0 1 slow save 1")
        program.await_open(job, run_dir / "checkpoints", "shard-")
        job.send_signal(signal.SIGTERM)
        said = self.end(job, 8)
        self.assertRegex(said, r"saved step 20 ")
        self.assertEqual(program.check("ckpt", "verify", run_dir).returncode, 0)
        self.assertEqual([path.name for path in (run_dir / "checkpoints").iterdir() if path.name[0] == "."], [])
        self.check_resumes_to_the_same(run_dir)

    def test_a_signal_while_data_is_prepared(self):
        program.prepare(self.folder / "prepared")
        text = self.folder / "prepared" / "long.txt"
        program.write_text(text, 40_000, seed=2)
        text.write_text(text.read_text() * 2000)  # 80 MB: seconds
        before = program.listing(self.folder / "prepared")
        words = program.command("data", "prepare", "--train", text, "--tokenizer", "word", "--out",
                                self.folder / "prepared" / "text")
        job = subprocess.Popen(words, env=program.ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        program.await_open(job, self.folder / "prepared", "partial-")
        job.send_signal(signal.SIGTERM)
        self.assertIn("nothing was changed", self.end(job, 8))
        self.assertEqual(program.listing(self.folder / "prepared"), before)

    def test_a_reader_that_goes_away_changes_nothing(self):
        run_dir = self.folder / "unread"
        job = subprocess.Popen(program.command(*self.train_words(run_dir)), env=program.ENVIRONMENT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        program.await_words(job, "step 30/")
        job.stderr.close()
        job.stdout.close()
        self.assertEqual(job.wait(timeout=60), 0)
        for mine, whole in zip(program.metrics(run_dir), program.metrics(self.whole)):
            self.assertEqual(program.untimed(mine), program.untimed(whole))
        program.check("ckpt", "diff", self.whole, run_dir)

    def test_a_signal_to_one_rank_stops_all_at_one_step(self):
        run_dir = self.folder / "one_rank"
        job = self.start(run_dir, "--set", "train.steps=1000000", "--set", "schedule.decay_steps=100", ranks=2)
        program.await_words(job, "step 30/")
        ranks = program.children(job.pid)
        self.assertEqual(len(ranks), 2)
        os.kill(ranks[1], signal.SIGTERM)
        self.assertIn("--resume latest", self.end(job, 8))
        self.assertEqual(len(list((run_dir / "checkpoints").iterdir())), 1)
        self.assertEqual(program.check("ckpt", "verify", run_dir).returncode, 0)

    def test_a_signal_in_an_evaluation_leaves_it_for_the_resume(self):
        run_dir = self.folder / "evaluation"
        long_text = program.prepare(self.folder / "long", valid_characters=200_000)
        words = ("--set", f"data.valid={long_text}", "--set", "train.micro_batch=1", "--set", "train.eval_every=30",
                 "--set", "train.steps=31", "--set", "schedule.decay_steps=31")
        job = self.start(run_dir, *words)
        program.await_words(job, "step 30/")  # said before the evaluation, which takes many seconds
        job.send_signal(signal.SIGTERM)
        self.assertIn("the evaluation is left", self.end(job, 8))
        self.assertEqual(program.metrics(run_dir)[1], [])
        program.check(*self.train_words(run_dir, *words, "--resume", "latest", "--set", "train.eval_batches=2",
                                        "--allow-change", "train.eval_batches"))
        self.assertEqual([line["step"] for line in program.metrics(run_dir)[1]], [30, 31])

    def test_a_second_signal_ends_at_once(self):
        run_dir = self.folder / "twice"
        job = self.start(run_dir, "--set", "train.steps=1000000", "--set", "schedule.decay_steps=100",
                         "--set", "train.eval_every=0")
        program.await_words(job, "step 30/")
        os.kill(job.pid, signal.SIGSTOP)  # so that the first one cannot be acted upon before the second
        job.send_signal(signal.SIGTERM)
        job.send_signal(signal.SIGUSR1)
        os.kill(job.pid, signal.SIGCONT)
        self.assertIn("second signal", self.end(job, 8))
        self.assertEqual(list((run_dir / "checkpoints").glob("step-*")), [])

    def test_the_same_signal_at_once_is_the_same_wish(self):
        run_dir = self.folder / "handed_on"
        job = self.start(run_dir, "--set", "train.steps=1000000", "--set", "schedule.decay_steps=100",
                         "--set", "train.eval_every=0")
        program.await_words(job, "step 30/")
        job.send_signal(signal.SIGTERM)
        time.sleep(0.001)  # signals of one number that both wait are one to the kernel too
        job.send_signal(signal.SIGTERM)
        self.assertNotIn("second signal", self.end(job, 8))
        self.assertEqual(len(list((run_dir / "checkpoints").glob("step-*"))), 1)

    def test_the_files_save_and_stop(self):
        run_dir = self.folder / "files"
        job = self.start(run_dir, "--set", "train.steps=1000000", "--set", "schedule.decay_steps=100",
                         "--set", "train.eval_every=0")
        program.await_words(job, "step 30/")
        (run_dir / "SAVE").touch()
        program.await_words(job, "saved step")
        self.assertFalse((run_dir / "SAVE").exists())
        self.assertIsNone(job.poll())
        (run_dir / "STOP").touch()
        self.assertIn("the file STOP", self.end(job, 0))
        self.assertFalse((run_dir / "STOP").exists())
        self.assertEqual(len(list((run_dir / "checkpoints").iterdir())), 2)

    def test_resume_at_the_last_step_repeats_nothing(self):
        before = (self.whole / "metrics.jsonl").read_bytes()
        program.check(*self.train_words(self.whole, "--resume", "latest"))
        self.assertEqual((self.whole / "metrics.jsonl").read_bytes(), before)
        self.assertFalse((self.whole / "starts.jsonl").exists())

    def test_starts_that_lead_nowhere_end_with_a_diagnosis(self):
        run_dir = self.folder / "nowhere"
        hopeless = ("--set", "optimizer.lr=1000", "--set", "optimizer.weight_decay=1e3", "--resume", "auto")
        codes = [program.run(*self.train_words(run_dir, *hopeless)).returncode for _ in range(3)]
        self.assertEqual(codes, [5, 5, 5])
        done = program.run(*self.train_words(run_dir, *hopeless))
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertRegex(done.stderr, r"starts.jsonl: the last 3 starts went on from step 0")
        (run_dir / "starts.jsonl").unlink()
        self.assertEqual(program.run(*self.train_words(run_dir, *hopeless)).returncode, 5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
