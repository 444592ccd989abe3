"""Heat maps of a sentence's attention: P+, P- and what they make together."""
import numpy

from . import read, style

MOST_LABELS = 40  # tokens that get a name on the axes


def visible(matrix):
    """Zeros that no query sees stay blank: everything above the diagonal."""
    values = numpy.array([[numpy.nan if cell is None else cell for cell in row] for row in matrix], dtype=float)
    return numpy.ma.masked_where(numpy.triu(numpy.ones(values.shape, dtype=bool), 1) | numpy.isnan(values), values)


def chosen(one, layer, head):
    found = [m for m in one["maps"] if m["layer"] == layer and m["head"] == head]
    if not found:
        layers = sorted({m["layer"] for m in one["maps"]})
        heads = sorted({m["head"] for m in one["maps"]})
        raise read.Bad(f"--layer {layer} --head {head}: not there: layers are {layers[0]} to {layers[-1]}, "
                       f"heads {heads[0]} to {heads[-1]}")
    return found[0]


def draw(figure, axes, matrix, title, tokens, signed):
    values = visible(matrix)
    if signed:  # 0 is white
        edge = float(abs(values).max()) or 1.0
        image = axes.imshow(values, cmap="RdBu", vmin=-edge, vmax=edge)
    else:
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=float(values.max()) or 1.0)
    axes.set_title(title)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(tokens) <= MOST_LABELS:
        names = [token.replace("\n", "\\n").replace(" ", "\u2423") if token.isspace() else token.strip() or token
                 for token in tokens]
        size = 8 if len(tokens) <= 20 else 6
        # A dollar sign would begin a formula.
        names = [name.replace("$", r"\$") for name in names]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
    figure.colorbar(image, ax=axes, shrink=0.8)


def make(args):
    one = read.maps(args.files[0])
    picked = [chosen(one, layer, head) for layer in args.layer for head in args.head]
    two = picked[0]["plus"] is not None
    kinds = (("plus", "P+"), ("minus", "P-"), ("weights", "P_G")) if two else (("weights", "A"),)
    side = min(6.0, max(3.2, 0.17 * min(len(one["tokens"]), MOST_LABELS) + 1.6))
    figure, axes = style.panels(len(picked), len(kinds), width=side, height=0.86 * side)
    for row, this in enumerate(picked):
        signed_kind = any(cell is not None and cell < 0 for line in this["weights"] for cell in line)
        for column, (kind, name) in enumerate(kinds):
            draw(figure, axes[row][column], this[kind],
                 f"{name}, layer {this['layer']}, head {this['head']}", one["tokens"],
                 signed=kind == "weights" and signed_kind)
    figure.supxlabel("key", fontsize=9)
    figure.supylabel("query", fontsize=9)
    if args.title:
        figure.suptitle(args.title, fontsize=10)
    return figure
