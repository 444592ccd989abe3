#!/usr/bin/env python3
"""Holds exports against the program: logits of every kind of attention and of positions as transformers computes them
from the folder, alone, left-padded and with a cache; greedy texts; and weights there and back, bit by bit.

DAGPAM_PRINT_DIFFERENCES=1 prints the largest differences of logits (docs/hugging-face.md).
"""
import concurrent.futures
import itertools
import json
import os
import pathlib
import shutil
import tempfile
import unittest

import hf_support as hf

hf.in_venv()
HOME = tempfile.mkdtemp(prefix="dagpam-hf-home-")
hf.offline_home(HOME)

import torch  # noqa: E402

import program  # noqa: E402

KINDS = ("SOFTMAX", "SOFTMAX_WIDE", "DAGPAM", "NON", "NAP", "CODA", "COG", "DIFF", "DIFF2")
POSITIONS = ("SINUSOIDAL", "LEARNED", "ROTARY", "NONE")
VOCAB, CONTEXT = 300, 40
TEXTS = [[72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100, 33, 10, 255, 0, 17],
         [66, 121, 101, 299, 46, 46]]
PROMPTS = ["In the beginning", "and"]


def cases():
    """Every kind with every kind of positions; all else takes turns, each value with several kinds."""
    turn = {name: itertools.cycle(values) for name, values in {
        "mlp": ("GELU", "SWIGLU", "RELU", "GELU_TANH", "GELU"), "norm": ("LAYER", "LAYER", "RMS"),
        "norm_position": ("PRE", "PRE", "PRE", "POST"), "num_key_value_heads": (4, 2, 4, 2, 2),
        "use_bias": (True, True, True, False, True), "tie_word_embeddings": (True, False, True),
        "attention_residual": (True,) * 6 + (False,), "mlp_residual": (True,) * 4 + (False,)}.items()}
    lambdas = itertools.cycle(
        [{"lambda_mode": "FIXED", "lambda_plus": 0.7, "lambda_minus": 0.4}]
        + [{"lambda_scope": scope, "lambda_squash": squash, "lambda_plus": 0.6, "lambda_minus": 0.3}
           for squash in ("NO_SQUASH", "SIGMOID", "SOFTPLUS") for scope in ("HEAD", "MODEL", "LAYER")])
    every = list(itertools.product(KINDS, POSITIONS)) + [("DAGPAM", position) for position in POSITIONS + POSITIONS[:2]]
    for number, (kind, position) in enumerate(every):
        shape = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
                 "intermediate_size": 48, "max_position_embeddings": CONTEXT, "attention_kind": kind,
                 "positions": position, "rotary_base": 500.0, **{name: next(values) for name, values in turn.items()}}
        if kind == "DAGPAM":
            shape.update(next(lambdas))
        yield f"{number:02}-{kind}-{position}", shape


class Case:
    """A random model, saved by transformers, imported, exported again, and what the program makes of it."""

    def __init__(self, folder, name, shape):
        config, model = hf.model_classes()
        torch.manual_seed(len(name))
        self.name, self.kind, self.shape = name, shape["attention_kind"], shape
        self.model = hf.stir(model(config(**shape)), seed=int(name[:2]), size=0.1)
        self.saved, self.checkpoint, self.exported = (folder / f"{name}.{part}" for part in ("saved", "ckpt", "out"))
        self.model.save_pretrained(self.saved)

    def run(self):
        program.check("import", "--from", "hf", self.saved, "--out", self.checkpoint, "--tokenizer", "byte")
        program.check("export", "--checkpoint", self.checkpoint, "--to", "hf", "--out", self.exported)
        self.logits = hf.program_logits(self.checkpoint, TEXTS)
        # A text each of the first case of a kind and positions that differ by kind.
        self.texts = None
        if self.shape["positions"] == POSITIONS[KINDS.index(self.kind) % 4] and int(self.name[:2]) < 36:
            self.texts = [self.generate(prompt) for prompt in PROMPTS]
        return self

    def generate(self, prompt):
        done = program.check("generate", "--checkpoint", self.checkpoint, "--prompt", prompt, "--max-tokens", 20,
                             "--temperature", 0, "--json")
        return json.loads(done.stdout)["ids"]


class ExportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-hf-"))
        made = [Case(cls.folder, name, shape) for name, shape in cases()]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            cls.cases = list(pool.map(Case.run, made))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)
        shutil.rmtree(HOME)

    def test_logits_and_weights(self):
        worst = {}
        for case in self.cases:
            with self.subTest(case.name):
                model = hf.load(case.exported)
                there, back = case.model.state_dict(), model.state_dict()
                self.assertEqual(list(there), list(back))
                self.assertTrue(all(torch.equal(there[name], back[name]) for name in there))
                found = hf.differences(model, TEXTS, case.logits)
                self.assertLess(max(found.values()), hf.TOLERANCE, found)
                for name, value in found.items():
                    worst[case.kind, name] = max(worst.get((case.kind, name), 0), value)
        if os.environ.get("DAGPAM_PRINT_DIFFERENCES"):
            for (kind, name), value in worst.items():
                print(f"{kind:12} {name:7} {value:.1e}")

    def test_the_plain_path(self):
        """attn_implementation="eager", and the weights that it shows."""
        for case in self.cases[::5]:
            with self.subTest(case.name), torch.no_grad():
                model = hf.load(case.exported, attn_implementation="eager")
                self.assertLess(max(hf.differences(model, TEXTS, case.logits).values()), hf.TOLERANCE)
                maps = model(torch.tensor([TEXTS[0]]), output_attentions=True).attentions
                self.assertEqual(len(maps), case.shape["num_hidden_layers"])
                if case.kind in ("SOFTMAX", "SOFTMAX_WIDE"):
                    self.assertLess(float((maps[1].sum(-1) - 1).abs().max()), 1e-5)

    def test_greedy_texts(self):
        compared = 0
        for case in self.cases:
            if case.texts is None:
                continue
            with self.subTest(case.name):
                ids, mask = hf.left_padded([list(prompt.encode()) for prompt in PROMPTS])
                made = hf.load(case.exported).generate(ids, attention_mask=mask, max_new_tokens=20, pad_token_id=0)
                self.assertEqual(made[:, ids.size(1):].tolist(), case.texts)
                compared += 1
        self.assertEqual(compared, len(KINDS))

    def test_training_goes_on(self):
        """Gradients reach every parameter, those of padded rows are finite, and the loss is that of the logits."""
        for case in self.cases[2::9]:
            with self.subTest(case.name):
                model = hf.load(case.exported).train()
                ids, mask = hf.left_padded(TEXTS)
                labels = ids.masked_fill(mask == 0, -100)
                out = model(ids, attention_mask=mask, labels=labels)
                rows = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
                self.assertAlmostEqual(float(out.loss.detach()), float(rows.detach()), places=5)
                out.loss.backward()
                for name, parameter in model.named_parameters():
                    self.assertTrue(parameter.grad is not None and bool(parameter.grad.isfinite().all()), name)

    def test_too_long_a_text(self):
        model = hf.load(self.cases[0].exported)
        with self.assertRaisesRegex(ValueError, "41 tokens are more than the model's context of 40"):
            model(torch.zeros(1, CONTEXT + 1, dtype=torch.long))


if __name__ == "__main__":
    unittest.main(verbosity=2)
