"""Writes table.json, table.csv, and report.html with figures where matplotlib is at hand, each in figures/ too."""
import datetime
import json
import os
import pathlib
import subprocess
import sys

from . import report, table
from .folder import write_whole
from .runner import Runner

FIGURES = pathlib.Path(__file__).with_name("figures.py")


def figure_python(root: pathlib.Path) -> str | None:
    """A Python that has matplotlib: DAGPAM_FIGURES_PYTHON, that of `launch/setup --figures`, else this one."""
    named = os.environ.get("DAGPAM_FIGURES_PYTHON")
    if named is not None:
        return named or None
    own = root / ".deps" / "figures" / "bin" / "python"
    if own.exists():
        return str(own)
    has = subprocess.run([sys.executable, "-c", "import matplotlib"], capture_output=True, check=False)
    return sys.executable if has.returncode == 0 else None


def draw(root: pathlib.Path, path: pathlib.Path) -> tuple[dict[str, str], str]:
    """Name -> SVG, and why there are none."""
    python = figure_python(root)
    if not python:
        return {}, "no figures: matplotlib is missing: run ./launch/setup --figures, then call with --report"
    done = subprocess.run([python, str(FIGURES), str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {}, f"no figures: {(done.stderr.strip().splitlines() or ['matplotlib failed'])[-1]}"
    return json.loads(done.stdout), ""


def alone(figure: str) -> str:
    """An SVG file of a figure that takes its colours from the page."""
    own = 'xmlns="http://www.w3.org/2000/svg" style="color:#222;--rule:#ddd;background:#fff;'
    return figure.replace('style="', own, 1)


def write(runner: Runner, root: pathlib.Path) -> None:
    folder = runner.folder.root
    made = table.make(runner)
    made["date"] = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    made["file"] = runner.sweep.path.read_text(encoding="utf-8")
    made["command"] = f"launch/sweep {runner.sweep.path}"
    write_whole(folder / "table.json", table.as_json(made))
    write_whole(folder / "table.csv", table.as_csv(made))
    figures, why_none = draw(root, folder / "table.json")
    if why_none:
        runner.options.say(why_none)
    for name, figure in figures.items():
        if figure:
            write_whole(folder / "figures" / f"{name}.svg", alone(figure))
    write_whole(folder / "report.html", report.page(made, figures, why_none))
    runner.options.say(f"wrote {folder}/table.csv, table.json, report.html")
