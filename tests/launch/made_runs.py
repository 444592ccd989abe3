"""Run folders as `dagpam train` leaves them, made up: for tests of what reads them."""
import json
import math
import pathlib
import random

CONFIG = """name: "%(name)s"
model {
  layers: 2
  width: 32
}
attention {
  kind: %(kind)s
}
optimizer {
  lr: 0.001
  betas: 0.9
  betas: 0.95
}
train {
  steps: %(steps)d
}
"""


def make(folder, name="run", kind="DAGPAM", steps=600, every=10, eval_every=100, better=0.0, seed=1):
    """A run whose loss falls from 4 to 2 - better; returns its folder."""
    folder, rng = pathlib.Path(folder), random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.textproto").write_text(CONFIG % {"name": name, "kind": kind, "steps": steps})
    lines = []
    for step in range(every, steps + 1, every):
        loss = 2 - better + 2 * math.exp(-5 * step / steps)
        step_ms = 50 + rng.random()
        lines.append({"step": step, "tokens": 256 * step, "loss": loss + rng.gauss(0, 0.03),
                      "lr": 1e-3 * min(1, step / 50), "grad_norm": math.exp(rng.gauss(0, 0.3)),
                      "tokens_per_s": 256e3 / step_ms, "step_ms": step_ms, "mfu": None, "memory_gib": 0.25,
                      "skipped": 0})
        if step % eval_every == 0:
            lines.append({"step": step, "split": "valid", "nll": loss + 0.1, "ppl": math.exp(loss + 0.1)})
    lines.append({"step": steps, "split": "test", "nll": 2.25, "ppl": math.exp(2.25)})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
