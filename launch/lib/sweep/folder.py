"""The folder of a sweep: where everything is, what became of each run, and the lock on it.

SWEEP/runs/RUN are run folders of the program (docs/formats.md), SWEEP/logs/RUN.log what it printed,
SWEEP/state/RUN.json what the sweep knows of its starts.
"""
import dataclasses
import fcntl
import json
import os
import pathlib
import socket
from typing import Any, TextIO

from .failure import BAD_DISK, IN_USE, Failure
from .plan import Run

DONE, FAILED, INTERRUPTED, NEW = "done", "failed", "interrupted", "new"


@dataclasses.dataclass
class Record:
    """Of all starts of a run together."""
    starts: int = 0
    seconds: float = 0.0
    exit_code: int | None = None  # of the last start; None: it never ended under the sweep's eyes
    failed: bool = False
    message: str = ""  # the program's last words where it failed
    machine: str = ""  # of the last start
    version: str = ""  # of the program then


@dataclasses.dataclass(frozen=True)
class Metrics:
    """What is in metrics.jsonl. Steps and evaluations are (step, line), in order."""
    steps: list[tuple[int, dict[str, Any]]]
    evaluations: list[tuple[int, dict[str, Any]]]

    def last_step(self) -> int:
        return max([step for step, _ in self.steps + self.evaluations], default=0)

    def final(self, split: str, step: int) -> dict[str, Any] | None:
        return next((line for at, line in self.evaluations if at == step and line["split"] == split), None)


def read_metrics(path: pathlib.Path) -> Metrics:
    """Lines that a kill cut short, and any others that are none of the program's, are left out."""
    steps, evaluations = [], []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            continue
        if "split" in entry and "nll" in entry:
            evaluations.append((entry["step"], entry))
        elif "loss" in entry:
            steps.append((entry["step"], entry))
    return Metrics(steps, evaluations)


def write_whole(path: pathlib.Path, text: str) -> None:
    """The file has its old content or the new one, whatever happens."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise Failure(f"{path}: cannot be written ({error.strerror}): check the disk and who owns the folder, then "
                      "run again", BAD_DISK) from error


class Folder:
    def __init__(self, root: pathlib.Path):
        self.root = root

    def run_dir(self, run: Run) -> pathlib.Path:
        return self.root / "runs" / run.name

    def log(self, run: Run) -> pathlib.Path:
        return self.root / "logs" / f"{run.name}.log"

    def metrics(self, run: Run) -> Metrics:
        return read_metrics(self.run_dir(run) / "metrics.jsonl")

    def record(self, run: Run) -> Record:
        try:
            known = json.loads((self.root / "state" / f"{run.name}.json").read_text(encoding="utf-8"))
            return Record(**{field.name: known[field.name] for field in dataclasses.fields(Record)})
        except (OSError, ValueError, KeyError, TypeError):
            return Record()

    def keep_record(self, run: Run, record: Record) -> None:
        write_whole(self.root / "state" / f"{run.name}.json", json.dumps(dataclasses.asdict(record)) + "\n")

    def lay(self, run: Run, config: str, metrics: list[dict[str, Any]], record: Record) -> None:
        """A run that was made elsewhere: all but its checkpoints. The record is what makes it one, so it comes last."""
        write_whole(self.run_dir(run) / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics))
        write_whole(self.run_dir(run) / "config.textproto", config)
        self.keep_record(run, record)

    def state(self, run: Run, steps: int, splits: list[str]) -> str:
        """done once every split has been evaluated at the last step, and that step was saved or the run ended well.

        Checkpoints may be removed afterwards; a run that was killed between its last evaluation and its save goes on.
        """
        record, folder = self.record(run), self.run_dir(run)
        if record.failed:
            return FAILED
        metrics = self.metrics(run)
        if all(metrics.final(split, steps) for split in splits) and (
                splits or metrics.last_step() == steps) and (
                record.exit_code == 0 or (folder / "checkpoints" / f"step-{steps:08d}").is_dir()):
            return DONE
        return INTERRUPTED if record.starts or (folder / "config.textproto").exists() else NEW


def hold(path: pathlib.Path, shared: bool, what: str) -> TextIO:
    """A lock that ends with the returned file, or with the process. Throws where somebody else holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = open(path, "a+", encoding="utf-8")
        fcntl.flock(held, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Failure(f"{path}: {what} is being worked on by another launch/sweep: wait for its end, or stop it",
                      IN_USE) from error
    except OSError as error:
        raise Failure(f"{path}: cannot be locked ({error.strerror}): keep sweeps in a folder that can be written to",
                      BAD_DISK) from error
    return held
