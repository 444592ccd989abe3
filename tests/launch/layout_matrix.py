#!/usr/bin/env python3
"""dagpam check over the full product of what changes the maths of a layout: by hand, in parts.

Every result is a line of --out; what is there already is not run again, so that the script may be stopped and
started. Ends with 1 where a layout differs. Needs a built program and mpirun; DAGPAM_BINARY names the program
(default: build/bin/dagpam).
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

LAYOUTS = ("dp4", "dp4zero", "tp2", "tp2sp", "tp4", "tp4sp", "dp2tp2", "dp2tp2zero", "dp2tp2sp", "dp2tp2spzero")
AXES = {
    "attention": (("attention.kind=SOFTMAX",), ("attention.kind=SOFTMAX_WIDE",),
                  *(("attention.kind=DAGPAM", f"attention.lambda.scope={scope}") for scope in ("MODEL", "LAYER", "HEAD"))),
    "embeddings": (("model.tied_embeddings=true",), ("model.tied_embeddings=false",)),
    "heads": (("model.heads=4",), ("model.heads=8", "model.kv_heads=4")),
    "positions": (("model.positions=LEARNED",), ("model.positions=ROTARY",)),
    "accumulation": ((), ("train.micro_batch=1",)),
    "recompute": tuple((f"train.recompute={kind}",) for kind in ("NONE", "SELECTIVE", "FULL")),
}
BASE = ("model.layers=2", "model.width=32", "model.context=16", "model.dropout=0.1", "model.attention_dropout=0.1",
        "train.global_batch=12", "train.steps=50", "schedule.warmup_steps=5")


def check(prefix, words, steps):
    """A row for each layout: what it says first, and the worst ratios to what is allowed."""
    with tempfile.NamedTemporaryFile("w", suffix=".textproto") as config:
        config.write(f"data {{ train {{ prefix: '{prefix}' }} }}\n")
        config.flush()
        arguments = ["check", "--config", config.name, "--layouts", ",".join(LAYOUTS), "--steps", steps]
        for word in (*BASE, *words):
            arguments += ["--set", word]
        done = program.run(*arguments, ranks=4, timeout=1800)
    if done.returncode not in (0, 1):
        sys.exit(f"{words}: exit {done.returncode}\n{done.stderr}")
    blocks = re.findall(r"^(\S+) against one rank, \d+ steps: (.*)\n((?:  .*\n)*)", done.stdout, re.M)
    for layout, verdict, lines in blocks:
        worst = {kind: float(value) for kind, value in re.findall(r"  (\w+) +worst (\S+) of what", lines)}
        yield {"options": " ".join(words), "layout": layout, "steps": steps, "verdict": verdict, **worst}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="JSON lines, one a configuration and layout")
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {row["options"] for row in rows if row["steps"] == args.steps}
    with tempfile.TemporaryDirectory() as folder:
        prefix = program.prepare(folder)
        choices = list(itertools.product(*AXES.values()))
        random.Random(1).shuffle(choices)  # what a run in parts has done is a sample of the whole
        for choice in choices:
            words = [word for part in choice for word in part]
            if " ".join(words) in done:
                continue
            with args.out.open("a") as out:
                for row in check(prefix, words, args.steps):
                    rows.append(row)
                    out.write(json.dumps(row) + "\n")
            print(f"{len(rows) // len(LAYOUTS)} configurations, {sum(r['verdict'] != 'agree' for r in rows)} differ",
                  flush=True)
    for kind in ("loss", "gradients", "parameters"):
        print(f"worst {kind}: {max(row[kind] for row in rows):.3g} of what is allowed")
    sys.exit(any(row["verdict"] != "agree" for row in rows))


if __name__ == "__main__":
    main()
