"""Collapse by layer, several models in one figure: how far the states of a sequence's tokens have become one."""
import math

from . import read, style

MEASURES = {
    "ratio_1inf": "|res X| / |X|  (1, inf)",
    "ratio_fro": "|res X| / |X|  (Frobenius)",
    "cosine": "mean cosine of distinct tokens",
}
OF = {"stream": "residual stream", "attention_output": "attention output"}
# Below this a ratio is rounding: some hundred times the last digit of one number.
FLOOR = {"float32": 1e-5, "float64": 1e-14}


def spread(one, table, measure):
    """Layers, means, and deviations (0 where one sequence was analyzed)."""
    rows = [row for row in one[table] if row.get(f"{measure}_mean") is not None]
    return ([row["layer"] for row in rows], [row[f"{measure}_mean"] for row in rows],
            [row.get(f"{measure}_deviation") or 0 for row in rows])


def draw_measure(axes, analyses, names, table, measure):
    means = [mean for one in analyses for mean in spread(one, table, measure)[1]]
    falls = measure != "cosine" and min(means) < 0.02  # then logarithmic, without the deviations
    for index, (one, name) in enumerate(zip(analyses, names)):
        layers, means, deviations = spread(one, table, measure)
        look = style.series(index)
        axes.plot(layers, means, label=name, **look)
        if not falls:
            axes.fill_between(layers, [m - d for m, d in zip(means, deviations)],
                              [m + d for m, d in zip(means, deviations)], color=look["color"], alpha=0.15, lw=0)
    if falls:
        axes.set_yscale("log")
        shade_rounding(axes, analyses)
    axes.set_xlabel("layer")
    axes.set_ylabel(MEASURES[measure])
    axes.xaxis.get_major_locator().set_params(integer=True)


def shade_rounding(axes, analyses):
    """What lies below the floor of a precision, where the figure reaches so far, says nothing."""
    floor = max(FLOOR.get(one.get("precision"), 0) for one in analyses)
    bottom, top = axes.get_ylim()
    if bottom >= floor:
        return
    axes.axhspan(bottom, floor, color="#eeeeee", lw=0)
    axes.set_ylim(bottom, top)
    axes.annotate("rounding", (0.98, floor), xycoords=("axes fraction", "data"), ha="right", va="top",
                  color="#666666", fontsize=8)


def draw_double_log(axes, analyses, names, table, measure):
    """-log10 of the ratio on a logarithmic axis: a doubly exponential fall is a straight line, an exponential one
    bends down. Left out: what enters the first layer, and rounding."""
    for index, (one, name) in enumerate(zip(analyses, names)):
        layers, means, _ = spread(one, table, measure)
        floor = FLOOR.get(one.get("precision"), 0)
        points = [(layer, -math.log10(mean)) for layer, mean in zip(layers, means) if layer > 0 and floor < mean < 1]
        if points:
            axes.plot(*zip(*points), label=name, **style.series(index))
    axes.set_yscale("log")
    axes.set_xlabel("layer")
    axes.set_ylabel(f"-log10 {MEASURES[measure]}")
    axes.xaxis.get_major_locator().set_params(integer=True)


def make(args):
    analyses = [read.analysis(path) for path in args.files]
    names = read.labels(args.labels, analyses, args.files)
    columns = len(args.of) + (len(args.of) if args.double_log else 0)
    figure, axes = style.panels(1, columns, height=3.0)
    for index, table in enumerate(args.of):
        draw_measure(axes[0][index], analyses, names, table, args.measure)
        axes[0][index].set_title(OF[table])
        if args.double_log:
            place = axes[0][len(args.of) + index]
            draw_double_log(place, analyses, names, table, args.measure)
            place.set_title(f"{OF[table]}: double logarithm")
    handles, found = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, found, loc="outside lower center", ncols=min(4, len(found)))
    if args.title:
        figure.suptitle(args.title, fontsize=10)
    return figure
