#!/usr/bin/env python3
"""Holds the checkpoint shards against the `safetensors` package, in both directions.

    pip install safetensors numpy
    DAGPAM_KEEP_CHECKPOINT=/tmp/peer build/bin/trainer_checkpoint_round_trip_test \
        --gtest_filter='*LeavesOneForThePeer'
    tests/peers/safetensors_read.py /tmp/peer/step-00000100

Reads every shard with the package, compares each value with the closed form of
tests/trainer/checkpoint_fixtures.h, and writes each shard again with the package: the data must be the
same bytes. Ends with 1 where something differs.
"""

import json
import pathlib
import re
import sys

import numpy
import safetensors
import safetensors.numpy

STEP = 100


def whole(name: str, shape: tuple[int, ...]) -> numpy.ndarray:
    """value_at() of the fixtures for each element of the global tensor."""
    index = numpy.arange(int(numpy.prod(shape)), dtype=numpy.int64)
    return (index % 65521 + len(name) * 70000 + STEP % 1000).astype(numpy.float32).reshape(shape)


def pieces_of(manifest: str) -> dict[tuple[int, str], tuple[tuple, tuple, tuple]]:
    """(file, tensor) -> (global shape, start, shape), from the manifest's text."""
    numbers = r"\[([0-9, ]*)\]"
    found = {}
    for block in re.split(r"^tensors \{$", manifest, flags=re.M)[1:]:
        name = re.search(r'name: "([^"]*)"', block)[1]
        head = block.split("pieces {")[0]
        shape = as_tuple(re.search(r"shape: " + numbers, head))
        for piece in block.split("pieces {")[1:]:
            file = int(re.search(r"file: (\d+)", piece)[1])
            start = as_tuple(re.search(r"start: " + numbers, piece))
            extent = as_tuple(re.search(r"shape: " + numbers, piece))
            found[file, name] = (shape, start, extent)
    return found


def as_tuple(match: re.Match | None) -> tuple[int, ...]:
    return tuple(int(n) for n in match[1].split(",")) if match and match[1] else ()


def data_of(raw: bytes) -> bytes:
    return raw[8 + int.from_bytes(raw[:8], "little") :]


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    manifest = (folder / "MANIFEST.textproto").read_text()
    files = re.findall(r'^files \{\n  name: "([^"]*)"', manifest, flags=re.M)
    pieces = pieces_of(manifest)
    tensors = differences = 0
    for number, name in enumerate(files):
        if not name.startswith("shard-"):
            continue
        path = folder / name
        with safetensors.safe_open(path, framework="numpy") as shard:
            metadata = shard.metadata()
            stored = {key: shard.get_tensor(key) for key in shard.keys()}
        expected_keys = {tensor for file, tensor in pieces if file == number}
        if set(stored) != expected_keys or metadata["shard"] != name or metadata["step"] != str(STEP):
            print(f"{name}: names or metadata differ: {sorted(stored)} {metadata}")
            differences += 1
        for key, value in stored.items():
            shape, start, extent = pieces[number, key]
            part = whole(key, shape)[tuple(slice(s, s + n) for s, n in zip(start, extent))]
            tensors += 1
            if value.dtype != numpy.float32 or value.shape != extent or not numpy.array_equal(value, part):
                print(f"{name}: {key} differs")
                differences += 1
        raw = path.read_bytes()
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        again = safetensors.numpy.save(stored, metadata=metadata)
        again_header = json.loads(again[8 : 8 + int.from_bytes(again[:8], "little")])
        for key in stored:  # the package may choose another order of the tensors
            ours, theirs = header[key]["data_offsets"], again_header[key]["data_offsets"]
            if data_of(raw)[slice(*ours)] != data_of(again)[slice(*theirs)]:
                print(f"{name}: {key} is written differently")
                differences += 1
    print(f"safetensors {safetensors.__version__}: {tensors} tensors read, {differences} differences")
    return 1 if differences or tensors == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
