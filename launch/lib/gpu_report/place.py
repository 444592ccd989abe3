"""Where the report's programs are: a checkout with its build folder, or the portable bundle of launch/bundle."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess


class Missing(Exception):
    """What the report cannot do without; one line that says what to do."""


def gpu_name():
    """Name of the first GPU, or Missing."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        raise Missing("no GPU: nvidia-smi is not on the path: run it where an NVIDIA GPU and its driver are")
    asked = subprocess.run([tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True,
                           timeout=60, check=False)
    names = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    if asked.returncode != 0 or not names:
        said = (asked.stderr or asked.stdout).strip().splitlines() or ["nothing"]
        raise Missing(f"no GPU: nvidia-smi says: {said[0]}")
    return names[0]


def nccl_version(library):
    """Of a libnccl.so.2, e.g. (2, 30, 7), by the text that it carries; (0, 0, 0) where that is not found."""
    found = re.search(rb"NCCL version (\d+)\.(\d+)\.(\d+)", pathlib.Path(library).read_bytes())
    return tuple(map(int, found.groups())) if found else (0, 0, 0)


class Place:
    """Programs, tests, recipes and corpus; commands are lists of words for subprocess."""

    def __init__(self, root, python=None, nccl=None, corpus=None):
        self.root = pathlib.Path(root)
        self.bundle = (self.root / "run").exists() and (self.root / "bin" / "dagpam").exists()
        program = self.root / ("bin/dagpam" if self.bundle else "build/bin/dagpam")
        if not program.exists():
            raise Missing(f"no program: {program} is missing: build it first (launch/test) or use a bundle")
        self.program = [str(self.root / "run"), "dagpam"] if self.bundle else [str(program)]
        self.rank_program = self.program[-1]  # under mpirun, where the bundle's environment holds already
        self.mpirun = [str(self.root / "run"), "mpirun"] if self.bundle else ["mpirun"]
        self.mpirun += ["--oversubscribe", "--bind-to", "none"]
        self.recipes = self.root / "configs" / "recipes"
        self.peers = self.root / "tests" / "peers"
        self.nccl = nccl or os.environ.get("DAGPAM_NCCL") or self._nccl_beside()
        self.corpus = corpus or self._corpus_beside()
        self.python, self.torch, self.why_no_torch = self._find_python(python)

    def _nccl_beside(self):
        found = sorted((self.root / "nccl").glob("libnccl.so.2*"))
        return str(found[0]) if found else None

    def _corpus_beside(self):
        for prefix in (self.root / "corpus" / "genesis", self.root / "runs" / "quickstart" / "data" / "text"):
            if prefix.with_suffix(".json").exists():
                return str(prefix)
        return None

    def _find_python(self, named):
        """A Python that has PyTorch, PyTorch's folder, or why there is none."""
        candidates = [named] if named else [os.environ.get("DAGPAM_PEER_PYTHON"),
                                            str(self.root / ".deps" / "libtorch" / "bin" / "python"), "python3"]
        why = "no Python with PyTorch was found"
        for python in candidates:
            if not python or not shutil.which(python):
                continue
            asked = subprocess.run([python, "-c", "import os, torch; print(os.path.dirname(torch.__file__))"],
                                   capture_output=True, text=True, timeout=180, check=False)
            if asked.returncode == 0:
                return python, asked.stdout.strip().splitlines()[-1], ""
            why = f"{python} has no PyTorch: {(asked.stderr.strip().splitlines() or ['no message'])[-1]}"
        return None, None, why

    def environment(self):
        """Of our own programs; the peers' is that of this script."""
        own = dict(os.environ)
        if self.torch:
            own.setdefault("DAGPAM_TORCH", self.torch)
        if os.geteuid() == 0:
            own.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        return own

    def peer(self, script, *arguments):
        """Words that run a script of tests/peers in the environment that this report was started in."""
        before = os.environ.get("LD_LIBRARY_PATH")
        reset = ["env", f"LD_LIBRARY_PATH={before}"] if before else ["env", "-u", "LD_LIBRARY_PATH"]
        return [*reset, self.python, str(self.peers / script), *map(str, arguments)]

    def ranks(self, count, *words):
        """Words that run a command on `count` ranks that may share a GPU."""
        switches = {"NCCL_MULTI_RANK_GPU_ENABLE": "1", "NCCL_NVLS_ENABLE": "0", "NCCL_MAX_CTAS": "4",
                    "OMP_NUM_THREADS": "2"}
        if self.nccl:
            switches["LD_PRELOAD"] = self.nccl
        return [*self.mpirun, "-n", str(count), "env", *(f"{k}={v}" for k, v in switches.items()), *words]

    def gpu_tests(self):
        """[(name, words)] of the tests labelled gpu."""
        if self.bundle:
            listed = json.loads((self.root / "tests" / "commands.json").read_text())
            return [(test["name"], [str(self.root / "run"), *test["command"]]) for test in listed]
        asked = subprocess.run(["ctest", "--test-dir", str(self.root / "build"), "-L", "^gpu$",
                                "--show-only=json-v1"], capture_output=True, text=True, timeout=60, check=True)
        return [(test["name"], test["command"]) for test in json.loads(asked.stdout)["tests"] if "command" in test]

    def clean(self, text, work):
        """Text without this machine's paths, for a file that others read."""
        for path, name in ((str(work), "OUT"), (f"{self.root}/", ""), (str(self.root), "."),
                           (str(self.python or "python3"), "python"), (str(self.nccl or "\0"), "NCCL")):
            text = text.replace(path, name)
        return re.sub(r"(?<![\w.:/])/(?:home|Users|root|work|mnt|scratch)/\S*/", "", text)

    def shell(self, words, work):
        return self.clean(shlex.join(words), work)
