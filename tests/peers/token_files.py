#!/usr/bin/env python3
"""Reads and writes the token files of other programs, from their layouts alone, with nothing of this project's code.

Megatron's indexed format, version 1: megatron/core/datasets/indexed_dataset.py of Megatron-LM; llm.c's .bin:
dev/data/data_common.py; nanoGPT's .bin: data/shakespeare_char/prepare.py. `token_files.py PATH...` checks every rule of
PATH.bin and PATH.idx and prints what they hold; exit status 1 where one is broken.
"""
import pathlib
import struct
import sys

# Code of the index: bytes, and the letter of `struct`.
TYPES = {1: (1, "B"), 2: (1, "b"), 3: (2, "h"), 4: (4, "i"), 5: (8, "q"), 6: (8, "d"), 7: (4, "f"), 8: (2, "H")}


class Broken(Exception):
    """A rule of the format that a file does not keep."""


def require(good, rule):
    if not good:
        raise Broken(rule)


def read_megatron(path):
    """The documents of PATH: lists of sequences, which are lists of ids; and the code of the tokens' type."""
    index = pathlib.Path(f"{path}.idx").read_bytes()
    tokens = pathlib.Path(f"{path}.bin").read_bytes()
    require(index[:9] == b"MMIDIDX\0\0", "the index begins with MMIDIDX and two zeros")
    version, code, sequences, boundaries = struct.unpack_from("<QBQQ", index, 9)
    require(version == 1, "the version is 1")
    require(code in TYPES, "the type of the tokens is one of 1 to 8")
    size, letter = TYPES[code]
    plain = 34 + 12 * sequences + 8 * boundaries
    require(len(index) == plain, "the index has exactly the bytes of its arrays, and no modes")
    lengths = struct.unpack_from(f"<{sequences}i", index, 34)
    pointers = struct.unpack_from(f"<{sequences}q", index, 34 + 4 * sequences)
    ends = struct.unpack_from(f"<{boundaries}q", index, 34 + 12 * sequences)
    require(all(length >= 0 for length in lengths), "no length is negative")
    at = 0
    for length, pointer in zip(lengths, pointers):
        require(pointer == at, "each pointer is where the sequence before ends")
        at += length * size
    require(at == len(tokens), "the last sequence ends where .bin does")
    require(ends and ends[0] == 0 and ends[-1] == sequences, "the boundaries go from 0 to the number of sequences")
    require(all(a <= b for a, b in zip(ends, ends[1:])), "the boundaries never fall")
    ids = [list(struct.unpack_from(f"<{length}{letter}", tokens, pointer))
           for length, pointer in zip(lengths, pointers)]
    return [ids[a:b] for a, b in zip(ends, ends[1:])], code


def write_megatron(path, documents, code=8, modes=None):
    """`documents` are lists of sequences; `modes`, a number a sequence, makes it multimodal."""
    size, letter = TYPES[code]
    sequences = [sequence for document in documents for sequence in document]
    ends = [0]
    for document in documents:
        ends.append(ends[-1] + len(document))
    pointers, at = [], 0
    for sequence in sequences:
        pointers.append(at)
        at += size * len(sequence)
    with open(f"{path}.bin", "wb") as file:
        for sequence in sequences:
            file.write(struct.pack(f"<{len(sequence)}{letter}", *sequence))
    with open(f"{path}.idx", "wb") as file:
        file.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, len(sequences), len(ends)))
        file.write(struct.pack(f"<{len(sequences)}i", *map(len, sequences)))
        file.write(struct.pack(f"<{len(sequences)}q", *pointers))
        file.write(struct.pack(f"<{len(ends)}q", *ends))
        if modes is not None:
            file.write(struct.pack(f"<{len(modes)}b", *modes))


def write_llmc(path, ids, wide=False, count=None):
    """llm.c's .bin: GPT-2's u16 or (wide) Llama 3's u32; `count`: a header that says so many."""
    header = [0] * 256
    header[:3] = [*([20240801, 7] if wide else [20240520, 1]), len(ids) if count is None else count]
    with open(path, "wb") as file:
        file.write(struct.pack("<256i", *header))
        file.write(struct.pack(f"<{len(ids)}{'I' if wide else 'H'}", *ids))


def write_nanogpt(path, ids):
    pathlib.Path(path).write_bytes(struct.pack(f"<{len(ids)}H", *ids))


def main():
    broken = 0
    for path in sys.argv[1:]:
        try:
            documents, code = read_megatron(path)
            sequences = sum(map(len, documents))
            tokens = sum(len(sequence) for document in documents for sequence in document)
            print(f"{path}: type {code}, {len(documents)} documents, {sequences} sequences, {tokens} tokens")
        except Broken as error:
            broken = 1
            print(f"{path}: BROKEN: {error}")
    return broken


if __name__ == "__main__":
    sys.exit(main())
