"""The project's own files, and how a house check reports: shared by the check_*.py scripts."""
import argparse
import pathlib
import sys

FOLDERS = ("configs", "data", "parallel", "attention", "trainer", "launch")
CPP = (".cpp", ".h", ".cu", ".cuh")
SKIPPED = 77  # exit code that CTest takes for "not run"
NOT_OURS = {".git", ".deps", "runs", "__pycache__"}


def own_files(root, suffixes=None):
    """Paths below `root`, sorted, without build folders, caches and version control."""
    found = []
    for path in sorted(pathlib.Path(root).rglob("*")):
        parts = path.relative_to(root).parts
        if parts[0].startswith("build") or NOT_OURS.intersection(parts) or not path.is_file():
            continue
        if suffixes is None or path.suffix in suffixes:
            found.append(path)
    return found


def read(path):
    return path.read_text(encoding="utf-8")


def is_text(path):
    return b"\0" not in path.read_bytes()[:4096]


def is_shell(path):
    """A bash or sh script, by its suffix or its first line."""
    if path.suffix == ".sh":
        return True
    if path.suffix:
        return False
    first = path.read_bytes()[:64].split(b"\n")[0]
    return first.startswith(b"#!") and (b"bash" in first or b"/sh" in first)


def skip(reason):
    """Ends the check as not run; launch/test lists the reason."""
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def main(description, check, **options):
    """Runs check(root, **flags), prints the problems it returns, and ends with 1 if there are any.

    `options` are further flags of the command line, name to help text; check gets them by name.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=pathlib.Path, help="checkout (default: this one)",
                        default=pathlib.Path(__file__).resolve().parents[2])
    for name, text in options.items():
        parser.add_argument(f"--{name}", help=text)
    args = vars(parser.parse_args())
    problems = check(**args)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)
