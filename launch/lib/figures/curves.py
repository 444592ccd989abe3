"""Curves of several runs, a panel a measure: launch/plot."""
import math

from . import style

# Panel -> title, unit; "valid" is of evaluations, the others are of metrics.jsonl's training lines.
PANELS = {
    "loss": ("training loss", "nats a token"),
    "valid": ("validation loss", "nats a token"),
    "lr": ("learning rate", ""),
    "tokens_per_s": ("throughput", "tokens/s"),
    "step_ms": ("time of a step", "ms"),
    "memory_gib": ("memory, peak so far", "GiB"),
    "grad_norm": ("gradient norm, before clipping", ""),
    "mfu": ("model FLOPs utilisation", ""),
}
SMOOTHED = ("loss", "tokens_per_s", "step_ms", "grad_norm", "mfu")
AXES = {"step": "steps", "tokens": "tokens", "time": "time on steps"}
TIME_UNITS = ((172800, 86400, "days"), (5400, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))


def points(history, panel, axis):
    """x and y of what is finite."""
    column = {"step": "step", "tokens": "tokens", "time": "time_s"}[axis]
    if panel == "valid":
        found = [(history.at(line["step"], column), line.get("nll")) for line in history.evaluations.get("valid", [])]
    else:
        found = [(line[column], line.get(panel)) for line in history.steps]
    found = [(x, y) for x, y in found if y is not None and math.isfinite(y)]
    return [x for x, _ in found], [y for _, y in found]


def smooth(xs, ys, reach):
    """Exponentially weighted mean of what came before; a weight falls to 1/e over `reach` of x."""
    total, weights, before, out = 0.0, 0.0, None, []
    for x, y in zip(xs, ys):
        fade = 0.0 if before is None else math.exp(-(x - before) / reach)
        total, weights, before = total * fade + y, weights * fade + 1, x
        out.append(total / weights)
    return out


def condense(xs, ys, limit=1500):
    """x, mean, smallest and largest y of at most `limit` stretches of neighbours."""
    edges = [len(xs) * i // limit for i in range(limit + 1)] if len(xs) > limit else range(len(xs) + 1)
    parts = [(xs[a:b], ys[a:b]) for a, b in zip(edges, edges[1:])]
    low, high = [min(y) for _, y in parts], [max(y) for _, y in parts]
    # A mean of equal numbers may be off by a rounding, which an axis would then show.
    mean = [min(max(sum(y) / len(y), a), b) for (_, y), a, b in zip(parts, low, high)]
    return [(x[0] + x[-1]) / 2 for x, _ in parts], mean, low, high


def time_unit(seconds):
    return next((scale, name) for least, scale, name in TIME_UNITS if seconds >= least)


def draw(place, panel, curves, args, farthest):
    scale, unit = time_unit(farthest) if args.x == "time" else (1, "")
    for index, (label, xs, ys) in enumerate(curves):
        if not xs:
            continue
        look = {**style.series(index), **({} if len(xs) <= 20 else {"marker": ""})}
        xs = [x / scale for x in xs]
        middle, mean, low, high = condense(xs, ys)
        if len(middle) < len(xs):
            place.fill_between(middle, low, high, color=look["color"], alpha=0.15, lw=0)
        elif args.smooth and panel in SMOOTHED:
            place.plot(xs, ys, color=look["color"], lw=0.7, alpha=0.25)
        if args.smooth and panel in SMOOTHED:
            _, mean, _, _ = condense(xs, smooth(xs, ys, args.smooth * farthest / scale))
        place.plot(middle, mean, label=label, **look)
    title, y_unit = PANELS[panel]
    place.set_title(title)
    place.set_ylabel(y_unit)
    place.set_xlabel(f"{AXES[args.x]} ({unit})" if unit else AXES[args.x])
    if panel in args.log:
        place.set_yscale("log")
    style.plain_numbers(place, log=panel in args.log)


def make(args, histories):
    labels = args.labels or [history.label for history in histories]
    found = {panel: [(label, *points(history, panel, args.x)) for label, history in zip(labels, histories)]
             for panel in args.show}
    shown = [panel for panel in args.show if any(xs for _, xs, _ in found[panel])]
    if not shown:
        return None
    columns = min(len(shown), 3 if len(shown) > 4 else 2)
    rows = -(-len(shown) // columns)
    figure, axes = style.panels(rows, columns, width=3.7, height=2.6)
    farthest = max((xs[-1] for panel in shown for _, xs, _ in found[panel] if xs), default=1) or 1
    places = [place for row in axes for place in row]
    for place, panel in zip(places, shown):
        draw(place, panel, found[panel], args, farthest)
    for place in places[len(shown):]:
        place.set_axis_off()
    legend = {}
    for place in places[:len(shown)]:
        for handle, label in zip(*place.get_legend_handles_labels()):
            legend.setdefault(label, handle)
    widest = max(map(len, legend))
    figure.legend(legend.values(), legend.keys(), loc="outside lower center",
                  ncols=max(1, min(len(legend), int(columns * 42 / (widest + 6)))))
    if args.title:
        figure.suptitle(args.title, fontsize=10)
    return figure
