#!/usr/bin/env python3
"""A machine that gives way under a run: a disk that turns read-only, a folder that is gone, no memory for a save.
What was saved stays whole, and one line says why the run ended."""
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile
import unittest

import program


class SurroundingsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-surroundings-"))
        cls.config = program.write_config(cls.folder, program.prepare(cls.folder))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def words(self, run_dir, *more):
        return ("train", "--config", self.config, "--run-dir", run_dir, "--set", "train.steps=40",
                "--set", "schedule.decay_steps=40", *more)

    def one_line(self, said):
        line, = (line for line in said.splitlines() if line.startswith("dagpam: "))
        return line

    def mount(self, *arguments):
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"no mounts here: {done.stderr.strip()}")

    def test_a_disk_that_turns_read_only(self):
        disk = self.folder / "disk"
        disk.mkdir()
        self.mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", disk)
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        run_dir = disk / "run"
        program.check(*self.words(run_dir, "--stop-after", 20))
        before = program.listing(run_dir)
        self.mount("-o", "remount,ro", disk)
        for resume in ("latest", "auto"):
            done = program.run(*self.words(run_dir, "--resume", resume))
            self.assertEqual(done.returncode, 7, done.stderr)
            self.assertRegex(self.one_line(done.stderr), rf"{run_dir}.*Read-only file system")
        done = program.run(*self.words(disk / "new"), ranks=2)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertRegex(self.one_line(done.stderr), rf"{disk}/new.*Read-only file system")
        self.assertEqual(program.listing(run_dir), before)

    def test_a_working_folder_that_is_gone(self):
        # While the run is under way. (A start in such a folder ends before our first line: MKL finds itself by it.)
        gone = self.folder / "gone"
        program.check(*self.words(self.folder / "reference"))
        gone.mkdir()
        job = subprocess.Popen(program.command(*self.words(self.folder / "run")), cwd=gone, env=program.ENVIRONMENT,
                               stderr=subprocess.PIPE, text=True)
        program.await_words(job, "step 3/")
        gone.rmdir()
        _, said = job.communicate(timeout=120)
        self.assertEqual(job.returncode, 0, said)
        program.check("ckpt", "diff", self.folder / "reference", self.folder / "run")

    def test_no_memory_for_a_save(self):
        run_dir = self.folder / "memory"
        large = ("--set", "model.width=512", "--set", "train.global_batch=2", "--set", "train.eval_every=0")
        program.check(*self.words(run_dir, *large, "--stop-after", 2))
        job = subprocess.Popen(program.command(*self.words(run_dir, *large, "--set", "checkpoint.every=20",
                                                           "--resume", "latest")),
                               env=program.ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        program.await_words(job, "step 5/")
        pages = int(pathlib.Path(f"/proc/{job.pid}/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + (8 << 20)  # the copy takes 75 MB
        resource.prlimit(job.pid, resource.RLIMIT_AS, (limit, limit))
        _, said = job.communicate(timeout=120)
        self.assertNotEqual(job.returncode, 0, said)
        self.assertRegex(self.one_line(said), "memory")
        folders = [path.name for path in (run_dir / "checkpoints").glob("step-*")]
        self.assertEqual(folders, ["step-00000002"])
        program.check("ckpt", "verify", run_dir)


if __name__ == "__main__":
    unittest.main(verbosity=2)
