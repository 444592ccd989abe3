#!/usr/bin/env python3
"""launch/sweep --results: finished runs in a file that goes from folder to folder, and what it refuses."""
import json
import shutil
import unittest

from sweep_fakes import SweepTest

RESULTS = ("--results", "found/results.jsonl")


class Results(SweepTest):
    def setUp(self):
        super().setUp()
        self.file = self.folder / "found" / "results.jsonl"

    def lines(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def elsewhere(self):
        """Another machine: the file is all there is."""
        shutil.rmtree(self.out)
        (self.folder / "calls").unlink(missing_ok=True)

    def test_what_is_in_it_is_not_made_again(self):
        self.sweep(*RESULTS)
        before, text = self.table(), self.file.read_text()
        self.assertEqual([line["run"] for line in self.lines()], sorted(
            f"{v}__seed{s}" for v in ("plain", "wide", "ours") for s in (1, 2, 3)))
        self.elsewhere()
        said = self.sweep(*RESULTS).stdout
        self.assertIn("9 finished runs come from found/results.jsonl", said)
        self.assertEqual(self.calls(), [])
        self.assertEqual(self.file.read_text(), text)
        after = self.table()
        for table in (before, after):
            table.pop("date")
            for run in table["runs"]:
                run["training"] = [(step, round(loss, 4)) for step, loss in run["training"]]
        self.assertEqual(after, before)

    def test_every_run_adds_to_it(self):
        self.edit("[1, 2, 3]", "[1]")
        self.sweep(*RESULTS)
        first = self.file.read_text().splitlines()
        self.elsewhere()
        self.edit("[1]", "[1, 2]")
        self.sweep(*RESULTS)
        self.assertEqual([line.split()[0] for line in self.calls()], ["plain__seed2", "wide__seed2", "ours__seed2"])
        self.assertEqual(len(self.lines()), 6)
        self.assertTrue(set(first) < set(self.file.read_text().splitlines()))

    def test_tuning_and_divergence_are_kept(self):
        self.edit("[1, 2, 3]", "[1]")
        self.add('[tune]\nseed = 100\ngrid.optimizer.lr = [1e-3, 2e-3]\n')
        text = (self.folder / "sweep.toml").read_text()
        head, tune = text[text.index("\nrecipes"):text.index("[[variant]]")], text[:text.index("\nrecipes")]
        (self.folder / "sweep.toml").write_text(head + tune + text[text.index("[[variant]]"):] +
                                                'set.model.layers = 99\n')  # ours diverges
        self.sweep(*RESULTS, code=1)
        self.assertEqual([line["run"] for line in self.lines() if line["record"]["failed"]], [
            "ours__seed100__optimizer.lr=0.001", "ours__seed100__optimizer.lr=0.002"])
        before = self.table()
        self.elsewhere()
        self.sweep(*RESULTS, code=1)
        self.assertEqual(self.calls(), [])
        after = self.table()
        self.assertEqual(after["variants"], before["variants"])
        self.assertEqual(after["tuning"]["chosen"], {"plain": {"optimizer.lr": "0.002"}, "ours": None,
                                                     "wide": {"optimizer.lr": "0.002"}})
        for key in ("state", "value", "valid_nll", "exit_code", "message", "step"):
            self.assertEqual([run[key] for run in after["tuning"]["runs"]],
                             [run[key] for run in before["tuning"]["runs"]], key)

    def test_long_runs_are_thinned_and_their_numbers_kept(self):
        self.add("[set]\ntrain.steps = 1000")
        text = (self.folder / "sweep.toml").read_text()
        at = text.index("\nrecipes")
        (self.folder / "sweep.toml").write_text(text[at:text.index("[[variant]]")] + text[:at] + "\n" +
                                                text[text.index("[[variant]]"):])
        self.sweep(*RESULTS)
        before = self.table()
        kept = self.lines()[0]["metrics"]
        self.assertEqual((len(kept), kept[-1]["step"], kept[-2]["step"]), (113, 1000, 1000))  # 112 stretches of 9
        self.elsewhere()
        self.sweep(*RESULTS)
        for old, new in zip(before["variants"], self.table()["variants"]):
            self.assertEqual((new["mean"], new["memory_gib"]), (old["mean"], old["memory_gib"]))
            self.assertLess(abs(new["step_ms"] - old["step_ms"]), 9)  # medians of stretches, times that only rise
        curves = [[y for _, y in table["runs"][0]["training"]] for table in (before, self.table())]
        self.assertLess(max(abs(a - b) for a, b in zip(*curves)), 1e-5)

    def test_another_run_is_refused(self):
        self.sweep(*RESULTS)
        self.elsewhere()
        self.edit('name = "plain"', 'name = "plain"\nset.model.layers = 3')
        said = self.sweep(*RESULTS, code=4).stderr
        self.assertRegex(said, r"^sweep: error: found/results.jsonl:\d+: plain__seed1: model.layers is 2 there and 3 "
                               r"now: .*\n$")
        self.assertEqual(self.calls(), [])
        self.assertFalse((self.out / "runs").exists())

    def test_other_data_are_refused(self):
        (self.folder / "v.json").write_text('{"splits": {"valid": {"name": "a", "digest": "11"}}}')
        self.sweep(*RESULTS)
        self.elsewhere()
        (self.folder / "v.json").write_text('{"splits": {"valid": {"name": "b", "digest": "11"}}}')
        self.sweep(*RESULTS)
        self.elsewhere()
        (self.folder / "v.json").write_text('{"splits": {"valid": {"name": "a", "digest": "12"}}}')
        self.assertIn("made from other data than v has now", self.sweep(*RESULTS, code=4).stderr)
        self.assertEqual(self.calls(), [])

    def test_bad_lines_are_named(self):
        self.sweep(*RESULTS)
        good = self.file.read_text()
        entry = json.loads(good.splitlines()[0])
        for line, what in (("{", "no object"), ("7", "no object"),
                           (json.dumps({**entry, "seed": "1"}), "no seed"),
                           (json.dumps({**entry, "record": {"starts": 1}}), "no record"),
                           (json.dumps(entry), f"{entry['run']} is there twice")):
            self.file.write_text(good + line + "\n")
            said = self.sweep(*RESULTS, code=3).stderr
            self.assertIn(f"found/results.jsonl:10: {what}", said)
            self.assertEqual(said.count("\n"), 1)
        self.assertEqual(len(self.calls()), 9)

    def test_a_run_that_has_begun_here_goes_on(self):
        self.sweep(*RESULTS)
        self.elsewhere()
        self.slow(0.1)
        job = self.start()
        self.await_step("plain__seed1", 2)
        job.send_signal(2)
        self.assertEqual(job.wait(60), 8)
        self.slow(0)
        self.sweep(*RESULTS)
        self.assertEqual([line.split()[0] for line in self.calls()], ["plain__seed1", "plain__seed1"])

    def test_calls_that_leave_it_alone_refuse_it(self):
        for other in (["--list"], ["--only", "0"]):
            self.assertIn("--results: not with --list or --only", self.sweep(*RESULTS, *other, code=2).stderr)


if __name__ == "__main__":
    unittest.main()
