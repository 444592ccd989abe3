#!/usr/bin/env python3
"""launch/sweep with a program that is a script: what is run, kept, tuned, and what the table and the page say."""
import csv
import json
import os
import re
import sys
import unittest
import xml.etree.ElementTree

from sweep_fakes import ROOT, SweepTest



class Whole(SweepTest):
    def test_runs_seed_by_seed_and_writes_the_table(self):
        said = self.sweep().stdout
        names = [line.split()[0] for line in self.calls()]
        self.assertEqual(names, [f"{v}__seed{s}" for s in (1, 2, 3) for v in ("plain", "wide", "ours")])
        self.assertIn("[9/9] ours__seed3 done", said)
        self.assertIn("no figures: matplotlib is missing: run ./launch/setup --figures", said)
        # nll = 2 + effect + 0.01 seed^2 + 1: the mean over 1, 4, 9 is 14/3.
        plain, wide, ours = self.table()["variants"]
        self.assertAlmostEqual(plain["mean"], 3 + 0.14 / 3)
        self.assertAlmostEqual(plain["std"], (0.01 ** 2 * ((11 / 3) ** 2 + (2 / 3) ** 2 + (13 / 3) ** 2) / 2) ** 0.5)
        self.assertAlmostEqual(ours["baseline"]["mean"], -0.3)
        self.assertAlmostEqual(ours["control"]["mean"], -0.2)
        self.assertEqual(ours["baseline"]["verdict"], "better")
        self.assertEqual(plain["control"]["verdict"], "worse")
        self.assertIsNone(plain["baseline"])
        self.assertEqual((plain["step_ms"], plain["memory_gib"], plain["parameters"]), (15.5, 0.5, 1007))
        rows = list(csv.DictReader((self.out / "table.csv").read_text().splitlines()))
        self.assertEqual([row["baseline_verdict"] for row in rows], ["", "better", "better"])
        self.assertAlmostEqual(float(rows[2]["valid_nll_mean"]), ours["mean"])
        self.assertEqual(wide["runs"], "3 of 3 done")

    def test_a_variant_may_have_its_own_baseline(self):
        self.edit('name = "ours"', 'name = "ours"\nbaseline = "wide"')
        self.sweep()
        ours = self.table()["variants"][2]
        self.assertEqual(ours["baseline"]["to"], "wide")
        self.assertAlmostEqual(ours["baseline"]["mean"], -0.2)
        self.assertIn("<b>ours</b> is better than wide.", (self.out / "report.html").read_text())

    def test_page_stands_alone(self):
        self.sweep()
        page = (self.out / "report.html").read_text()
        for part in ("<h1>sweep</h1>", "dagpam 9.9.9", "wide and ours", "ours__seed3", "[[variant]]", "not done"):
            self.assertEqual(part in page, part != "not done", part)
        self.assertEqual(re.findall(r"""(?:src|href)=["'](?!#)|url\((?!#)|@import|<script""", page), [])

    def test_second_call_runs_nothing(self):
        self.sweep()
        before = self.calls()
        self.sweep()
        self.assertEqual(self.calls(), before)

    def test_more_seeds_and_variants_add_rows(self):
        self.sweep()
        self.edit("[1, 2, 3]", "[1, 2, 3, 4]")
        self.edit('name = "plain"', 'name = "plain"\n[[variant]]\nname = "deep"\nset.model.layers = 3')
        self.sweep()
        self.assertEqual(sorted(line.split()[0] for line in self.calls()[9:]), sorted(
            ["plain__seed4", "wide__seed4", "ours__seed4", *(f"deep__seed{s}" for s in (1, 2, 3, 4))]))

    def test_another_config_is_refused(self):
        self.sweep()
        for change in ("set.model.layers = 3", "set.attention.kind = \"SOFTMAX_WIDE\""):
            self.edit('name = "plain"', f'name = "plain"\n{change}')
            said = self.sweep(code=4).stderr
            self.assertEqual(said.count("\n"), 1)
            self.assertIn("plain__seed1: " + change[4:].split(" ")[0] + " is ", said)
            self.edit(f"\n{change}", "")
        self.edit('name = "plain"', 'name = "plain"\nset.log.every = 7')  # no other run
        self.sweep()
        self.assertEqual(len(self.calls()), 9)

    def test_report_and_list_run_nothing(self):
        listed = self.sweep("--list").stdout
        self.assertEqual(listed.count("new, step 0 of 10"), 9)
        self.assertFalse(self.out.exists())
        self.sweep("--report", code=8)
        self.assertEqual(self.calls(), [])
        self.assertIn("too few finished runs", (self.out / "report.html").read_text())
        self.sweep()
        self.assertEqual(self.sweep("--list").stdout.count(" done"), 9)

    def test_metrics_in_perplexity_and_bits(self):
        self.sweep()
        for metric, expected in (("valid_ppl", 2.718281828459045 ** 3.01), ("valid_bits", 3.01 / 0.6931471805599453)):
            self.add(f'metric = "{metric}"')
            self.sweep()
            self.assertAlmostEqual(self.table()["runs"][0]["value"], expected)
            self.edit(f'metric = "{metric}"\n', "")

    def test_slots_have_their_own_cores_and_gpus(self):
        self.add("slots = 2\ngpus_per_run = 1")
        self.slow(0.02)
        self.sweep(CUDA_VISIBLE_DEVICES="4,7")
        calls = self.calls()
        self.assertEqual({re.search(r"gpus (\S+)", line)[1] for line in calls}, {"4", "7"})
        cores = {re.search(r"cores (\[.*\])", line)[1] for line in calls}
        if len(os.sched_getaffinity(0)) >= 2:
            self.assertEqual(len(cores), 2)
            first, second = (set(json.loads(text)) for text in cores)
            self.assertFalse(first & second)

    def test_killed_lines_are_read_over(self):
        self.sweep()
        with open(self.out / "runs" / "plain__seed1" / "metrics.jsonl", "a", encoding="utf-8") as out:
            out.write('{"step": 10, "spl')
        self.sweep()
        self.assertEqual(len(self.calls()), 9)


