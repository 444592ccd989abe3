#!/usr/bin/env python3
"""Weights from elsewhere: GPT-2 as transformers saves it, as SOFTMAX and as DAGPAM; trained checkpoints of two ranks,
in shards, there and back; what save_pretrained() makes of a loaded model.
"""
import pathlib
import shutil
import tempfile
import unittest

import hf_support as hf

hf.in_venv()
HOME = tempfile.mkdtemp(prefix="dagpam-hf-home-")
hf.offline_home(HOME)

import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model  # noqa: E402

import program  # noqa: E402

TEXTS = [[0, 5, 259, 17, 42, 42, 200, 1], [128, 64, 32]]
TRAINED = """
model { layers: 2 width: 32 heads: 4 kv_heads: 2 context: 32 vocab: 11 positions: ROTARY norm: RMS mlp: SWIGLU }
attention { kind: DAGPAM lambda { scope: LAYER } }
data { train { prefix: "%(prefix)s" } valid: "%(prefix)s" }
optimizer { lr: 1e-2 }
train { steps: 3 global_batch: 4 eval_every: 0 }
parallel { tensor: 2 }
"""


class Folders(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-hf-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)


class Gpt2Test(Folders):
    def gpt2(self, name, cls=GPT2LMHeadModel, **shape):
        torch.manual_seed(7)
        config = GPT2Config(vocab_size=260, n_embd=48, n_layer=3, n_head=4, n_positions=24, bos_token_id=0,
                            eos_token_id=0, **shape)
        model = hf.stir(cls(config), seed=7, size=0.1)
        model.save_pretrained(self.folder / name)
        return model

    def imported(self, name, *options):
        out = self.folder / f"{name}.ckpt{len(options)}"
        program.check("import", "--from", "hf", self.folder / name, "--out", out, "--tokenizer", "byte", *options)
        return out

    def distance(self, model, checkpoint):
        with torch.no_grad():
            theirs = [model(torch.tensor([text])).logits[0] for text in TEXTS]
        return max(float((a - b).abs().max()) for a, b in zip(theirs, hf.program_logits(checkpoint, TEXTS)))

    def test_logits(self):
        for name, shape in (("plain", {}), ("untied", {"tie_word_embeddings": False, "n_inner": 80}),
                            ("exact", {"activation_function": "gelu", "layer_norm_epsilon": 1e-6}),
                            ("relu", {"activation_function": "relu"})):
            with self.subTest(name):
                model = self.gpt2(name, **shape)
                self.assertLess(self.distance(model, self.imported(name)), hf.TOLERANCE)

    def test_as_dagpam_with_zero_lambdas(self):
        """The same function, of a model whose lambdas and negative maps can be trained."""
        model = self.gpt2("start")
        checkpoint = self.imported("start", "--attention", "DAGPAM")
        self.assertLess(self.distance(model, checkpoint), hf.TOLERANCE)
        out = self.folder / "start.out"
        program.check("export", "--checkpoint", checkpoint, "--to", "hf", "--out", out)
        own = hf.load(out)
        self.assertEqual(own.config.attention_kind, "DAGPAM")
        self.assertTrue(all(not layer.attention.lambda_plus.any() for layer in own.layers))
        self.assertGreater(float(own.layers[0].attention.w_neg.detach().std()), 0.1)
        self.assertLess(self.distance(own, checkpoint), hf.TOLERANCE)

    def test_narrow_types_are_widened(self):
        for dtype in (torch.bfloat16, torch.float16):
            with self.subTest(dtype):
                name = str(dtype).removeprefix("torch.")
                model = self.gpt2(name).to(dtype)
                model.save_pretrained(self.folder / name)
                self.assertLess(self.distance(model.float(), self.imported(name)), hf.TOLERANCE)

    def test_every_half(self):
        """All 65,536 bit patterns of float16 and bfloat16 but those that are no numbers, as PyTorch widens them."""
        bits = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
        for dtype in (torch.bfloat16, torch.float16):
            with self.subTest(dtype):
                values = bits.view(dtype)
                name = f"bits-{dtype}".replace("torch.", "")
                model = self.gpt2(name, n_inner=65536 // 48 + 1)
                state = {key: value.to(dtype) for key, value in model.state_dict().items() if key != "lm_head.weight"}
                key = "transformer.h.1.mlp.c_fc.weight"
                finite = values.where(values.isfinite(), 0.0)
                state[key] = torch.cat((finite, finite.new_zeros(state[key].numel() - 65536))).view_as(state[key])
                save_file(state, self.folder / name / "model.safetensors")
                checkpoint = self.imported(name)
                with safe_open(next(checkpoint.glob("*.safetensors")), "pt") as shard:
                    back = shard.get_tensor("layers.1.mlp.up.weight").t()
                self.assertTrue(torch.equal(back.contiguous().view(torch.int32),
                                            state[key].float().view(torch.int32)))

    def test_names_without_prefix_and_old_buffers(self):
        model = self.gpt2("base", GPT2Model)
        head = GPT2LMHeadModel(model.config).eval()
        head.transformer.load_state_dict(model.state_dict())
        state = {key: value.clone() for key, value in model.state_dict().items()}
        state["h.0.attn.bias"] = torch.ones(1, 1, 24, 24, dtype=torch.uint8)
        state["lm_head.weight"] = state["wte.weight"].clone()
        save_file(state, self.folder / "base" / "model.safetensors")
        self.assertLess(self.distance(head, self.imported("base")), hf.TOLERANCE)


class TrainedTest(Folders):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        prefix = program.prepare(cls.folder / "data", characters=4000)
        cls.config = program.write_config(cls.folder, prefix, TRAINED)
        cls.run_dir, cls.prefix, cls.out = cls.folder / "run", prefix, cls.folder / "out"
        program.check("train", "--config", cls.config, "--run-dir", cls.run_dir, ranks=2)
        program.check("export", "--checkpoint", cls.run_dir, "--to", "hf", "--out", cls.out, "--shard-size", 20_000)

    def test_shards(self):
        names = sorted(path.name for path in self.out.glob("*.safetensors"))
        self.assertGreater(len(names), 3)
        tensors = {}
        for name in names:
            with safe_open(self.out / name, "pt") as shard:
                self.assertEqual(shard.metadata(), {"format": "pt"})
                tensors.update({key: shard.get_tensor(key) for key in shard.keys()})
        state = hf.load(self.out).state_dict()
        self.assertEqual(set(state), set(tensors))
        self.assertTrue(all(torch.equal(state[key], tensors[key]) for key in state))
        # The true vocabulary: two ranks held 6 rows each.
        self.assertEqual(state["embedding.token.weight"].size(0), 11)

    def test_logits(self):
        found = hf.differences(hf.load(self.out), [[1, 2, 3, 4, 5, 6], [7, 8]],
                               hf.program_logits(self.run_dir, [[1, 2, 3, 4, 5, 6], [7, 8]]))
        self.assertLess(max(found.values()), hf.TOLERANCE, found)

    def test_there_and_back(self):
        back = self.folder / "back"
        program.check("import", "--from", "hf", self.out, "--out", back)
        told = program.check("ckpt", "diff", self.run_dir, back, "--weights").stdout
        self.assertIn("equal: ", told)
        self.assertEqual(program.run("ckpt", "diff", self.run_dir, back).returncode, 1)  # no optimizer's state
        told = [program.check("eval", "--checkpoint", at, "--data", self.prefix, "--json").stdout.splitlines()[-1]
                for at in (self.run_dir, back)]
        self.assertEqual(told[0].replace('"step":3', '"step":0'), told[1])
        program.check("generate", "--checkpoint", back, "--prompt", "abc", "--max-tokens", 3)
        program.check("train", "--config", self.config, "--run-dir", self.folder / "on", "--init-from", back,
                      "--stop-after", 1, ranks=2)

    def test_what_transformers_saves_again(self):
        again, back = self.folder / "again", self.folder / "again.ckpt"
        hf.load(self.out).save_pretrained(again)
        program.check("import", "--from", "hf", again, "--out", back, "--tokenizer", f"json:{self.prefix}.json")
        self.assertIn("equal: ", program.check("ckpt", "diff", self.run_dir, back, "--weights").stdout)


if __name__ == "__main__":
    try:
        unittest.main(verbosity=2)
    finally:
        shutil.rmtree(HOME)
