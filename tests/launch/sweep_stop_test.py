#!/usr/bin/env python3
"""launch/sweep stopped, killed, out of time, and as tasks of Slurm: what was made goes on where it was."""
import os
import re
import signal
import subprocess
import sys
import time
import unittest

import sweep_fakes
from sweep_fakes import SweepTest



class Stops(SweepTest):
    def stop(self, number, run="plain__seed1"):
        self.slow(0.1)
        job = self.start()
        self.await_step(run, 3)
        job.send_signal(number)
        said = job.communicate(timeout=60)[0]
        self.slow(0)
        return job.returncode, said

    def test_signals_save_and_the_next_call_goes_on(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            code, said = self.stop(number, "plain__seed1" if number == signal.SIGINT else "plain__seed2")
            self.assertEqual(code, 8, said)
            self.assertIn("goes on with the next call", said)
            self.assertIn("wrote", said)
            if number == signal.SIGINT:
                self.edit("[1, 2, 3]", "[2, 1, 3]")  # seed 2 next
        self.sweep()
        again = [line for line in self.calls() if "from 0" not in line]
        self.assertEqual(sorted(line.split()[0] for line in again), ["plain__seed1", "plain__seed2"])
        self.assertTrue(all(run["state"] == "done" for run in self.table()["runs"]))

    def test_kill_takes_the_runs_along(self):
        code, _ = self.stop(signal.SIGKILL)
        self.assertEqual(code, -9)
        end = time.monotonic() + 30  # the run saves, and holds the lock until then
        while time.monotonic() < end:
            done = subprocess.run(self.words(), cwd=self.folder, capture_output=True, text=True, timeout=60,
                                  env=self.environment(), check=False)
            if done.returncode != 4:
                break
            time.sleep(0.1)
        self.assertEqual(done.returncode, 0, done.stderr)
        starts = [line for line in self.calls() if line.startswith("plain__seed1")]
        self.assertEqual(len(starts), 2)
        self.assertNotIn("from 0", starts[1])

    def test_two_sweeps_do_not_share_a_folder(self):
        self.slow(0.1)
        job = self.start()
        self.await_step("plain__seed1", 1)
        said = self.sweep(code=4).stderr
        self.assertEqual(said.count("\n"), 1)
        self.assertIn("another launch/sweep", said)
        job.terminate()
        job.communicate(timeout=60)

    def test_time_is_kept(self):
        self.slow(0.15)
        said = self.sweep("--minutes", "0.05", code=8).stdout
        self.assertIn("goes on with the next call", said)
        self.assertLess(len(self.calls()), 9)
        self.slow(0)
        self.sweep()

    def test_timeout_of_a_run(self):
        self.add("timeout_minutes = 0.02")
        self.edit("[1, 2, 3]", "[1]")
        self.slow(0.4)
        said = self.sweep(code=1).stdout
        self.assertIn("not done within timeout_minutes = 0.02", said)
        self.slow(0)
        self.sweep("--retry-failed")
        self.assertIn("from 0", self.calls()[0])
        self.assertNotIn("from 0", self.calls()[-1])


class Slurm(SweepTest):
    SBATCH = """\
        #!/bin/sh
        echo "$@" >> "$FAKE_FOLDER/submitted"
        wc -l < "$FAKE_FOLDER/submitted"
        """

    def submit(self, *arguments, **environment):
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        sweep_fakes.write_script(tools / "sbatch", self.SBATCH)
        sweep_fakes.write_script(tools / "scontrol", '#!/bin/sh\necho "$@" >> "$FAKE_FOLDER/requeued"\n')
        return self.sweep("--slurm", *arguments, PATH=f"{tools}:{os.environ['PATH']}", **environment)

    def test_scripts_are_submitted_one_after_the_other(self):
        path = self.folder / "sweep.toml"
        path.write_text(path.read_text() + '[tune]\nseed = 9\ngrid.optimizer.lr = [1e-3, 2e-3]\n'
                        '[slurm]\noptions = ["--time=1:00:00"]\nsetup = ["module load mpi"]\n')
        self.submit("--submit")
        submitted = (self.folder / "submitted").read_text().splitlines()
        self.assertEqual([re.sub(r"\S*/", "", line) for line in submitted], [
            "--parsable tune.sbatch", "--parsable --dependency=afterany:1 runs.sbatch",
            "--parsable --dependency=afterany:2 report.sbatch"])
        tune, runs = ((self.out / "slurm" / f"{name}.sbatch").read_text() for name in ("tune", "runs"))
        self.assertIn("#SBATCH --array=0-5\n", tune)
        self.assertIn("#SBATCH --array=6-14\n", runs)
        for line in ("#SBATCH --time=1:00:00", "module load mpi", "#SBATCH --signal=B:TERM@120"):
            self.assertIn(line, runs)
        self.assertEqual(self.calls(), [])

    def task(self, index, stop=False):
        script = self.out / "slurm" / "runs.sbatch"
        path = f"{self.folder / 'tools'}:{os.environ['PATH']}"
        job = subprocess.Popen(["bash", script], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, env=self.environment(SLURM_ARRAY_TASK_ID=str(index), PATH=path,
                                                               SLURM_ARRAY_JOB_ID="7"))
        if stop:
            self.await_step("plain__seed1", 2)
            job.terminate()
        said = job.communicate(timeout=60)[0]
        return job.returncode, said

    def test_a_task_makes_its_run_and_is_queued_again_when_stopped(self):
        self.submit()
        self.slow(0.1)
        code, said = self.task(0, stop=True)
        self.assertEqual(code, 8, said)
        self.assertEqual((self.folder / "requeued").read_text(), "requeue 7_0\n")
        self.slow(0)
        for index in range(9):
            code, said = self.task(index)
            self.assertEqual(code, 0, said)
        self.assertEqual(len(self.calls()), 10)
        self.sweep("--report")
        self.assertTrue(all(run["state"] == "done" for run in self.table()["runs"]))

    def test_what_is_done_is_no_task(self):
        self.sweep("--only", 4)
        self.submit()
        self.assertIn("--array=0-3,5-8\n", (self.out / "slurm" / "runs.sbatch").read_text())
        self.assertIn("0 to 8", self.sweep("--only", 9, code=2).stderr)

    def test_no_sbatch_is_said(self):
        tools = self.folder / "python"
        tools.mkdir()
        (tools / "python3").symlink_to(sys.executable)
        said = self.sweep("--slurm", "--submit", code=7, PATH=str(tools)).stderr
        self.assertIn("sbatch: cannot be run", said)


@unittest.skipUnless("DAGPAM_BINARY" in os.environ, "needs the program")
class RealProgram(SweepTest):
    """The program itself on two ranks."""

    def test_stopped_and_gone_on_with_ends_as_if_it_had_not(self):
        import program
        prefix = program.prepare(self.folder / "data", characters=8000)
        (self.folder / "recipe.textproto").write_text(
            program.CONFIG.replace("DAGPAM", "SOFTMAX") % {"prefix": prefix})
        (self.folder / "sweep.toml").write_text(sweep_fakes.SWEEP.replace("[1, 2, 3]", "[1]").replace(
            'control = "wide"', "ranks = 2\nset.train.steps = 60\nset.train.eval_every = 30").replace(
                'name = "wide"\nset.attention.kind = "SOFTMAX_WIDE"\n[[variant]]\n', ""))
        words = ["--program", program.BINARY]
        job = self.start(*words)
        self.await_step("plain__seed1", 5)
        job.terminate()
        said = job.communicate(timeout=120)[0]
        self.assertEqual(job.returncode, 8, said)
        self.assertIn("goes on with the next call", said)
        self.sweep(*words)
        undisturbed = self.folder / "undisturbed"
        program.check("train", "--config", self.folder / "recipe.textproto", "--set", "train.steps=60", "--set",
                      "train.eval_every=30", "--set", "train.seed=1", "--run-dir", undisturbed, ranks=2)
        for kind in (0, 1):
            self.assertEqual(program.untimed(program.metrics(undisturbed)[kind]),
                             program.untimed(program.metrics(self.out / "runs" / "plain__seed1")[kind]))
        plain, ours = self.table()["variants"]
        self.assertGreater(ours["parameters"], plain["parameters"])
        self.assertEqual(plain["runs"], "1 of 1 done")


if __name__ == "__main__":
    sys.exit(unittest.main())
