"""Which runs a sweep consists of, in which order, and what tuning has chosen.

A run is a variant, a seed, and a value for each tuned field; these make its name and its folder, so that a run that
two parts of a sweep need (a tuning run with the chosen values at a seed of the comparison) is made once.
"""
import dataclasses
import hashlib
import itertools
import re
from typing import Callable

from .spec import SETTINGS, Sweep


@dataclasses.dataclass(frozen=True)
class Run:
    variant: str
    seed: int
    tuned: tuple[tuple[str, str], ...] = ()  # (field, value), in the order of the file's grid

    @property
    def name(self) -> str:
        """A file name; the same for the same run, whatever else the sweep has."""
        name = f"{self.variant}__seed{self.seed}"
        if self.tuned:
            words = ",".join(f"{field}={value}" for field, value in sorted(self.tuned))
            plain = re.sub(r"[^A-Za-z0-9_.,=+-]+", "_", words)
            if plain != words or len(name) + len(plain) > 120:
                plain = f"{plain[:60]}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"
            name += f"__{plain}"
        return name


def points(sweep: Sweep) -> list[tuple[tuple[str, str], ...]]:
    """The combinations of tuned values; without tuning the one that is empty."""
    grid = sweep.tune.grid if sweep.tune else {}
    return [tuple(zip(grid, values)) for values in itertools.product(*grid.values())]


def tuning_runs(sweep: Sweep) -> list[Run]:
    """As many for each variant."""
    if not sweep.tune:
        return []
    return [Run(variant.name, sweep.tune.seed, point) for point in points(sweep) for variant in sweep.variants]


def every_run(sweep: Sweep) -> list[Run]:
    """All that the sweep may come to need, whatever the tuning chooses; each once."""
    seeds = [*([sweep.tune.seed] if sweep.tune else []), *sweep.seeds]
    return list(dict.fromkeys(Run(variant.name, seed, point) for seed in seeds for point in points(sweep)
                              for variant in sweep.variants))


def chosen(sweep: Sweep, variant: str,
           valid_nll: Callable[[Run], float | None]) -> tuple[tuple[str, str], ...] | None:
    """The tuned values of a variant: those of the lowest validation loss, the earlier of equals.

    valid_nll gives a run's, infinity where it failed, None where it is still to be made. None while one of the
    variant's tuning runs is, or where all of them failed; () without tuning.
    """
    if not sweep.tune:
        return ()
    runs = [run for run in tuning_runs(sweep) if run.variant == variant]
    losses = [valid_nll(run) for run in runs]
    if None in losses or min(losses) == float("inf"):
        return None
    return runs[losses.index(min(losses))].tuned


@dataclasses.dataclass(frozen=True)
class Row:
    """A place in the list of a sweep's runs; its number stays the same while the file does."""
    kind: str  # "tune" or "seed"
    variant: str
    seed: int
    run: Run | None  # None: its values wait for tuning


def rows(sweep: Sweep, valid_nll: Callable[[Run], float | None]) -> list[Row]:
    """Tuning first; then seed by seed, so that what a stop leaves can be compared."""
    listed = [Row("tune", run.variant, run.seed, run) for run in tuning_runs(sweep)]
    values = {variant.name: chosen(sweep, variant.name, valid_nll) for variant in sweep.variants}
    for seed in sweep.seeds:
        for variant in sweep.variants:
            tuned = values[variant.name]
            listed.append(Row("seed", variant.name, seed,
                              None if tuned is None else Run(variant.name, seed, tuned)))
    return listed


def words(sweep: Sweep, run: Run) -> list[str]:
    """What a run is, as arguments of the program: --config and --set."""
    variant = sweep.variant(run.variant)
    settings: SETTINGS = {"name": run.name}
    if "train" in sweep.data:
        prefix = sweep.data["train"].replace("\\", "\\\\").replace("'", "\\'")
        settings["data.train"] = f"[{{prefix: '{prefix}'}}]"
    settings |= {f"data.{split}": sweep.data[split] for split in ("valid", "test") if split in sweep.data}
    settings |= {**sweep.set, **variant.set, **dict(run.tuned), "train.seed": str(run.seed)}
    files = [word for recipe in sweep.recipes + variant.recipes for word in ("--config", recipe)]
    return files + [word for field, value in settings.items() for word in ("--set", f"{field}={value}")]
