#!/usr/bin/env python3
"""A run under faults, and a driver that starts it again, as a batch system would: by hand, for hours.

  DAGPAM_BINARY=build/bin/dagpam DAGPAM_KILLED=build/bin/dagpam_killed DAGPAM_BAD_NUMBER=build/tests/launch/libbad_number.so \\
    tests/launch/soak.py --folder soak --minutes 90 --every 120

Every --every seconds on average a fault of FAULTS strikes one of the two ranks. The job is started again with
--resume auto, until the run has been under faults for so many minutes. SIGTERM or SIGINT to this script stops it (the
run saves), and the same command goes on later. A run that nobody disturbs is made beside it; at the end weights and
metrics up to the last step must be equal bit by bit.

Goodput is the time of the steps that count over the time that passed: each step's own time as metrics.jsonl has it,
once a step, so that repeated work, starts, stops, detection and saves do not count; of one that took more than three
times as long as those around it (a rank was stopped in it) only that. Time in which this script itself was stopped is left out."""
import argparse
import json
import math
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import time

import kill_test
import program

# What strikes, and the exit codes that mpirun may then have: of the rank that died, or of the program's own end.
# A preempted job that has not come to its first step dies of the signal.
FAULTS = {"kill": (137,), "crash": (139,), "preempt": (8, 143), "slow": (), "hang": (6,), "kill in a save": (137,),
          "not finite": (5,)}
SIGNALS = {"kill": signal.SIGKILL, "crash": signal.SIGSEGV, "preempt": signal.SIGTERM, "slow": signal.SIGSTOP,
           "hang": signal.SIGSTOP}
KEEP_EVERY = 5000  # steps between the saves of the undisturbed run, which keeps them all
SETTINGS = ("--set", "schedule.kind=CONSTANT", "--set", "optimizer.lr=3e-4", "--set", "train.steps=100000000",
            "--set", "train.eval_every=5000", "--set", "train.eval_batches=4", "--set", "log.every=10",
            "--set", "watchdog.step_s=20", "--set", "watchdog.checkpoint_s=20", "--set", "watchdog.init_s=120",
            "--set", "parallel.timeout_s=7200",
            "--set", "parallel.shared_memory=false",  # the infinities come in through MPI
            "--resume", "auto")
STALLED = 6  # exit code: the watchdog found that nothing had gone on, here as a rank was kept from its memory or disk
END_S = 60  # in which a job that was struck must be gone


class Clock:
    """Seconds that passed, without those in which this process was stopped."""

    def __init__(self, seconds, stopped):
        self.seconds, self.stopped, self.last = seconds, stopped, time.monotonic()

    def tick(self):
        time.sleep(0.1)
        now = time.monotonic()
        if now - self.last > 5:
            self.stopped += now - self.last
        else:
            self.seconds += now - self.last
        self.last = now


