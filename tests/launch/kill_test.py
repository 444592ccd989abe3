#!/usr/bin/env python3
"""SIGKILL at named points of a save under mpirun: the whole job ends, the next start goes on from the newest
checkpoint that was committed, and the run ends with the same weights and metrics, bit by bit, as one that nobody
disturbed. tests/trainer/run_kill_test.cpp does the same for every point with ranks as threads, which is faster.

By hand: `kill_test.py --all` takes every point; `kill_test.py --cycles 1000 --folder F` kills a rank at random
times, and goes on where F stands when it is started again."""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import program

# "WHEN OPERATION PART N" of tests/trainer/killing_file_system.h, and whether the second save then counts.
FEW = [("before write shard1 1", False), ("during write shard0 1", False), ("after close shard1 1", False),
       ("after rename step 1", True)]
EVERY = [(f"{when} {call} 1", committed)
         for committed, calls in (
             (False, ("mkdir temporary", "open_write shard0", "write shard0", "fsync shard0", "close shard0",
                      "open_write shard1", "write shard1", "fsync shard1", "close shard1", "open_write copy",
                      "write copy", "fsync copy", "open_write manifest", "write manifest", "fsync manifest",
                      "close manifest", "fsync temporary")),
             (True, ("rename step", "fsync checkpoints", "rename trash", "unlink trash", "rmdir trash")))
         for call in calls
         for when in (("before", "during", "after") if call.startswith("write") else ("before", "after"))]
SETTINGS = ("--set", "log.every=1", "--set", "checkpoint.keep=2", "--set", "schedule.decay_steps=100",
            "--set", "train.eval_every=7", "--set", "train.eval_batches=1", "--resume", "auto")


def newest(run_dir):
    names = sorted(path.name for path in (run_dir / "checkpoints").glob("step-*"))
    return int(names[-1][5:]) if names else 0


def differences(run_dir, reference):
    """What of metrics and weights differs from the undisturbed run; empty where nothing does."""
    found = []
    for mine, whole in zip(program.metrics(run_dir), program.metrics(reference)):
        if program.untimed(mine) != program.untimed(whole):
            found.append(f"{run_dir}/metrics.jsonl")
    done = program.run("ckpt", "diff", reference, run_dir)
    return found + ([done.stdout] if done.returncode != 0 else [])


def words(config, run_dir, steps, every):
    return ("train", "--config", config, "--run-dir", run_dir, *SETTINGS, "--set", f"train.steps={steps}",
            "--set", f"checkpoint.every={every}")


class KillTest(unittest.TestCase):
    points = FEW

    def test_killed_at_points_of_a_save(self):
        # In memory, where there is such a folder: a kill loses no page of the cache, so the disk has no say.
        home = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-kill-", dir=home))
        self.addCleanup(shutil.rmtree, folder)
        config = program.write_config(folder, program.prepare(folder))
        steps = 2 * len(self.points) + 5
        reference, run_dir = folder / "whole", folder / "killed"
        program.check(*words(config, reference, steps, 1), ranks=2)
        program.check(*words(config, run_dir, steps, 1), "--stop-after", 3, ranks=2)
        for point, committed in self.points:
            with self.subTest(point):
                before = newest(run_dir)
                done = program.run(*words(config, run_dir, steps, 1), ranks=2, binary=os.environ["DAGPAM_KILLED"],
                                   environment={"DAGPAM_KILL": point})
                self.assertNotEqual(done.returncode, 0, "the point was not reached")
                counts = committed and point != "before rename step 1"
                self.assertEqual(newest(run_dir), before + (2 if counts else 1), done.stderr)
        program.check(*words(config, run_dir, steps, 1), ranks=2)
        self.assertEqual(differences(run_dir, reference), [])


def kill_at_random(folder, cycles, seed):
    """Runs of 400 steps on two ranks, one of which is killed about five times in each; a run that ends is compared
    with the undisturbed one and starts anew. What came of it stands in FOLDER/record.json."""
    folder.mkdir(exist_ok=True)
    record_path, steps = folder / "record.json", 400
    if record_path.exists():
        record, config = json.loads(record_path.read_text()), folder / "config.textproto"
    else:
        config = program.write_config(folder, program.prepare(folder))
        begin = time.monotonic()
        program.check(*words(config, folder / "whole", steps, 20), ranks=2)
        record = {"kills": 0, "runs": 0, "seconds": time.monotonic() - begin}
    run_dir = folder / "killed"
    while record["kills"] < cycles:
        rng = random.Random(f"{seed} {record['kills']}")
        job = subprocess.Popen(program.command(*words(config, run_dir, steps, 20), ranks=2),
                               env=program.ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            _, said = job.communicate(timeout=0.5 + rng.expovariate(5 / record["seconds"]))
        except subprocess.TimeoutExpired:
            ranks = program.children(job.pid)
            if ranks:
                os.kill(rng.choice(ranks), signal.SIGKILL)
            _, said = job.communicate()
            record["kills"] += bool(ranks)
            (run_dir / "starts.jsonl").unlink(missing_ok=True)  # kills come so fast that starts may get nowhere
        if job.returncode == 0:
            found = differences(run_dir, folder / "whole")
            if found:
                sys.exit(f"after {record['kills']} kills: {found}")
            record["runs"] += 1
            shutil.rmtree(run_dir)
        elif "SIGKILL" not in said and "signal 9" not in said:
            sys.exit(f"after {record['kills']} kills: {said}")
        record_path.write_text(json.dumps(record))
    print(f"{record['kills']} kills, {record['runs']} runs that ended, each equal bit by bit to the undisturbed one")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every point")
    parser.add_argument("--cycles", type=int, help="this many kills at random times instead")
    parser.add_argument("--folder", type=pathlib.Path, default="kill-cycles")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.cycles:
        kill_at_random(arguments.folder, arguments.cycles, arguments.seed)
    else:
        KillTest.points = EVERY if arguments.all else FEW
        unittest.main(argv=sys.argv[:1], verbosity=2)
