"""The start of a dagpam run for the plain PyTorch model: its initial weights and its order of samples.

With both, the two programs must walk the same path: their losses part only as rounding lets them.
"""
import json
import pathlib

import torch
from safetensors.torch import load_file


def read_checkpoint(folder):
    """Tensors by name of a checkpoint that one rank wrote."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def split_qkv(weight, heads):
    """Rows grouped by head (its query, key, value) to all queries, all keys, all values."""
    rows, width = weight.shape
    return weight.view(heads, 3, rows // (3 * heads), width).transpose(0, 1).reshape(rows, width)


@torch.no_grad()
def load_weights(model, folder, heads):
    """Copies a checkpoint's parameters into torch_lm.LanguageModel; every one of them, or KeyError."""
    saved = read_checkpoint(folder)
    names = {"tokens.weight": "embedding.token.weight", "positions.weight": "embedding.position.weight",
             "norm.weight": "norm.weight"}
    parts = {"norm1.weight": "attention_norm.weight", "norm2.weight": "mlp_norm.weight",
             "attention.qkv.weight": "attention.qkv.weight", "attention.proj.weight": "attention.out.weight",
             "attention.w_neg": "attention.w_neg", "attention.lambda_plus": "attention.lambda_plus",
             "attention.lambda_minus": "attention.lambda_minus", "up.weight": "mlp.up.weight",
             "proj.weight": "mlp.down.weight"}
    for name, parameter in model.named_parameters():
        if name.startswith("blocks."):
            _, layer, part = name.split(".", 2)
            value = saved[f"layers.{layer}.{parts[part]}"]
            if part == "attention.qkv.weight":
                value = split_qkv(value, heads)
        else:
            value = saved[names[name]]
        parameter.copy_(value.view_as(parameter))


def read_order(path):
    """First tokens of the samples, in order: lines of `dagpam data order --json`."""
    with open(path, encoding="utf-8") as lines:
        return torch.tensor([json.loads(line)["token"] for line in lines])
