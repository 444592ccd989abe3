"""Finished runs in one file that outlives run folders and goes from machine to machine: --results.

JSON Lines, a line a run, by name: run, variant, seed, tuned, config (as the program prints it), data (prefix -> digest of
what the program says of its texts), record (of all starts), metrics (evaluations whole, steps in CURVE_POINTS stretches).
A run that is there is laid into the sweep's folder as it would be after its checkpoints were removed.
"""
import dataclasses
import hashlib
import json
import math
import pathlib
import statistics
from typing import Any

from . import plan, textproto
from .failure import BAD_DATA, DIVERGED, IN_USE, Failure
from .folder import DONE, FAILED, NEW, Metrics, Record, write_whole
from .plan import Run
from .resolve import data_prefixes
from .runner import Runner
from .table import CURVE_POINTS

KEYS = {"run": str, "variant": str, "seed": int, "tuned": dict, "config": str, "data": dict, "record": dict,
        "metrics": list}


def digests_in(value: Any, path: str = "") -> list[str]:
    """Every digest of a PREFIX.json, with its place in it; names and sizes of files say nothing more."""
    if not isinstance(value, dict):
        return [word for at, item in enumerate(value) for word in digests_in(item, f"{path}.{at}")] if isinstance(
            value, list) else []
    own = [f"{path}.{key}={item}" for key, item in value.items() if "digest" in key and isinstance(item, str)]
    return own + [word for key, item in value.items() for word in digests_in(item, f"{path}.{key}")]


def data_digests(config: str) -> dict[str, str]:
    """Of the data sets that a configuration names, as far as they have a PREFIX.json."""
    found = {}
    for prefix in data_prefixes(config):
        try:
            told = json.loads(pathlib.Path(f"{prefix}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found[prefix] = hashlib.sha256("\n".join(sorted(digests_in(told))).encode()).hexdigest()[:32]
    return found


def thinned(metrics: Metrics) -> list[dict[str, Any]]:
    """Lines as the program writes them, fewer: a stretch has its last step, mean loss, median time, peak memory."""
    width = max(1, math.ceil(len(metrics.steps) / CURVE_POINTS))
    lines: list[dict[str, Any]] = []
    for at in range(0, len(metrics.steps), width):
        part = [line for _, line in metrics.steps[at:at + width]]
        line: dict[str, Any] = {"step": metrics.steps[at:at + width][-1][0], "loss": None}
        for key, middle, digits in (("loss", statistics.fmean, 5), ("step_ms", statistics.median, 3),
                                    ("memory_gib", max, 4)):
            values = [entry[key] for entry in part if isinstance(entry.get(key), (int, float))]
            if values:
                line[key] = round(middle(values), digits)
        lines.append(line)
    return sorted(lines + [line for _, line in metrics.evaluations], key=lambda line: line["step"])


def what_is_wrong(entry: Any) -> str:
    if not isinstance(entry, dict):
        return "no object"
    missing = [key for key, kind in KEYS.items() if not isinstance(entry.get(key), kind)]
    if missing:
        return f"no {missing[0]}"
    return "no record" if set(entry["record"]) != {field.name for field in dataclasses.fields(Record)} else ""


def read(path: pathlib.Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """Run -> line number and entry. Throws naming file, line and key; a file that is not there has no runs."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Failure(f"{path}: cannot be read ({error}): name the file that --results wrote", BAD_DATA) from error
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
            wrong = what_is_wrong(entry)
        except ValueError:
            entry, wrong = {}, "no object"
        if not wrong and entry["run"] in found:
            wrong = f"{entry['run']} is there twice"
        if wrong:
            raise Failure(f"{path}:{number}: {wrong}: not a line of a file that --results wrote: remove it", BAD_DATA)
        found[entry["run"]] = number, entry
    return found


def take(runner: Runner, path: pathlib.Path) -> None:
    """Lays the runs of the file that the sweep needs and has not begun into its folder.

    Throws, before anything is written, where one of them is another run than the sweep file says now.
    """
    known, todo = read(path), []
    for run in plan.every_run(runner.sweep):
        if run.name not in known or runner.state(run) != NEW:
            continue
        number, entry = known[run.name]
        place = f"{path}:{number}: {run.name}"
        found = runner.resolver.what_differs(place, entry["config"], run)
        if found:
            raise Failure(f"{place}: {found}: undo the change in {runner.sweep.path}, or give the variant another "
                          "name, or remove this line to run it anew", IN_USE)
        now = data_digests(runner.resolver.ask(run).config)
        other = next((prefix for prefix, digest in entry["data"].items() if now.get(prefix, digest) != digest), None)
        if other:
            raise Failure(f"{place}: made from other data than {other} has now: prepare the data again as the recipe "
                          "says, or name another file", IN_USE)
        todo.append((run, entry))
    for run, entry in todo:
        runner.folder.lay(run, entry["config"], entry["metrics"], Record(**entry["record"]))
        runner.forget(run)
    if todo:
        runner.options.say(f"{len(todo)} finished runs come from {path}")


def entry_of(runner: Runner, run: Run) -> dict[str, Any]:
    config = (runner.folder.run_dir(run) / "config.textproto").read_text(encoding="utf-8")
    return {"run": run.name, "variant": run.variant, "seed": run.seed, "tuned": dict(run.tuned), "config": config,
            "data": data_digests(config), "record": dataclasses.asdict(runner.folder.record(run)),
            "metrics": thinned(runner.folder.metrics(run))}


def is_result(runner: Runner, run: Run) -> bool:
    state = runner.state(run)
    return state == DONE or (state == FAILED and runner.folder.record(run).exit_code == DIVERGED)


def add(runner: Runner, path: pathlib.Path) -> None:
    """Adds what is done, or diverged; other lines stay as they are."""
    known = {name: entry for name, (_, entry) in read(path).items()}
    fresh = [run for run in plan.every_run(runner.sweep) if run.name not in known and is_result(runner, run)]
    if not fresh:
        return
    known |= {run.name: entry_of(runner, run) for run in fresh}
    write_whole(path, "".join(json.dumps(known[name]) + "\n" for name in sorted(known)))
    runner.options.say(f"added {len(fresh)} finished runs to {path}")
