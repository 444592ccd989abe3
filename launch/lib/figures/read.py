"""What `dagpam analyze` and `log.analyze_every` wrote, checked as it is read."""
import json
import pathlib

TABLES = ("stream", "attention_output", "weights", "gradients")


class Bad(Exception):
    """A file that no figure can be made of: one line for the user."""


def objects(path):
    """The JSON objects of a file: one, or one a line."""
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Bad(f"{path}: cannot read: {error}") from error
    try:
        if path.suffix == ".jsonl":
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            found = [json.loads(text)]
    except json.JSONDecodeError as error:
        raise Bad(f"{path}: not JSON: {error}") from error
    if not found or not all(isinstance(one, dict) for one in found):
        raise Bad(f"{path}: no JSON object, expected what `dagpam analyze` writes")
    return found


def locate(path, *names):
    """`path`, or in a folder the first of `names` that is there."""
    path = pathlib.Path(path)
    if not path.is_dir():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    raise Bad(f"{path}: holds none of {', '.join(names)}: name a folder of `dagpam analyze`, or a file")


def check_tables(path, one):
    for table in TABLES:
        if not isinstance(one.get(table), list) or not one[table]:
            raise Bad(f"{path}: no table '{table}', expected what `dagpam analyze` writes")


def analysis(path):
    """One analysis: of a file, of a folder with analysis.json, or the last of a run's."""
    path = locate(path, "analysis.json", "analysis.jsonl")
    one = objects(path)[-1]
    check_tables(path, one)
    return one


def history(path):
    """The analyses of a run, by step: of its folder or its analysis.jsonl."""
    path = locate(path, "analysis.jsonl", "analysis.json")
    found = objects(path)
    for one in found:
        check_tables(path, one)
    return sorted(found, key=lambda one: one["step"])


def maps(path):
    path = locate(path, "maps.json")
    one = objects(path)[0]
    if not isinstance(one.get("maps"), list) or not one["maps"]:
        raise Bad(f"{path}: no maps, expected what `dagpam analyze --maps` writes")
    return one


def labels(given, analyses, paths):
    """What the legend calls each of them: given names, else attention and lambdas, told apart where they meet."""
    if given:
        if len(given) != len(paths):
            raise Bad(f"--labels: {len(given)} names for {len(paths)} files: give one for each")
        return given
    found = [one["attention"] for one in analyses]
    if len(set(found)) < len(found):
        found = [f"{name} ({pathlib.Path(path).name})" for name, path in zip(found, paths)]
    return found


def column(one, table, name):
    """[(layer, value)] where there is one."""
    return [(row["layer"], row[name]) for row in one[table] if row.get(name) is not None]
