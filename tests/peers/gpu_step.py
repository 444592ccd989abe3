#!/usr/bin/env python3
"""Times a training step of the recipes' model in PyTorch, written as a careful user writes it for a GPU.

The whole model and its loss are one torch.compile(fullgraph=True). Precision bf16: parameters (the masters),
gradients and moments in float32; autocast computes matrix products and attention in bfloat16, and the residual
stream is bfloat16; the loss is taken of float32 logits. AdamW is the fused one. daGPAM is one call of
scaled_dot_product_attention with grouped queries, Q and Q- as neighbours that read the same key-value head, and a
combination that the compiler fuses. The attention kernel is chosen by measuring, pinned, and named in "peer".

With --interactive it speaks the protocol of launch/bench/peer.h: a line with "peer" and "first_step_s" (from the
start of this process to the end of the first step) when it is ready, then for each line "N" the mean time of N steps
by the device's events, and the most bytes of tensors held. --losses N prints the losses of N steps instead, from a
checkpoint's weights (--start) and in the order of `dagpam data order` (--tokens, --order): the test of the maths.
"""
import argparse
import array
import contextlib
import json
import math
import os
import pathlib
import resource
import struct
import sys
import time

try:
    import torch
except (ImportError, OSError):
    sys.exit("gpu_step.py: PyTorch is missing: run it with a Python that has PyTorch 2.11")
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# B batch, T time, C width, H heads, G key-value heads, D = C / H, V vocabulary.

KERNELS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION,
           "efficient": SDPBackend.EFFICIENT_ATTENTION, "plain": SDPBackend.MATH}


def seconds_since_start():
    """Seconds that this process has lived; proc(5): its start is the 22nd field, in clock ticks since boot."""
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


class Attention(nn.Module):
    """Causal self-attention; rows of the projection are grouped by key-value head, as in the checkpoints."""

    def __init__(self, args):
        super().__init__()
        self.heads, self.groups, self.dagpam = args.heads, args.kv_heads, args.attention == "dagpam"
        self.d = args.width // args.heads
        rows = (args.heads + 2 * args.kv_heads) * self.d
        self.qkv = nn.Linear(args.width, rows, bias=args.bias)
        self.out = nn.Linear(args.width, args.width, bias=args.bias)
        if self.dagpam:
            self.w_neg = nn.Parameter(torch.randn(self.heads, self.d, self.d) * self.d**-0.5)  # [H, D, D]
            self.lambda_plus = nn.Parameter(torch.ones(self.heads))
            self.lambda_minus = nn.Parameter(torch.ones(self.heads))

    def forward(self, x):  # [B, T, C]
        b, t, c = x.shape
        each = self.heads // self.groups
        qkv = self.qkv(x).view(b, t, self.groups, each + 2, self.d)
        q, k, v = qkv.split([each, 1, 1], dim=3)
        q = q.reshape(b, t, self.heads, self.d).transpose(1, 2)  # [B, H, T, D]
        k, v = k.squeeze(3).transpose(1, 2), v.squeeze(3).transpose(1, 2)  # [B, G, T, D]
        if self.dagpam:
            negative = torch.relu(q) @ self.w_neg.to(q.dtype)
            q = torch.stack([q, negative], dim=2).flatten(1, 2)  # [B, 2 H, T, D]: Q_0, Q-_0, Q_1, ...
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
        if self.dagpam:
            y = y.view(b, self.heads, 2, t, self.d)
            plus, minus = self.lambda_plus.view(-1, 1, 1), self.lambda_minus.view(-1, 1, 1)
            y = ((1 + plus) * y[:, :, 0] - minus * y[:, :, 1]).to(x.dtype)
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class Layer(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.attention_norm = nn.LayerNorm(args.width, bias=args.bias)
        self.attention = Attention(args)
        self.mlp_norm = nn.LayerNorm(args.width, bias=args.bias)
        self.mlp = nn.ModuleDict({"up": nn.Linear(args.width, 4 * args.width, bias=args.bias),
                                  "down": nn.Linear(4 * args.width, args.width, bias=args.bias)})

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x).to(x.dtype))
        return x + self.mlp["down"](F.gelu(self.mlp["up"](self.mlp_norm(x).to(x.dtype))))


