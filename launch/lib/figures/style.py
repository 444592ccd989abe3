"""How the figures look, and how they are written: one PNG and one SVG, the same bytes for the same numbers."""
import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot, ticker  # noqa: E402

# Okabe and Ito 2008: told apart by colour-blind readers; line and marker say it again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
BY_LAYER = matplotlib.colormaps["cividis"]  # even steps of lightness, made for colour-blind readers

matplotlib.rcParams.update({
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "dagpam",
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.05,
})


def series(index):
    """Colour, marker and line of the index-th model of a figure."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)],
            "linestyle": LINES[index % len(LINES)]}


def layer_colour(layer, layers):
    return BY_LAYER(0.0 if layers < 2 else 0.92 * (layer - 1) / (layers - 1))


def layer_bar(figure, axes, layers):
    """The colours of the layers, beside `axes`; from 1 to `layers`."""
    shades = matplotlib.colors.ListedColormap([layer_colour(layer, layers) for layer in range(1, layers + 1)])
    bounds = matplotlib.colors.BoundaryNorm([layer - 0.5 for layer in range(1, layers + 2)], layers)
    ticks = list(range(1, layers + 1, max(1, -(-layers // 8))))
    bar = figure.colorbar(matplotlib.cm.ScalarMappable(bounds, shades), ax=axes, ticks=ticks)
    bar.set_label("layer")
    bar.ax.minorticks_off()


def panels(rows, columns, width=3.4, height=2.7, **options):
    """A figure and its axes, always as a list of rows."""
    return pyplot.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)


def plain_numbers(axes, log=False):
    """12k and 1.5M in place of 12000 and 1.5e6."""
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    if log:
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
    elif max(map(abs, axes.get_ylim())) >= 1e4:
        axes.yaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    else:
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useOffset=False)


def write(figure, out, endings=("png", "svg")):
    """Writes OUT.png and OUT.svg, or one of them; returns their paths."""
    paths = []
    for ending in endings:
        path = f"{out}.{ending}"
        figure.savefig(path, metadata={"Date": None} if ending == "svg" else None)
        paths.append(path)
    pyplot.close(figure)
    return paths