class Failures(SweepTest):
    def diverge(self):
        self.edit('name = "wide"', 'name = "wide"\nset.model.layers = 99')

    def test_divergence_is_a_row(self):
        self.diverge()
        self.sweep(code=1)
        wide = self.table()["variants"][1]
        self.assertEqual((wide["runs"], wide["mean"]), ("0 of 3 done, 3 diverged", None))
        self.assertEqual(wide["baseline"]["verdict"], "no common seed")
        page = (self.out / "report.html").read_text()
        self.assertIn("exit code 5: step 3: loss is not finite", page)
        before = len(self.calls())
        self.sweep(code=1)
        self.assertEqual(len(self.calls()), before)
        self.sweep("--retry-failed", code=1)
        self.assertEqual(len(self.calls()), before + 3)

    def test_one_seed_has_no_interval(self):
        self.edit("[1, 2, 3]", "[5]")
        self.sweep()
        self.assertEqual(self.table()["variants"][2]["baseline"]["verdict"], "one seed: no interval")


class Tuning(SweepTest):
    GRID = "[tune]\nseed = 9\ngrid.optimizer.lr = [1e-3, 2e-3, 4e-3]\n"

    def setUp(self):
        super().setUp()
        path = self.folder / "sweep.toml"
        path.write_text(path.read_text() + self.GRID)

    def test_every_variant_has_the_same_tries_and_its_own_best(self):
        self.sweep()
        names = [line.split()[0] for line in self.calls()]
        self.assertEqual(len(names), 9 + 9)
        self.assertTrue(all("__seed9__" in name for name in names[:9]))
        self.assertTrue(all(name.endswith("__optimizer.lr=0.002") for name in names[9:]))
        tuned = self.table()["tuning"]
        self.assertEqual(tuned["runs_a_variant"], 3)
        self.assertEqual(tuned["chosen"], {v: {"optimizer.lr": "0.002"} for v in ("plain", "wide", "ours")})
        self.assertEqual((self.out / "report.html").read_text().count(">taken<"), 3)

    def test_a_seed_that_is_compared_is_not_run_twice(self):
        self.edit("seed = 9", "seed = 2")
        self.sweep()
        self.assertEqual(len(self.calls()), 9 + 6)
        self.assertIn("has a little luck in it", (self.out / "report.html").read_text())

    def test_failed_tries_are_the_worst(self):
        self.edit("grid.optimizer.lr = [1e-3, 2e-3, 4e-3]", "grid.model.layers = [99, 2]")
        self.sweep(code=0)  # every row of the comparison is done
        self.assertEqual(self.table()["tuning"]["chosen"]["ours"], {"model.layers": "2"})

    def test_without_a_good_try_the_seeds_wait(self):
        self.edit("grid.optimizer.lr = [1e-3, 2e-3, 4e-3]", "grid.model.layers = [99]")
        self.sweep(code=1)
        self.assertEqual(len(self.calls()), 3)
        self.assertEqual(self.table()["variants"][0]["runs"], "no tuning run ended well")


class Figures(SweepTest):
    def test_drawn_into_the_page(self):
        python = ROOT / ".deps" / "figures" / "bin" / "python"
        if not python.exists():
            print("skipped: no .deps/figures: launch/setup --figures makes it")
            self.skipTest("no matplotlib")
        self.edit('name = "wide"', 'name = "wide"\nset.model.layers = 99')
        self.sweep(code=1, DAGPAM_FIGURES_PYTHON=str(python))
        page = (self.out / "report.html").read_text()
        self.assertEqual(page.count("<svg"), 4)
        self.assertEqual(re.findall(r"""(?:src|href)=["'](?!#)|url\((?!#)|@import|<script""", page), [])
        self.assertNotIn("#010203", page)
        ids = re.findall(r'\bid="([^"]+)"', page)
        self.assertEqual(len(ids), len(set(ids)))
        files = sorted((self.out / "figures").iterdir())
        self.assertEqual([path.name for path in files], ["against.svg", "differences.svg", "training.svg", "valid.svg"])
        for path in files:
            self.assertEqual(xml.etree.ElementTree.parse(path).getroot().tag, "{http://www.w3.org/2000/svg}svg")


if __name__ == "__main__":
    sys.exit(unittest.main())
