#!/usr/bin/env python3
"""`cmake --install`, and another project that finds the package and links the libraries."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

BUILD = os.environ["DAGPAM_BUILD"]
CONSUMER = pathlib.Path(__file__).resolve().parent / "consumer"


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-install-"))
        cls.prefix = cls.folder / "opt"
        cls.call("cmake", "--install", BUILD, "--prefix", cls.prefix)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def call(cls, *words, code=0, **environment):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False,
                              cwd=cls.folder, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, timeout=600)
        if done.returncode != code:
            raise AssertionError(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def test_the_installed_programs_run(self):
        self.assertRegex(self.call(self.prefix / "bin" / "dagpam", "--version"), r"^\d+\.\d+\.\d+\n$")
        self.assertIn("nothing is wrong", self.call(self.prefix / "bin" / "dagpam", "doctor"))
        self.call(self.prefix / "bin" / "dagpam-tokenize", "--help")

    def test_the_installed_scripts_find_each_other(self):
        share = self.prefix / "share" / "dagpam"
        settings = self.folder / "mine.env"
        settings.write_text((share / "launch" / "cluster.env.example").read_text() + "\nDAGPAM=(dagpam)\n")
        said = self.call(share / "launch" / "mpirun_local", settings, "--version",
                         PATH=f"{self.prefix}/bin:{os.environ['PATH']}")
        self.assertIn("1 ranks, 1 threads each: dagpam --version", said)
        self.assertTrue((share / "configs" / "recipes" / "kjv_tiny.textproto").exists())
        self.assertTrue((self.prefix / "share" / "doc" / "dagpam" / "commands.md").exists())

    def test_another_project_links_the_libraries(self):
        build = self.folder / "build"
        self.call("cmake", "-S", CONSUMER, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        self.call("cmake", "--build", build)
        self.assertEqual(self.call(build / "consumer"), "12\n")  # 3 x 2 x 4 times 0.5: rows of weights sum to 1

    def test_headers_are_whole(self):
        headers = {path.relative_to(self.prefix / "include" / "dagpam").as_posix()
                   for path in (self.prefix / "include" / "dagpam").rglob("*.h")}
        for name in ("configs/run.pb.h", "attention/attention.h", "trainer/model/model.h", "parallel/communicator.h"):
            self.assertIn(name, headers)


if __name__ == "__main__":
    unittest.main(verbosity=2)
