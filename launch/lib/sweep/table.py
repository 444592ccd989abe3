"""The table of a sweep: a row a variant, from what the runs left in their folders. table.json and table.csv."""
import csv
import dataclasses
import io
import json
import math
import statistics
from typing import Any

from . import stats, textproto
from .folder import DONE, FAILED, Folder, Metrics
from .plan import Row, Run, chosen, tuning_runs
from .runner import Runner
from .spec import METRICS, Sweep

CURVE_POINTS = 120  # of training losses: means of as many stretches


def measure(line: dict[str, Any] | None, metric: str) -> float | None:
    """The metric from an evaluation's line; None where it is missing or not finite."""
    nll = line.get("nll") if line else None
    if not isinstance(nll, (int, float)) or not math.isfinite(nll):
        return None
    if metric.endswith("_bits"):
        return nll / math.log(2)
    return math.exp(min(nll, 700)) if metric.endswith("_ppl") else float(nll)


def numbers(metrics: Metrics, key: str) -> list[float]:
    return [line[key] for _, line in metrics.steps if isinstance(line.get(key), (int, float))]


def training_curve(metrics: Metrics) -> list[tuple[float, float]]:
    """Steps and losses, averaged in CURVE_POINTS stretches of the run."""
    points = [(step, line["loss"]) for step, line in metrics.steps if isinstance(line["loss"], (int, float))]
    width = max(1, math.ceil(len(points) / CURVE_POINTS))
    parts = [points[at:at + width] for at in range(0, len(points), width)]
    return [(statistics.fmean(x for x, _ in part), statistics.fmean(y for _, y in part)) for part in parts]


def describe_run(runner: Runner, run: Run) -> dict[str, Any]:
    """What is known of one run; `value` only where it is done."""
    sweep, folder = runner.sweep, runner.folder
    metrics, record, state = folder.metrics(run), folder.record(run), runner.state(run)
    answer = runner.resolver.ask(run)
    split = METRICS[sweep.metric][0]
    step_ms, memory = numbers(metrics, "step_ms"), numbers(metrics, "memory_gib")
    valid = metrics.final("valid", answer.steps)
    return {
        "run": run.name, "variant": run.variant, "seed": run.seed, "tuned": dict(run.tuned), "state": state,
        "value": measure(metrics.final(split, answer.steps), sweep.metric) if state == DONE else None,
        "valid_nll": measure(valid, "valid_nll") if state == DONE else None,
        "step": metrics.last_step(), "steps": answer.steps, "parameters": answer.parameters,
        "step_ms": statistics.median(step_ms) if step_ms else None, "memory_gib": max(memory, default=None),
        "minutes": record.seconds / 60, "exit_code": record.exit_code, "message": record.message,
        "machine": record.machine, "version": record.version,
        "training": training_curve(metrics),
        "evaluations": [(step, line["nll"]) for step, line in metrics.evaluations
                        if line["split"] == "valid" and isinstance(line["nll"], (int, float))],
    }


def state_in_words(runs: list[dict[str, Any]]) -> str:
    """Of a variant's runs, what a reader of its mean must know."""
    counts = {state: sum(1 for run in runs if run["state"] == state) for state in {run["state"] for run in runs}}
    diverged = sum(1 for run in runs if run["state"] == FAILED and run["exit_code"] == 5)
    words = [f"{counts.get(DONE, 0)} of {len(runs)} done"]
    if diverged:
        words.append(f"{diverged} diverged")
    if counts.get(FAILED, 0) > diverged:
        words.append(f"{counts[FAILED] - diverged} failed")
    return ", ".join(words)


def why_no_runs(name: str, tuning: list[dict[str, Any]]) -> str:
    tried = [run["state"] for run in tuning if run["variant"] == name]
    return "no tuning run ended well" if set(tried) <= {DONE, FAILED} else "waits for tuning"


