"""The bars that a GPU's numbers are held to, in one table, and which rows speak for which."""
import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Bar:
    number: str
    what: str
    must: float
    aim: float
    at_least: bool = False  # the larger the better

    def met(self, value, bound):
        return value >= bound if self.at_least else value <= bound


BARS = (
    Bar("1", "fused daGPAM forward and backward / best composed path, causal bf16, T 512 to 8192, geometric mean",
        1.0, 0.80),
    Bar("2", "fused daGPAM / plain SDPA of the same shape, geometric mean", 2.0, 1.75),
    Bar("3", "daGPAM step / softmax step, 124M, T 1024", 1.15, 1.08),
    Bar("4", "step / torch.compile step of the same model, 20M", 1.0, 0.85),
    Bar("4b", "the same, 124M", 1.0, 0.85),
    Bar("4c", "the same, 350M", 1.0, 0.85),
    Bar("5", "model FLOP/s / matmul rate of this run, 124M at T 1024", 0.45, 0.55, at_least=True),
    Bar("5b", "the same, 1.5B", 0.52, 0.62, at_least=True),
    Bar("6", "peak memory / closed formula, 124M", 1.10, 1.05),
    Bar("6b", "peak memory / the PyTorch peer's, 124M", 1.0, 0.85),
    Bar("7", "seconds from start to first step / torch.compile peer's, 124M", 0.5, 0.15),
    Bar("8", "step with all logging and metrics / without", 1.01, 1.003),
    Bar("8b", "host waits for the device in a step between log intervals", 0, 0),
)


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def judge(number, value):
    """What a row that speaks for a bar carries: bar, ratio, pass (the must), aim met."""
    bar = next(bar for bar in BARS if bar.number == number)
    return {"bar": number, "ratio": value, "pass": bar.met(value, bar.must), "aim": bar.met(value, bar.aim)}


def is_fused(row):
    return "composed" not in (row.get("kernel") or "") and any(
        word in (row.get("kernel") or "").lower() for word in ("fused", "hopper"))


def peer_kind(row):
    """composed or plain: what stands beside the fused kernel in a row of `bench attention`; "" for others."""
    peer = row.get("peer") or ""
    if peer.startswith(("two SDPA calls", "one grouped SDPA call")):
        return "composed"
    return "plain" if peer.startswith("plain SDPA") else ""


def attention_bars(rows):
    """[(bar's number, value, shapes)] of the rows of `bench attention`: by shape the fastest composed peer."""
    best, plain = {}, {}
    for row in rows:
        if not is_fused(row) or not row.get("ours_ms") or not row.get("peer_ms") or "mean" in row["shape"]:
            continue
        ratio, shape = row["ours_ms"] / row["peer_ms"], row["shape"]
        if peer_kind(row) == "composed":
            best[shape] = max(best.get(shape, 0), ratio)
        elif peer_kind(row) == "plain":
            plain[shape] = max(plain.get(shape, 0), ratio)
    return [(number, geometric_mean(list(found.values())), len(found))
            for number, found in (("1", best), ("2", plain)) if found]
