#!/usr/bin/env python3
"""Trains the same small model with dagpam and with plain PyTorch over several seeds and compares the losses.

Both sides train on the first 90 % of the characters of --data with the setting of the recipe
shakespeare_char_cpu and are evaluated on the whole rest (context 64, stride 64). They start from the same
weights and see the same batches, unless --order says otherwise: over seeds the loss varies by some 0.01 nats,
as much as is compared here, and pairs take that out. Results that are already in
--out are kept, so that the script may be stopped and started again. Ends with 1 where the means of a variant
differ by more than --tolerance.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# name -> (the recipe's suffix, arguments of torch_lm.py)
VARIANTS = {
    "softmax": ("", ["softmax"]),
    "softmax_wide": ("_softmax_wide", ["softmax_wide"]),
    "dagpam_trained": ("_dagpam_trained", ["dagpam"]),
    "dagpam_fixed": ("_dagpam_fixed", ["dagpam", "--lambdas", "fixed"]),
}


def run(command):
    """Standard output of a command on one CPU thread; a failure ends the script with its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            env=environment, check=False)
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        sys.exit(f"{' '.join(map(str, command))}\nended with {result.returncode}: {lines[-1]}")
    return result.stdout


def prepare(args):
    """Cuts the text as torch_lm.py does and writes both parts as tokens. Returns the prefix."""
    prefix = args.out / "data" / "text"
    if not prefix.with_suffix(".json").exists():
        prefix.parent.mkdir(parents=True, exist_ok=True)
        text = args.data.read_text(encoding="utf-8")
        cut = int(len(text) * 0.9)
        for name, part in (("train.txt", text[:cut]), ("valid.txt", text[cut:])):
            (prefix.parent / name).write_text(part, encoding="utf-8")
        run([args.dagpam, "data", "prepare", "--tokenizer", "char", "--out", prefix,
             "--train", prefix.parent / "train.txt", "--valid", prefix.parent / "valid.txt"])
    return prefix


def our_config(args, prefix, variant, seed):
    """Command-line words that say what dagpam trains."""
    words = ["--config", args.recipes / f"shakespeare_char_cpu{VARIANTS[variant][0]}.textproto"]
    for override in (f"data.train=[{{prefix: '{prefix}'}}]", f"data.valid='{prefix}'",
                     f"train.seed={seed}", "train.eval_every=0", *args.set):
        words += ["--set", override]
    return words


def train_ours(args, prefix, variant, seed, out):
    folder = args.out / f"run-{variant}-{seed}"
    run([args.dagpam, "train", *our_config(args, prefix, variant, seed), "--run-dir", folder, "--resume", "auto"])
    checkpoint = sorted((folder / "checkpoints").glob("step-*"))[-1]
    line = run([args.dagpam, "eval", "--checkpoint", checkpoint, "--data", prefix, "--split", "valid",
                "--context", "64", "--stride", "64", "--json"]).strip().splitlines()[-1]
    out.write_text(line, encoding="utf-8")


def same_start(args, prefix, variant, seed):
    """Words that give torch_lm.py our initial weights and our batches."""
    words = our_config(args, prefix, variant, seed)
    folder = args.out / f"start-{variant}-{seed}"
    order = args.out / f"order-{seed}.jsonl"
    # A step of a rate that float32 cannot add leaves the weights as they start.
    run([args.dagpam, "train", *words, "--set", "optimizer.lr=1e-30", "--run-dir", folder, "--resume", "auto",
         "--stop-after", "1"])
    order.write_text(run([args.dagpam, "data", "order", *words, "--steps", "2000", "--json"]), encoding="utf-8")
    return ["--start", folder / "checkpoints" / "step-00000001", "--order", order]


def train_peer(args, prefix, variant, seed, out):
    start = same_start(args, prefix, variant, seed) if args.order == "same" else ["--order", args.order]
    run([args.python, HERE / "torch_lm.py", "--data", args.data, "--seed", seed, *start,
         "--out", out, "--attention", *VARIANTS[variant][1]])


def results(args, prefix, variant, seed):
    """The nll of both sides for one seed."""
    losses = []
    for side in ("dagpam", "torch"):
        out = args.out / f"{side}-{variant}-{seed}.json"
        if not out.exists():
            print(f"{side} {variant} seed {seed} ...", file=sys.stderr, flush=True)
            if side == "dagpam":
                train_ours(args, prefix, variant, seed, out)
            else:
                train_peer(args, prefix, variant, seed, out)
        losses.append(json.loads(out.read_text(encoding="utf-8"))["nll"])
    return losses


def summary(losses):
    deviation = statistics.stdev(losses) if len(losses) > 1 else 0.0
    return f"{statistics.mean(losses):.4f} +- {deviation:.4f}"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="text file, UTF-8")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "twins",
                        help="folder for runs and results (default: runs/twins)")
    parser.add_argument("--dagpam", default=ROOT / "build" / "bin" / "dagpam")
    peers = ROOT / ".deps" / "peers" / "bin" / "python"
    parser.add_argument("--python", default=peers if peers.exists() else sys.executable,
                        help="a Python that has PyTorch (default: .deps/peers, of launch/setup --peers)")
    parser.add_argument("--recipes", type=pathlib.Path, default=ROOT / "configs" / "recipes")
    parser.add_argument("--set", action="append", default=[], help="further overrides of the recipe")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--order", choices=("same", "random", "epoch"), default="same",
                        help="what the PyTorch side starts from and sees: the same weights and windows, or its "
                             "own weights and windows drawn with replacement or as permutations (default: same)")
    parser.add_argument("--tolerance", type=float, default=0.01, help="nats (default: 0.01)")
    return parser.parse_args()


def main():
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    prefix = prepare(args)
    worst = 0.0
    print(f"{'variant':16} {'dagpam, nats':>18} {'PyTorch, nats':>18} {'difference':>11}")
    for variant in args.variants:
        ours, peer = zip(*(results(args, prefix, variant, seed) for seed in args.seeds))
        difference = statistics.mean(ours) - statistics.mean(peer)
        worst = max(worst, abs(difference))
        print(f"{variant:16} {summary(ours):>18} {summary(peer):>18} {difference:+11.4f}", flush=True)
    sys.exit(1 if worst > args.tolerance else 0)


if __name__ == "__main__":
    main()
