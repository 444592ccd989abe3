"""`dagpam plan`: what it prints, what it refuses, and that it reads what it measures."""
import json
import pathlib
import re
import tempfile
import unittest

import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
H100 = ROOT / "configs" / "clusters" / "h100_8x.textproto"
GPT2 = ROOT / "configs" / "recipes" / "gpt2_124m_dagpam.textproto"


def plan(*arguments, cluster=H100, **options):
    return program.run("plan", "--config", GPT2, "--set", "model.vocab=50257", "--cluster", cluster, *arguments,
                       **options)


class PlanTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name, text=None):
        path = pathlib.Path(self.folder.name) / name
        if text is not None:
            path.write_text(text)
        return path

    def refused(self, done, words):
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn(words, done.stderr)

    def test_text(self):
        done = plan("--set", "train.precision=BF16")
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in ("cluster     8 x H100 SXM", "memory      a rank", "reduce", "step        ", "bound by", "run  ",
                      "known error", "best by     --set parallel.tensor="):
            self.assertIn(words, done.stdout)

    def test_the_best_layout_can_be_asked_for(self):
        done = plan("--set", "train.precision=BF16", "--json")
        best = json.loads(done.stdout)["layouts"][0]
        text = plan("--set", "train.precision=BF16").stdout
        words = re.search(r"best by +(.*)", text).group(1).split()
        again = json.loads(plan("--set", "train.precision=BF16", *words, "--json").stdout)
        self.assertEqual(again["layout"], best["layout"])
        self.assertAlmostEqual(again["step"]["ms"], best["step_ms"])

    def test_scales(self):
        report = json.loads(plan("--set", "train.precision=BF16", "--ranks", "8,64,512,4096", "--json").stdout)
        self.assertEqual([row["ranks"] for row in report["weak_scaling"]], [8, 64, 512, 4096])
        self.assertEqual(report["strong_scaling"][0]["efficiency"], 1)
        self.assertTrue(all(0 < row.get("efficiency", 1) <= 1.01 for row in report["strong_scaling"]))

    def test_memory_is_that_of_the_dry_run(self):
        data = program.prepare(self.folder.name)
        config = program.write_config(self.folder.name, data)
        cpu = self.path("cpu.textproto", H100.read_text().replace("gpus: true", "gpus: false"))
        planned = json.loads(program.check("plan", "--config", config, "--cluster", cpu, "--ranks", "1",
                                           "--json").stdout)["memory"]
        dry = program.check("train", "--config", config, "--dry-run").stdout
        mib = float(re.search(r"together about ([0-9.]+) MiB", dry).group(1))
        self.assertAlmostEqual(planned["total"] / 2**20, mib, delta=0.051)

    def test_bad_input(self):
        self.refused(program.run("plan", "--cluster", H100), "--config: missing")
        self.refused(program.run("plan", "--config", GPT2), "--cluster: missing")
        self.refused(plan(cluster=self.path("none.textproto")), "no such file")
        self.refused(plan(cluster=self.path("a.textproto", H100.read_text() + "gpu_count: 3\n")), "gpu_count")
        slow = H100.read_text().replace("memory_gbs: 2520", "memory_gbs: 0")
        self.refused(plan(cluster=self.path("b.textproto", slow)), "device.memory_gbs: 0 is not in")
        self.refused(program.run("plan", "--config", GPT2, "--cluster", H100), "model.vocab: not set")
        self.refused(plan("--ranks", "7"), "does not divide over 7 copies")
        self.refused(plan("--ranks", "0"), "--ranks")
        both = plan(ranks=2)
        self.assertEqual(both.returncode, 2)
        self.assertIn("start it without mpirun", both.stderr)

    def test_measure(self):
        alone, two = self.path("alone.textproto"), self.path("two.textproto")
        program.check("plan", "--measure", alone, "--rounds", "1", "--disk", self.folder.name)
        program.check("plan", "--measure", two, "--rounds", "1", "--disk", self.folder.name, ranks=2)
        self.assertIn("node_link", two.read_text())
        self.assertNotIn("node_link", alone.read_text())
        report = json.loads(plan("--set", "train.global_batch=16", "--set", "train.micro_batch=4", "--json",
                                 cluster=two).stdout)
        self.assertEqual((report["origin"], report["ranks"], report["known_error"]), ("MEASURED", 2, None))
        self.assertGreater(report["step"]["ms"], 0)
        before = two.read_bytes()
        self.refused(program.run("plan", "--measure", two), "is not written over")
        self.assertEqual(two.read_bytes(), before)
        left = {p.name for p in pathlib.Path(self.folder.name).iterdir()}
        self.assertEqual(left, {"alone.textproto", "two.textproto"})


if __name__ == "__main__":
    unittest.main()
