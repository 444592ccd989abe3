"""What a run folder tells of its run: metrics.jsonl line by line, checked as it is read (docs/metrics.md)."""
import dataclasses
import json
import math
import pathlib

NUMBERS = ("loss", "lr", "grad_norm", "tokens_per_s", "step_ms", "mfu", "memory_gib")
SPLITS = ("valid", "test")


class Bad(Exception):
    """A run that cannot be read: one line for the user."""


@dataclasses.dataclass
class History:
    folder: pathlib.Path
    label: str = ""
    steps: list = dataclasses.field(default_factory=list)  # lines of training, and "time_s": seconds spent on steps
    evaluations: dict = dataclasses.field(default_factory=dict)  # split -> lines

    def at(self, step, axis):
        """Tokens or seconds at a step: on a straight line between two lines, from 0 at step 0."""
        if axis == "step":
            return step
        before = {"step": 0, "tokens": 0, "time_s": 0.0}
        for line in self.steps:
            if line["step"] >= step:
                share = (step - before["step"]) / (line["step"] - before["step"])
                return before[axis] + share * (line[axis] - before[axis])
            before = line
        return before[axis]


def is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value):
    return value is None or isinstance(value, (int, float)) and not isinstance(value, bool)


def what_is_wrong(line):
    """Of a parsed line; "" of a good one."""
    if not isinstance(line, dict):
        return "no JSON object"
    if not is_whole(line.get("step")):
        return f"step: {line.get('step')!r}, expected a whole number"
    if "split" in line:
        if line["split"] not in SPLITS:
            return f"split: {line['split']!r}, expected valid or test"
        names = ("nll", "ppl")
    elif is_whole(line.get("tokens")):
        names = NUMBERS
    else:
        return f"tokens: {line.get('tokens')!r}, expected a whole number"
    wrong = [name for name in names if not is_number(line.get(name))]
    return f"{wrong[0]}: {line[wrong[0]]!r} is no number" if wrong else ""


def parse(text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def add(history, line):
    """"" or why the line cannot follow."""
    lines = history.evaluations.setdefault(line["split"], []) if "split" in line else history.steps
    before = lines[-1] if lines else {"step": -1 if "split" in line else 0, "time_s": 0.0}
    if line["step"] <= before["step"]:
        return f"step {line['step']} after step {before['step']}"
    if "split" not in line:
        spent = (line.get("step_ms") or 0) * (line["step"] - before["step"]) / 1e3
        line["time_s"] = before["time_s"] + (spent if math.isfinite(spent) else 0.0)
    lines.append(line)
    return ""


def read(folder):
    """The run of a folder. A last line without its end is being written, and is left out."""
    history = History(pathlib.Path(folder))
    path = history.folder / "metrics.jsonl"
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise Bad(f"{path}: cannot be read: {error.strerror}: name the folder of a run that has begun") from error
    for number, one in enumerate(text.split("\n")[:-1], 1):
        line = parse(one)
        wrong = what_is_wrong(line) or add(history, line)
        if wrong:
            raise Bad(f"{path}:{number}: {wrong}: the file is damaged; remove the line, or take a copy of the file")
    return history


def read_all(folders):
    """The runs of folders, each with a label of its own: the folder's last name, longer where two are the same."""
    histories = [read(folder) for folder in folders]
    paths = [history.folder.resolve() for history in histories]
    for folder, path in zip(folders, paths):
        if paths.count(path) > 1:
            raise Bad(f"{folder}: named twice: name each run once")
    for history, path in zip(histories, paths):
        for names in range(1, len(path.parts) + 1):
            tails = ["/".join(other.parts[-names:]) for other in paths]
            history.label = "/".join(path.parts[-names:])
            if tails.count(history.label) == 1:
                break
    return histories
