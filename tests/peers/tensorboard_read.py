#!/usr/bin/env python3
"""What TensorBoard's own reader finds in a folder, as JSON. Needs .deps/tensorboard (launch/setup --tensorboard).

{"scalars": {tag: [[step, value], ...]}, "texts": {tag: [[step, text], ...]}, "all_scalars": the same without forgetting
what a later start of the run has replaced}
"""
import json
import sys

from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator


def scalars(folder, forget):
    reader = event_accumulator.EventAccumulator(folder, size_guidance={event_accumulator.SCALARS: 0},
                                                purge_orphaned_data=forget)
    reader.Reload()
    return {tag: [[event.step, event.value] for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def texts(folder):
    """As TensorBoard's plugin for texts finds them."""
    reader = plugin_event_accumulator.EventAccumulator(folder, purge_orphaned_data=True)
    reader.Reload()
    return {tag: [[event.step, event.tensor_proto.string_val[0].decode()] for event in reader.Tensors(tag)]
            for tag in reader.PluginTagToContent("text")}


if __name__ == "__main__":
    path = sys.argv[1]
    json.dump({"scalars": scalars(path, True), "all_scalars": scalars(path, False), "texts": texts(path)}, sys.stdout)
