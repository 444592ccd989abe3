#!/usr/bin/env python3
"""Bad input from outside: the right exit code, one line that names it, nothing changed, under two seconds."""
import json
import pathlib
import resource
import shutil
import struct
import subprocess
import tempfile
import time
import unittest

import program

SECONDS = 2  # of wall time a refusal may take


class BadInputTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-bad-"))
        cls.prefix = program.prepare(cls.folder)
        cls.config = program.write_config(cls.folder, cls.prefix)
        program.check("train", "--config", cls.config, "--run-dir", cls.folder / "run", "--stop-after", 2)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def refuse(self, code, words, *arguments, **options):
        """Exit `code` with one line that holds every word, and no file of the folder changed."""
        before = program.listing(self.folder)
        start = time.monotonic()
        done = program.run(*arguments, **options)
        took = time.monotonic() - start
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        lines = [line for line in done.stderr.splitlines() if line.startswith("dagpam: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        # mpirun waits a second of its own between asking the other ranks to end and ending them.
        self.assertLess(took, SECONDS + (1 if "ranks" in options else 0))
        self.assertEqual(before, program.listing(self.folder), "a refused command changed files")

    def refuse_job(self, code, words, *commands):
        """refuse() for ranks that were started with different commands."""
        job = [program.MPIRUN, "--oversubscribe"]
        for command in commands:
            job += [":"] * (len(job) > 2) + ["-n", "1", *map(str, command)]
        before = program.listing(self.folder)
        done = subprocess.run(job, env=program.ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.startswith("dagpam: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertEqual(before, program.listing(self.folder), "a refused command changed files")

    def test_ranks_that_differ(self):
        with self.subTest("configs"):
            commands = [[program.BINARY, *self.train(f"train.seed={seed}")] for seed in (1, 2)]
            self.refuse_job(2, ["the resolved config is not the same", "rank 1 has"], *commands)
        with self.subTest("programs"):
            with tempfile.TemporaryDirectory() as folder:
                other = pathlib.Path(folder) / "dagpam"
                shutil.copy(program.BINARY, other)
                with other.open("ab") as file:
                    file.write(b"another build")
                commands = [[binary, *self.train()] for binary in (program.BINARY, other)]
                self.refuse_job(2, ["the program is not the same", "rank 1 has"], *commands)
        with self.subTest("world"):
            self.refuse(2, ["parallel.tensor", "3", "2 ranks"], *self.train("parallel.tensor=3"), ranks=2)

    def train(self, *overrides):
        words = ["train", "--config", self.config, "--run-dir", self.folder / "new"]
        for override in overrides:
            words += ["--set", override]
        return words

    def test_command_line(self):
        for words in ([], ["trian"], ["train"], ["train", "--config"], ["train", "--confg", "x"],
                      ["train", "--config", str(self.config)],
                      [*self.train(), "--stop-after", "-1"], [*self.train(), "--max-minutes", "soon"],
                      ["data", "prepare", "--train", "x"], ["eval", "--checkpoint", "x"],
                      ["generate", "--checkpoint", str(self.folder / "run"), "--prompt", ""],
                      ["check", "--config", str(self.config), "--layouts", "tp"],
                      ["check", "--config", str(self.config), "--layouts", "dp9"],
                      ["bench", "data"], ["ckpt", "prune", str(self.folder / "run"), "--keep", "0"]):
            with self.subTest(words=words):
                self.refuse(2, [], *words)

    def test_configs(self):
        for override, words in (("model.heads=5", ["model.heads", "5"]),
                                ("model.layer=3", ["model.layer", "layers"]),
                                ("optimizer.lr=nan", ["optimizer.lr"]),
                                ("train.global_batch=-4", ["train.global_batch", "-4"]),
                                ("train.global_batch=9", ["train.global_batch"])):
            with self.subTest(override=override):
                self.refuse(2, words, *self.train(override), ranks=2 if override.endswith("=9") else 1)
        with self.subTest("before MPI is open"):
            self.refuse(2, ["model.heads"], *self.train("model.heads=5"), ranks=2)

    def test_backend_without_gpus(self):
        words = ["parallel.backend: NCCL needs a GPU for every rank", "rank 0", "choose MPI"]
        hidden = {"CUDA_VISIBLE_DEVICES": ""}
        for ranks in (1, 2):
            with self.subTest(ranks=ranks):
                self.refuse(2, words, *self.train("parallel.backend=NCCL"), ranks=ranks, environment=hidden)
        self.refuse(2, words, "generate", "--checkpoint", self.folder / "run", "--prompt", "a", "--backend", "NCCL",
                    environment=hidden)

    def test_config_files(self):
        bad = self.folder / "bad.textproto"
        for text, words in ((b"model { layrs: 3 }", ["bad.textproto:1", "layers"]),
                            (b"model { layers: 3", ["bad.textproto"]),
                            (b"name: '\xff\xfe'", ["bad.textproto"]),
                            (b"model {" * 100_000, ["bad.textproto"])):
            with self.subTest(text=text[:30]):
                bad.write_bytes(text)
                self.refuse(2, words, "train", "--config", bad, "--run-dir", self.folder / "new")
        bad.unlink()
        self.refuse(2, ["missing.textproto"], "train", "--config", self.folder / "missing.textproto",
                    "--run-dir", self.folder / "new")

    def test_missing_data(self):
        gone = self.folder / "gone"
        self.refuse(3, ["gone"], *self.train(f"data.train=[{{prefix: '{gone}'}}]"))
        self.refuse(3, ["gone"], *self.train(f"data.valid='{gone}'"))
        self.refuse(3, ["gone"], "eval", "--checkpoint", self.folder / "run", "--data", gone)
        self.refuse(3, ["gone"], "data", "info", gone)

    def test_damaged_index(self):
        copy = self.folder / "damaged"
        for suffix in (".train.bin", ".train.idx", ".valid.bin", ".valid.idx", ".json"):
            shutil.copy(f"{self.prefix}{suffix}", f"{copy}{suffix}")
        index = pathlib.Path(f"{copy}.train.idx")
        good = index.read_bytes()
        # Offsets of the format: magic 0, version 9, type 17, sequences 18, documents 26, arrays from 34.
        for offset, value in ((0, b"X"), (9, struct.pack("<Q", 2)), (17, b"\x09"),
                              (18, struct.pack("<Q", 2**63)), (26, struct.pack("<Q", 0)),
                              (34, struct.pack("<i", -1)), (38, struct.pack("<q", 8))):
            with self.subTest(offset=offset):
                index.write_bytes(good[:offset] + value + good[offset + len(value):])
                self.refuse(3, ["damaged.train"], *self.train(f"data.train=[{{prefix: '{copy}'}}]"))
                self.refuse(3, ["damaged.train"], "data", "verify", copy)
        index.write_bytes(good[:-1])
        self.refuse(3, ["damaged.train"], *self.train(f"data.train=[{{prefix: '{copy}'}}]"))
        index.write_bytes(good)

    def test_token_ids_past_the_vocabulary(self):
        copy = self.folder / "ids"
        for suffix in (".train.bin", ".train.idx", ".valid.bin", ".valid.idx"):
            shutil.copy(f"{self.prefix}{suffix}", f"{copy}{suffix}")
        shutil.copy(f"{self.prefix}.json", f"{copy}.json")
        tokens = pathlib.Path(f"{copy}.train.bin")
        good = bytearray(tokens.read_bytes())
        good[2000:2002] = struct.pack("<H", 999)
        tokens.write_bytes(good)
        self.refuse(3, ["ids.train", "999", "1000"], "data", "verify", copy)

    def test_text_that_does_not_fit(self):
        text = self.folder / "other.txt"
        prepare = ["data", "prepare", "--train", self.folder / "train.txt", "--out", self.folder / "made"]
        text.write_text("abc\u00e9\n")
        self.refuse(3, ["other.txt", "U+00E9"], *prepare, "--valid", text, "--tokenizer", "char")
        self.refuse(3, ["other.txt"], *prepare, "--valid", text, "--tokenizer", "word")
        text.write_bytes(b"ab\xff\n")
        self.refuse(3, ["other.txt"], *prepare, "--valid", text, "--tokenizer", "char")
        text.write_bytes(b"")
        self.refuse(3, ["other.txt"], "data", "prepare", "--train", text, "--tokenizer", "char",
                    "--out", self.folder / "made")
        self.refuse(2, ["morse"], *prepare, "--tokenizer", "morse")
        self.refuse(3, ["none"], *prepare, "--tokenizer", f"gpt2:{self.folder / 'none'}")
        self.refuse(3, ["gone.txt"], *prepare, "--valid", self.folder / "gone.txt", "--tokenizer", "char")
        text.unlink()

    def test_prompt_with_an_unknown_character(self):
        self.refuse(3, ["U+0416"], "generate", "--checkpoint", self.folder / "run", "--prompt", "ab\u0416")

    def test_checkpoints(self):
        self.refuse(4, ["nowhere"], "eval", "--checkpoint", self.folder / "nowhere", "--data", self.prefix)
        self.refuse(4, ["nowhere"], "ckpt", "verify", self.folder / "nowhere")
        self.refuse(4, ["nowhere"], "ckpt", "ls", self.folder / "nowhere")
        self.refuse(4, ["holds a run"], "train", "--config", self.config, "--run-dir", self.folder / "run")
        copy = self.folder / "copy"
        shutil.copytree(self.folder / "run", copy)
        shard = next(copy.glob("checkpoints/step-*/*.safetensors"))
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
        self.refuse(4, [shard.name], "ckpt", "verify", copy)
        self.refuse(4, [shard.name], "generate", "--checkpoint", copy, "--prompt", "a")
        self.refuse(4, [shard.name], "train", "--config", self.config, "--run-dir", copy, "--resume", "latest")

    def test_analyze(self):
        run = ("analyze", "--data", self.prefix, "--out", self.folder / "analysis", "--checkpoint", self.folder / "run")
        fresh = (*run[:-2], "--untrained", "--config", self.config)
        for code, words, arguments in (
                (2, ["--checkpoint"], run[:-2]),
                (2, ["--untrained", "one of the two"], (*run, "--untrained")),
                (2, ["--config", "missing"], (*run[:-2], "--untrained")),
                (2, ["--query-gain", "--untrained"], (*run, "--query-gain", "2")),
                (2, ["--tokens: 33", "32"], (*run, "--tokens", "33")),
                (2, ["--sequences: 900", "valid"], (*run, "--sequences", "900")),
                (2, ["--skip-first"], (*run, "--skip-first", "--tokens", "1")),
                (2, ["--stack"], (*run, "--stack", "half")),
                (2, ["--maps", "33 tokens", "32"], (*run, "--maps", "a" * 33)),
                (2, ["--maps", "at most 204 tokens"], (*fresh, "--set", "model.context=500", "--tokens", "8",
                                                       "--maps", "a" * 400, "--set", "model.heads=16")),
                (3, ["U+0416"], (*run, "--maps", "a\u0416")),
                (2, ["model.heads"], (*fresh, "--set", "model.heads=5")),
                (4, ["nowhere"], (*run[:-1], self.folder / "nowhere")),
                (3, ["gone"], ("analyze", "--data", self.folder / "gone", *run[3:])),
                (3, ["text.test"], (*run, "--split", "test")),
                (7, ["config.textproto"], (*run[:4], self.config / "x", *run[5:]))):
            with self.subTest(arguments=arguments[5:]):
                self.refuse(code, words, *arguments)
        self.refuse(2, ["analyze", "2 ranks"], *run, ranks=2)
        self.refuse(2, ["log.analyze_every", "parallel.tensor"],
                    *self.train("parallel.tensor=2"), "--set", "log.analyze_every=5", ranks=2)
        self.refuse(2, ["log.analyze_every", "data.valid"], *self.train("data.valid="), "--set", "log.analyze_every=5")

    def test_run_folder_that_cannot_be_made(self):
        blocked = self.folder / "blocked"
        blocked.write_text("a file")
        self.refuse(7, ["blocked"], "train", "--config", self.config, "--run-dir", blocked)
        blocked.unlink()

    def test_full_disk(self):
        def small_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

        self.refuse(7, ["made"], "data", "prepare", "--train", self.folder / "train.txt",
                    "--tokenizer", "char", "--out", self.folder / "made", preexec_fn=small_files)

    def test_bench_checkpoint(self):
        bench = ("bench", "checkpoint", "--mib", "9", "--rounds", "2", "--dir")
        done = program.check(*bench, self.folder, "--json")
        rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
        self.assertEqual(list(rows), ["write", "digested write", "fastest write", "fastest digested write", "digest",
                                      "verify", "load", "first stall", "stall"])
        self.assertTrue(all(row["ours_ms"] > 0 for row in rows.values()), rows)
        self.assertTrue(all(rows[name]["ratio"] > 0 for name in ("write", "verify", "load")), rows)
        self.assertFalse(list(self.folder.glob(".bench*")))
        self.refuse(7, ["are free"], *bench[:2], "--mib", str(1 << 20), "--dir", self.folder)
        self.refuse(7, ["nodir"], *bench, "/proc/nodir")

    def test_bench_attention(self):
        bench = ("bench", "attention", "--lengths", "33", "--width", "8", "--batch", "1", "--rounds", "1")
        for kind, peers in (("DAGPAM", 5), ("SOFTMAX", 3), ("SOFTMAX_WIDE", 3), ("NAP", 3), ("COG", 3)):
            rows = [json.loads(line) for line in program.check(*bench, "--kind", kind, "--json").stdout.splitlines()]
            self.assertEqual(len(rows), peers)
            self.assertTrue(all(row["ratio"] > 0 and row["per_second"] > 0 for row in rows), rows)
        # 12 products of 2 x 8 for each of the 33 x 34 / 2 visible pairs and 6 x 8 x 8 for each of the 33 rows, 32 heads
        row = json.loads(program.check(*bench, "--json").stdout.splitlines()[0])
        self.assertAlmostEqual(row["per_second"] * row["ours_ms"] / 1e3, 32 * (12 * 16 * 561 + 384 * 33), places=0)
        self.assertEqual(row["bytes"], 14 * 33 * 256 * 4)
        self.refuse(2, ["--type", "bfloat16", "float32"], *bench, "--type", "bfloat16")
        self.refuse(2, ["--device cuda", "no GPU"], *bench, "--device", "cuda", environment={"CUDA_VISIBLE_DEVICES": ""})

    def test_bench_decode(self):
        config = self.folder / "decode.textproto"
        config.write_text('model { layers: 1 width: 16 heads: 2 context: 8 vocab: 11 } attention { kind: DAGPAM }')
        bench = ("bench", "decode", "--config", config, "--tokens", "2", "--rounds", "1")
        rows = [json.loads(line) for line in
                program.check(*bench, "--batch", "1,3", "--past", "4", "--json").stdout.splitlines()]
        self.assertEqual([row["unit"] for row in rows], ["tokens", "tokens"])
        # 2 x 5 x 16 elements of keys and values for each further sequence
        self.assertEqual(rows[1]["bytes"] - rows[0]["bytes"], 2 * 2 * 5 * 16 * 4)
        self.refuse(2, ["--past 7", "model.context"], *bench, "--past", "7")


if __name__ == "__main__":
    unittest.main(verbosity=2)
