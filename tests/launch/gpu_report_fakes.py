"""A bundle in which every program is a small script: what the tests of launch/gpu_report run where no GPU is."""
import json
import pathlib
import shutil
import stat

ROOT = pathlib.Path(__file__).resolve().parents[2]

RUN = """#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
export PATH="$here/bin:$PATH"
exec "$@"
"""

NVIDIA_SMI = """#!/bin/sh
[ -n "$FAKE_NO_GPU" ] && echo "No devices were found" && exit 6
case $1 in
  *,*) echo "NVIDIA H100 80GB HBM3, 580.1, 81559 MiB, 1980 MHz, 700.00 W" ;;
  *) echo "NVIDIA H100 80GB HBM3" ;;
esac
"""

# Runs what follows mpirun's options, once.
MPIRUN = """#!/bin/sh
while [ "$1" != env ] && [ "${1#tests/}" = "$1" ]; do shift; done
exec "$@"
"""

PEER_PYTHON = """#!/usr/bin/env python3
import json, sys
if sys.argv[1] == "-c":
    print("/nowhere/torch")
elif sys.argv[1].endswith("gpu_ceilings.py"):
    print(json.dumps({"name": "matmul", "shape": "bf16", "ours_ms": 1.4, "tflops": 800.0}))
"""

# FAKE_HANG and FAKE_FAIL hold a word of the command that hangs or ends with 3, after its output.
DAGPAM = '''#!/usr/bin/env python3
import json, os, pathlib, sys, time
words = sys.argv[1:]
def after(flag):
    return words[words.index(flag) + 1]
def overrides():
    return dict(w.split("=", 1) for f, w in zip(words, words[1:]) if f == "--set")
def step_row():
    layers = int(overrides()["model.layers"])
    row = {"name": "step", "shape": f"{layers} layers", "device": "fake", "ranks": 1, "kernel": "DAGPAM",
           "ours_ms": 10.0 * layers, "tflops": 400.0, "memory_mib": 2100.0, "first_step_s": 2.0, "peer": None}
    if "--against" in words:
        row.update(peer=after("--against"), peer_ms=row["ours_ms"] / 1.1, ratio=1.1)
    elif "--peer" in words:
        assert "gpu_step.py" in after("--peer"), after("--peer")
        row.update(peer=os.environ.get("FAKE_PEER", "PyTorch torch.compile default"), peer_ms=row["ours_ms"] / 0.8, ratio=0.8, peer_memory_mib=3000.0,
                   peer_first_step_s=40.0)
    return row
def train():
    if "--dry-run" in words:
        print("work       1.23e+09 floating-point operations a token, 2e+13 a step")
        print("memory     a rank: parameters 1.0, together about 2000.0 MiB; for saves ...")
        return
    folder = pathlib.Path(after("--run-dir"))
    folder.mkdir(parents=True, exist_ok=True)
    every, steps = int(overrides()["log.every"]), int(overrides()["train.steps"])
    cost = 10.0 + 0.5 / every
    with open(folder / "metrics.jsonl", "w") as file:
        for step in range(every, steps + 1, every):
            file.write(json.dumps({"step": step, "loss": 4 / (1 + step / 100), "step_ms": cost, "tokens_per_s": 9.0}) + "\\n")
        file.write(json.dumps({"step": steps, "split": "valid", "nll": 1.5}) + "\\n")
    if "--profile" in words:
        (folder / "profile").mkdir(exist_ok=True)
        trace = pathlib.Path(__file__).with_name("trace.json").read_text()
        (folder / "profile" / "rank_00000.json").write_text(trace)
def main():
    if words == ["--version"]:
        print("dagpam 0.1.0")
    elif words[:2] == ["bench", "attention"] and "--help" not in words:
        for tokens, ours in ((512, 0.9), (1024, 0.4)):
            for peer, peer_ms in (("two SDPA calls, cudnn", 1.0), ("one grouped SDPA call, flash", 0.8),
                                  ("plain SDPA, cudnn", 0.5), ("itself", 0.1)):
                print(json.dumps({"name": "attention", "shape": f"T {tokens}", "kernel": "hopper fused", "ranks": 1,
                                  "ours_ms": ours, "peer": peer, "peer_ms": peer_ms, "ratio": ours / peer_ms}), flush=True)
    elif words[:2] == ["bench", "step"]:
        print(json.dumps(step_row()))
    elif words[:2] == ["bench", "comm"]:
        assert os.environ["NCCL_MULTI_RANK_GPU_ENABLE"] == "1"
        print(json.dumps({"name": "comm", "shape": "all_reduce 64", "ranks": 2, "ours_ms": 0.1, "busbw_gbs": 1.0, "wrong": 0}))
    elif words[0] == "check":
        for layout in after("--layouts").split(","):
            print(f"{layout} against one rank, 3 steps: agree")
    elif words[0] == "train":
        train()
    elif words[0] == "ckpt":
        print("the same")
line = " ".join(words)
main()
sys.stdout.flush()
if os.environ.get("FAKE_HANG", "\\0") in line:
    time.sleep(600)
if os.environ.get("FAKE_FAIL", "\\0") in line:
    print("dagpam: something broke")
    sys.exit(3)
'''