class Soak:
    def __init__(self, args):
        self.args, self.folder = args, args.folder
        self.run_dir, self.calm_dir = self.folder / "disturbed", self.folder / "calm"
        self.record_path = self.folder / "record.json"
        if self.record_path.exists():
            self.record = json.loads(self.record_path.read_text())
            self.config = self.folder / "config.textproto"
        else:
            self.folder.mkdir(parents=True)
            self.config = program.write_config(self.folder, program.prepare(self.folder))
            self.record = {"faults": {}, "codes": {}, "slowest_end": {}, "starts": 0, "pieces": 0, "seconds": 0,
                           "stopped": 0}
        self.record["pieces"] += 1
        self.clock = Clock(self.record["seconds"], self.record["stopped"])
        self.rng = random.Random(f"{args.seed} {self.record['pieces']} {self.record['starts']}")
        self.wanted = False  # the end of this piece
        self.calm = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)

    def stop(self, *_):
        self.wanted = True

    def save_record(self):
        self.record["seconds"], self.record["stopped"] = self.clock.seconds, self.clock.stopped
        new = self.record_path.with_suffix(".new")
        new.write_text(json.dumps(self.record, indent=1))
        new.replace(self.record_path)

    def count(self, what, key):
        self.record[what][key] = self.record[what].get(key, 0) + 1

    def start(self, run_dir, *more, every=None, keep=2, environment=None, binary=program.BINARY):
        words = program.command("train", "--config", self.config, "--run-dir", run_dir, *SETTINGS,
                                "--set", f"checkpoint.every={every or self.args.save_every}", "--set", f"checkpoint.keep={keep}", *more,
                                ranks=2, binary=binary,
                                exported=[f"{key}={value}" for key, value in (environment or {}).items()])
        with open(self.folder / f"{run_dir.name}.log", "a", encoding="utf-8") as log:
            return subprocess.Popen(words, env=program.ENVIRONMENT, stdout=log, stderr=log)

    def start_disturbed(self, fault, delay):
        """The job, with what strikes by itself `delay` seconds from now, about."""
        self.record["starts"] += 1
        if fault == "not finite":
            return self.start(self.run_dir, environment={"LD_PRELOAD": os.environ["DAGPAM_BAD_NUMBER"],
                                                         "DAGPAM_BAD_NUMBER_AFTER": f"{delay:.1f}"})
        if fault == "kill in a save":
            saves = max(2, round(delay / self.args.save_s))
            point, _ = self.rng.choice(kill_test.EVERY)
            return self.start(self.run_dir, environment={"DAGPAM_KILL": f"{point} save {saves}"},
                              binary=os.environ["DAGPAM_KILLED"])
        return self.start(self.run_dir)

    def trains(self, since):
        """Whether the job that was started then has come to its steps."""
        try:
            return (self.run_dir / "metrics.jsonl").stat().st_mtime > since
        except OSError:
            return False

    def strike(self, job, fault, since):
        """True where a signal has struck."""
        ranks = program.children(job.pid)
        if len(ranks) < 2 or (fault == "hang" and not self.trains(since)):
            return False
        rank = self.rng.choice(ranks)
        try:
            os.kill(rank, SIGNALS[fault])
            if fault == "slow":
                time.sleep(self.rng.uniform(1, 4))
                os.kill(rank, signal.SIGCONT)
        except ProcessLookupError:
            return False  # it has just ended by itself
        return True

    def one_start(self):
        """From a start of the job to its end by a fault, or by the end of this piece or of the time."""
        fault = self.rng.choice(list(FAULTS))
        delay = self.rng.expovariate(1 / self.args.every)
        since, due = time.time(), self.clock.seconds + delay
        job, struck, told, ranks = self.start_disturbed(fault, delay), None, False, []
        while job.poll() is None:
            self.clock.tick()
            self.keep_calm()
            ranks = program.children(job.pid) or ranks
            if self.is_over() and not told:
                told = True
                (self.run_dir / "STOP").touch()
            elif struck and self.clock.seconds - struck > END_S:
                job.kill()
                sys.exit(f"after {fault} the job was still there after {END_S} s")
            elif fault in SIGNALS and not struck and self.clock.seconds > due and self.strike(job, fault, since):
                if fault == "slow":
                    self.count("faults", fault)
                    fault = self.rng.choice(list(SIGNALS))
                    due = self.clock.seconds + self.rng.expovariate(1 / self.args.every)
                else:
                    struck = self.clock.seconds
        self.ended(job.returncode, fault, struck, ranks)

    def ended(self, code, fault, struck, ranks):
        self.count("codes", str(code))
        if code == 0 and self.is_over():
            return
        by_itself = fault not in SIGNALS
        if code == STALLED and fault != "hang":
            self.count("faults", "stall of the machine")
            self.save_record()
            return
        if code not in FAULTS[fault] or not (struck or by_itself):
            sys.exit(f"the job ended with {code}, expected was {fault}: see {self.folder}/disturbed.log")
        self.count("faults", fault)
        if struck:
            took = self.clock.seconds - struck
            self.record["slowest_end"][fault] = max(took, self.record["slowest_end"].get(fault, 0))
        deadline = self.clock.seconds + 10
        while any(map(program.is_alive, ranks)):
            self.clock.tick()
            if self.clock.seconds > deadline:
                sys.exit(f"after {fault}: of the processes {ranks} some are left over")
        self.save_record()

    def is_over(self):
        return self.wanted or self.clock.seconds >= 60 * self.args.minutes

    def keep_calm(self):
        """The undisturbed run goes on; a machine that stands still may end it, and nothing else."""
        code = self.calm.poll() if self.calm else STALLED
        if code == STALLED:
            self.calm = self.start(self.calm_dir, every=KEEP_EVERY, keep=0)
        elif code is not None:
            sys.exit(f"the undisturbed run ended with {code}: see {self.folder}/calm.log")

    def finish(self):
        """Both runs to the same step, and whether they are the same there."""
        step = KEEP_EVERY * math.ceil(kill_test.newest(self.run_dir) / KEEP_EVERY)
        (self.run_dir / "STOP").unlink(missing_ok=True)  # the run that it was for had ended by a fault
        job = self.start(self.run_dir, "--stop-after", step)
        while job.poll() is None:
            self.clock.tick()
        if job.returncode != 0:
            sys.exit(f"the last start ended with {job.returncode}: see {self.folder}/disturbed.log")
        self.save_record()
        name = f"checkpoints/step-{step:08}"
        while not (self.calm_dir / name).exists():
            self.keep_calm()
            time.sleep(1)
        return step, self.differences(step, name)

    def differences(self, step, name):
        found = []
        for mine, whole in zip(program.metrics(self.run_dir), program.metrics(self.calm_dir)):
            # An evaluation that falls on the last step comes after its checkpoint.
            whole = [line for line in program.untimed(whole) if line["step"] <= step]
            mine = program.untimed(mine)
            if mine != whole[:len(mine)] or len(whole) - len(mine) > 1:
                found.append("metrics")
        done = program.run("ckpt", "diff", self.run_dir / name, self.calm_dir / name)
        return found + ([done.stdout] if done.returncode != 0 else [])

    def useful_seconds(self):
        lines, _ = program.metrics(self.run_dir)
        times = [line["step_ms"] for line in lines]
        steps = [b["step"] - a["step"] for a, b in zip([{"step": 0}, *lines], lines)]
        # What is usual changes with what else the machine does.
        usual = [statistics.median(times[max(0, i - 10):i + 11]) for i in range(len(times))]
        return sum(n * min(ms, 3 * around) for n, ms, around in zip(steps, times, usual)) / 1e3

    def run(self):
        for run_dir in (self.run_dir, self.calm_dir):
            (run_dir / "STOP").unlink(missing_ok=True)
        self.keep_calm()
        while not self.is_over():
            self.one_start()
            self.save_record()
        step, found = self.finish() if not self.wanted else (0, [])
        (self.calm_dir / "STOP").touch()
        self.calm.wait()
        print(json.dumps(self.record))
        if self.wanted:
            print("stopped; the same command goes on")
            return 0
        goodput = self.useful_seconds() / self.clock.seconds
        faults = sum(self.record["faults"].values())
        print(f"{step} steps, {self.clock.seconds / 60:.1f} minutes, {faults} faults, goodput {goodput:.3f}")
        print("weights and metrics equal bit by bit" if not found else f"DIFFERENT: {found}")
        return 1 if found else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs; goes on where it stands")
    parser.add_argument("--minutes", type=float, default=90, help="under faults, in all")
    parser.add_argument("--every", type=float, default=120, help="seconds between faults, on average")
    parser.add_argument("--save-every", type=int, default=50, help="steps between saves")
    parser.add_argument("--save-s", type=float, default=3, help="seconds between saves, about: for kills in a save")
    parser.add_argument("--seed", type=int, default=1)
    sys.exit(Soak(parser.parse_args()).run())


if __name__ == "__main__":
    main()