def variant_row(sweep: Sweep, name: str, runs: list[dict[str, Any]], values: dict[str, dict[int, float]],
                parameters: int) -> dict[str, Any]:
    own = [run for run in runs if run["variant"] == name]
    done = [run for run in own if run["state"] == DONE]
    middle = {key: stats.mean([run[key] for run in done if run[key] is not None])
              for key in ("step_ms", "memory_gib", "minutes")}
    row = {"variant": name, "seeds": sorted(values[name]), "runs": state_in_words(own),
           "mean": stats.mean(list(values[name].values())), "std": stats.deviation(list(values[name].values())),
           **middle, "parameters": parameters, "tuned": own[0]["tuned"] if own else None}
    for role in ("baseline", "control"):
        other = sweep.compared_with(name, role)
        found = stats.paired(values[name], values[other]) if other else None
        row[role] = found and {"to": other, **dataclasses.asdict(found), "verdict": found.verdict()}
    return row


def make(runner: Runner) -> dict[str, Any]:
    """Everything that the report shows."""
    sweep = runner.sweep
    rows: list[Row] = runner.rows()
    runs = [describe_run(runner, row.run) for row in rows if row.kind == "seed" and row.run]
    tuning = [describe_run(runner, run) for run in tuning_runs(sweep)]
    values = {variant.name: {run["seed"]: run["value"] for run in runs
                             if run["variant"] == variant.name and run["value"] is not None}
              for variant in sweep.variants}
    anyone = {row.variant: row for row in rows if row.run}
    parameters = {name: runner.resolver.ask(row.run).parameters for name, row in anyone.items()}
    lengths = sorted({(answer.steps, answer.steps * answer.tokens_per_step)
                      for answer in (runner.resolver.ask(row.run) for row in anyone.values())})
    tune = sweep.tune and {
        "seed": sweep.tune.seed, "grid": sweep.tune.grid, "runs_a_variant": len(tuning) // len(sweep.variants),
        "runs": tuning, "seed_is_compared": sweep.tune.seed in sweep.seeds,
        "chosen": {variant.name: dict(chosen(sweep, variant.name, runner.valid_nll) or ()) or None
                   for variant in sweep.variants}}
    variants = [variant_row(sweep, variant.name, runs, values, parameters[variant.name])
                for variant in sweep.variants]
    for row in variants:
        if row["tuned"] is None:
            row["runs"] = why_no_runs(row["variant"], tuning)
    batches = {textproto.fields(runner.resolver.ask(row.run).config).get("train.eval_batches", "0")
               for row in anyone.values()}
    return {
        "name": sweep.name, "metric": sweep.metric, "unit": METRICS[sweep.metric][1], "seeds": sweep.seeds,
        "baseline": sweep.baseline, "control": sweep.control, "lengths": lengths,
        "whole_split": METRICS[sweep.metric][0] == "test" or batches == {"0"},
        "variants": variants,
        "runs": runs, "tuning": tune or None,
    }


COLUMNS = ("variant", "runs", "seeds", "mean", "std", "step_ms", "memory_gib", "minutes", "parameters", "tuned")


def as_csv(table: dict[str, Any]) -> str:
    """One line a variant; numbers in full, empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    roles = [role for role in ("baseline", "control") if any(row[role] for row in table["variants"])]
    writer.writerow([*(table["metric"] + "_" + c if c in ("mean", "std") else c for c in COLUMNS),
                     *(f"{role}_{part}" for role in roles
                       for part in ("name", "difference", "low", "high", "verdict"))])
    for row in table["variants"]:
        cells = {**row, "seeds": " ".join(map(str, row["seeds"])),
                 "tuned": " ".join(f"{k}={v}" for k, v in (row["tuned"] or {}).items())}
        against = [(row[role] or {}).get(part) for role in roles for part in ("to", "mean", "low", "high", "verdict")]
        writer.writerow(["" if cell is None else cell for cell in [*(cells[c] for c in COLUMNS), *against]])
    return out.getvalue()


def as_json(table: dict[str, Any]) -> str:
    return json.dumps(table, indent=1) + "\n"


def read_folder(folder: Folder) -> dict[str, Any]:
    return json.loads((folder.root / "table.json").read_text(encoding="utf-8"))
