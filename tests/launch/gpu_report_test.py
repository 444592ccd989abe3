#!/usr/bin/env python3
"""launch/gpu_report with programs that are scripts: what it writes, and what becomes of sections that fail or hang."""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import types
import unittest

import gpu_report_fakes as fakes
import program

sys.path.insert(0, str(fakes.ROOT / "launch" / "lib"))

from gpu_report import bars, checks, models, report, speed, trace  # noqa: E402
from gpu_report.session import Session  # noqa: E402


class WholeReport(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name) / "bundle"
        self.root.mkdir()
        fakes.make_bundle(self.root)
        self.out = self.root / "results"

    def tearDown(self):
        self.folder.cleanup()

    def report(self, *arguments, code=0, **environment):
        env = {**os.environ, "PATH": f"{self.root / 'fakes'}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1",
               **environment}
        for name in ("DAGPAM_NCCL", "DAGPAM_PEER_PYTHON"):
            env.pop(name, None)
        python = [] if "--python" in arguments else ["--python", str(self.root / "fakes" / "peer_python")]
        done = subprocess.run([self.root / "launch" / "gpu_report", "--out", self.out, *python, *arguments], env=env,
                              capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def rows(self):
        found = list(self.out.glob("*-nvidia-h100-80gb-hbm3.json"))
        return json.loads(found[0].read_text()) if found else []

    def page(self):
        found = list(self.out.glob("*-nvidia-h100-80gb-hbm3.md"))
        return found[0].read_text() if found else ""

    def section(self, name):
        return [row for row in self.rows() if row["section"] == name]

    def bar(self, number):
        return next(row for row in self.rows() if row.get("bar") == number)

    def test_everything_at_once(self):
        self.report(code=1)  # bars 1 and 8b are not met by the scripts' numbers
        rows = self.rows()
        for row in rows:
            for field in ("name", "shape", "ours_ms", "peer_ms", "peer", "ratio", "kernel", "gpu", "ranks", "pass"):
                self.assertIn(field, row)
            self.assertEqual(row["gpu"], "NVIDIA H100 80GB HBM3")
        ended = [(row["section"], row["shape"]) for row in rows if row["name"] == "section"]
        self.assertEqual(ended, [(name, "done") for name in (
            "machine", "tests", "attention", "step", "nccl", "overlap", "train", "sanitizer")])
        # The grouped peer is the faster composed one: 0.9 / 0.8 and 0.4 / 0.8.
        self.assertAlmostEqual(self.bar("1")["ratio"], math.sqrt(0.9 / 0.8 * 0.4 / 0.8))
        self.assertTrue(self.bar("1")["pass"] and self.bar("1")["aim"])
        self.assertAlmostEqual(self.bar("2")["ratio"], math.sqrt(0.9 / 0.5 * 0.4 / 0.5))
        expected = {"3": (1.1, True, False), "4": (0.8, True, True), "4b": (0.8, True, True), "4c": (0.8, True, True),
                    "5": (0.5, True, False), "5b": (0.5, False, False), "6": (1.05, True, True),
                    "6b": (0.7, True, True), "7": (0.05, True, True), "8": (10.05 / 10.01, True, False),
                    "8b": (1, False, False)}
        for number, (ratio, met, aim) in expected.items():
            row = self.bar(number)
            self.assertAlmostEqual(row["ratio"], ratio, msg=number)
            self.assertEqual((row["pass"], row["aim"]), (met, aim), number)
        self.assertEqual(self.bar("8b")["note"], "1 cudaStreamSynchronize")
        overlap = next(row for row in rows if row["name"] == "overlap")
        self.assertAlmostEqual(overlap["ratio"], 0.5)
        layouts = [row["shape"] for row in rows if row["name"] == "check"]
        self.assertEqual(len(layouts), 4 + 3 + 5)
        self.assertIn("dp2zero, BF16", layouts)
        self.assertIn("2 ranks, 1 GPU", next(row["note"] for row in self.section("tests") if "nccl" in row["shape"]))
        self.assertTrue(next(row for row in self.section("nccl") if row["shape"] == "parallel/nccl_gpu_np2")["pass"])
        resume = next(row for row in rows if row["name"] == "resume")
        self.assertTrue(resume["pass"])

    def test_the_page_has_bars_commands_and_no_paths_of_this_machine(self):
        self.report(code=1)
        page = self.page()
        for words in ("| 5b | the same, 1.5B | 0.520 | 0.620 | 0.500 | no |", "## Attention\nDone, ",
                      "| 4 | step / torch.compile step of the same model, 20M | 1.000 | 0.850 | 0.800 | yes, the aim too |",
                      "bench step --config configs/recipes/gpt2_124m_dagpam.textproto"):
            self.assertTrue(words in page, words)
        for text in (page, json.dumps(self.rows())):
            self.assertNotIn(str(self.root), text)

    def test_a_section_that_hangs_costs_its_own_time_alone(self):
        begin = time.monotonic()
        self.report("--budget", "24", code=1, FAKE_HANG="bench attention --device")
        self.assertLess(time.monotonic() - begin, 60)
        attention = self.section("attention")
        self.assertEqual(sum(row["name"] == "attention" and row["ours_ms"] is not None for row in attention), 8)
        self.assertIn("stopped: its time was over", [row.get("note") for row in attention])
        self.assertIsNotNone(self.bar("2")["ratio"])  # of what it printed before
        self.assertTrue(next(row for row in self.rows() if row["name"] == "resume")["pass"])

    def test_a_program_that_fails_loses_nothing_of_the_others(self):
        self.report("--only", "machine", "--only", "step", "--only", "nccl", code=1, FAKE_FAIL="bench step")
        notes = [row.get("note") for row in self.section("step") if row["name"] == "step"]
        self.assertEqual(notes, ["ended with 3: dagpam: something broke"] * 7)
        self.assertEqual(self.bar("8")["pass"], True)
        self.assertTrue(all(row["pass"] for row in self.section("nccl") if row["name"] == "check"))

    def test_an_error_of_the_report_itself_is_one_sections(self):
        (self.root / "tests" / "commands.json").write_text("not JSON")
        self.report("--only", "machine", "--only", "tests", "--only", "train", code=1)
        outcome = next(row for row in self.section("tests") if row["name"] == "section")
        self.assertEqual((outcome["shape"], outcome["pass"]), ("failed", False))
        self.assertIn("JSONDecodeError", outcome["note"])
        self.assertTrue(next(row for row in self.rows() if row["name"] == "resume")["pass"])

    def test_a_bad_test_is_named(self):
        self.report("--only", "tests", code=1, FAKE_BAD_TEST="1")
        row = next(row for row in self.section("tests") if row["shape"] == "trainer/gpu")
        self.assertFalse(row["pass"])
        self.assertIn("Some.Case", row["note"])

    def test_only_adds_to_the_days_report(self):
        self.report("--only", "machine")
        self.report("--only", "train")
        self.report("--only", "step", code=1)  # 1.5B misses its bar; the rate is the machine section's
        self.assertEqual({row["section"] for row in self.rows()}, {"machine", "train", "step"})
        self.assertAlmostEqual(self.bar("5")["ratio"], 0.5)
        count = len(self.rows())
        self.report("--only", "train")
        self.assertEqual(len(self.rows()), count)

    def test_without_nccl_that_shares_it_says_so(self):
        (self.root / "nccl" / "libnccl.so.2").write_bytes(b"NCCL version 2.28.9+cuda13.0")
        self.report("--only", "nccl")
        self.assertIn("is 2.28.9, 2.30 or later", self.section("nccl")[0]["note"])
        (self.root / "nccl" / "libnccl.so.2").unlink()
        self.report("--only", "nccl")
        self.assertIn("not measured: no NCCL 2.30 or later", self.section("nccl")[0]["note"])

    def test_a_peer_that_cannot_compile_is_not_held_against_us(self):
        self.report("--only", "machine", "--only", "step", code=1, FAKE_PEER="PyTorch eager")  # 1.5B misses bar 5b
        self.assertFalse([row for row in self.rows() if row.get("bar") in ("4", "4b", "4c", "7")])
        self.assertEqual(sum(row["name"] == "bar 4b" for row in self.rows()), 1)
        self.assertTrue(self.bar("6b")["pass"])

    def test_without_a_peer_python_our_own_numbers_remain(self):
        self.report("--only", "machine", "--only", "step", "--python", "/nowhere/python")
        self.assertIn("not measured", next(row["note"] for row in self.section("machine") if row["name"] == "ceiling"))
        steps = [row for row in self.section("step") if row["name"] == "step"]
        self.assertEqual(len(steps), 7)
        self.assertFalse([row for row in self.rows() if row.get("bar") in ("4", "7")])
        self.assertIn("| 4 | step / torch.compile step of the same model, 20M | 1.000 | 0.850 | not measured |  |",
                      self.page())

    def test_no_gpu_is_said_and_nothing_written(self):
        done = self.report(code=2, FAKE_NO_GPU="1")
        self.assertEqual(done.stderr, "gpu_report: error: no GPU: nvidia-smi says: No devices were found; "
                                      "nothing was measured\n")
        self.assertFalse(self.out.exists())

    def test_no_corpus_is_said(self):
        (self.root / "corpus" / "genesis.json").unlink()
        self.assertIn("--corpus", self.report(code=2).stderr)


class RealProgram(unittest.TestCase):
    """What the report asks of the program is what the program takes and says."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        work = pathlib.Path(cls.folder.name)
        place = types.SimpleNamespace(
            root=fakes.ROOT, program=[program.BINARY], recipes=fakes.ROOT / "configs" / "recipes",
            corpus=str(program.prepare(work)), environment=lambda: program.ENVIRONMENT,
            shell=lambda words, work: " ".join(words), clean=lambda text, work: text)
        cls.session = Session(place, "no GPU", work)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.session.begin(self._testMethodName, 300)
        self.session.rows.clear()

    def test_every_model_is_taken_and_has_its_size(self):
        for model, parameters in ((models.SMALL, 21.9e6), (models.GPT2, 125e6), (models.MEDIUM, 356e6),
                                  (models.LARGE, 1.57e9)):
            mebibytes, operations = speed.dry_run(self.session, model)
            self.assertGreater(mebibytes, 16 * parameters / 2**20, model.name)
            # 6 a parameter, and those of attention.
            self.assertGreater(operations, 0.98 * 6 * parameters, model.name)
            self.assertLess(operations, 1.4 * 6 * parameters, model.name)

    def test_a_step_of_a_model_becomes_a_row(self):
        tiny = models.Model("tiny", "gpt2_124m_dagpam", 1, 32, 2, 32, 300, 2)
        row = speed.bench_step(self.session, tiny, "--against", "attention.kind=SOFTMAX", rounds=1, steps=2)
        self.assertTrue(row["shape"].startswith("tiny: 1 layers, width 32"), row)
        self.assertGreater(row["ratio"], 0)
        self.assertGreater(row["tflops"], 0)

    def test_a_short_run_resumes_bit_by_bit(self):
        checks.train(self.session, **{"train.precision": "FP32", "model.layers": 1, "model.width": 32,
                                      "model.context": 32, "train.global_batch": 8})
        self.assertEqual([(row["name"], row["pass"]) for row in self.session.rows],
                         [("train", True), ("resume", True)], self.session.rows)

    def test_a_trace_of_the_profiler_is_read(self):
        tiny = models.Model("tiny", "gpt2_124m_dagpam", 1, 32, 2, 32, 300, 2)
        read = checks.traced(self.session, "trace", 1, tiny)
        self.assertIsNotNone(read, self.session.rows)
        self.assertEqual(read.overlap(), {"nccl_us": 0, "backward_us": 0, "both_us": 0})
        self.assertTrue(read.backward)  # the operators of backward are found in it, by thread
        self.assertIsNone(read.idle_share())


class Bars(unittest.TestCase):
    def test_must_and_aim(self):
        self.assertEqual(bars.judge("3", 1.15), {"bar": "3", "ratio": 1.15, "pass": True, "aim": False})
        self.assertEqual(bars.judge("3", 1.151)["pass"], False)
        self.assertEqual(bars.judge("5", 0.44)["pass"], False)
        self.assertEqual(bars.judge("5", 0.56)["aim"], True)

    def test_a_composed_kernel_is_not_held_to_the_fused_ones_bars(self):
        row = {"shape": "T 512", "kernel": "composed, cudnn", "ours_ms": 1.0, "peer": "plain SDPA", "peer_ms": 1.0}
        self.assertEqual(bars.attention_bars([row]), [])

    def test_every_bar_is_on_the_page_once(self):
        lines = list(report.bar_lines([]))
        self.assertEqual([line[0] for line in lines], [bar.number for bar in bars.BARS])
        self.assertEqual({line[4] for line in lines}, {"not measured"})


class Spans(unittest.TestCase):
    def test_unions_and_what_they_share(self):
        self.assertEqual(trace.merged([(5, 6), (0, 2), (1, 3)]), [[0, 3], [5, 6]])
        self.assertEqual(trace.length([(0, 2), (1, 3), (5, 6)]), 4)
        self.assertEqual(trace.shared([(0, 10)], [(2, 3), (8, 12)]), 3)
        self.assertEqual(trace.shared([(0, 1)], [(1, 2)]), 0)

    def test_a_trace(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"traceEvents": fakes.TRACE}, file)
            file.flush()
            read = trace.Trace(file.name)
        self.assertEqual(read.overlap(), {"nccl_us": 20, "backward_us": 40, "both_us": 10})
        self.assertEqual(read.waits(), {"cudaStreamSynchronize": 1})
        name, share, calls = read.busiest(1)[0]
        self.assertEqual((name, calls), ("gemm backward", 2))
        self.assertAlmostEqual(share, 0.5)
        self.assertAlmostEqual(read.idle_share(), 10 / 80)
        # 0 to 34: of 20 to 40 in backward's operator two launches of 1 are not its own.
        self.assertEqual([(name, calls, us) for name, _, calls, us in read.slowest_on_host(2)], [
            ("autograd::engine::evaluate_function: MmBackward0", 1, 17), ("cudaLaunchKernel", 3, 1)])
        self.assertAlmostEqual(read.slowest_on_host(1)[0][1], 17 / 80)

    def test_own_times(self):
        self.assertEqual(trace.own_times([(0, 10, "a"), (1, 4, "b"), (2, 3, "c"), (4, 6, "b"), (10, 12, "d")]),
                         [("c", 1), ("b", 2), ("b", 2), ("a", 5), ("d", 2)])


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
