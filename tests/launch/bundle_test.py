#!/usr/bin/env python3
"""launch/bundle: packs, unpacks elsewhere, and runs with nothing but the C library and LibTorch from outside."""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 60e6
OF_THE_NODE = re.compile(r"^(linux-vdso|ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|nsl))\.so")


class BundleTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        archive = pathlib.Path(cls.folder.name) / "bundle.tar.xz"
        done = subprocess.run([ROOT / "launch" / "bundle", "--out", archive], capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        cls.bytes = archive.stat().st_size
        subprocess.run(["tar", "-C", cls.folder.name, "-xJf", archive], check=True)
        cls.tree = pathlib.Path(cls.folder.name) / "moved"
        (pathlib.Path(cls.folder.name) / "dagpam-bundle").rename(cls.tree)
        libtorch = next((ROOT / ".deps" / "libtorch").rglob("libtorch_cpu.so"))
        cls.torch = libtorch.parents[1]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_in_bundle(self, *words, **more):
        env = {"PATH": "/usr/bin:/bin", "HOME": "/", "OMP_NUM_THREADS": "1", "DAGPAM_TORCH": str(self.torch), **more}
        return subprocess.run(["./run", *words], cwd=self.tree, env=env, capture_output=True, text=True, timeout=120)

    def test_is_small(self):
        self.assertLess(self.bytes, LIMIT)

    def test_every_library_is_inside_or_the_nodes_own(self):
        for name in ("bin/dagpam", "usr/bin/mpirun"):
            for line in self.run_in_bundle("ldd", name).stdout.splitlines():
                word, _, path = line.strip().partition(" => ")
                if OF_THE_NODE.match(word) or line.strip().startswith("/lib64/ld-linux"):
                    continue
                place = path.split(" ")[0]
                inside = place.startswith((str(self.tree), str(self.torch.parent))) or word == "libgomp.so.1"
                self.assertTrue(inside, f"{name}: {line}")

    def test_two_ranks_agree_with_one(self):
        done = self.run_in_bundle(
            "mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none", "dagpam", "check", "--config",
            "configs/recipes/kjv_tiny.textproto", "--set", "data.train=[{prefix: 'corpus/genesis'}]", "--set",
            "data.valid=", "--set", "data.test=", "--set", "model.layers=1", "--set", "model.width=32", "--set",
            "model.context=32", "--layouts", "dp2,tp2", "--steps", "2")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(re.findall(r"against one rank, 2 steps: agree", done.stdout)), 2, done.stdout)
        self.assertEqual(done.stderr, "")

    @unittest.skipIf(shutil.which("nvidia-smi"), "with a GPU it would make the whole report")
    def test_gpu_report_says_that_there_is_no_gpu(self):
        done = subprocess.run(["launch/gpu_report"], cwd=self.tree, capture_output=True, text=True, timeout=120,
                              env={"PATH": "/usr/bin:/bin", "HOME": "/"}, check=False)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertRegex(done.stderr, r"^gpu_report: error: no GPU: .*; nothing was measured\n$")
        self.assertEqual(list((self.tree / "docs" / "results").iterdir()), [])

    def test_the_tests_that_gpu_report_runs_start(self):
        tests = json.loads((self.tree / "tests" / "commands.json").read_text())
        self.assertGreaterEqual(len(tests), 3)
        for test in tests:
            done = self.run_in_bundle(*test["command"], OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
            self.assertEqual(done.returncode, 0, f"{test}: {done.stdout}{done.stderr}")

    def test_without_libtorch_says_what_to_set(self):
        done = self.run_in_bundle("dagpam", "--version", DAGPAM_TORCH="/nowhere")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"^run: error: .*'/nowhere'.*DAGPAM_TORCH.*\n$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
