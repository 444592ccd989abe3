"""What a run was made on and with, in words for the report."""
import os
import pathlib
import re
import subprocess


def said(command: list[str], folder: pathlib.Path | None = None) -> str:
    """Standard output of a short command, "" where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd=folder,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def describe() -> str:
    """E.g. "Intel(R) Xeon(R) Processor, 2 cores; NVIDIA H100 80GB HBM3 x 1"."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    cpu = found.group(1).strip() if found else os.uname().machine
    gpus = said(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()
    names = "".join(f"; {name} x {gpus.count(name)}" for name in sorted(set(gpus)))
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores{names}"


def version(program: str, root: pathlib.Path) -> str:
    """The program's version, and the commit of the checkout that it belongs to, where there is one."""
    number = said([program, "--version"]).splitlines()
    commit = said(["git", "rev-parse", "--short=12", "HEAD"], root)
    changed = commit and said(["git", "status", "--porcelain", "--untracked-files=no"], root)
    place = f" (commit {commit}{', with changes' if changed else ''})" if commit else ""
    return " ".join(["dagpam", *number[:1]]) + place
