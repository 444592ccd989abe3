"""dagpam's decoder-only language model in PyTorch, for AutoModelForCausalLM with trust_remote_code=True.

Parameters have the names and layouts of dagpam's checkpoints, so weights go both ways bit by bit.

Legend: B batch, N new tokens, M = past + N, C width, D head width, V vocabulary, T context.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .attention_dagpam import DaGPAMAttention, Sight
from .configuration_dagpam import DaGPAMConfig

WEIGHT_DEVIATION = 0.02  # at the start, as GPT-2's


def sinusoidal_table(length, width):
    """[T, C] float32: sines in even channels, cosines in odd ones (Vaswani et al. 2017)."""
    exponents = torch.arange(width, device="cpu", dtype=torch.float64).div(2, rounding_mode="floor") * 2 / width
    angles = torch.arange(length, device="cpu", dtype=torch.float64)[:, None] * 10000.0**-exponents
    odd = torch.arange(width, device="cpu") % 2 == 1
    return torch.where(odd, angles.cos(), angles.sin()).float()


def rotary_tables(length, head_width, base):
    """Cosines and sines of position * base^(-2i/D), [T, D / 2] float32 each (Su et al. 2021)."""
    exponents = 2 * torch.arange(head_width // 2, device="cpu", dtype=torch.float64) / head_width
    angles = torch.arange(length, device="cpu", dtype=torch.float64)[:, None] * float(base) ** -exponents
    return angles.cos().float(), angles.sin().float()


class DaGPAMNorm(nn.Module):
    """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019)."""

    def __init__(self, config):
        super().__init__()
        self.eps = config.norm_eps
        self.rms = config.norm == "RMS"
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size)) if config.use_bias and not self.rms else None

    def forward(self, x):
        if not self.rms:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        wide = x.float()
        normed = wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + self.eps)
        return (normed * self.weight.float()).to(x.dtype)


class DaGPAMMlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.kind = config.mlp
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.use_bias)
        if self.kind == "SWIGLU":
            self.gate = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)

    def forward(self, x):
        h = self.up(x)
        if self.kind == "SWIGLU":
            return self.down(F.silu(self.gate(x)) * h)
        if self.kind == "RELU":
            return self.down(F.relu(h))
        return self.down(F.gelu(h, approximate="tanh" if self.kind == "GELU_TANH" else "none"))


class DaGPAMBlock(nn.Module):
    """PRE: x + f(norm(x)); POST: norm(x + f(x)); f is attention, then the MLP. Without a residual f alone."""

    def __init__(self, config, layer):
        super().__init__()
        self.pre = config.norm_position == "PRE"
        self.attention_residual, self.mlp_residual = config.attention_residual, config.mlp_residual
        self.dropout = nn.Dropout(config.dropout)
        self.attention_norm = DaGPAMNorm(config)
        self.attention = DaGPAMAttention(config, layer)
        self.mlp_norm = DaGPAMNorm(config)
        self.mlp = DaGPAMMlp(config)

    def forward(self, x, **attention):
        answer, weights = self.attention(self.attention_norm(x) if self.pre else x, **attention)
        answer = self.dropout(answer)
        x = x + answer if self.attention_residual else answer
        if not self.pre:
            x = self.attention_norm(x)
        answer = self.dropout(self.mlp(self.mlp_norm(x) if self.pre else x))
        x = x + answer if self.mlp_residual else answer
        return x if self.pre else self.mlp_norm(x), weights


class DaGPAMPreTrainedModel(PreTrainedModel):
    config_class = DaGPAMConfig
    base_model_prefix = ""
    _no_split_modules = ["DaGPAMBlock"]
    _supports_sdpa = True

    def _init_weights(self, module):
        """As dagpam starts: normal weights, residual projections smaller, norms 1, biases 0."""
        init = nn.init
        if isinstance(module, (nn.Linear, nn.Embedding)):
            residual = getattr(module, "residual", False)
            deviation = WEIGHT_DEVIATION / math.sqrt(2 * self.config.num_hidden_layers) if residual else WEIGHT_DEVIATION
            init.normal_(module.weight, std=deviation)
            if getattr(module, "bias", None) is not None:
                init.zeros_(module.bias)
        elif isinstance(module, DaGPAMNorm):
            init.ones_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, (DaGPAMAttention, DaGPAMForCausalLM)):
            self._init_own(module)

    def _init_own(self, module):
        for name, parameter in module.named_parameters(recurse=False):
            if name == "w_neg":
                nn.init.normal_(parameter, std=parameter.size(-1) ** -0.5)
            elif name in ("lq1", "lk1", "lq2", "lk2"):
                nn.init.normal_(parameter, std=0.1)
            elif name in ("lambda_plus", "lambda_minus"):
                nn.init.constant_(parameter, self._free_lambda(getattr(self.config, name)))
            else:  # NAP's and DIFF's
                nn.init.constant_(parameter, 0.0 if name == "bias" else 1.0)

    def _free_lambda(self, value):
        if self.config.lambda_squash == "SIGMOID":
            return math.log(value) - math.log1p(-value)
        return value + math.log(-math.expm1(-value)) if self.config.lambda_squash == "SOFTPLUS" else value


class DaGPAMForCausalLM(DaGPAMPreTrainedModel, GenerationMixin):
    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.ModuleDict({"token": nn.Embedding(config.vocab_size, config.hidden_size)})
        if config.positions == "LEARNED":
            self.embedding["position"] = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(DaGPAMBlock(config, i) for i in range(config.num_hidden_layers))
        for block in self.layers:
            block.attention.out.residual = block.mlp.down.residual = True
        self.norm = DaGPAMNorm(config) if config.norm_position == "PRE" else None
        if config.attention_kind == "DAGPAM" and config.lambda_mode == "TRAINED" and config.lambda_scope == "MODEL":
            self.lambda_plus, self.lambda_minus = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        # Tied: the embedding serves, and nothing stands twice in a file.
        self.output = None
        if not config.tie_word_embeddings:
            self.output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self._tables = {}
        self.post_init()

    def get_input_embeddings(self):
        return self.embedding["token"]

    def set_input_embeddings(self, value):
        self.embedding["token"] = value

    def get_output_embeddings(self):
        return self.output

    def set_output_embeddings(self, new_embeddings):
        self.output = new_embeddings

    def _rows(self, make, positions):
        """Rows [B or 1, N, any] of each of make()'s tables, which are kept by device."""
        device = positions.device
        if device not in self._tables:
            self._tables[device] = tuple(table.to(device) for table in make())
        return tuple(F.embedding(positions, table) for table in self._tables[device])

    def _embed(self, tokens, positions):
        config, x = self.config, self.embedding["token"](tokens)  # [B, N, C]
        if config.positions == "LEARNED":
            x = x + self.embedding["position"](positions)
        elif config.positions == "SINUSOIDAL":
            (rows,) = self._rows(lambda: (sinusoidal_table(config.max_position_embeddings, config.hidden_size),), positions)
            x = x * math.sqrt(config.hidden_size) + rows.to(x.dtype)
        return F.dropout(x, config.dropout, self.training)

    def _rotary(self, positions):
        if self.config.positions != "ROTARY":
            return None
        config = self.config
        rows = self._rows(
            lambda: rotary_tables(config.max_position_embeddings, config.head_dim, config.rotary_base), positions)
        return tuple(table.unsqueeze(1) for table in rows)  # [B or 1, 1, N, D / 2]

    def _positions(self, tokens, past, attention_mask):
        """[B or 1, N]: the number of tokens that are no padding before each one."""
        count = tokens.size(1)
        if past + count > self.config.max_position_embeddings:
            raise ValueError(
                f"{past + count} tokens are more than the model's context of {self.config.max_position_embeddings}"
            )
        if attention_mask is None:
            return torch.arange(past, past + count, device=tokens.device)[None]
        return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -count:]

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        labels=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        logits_to_keep=0,
        **kwargs,
    ):
        """input_ids [B, N]; attention_mask [B, M], 0 for padding on either side; labels as in other language models.

        The weights of output_attentions are [B, H, N, M], of DIFF [B, H / 2, N, M]; of daGPAM they may be negative.
        """
        config = self.config
        if attention_mask is not None and attention_mask.dim() != 2:
            raise ValueError(f"attention_mask has {attention_mask.dim()} dimensions, expected 2: [batch, keys]")
        if use_cache if use_cache is not None else config.use_cache and not self.training:
            past_key_values = DynamicCache(config=config) if past_key_values is None else past_key_values
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        if attention_mask is not None and attention_mask.size(1) != past + input_ids.size(1):
            raise ValueError(f"attention_mask is for {attention_mask.size(1)} keys, expected {past + input_ids.size(1)}")
        if position_ids is None:
            position_ids = self._positions(input_ids, past, attention_mask)
        sights = {}

        def sight_of(keys):
            if keys not in sights:
                sights[keys] = Sight(input_ids.size(1), keys, attention_mask, input_ids.device)
            return sights[keys]

        look = bool(config.output_attentions if output_attentions is None else output_attentions)
        keep = bool(config.output_hidden_states if output_hidden_states is None else output_hidden_states)
        shared = (self.lambda_plus, self.lambda_minus) if hasattr(self, "lambda_plus") else None
        x = self._embed(input_ids, position_ids)
        rotary = self._rotary(position_ids)
        states, maps = [x], []
        for block in self.layers:
            x, weights = block(
                x, sight_of=sight_of, rotary=rotary, cache=past_key_values, shared_lambdas=shared, look=look)
            states.append(x)
            maps.append(weights)
        if self.norm is not None:
            x = states[-1] = self.norm(x)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        table = self.embedding["token"].weight if self.output is None else self.output.weight
        logits = F.linear(x[:, kept], table)  # [B, kept, V]
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=past_key_values,
            hidden_states=tuple(states) if keep else None,
            attentions=tuple(maps) if look else None,
        )
