"""Token files in Megatron's indexed format (layout: data/megatron_index.h), i32 tokens."""
import array
import struct
import sys


class Writer:
    """PATH.bin and PATH.idx: a sequence a document."""

    def __init__(self, path):
        if sys.byteorder != "little":
            raise OSError("the format is little-endian, and so must be this machine")
        self.path, self.lengths = path, array.array("i")
        self.file = open(f"{path}.bin", "wb")  # pylint: disable=consider-using-with

    def add(self, ids):
        if not ids:
            return
        array.array("i", ids).tofile(self.file)
        self.lengths.append(len(ids))

    def finish(self):
        self.file.close()
        pointers, at = array.array("q"), 0
        for length in self.lengths:
            pointers.append(at)
            at += 4 * length
        with open(f"{self.path}.idx", "wb") as file:
            file.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 4, len(self.lengths), len(self.lengths) + 1))
            self.lengths.tofile(file)
            pointers.tofile(file)
            array.array("q", range(len(self.lengths) + 1)).tofile(file)
