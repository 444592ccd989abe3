"""The figures of a sweep's report. Run by a Python with matplotlib: figures.py TABLE.json prints {name: SVG}.

Text is drawn as paths in the page's own colour, on no background, so that a figure is readable on a light page and on
a dark one and needs no font.
"""
import io
import itertools
import json
import math
import re
import sys
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: E402

# Stand-ins that become the page's own colours.
INK, RULE = "#010203", "#040506"
# Apart for colour-blind readers too, and visible on white and on black; line styles tell them apart as well.
COLORS = ("#2f7fc1", "#d97a06", "#0f9a72", "#c2569f", "#c8453b", "#2aa3c7", "#8f7a45", "#7a6fd0")
STYLES = ("-", (0, (5, 1.6)), (0, (1.6, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def styles(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The baseline in the page's ink, the others in colours, in the order of the file."""
    looks, others = {}, itertools.count()
    for row in table["variants"]:
        if row["variant"] == table["baseline"]:
            looks[row["variant"]] = {"color": INK, "linestyle": "-", "linewidth": 2.0}
        else:
            at = next(others)
            looks[row["variant"]] = {"color": COLORS[at % len(COLORS)], "linestyle": STYLES[at % len(STYLES)],
                                     "linewidth": 1.6}
    return looks


def tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)


def mean_curve(runs: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, mean over runs, and standard deviation (0 of one run), where all runs have points."""
    curves = [run[key] for run in runs if run[key]]
    length = min(map(len, curves), default=0)
    values = np.array([[loss for _, loss in curve[:length]] for curve in curves])
    if length == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    steps = np.array([step for step, _ in curves[0][:length]])
    return steps, values.mean(axis=0), values.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(length)


def draw_curves(table: dict[str, Any], runs: list[dict[str, Any]], key: str, name: str, title: str) -> str:
    """Over steps: a line a variant, the mean over its runs, with one standard deviation; "" without any."""
    figure, axes = plt.subplots(figsize=(7.6, 4.0))
    looks, drawn = styles(table), []
    for row in table["variants"]:
        steps, mean, spread = mean_curve([run for run in runs if run["variant"] == row["variant"]], key)
        if not len(steps):
            continue
        look = looks[row["variant"]]
        axes.plot(steps, mean, label=row["variant"], marker="o" if len(steps) < 3 else None, zorder=3, **look)
        axes.fill_between(steps, mean - spread, mean + spread, color=look["color"], alpha=0.10, linewidth=0)
        drawn.append((steps, mean - spread, mean + spread))
    if not drawn:
        plt.close(figure)
        return ""
    focus(axes, drawn)
    axes.set_xlabel("step")
    axes.set_ylabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    tidy(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=2.6)
    return as_svg(figure, name)


def focus(axes: Any, drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """The fall of the first tenth is the same for all and would press the rest flat."""
    late = [(low[steps >= 0.1 * steps[-1]], high[steps >= 0.1 * steps[-1]]) for steps, low, high in drawn]
    low, high = min(one.min() for one, _ in late), max(one.max() for _, one in late)
    margin = 0.04 * max(high - low, 1e-3)
    axes.set_ylim(low - margin, high + margin)


def against_baseline(table: dict[str, Any], done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs whose evaluations are those of the runs minus their baseline's at the same seed and step."""
    known = {(run["variant"], run["seed"]): dict(run["evaluations"]) for run in done}
    made = []
    for row in table["variants"]:
        other = row["baseline"]["to"] if row["baseline"] else row["variant"]
        for run in done:
            base = known.get((other, run["seed"]))
            if run["variant"] == row["variant"] and base is not None:
                made.append({**run, "evaluations": [(step, nll - base[step]) for step, nll in run["evaluations"]
                                                    if step in base]})
    return made


def curves(table: dict[str, Any]) -> dict[str, str]:
    done = [run for run in table["runs"] if run["state"] == "done"]
    return {
        "valid": draw_curves(table, done, "evaluations", "valid", "validation nll (nats a token)"),
        "against": draw_curves(table, against_baseline(table, done), "evaluations", "against",
                               "nll minus that of the baseline"),
        "training": draw_curves(table, done, "training", "training", "training loss (nats a token)"),
    }


def is_one(table: dict[str, Any], role: str) -> bool:
    """Whether all variants are compared with the same one."""
    return {row[role]["to"] for row in table["variants"] if row[role]} == {table[role]}


def label(table: dict[str, Any], row: dict[str, Any], role: str) -> str:
    return row["variant"] if is_one(table, role) else f"{row['variant']} − {row[role]['to']}"


def whiskers(axes: Any, table: dict[str, Any], role: str, rows: list[dict[str, Any]]) -> None:
    looks = styles(table)
    for height, row in enumerate(reversed(rows)):
        found, color = row[role], looks[row["variant"]]["color"]
        if not found or found["mean"] is None:
            continue
        if found["low"] is not None:
            axes.plot([found["low"], found["high"]], [height, height], color=color, linewidth=2.2, zorder=3)
        axes.plot(found["values"], [height] * len(found["values"]), "|", color=color, markersize=9, zorder=3)
        axes.plot([found["mean"]], [height], "o", color=color, markersize=7, zorder=4)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [label(table, row, role) for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"difference to {table[role] if is_one(table, role) else 'the ' + role} ({table['unit']})")
    axes.set_title("left of 0: better", loc="left", fontsize=9, color=INK)
    tidy(axes)
    limit_whiskers(axes, [row[role] for row in rows if row[role]])


def limit_whiskers(axes: Any, found: list[dict[str, Any]]) -> None:
    """An interval over two seeds may be a hundred times wider than what it is about: the points decide the view."""
    points = [abs(v) for one in found for v in one["values"]]
    edges = [abs(v) for one in found for v in (one["low"], one["high"]) if v is not None]
    reach = min(max(edges, default=0), 4 * max(points, default=0))
    reach = 1.08 * max(reach, max(points, default=0)) or 1.0
    axes.set_xlim(-reach, reach)
    digits = max(0, 1 - math.floor(math.log10(reach)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, symmetric=True))
    axes.xaxis.set_major_formatter(FuncFormatter(
        lambda x, _: f"{x:+.{digits}f}".replace("-", "−") if abs(x) > 1e-12 else "0"))


def differences(table: dict[str, Any]) -> str:
    """Dots and whiskers: paired differences over seeds to baseline and control, with 95 % intervals."""
    sides = {role: [row for row in table["variants"] if row[role]] for role in ("baseline", "control")}
    sides = {role: rows for role, rows in sides.items() if rows}
    if not any(row[role]["mean"] is not None for role, rows in sides.items() for row in rows):
        return ""
    tallest = max(map(len, sides.values()))
    figure, axes = plt.subplots(1, len(sides), figsize=(4.6 * len(sides), 1.3 + 0.36 * tallest), squeeze=False)
    for at, (role, rows) in enumerate(sides.items()):
        whiskers(axes[0][at], table, role, rows)
    figure.tight_layout(w_pad=2.5)
    return as_svg(figure, "differences")


def as_svg(figure: Any, salt: str) -> str:
    """The svg element alone, in the page's colours."""
    out = io.StringIO()
    matplotlib.rcParams["svg.hashsalt"] = salt
    figure.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = out.getvalue()
    text = text[text.index("<svg"):].replace(INK, "currentColor").replace(RULE, "var(--rule)")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Every figure has ids of its own, and takes the width of the page.
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{salt}-", text)
    return re.sub(r'<svg [^>]*?width="([\d.]+)pt"[^>]*?viewBox="([^"]+)"[^>]*>|<svg [^>]*viewBox="([^"]+)" '
                  r'width="([\d.]+)pt"[^>]*>', lambda m: head(m.group(2) or m.group(3), m.group(1) or m.group(4)),
                  text, count=1, flags=re.DOTALL)


def head(box: str, points: str) -> str:
    width = round(float(points) * 4 / 3)
    return (f'<svg role="img" style="width:100%;max-width:{width}px;height:auto" viewBox="{box}" '
            'xmlns:xlink="http://www.w3.org/1999/xlink">')


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as text:
        table = json.load(text)
    plt.rcParams.update({
        "svg.fonttype": "path", "font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.titlesize": 10, "figure.dpi": 100})
    print(json.dumps({"differences": differences(table), **curves(table)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
