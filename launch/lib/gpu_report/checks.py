"""Sections that check: tests, ranks over NCCL on one GPU, overlap, the sanitizer, a short training run."""
import json
import re
import shutil

from . import bars, models
from .place import nccl_version
from .trace import Trace

SHARING_NCCL = (2, 30)
TINY = {"model.layers": 2, "model.width": 64, "model.heads": 4, "model.context": 32, "train.global_batch": 8,
        "attention.kind": "DAGPAM"}


def add_outcome(session, name, shape, done, **more):
    """A row that says whether a command ended as it should, or was skipped and why."""
    skipped = re.search(r"SKIPPED WHOLE: (.*)", done.output)
    if skipped and done.code == 0:
        return session.add(name, shape, note=f"skipped: {skipped.group(1)}", **more)
    failed = sorted(set(re.findall(r"\[  FAILED  \] (\S+\.\S+)", done.output)))
    note = done.why() + (f" ({', '.join(failed)})" if failed else "")
    return session.add(name, shape, note=note, **{"pass": done.code == 0 and not done.timed_out, **more})


def tests(session):
    """Every test labelled gpu."""
    for name, words in session.place.gpu_tests():
        done = session.run(words, name=name.replace("/", "-"), environment={"OMP_NUM_THREADS": "1"})
        row = add_outcome(session, "test", name, done)
        passed = re.search(r"\[  PASSED  \] (\d+) test", done.output)
        if passed and not row["note"]:
            row["note"] = f"{passed.group(1)} passed"


def sharing_library(session):
    """Whether ranks can share the GPU; a row says why not."""
    if not session.place.nccl:
        session.not_measured(session.section, "no NCCL 2.30 or later: name one with --nccl or in DAGPAM_NCCL")
        return False
    version = nccl_version(session.place.nccl)
    if version[:2] < SHARING_NCCL:
        session.not_measured(session.section, f"the NCCL that was named is {'.'.join(map(str, version))}, "
                             "2.30 or later lets ranks share a GPU")
        return False
    session.add("library", "NCCL " + ".".join(map(str, version)))
    return True


def comm(session, ranks, limit):
    done = session.run(session.place.ranks(ranks, session.place.rank_program, "bench", "comm", "--json", "--backend",
                                           "NCCL", "--min-bytes", "64", "--max-bytes", str(1 << 24), "--factor",
                                           "64", "--iterations", "5"), limit=limit, name=f"comm-{ranks}")
    for row in done.rows():
        session.add_measured(row, note=f"{row.get('busbw_gbs', 0):.3f} GB/s bus", **{"pass": row.get("wrong") == 0})
    if done.why():
        session.add("comm", f"{ranks} ranks", ranks=ranks, note=done.why(), **{"pass": False})
    return not done.why()


def check(session, ranks, layouts, precision):
    sets = models.set_words({**TINY, **models.data_of(session), "train.precision": precision,
                             "parallel.backend": "NCCL", "parallel.timeout_s": 60})
    done = session.run(session.place.ranks(
        ranks, session.place.rank_program, "check", "--config",
        str(session.place.recipes / "kjv_tiny.textproto"), *sets, "--layouts", layouts, "--steps", "3"),
        limit=60, name=f"check-{ranks}-{precision}")
    for layout, said in re.findall(r"^(\S+) against one rank, \d+ steps: (.*)$", done.output, re.MULTILINE):
        session.add("check", f"{layout}, {precision}", ranks=ranks, note="" if said == "agree" else said,
                    **{"pass": said == "agree"})
    if done.why():
        session.add("check", f"{ranks} ranks, {precision}", ranks=ranks, note=done.why(), **{"pass": False})


def nccl(session):
    """Two and four ranks on one GPU over NCCL: collectives, the layout check, the test of every case."""
    if not sharing_library(session) or not comm(session, 2, limit=60):
        return
    check(session, 2, "dp2,dp2zero,tp2,tp2sp", "FP32")
    check(session, 2, "dp2,dp2zero,tp2", "BF16")
    for name, words in session.place.gpu_tests():
        if "nccl" in name:
            add_outcome(session, "test", name, session.run(
                session.place.ranks(2, words[-1]), limit=60, name="nccl-test"), ranks=2)
    if comm(session, 4, limit=60):
        check(session, 4, "dp4,tp4,dp2tp2,dp2tp2sp,dp2tp2zero", "FP32")


