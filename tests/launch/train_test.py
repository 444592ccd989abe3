#!/usr/bin/env python3
"""The main path of the program: same maths on 1 and 2 ranks, exact resume, the rules of resuming."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import program

# Of metrics.jsonl: what must be equal bit by bit; the others are times and memory.
EXACT = ("step", "tokens", "loss", "lr", "grad_norm", "skipped")


def exact(lines):
    return [{key: line[key] for key in EXACT} for line in lines]


class TrainTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-train-"))
        cls.prefix = program.prepare(cls.folder)
        cls.config = program.write_config(cls.folder, cls.prefix)
        for ranks in (1, 2):
            cls.train(f"whole{ranks}", ranks=ranks)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def train(cls, name, *arguments, ranks=1):
        return program.check("train", "--config", cls.config, "--run-dir", cls.folder / name,
                             *arguments, ranks=ranks)

    def refuse(self, code, *arguments, ranks=1):
        """The program must end with this code and one line."""
        done = program.run(*arguments, ranks=ranks)
        self.assertEqual(done.returncode, code, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.startswith("dagpam:")]
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_same_maths_on_one_and_two_ranks(self):
        one, one_evaluations = program.metrics(self.folder / "whole1")
        two, two_evaluations = program.metrics(self.folder / "whole2")
        self.assertEqual(len(one), 100)
        self.assertEqual(len(two), 100)
        worst = max(abs(a["loss"] - b["loss"]) / a["loss"] for a, b in zip(one, two))
        print(f"largest relative difference of the loss on 1 and 2 ranks: {worst:.2e}")
        self.assertLess(worst, 2e-6)
        self.assertLess(one[-1]["loss"], 0.9 * one[0]["loss"])
        for a, b in zip(one_evaluations, two_evaluations):
            self.assertLess(abs(a["nll"] - b["nll"]) / a["nll"], 2e-5)

    def test_accumulation_changes_nothing(self):
        self.train("accumulated", "--set", "train.micro_batch=2", "--set", "train.steps=20",
                   "--set", "schedule.decay_steps=100")
        whole, _ = program.metrics(self.folder / "whole1")
        parts, _ = program.metrics(self.folder / "accumulated")
        for a, b in zip(whole, parts):
            self.assertLess(abs(a["loss"] - b["loss"]) / a["loss"], 2e-6)

    def test_resume_is_bit_equal(self):
        for ranks in (1, 2):
            with self.subTest(ranks=ranks):
                name = f"resumed{ranks}"
                self.train(name, "--stop-after", 50, ranks=ranks)
                self.assertEqual(len(program.metrics(self.folder / name)[0]), 50)
                self.train(name, "--resume", "latest", ranks=ranks)
                whole, whole_evaluations = program.metrics(self.folder / f"whole{ranks}")
                resumed, evaluations = program.metrics(self.folder / name)
                self.assertEqual(exact(whole), exact(resumed))
                self.assertEqual(whole_evaluations, evaluations)
                program.check("ckpt", "diff", self.folder / f"whole{ranks}", self.folder / name)

    def test_resume_after_a_kill_repeats_no_step(self):
        run_dir = self.folder / "killed"
        job = subprocess.Popen(program.command("train", "--config", self.config, "--run-dir", run_dir),
                               env=program.ENVIRONMENT, stderr=subprocess.DEVNULL)
        while not (run_dir / "checkpoints" / "step-00000050").exists():
            self.assertIsNone(job.poll())
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
        job.wait()
        self.train("killed", "--resume", "latest")
        whole, _ = program.metrics(self.folder / "whole1")
        self.assertEqual(exact(whole), exact(program.metrics(run_dir)[0]))
        program.check("ckpt", "diff", self.folder / "whole1", run_dir)

    def test_resume_on_other_ranks(self):
        self.train("moved", "--stop-after", 50, ranks=2)
        self.train("moved", "--resume", "latest", ranks=1)
        whole, _ = program.metrics(self.folder / "whole1")
        moved, _ = program.metrics(self.folder / "moved")
        for a, b in zip(whole, moved):
            self.assertLess(abs(a["loss"] - b["loss"]) / a["loss"], 2e-6)

    def test_layouts_train_alike_and_move(self):
        layouts = {"tp2": ("--set", "parallel.tensor=2"),
                   "tp2sp": ("--set", "parallel.tensor=2", "--set", "parallel.sequence_parallel=true"),
                   "dp2zero": ("--set", "parallel.zero=1", "--set", "parallel.overlap=true")}
        whole, whole_evaluations = program.metrics(self.folder / "whole1")
        for name, words in layouts.items():
            with self.subTest(name):
                self.train(name, *words, ranks=2)
                lines, evaluations = program.metrics(self.folder / name)
                worst = max(abs(a["loss"] - b["loss"]) / a["loss"] for a, b in zip(whole, lines))
                print(f"largest relative difference of the loss, {name}: {worst:.2e}")
                self.assertLess(worst, 5e-6)
                for a, b in zip(whole_evaluations, evaluations):
                    self.assertLess(abs(a["nll"] - b["nll"]) / a["nll"], 2e-5)
                self.train(f"{name}_resumed", *words, "--stop-after", 50, ranks=2)
                shutil.copytree(self.folder / f"{name}_resumed", self.folder / f"{name}_moved")
                self.train(f"{name}_resumed", *words, "--resume", "latest", ranks=2)
                self.assertEqual(exact(lines), exact(program.metrics(self.folder / f"{name}_resumed")[0]))
                program.check("ckpt", "diff", self.folder / name, self.folder / f"{name}_resumed")
                self.train(f"{name}_moved", "--resume", "latest", ranks=1)
                for a, b in zip(whole, program.metrics(self.folder / f"{name}_moved")[0]):
                    self.assertLess(abs(a["loss"] - b["loss"]) / a["loss"], 5e-6)
        with self.subTest("what was saved on one rank is loaded by two"):
            shutil.copytree(self.folder / "whole1", self.folder / "joined")
            shutil.rmtree(self.folder / "joined/checkpoints/step-00000100")
            self.train("joined", *layouts["tp2"], "--resume", "latest", ranks=2)
            for a, b in zip(whole, program.metrics(self.folder / "joined")[0]):
                self.assertLess(abs(a["loss"] - b["loss"]) / a["loss"], 5e-6)

    def test_bf16_resumes_bit_equal_and_changes_precision(self):
        bf16 = ("--set", "train.precision=BF16", "--set", "train.stochastic_rounding=true")
        for name, ranks, words in (("bf16", 1, ()), ("bf16zero", 2, ("--set", "parallel.zero=1"))):
            with self.subTest(name):
                self.train(name, *bf16, *words, ranks=ranks)
                self.train(f"{name}_resumed", *bf16, *words, "--stop-after", 50, ranks=ranks)
                self.train(f"{name}_resumed", *bf16, *words, "--resume", "latest", ranks=ranks)
                lines, _ = program.metrics(self.folder / name)
                self.assertEqual(exact(lines), exact(program.metrics(self.folder / f"{name}_resumed")[0]))
                program.check("ckpt", "diff", self.folder / name, self.folder / f"{name}_resumed")
                whole, _ = program.metrics(self.folder / "whole1")
                print(f"{name}: loss {lines[-1]['loss']:.4f}, in float32 {whole[-1]['loss']:.4f}")
                self.assertLess(abs(lines[-1]["loss"] - whole[-1]["loss"]), 0.02 * whole[-1]["loss"])
        # Either precision goes on from a checkpoint of the other.
        for name, words in (("bf16", ("--set", "train.stochastic_rounding=false")), ("whole1", bf16)):
            moved = shutil.copytree(self.folder / name, self.folder / f"{name}_changed")
            shutil.rmtree(moved / "checkpoints/step-00000100")
            self.train(f"{name}_changed", *words, "--resume", "latest", "--allow-change", "train.precision",
                       "--allow-change", "train.stochastic_rounding")
            self.assertEqual(len(program.metrics(moved)[0]), 100)
        self.train("bf16_tuned", *bf16, "--init-from", self.folder / "whole1", "--stop-after", 1)
        tuned, _ = program.metrics(self.folder / "bf16_tuned")
        self.assertLess(tuned[0]["loss"], program.metrics(self.folder / "whole1")[0][0]["loss"] - 0.1)

    def test_a_signal_saves_and_ends_with_8(self):
        run_dir = self.folder / "signalled"
        job = subprocess.Popen(program.command("train", "--config", self.config, "--run-dir", run_dir,
                                               "--set", "checkpoint.every=0"),
                               env=program.ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        while not (run_dir / "metrics.jsonl").exists() or (run_dir / "metrics.jsonl").stat().st_size == 0:
            self.assertIsNone(job.poll())
            time.sleep(0.01)
        job.send_signal(signal.SIGUSR1)
        _, words = job.communicate(timeout=60)
        self.assertEqual(job.returncode, 8, words)
        self.assertIn("--resume latest", words)
        self.train("signalled", "--set", "checkpoint.every=0", "--resume", "latest")
        self.assertEqual(exact(program.metrics(self.folder / "whole1")[0]), exact(program.metrics(run_dir)[0]))

    def test_a_run_folder_is_not_used_twice(self):
        line = self.refuse(4, "train", "--config", self.config, "--run-dir", self.folder / "whole1")
        self.assertIn("--resume", line)

    def test_resume_refuses_another_model(self):
        line = self.refuse(2, "train", "--config", self.config, "--run-dir", self.folder / "whole1",
                           "--resume", "latest", "--set", "model.layers=3")
        self.assertIn("model.layers", line)
        line = self.refuse(2, "train", "--config", self.config, "--run-dir", self.folder / "whole1",
                           "--resume", "latest", "--set", "optimizer.lr=2e-3")
        self.assertIn("--allow-change optimizer.lr", line)

    def test_resume_without_a_checkpoint(self):
        line = self.refuse(4, "train", "--config", self.config, "--run-dir", self.folder / "none",
                           "--resume", "latest")
        self.assertIn("none", line)
        self.train("fresh", "--resume", "auto", "--stop-after", 1)

    def test_init_from_takes_the_weights_alone(self):
        self.train("tuned", "--init-from", self.folder / "whole1", "--stop-after", 1)
        tuned, _ = program.metrics(self.folder / "tuned")
        whole, _ = program.metrics(self.folder / "whole1")
        self.assertEqual(tuned[0]["step"], 1)
        self.assertLess(tuned[0]["loss"], whole[0]["loss"] - 0.1)

    def test_mixture_weights_may_change_on_resume(self):
        other = program.prepare(self.folder / "other")
        def mixture(weight):
            return ("--set", f"data.train=[{{prefix: '{self.prefix}' weight: 3}}, "
                             f"{{prefix: '{other}' weight: {weight}}}]")
        self.train("mixed", *mixture(1), "--stop-after", 20)
        self.train("mixed", *mixture(5), "--resume", "latest", "--stop-after", 60)
        # From the change on, a stop changes nothing.
        again = shutil.copytree(self.folder / "mixed", self.folder / "mixed_again")
        shutil.rmtree(again / "checkpoints/step-00000060")
        self.train("mixed_again", *mixture(5), "--resume", "latest", "--stop-after", 60)
        program.check("ckpt", "diff", self.folder / "mixed", again)
        # 8 sequences a step: 160 at 3 : 1, then 320 at 3 : 5.
        shown = program.check("ckpt", "show", self.folder / "mixed").stdout
        self.assertIn("240 samples drawn", shown)

    def test_a_loss_that_is_not_finite_ends_with_5_and_saves_nothing(self):
        line = self.refuse(5, "train", "--config", self.config, "--run-dir", self.folder / "burst",
                           "--set", "optimizer.lr=1000", "--set", "optimizer.weight_decay=1e3",
                           "--set", "checkpoint.every=1")
        self.assertIn("not finite", line)
        saved = program.check("ckpt", "ls", self.folder / "burst").stdout
        newest = program.check("eval", "--checkpoint", self.folder / "burst", "--data", self.prefix, "--json")
        self.assertIn("step-0000000", saved)
        self.assertLess(json.loads(newest.stdout)["nll"], 1e300)

    def test_check_finds_wrong_sums(self):
        # The sums of shared memory are the program's own; these are of MPI.
        done = program.run("check", "--config", self.config, "--steps", 3, "--set", "parallel.shared_memory=false",
                           ranks=2, environment={"LD_PRELOAD": os.environ["DAGPAM_WRONG_SUMS"]})
        print(done.stdout)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stdout, r"dp2 against one rank, 3 steps: DIFFER, first gradient of .* at step 1: ")

    def test_bench_comm_checks_every_collective(self):
        words = ("bench", "comm", "--min-bytes", 4, "--max-bytes", 70_000, "--factor", 16, "--iterations", 2)
        for ranks in (2, 3):
            done = program.check(*words, "--json", ranks=ranks)
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual(len(rows), 5 * 4)
            self.assertTrue(all(row["wrong"] == 0 and row["ours_ms"] > 0 for row in rows), rows)
        wrong = program.run(*words, "--ops", "all_reduce", "--shared-memory", "OFF", ranks=2,
                            environment={"LD_PRELOAD": os.environ["DAGPAM_WRONG_SUMS"]})
        self.assertEqual(wrong.returncode, 1, wrong.stderr)

    def test_profile_writes_a_trace(self):
        self.train("traced", "--stop-after", 4, "--profile", 1)
        self.assertIn("traceEvents", (self.folder / "traced/profile/rank_00000.json").read_text())

    def test_dry_run_changes_nothing(self):
        done = self.train("dry", "--dry-run")
        self.assertIn("parameters", done.stdout)
        self.assertIn("memory", done.stdout)
        self.assertFalse((self.folder / "dry").exists())

    def test_evaluation_agrees_with_the_run_under_any_ranks(self):
        _, evaluations = program.metrics(self.folder / "whole1")
        for ranks in (1, 2):
            done = program.check("eval", "--checkpoint", self.folder / "whole1", "--data", self.prefix,
                                 "--split", "valid", "--json", ranks=ranks)
            row = json.loads(done.stdout.splitlines()[-1])
            self.assertAlmostEqual(row["nll"], evaluations[-1]["nll"], delta=1e-6)
        for tensor, ranks in ((2, 2), (2, 4), (4, 4)):
            done = program.check("eval", "--checkpoint", self.folder / "whole1", "--data", self.prefix,
                                 "--tensor", tensor, "--json", ranks=ranks)
            self.assertAlmostEqual(json.loads(done.stdout)["nll"], evaluations[-1]["nll"], delta=1e-6)
        strided = program.check("eval", "--checkpoint", self.folder / "whole1", "--data", self.prefix,
                                "--stride", 8, "--json")
        self.assertEqual(json.loads(strided.stdout)["tokens"], row["tokens"])

    def test_generate_repeats_itself(self):
        texts = [program.check("generate", "--checkpoint", self.folder / "whole1", "--prompt", "ab",
                               "--max-tokens", 50, "--seed", seed).stdout for seed in (1, 1, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_layouts_agree(self):
        layouts = "dp1,dp4,tp2,tp4,dp2tp2,dp2tp2spzero"
        words = ("check", "--config", self.config, "--layouts", layouts, "--steps", 20)
        for more, ranks in (((), 4), (("--threads", 4), 1)):
            with self.subTest(ranks=ranks):
                done = program.check(*words, *more, ranks=ranks)
                print(done.stdout)
                self.assertEqual(done.stdout.count("agree"), 6)
        struck = program.run(*words[:3], "--layouts", "tp2", "--steps", 2, "--threads", 2, "--inject", "gradient-scale")
        self.assertEqual(struck.returncode, 1, struck.stderr)
        self.assertIn("DIFFER", struck.stdout)
        self.assertIn("--threads 4: this job has 2 ranks", self.refuse(2, *words, "--threads", 4, ranks=2))


if __name__ == "__main__":
    unittest.main(verbosity=2)
