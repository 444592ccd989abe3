#!/usr/bin/env python3
"""A small decoder language model in plain PyTorch: the twin of configs/recipes/shakespeare_char_cpu*.textproto.

Library attention (scaled_dot_product_attention) and library AdamW (fused), nothing clever. It is the peer that
the trainer's losses and step times are held against; twins.py and bench_step.py build on it.

Example:
  torch_lm.py --data input.txt --attention dagpam --seed 1 --out twin.json
"""
import argparse
import dataclasses
import json
import math
import sys
import time

try:
    import torch
except ImportError:
    sys.exit("PyTorch is missing: run ./launch/setup --peers, then use .deps/peers/bin/python")
from torch import nn
from torch.nn import functional as F

import same_start

# B batch, T time, C width, H heads, D = C / H, V vocabulary.

ATTENTIONS = ("softmax", "softmax_wide", "dagpam")


@dataclasses.dataclass
class ModelOptions:
    """Sizes of the model; the defaults are the small CPU setting for tiny Shakespeare."""

    vocab: int = 65
    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    attention: str = "softmax"
    trained_lambdas: bool = True
    bias: bool = False


class SelfAttention(nn.Module):
    """Causal self-attention: one softmax, a widened one, or the difference of two (daGPAM)."""

    def __init__(self, options):
        super().__init__()
        self.kind, self.heads = options.attention, options.heads
        self.qkv = nn.Linear(options.width, 3 * options.width, bias=options.bias)
        self.proj = nn.Linear(options.width, options.width, bias=options.bias)
        d = options.width // options.heads
        if self.kind != "softmax":
            self.w_neg = nn.Parameter(torch.randn(options.heads, d, d) * d**-0.5)  # [H, D, D]
        if self.kind == "dagpam":
            for name in ("lambda_plus", "lambda_minus"):  # [H, 1, 1], start at 1
                start = torch.ones(options.heads, 1, 1)
                if options.trained_lambdas:
                    setattr(self, name, nn.Parameter(start))
                else:
                    self.register_buffer(name, start)

    def forward(self, x):  # [B, T, C]
        b, t, c = x.shape
        # each [B, H, T, D]
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).split(c, dim=2))
        if self.kind == "softmax_wide":
            q = q + torch.relu(q) @ self.w_neg
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if self.kind == "dagpam":
            negative = torch.relu(q) @ self.w_neg
            z = F.scaled_dot_product_attention(negative, k, v, is_causal=True)
            y = (1 + self.lambda_plus) * y - self.lambda_minus * z
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    """Pre-norm block: attention, then an MLP of four times the width with the exact GELU."""

    def __init__(self, options):
        super().__init__()
        self.norm1 = nn.LayerNorm(options.width, bias=options.bias)
        self.attention = SelfAttention(options)
        self.norm2 = nn.LayerNorm(options.width, bias=options.bias)
        self.up = nn.Linear(options.width, 4 * options.width, bias=options.bias)
        self.proj = nn.Linear(4 * options.width, options.width, bias=options.bias)

    def forward(self, x):  # [B, T, C]
        x = x + self.attention(self.norm1(x))
        return x + self.proj(F.gelu(self.up(self.norm2(x))))


