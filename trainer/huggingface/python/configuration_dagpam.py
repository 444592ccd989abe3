"""Shape of a dagpam language model: config.json of a folder that `dagpam export --to hf` wrote.

Names and values are those of dagpam's run configuration (model and attention), or transformers' own where it
has one for the same thing.
"""
from transformers import PretrainedConfig

KINDS = ("SOFTMAX", "SOFTMAX_WIDE", "DAGPAM", "NON", "NAP", "CODA", "COG", "DIFF", "DIFF2")
CHOICES = {
    "attention_kind": KINDS,
    "lambda_mode": ("FIXED", "TRAINED"),
    "lambda_scope": ("MODEL", "LAYER", "HEAD"),
    "lambda_squash": ("NO_SQUASH", "SIGMOID", "SOFTPLUS"),
    "mlp": ("RELU", "GELU", "SWIGLU", "GELU_TANH"),
    "norm": ("LAYER", "RMS"),
    "norm_position": ("PRE", "POST"),
    "positions": ("SINUSOIDAL", "LEARNED", "ROTARY", "NONE"),
}


class DaGPAMConfig(PretrainedConfig):
    model_type = "dagpam"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(
        self,
        vocab_size=256,
        hidden_size=128,  # channels of the residual stream
        num_hidden_layers=4,
        num_attention_heads=4,  # query heads
        num_key_value_heads=None,  # default: num_attention_heads
        intermediate_size=None,  # hidden channels of the MLP; default: 4 hidden_size
        max_position_embeddings=256,  # tokens of a sequence
        attention_kind="SOFTMAX",
        lambda_mode="TRAINED",  # the lambda_ fields are DAGPAM's
        lambda_plus=1.0,  # fixed, or where training started
        lambda_minus=1.0,
        lambda_scope="HEAD",
        lambda_squash="NO_SQUASH",
        mlp="GELU",
        norm="LAYER",
        norm_position="PRE",
        norm_eps=1e-5,
        attention_residual=True,  # x + f(x) around attention; False: f(x) alone
        mlp_residual=True,  # the same around the MLP
        positions="LEARNED",
        rotary_base=10000.0,
        use_bias=True,  # in projections and layer norms
        tie_word_embeddings=True,
        dropout=0.0,  # on embeddings and residual branches, in training
        attention_dropout=0.0,  # on attention weights, in training
        use_cache=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_attention_heads if num_key_value_heads is None else num_key_value_heads
        self.intermediate_size = 4 * hidden_size if intermediate_size is None else intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.attention_kind = attention_kind
        self.lambda_mode = lambda_mode
        self.lambda_plus = lambda_plus
        self.lambda_minus = lambda_minus
        self.lambda_scope = lambda_scope
        self.lambda_squash = lambda_squash
        self.mlp = mlp
        self.norm = norm
        self.norm_position = norm_position
        self.norm_eps = norm_eps
        self.attention_residual = attention_residual
        self.mlp_residual = mlp_residual
        self.positions = positions
        self.rotary_base = rotary_base
        self.use_bias = use_bias
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.use_cache = use_cache
        self.tie_word_embeddings = tie_word_embeddings
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.pad_token_id = pad_token_id
        self._check()
        super().__init__(**kwargs)
        # A base class may have defaults of its own for these.
        self.tie_word_embeddings = tie_word_embeddings
        self.bos_token_id, self.eos_token_id, self.pad_token_id = bos_token_id, eos_token_id, pad_token_id

    def _check(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"config.json: {name} is {getattr(self, name)!r}, expected one of {', '.join(choices)}")
        heads, shared = self.num_attention_heads, self.num_key_value_heads
        if self.hidden_size % heads or heads % shared:
            raise ValueError(
                f"config.json: hidden_size {self.hidden_size}, num_attention_heads {heads} and num_key_value_heads "
                f"{shared}: each must be a multiple of the next"
            )

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads

    def kind_of_layer(self, layer):
        """COG leaves the first and the last layer to softmax."""
        ends = layer in (0, self.num_hidden_layers - 1)
        return "SOFTMAX" if self.attention_kind == "COG" and ends else self.attention_kind
