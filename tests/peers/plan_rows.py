#!/usr/bin/env python3
"""Holds `dagpam plan` against runs on this machine: predicted and measured step times, row by row.

Rates come from `dagpam plan --measure` on as many ranks as a row has, which sees none of these models. On a machine that
others use, speeds change within minutes: `dagpam bench step` times a large product in turn with its steps, and the last
columns have the step as it would be at the product's rate of the cluster file. Standard library only.

  dagpam plan --measure one.textproto && mpirun -n 2 dagpam plan --measure two.textproto
  tests/peers/plan_rows.py --dagpam build/bin/dagpam --data PREFIX --one one.textproto --two two.textproto
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import subprocess

RECIPE = pathlib.Path(__file__).resolve().parents[2] / "configs" / "recipes" / "shakespeare_char_cpu.textproto"


def model(layers, width, heads, context, batch, vocab, kind="SOFTMAX", *more):
    return [f"model.layers={layers}", f"model.width={width}", f"model.heads={heads}", f"model.context={context}",
            f"train.global_batch={batch}", f"model.vocab={vocab}", f"attention.kind={kind}", *more]


def small(kind="SOFTMAX", *more):
    return model(4, 128, 4, 64, 12, 65, kind, *more)


def wide(kind="SOFTMAX", *more):
    return model(4, 512, 8, 128, 4, 65, kind, *more)


def gpt2(kind="SOFTMAX", batch=4, *more):
    return model(12, 768, 12, 64, batch, 50257, kind, *more)


TP2 = "parallel.tensor=2"
SP = "parallel.sequence_parallel=true"
ZERO = "parallel.zero=1"
ROWS = [
    # name, ranks, overrides, steps a round
    ("small, SOFTMAX", 1, small(), 20),
    ("small, SOFTMAX_WIDE", 1, small("SOFTMAX_WIDE"), 20),
    ("small, DAGPAM", 1, small("DAGPAM"), 20),
    ("small, DIFF", 1, small("DIFF"), 20),
    ("small, DIFF2", 1, small("DIFF2"), 20),
    ("small, NON", 1, small("NON"), 20),
    ("small, NAP", 1, small("NAP"), 20),
    ("small, CODA", 1, small("CODA"), 20),
    ("small, COG", 1, small("COG"), 20),
    ("width 256, context 256, SOFTMAX", 1, model(6, 256, 4, 256, 4, 1000), 6),
    ("width 256, context 256, DAGPAM", 1, model(6, 256, 4, 256, 4, 1000, "DAGPAM"), 6),
    ("the same, recompute FULL", 1, model(6, 256, 4, 256, 4, 1000, "DAGPAM", "train.recompute=FULL"), 6),
    ("width 512, RMS, SWIGLU, rotary", 1, wide("SOFTMAX", "model.norm=RMS", "model.mlp=SWIGLU",
                                               "model.positions=ROTARY"), 4),
    ("width 512, DAGPAM, 2 micro-batches", 1, wide("DAGPAM", "train.micro_batch=2"), 4),
    ("GPT-2 124M, SOFTMAX", 1, gpt2(), 1),
    ("GPT-2 124M, DAGPAM", 1, gpt2("DAGPAM"), 1),
    ("small, SOFTMAX, dp 2", 2, small("SOFTMAX", "train.global_batch=24"), 20),
    ("small, DAGPAM, dp 2, zero", 2, small("DAGPAM", "train.global_batch=24", ZERO), 20),
    ("width 512, SOFTMAX, dp 2", 2, wide("SOFTMAX", "train.global_batch=8"), 4),
    ("width 512, SOFTMAX, tp 2", 2, wide("SOFTMAX", TP2), 4),
    ("width 512, DAGPAM, tp 2", 2, wide("DAGPAM", TP2), 4),
    ("width 512, DAGPAM, tp 2 sp", 2, wide("DAGPAM", TP2, SP), 4),
    ("GPT-2 124M, DAGPAM, dp 2", 2, gpt2("DAGPAM", 8), 1),
    ("GPT-2 124M, DAGPAM, dp 2, zero", 2, gpt2("DAGPAM", 8, ZERO), 1),
    ("GPT-2 124M, DAGPAM, tp 2", 2, gpt2("DAGPAM", 4, TP2), 1),
]


def output(words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
                   "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(map(str, words))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def last_json(words):
    return json.loads(output(words).strip().splitlines()[-1])


def product_rate(cluster):
    """TFLOP/s of a product of 1,024 cubed by a cluster file (configs/cluster.proto)."""
    text = pathlib.Path(cluster).read_text()
    sustained, half = (float(re.search(rf"{name}: ([0-9.e+-]+)", text).group(1))
                       for name in ("sustained_tflops", "half_size"))
    return sustained / (1 + half / 1024) ** 3


def measure(arguments, ranks, settings, steps):
    """Milliseconds predicted, measured, and measured at the file's rate of products."""
    cluster = arguments.one if ranks == 1 else arguments.two
    config = ["--config", str(RECIPE), *settings]
    planned = last_json([arguments.dagpam, "plan", *config, "--cluster", cluster, "--ranks", str(ranks), "--json"])
    launch = shlex.split(arguments.prefix) + ([] if ranks == 1 else [*shlex.split(arguments.launch), str(ranks)])
    row = last_json([*launch, arguments.dagpam, "bench", "step", *config, "--rounds", str(arguments.rounds), "--steps",
                     str(steps), "--json"])
    return planned["step"]["ms"], row["ours_ms"], row["ours_ms"] * row["product_tflops"] / product_rate(cluster)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--dagpam", default="build/bin/dagpam", help="the program")
    parser.add_argument("--data", required=True, metavar="PREFIX", help="a data set by characters")
    parser.add_argument("--one", required=True, metavar="FILE", help="cluster file measured on one rank")
    parser.add_argument("--two", required=True, metavar="FILE", help="cluster file measured on two ranks")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--launch", default="mpirun --oversubscribe --bind-to none -n", help="before the number of ranks")
    parser.add_argument("--prefix", default="", help="words before each measurement, as in: taskset -c 1")
    arguments = parser.parse_args()
    print("| run | predicted, ms | measured, ms | error | at the file's product, ms | error |\n|---|---|---|---|---|---|")
    errors = []
    for name, ranks, overrides, steps in ROWS:
        if arguments.only not in name:
            continue
        settings = [word for one in [f"data.train.0.prefix={arguments.data}", "data.valid=", "model.bias=true",
                                     *overrides] for word in ("--set", one)]
        predicted, measured, scaled = measure(arguments, ranks, settings, steps)
        errors.append(abs(predicted / scaled - 1))
        print(f"| {name} | {predicted:.1f} | {measured:.1f} | {100 * (predicted / measured - 1):+.0f} % | {scaled:.1f} "
              f"| {100 * (predicted / scaled - 1):+.1f} % |", flush=True)
    if errors:
        print(f"\nmean {100 * sum(errors) / len(errors):.1f} %, largest {100 * max(errors):.1f} %")


if __name__ == "__main__":
    main()
