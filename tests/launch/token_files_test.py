"""Token files of other programs, written and read by an independent reader and writer (tests/peers/token_files.py):
what `dagpam data` makes keeps every rule of Megatron's format, and what follows the layouts loads."""
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import unittest

import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "peers"))
import token_files  # noqa: E402  pylint: disable=wrong-import-position

HF_PYTHON = ROOT / ".deps" / "hf_tokenizers" / "bin" / "python"
DOCUMENTS = [[[1, 2, 3], [4]], [[5]], [[6, 7], [8, 9, 10], [11]]]
FLAT = [[i for sequence in document for i in sequence] for document in DOCUMENTS]


class Opens:
    """Code that runs where a pickle is believed."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class TokenFilesTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        (self.folder / "byte.json").write_text('{"kind":"byte"}')

    def refused(self, code, *words):
        done = program.run(*words)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr

    def documents(self, path):
        documents, code = token_files.read_megatron(path)
        return [[i for sequence in document for i in sequence] for document in documents], code

    def test_what_is_written_here_keeps_every_rule(self):
        text = self.folder / "text.txt"
        text.write_bytes("one\ntwo \xe9\r\n\nthree".encode())
        many = self.folder / "many.txt"
        many.write_text(" ".join(map(str, range(65_500))))
        for tokenizer, name, width in (("byte", "text", 8), ("word", "many", 4)):
            prefix = self.folder / f"{name}.{tokenizer}"
            program.check("data", "prepare", "--train", self.folder / f"{name}.txt", "--documents", "line", "--tokenizer",
                          tokenizer, "--out", prefix)
            documents, code = self.documents(f"{prefix}.train")
            self.assertEqual(code, width)
            self.assertEqual(len(documents), 3 if name == "text" else 1)
        self.assertEqual([bytes(document) for document in self.documents(self.folder / "text.byte.train")[0]],
                         [b"one", "two \xe9".encode(), b"three"])
        prefix = self.folder / "text.byte"
        program.check("data", "split", prefix, "--out", f"{self.folder / 'a'}=0.67", f"{self.folder / 'b'}:valid=0.33")
        self.assertEqual(len(self.documents(self.folder / "a.train")[0]), 2)
        self.assertEqual(bytes(self.documents(self.folder / "b.valid")[0][0]), b"three")
        program.check("data", "merge", self.folder / "a", prefix, "--out", self.folder / "merged")
        self.assertEqual(len(self.documents(self.folder / "merged.train")[0]), 5)
        program.check("data", "verify", self.folder / "merged")

    def test_megatron_files_of_another_writer(self):
        paths = [self.folder / f"type{code}" for code in (1, 4, 5, 8)]
        for path in paths:
            token_files.write_megatron(f"{path}.train", DOCUMENTS, int(path.name[-1]))
        program.check("data", "import", "--format", "megatron", "--train", *(f"{path}.train" for path in paths), "--tokenizer",
                      "byte", "--out", self.folder / "in")
        self.assertEqual(self.documents(self.folder / "in.train"), (FLAT * 4, 8))
        self.assertRegex(program.check("data", "verify", paths[2]).stdout,
                         r"train +11 tokens +3 documents +6 sequences +i64")
        program.check("data", "merge", *paths, "--out", self.folder / "merged")
        self.assertEqual(self.documents(self.folder / "merged.train"), (FLAT * 4, 4))
        for code in (2, 7):
            token_files.write_megatron(self.folder / "other.train", DOCUMENTS, code)
            self.assertIn("the token type", self.refused(3, "data", "info", self.folder / "other"))
        token_files.write_megatron(self.folder / "modes.train", DOCUMENTS, 8, modes=[0] * 6)
        self.assertIn("multimodal", self.refused(3, "data", "info", self.folder / "modes"))

    def test_llmc_files_become_data_to_train_on(self):
        ids = [i * 7 % 200 for i in range(2_000)]
        token_files.write_llmc(self.folder / "narrow.bin", ids)
        token_files.write_llmc(self.folder / "wide.bin", ids, wide=True)
        token_files.write_llmc(self.folder / "lie.bin", ids, count=2_001)
        self.assertIn("the number of tokens is 2001", self.refused(3, "data", "verify", self.folder / "lie.bin"))
        self.assertRegex(program.check("data", "verify", self.folder / "wide.bin").stdout, r"2000 tokens +1 doc.* u32 ")
        program.check("data", "import", "--format", "llmc", "--train", self.folder / "narrow.bin", self.folder / "wide.bin",
                      "--tokenizer", "byte", "--out", self.folder / "in")
        self.assertEqual(self.documents(self.folder / "in.train"), ([ids, ids], 8))
        config = self.folder / "config.textproto"
        config.write_text("""
