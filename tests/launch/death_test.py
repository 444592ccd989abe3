#!/usr/bin/env python3
"""A rank that is gone takes its job with it: at once, with an exit code, with words that name it, and whole."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import program

LIMIT_S = 10  # from the end of the rank to that of the job


class DeathTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-death-"))
        cls.config = program.write_config(cls.folder, program.prepare(cls.folder))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def start(self, name, order=None):
        """A job of two ranks, and their processes; an order of tests/trainer/killing_file_system.h ends one."""
        words = ["train", "--config", self.config, "--run-dir", self.folder / name, "--set", "train.steps=1000000",
                 "--set", "schedule.decay_steps=100", "--set", "checkpoint.every=10"]
        job = subprocess.Popen(
            program.command(*words, ranks=2, exported=[f"DAGPAM_KILL={order}"] if order else [],
                            binary=os.environ["DAGPAM_KILLED"] if order else program.BINARY),
            env=program.ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        program.await_words(job, "step 3/")
        ranks = program.children(job.pid)
        self.assertEqual(len(ranks), 2)
        return job, ranks

    def end(self, job, ranks, code, words):
        _, said = job.communicate(timeout=60)
        self.assertEqual(job.returncode, code, said)
        self.assertRegex(said, words)
        deadline = time.monotonic() + LIMIT_S
        while any(map(program.is_alive, ranks)):
            self.assertLess(time.monotonic(), deadline, f"processes {ranks}: some are left over")
            time.sleep(0.05)

    def check_the_checkpoints(self, name):
        run_dir = self.folder / name
        if list((run_dir / "checkpoints").glob("step-*")):
            program.check("ckpt", "verify", run_dir)

    def test_signals(self):
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
            for rank in (0, 1):
                with self.subTest(f"{number.name} on rank {rank}"):
                    name = f"{number.name}{rank}"
                    job, ranks = self.start(name)
                    os.kill(ranks[rank], number)
                    begin = time.monotonic()
                    self.end(job, ranks, 128 + number, rf"rank {rank} .* exited on signal {number} ")
                    print(f"{name}: the job was gone {time.monotonic() - begin:.1f} s later")
                    self.check_the_checkpoints(name)

    def test_an_end_without_a_word(self):
        job, ranks = self.start("exit", "before write shard1 1 exit")
        # mpirun takes the end of a rank that has not left MPI for an error.
        self.end(job, ranks, 1, r"rank 1 with PID \d+ on\s+node \S+ exiting improperly")
        self.check_the_checkpoints("exit")

    def test_an_exception_that_nobody_knows(self):
        job, ranks = self.start("throw", "before write shard1 1 throw")
        self.end(job, ranks, 2, r"rank 1.*internal error: an exception from nowhere")
        self.check_the_checkpoints("throw")


if __name__ == "__main__":
    unittest.main(verbosity=2)
