#!/usr/bin/env python3
"""dagpam check over the full product of what changes the maths of a layout: by hand, in parts.

Ranks are threads of one process, with --mpirun processes. Every result is a line of --out; what is there already is
not run again, so that the script may be stopped and started. Ends with 1 where a layout differs. Needs a built
program; DAGPAM_BINARY names it (default: build/bin/dagpam).
"""
import argparse
import itertools
import json
import os
import pathlib
import random
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("DAGPAM_BINARY", str(ROOT / "build" / "bin" / "dagpam"))
import program  # noqa: E402

RANKS = 4
ACCUMULATED = "three micro-batches"  # a step and copy
BATCH = 12
LAYOUTS = ("dp4", "dp4zero", "tp2", "tp2sp", "tp4", "tp4sp", "dp2tp2", "dp2tp2zero", "dp2tp2sp", "dp2tp2spzero")
AXES = {
    "attention": (("attention.kind=SOFTMAX",), ("attention.kind=SOFTMAX_WIDE",),
                  *(("attention.kind=DAGPAM", f"attention.lambda.scope={scope}") for scope in ("MODEL", "LAYER", "HEAD"))),
    "embeddings": (("model.tied_embeddings=true",), ("model.tied_embeddings=false",)),
    "heads": (("model.heads=4",), ("model.heads=8", "model.kv_heads=4")),
    "positions": (("model.positions=LEARNED",), ("model.positions=ROTARY",)),
    "accumulation": ((), (ACCUMULATED,)),
    "recompute": tuple((f"train.recompute={kind}",) for kind in ("NONE", "SELECTIVE", "FULL")),
}
BASE = ("model.layers=2", "model.width=32", "model.context=16", "model.dropout=0.1", "model.attention_dropout=0.1",
        f"train.global_batch={BATCH}", "train.steps=50", "schedule.warmup_steps=5")


def copies(layout):
    return int(re.match(r"(?:dp(\d))?", layout)[1] or 1)


def check(prefix, words, steps, mpirun):
    """A row for each layout: what it says first, and the worst ratios to what is allowed."""
    if ACCUMULATED not in words:
        yield from check_layouts(prefix, words, words, LAYOUTS, steps, mpirun)
        return
    for count, layouts in itertools.groupby(LAYOUTS, copies):
        micro = [f"train.micro_batch={BATCH // (3 * count)}" if word == ACCUMULATED else word for word in words]
        yield from check_layouts(prefix, words, micro, layouts, steps, mpirun)


def check_layouts(prefix, name, words, layouts, steps, mpirun):
    with tempfile.NamedTemporaryFile("w", suffix=".textproto") as config:
        config.write(f"data {{ train {{ prefix: '{prefix}' }} }}\n")
        config.flush()
        arguments = ["check", "--config", config.name, "--layouts", ",".join(layouts), "--steps", steps]
        for word in (*BASE, *words):
            arguments += ["--set", word]
        done = program.run(*arguments, *([] if mpirun else ["--threads", RANKS]), ranks=RANKS if mpirun else 1,
                           timeout=1800)
    if done.returncode not in (0, 1):
        sys.exit(f"{words}: exit {done.returncode}\n{done.stderr}")
    blocks = re.findall(r"^(\S+) against one rank, \d+ steps: (.*)\n((?:  .*\n)*)", done.stdout, re.M)
    for layout, verdict, lines in blocks:
        worst = {kind: float(value) for kind, value in re.findall(r"  (\w+) +worst (\S+) of what", lines)}
        yield {"options": " ".join(name), "layout": layout, "steps": steps,
               "ranks": "processes" if mpirun else "threads", "verdict": verdict, **worst}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="JSON lines, one a configuration and layout")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--share", default="0/1", metavar="K/N",
                        help="the K-th of N equal shares, each with an --out of its own (default: 0/1)")
    parser.add_argument("--mpirun", action="store_true", help="ranks as processes")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {row["options"] for row in rows if row["steps"] == args.steps}
    with tempfile.TemporaryDirectory() as folder:
        prefix = program.prepare(folder)
        choices = list(itertools.product(*AXES.values()))
        random.Random(1).shuffle(choices)  # what a run in parts has done is a sample of the whole
        share, shares = map(int, args.share.split("/"))
        for choice in choices[share::shares]:
            words = [word for part in choice for word in part]
            if " ".join(words) in done:
                continue
            with args.out.open("a") as out:
                for row in list(check(prefix, words, args.steps, args.mpirun)):
                    rows.append(row)
                    out.write(json.dumps(row) + "\n")
            print(f"{len(rows) // len(LAYOUTS)} configurations, {sum(r['verdict'] != 'agree' for r in rows)} differ",
                  flush=True)
    for kind in ("loss", "gradients", "parameters"):
        print(f"worst {kind}: {max(row[kind] for row in rows):.3g} of what is allowed")
    sys.exit(any(row["verdict"] != "agree" for row in rows))


if __name__ == "__main__":
    main()
