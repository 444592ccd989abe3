#!/usr/bin/env python3
"""A run that no longer gets on ends itself with 6 and says where every rank stood; a slow one goes on."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import program

LIMIT_S = 3


class HangTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-hang-"))
        cls.config = program.write_config(cls.folder, program.prepare(cls.folder))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def start(self, run_dir, *more, environment=None, binary=program.BINARY):
        environment = environment or {}
        words = ["train", "--config", self.config, "--run-dir", run_dir, "--set", "train.steps=1000000",
                 "--set", "schedule.decay_steps=100", *more]
        exported = [f"{key}={value}" for key, value in environment.items()]
        return subprocess.Popen(program.command(*words, ranks=2, exported=exported, binary=binary),
                                env=program.ENVIRONMENT, stderr=subprocess.PIPE, text=True)

    def end(self, job, ranks, code=6):
        _, said = job.communicate(timeout=LIMIT_S + 60)
        self.assertEqual(job.returncode, code, said)
        deadline = time.monotonic() + 10
        while any(map(program.is_alive, ranks)):
            self.assertLess(time.monotonic(), deadline, f"processes {ranks}: some are left over")
            time.sleep(0.05)
        return said

    def test_a_stopped_rank_is_named_by_the_other(self):
        job = self.start(self.folder / "stopped", "--set", f"watchdog.step_s={LIMIT_S}")
        program.await_words(job, "step 3/")
        ranks = program.children(job.pid)
        os.kill(ranks[1], signal.SIGSTOP)
        said = self.end(job, ranks)
        self.assertRegex(said, r"rank 0 hangs: section step, step \d+ has taken longer than watchdog.step_s, 3 s")
        self.assertRegex(said, rf"rank 0: section step, step \d+, call \d+ .*\(process {ranks[0]} ")
        self.assertRegex(said, rf"rank 1: section step, step \d+, call \d+ .*\(process {ranks[1]} is stopped\)")
        self.assertRegex(said, r"thread \d+:\n.*\[0x")
        # What was there before the hang is whole.
        self.assertTrue((self.folder / "stopped" / "logs" / "rank_00000.log").exists())

    def test_a_rank_that_is_slow_goes_on(self):
        job = self.start(self.folder / "slow", "--set", "watchdog.step_s=20", "--stop-after", "200")
        program.await_words(job, "step 3/")
        ranks = program.children(job.pid)
        os.kill(ranks[1], signal.SIGSTOP)
        time.sleep(2)
        os.kill(ranks[1], signal.SIGCONT)
        self.end(job, ranks, code=0)

    def test_a_write_of_a_checkpoint_that_never_ends(self):
        run_dir = self.folder / "write"
        job = self.start(run_dir, "--set", "checkpoint.every=10", "--set", f"watchdog.checkpoint_s={LIMIT_S}",
                         environment={"DAGPAM_KILL": "before fsync shard1 1 hang"}, binary=os.environ["DAGPAM_KILLED"])
        program.await_words(job, "step 3/")
        said = self.end(job, program.children(job.pid))
        self.assertRegex(said, r"hangs: section checkpoint, step 30 has taken longer than watchdog.checkpoint_s, 3 s")
        # The save before it stands, and nothing half written has a final name.
        folders = sorted(path.name for path in (run_dir / "checkpoints").iterdir() if not path.name.startswith("."))
        self.assertEqual(folders, ["step-00000010"])
        program.check("ckpt", "verify", run_dir / "checkpoints" / "step-00000010")

    def test_ranks_that_compare_their_calls_train_the_same(self):
        for name, compare in (("plain", "false"), ("compared", "true")):
            job = self.start(self.folder / name, "--set", f"watchdog.compare_collectives={compare}",
                             "--set", "watchdog.replicas_every=7", "--stop-after", "20")
            self.end(job, [], code=0)
        program.check("ckpt", "diff", self.folder / "plain", self.folder / "compared")


if __name__ == "__main__":
    unittest.main()
