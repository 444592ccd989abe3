#!/usr/bin/env python3
"""Holds the tokenizer files of exports against `dagpam data encode`: the same ids by the `tokenizers` package and by
AutoTokenizer, the same text back, and the same refusals.
"""
import json
import pathlib
import shutil
import tempfile
import unittest

import gpt2_ids
import hf_support as hf

hf.in_venv()
HOME = tempfile.mkdtemp(prefix="dagpam-hf-home-")
hf.offline_home(HOME)

import torch  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

import program  # noqa: E402

MIXED = gpt2_ids.mixed_lines(400, seed=5)
TRAIN = "Na\u00efve caf\u00e9s \u2014 \u4f60\u597d, <unk> world!\nab  cd \t \u0416\U0001F600 x\n\n<eos> y, end.\n"


def make_gpt2(folder):
    """A small byte-level vocabulary with merges, in GPT-2's files and as the package saves it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer.train_from_iterator(MIXED * 2, trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    files = folder / "files"
    files.mkdir()
    tokenizer.model.save(str(files))
    return files


class TokenizersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-hf-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        (cls.folder / "train.txt").write_text(TRAIN, encoding="utf-8")
        config, model = hf.model_classes()
        torch.manual_seed(1)
        model(config(vocab_size=600, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(
            cls.folder / "model")
        cls.specs = {"byte": "byte", "gpt2": f"gpt2:{make_gpt2(cls.folder / 'gpt2')}"}
        for kind in ("char", "word"):
            program.check("data", "prepare", "--train", cls.folder / "train.txt", "--tokenizer", kind,
                          "--out", cls.folder / kind)
            cls.specs[kind] = f"json:{cls.folder / kind}.json"
        for kind, spec in cls.specs.items():
            program.check("import", "--from", "hf", cls.folder / "model", "--out", cls.folder / f"{kind}.ckpt",
                          "--tokenizer", spec)
            program.check("export", "--checkpoint", cls.folder / f"{kind}.ckpt", "--to", "hf",
                          "--out", cls.folder / f"{kind}.out")

    def ids(self, kind, texts, *options):
        done = program.check("data", "encode", "--tokenizer", self.specs[kind], *options,
                             input="".join(json.dumps(text) + "\n" for text in texts))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def agree(self, kind, texts, back, *options):
        """back(text): what decoding must give."""
        expected = self.ids(kind, texts, *options)
        package = Tokenizer.from_file(str(self.folder / f"{kind}.out" / "tokenizer.json"))
        whole = AutoTokenizer.from_pretrained(self.folder / f"{kind}.out", trust_remote_code=True)
        for text, ids in zip(texts, expected):
            with self.subTest(kind=kind, text=text):
                self.assertEqual(package.encode(text).ids, ids)
                self.assertEqual(package.encode(text, add_special_tokens=False).ids, ids)
                self.assertEqual(whole(text)["input_ids"], ids)
                self.assertEqual(package.decode(ids, skip_special_tokens=False), back(text))
                self.assertEqual(whole.decode(ids), back(text))
        return package

    def test_byte(self):
        self.agree("byte", MIXED, lambda text: text)

    def test_gpt2(self):
        package = self.agree("gpt2", MIXED, lambda text: text)
        self.assertEqual(package.get_vocab_size(), 600)
        self.assertIn("<|endoftext|>", MIXED)
        whole = AutoTokenizer.from_pretrained(self.folder / "gpt2.out", trust_remote_code=True)
        self.assertEqual(whole.eos_token_id, 0)

    def test_char(self):
        texts = [TRAIN, "", "\n\n", "\U0001F600\u0416", TRAIN[::-1]]
        package = self.agree("char", texts, lambda text: text)
        with self.assertRaisesRegex(Exception, "UNK"):
            package.encode("abcQ")

    def test_word(self):
        texts = [TRAIN, "", "\n\n", "world! \u2003 ab\u00a0cd\n", "unknown words\n x\n", "Na\u00efve <eos> y,", "ab\ncd"]

        def back(text):
            words = text.replace("\n", " <eos> ").split()
            known = set(TRAIN.split())
            text = " ".join(word if word in known else "<unk>" for word in words)
            return " ".join(text.split()).replace(" <eos> ", "\n").replace("<eos> ", "\n").replace(
                " <eos>", "\n").replace("<eos>", "\n")

        self.agree("word", texts, back, "--prompts")

    def test_gpt2_tokenizer_of_the_package(self):
        """import takes tokenizer.json as the package saves it, and vocab.json with merges.txt."""
        for name, source in (("package", self.folder / "gpt2"), ("files", self.folder / "gpt2" / "files")):
            copy = self.folder / f"with-{name}"
            shutil.copytree(self.folder / "model", copy)
            for file in source.glob("*.*"):
                shutil.copy(file, copy)
            program.check("import", "--from", "hf", copy, "--out", f"{copy}.ckpt")
            with self.subTest(name):
                self.assertEqual((pathlib.Path(f"{copy}.ckpt") / "tokenizer.json").read_bytes(),
                                 (self.folder / "gpt2.ckpt" / "tokenizer.json").read_bytes())


if __name__ == "__main__":
    try:
        unittest.main(verbosity=2)
    finally:
        shutil.rmtree(HOME)
