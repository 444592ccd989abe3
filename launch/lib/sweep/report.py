"""report.html: one page that needs nothing beside it, from what table.make() gives."""
import html
from typing import Any

from . import budget

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2229; --soft: #5b6470; --rule: #d9dee5; --band: #f4f6f9;
  --good: #0a7a55; --bad: #b3372b; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e6e9ee; --soft: #9aa4b1; --rule: #363d47;
  --band: #1c2127; --good: #45c796; --bad: #f0796c; } }
body { background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 68rem;
  margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
p, dl { max-width: 52rem; } .soft, caption, figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .7rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; } tr:hover td { background: var(--band); }
th.l, td.l { text-align: left; } tr.base td { background: var(--band); }
caption { text-align: left; padding: .4rem 0; }
.better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
.better .soft, .worse .soft { font-weight: 400; }
figure { margin: 1rem 0 1.6rem; } figure svg { display: block; }
pre { background: var(--band); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .8rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
"""


def escape(text: Any) -> str:
    return html.escape(str(text))


def number(value: float | None, digits: int, sign: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def digits_of(table: dict[str, Any]) -> int:
    """Perplexities are a hundred times a nat."""
    return 2 if table["metric"].endswith("_ppl") else 4


def roles_of(table: dict[str, Any]) -> list[str]:
    return [role for role in ("baseline", "control") if any(row[role] for row in table["variants"])]


def heading(table: dict[str, Any], role: str) -> str:
    """The name of what most variants are compared with; those that are compared with another say so."""
    others = {row[role]["to"] for row in table["variants"] if row[role]}
    return f"minus {table[role]}" if others == {table[role]} else f"minus {role}"


def difference_cells(table: dict[str, Any], row: dict[str, Any], role: str) -> str:
    found, digits = row[role], digits_of(table)
    if not found:
        return '<td>–</td><td></td>'
    if found["mean"] is None:
        return f'<td>–</td><td class="l soft">{escape(found["verdict"])}</td>'
    cell = number(found["mean"], digits, sign=True)
    if found["low"] is not None:
        cell += (f'<br><span class="soft">[{number(found["low"], digits, True)}, '
                 f'{number(found["high"], digits, True)}]</span>')
    verdict = found["verdict"]
    kind = verdict if verdict in ("better", "worse") else "soft"
    words = escape(verdict.removesuffix(" at 95 %"))
    if heading(table, role) == f"minus {role}":
        words += f'<br><span class="soft">{"than" if kind != "soft" else "from"} {escape(found["to"])}</span>'
    return f'<td>{cell}</td><td class="l {kind}">{words}</td>'


def variant_line(table: dict[str, Any], row: dict[str, Any]) -> str:
    digits = digits_of(table)
    cells = "".join(difference_cells(table, row, role) for role in roles_of(table))
    kind = ' class="base"' if row["variant"] == table["baseline"] else ""
    return (f'<tr{kind}><td class="l">{escape(row["variant"])}</td><td class="l">{escape(row["runs"])}</td>'
            f'<td>{number(row["mean"], digits)}</td><td>{number(row["std"], digits)}</td>{cells}</tr>')


def variant_table(table: dict[str, Any]) -> str:
    heads = "".join(f'<th>{escape(heading(table, role))}<br>[95 % interval]</th><th class="l">verdict</th>'
                    for role in roles_of(table))
    lines = "\n".join(variant_line(table, row) for row in table["variants"])
    return (f'<div class="scroll"><table><caption>{escape(table["metric"])} ({escape(table["unit"])}) at the last step; '
            'lower is better. Verdicts at 95 %, each comparison by itself.</caption><tr><th class="l">variant</th>'
            f'<th class="l">runs</th><th>mean</th><th>std</th>{heads}</tr>\n{lines}</table></div>')


def cost_line(row: dict[str, Any], base: dict[str, Any]) -> str:
    ratio = row["step_ms"] / base["step_ms"] if row["step_ms"] and base["step_ms"] else None
    kind = ' class="base"' if row is base else ""
    return (f'<tr{kind}><td class="l">{escape(row["variant"])}</td><td>{row["parameters"]:,}</td>'
            f'<td>{number(row["step_ms"], 1)}</td><td>{number(ratio, 2)}</td><td>{number(row["memory_gib"], 2)}</td>'
            f'<td>{number(row["minutes"], 1)}</td></tr>')


def cost_table(table: dict[str, Any]) -> str:
    base = next(row for row in table["variants"] if row["variant"] == table["baseline"])
    lines = "\n".join(cost_line(row, base) for row in table["variants"])
    return ('<h2>Cost</h2><div class="scroll"><table><tr><th class="l">variant</th><th>parameters</th>'
            f'<th>ms a step</th><th>over {escape(base["variant"])}</th><th>peak GiB</th><th>minutes a run</th></tr>\n'
            f'{lines}</table></div>')


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def in_words(table: dict[str, Any]) -> str:
    """The outcome in sentences, a paragraph for the baseline and one for the control."""
    paragraphs = []
    phrases = {"better": "better than", "worse": "worse than", "not resolved at 95 %": "not to be told apart from"}
    for role in roles_of(table):
        sentences = []
        found = [(row["variant"], row[role]) for row in table["variants"] if row[role]]
        for other in dict.fromkeys(one["to"] for _, one in found):
            for verdict, phrase in phrases.items():
                names = [name for name, one in found if one["to"] == other and one["verdict"] == verdict]
                if names:
                    sentences.append(f"<b>{escape(listed(names))}</b> {'is' if len(names) == 1 else 'are'} {phrase} "
                                     f"{escape(other)}.")
        if sentences:
            paragraphs.append(f"<p>{' '.join(sentences)}</p>")
    return "\n".join(paragraphs) or "<p>There are too few finished runs to compare anything.</p>"


def figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>" if svg else ""


def figures(made: dict[str, str], why_none: str) -> str:
    if why_none:
        return f'<p class="soft">{escape(why_none)}</p>'
    return "\n".join([
        "<h2>Paired differences</h2>",
        figure(made["differences"], "Dot: mean over common seeds; line: 95 % interval (Student's t); ticks: the seeds. "
               "A line that crosses 0 resolves nothing. Very wide intervals are cut at the edge.")
        or '<p class="soft">No two variants have a finished seed in common yet.</p>',
        "<h2>Training</h2>",
        figure(made["valid"], "Mean over finished seeds; band: one standard deviation. The view is that of the last "
               "nine tenths of the steps."),
        figure(made["against"], "The same as paired differences: each seed's validation loss minus the baseline's at "
               "that seed and step. Below 0: better."),
        figure(made["training"], "Mean and band as in the first, each point the mean of a stretch of the run.")])


def tuning(table: dict[str, Any]) -> str:
    tune = table["tuning"]
    if not tune:
        return ("<h2>Tuning</h2><p>None: every variant was trained with the settings of the file, and none was given "
                "more tries than another.</p>")
    fields = list(tune["grid"])
    lines = []
    for run in tune["runs"]:
        best = tune["chosen"].get(run["variant"]) == run["tuned"]
        cells = "".join(f"<td>{escape(run['tuned'][field])}</td>" for field in fields)
        outcome = number(run["valid_nll"], 4) if run["state"] == "done" else escape(run["state"])
        lines.append((run["variant"], f'<tr><td class="l">{escape(run["variant"])}</td>{cells}<td>{outcome}</td>'
                      f'<td class="l better">{"taken" if best else ""}</td></tr>'))
    order = [row["variant"] for row in table["variants"]]
    lines.sort(key=lambda line: order.index(line[0]))
    note = (" That seed is compared too, where the chosen value has a little luck in it, for every variant alike."
            if tune["seed_is_compared"] else " That seed is not among those compared.")
    heads = "".join(f"<th>{escape(field)}</th>" for field in fields)
    return (f"<h2>Tuning</h2><p>Every variant had the same {tune['runs_a_variant']} tries at seed {tune['seed']}; the "
            f"values of the lowest validation loss were taken for all its seeds.{note}</p>"
            f'<div class="scroll"><table><tr><th class="l">variant</th>{heads}<th>validation nll</th>'
            f'<th class="l"></th></tr>' + "\n".join(line for _, line in lines) + "</table></div>")


def run_line(run: dict[str, Any], digits: int) -> str:
    note = escape(run["message"]) if run["state"] == "failed" else ""
    if run["state"] == "failed":
        note = f"exit code {run['exit_code']}: {note}"
    kind = ' class="worse l"' if run["state"] == "failed" else ' class="l"'
    return (f'<tr><td class="l">{escape(run["run"])}</td><td{kind}>{escape(run["state"])}</td>'
            f'<td>{run["step"]} / {run["steps"]}</td><td>{number(run["value"], digits)}</td>'
            f'<td>{budget.show(60 * run["minutes"])}</td><td class="l">{note}</td></tr>')


def all_runs(table: dict[str, Any]) -> str:
    lines = "\n".join(run_line(run, digits_of(table)) for run in table["runs"])
    return ('<h2>Runs</h2><div class="scroll"><table><tr><th class="l">run</th><th class="l">state</th><th>step</th>'
            f'<th>{escape(table["metric"])}</th><th>time</th><th class="l"></th></tr>{lines}</table></div>')


def facts(table: dict[str, Any]) -> str:
    runs = table["runs"] + (table["tuning"] or {"runs": []})["runs"]
    machines, versions = (sorted({run[key] for run in runs if run[key]}) for key in ("machine", "version"))
    lengths = " or ".join(f"{steps:,} steps ({tokens:,} tokens)" for steps, tokens in table["lengths"])
    pairs = [("date", table["date"]), ("machine", " | ".join(machines) or "no run was made yet"),
             ("program", " | ".join(versions) or "no run was made yet"), ("command", table["command"]),
             ("length of a run", lengths),
             ("measured on", "the whole split" if table["whole_split"] else
              "train.eval_batches of the validation split"),
             ("seeds", ", ".join(map(str, table["seeds"]))), ("baseline", table["baseline"]),
             ("control", table["control"] or "none")]
    return "<dl>" + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in pairs) + "</dl>"


NOTES = """<h2>How to read this</h2><p>A difference is taken seed by seed, this variant minus the other one at the same
seed (the same data order; the same weights where the parameters are the same), so that what a seed does to both falls
out. The interval is Student's t over these differences; "better" and "worse" mean that it lies on one side of 0.
Each interval stands for itself: of twenty comparisons of equal variants one is expected to be called a difference.
Runs that diverged or failed are in no mean. Milliseconds are the median over steps, then the mean over runs; GiB the
peak of rank 0 (on a CPU of the whole process); times include what else the machine was doing.</p>"""


def page(table: dict[str, Any], made: dict[str, str], why_none: str) -> str:
    done = sum(1 for run in table["runs"] if run["state"] == "done")
    # Rows that wait for tuning have no run yet.
    of = len(table["variants"]) * len(table["seeds"])
    unfinished = f"<p><b>{done} of {of} runs are done</b>; what became of each is said below.</p>" if done < of else ""
    body = [f"<h1>{escape(table['name'])}</h1>", facts(table), unfinished, "<h2>Result</h2>", in_words(table),
            variant_table(table), figures(made, why_none), cost_table(table), tuning(table), all_runs(table), NOTES,
            f"<h2>The sweep file</h2><pre>{escape(table['file'])}</pre>"]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(table['name'])}</title><style>{STYLE}</style></head>\n<body>\n"
            + "\n".join(part for part in body if part) + "\n</body></html>\n")
