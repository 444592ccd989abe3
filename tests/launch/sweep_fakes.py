"""What the tests of launch/sweep share: a stand-in for the dagpam program, sweep files for it, calls."""
import json
import os
import pathlib
import stat
import subprocess
import tempfile
import textwrap
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "launch" / "sweep"

PROGRAM = r'''#!/usr/bin/env python3
"""train --dry-run, train, --version. Losses follow from the settings; CALLS gets a line a start of a run."""
import json, os, pathlib, signal, sys, time

KNOWN = {"name": "run", "model.layers": "2", "attention.kind": "SOFTMAX", "data.valid": '"v"', "optimizer.lr": "0.001",
         "train.steps": "10", "train.seed": "1", "log.every": "1", "checkpoint.every": "0", "parallel.tensor": "1"}
EFFECT = {"SOFTMAX": 0.0, "SOFTMAX_WIDE": -0.1, "DAGPAM": -0.3}
HERE = pathlib.Path(os.environ["FAKE_FOLDER"])


def fail(message, code):
    print(f"dagpam: {message}", file=sys.stderr)
    sys.exit(code)


def config_text(values):
    lines, blocks = [f"name: \"{values['name']}\""], {}
    for path, value in values.items():
        if "." in path and value:
            block, _, field = path.partition(".")
            blocks.setdefault(block, []).append(f"  {field}: {value}")
    for block, fields in blocks.items():
        lines += [block + " {", *fields, "}"]
    return "\n".join(lines) + "\n"


def main():
    words = sys.argv[1:]
    if words == ["--version"]:
        return print("9.9.9")
    values, options = dict(KNOWN), {}
    for flag, word in zip(words, words[1:]):
        if flag == "--config":
            for line in pathlib.Path(word).read_text().splitlines():
                if "=" in line:
                    values[line.split("=")[0]] = line.split("=")[1]
        if flag == "--set":
            path, _, value = word.partition("=")
            if path not in KNOWN:
                fail(f"--set {path}: unknown field: did you mean model.layers?", 2)
            values[path] = f'"{value}"' if path == "data.valid" and value else value
        elif flag.startswith("--"):
            options[flag] = word
    if values["data.valid"] == '"missing"':
        fail("missing.json: cannot be read", 3)
    steps = int(values["train.steps"])
    if "--dry-run" in words:
        print(f"run x\nparameters {1000 + len(values['attention.kind'])} (1 in matrix products)")
        print(f"batch      4 sequences = 64 tokens a step; a rank\nlength     {steps} steps = 1 tokens\n")
        return print(config_text(values), end="")
    train(values, steps, pathlib.Path(options["--run-dir"]), float(options.get("--max-minutes", 1e9)))


def train(values, steps, folder, minutes):
    began, stop = time.monotonic(), []
    signal.signal(signal.SIGUSR1, lambda *_: stop.append(8))
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "config.textproto").write_text(config_text(values))
    saved = max([int(p.name[5:]) for p in (folder / "checkpoints").iterdir()], default=0)
    with open(HERE / "calls", "a") as calls:
        calls.write(f"{folder.name} from {saved} cores {sorted(os.sched_getaffinity(0))} gpus "
                    f"{os.environ.get('CUDA_VISIBLE_DEVICES')} threads {os.environ['OMP_NUM_THREADS']}\n")
    kept = [line for line in (folder / "metrics.jsonl").read_text().splitlines()
            if json.loads(line)["step"] <= saved] if (folder / "metrics.jsonl").exists() else []
    (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in kept))
    nll = (2 + EFFECT[values["attention.kind"]] + 0.01 * int(values["train.seed"]) ** 2
           + 1000 * abs(float(values["optimizer.lr"]) - 0.002))
    with open(folder / "metrics.jsonl", "a") as out:
        for step in range(saved + 1, steps + 1):
            time.sleep(float((HERE / "step_s").read_text()))
            if values["model.layers"] == "99" and step == 3:
                fail("step 3: loss is not finite", 5)
            line = {"step": step, "loss": nll + 1 / step, "step_ms": 10.0 + step, "memory_gib": 0.5}
            out.write(json.dumps(line) + "\n")
            out.flush()
            if step < steps and (stop or time.monotonic() - began > 60 * minutes):
                (folder / "checkpoints" / f"step-{step:08d}").mkdir()
                sys.exit(stop[0] if stop else 0)
        out.write(json.dumps({"step": steps, "split": "valid", "nll": nll, "ppl": 1.0}) + "\n")
    (folder / "checkpoints" / f"step-{steps:08d}").mkdir()


main()
'''

SWEEP = """
recipes = ["recipe.textproto"]
seeds = [1, 2, 3]
baseline = "plain"
control = "wide"
[[variant]]
name = "plain"
[[variant]]
name = "wide"
set.attention.kind = "SOFTMAX_WIDE"
[[variant]]
name = "ours"
set.attention.kind = "DAGPAM"
"""


def write_script(path: pathlib.Path, text: str) -> None:
    path.write_text(textwrap.dedent(text))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make(folder: pathlib.Path) -> None:
    """`dagpam`, `recipe.textproto` and `sweep.toml` in the folder; a step takes no time."""
    write_script(folder / "dagpam", PROGRAM)
    (folder / "recipe.textproto").write_text("model.layers=2\n")
    (folder / "sweep.toml").write_text(SWEEP)
    (folder / "step_s").write_text("0")


class SweepTest(unittest.TestCase):
    """A folder with all of that, and calls of launch/sweep in it."""

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = pathlib.Path(self.temporary.name)
        self.out = self.folder / "runs" / "sweep"
        make(self.folder)

    def environment(self, **more):
        return {**os.environ, "FAKE_FOLDER": str(self.folder), "DAGPAM_FIGURES_PYTHON": "", **more}

    def words(self, *arguments, file="sweep.toml"):
        return [str(SCRIPT), file, "--program", "./dagpam", *map(str, arguments)]

    def sweep(self, *arguments, code=0, file="sweep.toml", **environment):
        done = subprocess.run(self.words(*arguments, file=file), cwd=self.folder, capture_output=True, text=True,
                              timeout=120, env=self.environment(**environment), check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def start(self, *arguments):
        job = subprocess.Popen(self.words(*arguments), cwd=self.folder, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, env=self.environment())
        self.addCleanup(job.stdout.close)
        return job

    def edit(self, old, new):
        path = self.folder / "sweep.toml"
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))

    def add(self, text):
        """At the top of the sweep file."""
        path = self.folder / "sweep.toml"
        path.write_text(text + "\n" + path.read_text())

    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def slow(self, seconds):
        (self.folder / "step_s").write_text(str(seconds))

    def table(self):
        return json.loads((self.out / "table.json").read_text())

    def await_step(self, run, step, limit=60):
        end = time.monotonic() + limit
        path = self.out / "runs" / run / "metrics.jsonl"
        while time.monotonic() < end:
            if path.exists() and path.read_text().count("\n") >= step:
                return
            time.sleep(0.02)
        self.fail(f"{run} never came to step {step}")
