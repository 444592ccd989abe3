#!/usr/bin/env python3
"""The quickstart's last table: both models beside n-gram baselines on the same split.

Reads results/{dagpam,softmax}.json (of `dagpam eval --json`), .parameters, the runs' metrics.jsonl and
results/ngram.jsonl.
Ends with 1 where a model does not beat the 3-gram.
"""
import json
import pathlib
import sys

MODELS = ("dagpam", "softmax")


def last_object(path):
    return json.loads(path.read_text(encoding="utf-8").strip().splitlines()[-1])


def training_seconds(metrics):
    """Time of the steps alone, also where the run was stopped and went on."""
    seconds, step = 0.0, 0
    for row in map(json.loads, metrics.read_text(encoding="utf-8").splitlines()):
        if "step_ms" in row:
            seconds += (row["step"] - step) * row["step_ms"] / 1000
            step = row["step"]
    return round(seconds)


def main():
    results = pathlib.Path(sys.argv[1]) / "results"
    lines = (results / "ngram.jsonl").read_text(encoding="utf-8").strip().splitlines()
    bpc = {row["order"]: row["bpc"] for row in map(json.loads, lines)}
    print(f"\n{'model':10} {'parameters':>11} {'valid bits per character':>25} "
          f"{'to 3-gram':>10} {'to 5-gram':>10} {'seconds':>8}")
    behind = []
    for name in MODELS:
        bits = last_object(results / f"{name}.json")["bpc"]
        parameters = int((results / f"{name}.parameters").read_text(encoding="utf-8"))
        seconds = training_seconds(results.parent / name / "metrics.jsonl")
        print(f"{name:10} {parameters:11,} {bits:25.4f} {bits - bpc[3]:+10.4f} {bits - bpc[5]:+10.4f} {seconds:8}")
        if bits >= bpc[3]:
            behind.append(f"{name} ({bits:.4f})")
    for order in (3, 5):
        to3, to5 = bpc[order] - bpc[3], bpc[order] - bpc[5]
        print(f"{f'{order}-gram':10} {'':11} {bpc[order]:25.4f} {to3:+10.4f} {to5:+10.4f}")
    print("Lower is better; the n-grams are interpolated Kneser-Ney models of the same training text.\n")
    if behind:
        sys.exit(f"does not beat the 3-gram ({bpc[3]:.4f} bits per character): {', '.join(behind)}")


if __name__ == "__main__":
    main()