model { layers: 1 width: 16 heads: 2 context: 16 }
data { train { prefix: "%s" } }
train { steps: 2 global_batch: 2 }
""" % (self.folder / "in"))
        program.check("train", "--config", config, "--run-dir", self.folder / "run")

    def meta(self, value, name="meta.pkl"):
        (self.folder / name).write_bytes(pickle.dumps(value))
        return subprocess.run([ROOT / "launch" / "nanogpt_meta", self.folder / name], capture_output=True, text=True,
                              check=False)

    def test_nanogpt_files(self):
        text = "hello \xe9\n"
        characters = sorted(set(text))
        stoi = {character: i for i, character in enumerate(characters)}
        good = {"vocab_size": len(characters), "stoi": stoi, "itos": {i: c for c, i in stoi.items()}}
        made = self.meta(good)
        self.assertEqual(made.returncode, 0, made.stderr)
        (self.folder / "tokenizer.json").write_text(made.stdout)
        token_files.write_nanogpt(self.folder / "train.bin", [stoi[character] for character in text])
        program.check("data", "import", "--format", "nanogpt", "--train", self.folder / "train.bin", "--tokenizer",
                      f"json:{self.folder / 'tokenizer.json'}", "--out", self.folder / "in")
        # The same as this program makes of the text.
        (self.folder / "text.txt").write_bytes(text.encode())
        program.check("data", "prepare", "--train", self.folder / "text.txt", "--tokenizer", "char", "--out",
                      self.folder / "own")
        self.assertEqual((self.folder / "in.train.bin").read_bytes(), (self.folder / "own.train.bin").read_bytes())
        digests = [json.loads((self.folder / f"{name}.json").read_text())["tokenizer_digest"] for name in ("in", "own")]
        self.assertEqual(*digests)
        self.assertIn("llm.c", self.refused(3, "data", "info", self.folder / "train.bin"))  # never guessed

    def test_hostile_and_odd_pickles(self):
        trap = self.folder / "trap"
        for value in (Opens(trap), {"itos": Opens(trap), "stoi": {}}, {"itos": {0: "a"}, "stoi": {"a": 0}, "x": Opens(trap)}):
            done = self.meta(value)
            self.assertEqual(done.returncode, 3)
            self.assertIn("may be hostile", done.stderr)
        self.assertFalse(trap.exists())
        pickle.loads(pickle.dumps(Opens(trap))).close()
        self.assertTrue(trap.exists())  # it would have
        for value, words in (({"itos": {0: "b", 1: "a"}, "stoi": {"b": 0, "a": 1}}, "ascending"),
                             ({"itos": {0: "a", 2: "b"}, "stoi": {"a": 0, "b": 2}}, "0 to 1"),
                             ({"itos": {0: "ab"}, "stoi": {"ab": 0}}, "a character for each"),
                             ({"itos": {0: "a"}, "stoi": {"a": 1}}, "inverse"),
                             ({"vocab_size": 5}, "itos and stoi"), ([1], "dictionary"),
                             ({"itos": {0: "a"}, "stoi": {"a": 0}, "vocab_size": 2}, "vocab_size is 2")):
            done = self.meta(value)
            self.assertEqual(done.returncode, 3)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stdout, "")
        (self.folder / "cut.pkl").write_bytes(pickle.dumps({"itos": {0: "a"}})[:-3])
        done = subprocess.run([ROOT / "launch" / "nanogpt_meta", self.folder / "cut.pkl"], capture_output=True, text=True,
                              check=False)
        self.assertIn("no pickle", done.stderr)

    @unittest.skipUnless(HF_PYTHON.exists(), "launch/setup --hf-tokenizers was not run")
    def test_a_hugging_face_tokenizer(self):
        make = ("import tokenizers as t; k = t.Tokenizer(t.models.BPE()); k.pre_tokenizer = t.pre_tokenizers.ByteLevel();"
                "k.decoder = t.decoders.ByteLevel(); "
                "k.train_from_iterator(['the cat and the dog'] * 9, t.trainers.BpeTrainer(special_tokens=['<end>'], "
                "initial_alphabet=t.pre_tokenizers.ByteLevel.alphabet(), show_progress=False)); k.save('tokenizer.json')")
        subprocess.run([HF_PYTHON, "-c", make], cwd=self.folder, check=True)
        text = self.folder / "text.jsonl"
        lines = ["the cat", "the \xe9\nand", "dog"]
        text.write_text("".join(json.dumps({"body": line}) + "\n" for line in lines))

        def helper(*words, **options):
            return subprocess.run([ROOT / "launch" / "prepare_hf", *map(str, words)], capture_output=True, text=True,
                                  check=False, env={**os.environ, "DAGPAM_BINARY": program.BINARY}, **options)

        tokenizer = self.folder / "tokenizer.json"
        done = helper("prepare", "--tokenizer", tokenizer, "--train", text, "--json-key", "body", "--append-eod", "<end>",
                      "--out", self.folder / "set")
        self.assertEqual(done.returncode, 0, done.stderr)
        program.check("data", "verify", self.folder / "set")
        documents, _ = self.documents(self.folder / "set.train")
        carried = self.folder / "set.json"
        for line, document in zip(lines, documents, strict=True):
            ids = helper("encode", "--tokenizer", carried, line).stdout
            self.assertEqual(ids.split(), list(map(str, document[:-1])))
            self.assertEqual(document[-1], 0)  # <end>
            self.assertEqual(helper("decode", "--tokenizer", carried, input=ids).stdout.strip(" \n"), line)
        before = program.listing(self.folder)
        for words, said in ((("--append-eod", "<no>"), "has no token"), (("--json-key", "none"), "line 1: field 'none'")):
            done = helper("prepare", "--tokenizer", tokenizer, "--train", text, "--out", self.folder / "set", *words)
            self.assertEqual(done.returncode, 3)
            self.assertIn(said, done.stderr)
        self.assertEqual(program.listing(self.folder), before)


if __name__ == "__main__":
    unittest.main()
