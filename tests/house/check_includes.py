#!/usr/bin/env python3
"""Who may include whom: the arrows between folders, and where third-party headers may appear."""
import re

import tree

ARROWS = {
    "configs": set(),
    "data": {"configs"},
    "parallel": set(),
    "attention": {"parallel"},
    "trainer": {"attention", "data", "parallel", "configs"},
    "launch": set(tree.FOLDERS),
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")
CUDA = re.compile(r"^(cuda|cub/|cute/|cutlass/|nvtx|thrust/|cublas)")
NCCL_MPI = re.compile(r"^(mpi|nccl)\.h$")
TORCH_FREE = ("configs", "data")
HEADER_MAY = "ATen/core/Tensor.h"
# A .cpp that includes one of these pays 10 s and more for names that narrower headers give.
TOO_WIDE = {"torch/torch.h", "torch/all.h", "torch/types.h", "torch/autograd.h", "ATen/ATen.h",
            "torch/extension.h"}


def problem_of(path, quote, name):
    """What is wrong with an include in `path` (relative to the root), or None."""
    folder, header = path.parts[0], path.suffix in (".h", ".cuh")
    first = name.split("/")[0]
    if quote == '"' and "/" not in name and folder != "tests":
        return "project headers are included as folder/file.h"
    if first in ARROWS and folder in ARROWS and first != folder and first not in ARROWS[folder]:
        return f"{folder} may include {', '.join(sorted(ARROWS[folder])) or 'no other folder'}"
    if NCCL_MPI.match(name) and not (folder == "parallel" and path.suffix == ".cpp"):
        # Tests of the backends themselves may look underneath.
        return None if folder == "tests" else "MPI and NCCL stay in .cpp files of parallel/"
    if CUDA.match(name) and (header or folder not in ("parallel", "attention", "trainer", "tests")):
        return "CUDA headers stay in .cpp and .cu files of parallel/, attention/ and trainer/"
    if TORCH.match(name):
        if folder in TORCH_FREE:
            return f"{folder} knows no LibTorch"
        if header and name != HEADER_MAY and folder != "tests":
            return f"a header includes {HEADER_MAY} at most"
        if name in TOO_WIDE:
            return "too wide: include the header of each operator or type"
    return None


def check(root):
    problems = []
    for path in tree.own_files(root, tree.CPP):
        text = tree.read(path)
        relative = path.relative_to(root)
        if path.suffix == ".h" and "#pragma once" not in text:
            problems.append(f"{relative}: a header starts with #pragma once")
        for match in INCLUDE.finditer(text):
            why = problem_of(relative, *match.groups())
            if why:
                line = text.count("\n", 0, match.start()) + 1
                problems.append(f"{relative}:{line}: {match.group(2)}: {why}")
    return problems


if __name__ == "__main__":
    tree.main(__doc__, check)
