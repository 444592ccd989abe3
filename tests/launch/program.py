"""What the tests of the program share: running it, small texts and configs, reading its files."""
import json
import os
import pathlib
import random
import subprocess
import time

BINARY = os.environ["DAGPAM_BINARY"]
MPIRUN = os.environ.get("DAGPAM_MPIRUN", "mpirun")

# Where it is set, mpirun takes that long after every abort.
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if k != "OMPI_MCA_odls_base_sigkill_timeout"},
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


# Of metrics.jsonl: times and memory; all else repeats itself bit by bit.
TIMES = ("tokens_per_s", "step_ms", "mfu", "memory_gib")


def children(pid):
    """The processes that `pid` has started, in order."""
    return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(process):
    """Whether it is there, and not only waits for its parent to look at its end."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def listing(folder):
    """Every path below `folder` with its bytes."""
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None
            for p in pathlib.Path(folder).rglob("*")}


def untimed(lines):
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def command(*arguments, ranks=1, exported=(), binary=BINARY):
    words = [binary, *map(str, arguments)]
    exports = [word for name in exported for word in ("-x", name)]
    return words if ranks == 1 else [MPIRUN, "--oversubscribe", *exports, "-n", str(ranks), *words]


def run(*arguments, ranks=1, timeout=300, environment=None, binary=BINARY, **options):
    """Runs the program to its end; the result has returncode, stdout and stderr as text."""
    environment = environment or {}
    words = command(*arguments, ranks=ranks, exported=[f"{k}={v}" for k, v in environment.items()], binary=binary)
    return subprocess.run(words, env={**ENVIRONMENT, **environment}, timeout=timeout, capture_output=True, text=True,
                          **options)


def check(*arguments, **options):
    """run(), and an exception with what the program said where it did not end with 0."""
    done = run(*arguments, **options)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def await_words(job, words):
    """Reads what a job that was started with a pipe for its errors says, until a line has `words` in it."""
    for line in job.stderr:
        if words in line:
            return
    raise AssertionError(f"'{words}' was not said")


def await_open(job, path, part=""):
    """Waits until a job of one rank has a file open whose name begins with `path` and has `part` in it."""
    descriptors = pathlib.Path(f"/proc/{job.pid}/fd")
    while True:
        if job.poll() is not None:
            raise AssertionError(f"{path} was not opened: {job.stderr.read()}")
        for descriptor in descriptors.iterdir():
            try:
                name = os.readlink(descriptor)
            except OSError:
                continue
            if name.startswith(str(path)) and part in name[len(str(path)):]:
                return
        time.sleep(0.001)


def write_text(path, characters, seed):
    """Made-up words with a little structure, so that a model has something to learn."""
    rng = random.Random(seed)
    words = ["".join(rng.choice("abcdefgh") for _ in range(rng.randint(2, 6))) for _ in range(60)]
    lines, length = [], 0
    while length < characters:
        line = " ".join(rng.choice(words[: rng.choice([8, 60])]) for _ in range(rng.randint(3, 9)))
        lines.append(line)
        length += len(line) + 1
    pathlib.Path(path).write_text("\n".join(lines)[:characters - 1] + "\n")


def prepare(folder, characters=40_000, valid_characters=4_000):
    """A character data set in `folder`; returns its prefix."""
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    write_text(folder / "train.txt", characters, seed=1)
    write_text(folder / "valid.txt", valid_characters, seed=1)
    prefix = folder / "text"
    check("data", "prepare", "--train", folder / "train.txt", "--valid", folder / "valid.txt",
          "--tokenizer", "char", "--out", prefix)
    return prefix


CONFIG = """
model { layers: 2 width: 32 heads: 4 context: 32 dropout: 0.1 attention_dropout: 0.1 }
attention { kind: DAGPAM }
data { train { prefix: "%(prefix)s" } valid: "%(prefix)s" }
optimizer { lr: 1e-3 }
schedule { warmup_steps: 10 }
train { steps: 100 global_batch: 8 eval_every: 50 }
checkpoint { every: 50 keep: 0 }
log { every: 1 }
"""


def write_config(folder, prefix, text=CONFIG):
    path = pathlib.Path(folder) / "config.textproto"
    path.write_text(text % {"prefix": prefix})
    return path


def metrics(run_dir):
    """The lines of metrics.jsonl of training steps, and those of evaluations."""
    lines = [json.loads(line) for line in (pathlib.Path(run_dir) / "metrics.jsonl").read_text().splitlines()]
    return [m for m in lines if "loss" in m], [m for m in lines if "split" in m]
