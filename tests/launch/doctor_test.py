#!/usr/bin/env python3
"""`dagpam doctor` on set-ups that a test has broken, one at a time: it names that one and no other; a healthy set-up
has nothing wrong."""
import fcntl
import json
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile
import unittest

import program

QUICK = ("--seconds", "0.02", "--write-mib", "1", "--json")


def rank_words(before, arguments, binary=program.BINARY):
    return [*map(str, before), binary, "doctor", *map(str, (*arguments, *QUICK))]


class DoctorTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-doctor-"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def names(self, done, expected, code):
        """Exactly these findings, in one JSON object; returns what they say."""
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        said = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual([finding["check"] for finding in said["findings"]], expected, said)
        self.assertEqual(said["healthy"], not expected)
        for finding in said["findings"]:
            self.assertTrue(finding["what"] and finding["mend"], finding)
            self.assertEqual(finding["code"], code if finding["level"] == "error" else 0)
        return [finding["what"] for finding in said["findings"]]

    def one(self, *arguments, environment=None, before=(), limit=None):
        """One process without a launcher."""
        return subprocess.run(rank_words(before, arguments), env={**program.ENVIRONMENT, **(environment or {})},
                              capture_output=True, text=True, timeout=120, check=False, preexec_fn=limit)

    def two(self, *arguments, second=(), first=(), binary=program.BINARY, wrap=(), environment=None):
        """Two ranks; `first` and `second` stand before the program, as options of mpirun or as commands."""
        words = [program.MPIRUN, "--oversubscribe", "--bind-to", "none", "-n", "1", *rank_words(first, arguments), ":",
                 "-n", "1", *rank_words(second, arguments, binary)]
        return subprocess.run([*wrap, *words], env={**program.ENVIRONMENT, **(environment or {})}, capture_output=True,
                              text=True, timeout=120, check=False)

    def tmpfs(self, options):
        disk = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            self.skipTest(f"no mounts here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        return disk

    def test_a_healthy_set_up_has_nothing_wrong(self):
        run_dir = self.folder / "healthy" / "run"
        (self.folder / "healthy").mkdir()
        done = self.two("--run-dir", run_dir, "--backend", "MPI")
        self.names(done, [], 0)
        said = json.loads(done.stdout.splitlines()[-1])
        self.assertTrue(said["all_reduce"]["right"])
        self.assertGreater(said["folder"]["write_mb_s"], 0)
        self.assertEqual(said["ranks"], 2)
        self.assertEqual(list((self.folder / "healthy").iterdir()), [])  # nothing is left behind
        self.names(self.one("--run-dir", run_dir), [], 0)

    def test_a_read_only_run_folder(self):
        disk = self.tmpfs("ro,size=64m")
        what, = self.names(self.two("--run-dir", disk / "run"), ["folder.read-only"], 7)
        self.assertIn(f"ranks 0-1 cannot open in {disk}", what)

    def test_a_full_disk(self):
        disk = self.tmpfs("size=2m")
        what, = self.names(self.one("--run-dir", disk), ["folder.space"], 7)
        self.assertIn(str(disk), what)

    def test_a_folder_that_ranks_do_not_share(self):
        for name in "ab":
            (self.folder / name).mkdir()
        done = self.two("--run-dir", "run", first=("env", "-C", self.folder / "a"),
                        second=("env", "-C", self.folder / "b"))
        what, = self.names(done, ["folder.not-shared"], 7)
        self.assertRegex(what, "is not seen by rank 1 ")

    def test_singletons_under_srun(self):
        srun = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
        what, = self.names(self.one(environment=srun), ["launch.singletons"], 2)
        self.assertIn("SLURM_NTASKS says that srun started 4 processes", what)
        # A manager that is not this MPI's is found once MPI is open; train refuses both.
        what, = self.names(self.one(environment={**srun, "PMI_RANK": "0"}), ["launch.singletons"], 2)
        self.assertIn("MPI knows of 1", what)
        config = program.write_config(self.folder, "nowhere")
        for more in ({}, {"PMI_RANK": "0"}):
            done = subprocess.run([program.BINARY, "train", "--config", config, "--run-dir", self.folder / "train"],
                                  env={**program.ENVIRONMENT, **srun, **more}, capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("SLURM_NTASKS says that", done.stderr)
        self.assertFalse((self.folder / "train").exists())

    def test_other_builds(self):
        other = self.folder / "other_build"
        shutil.copy(program.BINARY, other)
        with open(other, "ab") as file:
            file.write(b"\0")
        what, = self.names(self.two(binary=other), ["build.differs"], 2)
        self.assertRegex(what, r"digest \w{12} on rank 0, \w{12} on rank 1")

    def test_other_environments(self):
        what, = self.names(self.two(second=("env", "NCCL_ALGO=Ring")), ["environment.differs"], 2)
        self.assertEqual(what, "NCCL_ALGO is unset on rank 0, 'Ring' on rank 1")

    def test_four_threads_on_one_core(self):
        core = min(os.sched_getaffinity(0))
        bound = {"before": ("taskset", "-c", core), "environment": {"OMP_NUM_THREADS": "4"}}
        what, = self.names(self.one(**bound), ["cores.shared"], 0)
        self.assertRegex(what, "[24] threads on 1 core for rank 0")  # LibTorch takes no more than there are
        done = self.one("--strict", **bound)
        self.assertEqual(done.returncode, 2)

    def test_few_files(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        what, = self.names(self.one(limit=limit), ["limits.files"], 2)
        self.assertIn("may open 128 files, 260 are needed", what)

    def test_a_clock_that_is_ahead(self):
        both = {"LD_PRELOAD": os.environ["DAGPAM_CLOCK_AHEAD"]}
        self.names(self.two(environment=both), [], 0)
        what, = self.names(self.two(environment=both, second=("env", "CLOCK_AHEAD=60")), ["clock.skew"], 0)
        self.assertRegex(what, r"\(rank 1\) is (59|60)\.\d s ahead of")

    def test_an_interface_that_does_not_exist(self):
        for variable in ("NCCL_SOCKET_IFNAME", "OMPI_MCA_btl_tcp_if_include"):
            what, = self.names(self.one(environment={variable: "nosuch0"}), ["network.interface"], 2)
            self.assertTrue(what.startswith(f"{variable}='nosuch0'"), what)
        self.names(self.one(environment={"NCCL_SOCKET_IFNAME": "^docker,lo"}), [], 0)

    def test_hostfiles(self):
        hosts = self.folder / "hosts"
        self.names(self.one("--hostfile", hosts), ["hosts.file"], 2)
        hosts.write_text("localhost slots=2\nno-such-host.invalid slots=2 # a comment\n")
        what, = self.names(self.one("--hostfile", hosts), ["hosts.unknown"], 2)
        self.assertIn("no-such-host.invalid", what)
        hosts.write_text("# one is too few\nlocalhost slots=1\n")
        self.names(self.two("--hostfile", hosts), ["hosts.slots"], 2)
        hosts.write_text("localhost slots=2\n")
        self.names(self.two("--hostfile", hosts), [], 0)

    @unittest.skipIf(shutil.which("nvidia-smi"), "there may be a GPU")
    def test_gpus_that_are_not_there(self):
        what, = self.names(self.two("--backend", "NCCL"), ["gpus.none"], 2)
        self.assertIn("no GPU for ranks 0-1 on ", what)

    def test_locks(self):
        run_dir = self.folder / "locked"
        run_dir.mkdir()
        lock = run_dir / "LOCK"
        lock.write_text("host elsewhere\npid 7\nstarted 2026-01-01T00:00:00Z\nlease 0123\n")
        what, = self.names(self.one("--run-dir", run_dir), ["lock.stale"], 0)
        self.assertIn("host elsewhere, pid 7, started 2026-01-01T00:00:00Z", what)
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            what, = self.names(self.one("--run-dir", run_dir), ["lock.held"], 4)
        self.assertIn("pid 7", what)
        self.assertIn("pid 7", lock.read_text())

    def test_little_shared_memory(self):
        wrap = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"', "sh")
        if subprocess.run([*wrap, "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("no mount namespaces here")
        self.names(self.two(wrap=wrap), ["limits.shm"], 0)

    def test_a_run_that_has_no_room(self):
        disk = self.tmpfs("size=300m")
        (self.folder / "data").mkdir()
        config = program.write_config(self.folder, program.prepare(self.folder / "data"))
        words = ("--config", config, "--run-dir", disk)
        self.names(self.one(*words), [], 0)
        what, = self.names(self.one(*words, "--set", "model.width=1024"), ["folder.space"], 7)
        self.assertRegex(what, r"\d+\.\d MiB free, \d+\.\d MiB are needed")

    def test_bandwidth_that_is_asked_for(self):
        self.names(self.two("--least-gbs", "1e6"), ["sums.slow"], 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
