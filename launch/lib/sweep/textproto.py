"""Configurations as the program prints them: one field a line, blocks in braces."""

# What a run may be continued under without being another run: docs/commands.md.
LAYOUT = ("parallel.", "log.", "checkpoint.", "watchdog.", "train.micro_batch", "data.prefetch")


def fields(text: str) -> dict[str, str]:
    """Field path -> value; of a list its values, one after the other."""
    found: dict[str, str] = {}
    blocks: list[str] = []
    entries: dict[str, int] = {}  # of repeated blocks: how many there were
    for line in text.splitlines():
        line = line.strip()
        if line.endswith("{"):
            path = ".".join([*blocks, line[:-1].strip()])
            entries[path] = entries.get(path, 0) + 1
            name = line[:-1].strip()
            blocks.append(name if entries[path] == 1 else f"{name}.{entries[path] - 1}")
        elif line == "}":
            blocks.pop()
        elif ": " in line:
            name, _, value = line.partition(": ")
            path = ".".join([*blocks, name])
            found[path] = f"{found[path]}, {value}" if path in found else value
    return found


def difference(old: dict[str, str], new: dict[str, str]) -> str:
    """The first field that makes them different runs, with both values; "" where there is none."""
    for path in sorted(old.keys() | new.keys()):
        if path.startswith(LAYOUT) or old.get(path) == new.get(path):
            continue
        return f"{path} is {old.get(path, 'not set')} there and {new.get(path, 'not set')} now"
    return ""