class LanguageModel(nn.Module):
    """Token and learned position embeddings, blocks, a final norm, and the embedding again as output."""

    def __init__(self, options):
        super().__init__()
        self.tokens = nn.Embedding(options.vocab, options.width)
        self.positions = nn.Embedding(options.context, options.width)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.layers))
        self.norm = nn.LayerNorm(options.width, bias=options.bias)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.endswith("proj.weight"):  # those that write into the residual stream
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * options.layers))

    def forward(self, inputs, targets, reduction="mean"):  # both [B, T]; loss in nats
        x = self.tokens(inputs) + self.positions.weight[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)  # [B, T, V]
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def make_optimizer(model, args):
    """Fused AdamW; weight decay on parameters of two or more dimensions, lambdas excepted."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        matrix = parameter.dim() >= 2 and "lambda" not in name
        (decayed if matrix else free).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": args.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(args.beta1, args.beta2), fused=True)


def learning_rate(step, args):
    """Linear warm-up, then a cosine down to lr * final_ratio at the last step."""
    if step < args.warmup:
        return args.lr * (step + 1) / (args.warmup + 1)
    done = (step - args.warmup) / max(1, args.steps - args.warmup)
    low = args.lr * args.final_ratio
    return low + 0.5 * (1 + math.cos(math.pi * done)) * (args.lr - low)


def train_step(model, optimizer, batch, clip_norm):
    """Forward, backward, clip, update: what bench_step.py times. Returns the loss."""
    inputs, targets = batch
    loss = model(inputs, targets)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


def batches(tokens, args):
    """Yields (inputs, targets), [B, T] each.

    random: windows at random places, with replacement.
    epoch: a permutation of the non-overlapping windows, shifted by a random offset each epoch.
    a file of `dagpam data order --json`: the windows that it lists.
    """
    generator = torch.Generator().manual_seed(args.seed + 1)
    span = torch.arange(args.context + 1)
    if args.order == "random":
        while True:
            starts = torch.randint(len(tokens) - args.context, (args.batch,), generator=generator)
            rows = tokens[starts[:, None] + span]
            yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    if args.order != "epoch":
        for starts in same_start.read_order(args.order).split(args.batch):
            rows = tokens[starts[:, None] + span]
            yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
        return
    queue = torch.empty(0, dtype=torch.int64)
    while True:
        while len(queue) < args.batch:
            shift = int(torch.randint(args.context, (1,), generator=generator))
            windows = (len(tokens) - 1 - shift) // args.context
            order = torch.randperm(windows, generator=generator)
            queue = torch.cat([queue, order * args.context + shift])
        starts, queue = queue[: args.batch], queue[args.batch :]
        rows = tokens[starts[:, None] + span]
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


@torch.no_grad()
def evaluate(model, tokens, context):
    """Mean nll (nats) over all tokens but the first, windows of `context` without overlap."""
    total, count = 0.0, len(tokens) - 1
    whole = count // context * context
    inputs = tokens[:whole].view(-1, context)
    targets = tokens[1 : whole + 1].view(-1, context)
    for x, y in zip(inputs.split(64), targets.split(64)):
        total += model(x, y, reduction="sum").double().item()
    if whole < count:  # the last, shorter window
        total += model(tokens[None, whole:-1], tokens[None, whole + 1 :], "sum").double().item()
    return total / count


def load_characters(path, fraction):
    """Character ids of the first `fraction` of a text and of the rest, and the vocabulary's size."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    cut = int(len(text) * fraction)
    ids = {c: i for i, c in enumerate(sorted(set(text[:cut])))}
    missing = sorted(set(text[cut:]) - set(ids))
    if missing:
        sys.exit(f"{path}: validation part has characters that the training part lacks: {missing}")
    tokens = torch.tensor([ids[c] for c in text], dtype=torch.int64)
    return tokens[:cut], tokens[cut:], len(ids)


def add_model_arguments(parser):
    """Sizes and attention: shared with bench_step.py."""
    parser.add_argument("--attention", choices=ATTENTIONS, default="softmax")
    parser.add_argument("--lambdas", choices=("trained", "fixed"), default="trained",
                        help="of dagpam, one pair a head, start or value 1 (default: trained)")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--context", type=int, default=64, help="tokens (default: 64)")
    parser.add_argument("--batch", type=int, default=12, help="sequences a step (default: 12)")
    parser.add_argument("--bias", action="store_true", help="biases in linear layers and norms, as in GPT-2")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--beta1", type=float, default=0.9)
    parser.add_argument("--beta2", type=float, default=0.99)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--clip-norm", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def model_options(args, vocab):
    """ModelOptions of parsed arguments."""
    return ModelOptions(vocab, args.layers, args.heads, args.width, args.context, args.attention,
                        args.lambdas == "trained", args.bias)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="text file, UTF-8; characters are the tokens")
    parser.add_argument("--train-fraction", type=float, default=0.9,
                        help="part of the text that trains; the rest validates (default: 0.9)")
    parser.add_argument("--out", help="write the result here as JSON too")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--warmup", type=int, default=100, help="steps (default: 100)")
    parser.add_argument("--final-ratio", type=float, default=0.1, help="last rate / peak rate")
    parser.add_argument("--order", default="random",
                        help="random: windows with replacement (default); epoch: permutations of all; "
                             "or a file of `dagpam data order --json`")
    parser.add_argument("--start", help="checkpoint of dagpam whose weights this model starts with")
    parser.add_argument("--log-every", type=int, default=0, help="steps; 0: silent (default)")
    add_model_arguments(parser)
    return parser.parse_args()


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train, valid, vocab = load_characters(args.data, args.train_fraction)
    model = LanguageModel(model_options(args, vocab))
    if args.start:
        same_start.load_weights(model, args.start, args.heads)
    optimizer = make_optimizer(model, args)
    source = batches(train, args)
    begin = time.perf_counter()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args)
        loss = train_step(model, optimizer, next(source), args.clip_norm)
        if args.log_every and (step + 1) % args.log_every == 0:
            print(f"step {step + 1} loss {loss.item():.4f}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - begin
    result = {
        "attention": args.attention, "lambdas": args.lambdas, "seed": args.seed, "order": args.order,
        "steps": args.steps, "vocab": vocab, "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": len(valid) - 1, "nll": evaluate(model, valid, args.context),
        "seconds": round(seconds, 2), "step_ms": round(1000 * seconds / args.steps, 3),
        "torch": torch.__version__,
    }
    print(json.dumps(result))
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(result, file)


if __name__ == "__main__":
    main()
