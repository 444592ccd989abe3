#!/usr/bin/env python3
"""What the GPU reaches on plain work, in PyTorch: a matrix product, a copy, a copy from pinned host memory.

Prints an object a line with name, shape, ours_ms and tflops or gbs, and one with the libraries' versions. Operands
are random: zeros draw less power and would run faster.
"""
import json
import sys
import time

try:
    import torch
except (ImportError, OSError):
    sys.exit("gpu_ceilings.py: PyTorch is missing: run it with a Python that has PyTorch 2.11")


def milliseconds(work, device):
    """The median of 20 runs by the device's events, after 5 that warm up."""
    times = []
    for _ in range(25):
        if device == "cpu":
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start))
            continue
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times[5:])[10]


def show(name, shape, ms, **more):
    print(json.dumps({"name": name, "shape": shape, "ours_ms": ms, **more}), flush=True)


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    small = device == "cpu"  # only to try the script
    if not small and not torch.cuda.is_available():
        sys.exit("gpu_ceilings.py: PyTorch sees no GPU")
    libraries = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}"
    if not small:
        libraries += f", cuDNN {torch.backends.cudnn.version()}, NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}"
    print(json.dumps({"name": "machine", "shape": "libraries of the peers", "note": libraries}), flush=True)

    n = 128 if small else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    ms = milliseconds(lambda: torch.matmul(a, b, out=out), device)
    tflops = 2 * n**3 / ms / 1e9
    show("matmul", f"bf16 {n} x {n} x {n}", ms, tflops=tflops, note=f"{tflops:.1f} TFLOP/s")

    size = 1 << (16 if small else 30)
    source = torch.randint(256, (size,), device=device, dtype=torch.uint8)
    to = torch.empty_like(source)
    ms = milliseconds(lambda: to.copy_(source), device)
    show("copy", f"{size >> 20} MiB, read and written", ms, note=f"{2 * size / ms / 1e6:.1f} GB/s")
    if small:
        return
    host = torch.randint(256, (size >> 2,), dtype=torch.uint8).pin_memory()
    ms = milliseconds(lambda: to[: size >> 2].copy_(host, non_blocking=True), device)
    show("copy", f"{size >> 22} MiB, pinned host to device", ms, note=f"{(size >> 2) / ms / 1e6:.1f} GB/s")


if __name__ == "__main__":
    main()
