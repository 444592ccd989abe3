#!/usr/bin/env python3
"""`dagpam export`, `import` and `logits` without any other program: there and back, and everything that is refused."""
import json
import pathlib
import shutil
import struct
import tempfile
import unittest

import program

CONFIG = """
model { layers: 2 width: 16 heads: 2 context: 32 }
attention { kind: DAGPAM }
data { train { prefix: "%(prefix)s" } }
train { steps: 1 global_batch: 2 eval_every: 0 }
"""
PAIRS = """
model { kind: ENCODER_DECODER layers: 1 width: 16 heads: 2 context: 128 }
data { train { prefix: "%(prefix)s" } }
train { steps: 1 eval_every: 0 }
"""
GPT2 = {"model_type": "gpt2", "vocab_size": 256, "n_embd": 4, "n_layer": 1, "n_head": 2, "n_positions": 8,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
GPT2_SHAPES = {"wte.weight": [256, 4], "wpe.weight": [8, 4], "ln_f.weight": [4], "ln_f.bias": [4],
               "h.0.ln_1.weight": [4], "h.0.ln_1.bias": [4], "h.0.ln_2.weight": [4], "h.0.ln_2.bias": [4],
               "h.0.attn.c_attn.weight": [4, 12], "h.0.attn.c_attn.bias": [12],
               "h.0.attn.c_proj.weight": [4, 4], "h.0.attn.c_proj.bias": [4],
               "h.0.mlp.c_fc.weight": [4, 16], "h.0.mlp.c_fc.bias": [16],
               "h.0.mlp.c_proj.weight": [16, 4], "h.0.mlp.c_proj.bias": [4]}


def count(shape):
    product = 1
    for extent in shape:
        product *= extent
    return product


def write_safetensors(path, tensors, change=lambda header: None):
    """tensors: name -> (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    change(header)
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    raw = pathlib.Path(path).read_bytes()
    end = 8 + struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:end])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], raw[end:][slice(*entry["data_offsets"])])
            for name, entry in header.items()}


class HuggingFaceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-hf-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        prefix = program.prepare(cls.folder, characters=2000)
        cls.run_dir, cls.out = cls.folder / "run", cls.folder / "out"
        program.check("train", "--config", program.write_config(cls.folder, prefix, CONFIG), "--run-dir", cls.run_dir)
        program.check("export", "--checkpoint", cls.run_dir, "--to", "hf", "--out", cls.out)

    def refuse(self, code, words, *arguments, **options):
        """Exit `code` with one line that holds every word, and no file of the folder changed."""
        before = program.listing(self.folder)
        done = program.run(*arguments, **options)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        lines = [line for line in done.stderr.splitlines() if line.startswith("dagpam: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertEqual(before, program.listing(self.folder), "a refused command changed files")

    def imports(self, folder, *options):
        return ("import", "--from", "hf", folder, "--out", self.folder / "made", *options)

    def refuse_import(self, code, words, folder, *options):
        self.refuse(code, words, *self.imports(folder, *options))

    def test_there_and_back(self):
        back, again = self.folder / "back", self.folder / "again"
        program.check("import", "--from", "hf", self.out, "--out", back)
        told = program.check("ckpt", "diff", self.run_dir, back, "--weights").stdout
        self.assertIn("equal: 34 tensors, bit by bit", told)
        program.check("ckpt", "verify", back)
        program.check("export", "--checkpoint", back, "--to", "hf", "--out", again)
        self.assertEqual(program.listing(self.out), program.listing(again))
        names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                 "tokenizer_config.json", "dagpam_tokenizer.json", "configuration_dagpam.py", "attention_dagpam.py",
                 "modeling_dagpam.py"}
        self.assertEqual({path.name for path in self.out.iterdir()}, names)
        self.assertFalse(list(self.folder.glob(".*partial*")))
        shutil.rmtree(again)
        again.mkdir()  # an empty folder is as good as none
        program.check("export", "--checkpoint", back, "--to", "hf", "--out", f"{again}/", "--shard-size", 1)
        index = json.loads((again / "model.safetensors.index.json").read_text())
        self.assertEqual(len(set(index["weight_map"].values())), 34)
        self.assertEqual(index["metadata"]["total_size"],
                         sum(len(data) for _, _, data in read_safetensors(self.out / "model.safetensors").values()))
        program.check("import", "--from", "hf", again, "--out", self.folder / "of-shards")
        program.check("ckpt", "diff", back, self.folder / "of-shards")

    def test_export_refuses(self):
        export = ("export", "--to", "hf", "--checkpoint")
        self.refuse(2, ["--out", "out is there and is no empty folder"], *export, self.run_dir, "--out", self.out)
        self.refuse(2, ["--out", "config.textproto"], *export, self.run_dir,
                    "--out", self.folder / "config.textproto")
        self.refuse(7, ["config.textproto"], *export, self.run_dir, "--out", self.folder / "config.textproto" / "x")
        self.refuse(4, ["nowhere"], *export, self.folder / "nowhere", "--out", self.folder / "made")
        self.refuse(2, ["--to"], "export", "--to", "onnx", "--checkpoint", self.run_dir, "--out", self.folder / "made")
        self.refuse(2, ["--shard-size"], *export, self.run_dir, "--out", self.folder / "made", "--shard-size", 0)

    def test_encoder_decoder(self):
        for side in "ab":
            program.write_text(self.folder / side, 600, seed=3)
        program.check("data", "pairs", "--train-source", self.folder / "a", "--train-target", self.folder / "b",
                      "--tokenizer", "byte", "--out", self.folder / "pairs")
        config = program.write_config(self.folder, self.folder / "pairs", PAIRS)
        program.check("train", "--config", config, "--run-dir", self.folder / "translator")
        self.refuse(2, ["model.kind", "ENCODER_DECODER", "expected DECODER"], "export", "--to", "hf",
                    "--checkpoint", self.folder / "translator", "--out", self.folder / "made")

    def changed(self, name, config=None, **fields):
        """A copy of the export whose config.json has other fields (None: left out)."""
        copy = self.folder / name
        shutil.copytree(self.out, copy, dirs_exist_ok=True)
        values = {**json.loads((self.out / "config.json").read_text()), **fields}
        values = {key: value for key, value in values.items() if value is not None}
        (copy / "config.json").write_text(json.dumps(values) if config is None else config)
        return copy

    def test_bad_configs(self):
        for fields, words in (({"model_type": "llama"}, ["model_type", "llama", "dagpam or gpt2"]),
                              ({"mlp": "RELU6"}, ["mlp", "RELU6", "RELU, GELU, SWIGLU or GELU_TANH"]),
                              ({"hidden_size": None}, ["hidden_size is missing"]),
                              ({"hidden_size": "16"}, ["hidden_size", "a whole number"]),
                              ({"hidden_size": -16}, ["hidden_size", "a whole number"]),
                              ({"norm_eps": True}, ["norm_eps", "a finite number"]),
                              ({"use_bias": 1}, ["use_bias", "true or false"]),
                              ({"num_attention_heads": 3}, ["config.json", "model.heads"]),
                              ({"hidden_size": 1 << 40}, ["config.json", "model.width"]),
                              ({"vocab_size": 2}, ["vocab_size is 2", "symbols"]),
                              ({"num_hidden_layers": 900}, ["describes a model of", "hold"]),
                              ({"num_hidden_layers": 1}, ["layers.1.", "unknown"]),
                              ({"positions": "NONE"}, ["embedding.position.weight", "unknown"]),
                              ({"max_position_embeddings": 31}, ["embedding.position.weight", "[32, 16]", "[31, 16]"]),
                              ({"attention_kind": "NAP"}, ["lack 'layers.0.attention.bias'"])):
            with self.subTest(fields=fields):
                self.refuse_import(4, words, self.changed("copy", **fields))
        for text, words in (("", ["config.json"]), ("[]", ["config.json"]), ('{"a":1,"a":2}', ["appears twice"]),
                            ("{" * 1000, ["config.json"]), ('{"model_type": "\xff"}', ["model_type"])):
            with self.subTest(text=text[:20]):
                self.refuse_import(4, words, self.changed("copy", config=text))
        self.refuse_import(4, ["config.json: missing"], self.folder / "nowhere")

    def test_bad_weights(self):
        copy = self.changed("copy")
        path = copy / "model.safetensors"
        good = read_safetensors(path)
        name = "layers.1.mlp.up.weight"

        def case(words, tensors=good, change=lambda header: None):
            with self.subTest(words=words):
                write_safetensors(path, tensors, change)
                self.refuse_import(4, words, copy)

        dtype, shape, data = good[name]
        case([f"lack '{name}'"], {key: value for key, value in good.items() if key != name} |
             {"extra": ("F32", [count(shape)], data)})
        case(["'extra' is unknown"], {**good, "extra": ("F32", [1], b"\0" * 4)})
        case([name, "is [16, 64], expected [64, 16]"], {**good, name: (dtype, shape[::-1], data)})
        case([name, "F64"], {**good, name: ("F64", shape, data * 2)})
        case([name, "I32"], {**good, name: ("I32", shape, data)})
        case([name, "not finite"], {**good, name: (dtype, shape, struct.pack("<f", float("nan")) + data[4:])})
        case(["safetensors header", name],
             change=lambda header: header[name].update(shape=[1 << 32, 1 << 32]))
        case(["safetensors header"], change=lambda header: header[name].update(data_offsets=[0, len(data)]))
        raw = path.read_bytes()
        path.write_bytes(raw[:-4])
        self.refuse_import(4, ["model.safetensors"], copy)
        path.write_bytes(struct.pack("<Q", 1 << 62) + raw[8:])
        self.refuse_import(4, ["model.safetensors", "length"], copy)
        path.unlink()
        (copy / "pytorch_model.bin").write_bytes(b"\x80\x02.")
        self.refuse_import(4, ["neither model.safetensors nor", "pickle"], copy)
        path.symlink_to(self.out / "model.safetensors")
        self.refuse_import(4, ["model.safetensors", "not a regular file"], copy)
        path.unlink()
        shutil.rmtree(copy)

    def test_bad_shards(self):
        copy = self.folder / "shards"
        program.check("export", "--checkpoint", self.run_dir, "--to", "hf", "--out", copy, "--shard-size", 5000)
        index = copy / "model.safetensors.index.json"
        good = json.loads(index.read_text())
        first, last = "embedding.token.weight", "norm.weight"
        self.assertNotEqual(good["weight_map"][first], good["weight_map"][last])
        for change, words in (({first: good["weight_map"][last]}, [first]), ({first: "../x.safetensors"}, [first]),
                              ({first: 3}, [first]), ({first: "model.bin"}, [first]),
                              ({first: "gone.safetensors"}, ["gone.safetensors"]),
                              ({"extra": good["weight_map"][first]}, ["lacks 'extra'"])):
            with self.subTest(change=change):
                index.write_text(json.dumps({**good, "weight_map": {**good["weight_map"], **change}}))
                self.refuse_import(4, words, copy)
        index.write_text("{}")
        self.refuse_import(4, ["weight_map"], copy)
        index.write_text(json.dumps(good))
        shutil.copy(self.out / "model.safetensors", copy)
        self.refuse_import(4, ["remove the one"], copy)
        (copy / "model.safetensors").unlink()
        (copy / good["weight_map"][first]).unlink()
        self.refuse_import(4, [good["weight_map"][first], "missing"], copy)

    def test_gpt2(self):
        folder = self.folder / "gpt2"
        folder.mkdir()
        config = folder / "config.json"
        tensors = {name: ("F32", shape, struct.pack("<f", 0.5) * count(shape)) for name, shape in GPT2_SHAPES.items()}
        write_safetensors(folder / "model.safetensors", tensors)
        for fields, words in (({"activation_function": "quick_gelu"}, ["activation_function", "quick_gelu"]),
                              ({"scale_attn_by_inverse_layer_idx": True}, ["scale_attn_by_inverse_layer_idx"]),
                              ({"scale_attn_weights": False}, ["scale_attn_weights"]),
                              ({"n_head": 3}, ["model.heads"]), ({"n_layer": 2}, ["describes a model of"]),
                              ({"n_positions": 4}, ["wpe.weight"]), ({"n_embd": None}, ["n_embd"]),
                              ({"tie_word_embeddings": False}, ["describes a model of"])):
            with self.subTest(fields=fields):
                config.write_text(json.dumps({**GPT2, **fields}))
                self.refuse_import(4, words, folder, "--tokenizer", "byte")
        config.write_text(json.dumps(GPT2))
        self.refuse_import(4, ["holds no tokenizer", "--tokenizer"], folder)
        self.refuse_import(2, ["morse"], folder, "--tokenizer", "morse")
        self.refuse_import(2, ["char", "json:FILE"], folder, "--tokenizer", "char")
        self.refuse_import(3, ["gone"], folder, "--tokenizer", f"json:{self.folder / 'gone.json'}")
        self.refuse_import(2, ["--attention", "NAP", "SOFTMAX or DAGPAM"], folder, "--attention", "NAP")
        self.refuse_import(2, ["--attention", "leave it out"], self.out, "--attention", "DAGPAM")
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram"}}))
        self.refuse_import(4, ["tokenizer.json", "no byte-level BPE"], folder)
        (folder / "tokenizer.json").unlink()
        head = ("F32", [256, 4], struct.pack("<f", 0.25) * 1024)
        write_safetensors(folder / "model.safetensors", {**tensors, "lm_head.weight": head})
        self.refuse_import(4, ["lm_head.weight", "tie_word_embeddings"], folder, "--tokenizer", "byte")
        self.refuse(2, ["--out", "step-00000005"], "import", "--from", "hf", folder,
                    "--out", self.folder / "step-00000005")
        write_safetensors(folder / "model.safetensors", tensors)
        self.refuse(2, ["out is there"], "import", "--from", "hf", folder, "--out", self.out, "--tokenizer", "byte")

    def test_logits(self):
        logits = ("logits", "--checkpoint", self.run_dir, "--out")
        out = self.folder / "logits.safetensors"
        program.check(*logits, out, input="[1, 2, 3]\n[4]\n")
        found = read_safetensors(out)
        self.assertEqual([shape for _, shape, _ in found.values()], [[3, 10], [1, 10]])
        for text, words in (("", ["empty"]), ("[1]\n[]\n", ["line 2"]), ("[1.5]\n", ["line 1"]), ("[-1]\n", ["0 to"]),
                            ("[10]\n", ["0 to 9"]), ("nonsense\n", ["line 1", "JSON array"]),
                            (f"{[0] * 33}\n", ["33 tokens", "32"])):
            with self.subTest(text=text[:20]):
                self.refuse(3, words, *logits, out, input=text)
        self.refuse(7, ["nodir"], *logits, self.folder / "nodir" / "x", input="[1]\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
