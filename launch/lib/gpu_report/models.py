"""The models whose steps are timed: recipes with a batch that fits one GPU, and the same for the PyTorch peer."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Model:
    name: str
    recipe: str
    layers: int
    width: int
    heads: int
    context: int
    vocab: int
    batch: int  # sequences a step, in one micro-batch

    def ours(self, session, **overrides):
        """Words of --config and --set for `dagpam bench step` and `dagpam train`."""
        sets = {"model.layers": self.layers, "model.width": self.width, "model.heads": self.heads,
                "model.context": self.context, "model.vocab": self.vocab, "model.dropout": 0,
                "model.attention_dropout": 0, "train.global_batch": self.batch, "train.micro_batch": self.batch,
                "schedule.warmup_steps": 0, "train.precision": "BF16", "train.deterministic": "false",
                **data_of(session), **overrides}
        return ["--config", str(session.place.recipes / f"{self.recipe}.textproto"), *set_words(sets)]

    def peer(self, session, attention="dagpam"):
        return session.place.peer(
            "gpu_step.py", "--interactive", "--attention", attention, "--layers", self.layers, "--width", self.width,
            "--heads", self.heads, "--context", self.context, "--vocab", self.vocab, "--batch", self.batch)


def set_words(sets):
    return [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]


def data_of(session):
    """Overrides that put the report's own corpus in the place of a recipe's."""
    return {"data.train": f"[{{prefix: '{session.place.corpus}'}}]", "data.valid": "", "data.test": ""}


SMALL = Model("20M", "ptb_15l_dagpam_trained", 15, 320, 5, 256, 10000, 64)
GPT2 = Model("124M", "gpt2_124m_dagpam", 12, 768, 12, 1024, 50304, 16)
MEDIUM = Model("350M", "gpt2_124m_dagpam", 24, 1024, 16, 1024, 50304, 8)
LARGE = Model("1.5B", "gpt2_1p5b_dagpam", 48, 1600, 25, 1024, 50304, 4)
