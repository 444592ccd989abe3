#!/usr/bin/env python3
"""Times one training step of the plain PyTorch model: forward, backward, clip, optimizer.

Alone it prints one JSON object: {"step_ms", "peak_memory", ...}, step_ms the median over --steps steps after
--warmup, peak_memory the process's high-water mark in bytes. With --interactive it waits for lines on standard
input and answers each, "N" with the object for N further steps, so that another program can time its own steps
in between on the same machine; end of input ends it. --compile times torch.compile's step of the same model (forward
and backward by its default backend, which needs a C++ compiler for CPUs; the optimizer is the fused one either way).
--gpt2 sets the sizes of configs/recipes/gpt2_124m_*.textproto; --context and --batch may follow it.
"""
import argparse
import json
import resource
import statistics
import sys
import time

import torch_lm
from torch_lm import torch


def make_stepper(args):
    """A function that does one step on random tokens and returns its seconds."""
    model = torch_lm.LanguageModel(torch_lm.model_options(args, args.vocab))
    optimizer = torch_lm.make_optimizer(model, args)
    parameters = sum(p.numel() for p in model.parameters())
    if args.compile:
        model = torch.compile(model)
    tokens = torch.randint(args.vocab, (args.batch * 64 * (args.context + 1),))
    args.order = "random"
    source = torch_lm.batches(tokens, args)

    def step():
        batch = next(source)
        begin = time.perf_counter()
        torch_lm.train_step(model, optimizer, batch, args.clip_norm).item()
        return time.perf_counter() - begin

    return step, parameters


def measure(step, count):
    times = sorted(step() for _ in range(count))
    return {
        "step_ms": 1000 * statistics.median(times),
        "step_ms_min": 1000 * times[0],
        "steps": count,
        "peak_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=50, help="steps that are timed (default: 50)")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them (default: 5)")
    parser.add_argument("--vocab", type=int, default=65)
    parser.add_argument("--interactive", action="store_true", help="answer lines of standard input")
    parser.add_argument("--compile", action="store_true", help="under torch.compile")
    parser.add_argument("--gpt2", action="store_true", help="sizes of GPT-2 124M, biases included")
    torch_lm.add_model_arguments(parser)
    if parser.parse_known_args()[0].gpt2:
        parser.set_defaults(vocab=50257, layers=12, heads=12, width=768, bias=True, lr=6e-4, beta2=0.95)
    return parser.parse_args()


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    step, parameters = make_stepper(args)
    fixed = {"peer": f"PyTorch {torch.__version__}" + (" compiled" if args.compile else ""), "attention": args.attention,
             "lambdas": args.lambdas, "parameters": parameters, "threads": args.threads}
    measure(step, max(1, args.warmup))
    if not args.interactive:
        print(json.dumps({**measure(step, args.steps), **fixed}))
        return
    print(json.dumps({"ready": True, **fixed}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(step, int(line))), flush=True)


if __name__ == "__main__":
    main()
