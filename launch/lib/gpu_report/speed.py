"""Sections that measure speed: the machine's ceilings, attention, whole steps."""
import json
import re
import shlex
import statistics

from . import bars, models

NO_PEER = "no Python with PyTorch 2.11 for the peer"


def machine(session):
    """What the GPU, its driver and its libraries are, and what a matrix product and a copy reach."""
    asked = session.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit",
                         "--format=csv,noheader"], limit=20)
    session.add("machine", "nvidia-smi", note=asked.last_line())
    session.add("machine", "program", note=session.run([*session.place.program, "--version"], limit=30).last_line())
    if not session.place.python:
        session.not_measured("ceiling", session.place.why_no_torch)
        return
    done = session.run(session.place.peer("gpu_ceilings.py"), name="ceilings")
    for row in done.rows():
        session.add_measured(row)
    if done.why():
        session.not_measured("ceiling", done.why())


def matmul_rate(session):
    """TFLOP/s of the row that the machine section left, of this run or an earlier one; None without."""
    rows = session.rows + session.earlier
    return next((row["tflops"] for row in rows if row["name"] == "matmul" and row.get("tflops")), None)


def attention(session):
    """The kernels alone, beside the library's; bars 1 and 2."""
    words = [*session.place.program, "bench", "attention"]
    if session.run([*words, "--help"], limit=30).code != 0:
        session.not_measured("attention", "this program has no `bench attention`")
        return
    done = session.run([*words, "--device", "cuda", "--json"], name="attention")
    rows = [session.add_measured(row) for row in done.rows()]
    if done.why():
        session.add("attention", note=done.why(), **{"pass": False})
    for number, value, shapes in bars.attention_bars(rows):
        session.add("bar " + number, f"{shapes} shapes", **bars.judge(number, value))


def dry_run(session, model):
    """(planned MiB of a rank, operations a token) as the program states them; None where it does not."""
    done = session.run([*session.place.program, "train", *model.ours(session), "--dry-run"], limit=60)
    memory = re.search(r"together about ([\d.]+) MiB", done.output)
    work = re.search(r"work +([\d.e+]+) floating-point operations a token", done.output)
    return float(memory.group(1)) if memory else None, float(work.group(1)) if work else None


def bench_step(session, model, *more, rounds=5, steps=10, limit=None, **extra):
    """The row of one `bench step`, or None with a row that says why."""
    done = session.run([*session.place.program, "bench", "step", *model.ours(session), "--rounds", str(rounds),
                        "--steps", str(steps), "--json", *more], name=f"step-{model.name}", limit=limit)
    rows = done.rows()
    if not rows or done.code != 0:
        session.add("step", model.name, note=done.why() or "no row", **{"pass": False})
        return None
    return session.add_measured(rows[-1], shape=f"{model.name}: {rows[-1].get('shape', '')}", **extra)


def add_ratio(session, number, shape, value):
    session.add(f"bar {number}", shape, **bars.judge(number, value))


def step_bars(session, model, row):
    """Bars 5 to 7 of a row of `bench step`, for the model that they are stated for."""
    rate = matmul_rate(session)
    number = {"124M": "5", "1.5B": "5b"}.get(model.name)
    if number and row.get("tflops") and rate:
        add_ratio(session, number, f"{row['tflops']:.1f} of {rate:.1f} TFLOP/s", row["tflops"] / rate)
    elif number:
        session.not_measured(f"bar {number}", "no matmul rate: run the section machine too")
    if model.name != "124M":
        return
    planned, _ = dry_run(session, model)
    if planned and row.get("memory_mib"):
        add_ratio(session, "6", f"{row['memory_mib']:.0f} of {planned:.0f} MiB", row["memory_mib"] / planned)
    if row.get("peer_memory_mib"):
        add_ratio(session, "6b", f"peer {row['peer_memory_mib']:.0f} MiB", row["memory_mib"] / row["peer_memory_mib"])
    compiled = "torch.compile" in (row.get("peer") or "")
    if compiled and row.get("peer_first_step_s") and row.get("first_step_s"):
        add_ratio(session, "7", f"{row['first_step_s']:.1f} s, peer {row['peer_first_step_s']:.1f} s",
                  row["first_step_s"] / row["peer_first_step_s"])


def logging_cost(session):
    """Bar 8: median step of the windows of log.every 10 beside those of 50, the first windows left out."""
    medians = {}
    for every in (10, 50):
        folder = session.work / f"log-{every}"
        done = session.run([*session.place.program, "train", *models.SMALL.ours(
            session, **{"log.every": every, "train.steps": 150, "train.eval_every": 0, "checkpoint.every": 0}),
            "--run-dir", str(folder)], limit=60, name=f"log-{every}")
        if done.why():
            session.not_measured("bar 8", done.why())
            return
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        times = [line["step_ms"] for line in lines if "step_ms" in line and line["step"] > 50]
        medians[every] = statistics.median(times)
    add_ratio(session, "8", f"log.every 10: {medians[10]:.3f} ms, 50: {medians[50]:.3f} ms", medians[10] / medians[50])


def beside_peer(session, number, model):
    """A model's step beside torch.compile's of the same model: bars 4 to 7."""
    if not session.place.python:
        row = bench_step(session, model, note=NO_PEER)
    else:
        row = bench_step(session, model, "--peer", shlex.join(model.peer(session)))
        if row and row.get("ratio") and "torch.compile" in (row.get("peer") or ""):
            add_ratio(session, number, model.name, row["ratio"])
        elif row:
            session.not_measured(f"bar {number}", "torch.compile failed on the peer's side: see its log")
    if row:
        step_bars(session, model, row)


def step(session):
    """Whole steps; bars 3 to 8. The dearest comes last, so that a short time keeps the others: compiling 350M."""
    against = bench_step(session, models.GPT2, "--against", "attention.kind=SOFTMAX", limit=90)
    if against and against.get("ratio"):
        add_ratio(session, "3", models.GPT2.name, against["ratio"])
    for model in (models.GPT2, models.SMALL):
        bench_step(session, model, "--against", "parallel.cuda_graph=true", rounds=3, limit=60)
    beside_peer(session, "4b", models.GPT2)
    beside_peer(session, "4", models.SMALL)
    logging_cost(session)
    row = bench_step(session, models.LARGE, rounds=2, steps=3)
    if row:
        step_bars(session, models.LARGE, row)
    beside_peer(session, "4c", models.MEDIUM)
