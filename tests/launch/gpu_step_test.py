#!/usr/bin/env python3
"""The PyTorch peer of GPU steps (tests/peers/gpu_step.py), on the CPU: same maths as the program, same protocol."""
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
import unittest

import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER = ROOT / "tests" / "peers" / "gpu_step.py"
STEPS = 8

CONFIG = """
model { layers: 2 width: 32 heads: 4 kv_heads: 2 context: 32 }
data { train { prefix: "%(prefix)s" } }
optimizer { lr: 1e-3 }
schedule { kind: CONSTANT }
train { steps: 8 global_batch: 8 micro_batch: 4 eval_every: 0 }
checkpoint { every: 0 }
log { every: 1 }
"""


def find_python():
    """A Python that can import PyTorch, or None: the CPU build's LibTorch cannot be imported."""
    for python in (os.environ.get("DAGPAM_PEER_PYTHON"), ROOT / ".deps" / "libtorch" / "bin" / "python",
                   ROOT / ".deps" / "peers" / "bin" / "python"):
        if python and shutil.which(python) and subprocess.run(
                [python, "-c", "import torch"], capture_output=True, timeout=240, check=False).returncode == 0:
            return str(python)
    return None


class GpuStepTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.python = find_python()
        if not cls.python:
            print("SKIPPED WHOLE: no Python with PyTorch: set DAGPAM_PEER_PYTHON, or run launch/setup --peers")
            raise unittest.SkipTest("no Python with PyTorch")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-gpu-step-"))
        cls.prefix = program.prepare(cls.folder)
        cls.config = program.write_config(cls.folder, cls.prefix, CONFIG)
        cls.vocab = json.loads(cls.prefix.with_suffix(".json").read_text())["vocab_size"]

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def words(self, kind, *more):
        return ["--config", self.config, "--set", f"attention.kind={kind.upper()}", *more]

    def peer(self, kind, *more):
        return [self.python, str(PEER), "--device", "cpu", "--eager", "--attention", kind, "--layers", "2", "--heads",
                "4", "--kv-heads", "2", "--width", "32", "--context", "32", "--batch", "4", "--accumulate", "2",
                "--vocab", str(self.vocab), "--lr", "1e-3", *more]

    def our_losses(self, kind):
        folder = self.folder / kind
        program.check("train", *self.words(kind), "--run-dir", folder)
        return [line["loss"] for line in program.metrics(folder)[0]]

    def peer_losses(self, kind, *more):
        start, order = self.folder / f"start-{kind}", self.folder / "order.jsonl"
        if not start.exists():
            # A step of a rate that float32 cannot add leaves the weights as they start.
            program.check("train", *self.words(kind, "--set", "optimizer.lr=1e-30"), "--run-dir", start,
                          "--stop-after", "1")
        order.write_text(program.check("data", "order", *self.words(kind), "--steps", STEPS, "--json").stdout)
        done = subprocess.run(self.peer(
            kind, "--losses", str(STEPS), "--start", str(start / "checkpoints" / "step-00000001"), "--tokens",
            f"{self.prefix}.train.bin", "--order", str(order), *more), capture_output=True, text=True, timeout=300,
            env=program.ENVIRONMENT, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout.splitlines()[-1])["losses"]

    def test_same_losses(self):
        for kind, precisions in (("softmax", {"fp32": 1e-6}), ("dagpam", {"fp32": 1e-6, "bf16": 1e-3})):
            ours = self.our_losses(kind)
            for precision, allowed in precisions.items():
                peers = self.peer_losses(kind, "--precision", precision)
                worst = max(abs(a - b) / a for a, b in zip(ours, peers, strict=True))
                print(f"{kind} {precision}: largest relative difference of the loss {worst:.2e}")
                self.assertLess(worst, allowed, f"{kind} {precision}: {ours} {peers}")
            self.assertLess(ours[-1], ours[0])

    def test_takes_turns_with_bench_step(self):
        peer = shlex.join(self.peer("dagpam", "--precision", "fp32", "--interactive"))
        done = program.check("bench", "step", *self.words("dagpam"), "--steps", 2, "--rounds", 1, "--json",
                             "--peer", peer)
        row = json.loads(done.stdout.splitlines()[-1])
        self.assertRegex(row["peer"], r"^PyTorch .* eager, dagpam, library attention$")
        for field in ("ours_ms", "peer_ms", "ratio", "first_step_s", "peer_first_step_s", "peer_memory_mib", "tflops"):
            self.assertGreater(row[field], 0, field)
        self.assertLess(row["first_step_s"], 120)


if __name__ == "__main__":
    unittest.main()