class LanguageModel(nn.Module):
    """Pre-norm decoder, learned positions, tied embeddings; its parameters are named as in the checkpoints."""

    def __init__(self, args):
        super().__init__()
        self.stream = torch.bfloat16 if args.precision == "bf16" else torch.float32
        self.embedding = nn.ModuleDict({"token": nn.Embedding(args.vocab, args.width),
                                        "position": nn.Embedding(args.context, args.width)})
        self.layers = nn.ModuleList(Layer(args) for _ in range(args.layers))
        self.norm = nn.LayerNorm(args.width, bias=args.bias)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name.startswith("embedding") or "qkv" in name or "out" in name or ".mlp." in name:
                residual = "out.weight" in name or "down.weight" in name
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * args.layers) if residual else 1))

    def forward(self, inputs, targets):  # both [B, T]; mean loss in nats
        x = self.embedding["token"](inputs) + self.embedding["position"].weight[: inputs.shape[1]]
        x = x.to(self.stream)
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.norm(x).to(self.stream), self.embedding["token"].weight)  # [B, T, V]
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def load_weights(model, folder):
    """Copies every parameter from a checkpoint that one rank wrote; KeyError where one is missing."""
    saved = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        for name, entry in json.loads(data[8 : 8 + size]).items():
            if name != "__metadata__" and entry["dtype"] == "F32":
                begin, end = entry["data_offsets"]
                flat = torch.frombuffer(bytearray(data[8 + size + begin : 8 + size + end]), dtype=torch.float32)
                saved[name] = flat.view(entry["shape"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(saved[name])


def make_optimizer(model, args):
    """AdamW, fused; decay on parameters of two or more dimensions."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    free = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), fused=True)


def random_batches(args):
    """Fresh tokens for each step, copied from pinned memory as a loader does."""
    pinned = args.device == "cuda"
    pool = [torch.randint(args.vocab, (args.batch, args.context + 1), pin_memory=pinned) for _ in range(8)]
    index = 0
    while True:
        rows = pool[index % len(pool)].to(args.device, non_blocking=True)
        index += 1
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def ordered_batches(args):
    """The windows of --tokens (16-bit ids) that the lines of --order name."""
    ids = array.array("H")
    ids.frombytes(pathlib.Path(args.tokens).read_bytes())
    tokens = torch.tensor(ids, dtype=torch.int64)
    lines = pathlib.Path(args.order).read_text(encoding="utf-8").splitlines()
    starts = torch.tensor([json.loads(line)["token"] for line in lines])
    for chunk in starts.split(args.batch):
        rows = tokens[chunk[:, None] + torch.arange(args.context + 1)].to(args.device)
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def fastest_kernel(args):
    """Name of the attention kernel whose forward and backward take least time on this shape."""
    d, sides = args.width // args.heads, 2 if args.attention == "dagpam" else 1

    def random(heads):
        return torch.randn(args.batch, args.context, heads, d, device="cuda",
                           dtype=torch.bfloat16).transpose(1, 2).requires_grad_()

    q, k, v = random(sides * args.heads), random(args.kv_heads), random(args.kv_heads)
    times = {}
    for name in ("cudnn", "flash"):
        try:
            with sdpa_kernel(KERNELS[name]):
                for _ in range(7):
                    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                    begin.record()
                    y = F.scaled_dot_product_attention(q, k, v, is_causal=True,
                                                       enable_gqa=q.shape[1] != k.shape[1])
                    y.backward(torch.ones_like(y))
                    end.record()
                    end.synchronize()
                    times[name] = min(times.get(name, math.inf), begin.elapsed_time(end))
        except RuntimeError as error:
            print(f"gpu_step.py: {name} does not serve: {str(error).splitlines()[0]}", file=sys.stderr)
    return min(times, key=times.get) if times else "plain"


class Stepper:
    def __init__(self, args):
        self.args = args
        self.kernel = args.sdpa
        if args.sdpa == "auto":
            self.kernel = fastest_kernel(args) if args.device == "cuda" and args.precision == "bf16" else "library"
        self.model = LanguageModel(args)
        if args.start:
            load_weights(self.model, args.start)
        self.model.to(args.device)
        self.optimizer = make_optimizer(self.model, args)
        self.batches = ordered_batches(args) if args.order else random_batches(args)
        self.loss_of = torch.compile(self.model, fullgraph=True, mode=args.mode) if args.compile else self.model

    def step(self):
        """One optimizer step of args.accumulate micro-batches; the mean loss, still on the device."""
        low = self.args.precision == "bf16"
        total = 0
        for _ in range(self.args.accumulate):
            pin = sdpa_kernel(KERNELS[self.kernel]) if self.kernel in KERNELS else contextlib.nullcontext()
            with pin, torch.autocast(self.args.device, torch.bfloat16, enabled=low):
                loss = self.loss_of(*next(self.batches)) / self.args.accumulate
            loss.backward()
            total = total + loss.detach()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.args.clip_norm, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def time(self, count):
        """Mean milliseconds of `count` steps, the host never waiting between them."""
        if self.args.device != "cuda":
            begin = time.perf_counter()
            for _ in range(count):
                self.step().item()
            return {"step_ms": 1000 * (time.perf_counter() - begin) / count,
                    "peak_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(count):
            self.step()
        end.record()
        end.synchronize()
        return {"step_ms": begin.elapsed_time(end) / count, "peak_memory": torch.cuda.max_memory_allocated()}

    def name(self):
        how = f"torch.compile {self.args.mode}" if self.args.compile else "eager"
        return f"PyTorch {torch.__version__} {how}, {self.args.attention}, {self.kernel} attention"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--attention", choices=("softmax", "dagpam"), default="dagpam")
    for name, value in (("layers", 12), ("heads", 12), ("width", 768), ("context", 1024), ("vocab", 50304)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    parser.add_argument("--kv-heads", type=int, help="default: heads")
    parser.add_argument("--batch", type=int, default=16, help="sequences a micro-batch (default: 16)")
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches a step (default: 1)")
    parser.add_argument("--no-bias", dest="bias", action="store_false")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--eager", dest="compile", action="store_false", help="without torch.compile")
    parser.add_argument("--mode", default="default", help="of torch.compile, e.g. reduce-overhead")
    parser.add_argument("--sdpa", choices=("auto", *KERNELS), default="auto", help="attention kernel; auto: the fastest")
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--clip-norm", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", help="checkpoint whose weights the model starts with")
    parser.add_argument("--tokens", help="token file of --order, 16-bit ids")
    parser.add_argument("--order", help="file of `dagpam data order --json`")
    parser.add_argument("--losses", type=int, default=0, help="print the losses of so many steps, and end")
    parser.add_argument("--steps", type=int, default=20, help="steps to time without --interactive (default: 20)")
    parser.add_argument("--interactive", action="store_true", help="answer lines of standard input")
    args = parser.parse_args()
    args.kv_heads = args.kv_heads or args.heads
    return args


def main():
    args = parse_arguments()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu_step.py: PyTorch sees no GPU")
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("highest" if args.precision == "fp32" else "high")
    stepper = Stepper(args)
    if args.losses:
        print(json.dumps({"losses": [stepper.step().item() for _ in range(args.losses)], "kernel": stepper.kernel}))
        return
    try:
        stepper.step().item()
    except Exception as error:  # pylint: disable=broad-except  # the compiler's own, of many kinds
        if not args.compile:
            raise
        print(f"gpu_step.py: torch.compile failed, going on without it: {error}", file=sys.stderr)
        args.compile, stepper.loss_of = False, stepper.model
        stepper.step().item()
    ready = {"peer": stepper.name(), "first_step_s": seconds_since_start(), "kernel": stepper.kernel,
             "parameters": sum(p.numel() for p in stepper.model.parameters())}
    stepper.time(4)
    if not args.interactive:
        print(json.dumps({**ready, **stepper.time(args.steps)}))
        return
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps(stepper.time(int(line))), flush=True)


if __name__ == "__main__":
    main()
