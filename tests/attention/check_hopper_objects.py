#!/usr/bin/env python3
"""What the assembler made of the fused kernels: every instance is there, nothing lies in local memory (no register is
spilled), registers are within their budget, and the main kernels are made of warpgroup products that are not serialised
and of tensor copies. Needs cuobjdump and nvdisasm; ends with 77 where they are missing."""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

TYPES, WIDTHS = ("Bf16", "Fp16"), (64, 128)
# Registers at launch: 65536 / 384 threads for the main kernels (setmaxnreg then moves them to the consumers).
BUDGET = {"forward": 168, "backward": 168, "rows": 128, "finish": 255}
MAIN = ("forward", "backward")
NAME = re.compile(r"(forward|backward|rows|finish)_kernelI\w*?(Bf16|Fp16)ELi(\d+)E")


def run(tool, *arguments):
    environment = dict(os.environ, PATH=f"{Path(tool).parent}:{os.environ['PATH']}")  # nvdisasm is beside it
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=True, env=environment).stdout


def key_of(line):
    found = NAME.search(line)
    return (found[1], found[2], int(found[3])) if found else None


def resources(tool, objects):
    """{instance: {REG: .., STACK: .., LOCAL: ..}}"""
    out, key = {}, None
    for path in objects:
        for line in run(tool, "-res-usage", path).splitlines():
            if "Function" in line:
                key = key_of(line)
            elif key and "REG:" in line:
                out[key] = {name: int(value) for name, value in re.findall(r"([A-Z]+):(\d+)", line)}
                key = None
    return out


def counts(tool, path):
    """{instance: how often each instruction of interest stands in its code}"""
    words = {"HGMMA": r"\bHGMMA", "waits": r"WARPGROUP\.DEPBAR", "local": r"\b(LDL|STL)\b", "copies": r"\bUTMALDG",
             "registers": r"USETMAXREG"}
    out, key = {}, None
    for line in run(tool, "-sass", path).splitlines():
        if "Function :" in line:
            key = key_of(line)
            if key:
                out[key] = dict.fromkeys(words, 0)
        elif key:
            for name, pattern in words.items():
                out[key][name] += bool(re.search(pattern, line))
    return out


def problems(used, code):
    for pass_ in BUDGET:
        for key in ((pass_, type_, width) for type_ in TYPES for width in WIDTHS):
            if key not in used:
                yield f"{key}: no such instance"
                continue
            usage = used[key]
            if usage["REG"] > BUDGET[pass_]:
                yield f"{key}: {usage['REG']} registers, at most {BUDGET[pass_]}"
            if usage["STACK"] or usage["LOCAL"]:
                yield f"{key}: {usage['STACK']} bytes of stack, {usage['LOCAL']} local: registers are spilled"
            found = code[key]
            if found["local"]:
                yield f"{key}: {found['local']} accesses to local memory"
            if pass_ not in MAIN:
                continue
            if found["HGMMA"] < 4 * found["waits"]:
                yield f"{key}: {found['HGMMA']} products, {found['waits']} waits: they are serialised"
            if not found["copies"] or found["registers"] < 2:
                yield f"{key}: {found['copies']} tensor copies, {found['registers']} register moves"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuobjdump", default="")
    parser.add_argument("--objects", nargs="+", required=True)
    arguments = parser.parse_args()
    tool = arguments.cuobjdump
    if not tool or not Path(tool).exists() or not Path(tool).with_name("nvdisasm").exists():
        print("skipped: no cuobjdump and nvdisasm here; the CUDA Toolkit has them, or launch/setup --tests")
        return 77
    objects = [path for path in arguments.objects if "_kernel" not in Path(path).name and path.endswith(".cu.o")]
    used, code = resources(tool, objects), {}
    for path in objects:
        code.update(counts(tool, path))
    for key in sorted(used):
        print(*key, used[key], code.get(key))
    wrong = list(problems(used, code))
    print("\n".join(wrong) or f"{len(used)} kernels, no spills")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
