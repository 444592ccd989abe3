"""The sweep file: what stands in it, as values that have been checked.

load() gives a Sweep or throws Failure with a line that names the file, the key, the value and what was expected.
What only the program knows (fields of a run's configuration and their values) is asked of it in resolve.py.
"""
import dataclasses
import difflib
import pathlib
import re
import tomllib
from typing import Any, Callable

from .failure import Failure

METRICS = {  # name -> (split, unit)
    f"{split}_{short}": (split, unit) for split in ("valid", "test")
    for short, unit in (("nll", "nats a token"), ("ppl", "perplexity"), ("bits", "bits a token"))
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
SETTINGS = dict[str, str]  # field path -> value, as --set takes them


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    recipes: list[str]
    set: SETTINGS
    baseline: str | None = None  # what it is compared with, where that is not the sweep's
    control: str | None = None


@dataclasses.dataclass(frozen=True)
class Tune:
    seed: int
    grid: dict[str, list[str]]  # field path -> the values tried; every combination, for every variant


@dataclasses.dataclass(frozen=True)
class Sweep:
    path: pathlib.Path
    name: str
    recipes: list[str]  # --config files, in order, before a variant's own
    data: dict[str, str]  # train, valid, test -> prefix
    set: SETTINGS
    variants: list[Variant]
    seeds: list[int]
    baseline: str
    control: str | None
    metric: str
    tune: Tune | None
    slots: int  # runs at a time
    ranks: int  # of a run
    threads: int  # of a rank; 0: the cores shared out
    gpus_per_run: int  # 0: CUDA_VISIBLE_DEVICES is left alone
    minutes: float  # of a call; 0: no limit
    timeout_minutes: float  # of a run, all its starts together; 0: no limit
    slurm_options: list[str]
    slurm_setup: list[str]

    def variant(self, name: str) -> Variant:
        return next(variant for variant in self.variants if variant.name == name)

    def compared_with(self, name: str, role: str) -> str | None:
        """The variant that is the "baseline" or "control" of this one; None: it is that itself, or there is none."""
        other = getattr(self.variant(name), role) or getattr(self, role)
        return None if other == name else other


class Reader:
    """A table of the file; every key is taken by take(), and what is left over at the end is unknown."""

    def __init__(self, path: pathlib.Path, table: Any, where: str = ""):
        self.path, self.where = path, where
        if not isinstance(table, dict):
            raise self.failure("", f"{show(table)} is no table: write {where} as [{where}]")
        self.table, self.known = table, []

    def failure(self, key: str, problem: str) -> Failure:
        place = f"{self.where}.{key}".strip(".")
        return Failure(f"{self.path}: {place}: {problem}" if place else f"{self.path}: {problem}")

    def take(self, key: str, check: Callable[[Any], bool], expected: str, default: Any = ...) -> Any:
        """The value of a key that passes `check`; without a default the key must be there."""
        self.known.append(key)
        if key not in self.table:
            if default is ...:
                close = difflib.get_close_matches(key, self.table, 1, 0.75)
                raise self.failure(key, f"missing: is {close[0]} meant for it?" if close else
                                   f"missing: write {expected}")
            return default
        value = self.table[key]
        if not check(value):
            raise self.failure(key, f"{show(value)} where {expected} is expected")
        return value

    def number(self, key: str, default: Any, least: float, whole: bool = True) -> Any:
        kinds = (int,) if whole else (int, float)
        kind = "a whole number" if whole else "a number"
        return self.take(key, lambda v: is_a(v, *kinds) and least <= v < 1e9, f"{kind} of at least {least}", default)

    def texts(self, key: str) -> list[str]:
        return self.take(key, lambda v: is_list(v, str), 'a list of texts, as in ["a", "b"]', [])

    def finish(self) -> None:
        for key in self.table:
            if key not in self.known:
                raise self.failure(key, "unknown key" + nearest(key, self.known))


def is_a(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(is_a(entry, kind) for entry in value)


def show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f": did you mean {close[0]}?" if close else ": the keys here are " + ", ".join(sorted(known))


def as_field_value(value: Any) -> str | None:
    """A TOML value as --set takes it, None where no field can have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        words = [as_field_value(entry) for entry in value]
        return None if None in words else "[" + ", ".join(words) + "]"
    return None


def flatten(reader: Reader, table: Any, key: str) -> dict[str, Any]:
    """What stands under a key: {a: {b: 1}} and {"a.b": 1} alike as {"a.b": 1}."""
    if not isinstance(table, dict):
        raise reader.failure(key, f"{show(table)} where a table of fields is expected, as in {key}.model.layers = 4")
    flat: dict[str, Any] = {}
    for name, value in table.items():
        below = flatten(reader, value, f"{key}.{name}") if isinstance(value, dict) else {"": value}
        for rest, entry in below.items():
            field = f"{name}.{rest}".rstrip(".")
            if field in flat:
                raise reader.failure(f"{key}.{field}", "is set twice: keep one of the two")
            flat[field] = entry
    return flat


def read_settings(reader: Reader, key: str = "set") -> SETTINGS:
    known = flatten(reader, reader.take(key, lambda v: True, "", {}), key)
    settings = {}
    for field, value in known.items():
        text = as_field_value(value)
        if text is None:
            raise reader.failure(f"{key}.{field}", f"{show(value)} is no number, text, truth value or list of them")
        if field == "train.seed":
            raise reader.failure(f"{key}.{field}", "seeds are the sweep's own: write seeds = [...] at the top")
        settings[field] = text
    return settings


def read_variants(top: Reader) -> list[Variant]:
    tables = top.take("variant", lambda v: isinstance(v, list) and len(v) > 0, "[[variant]] tables")
    variants: list[Variant] = []
    for index, table in enumerate(tables):
        reader = Reader(top.path, table, f"variant[{index}]")
        name = reader.take("name", lambda v: isinstance(v, str) and NAME.fullmatch(v) is not None and "__" not in v,
                           "a name of letters, digits and _ . + - (no two _ in a row)")
        if name in [variant.name for variant in variants]:
            raise reader.failure("name", f"{show(name)} is the name of an earlier variant: give each its own")
        others = [reader.take(role, lambda v: isinstance(v, str), "the name of a variant", None)
                  for role in ("baseline", "control")]
        variants.append(Variant(name, reader.texts("recipes"), read_settings(reader), *others))
        reader.finish()
    return variants


def read_tune(top: Reader) -> Tune | None:
    table = top.take("tune", lambda v: True, "", None)
    if table is None:
        return None
    reader = Reader(top.path, table, "tune")
    seed = reader.number("seed", ..., 0)
    grid: dict[str, list[str]] = {}
    tried = reader.take("grid", lambda v: isinstance(v, dict) and len(v) > 0, "a table of lists, as in "
                        "grid.optimizer.lr = [1e-3, 2e-3]")
    for field, values in flatten(reader, tried, "grid").items():
        if not isinstance(values, list) or not values:
            raise reader.failure(f"grid.{field}", f"{show(values)} where a list of values to try is expected")
        texts = [as_field_value(value) for value in values]
        if None in texts or len(set(texts)) < len(texts):
            raise reader.failure(f"grid.{field}", f"{show(values)}: each value once, numbers, texts or truth values")
        grid[field] = texts
    reader.finish()
    return Tune(seed, grid)


def read_data(top: Reader) -> dict[str, str]:
    reader = Reader(top.path, top.take("data", lambda v: True, "", {}), "data")
    data = {}
    for split in ("train", "valid", "test"):
        prefix = reader.take(split, lambda v: isinstance(v, str), "a prefix of `dagpam data prepare`", None)
        if prefix is not None:
            data[split] = prefix
    reader.finish()
    return data


def check_names(top: Reader, variants: list[Variant], tune: Tune | None, common: SETTINGS) -> None:
    """What must fit together: baseline and control are variants, tuned fields are set by nothing else."""
    names = [variant.name for variant in variants]
    said = [(key, top.table.get(key)) for key in ("baseline", "control")]
    said += [(f"variant {v.name}.{key}", getattr(v, key)) for v in variants for key in ("baseline", "control")]
    for key, name in said:
        if name is not None and name not in names:
            raise top.failure(key, f"{show(name)} is no variant" + nearest(str(name), names).replace(
                "the keys here", "the variants"))
    for field in tune.grid if tune else ():
        if field == "train.seed":
            raise top.failure(f"tune.grid.{field}", "seeds are not tuned: leave it out")
        for where, settings in [("set", common)] + [(f"variant {v.name}", v.set) for v in variants]:
            if field in settings:
                raise top.failure(f"tune.grid.{field}", f"is set in {where} too: keep one of the two")


def parse(path: pathlib.Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror}): name a sweep file, as in launch/sweeps/") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(f"{path}: is no TOML: {error}") from error


def load(path: pathlib.Path) -> Sweep:
    top = Reader(path, parse(path))
    variants = read_variants(top)
    common, tune = read_settings(top), read_tune(top)
    slurm = Reader(path, top.take("slurm", lambda v: True, "", {}), "slurm")
    sweep = Sweep(
        path=path, variants=variants, set=common, tune=tune, recipes=top.texts("recipes"), data=read_data(top),
        name=top.take("name", lambda v: isinstance(v, str) and NAME.fullmatch(v) is not None,
                      "a name of letters, digits and _ . + -", path.stem),
        seeds=top.take("seeds", lambda v: is_list(v, int) and len(v) > 0 and len(set(v)) == len(v) and min(v) >= 0,
                       "a list of whole numbers, each once, as in [1, 2, 3]"),
        baseline=top.take("baseline", lambda v: isinstance(v, str), "the name of a variant"),
        control=top.take("control", lambda v: isinstance(v, str), "the name of a variant", None),
        metric=top.take("metric", lambda v: isinstance(v, str) and v in METRICS, "one of " + ", ".join(METRICS),
                        "valid_nll"),
        slots=top.number("slots", 1, 1), ranks=top.number("ranks", 1, 1), threads=top.number("threads", 0, 0),
        gpus_per_run=top.number("gpus_per_run", 0, 0), minutes=top.number("minutes", 0, 0, whole=False),
        timeout_minutes=top.number("timeout_minutes", 0, 0, whole=False),
        slurm_options=slurm.texts("options"), slurm_setup=slurm.texts("setup"))
    slurm.finish()
    top.finish()
    check_names(top, variants, tune, common)
    check_recipes(top, sweep)
    return sweep


def check_recipes(top: Reader, sweep: Sweep) -> None:
    listed = [("recipes", sweep.recipes)] + [(f"variant {v.name}.recipes", v.recipes) for v in sweep.variants]
    for key, recipes in listed:
        for recipe in recipes:
            if not pathlib.Path(recipe).is_file():
                folder = pathlib.Path(recipe).parent
                there = sorted(str(folder / p.name) for p in folder.glob("*.textproto")) if folder.is_dir() else []
                close = difflib.get_close_matches(recipe, there, 1)
                raise top.failure(key, f"{show(recipe)}: no such file (from {pathlib.Path.cwd()})" + (
                    f": did you mean {close[0]}?" if close else ": name a recipe, as in configs/recipes/"))
    for variant in sweep.variants:
        if not sweep.recipes and not variant.recipes:
            raise top.failure("recipes", f"missing: variant {variant.name} has no recipe; name one, as in "
                              "recipes = [\"configs/recipes/kjv_tiny.textproto\"]")
