"""The report's two files: rows as JSON, and a page for people made of them."""
import json
import os
import pathlib

from .bars import BARS


def load(path):
    """Rows of an earlier run of the same day and GPU; none where there is no such file."""
    path = pathlib.Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def merged(old, new):
    """Sections that ran again take the place of their earlier rows."""
    again = {row["section"] for row in new}
    return [row for row in old if row["section"] not in again] + new


def _replace(path, text):
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def number(value, digits=3):
    if value is None or value == "":
        return ""
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def verdict(row):
    if row.get("pass") is None:
        return ""
    return "no" if not row["pass"] else "yes, the aim too" if row.get("aim") else "yes"


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(head, lines):
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    out += ["| " + " | ".join(cell(c) for c in line) + " |" for line in lines]
    return out + [""]


def bar_lines(rows):
    spoken = {row["bar"]: row for row in rows if row.get("bar")}
    for bar in BARS:
        row = spoken.get(bar.number, {})
        yield (bar.number, bar.what, number(bar.must), number(bar.aim),
               number(row.get("ratio")) or "not measured", verdict(row))


def section_page(name, rows):
    head = next((row for row in rows if row["name"] == "section"), None)
    out = [f"## {name.capitalize()}"]
    if head:
        out.append(f"{head['shape'].capitalize()}, {number(head['seconds'], 0)} s of {number(head['limit_s'], 0)} s."
                   + (f" {head['note']}" if head.get("note") else ""))
    body = [row for row in rows if row["name"] != "section"]
    if body:
        out.append("")
        out += table(("name", "shape", "ranks", "kernel", "ours, ms", "peer, ms", "ratio", "peer", "pass", "note"),
                     ((row["name"], row["shape"], row["ranks"], row["kernel"] or "", number(row["ours_ms"]),
                       number(row["peer_ms"]), number(row["ratio"]), row["peer"] or "", verdict(row),
                       row.get("note") or "") for row in body))
    if head and head.get("commands"):
        out += ["```", *head["commands"], "```"]
    return out + [""]


def page(date, gpu, rows):
    out = [f"# {gpu}, {date}",
           "Written by `launch/gpu_report`; `OUT` in commands is a folder for its logs and runs. Ratios are ours / "
           "peer, both in one run. A row without a number was not measured, and its note says why.", "",
           "## Bars"]
    out += table(("bar", "what", "must", "aim", "measured", "must met"), bar_lines(rows))
    for name in dict.fromkeys(row["section"] for row in rows):
        out += section_page(name, [row for row in rows if row["section"] == name])
    return "\n".join(out).rstrip() + "\n"


def write(stem, date, gpu, rows):
    """`stem`.json and `stem`.md, each replaced at once."""
    stem = pathlib.Path(stem)
    lines = ",\n".join(json.dumps(row) for row in rows)
    _replace(stem.with_name(stem.name + ".json"), f"[\n{lines}\n]\n")
    _replace(stem.with_name(stem.name + ".md"), page(date, gpu, rows))
