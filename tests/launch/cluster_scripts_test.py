#!/usr/bin/env python3
"""launch/mpirun_local, launch/mpirun_hosts and the settings: what they start, what they refuse, how ranks are bound,
and that a run which is told to stop goes on."""
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest

import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"


class Scripts(unittest.TestCase):
    """In a folder of their own."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-cluster-"))
        cls.config = program.write_config(cls.folder, program.prepare(cls.folder))
        cls.environment = {k: v for k, v in program.ENVIRONMENT.items() if not k.startswith("OMP")}
        cls.environment["OMPI_ALLOW_RUN_AS_ROOT"] = cls.environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def settings(self, more=""):
        """The example as it is shipped, with a few lines after it."""
        path = self.folder / "mine.env"
        path.write_text((LAUNCH / "cluster.env.example").read_text() + f"\nCONFIG=({self.config})\n"
                        f"RUN_DIR={self.folder}/run\nDAGPAM=({program.BINARY})\n{more}\n")
        return path

    def executable(self, name, text):
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def call(self, script, *words, code=0, **environment):
        done = subprocess.run([LAUNCH / script, *map(str, words)], env={**self.environment, **environment},
                              capture_output=True, text=True, timeout=200, check=False, cwd=self.folder)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done


class ClusterScriptsTest(Scripts):
    def test_stopped_on_this_machine_it_goes_on(self):
        run_dir = self.folder / "run"
        steps = "--set train.steps=400 --set schedule.decay_steps=400 --set log.every=10"
        settings = self.settings(f"RANKS_PER_NODE=2\nTRAIN_OPTIONS=({steps})")
        job = subprocess.Popen([LAUNCH / "mpirun_local", settings], env=self.environment, cwd=self.folder, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        program.await_words(job, "step 30/")
        job.send_signal(signal.SIGTERM)
        said, errors = job.communicate(timeout=100)
        self.assertEqual(job.returncode, 8, said + errors)
        self.assertIn("nothing is wrong", said)
        self.assertRegex(said, r"exit 8 \(saved on a signal\); step \d+ of 400 is saved")
        said = self.call("mpirun_local", settings).stdout
        self.assertIn("exit 0 (done); step 400 of 400 is saved", said)
        program.check("train", "--config", self.config, *steps.split(), "--run-dir", self.folder / "whole", ranks=2)
        program.check("ckpt", "diff", self.folder / "whole", run_dir)

    def test_hosts_get_ranks_and_variables(self):
        # Two other hosts that are this one, with nothing of our environment, and each with a /tmp of its own.
        shell = self.executable("ssh_to_here", f'#!/bin/sh\nhome={self.folder}/$1\nmkdir -p "$home"\nshift\n'
                                               'exec env -i PATH="$PATH" HOME=/ TMPDIR="$home" sh -c "$*"\n')
        hosts = self.folder / "hosts"
        hosts.write_text("# two others\n192.0.2.1 slots=1\n192.0.2.2 slots=1\n")  # no names: none is looked up
        settings = self.settings(f"HOSTFILE={hosts}\nexport NCCL_ALGO=Ring\nRANKS_PER_NODE=1")
        said = self.call("mpirun_hosts", settings, "doctor", "--seconds", "0.02",
                         OMPI_MCA_plm_rsh_agent=str(shell)).stdout
        self.assertIn("2 ranks on 2 nodes", said)
        self.assertIn("variable   NCCL_ALGO=Ring\n", said)
        hosts.write_text("# this machine\nlocalhost slots=2\n")
        settings = self.settings(f"HOSTFILE={hosts}\nexport NCCL_ALGO=Ring")
        said = self.call("mpirun_hosts", settings, "doctor", "--seconds", "0.02").stdout
        self.assertIn("2 ranks on 1 nodes", said)
        self.assertIn("variable   NCCL_ALGO=Ring\n", said)
        self.assertIn("nothing is wrong", said)

    def test_hosts_are_asked_first(self):
        hosts = self.folder / "others"
        hosts.write_text("far1 slots=1\nfar2 slots=1\n")
        settings = self.settings(f"HOSTFILE={hosts}")
        shell = self.executable("shell", '#!/bin/sh\necho "$1" >>asked\n'
                                         'if [ "$1" = far1 ]; then shift; exec sh -c "$*"; fi\necho no route >&2; exit 255\n')
        said = self.call("mpirun_hosts", settings, code=2, OMPI_MCA_plm_rsh_agent=str(shell)).stderr
        self.assertRegex(said, r"far2: cannot start .* \(no route\)")
        self.assertEqual((self.folder / "asked").read_text(), "far1\nfar2\n")
        self.assertIn("HOSTFILE='nowhere': cannot be read",
                      self.call("mpirun_hosts", self.settings("HOSTFILE=nowhere"), code=2).stderr)
        hosts.write_text("localhost slots=x\n")
        settings = self.settings(f"HOSTFILE={hosts}")
        self.assertIn("slots=x: expected a whole number", self.call("mpirun_hosts", settings, code=2).stderr)

    def test_settings_that_cannot_be(self):
        for more, words in (("RANKS_PER_NODE=two", "RANKS_PER_NODE='two': expected a whole number"),
                            ("THREADS=0", "THREADS and NODES are 1 at least"), ("RUN_DIR=", "RUN_DIR is missing"),
                            ("CONFIG=()", "CONFIG is missing"), ("DAGPAM=(./nothing)", "no './nothing' here"),
                            ("HOSTFILE=(", "bash cannot read it")):
            for script in ("mpirun_local", "slurm.sbatch"):
                self.assertIn(words, self.call(script, self.settings(more), code=2).stderr)
        self.assertIn("no such settings", self.call("mpirun_local", "nothing.env", code=2).stderr)
        self.assertIn("the settings are missing", self.call("mpirun_hosts", code=2).stderr)

    def test_the_doctor_comes_first(self):
        run_dir = self.folder / "run_of_doctor"
        more = f"RUN_DIR={run_dir}\nexport NCCL_SOCKET_IFNAME=nosuch0"
        done = self.call("mpirun_local", self.settings(more), code=2)
        self.assertIn("network.interface", done.stdout)
        self.assertIn("the doctor found an error (exit 2)", done.stderr)
        self.assertFalse(run_dir.exists())
        done = self.call("mpirun_local", self.settings(more + "\nPREFLIGHT=0\nTRAIN_OPTIONS=(--set train.steps=20)"))
        self.assertIn("step 20 of 20 is saved", done.stdout)

    def test_what_sbatch_is_given(self):
        self.executable("sbatch", '#!/bin/sh\nprintf "%s\\n" "$@"\n')
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        settings = self.settings("NODES=3\nTHREADS=4\nSLURM_OPTIONS=(--partition=gpu --gpus-per-node=h100:8)")
        words = self.call("slurm.sbatch", settings, "doctor", PATH=path).stdout.split("\n")[:-1]
        self.assertEqual(words, ["--nodes=3", "--ntasks-per-node=8", "--cpus-per-task=4", "--partition=gpu",
                                 "--gpus-per-node=h100:8", str(LAUNCH / "slurm.sbatch"), str(settings), "doctor"])


class BindRankTest(Scripts):
    """Cores of ranks, on a machine of its own making: GPUs 0 and 1 beside cores 0-3, 2 and 3 beside 4-7."""

    def bound(self, rank, ranks=4, threads=2, allowed="0-7", gpus=True, **environment):
        """What bind_rank tells taskset, or '' where it leaves the rank alone."""
        system = self.folder / "sys"
        for node, cores in ((0, "0-3"), (1, "4-7")):
            folder = system / "devices" / "system" / "node" / f"node{node}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cpulist").write_text(cores + "\n")
        for gpu in range(4):
            folder = system / "bus" / "pci" / "devices" / f"0000:{gpu}b:00.0"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "numa_node").write_text(f"{gpu // 2}\n")
        self.executable("taskset", '#!/bin/sh\necho "$2"\n')
        self.executable("awk", f"#!/bin/sh\necho '{allowed}'\n")  # in place of /proc/self/status
        self.executable("nvidia-smi", '#!/bin/sh\necho "00000000:${4}B:00.0"\n' if gpus else "#!/bin/sh\nexit 9\n")
        done = subprocess.run([LAUNCH / "lib" / "bind_rank", "echo"], capture_output=True, text=True, check=False, env={
            "PATH": f"{self.folder}/bin:/usr/bin:/bin", "DAGPAM_SYSFS": str(system), "DAGPAM_THREADS": str(threads),
            "OMPI_COMM_WORLD_LOCAL_RANK": str(rank), "OMPI_COMM_WORLD_LOCAL_SIZE": str(ranks), **environment})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_ranks_get_cores_beside_their_gpu(self):
        self.assertEqual([self.bound(rank) for rank in range(4)], ["0,1", "2,3", "4,5", "6,7"])
        # Of the cores that may be used alone: of a control group, or of another launcher.
        self.assertEqual([self.bound(rank, threads=1, allowed="2,3,6-7") for rank in range(4)], ["2", "3", "6", "7"])

    def test_the_gpus_that_are_visible_count(self):
        self.assertEqual(self.bound(0, ranks=2, CUDA_VISIBLE_DEVICES="3,0"), "4,5")
        self.assertEqual(self.bound(1, ranks=2, CUDA_VISIBLE_DEVICES="3,0"), "0,1")

    def test_ranks_without_gpus_share_out_the_cores(self):
        self.assertEqual([self.bound(rank, gpus=False) for rank in range(4)], ["0,1", "2,3", "4,5", "6,7"])
        self.assertEqual(self.bound(1, ranks=2, threads=3, gpus=False), "3,4,5")

    def test_where_cores_are_few_or_given_nothing_is_changed(self):
        self.assertEqual(self.bound(0, threads=2, allowed="4,5"), "")
        self.assertEqual(self.bound(3, threads=2, allowed="0-5", gpus=False), "")
        self.assertEqual(self.bound(3, threads=3), "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
