"""A sweep as Slurm array jobs: tuning runs, then the runs that need its outcome, then the report."""
import argparse
import pathlib
import re
import shlex
import subprocess
import sys

from .failure import BAD_DISK, Failure
from .folder import DONE, FAILED, write_whole
from .plan import Row
from .runner import Runner

# A task that is told to end saves, and asks for its turn again.
TASK = """#!/bin/bash
# Written by launch/sweep --slurm.
{head}
cd {cwd} || exit 1
{setup}
{call} --only "$SLURM_ARRAY_TASK_ID" &
job=$!
trap 'kill -TERM "$job"' TERM USR1
while kill -0 "$job" 2>/dev/null; do wait "$job"; done  # a signal ends a wait, not the job
wait "$job"; code=$?
if [[ $code == 8 ]]; then scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"; fi
exit "$code"
"""
REPORT = """#!/bin/bash
# Written by launch/sweep --slurm.
{head}
cd {cwd} || exit 1
{setup}
{call} --report{results}
"""


def call_of(args: argparse.Namespace) -> str:
    """This call, for a task: what it was given, but for what belongs to the call."""
    words = [str(pathlib.Path(sys.argv[0]).resolve()), str(args.file), "--program", args.program]
    for name in ("out", "ranks", "minutes"):
        if getattr(args, name) is not None:
            words += [f"--{name}", str(getattr(args, name))]
    return shlex.join(words + (["--retry-failed"] if args.retry_failed else []))


def header(runner: Runner, kind: str, array: str) -> str:
    sweep, logs = runner.sweep, runner.folder.root.resolve() / "logs"
    options = [f"--job-name={sweep.name}-{kind}", f"--output={logs}/slurm-%A_%a.log" if array else
               f"--output={logs}/slurm-%j.log"]
    if array:
        options += [f"--array={array}", f"--ntasks={sweep.ranks}", "--signal=B:TERM@120", "--requeue",
                    "--open-mode=append"]
        options += [f"--cpus-per-task={sweep.threads}"] if sweep.threads else []
        options += sweep.slurm_options
    return "\n".join(f"#SBATCH {option}" for option in options)


def ranges(numbers: list[int]) -> str:
    """1-3,7 as --array takes it."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def submit(script: pathlib.Path, after: str | None) -> str:
    """The job's number. It starts when the one before has ended, however."""
    words = ["sbatch", "--parsable", *([f"--dependency=afterany:{after}"] if after else []), str(script)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failure(f"sbatch: cannot be run ({error.strerror}): call this where Slurm is, or hand {script} to it "
                      "there", BAD_DISK) from error
    job = re.match(r"\d+", done.stdout.strip())
    if done.returncode != 0 or not job:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise Failure(f"{shlex.join(words)}: {said}: look at the options under [slurm]", BAD_DISK)
    return job.group()


def write(runner: Runner, args: argparse.Namespace, rows: list[Row]) -> int:
    """Writes SWEEP/slurm/{tune,runs,report}.sbatch and submits them with --submit."""
    folder = runner.folder.root / "slurm"
    (runner.folder.root / "logs").mkdir(parents=True, exist_ok=True)
    over = (DONE,) if args.retry_failed else (DONE, FAILED)
    job = None
    for kind, name in (("tune", "tune"), ("seed", "runs"), ("report", "report")):
        todo = [index for index, row in enumerate(rows)
                if row.kind == kind and (not row.run or runner.state(row.run) not in over)]
        if kind != "report" and not todo:
            continue
        text = (REPORT if kind == "report" else TASK).format(
            head=header(runner, name, ranges(todo)), cwd=shlex.quote(str(pathlib.Path.cwd())), call=call_of(args),
            setup="\n".join(runner.sweep.slurm_setup),
            results=" " + shlex.join(["--results", str(args.results)]) if args.results else "")
        script = folder / f"{name}.sbatch"
        write_whole(script, text)
        if args.submit:
            job = submit(script, job)
        runner.options.say(f"wrote {script}" + (f", {len(todo)} tasks" if todo else "") +
                           (f", submitted as {job}" if args.submit else ""))
    return 0
