#!/usr/bin/env python3
"""launch/slurm.sbatch on a real Slurm of two nodes on this machine: told to stop, the job saves, comes back, goes on
and ends with the bits of a run that nobody stopped; it does not come back where that would not help."""
import json
import pathlib
import unittest

import program
import slurm_box

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = """
CONFIG=({config})
RUN_DIR={run_dir}
TRAIN_OPTIONS=(--set train.steps={steps} --set schedule.decay_steps={steps} --set log.every=20 {more})
DAGPAM=({binary})
RANKS_PER_NODE=1
NODES=2
SLURM_OPTIONS=({options})
"""
SWEEP = """
recipes = ["{config}"]
seeds = [1]
baseline = "plain"
threads = 1
[set]
train.steps = 20
[[variant]]
name = "plain"
set.attention.kind = "SOFTMAX"
[[variant]]
name = "ours"
set.attention.kind = "DAGPAM"
"""
STOPPED = r"exit 8 \(saved on a signal\); step \d+ of"


@unittest.skipIf(slurm_box.why_not(), slurm_box.why_not())
class SlurmTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.slurm = slurm_box.Slurm()
        cls.addClassCleanup(cls.slurm.stop)
        cls.folder = cls.slurm.folder
        cls.config = program.write_config(cls.folder, program.prepare(cls.folder))

    def settings(self, name, steps, more="", options=""):
        """Of a run in the folder `name`; the file."""
        path = self.folder / f"{name}.env"
        path.write_text(SETTINGS.format(config=self.config, run_dir=self.folder / name, steps=steps, more=more,
                                        binary=program.BINARY, options=options))
        return path

    def start(self, settings):
        """By the script itself, as people do; the job's number."""
        return self.slurm.call(ROOT / "launch" / "slurm.sbatch", settings).stdout.split()[-1]

    def log(self, job):
        path = self.folder / f"slurm-{job}.log"
        return path.read_text() if path.exists() else ""

    def await_step(self, name, step, seconds=120):
        path = self.folder / name / "metrics.jsonl"
        self.slurm.await_true(lambda: path.exists() and f'"step":{step},' in path.read_text(), seconds,
                              f"step {step} of {name}")

    def reference(self, name, steps, more=()):
        run_dir = self.folder / name
        program.check("train", "--config", self.config, "--run-dir", run_dir, "--set", f"train.steps={steps}",
                      "--set", f"schedule.decay_steps={steps}", "--set", "log.every=20", *more, ranks=2)
        return run_dir

    def test_told_to_stop_it_comes_back_and_ends_with_the_same_bits(self):
        job = self.start(self.settings("stopped", 1500))
        self.await_step("stopped", 200)
        self.slurm.call("scancel", "--signal=TERM", job)
        end = self.slurm.await_end(job)
        said = self.log(job)
        self.assertEqual((end["JobState"], end["Restarts"]), ("COMPLETED", "1"), said)
        for words in ("nothing is wrong", STOPPED, "asking for another turn, after 0 before", "start 2",
                      r"exit 0 \(done\); step 1500 of 1500 is saved"):
            self.assertRegex(said, words)
        self.assertNotIn("refuses", said)
        program.check("ckpt", "diff", self.reference("whole", 1500), self.folder / "stopped")
        lines, _ = program.metrics(self.folder / "stopped")
        whole, _ = program.metrics(self.folder / "whole")
        self.assertEqual(program.untimed(lines), program.untimed(whole))

    def test_a_signal_to_the_scripts_own_processes_costs_steps_alone(self):
        # srun itself takes SIGTERM as a wish to end the ranks at once.
        job = self.start(self.settings("full", 1500))
        self.await_step("full", 100)
        self.slurm.call("scancel", "--full", "--signal=TERM", job)
        end = self.slurm.await_end(job)
        said = self.log(job)
        self.assertEqual((end["JobState"], end["Restarts"]), ("COMPLETED", "1"), said)
        self.assertIn("exit 0 (done); step 1500 of 1500 is saved", said)

    def test_a_lost_rank_brings_it_back(self):
        job = self.start(self.settings("lost", 1500, "--set checkpoint.every=100"))
        self.await_step("lost", 160)
        self.slurm.call("scancel", "--signal=KILL", f"{job}.1")  # step 0 was the doctor
        end = self.slurm.await_end(job)
        said = self.log(job)
        self.assertEqual((end["JobState"], end["Restarts"]), ("COMPLETED", "1"), said)
        self.assertIn("exit 0 (done); step 1500 of 1500 is saved", said)

    def test_what_another_start_would_not_change_ends_it(self):
        job = self.start(self.settings("bad", 100, "--set optimizer.lr=-1"))
        end = self.slurm.await_end(job)
        said = self.log(job)
        self.assertEqual((end["JobState"], end["ExitCode"], end["Restarts"]), ("FAILED", "2:0", "0"), said)
        self.assertIn("optimizer.lr", said)

    def test_a_run_folder_of_another_model_ends_it_without_the_doctor(self):
        self.reference("taken", 20)
        settings = self.settings("taken", 20, "--set model.layers=1")
        settings.write_text(settings.read_text() + "PREFLIGHT=0\n")
        end = self.slurm.await_end(job := self.start(settings))
        self.assertEqual((end["JobState"], end["ExitCode"], end["Restarts"]), ("FAILED", "2:0", "0"), self.log(job))
        self.assertIn("another start would not change that", self.log(job))
        self.assertIn("model.layers", self.log(job))

    def test_killed_by_the_time_limit_it_goes_on_after_requeue(self):
        # No signal in time: the limit falls on the ranks, which have five seconds (KillWait).
        job = self.start(self.settings("limit", 1_000_000, "--set schedule.decay_steps=1000 --set train.eval_every=0 "
                                       "--set checkpoint.every=200 --set checkpoint.keep=2",
                                       "--time=1 --signal=TERM@0"))
        self.await_step("limit", 20)
        self.slurm.await_true(lambda: self.slurm.show(job).get("Restarts") == "1" or
                              self.slurm.show(job).get("JobState") in ("TIMEOUT", "FAILED", "COMPLETED"), 180, "limit")
        if self.slurm.show(job).get("Restarts") != "1":
            self.slurm.call("scontrol", "requeue", job)
        self.slurm.await_true(lambda: "start 2; step" in self.log(job) and "resuming from" in self.log(job), 120, "start 2")
        (self.folder / "limit" / "STOP").touch()
        end = self.slurm.await_end(job)
        said = self.log(job)
        self.assertEqual(end["JobState"], "COMPLETED", said)
        self.assertNotIn("start 2; nothing", said)

    def test_a_sweep_as_array_jobs(self):
        file, out = self.folder / "sweep.toml", self.folder / "sweep"
        file.write_text(SWEEP.format(config=self.config))
        said = self.slurm.call(ROOT / "launch" / "sweep", file, "--program", program.BINARY, "--out", out, "--slurm",
                               "--submit").stdout
        self.assertIn("runs.sbatch, 2 tasks, submitted as", said)
        self.slurm.await_true(lambda: not self.slurm.call("squeue", "-h").stdout.strip(), 200, "the sweep")
        logs = "".join(path.read_text() for path in (out / "logs").glob("slurm-*"))
        self.assertTrue((out / "report.html").exists(), logs)
        runs = json.loads((out / "table.json").read_text())["runs"]
        self.assertEqual([run["state"] for run in runs], ["done", "done"], logs)

    def test_singletons_are_refused(self):
        done = self.slurm.call("srun", "--mpi=none", "-n2", program.BINARY, "train", "--config", self.config,
                               "--run-dir", self.folder / "singletons", check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("srun --mpi=pmix", done.stderr)
        self.assertFalse((self.folder / "singletons").exists())

    def test_before_the_time_limit_it_saves_and_comes_back(self):
        job = self.start(self.settings("early", 1_000_000, "--set schedule.decay_steps=1000 --set train.eval_every=0",
                                       "--time=2 --signal=TERM@100"))
        self.slurm.await_true(lambda: self.slurm.show(job).get("Restarts") == "1", 180, "another turn")
        self.assertRegex(self.log(job), STOPPED)
        self.slurm.await_true(lambda: "resuming from" in self.log(job), 120, "going on")
        (self.folder / "early" / "STOP").touch()
        self.assertEqual(self.slurm.await_end(job)["JobState"], "COMPLETED", self.log(job))


if __name__ == "__main__":
    unittest.main(verbosity=2)
