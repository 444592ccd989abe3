#!/usr/bin/env python3
"""launch/bundle: packs, unpacks elsewhere, and runs with nothing but the C library and LibTorch from outside."""
import json
import os
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

    def in_bare_root(self, script):
        """Runs a shell script in the bundle, in a root file system of a C library, a shell, /proc and /dev, beside
        LibTorch's files, and nothing else."""
        root = pathlib.Path(self.folder.name) / "root"
        if not root.exists():
            for name in ("bin", "lib", "lib64", "proc", "dev", "tmp", "torch"):
                (root / name).mkdir(parents=True)
            libc = pathlib.Path(re.search(r"libc\.so\.6 => (\S+)", subprocess.run(
                ["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout).group(1)).parent
            for name in ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2",
                         "libutil.so.1"):
                shutil.copy(libc / name, root / "lib")
            for loader in pathlib.Path("/lib64").glob("ld-linux*"):
                shutil.copy(loader, root / "lib64")
            shutil.copy("/bin/sh", root / "bin" / "sh")
            shutil.copytree(self.tree, root / "bundle")
        (root / "tmp" / "script").write_text(script)
        inside = ('mount --bind "$2" "$1/torch" && mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && '
                  'exec chroot "$1" /bin/sh -e /tmp/script')
        done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"no name spaces here: {done.stderr.strip()}")
        return subprocess.run(["unshare", "--mount", "sh", "-c", inside, "sh", root, self.torch.parent], check=False,
                              env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=200)

    def test_trains_in_a_bare_root(self):
        done = self.in_bare_root("""cd /bundle
            export PATH=/bin DAGPAM_TORCH=/torch/torch OMP_NUM_THREADS=1
            train() { ./run "$@" --config configs/recipes/kjv_tiny.textproto --set "data.train=[{prefix: 'corpus/genesis'}]" \
              --set data.valid=corpus/genesis --set data.test= --set model.layers=1 --set model.width=32 \
              --set model.context=32 --set train.steps=4 --set schedule.warmup_steps=1 --set schedule.decay_steps=4 \
              --set train.eval_batches=2; }
            train dagpam train --run-dir runs/one
            train mpirun -n 2 --oversubscribe --bind-to none dagpam train --run-dir runs/two
            ./run mpirun -n 2 --oversubscribe --bind-to none dagpam doctor --seconds 0.02 --run-dir runs/two
            ./run dagpam ckpt verify runs/two
            ./run dagpam-tokenize --help >/dev/null
            ./run mpirun -n 1 dagpam-that-is-not-there || echo "its own words: $?"
            """)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("saved in runs/"), 2, done.stderr)
        losses = re.findall(r"step 4/4 \| loss (\S+)", done.stderr)
        self.assertEqual(len(losses), 2, done.stderr)
        self.assertAlmostEqual(float(losses[0]), float(losses[1]), places=3)
        self.assertIn("nothing is wrong", done.stdout)
        self.assertIn("its own words", done.stdout)
        self.assertIn("mpirun was unable to find the specified executable file", done.stderr)  # from its help files
        self.assertNotIn("not found\n", done.stderr)

    def test_other_hosts_need_nothing_but_the_bundle(self):
        hosts, shell = (pathlib.Path(self.folder.name) / name for name in ("hosts", "shell"))
        hosts.write_text("192.0.2.1 slots=1\n192.0.2.2 slots=1\n")
        # ssh to this machine, with a /tmp for each host.
        shell.write_text(f'#!/bin/sh\nhome={self.folder.name}/$1\nmkdir -p "$home"\nshift\n'
                         'exec env -i PATH=/usr/bin:/bin HOME=/ TMPDIR="$home" sh -c "$*"\n')
        shell.chmod(0o755)
        done = self.run_in_bundle("mpirun", "--hostfile", str(hosts), "-n", "2", "--bind-to", "none", "-x",
                                  "LD_LIBRARY_PATH", "-x", "OMP_NUM_THREADS", "bin/dagpam", "doctor", "--seconds", "0.02",
                                  OMPI_MCA_plm_rsh_agent=str(shell))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("nothing is wrong", done.stdout)

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