def traced(session, name, ranks, model=models.SMALL, **overrides):
    """The trace of two steps of a model, or None with a row that says why."""
    folder = session.work / name
    words = ["train", *model.ours(session, **{
        "train.steps": 6, "log.every": 1000, "train.eval_every": 0, "checkpoint.every": 0, **overrides}),
        "--run-dir", str(folder), "--profile", "2"]
    command = session.place.ranks(ranks, session.place.rank_program, *words) if ranks > 1 else [
        *session.place.program, *words]
    done = session.run(command, limit=90, name=name)
    path = folder / "profile" / "rank_00000.json"
    if done.why() or not path.exists():
        session.not_measured(name, done.why() or "no trace was written")
        return None
    return Trace(path)


def add_times(session, model, trace):
    """Where two steps' time goes, on the GPU and on its host. While the GPU is never idle the host costs nothing."""
    session.add("idle", f"{model.name}: of the time between the first kernel and the last", ratio=trace.idle_share())
    for name, share, calls in trace.busiest(12):
        session.add("kernel", f"{model.name}: {calls} calls", kernel=name[:120], ratio=share)
    for name, share, calls, us in trace.slowest_on_host(12):
        session.add("host", f"{model.name}: {calls} calls", kernel=name[:120], ratio=share, note=f"{us:.1f} us a call")


def overlap(session):
    """From traces: where a step's time goes, host waits (bar 8b), and reductions beside backward."""
    trace = traced(session, "trace", 1)
    if trace:
        waits = trace.waits()
        session.add("bar 8b", "two steps of 20M", note=", ".join(f"{n} {name}" for name, n in waits.items()),
                    **bars.judge("8b", sum(waits.values())))
    for model, read in ((models.SMALL, trace), (models.GPT2, traced(session, "trace-124M", 1, models.GPT2))):
        if read:
            add_times(session, model, read)
    if not sharing_library(session):
        return
    trace = traced(session, "trace-dp2", 2, **{"parallel.backend": "NCCL", "train.micro_batch": 32,
                                               "parallel.bucket_mib": 4})
    if trace:
        found = trace.overlap()
        share = found["both_us"] / found["nccl_us"] if found["nccl_us"] else None
        session.add("overlap", "share of NCCL's time beside backward's kernels, dp 2 on one GPU", ranks=2, ratio=share,
                    note=", ".join(f"{key} {value:.0f}" for key, value in found.items()),
                    **{"pass": bool(share)})


def sanitizer(session):
    """compute-sanitizer over the tests that need no mpirun."""
    tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if not tool:
        session.not_measured("sanitizer", "compute-sanitizer is not installed")
        return
    small = [(name, words) for name, words in session.place.gpu_tests() if "mpirun" not in " ".join(words)]
    for kind in ("memcheck", "racecheck"):
        for name, words in small:
            run = [*words[:-1], tool, "--tool", kind, "--error-exitcode", "9", words[-1]]
            add_outcome(session, kind, name, session.run(run, limit=60, name=f"{kind}-{name.replace('/', '-')}"))


def train(session, **overrides):
    """A short real run: the loss falls, and a run that was stopped ends with the bits of one that was not."""
    place, recipe = session.place, str(session.place.recipes / "kjv_tiny.textproto")
    sets = models.set_words({**models.data_of(session), "data.valid": place.corpus, "train.steps": 200,
                             "train.precision": "BF16", "train.eval_every": 200, "checkpoint.every": 100,
                             "log.every": 20, **overrides})
    first, second = session.work / "whole", session.work / "stopped"
    for folder, more in ((first, []), (second, ["--stop-after", "100"]), (second, ["--resume", "latest"])):
        done = session.run([*place.program, "train", "--config", recipe, *sets, "--run-dir", str(folder), *more],
                           name=folder.name)
        if done.why():
            session.add("train", folder.name, note=done.why(), **{"pass": False})
            return
    lines = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    speed = [line["tokens_per_s"] for line in lines if "tokens_per_s" in line]
    valid = [line["nll"] for line in lines if line.get("split") == "valid"]
    session.add("train", "200 steps of kjv_tiny", note=f"loss {losses[0]:.4f} to {losses[-1]:.4f}, valid nll "
                f"{valid[-1] if valid else float('nan'):.4f}, {speed[-1]:.0f} tokens/s",
                **{"pass": losses[-1] < 0.9 * losses[0]})
    last = "checkpoints/step-00000200"
    done = session.run([*place.program, "ckpt", "diff", str(first / last), str(second / last)], limit=60)
    session.add("resume", "stopped at step 100, bit by bit at step 200", note=done.last_line()[:200],
                **{"pass": done.code == 0})
