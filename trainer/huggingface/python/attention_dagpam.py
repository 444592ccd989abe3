"""The attention of dagpam models in PyTorch: nine kinds behind one module.

Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width, g = H / Hkv. Query head h reads
key-value head h // g. Parameters have dagpam's names and layouts.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

DIFF_NORM_EPS = 1e-5
NAP_EPS = 1e-3


class Sight:
    """Which keys each query sees: causal order, the last query being aligned with the last key, and padding.

    padding [B, M], 0 where a key is none, or None. A query that sees no key has the answer 0.
    """

    def __init__(self, queries, keys, padding, device):
        visible = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)[None, None]
        self.padded = padding is not None and not bool(padding.all())
        if self.padded:
            visible = visible & padding[:, None, None, :].bool()
        self.visible = visible  # [B or 1, 1, N, M]
        self.sees = visible.any(-1, keepdim=True)  # [B or 1, 1, N, 1]
        self.causal = not self.padded and queries == keys and queries > 1
        self.all = not self.padded and queries == 1

    def mask(self):
        """For library calls: rows that see nothing get finite weights, so that gradients stay finite."""
        return self.visible | ~self.sees


def per_query_head(x, heads):
    """[B, Hkv, M, D] -> [B, H, M, D]"""
    return x if x.size(1) == heads else x.repeat_interleave(heads // x.size(1), dim=1)


def visible_softmax(scores, sight):
    shown = scores.masked_fill(~sight.mask(), -math.inf)
    return torch.softmax(shown, -1).masked_fill(~sight.visible, 0)


def softmax_answer(q, k, v, sight):
    """softmax(q k' / sqrt D) v by PyTorch's own kernels: [B, H, N, D], k and v [B, Hkv, M, any] -> [B, H, N, any]"""
    mask = None if sight.causal or sight.all else sight.mask()
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=sight.causal, enable_gqa=q.size(1) != k.size(1)
    )
    return y if mask is None else y.masked_fill(~sight.sees, 0)


def rotate(x, rotary):
    """Rotary positions, first half of a head's channels with the second; x [B, any, N, D], tables [B or 1, 1, N, D / 2]"""
    cos, sin = (table.to(x.dtype) for table in rotary)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def squashed(x, squash):
    return torch.sigmoid(x) if squash == "SIGMOID" else F.softplus(x) if squash == "SOFTPLUS" else x


class DaGPAMAttention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.kind = config.kind_of_layer(layer)
        self.layer = layer
        self.heads, self.kv_heads, self.width = (
            config.num_attention_heads, config.num_key_value_heads, config.head_dim)
        self.dropout = config.attention_dropout
        self.library = getattr(config, "_attn_implementation", None) == "sdpa"
        self.query_heads = 2 * self.heads if self.kind == "DIFF2" else self.heads
        rows = (self.query_heads + 2 * self.kv_heads) * self.width
        # Rows by key-value head: its query heads, its key, its value.
        self.qkv = nn.Linear(config.hidden_size, rows, bias=config.use_bias)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=config.use_bias)
        self._add_own(config)

    def _add_own(self, config):
        def parameter(*shape):
            return nn.Parameter(torch.empty(shape))

        if self.kind in ("SOFTMAX_WIDE", "DAGPAM"):
            self.w_neg = parameter(self.heads, self.width, self.width)
        if self.kind == "NAP":
            self.gain, self.bias = parameter(self.heads), parameter(self.heads)
        if self.kind == "DIFF":
            for name in ("lq1", "lk1", "lq2", "lk2"):
                setattr(self, name, parameter(self.width))
            self.norm = parameter(2 * self.width)
        if self.kind == "DIFF2":
            self.gate = nn.Linear(config.hidden_size, self.heads, bias=config.use_bias)
        if self.kind == "DAGPAM":
            self.squash = config.lambda_squash
            self.fixed = (config.lambda_plus, config.lambda_minus) if config.lambda_mode == "FIXED" else None
            if self.fixed is None and config.lambda_scope != "MODEL":
                size = self.heads if config.lambda_scope == "HEAD" else 1
                self.lambda_plus, self.lambda_minus = parameter(size), parameter(size)

    def forward(self, x, sight_of, rotary=None, cache=None, shared_lambdas=None, look=False):
        """x [B, N, C] -> its answer of the same shape, and the weights [B, H, N, M] (of DIFF a pair's) with `look`.

        sight_of: number of keys -> Sight. shared_lambdas: those of MODEL scope, before squashing.
        """
        batch, queries, _ = x.shape
        group = self.query_heads // self.kv_heads
        qkv = self.qkv(x).view(batch, queries, self.kv_heads, group + 2, self.width)
        q, k, v = qkv.split((group, 1, 1), dim=3)
        q = q.reshape(batch, queries, self.query_heads, self.width).transpose(1, 2)  # [B, Hq, N, D]
        k, v = k.squeeze(3).transpose(1, 2), v.squeeze(3).transpose(1, 2)  # [B, Hkv, N, D]

        def placed(t):
            return t if rotary is None else rotate(t, rotary)

        q_neg = None
        if self.kind in ("SOFTMAX_WIDE", "DAGPAM"):
            mapped = torch.relu(q) @ self.w_neg  # [B, H, N, D], of un-rotated queries
            q, q_neg = (q + mapped, None) if self.kind == "SOFTMAX_WIDE" else (q, placed(mapped))
        q, k = placed(q), placed(k)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)  # [B, Hkv, M, D]
        sight = sight_of(k.size(2))
        gate = self.gate(x).transpose(1, 2).unsqueeze(3).sigmoid() if self.kind == "DIFF2" else None  # [B, H, N, 1]
        lambdas = self._lambdas(x, shared_lambdas) if self.kind == "DAGPAM" else None
        dropping = self.training and self.dropout > 0
        library = self.library and not look and not dropping and self.kind not in ("NON", "NAP", "CODA", "COG")
        attend = self._by_library if library else self._by_weights
        y, weights = attend(q, q_neg, k, v, sight, gate, lambdas)  # [B, H, N, D]
        return self.out(y.transpose(1, 2).reshape(batch, queries, -1)), weights if look else None

    def _lambdas(self, x, shared):
        if self.fixed is not None:
            return self.fixed
        plus, minus = shared if shared is not None else (self.lambda_plus, self.lambda_minus)
        return tuple(squashed(t.to(x.dtype), self.squash).view(-1, 1, 1) for t in (plus, minus))  # [H or 1, 1, 1]

    def _by_library(self, q, q_neg, k, v, sight, gate, lambdas):
        if self.kind == "DAGPAM":
            # Heads in turn, so that both maps of a head read its key-value head.
            both = softmax_answer(torch.stack((q, q_neg), 2).flatten(1, 2), k, v, sight).unflatten(1, (-1, 2))
            plus, minus = lambdas
            return (1 + plus) * both[:, :, 0] - minus * both[:, :, 1], None
        if self.kind == "DIFF":
            (q1, q2), (k1, k2), wide = self._pairs(q, k, v)
            y = softmax_answer(q1, k1, wide, sight) - self._diff_lambda() * softmax_answer(q2, k2, wide, sight)
            return self._normed(y), None
        y = softmax_answer(q, k, v, sight)
        if self.kind == "DIFF2":
            both = y.unflatten(1, (-1, 2))
            y = both[:, :, 0] - gate * both[:, :, 1]
        return y, None

    def _by_weights(self, q, q_neg, k, v, sight, gate, lambdas):
        """The plain way, with a matrix of weights in float32."""
        dtype = q.dtype
        q, k, v = q.float(), k.float(), v.float()
        if self.kind == "DIFF":
            (q1, q2), (k1, k2), wide = self._pairs(q, k, v)
            weights = self._map(q1, k1, sight) - self._diff_lambda() * self._map(q2, k2, sight)
            y = self._dropped(weights) @ per_query_head(wide, q1.size(1))
            return self._normed(y.to(dtype)), weights
        if self.kind in ("SOFTMAX", "SOFTMAX_WIDE"):
            weights = self._map(q, k, sight)
        elif self.kind == "DAGPAM":
            plus, minus = lambdas
            weights = (1 + plus) * self._map(q, k, sight) - minus * self._map(q_neg.float(), k, sight)
        elif self.kind == "DIFF2":
            both = self._map(q, k, sight).unflatten(1, (-1, 2))  # [B, H, 2, N, M]
            weights = both[:, :, 0] - gate.float() * both[:, :, 1]
        else:
            weights = self._free_weights(q, per_query_head(k, self.heads), sight).masked_fill(~sight.visible, 0)
        y = self._dropped(weights) @ per_query_head(v, self.heads)
        return y.to(dtype), weights

    def _map(self, q, k, sight):
        return visible_softmax(q @ per_query_head(k, q.size(1)).transpose(-2, -1) / math.sqrt(self.width), sight)

    def _dropped(self, weights):
        return F.dropout(weights, self.dropout, self.training)

    def _free_weights(self, q, k, sight):
        """Of the kinds that are no softmax: q [B, H, N, D], k [B, H, M, D] -> [B, H, N, M]"""
        u = q @ k.transpose(-2, -1)
        scaled = u / math.sqrt(self.width)
        if self.kind == "COG":
            return scaled.detach().sign() * visible_softmax(scaled.abs(), sight)
        if self.kind == "CODA":
            distance = torch.cdist(q.contiguous(), k.contiguous(), p=1)
            return torch.tanh(scaled) * torch.sigmoid(-distance / math.sqrt(self.width)) * 2
        count = sight.visible.sum(-1, keepdim=True).clamp(min=1).to(u.dtype)  # [B or 1, 1, N, 1]
        if self.kind == "NON":
            return scaled / count.sqrt()
        seen = sight.visible.to(u.dtype)
        centred = (u - (u * seen).sum(-1, keepdim=True) / count) * seen
        variance = (centred * centred).sum(-1, keepdim=True) / count
        flat = variance == 0
        deviation = variance.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)
        gain, bias = self.gain.float().view(-1, 1, 1), self.bias.float().view(-1, 1, 1)
        return gain * centred / (deviation + NAP_EPS) + bias

    def _pairs(self, q, k, v):
        """The two maps of each pair of key-value heads: queries [B, H / 2, N, D] each, keys [B, Hkv / 2, M, D] each,
        and values of both halves [B, Hkv / 2, M, 2 D]."""
        by_map = q.unflatten(1, (self.kv_heads // 2, 2, -1))  # [B, p, 2, g, N, D]
        keys = k.unflatten(1, (-1, 2))
        wide = v.unflatten(1, (-1, 2)).transpose(2, 3).flatten(3)  # [B, p, M, 2 D]
        queries = tuple(by_map[:, :, i].flatten(1, 2) for i in (0, 1))
        return queries, (keys[:, :, 0], keys[:, :, 1]), wide

    def _diff_start(self):
        return 0.8 - 0.6 * math.exp(-0.3 * self.layer)

    def _diff_lambda(self):
        def product(a, b):
            return torch.exp(torch.dot(a.float(), b.float()))

        return product(self.lq1, self.lk1) - product(self.lq2, self.lk2) + self._diff_start()

    def _normed(self, y):
        """y [B, H / 2, N, 2 D] -> [B, H, N, D]: each pair's vector normed, then cut into its two heads."""
        wide = y.float()
        size = torch.rsqrt((wide * wide).mean(-1, keepdim=True) + DIFF_NORM_EPS)
        normed = wide * size * (self.norm.float() * (1 - self._diff_start()))
        return normed.to(y.dtype).unflatten(-1, (2, -1)).transpose(2, 3).flatten(1, 2)