TEST = """#!/bin/sh
[ "$(basename "$0")" = nccl_gpu_test ] && [ -z "$NCCL_MULTI_RANK_GPU_ENABLE" ] && echo "SKIPPED WHOLE: 2 ranks, 1 GPU" && exit 0
[ -n "$FAKE_BAD_TEST" ] && echo "[  FAILED  ] Some.Case (1 ms)" && exit 1
echo "[  PASSED  ] 3 tests."
"""


def span(category, name, begin, end, tid=1, **arguments):
    return {"ph": "X", "cat": category, "name": name, "ts": begin, "dur": end - begin, "tid": tid, "args": arguments}


# A forward kernel, two of backward, one reduction that lies half beside the second, one wait before the last launch
# and one behind it.
TRACE = [
    span("cuda_runtime", "cudaLaunchKernel", 0, 1, correlation=1),
    span("kernel", "gemm forward", 10, 30, correlation=1),
    span("cpu_op", "autograd::engine::evaluate_function: MmBackward0", 20, 40, tid=2),
    span("cuda_runtime", "cudaLaunchKernel", 22, 23, tid=2, correlation=2),
    span("cuda_runtime", "cudaLaunchKernel", 30, 31, tid=2, correlation=3),
    span("kernel", "gemm backward", 40, 60, correlation=2),
    span("kernel", "gemm backward", 60, 80, correlation=3),
    span("cuda_runtime", "cudaStreamSynchronize", 32, 33),
    span("cuda_runtime", "cudaLaunchKernelExC", 34, 35, tid=2, correlation=4),
    span("kernel", "ncclDevKernel_AllReduce_Sum_f32", 70, 90, correlation=4),
    span("cuda_runtime", "cudaDeviceSynchronize", 50, 95),
]


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make_bundle(root):
    """The bundle's tree in `root`, and `root`/fakes for the path."""
    shutil.copytree(ROOT / "launch" / "lib" / "gpu_report", root / "launch" / "lib" / "gpu_report")
    shutil.copy2(ROOT / "launch" / "gpu_report", root / "launch" / "gpu_report")
    executable(root / "run", RUN)
    executable(root / "bin" / "dagpam", DAGPAM)
    (root / "bin" / "trace.json").write_text(json.dumps({"traceEvents": TRACE}))
    executable(root / "bin" / "mpirun", MPIRUN)
    tests = [{"name": "trainer/gpu", "command": ["tests/gpu_test"]},
             {"name": "parallel/nccl_gpu_np2", "command": ["mpirun", "--oversubscribe", "-n", "2", "tests/nccl_gpu_test"]}]
    for name in ("gpu_test", "nccl_gpu_test"):
        executable(root / "tests" / name, TEST)
    (root / "tests" / "commands.json").write_text(json.dumps(tests))
    (root / "corpus").mkdir()
    (root / "corpus" / "genesis.json").write_text("{}")
    (root / "configs" / "recipes").mkdir(parents=True)
    executable(root / "fakes" / "nvidia-smi", NVIDIA_SMI)
    executable(root / "fakes" / "peer_python", PEER_PYTHON)
    executable(root / "fakes" / "compute-sanitizer", '#!/bin/sh\nfor last; do :; done\nexec "$last"\n')
    (root / "nccl").mkdir()
    (root / "nccl" / "libnccl.so.2").write_bytes(b"\0junk NCCL version 2.30.7+cuda13.0\0")
