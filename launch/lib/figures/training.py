"""What changes along a run: gradient norms of the query weights and lambdas, by layer and step."""
from . import read, style


def rows_by_layer(analyses, table, name):
    """layer -> [(step, [values of that layer])], in order of the steps."""
    found = {}
    for one in analyses:
        for row in one.get(table, []):
            if row.get(name) is None:
                continue
            steps = found.setdefault(row["layer"], [])
            if not steps or steps[-1][0] != one["step"]:
                steps.append((one["step"], []))
            steps[-1][1].append(row[name])
    return found


def draw(axes, by_layer, layers):
    """A line a layer over the steps; where only one step is there, a point a layer over the layers."""
    one_step = all(len(points) == 1 for points in by_layer.values())
    if one_step:
        for layer, points in by_layer.items():
            axes.plot([layer] * len(points[0][1]), points[0][1], "o", color=style.COLOURS[0], alpha=0.6)
        axes.set_xlabel("layer")
        axes.xaxis.get_major_locator().set_params(integer=True)
        return one_step
    for layer, points in by_layer.items():
        axes.plot([step for step, _ in points], [sum(values) / len(values) for _, values in points],
                  color=style.layer_colour(layer, layers), lw=1.3)
    axes.set_xlabel("step")
    return one_step


def make_figure(args, table, columns, logarithmic):
    """A row of panels a run, a panel a column of the table."""
    runs = [read.history(path) for path in args.files]
    names = read.labels(args.labels, [run[-1] for run in runs], args.files)
    drawn = [(column, title) for column, title in columns
             if any(rows_by_layer(run, table, column) for run in runs)]
    if not drawn:
        raise read.Bad(f"{args.files[0]}: no '{table}' in it: this attention has none")
    figure, axes = style.panels(len(runs), len(drawn), sharey="col")
    layers = max(row["layer"] for run in runs for one in run for row in one["gradients"])
    by_step = False
    for row, (run, name) in enumerate(zip(runs, names)):
        for index, (column, title) in enumerate(drawn):
            place = axes[row][index]
            found = rows_by_layer(run, table, column)
            if not found:
                place.set_axis_off()
                continue
            by_step = not draw(place, found, layers) or by_step
            if logarithmic:
                place.set_yscale("log")
            place.set_ylabel(title)
            place.set_title(name)
    if by_step:
        style.layer_bar(figure, axes, layers)
    if args.title:
        figure.suptitle(args.title, fontsize=10)
    return figure


def gradients(args):
    return make_figure(args, "gradients", (("query", "gradient norm of the query weights"),
                                           ("w_neg", "gradient norm of W of Q-")), logarithmic=True)


def lambdas(args):
    return make_figure(args, "lambdas", (("plus", "l+, mean of heads"), ("minus", "l-, mean of heads")),
                       logarithmic=False)
