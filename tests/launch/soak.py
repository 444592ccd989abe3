#!/usr/bin/env python3
"""A run under faults, and a driver that starts it again, as a batch system would: by hand, for hours.

  DAGPAM_BINARY=build/bin/dagpam tests/launch/soak.py --folder soak --steps 200000 --every 120

Every --every seconds on average a fault strikes one of the two ranks: SIGKILL, SIGSEGV, SIGTERM (a preemption: the
run saves and ends with 8), or SIGSTOP for some seconds (a slow rank: nothing may come of it). The run is started
again with --resume auto until it is done; then weights and metrics must equal, bit by bit, those of a run that nobody
disturbed. Goodput is the undisturbed run's time over the disturbed one's."""
import argparse
import collections
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import kill_test
import program

FAULTS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGSTOP)


def strike(job, rng, counts):
    ranks = program.children(job.pid)
    if len(ranks) < 2:
        return
    fault, rank = rng.choice(FAULTS), rng.choice(ranks)
    counts[fault.name] += 1
    try:
        os.kill(rank, fault)
        if fault == signal.SIGSTOP:
            time.sleep(rng.uniform(1, 5))
            os.kill(rank, signal.SIGCONT)
    except ProcessLookupError:
        pass  # it has just ended by itself


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="new; of the runs")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--save-every", type=int, default=500, help="steps")
    parser.add_argument("--every", type=float, default=120, help="seconds between faults, on average")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    config = program.write_config(args.folder, program.prepare(args.folder))
    calm, run_dir = args.folder / "calm", args.folder / "disturbed"
    more = ("--set", "train.eval_every=1000")
    begin = time.monotonic()
    program.check(*kill_test.words(config, calm, args.steps, args.save_every), *more, ranks=2, timeout=None)
    undisturbed = time.monotonic() - begin

    rng, counts, starts = random.Random(args.seed), collections.Counter(), 0
    begin = time.monotonic()
    next_fault = begin + rng.expovariate(1 / args.every)
    code = None
    while code != 0:
        starts += 1
        words = program.command(*kill_test.words(config, run_dir, args.steps, args.save_every), *more, ranks=2)
        with open(args.folder / "words.log", "a", encoding="utf-8") as log:
            job = subprocess.Popen(words, env=program.ENVIRONMENT, stdout=log, stderr=log)
        while job.poll() is None:
            time.sleep(0.1)
            if time.monotonic() > next_fault:
                strike(job, rng, counts)
                next_fault = time.monotonic() + rng.expovariate(1 / args.every)
        code = job.returncode
        if code == 4:
            sys.exit(f"the run gave up: see {args.folder}/words.log")
    disturbed = time.monotonic() - begin
    found = kill_test.differences(run_dir, calm)
    print(f"{args.steps} steps, {starts} starts, faults: {dict(counts)}")
    print(f"undisturbed {undisturbed:.0f} s, disturbed {disturbed:.0f} s, goodput {undisturbed / disturbed:.3f}")
    print("weights and metrics equal bit by bit" if not found else f"DIFFERENT: {found}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
