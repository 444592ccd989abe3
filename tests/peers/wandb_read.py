#!/usr/bin/env python3
"""What stands in a run-*.wandb file, in wandb's own messages, as JSON: {"name", "project", "config", "history"}.

Needs .deps/wandb (launch/setup --wandb). The package has no reader for Python; a file is 7 bytes, then LevelDB's log
(doc/log_format.md there): blocks of 32 KiB with records of u32 checksum, u16 length, u8 kind.
"""
import json
import pathlib
import struct
import sys

from wandb.proto import wandb_internal_pb2

BLOCK, HEAD = 1 << 15, 7
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(data):
    place, parts = HEAD, b""
    while place + HEAD <= len(data):
        if BLOCK - place % BLOCK < HEAD:  # the rest of a block that holds no head
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        part = data[place + HEAD: place + HEAD + length]
        place += HEAD + length
        parts = part if kind in (WHOLE, FIRST) else parts + part
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def pairs(items):
    """Of items with a key, or the parts of a nested one, and a value in JSON."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def main():
    found = {"history": []}
    for record in records(pathlib.Path(sys.argv[1]).read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.update(name=record.run.display_name, project=record.run.project,
                         config=pairs(record.run.config.update))
        elif kind == "history":
            found["history"].append(pairs(record.history.item))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
