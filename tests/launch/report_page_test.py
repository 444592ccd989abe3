#!/usr/bin/env python3
"""The page of `dagpam report` in a real browser, from a file, with the network off."""
import json
import pathlib
import re
import shutil
import tempfile
import unittest

import browser
import made_runs
import program

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{data}}"


class ReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagpam-report-"))
        cls.a = made_runs.make(cls.folder / "softmax<!--<script>", name=EVIL, kind="SOFTMAX")
        cls.b = made_runs.make(cls.folder / "dagpam", better=0.1, seed=2)
        cls.page = cls.folder / "page.html"
        program.check("report", cls.a, cls.b, "--out", cls.page, "--title", EVIL)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def test_nothing_in_it_leads_out(self):
        text = self.page.read_text()
        self.assertEqual(text.count("<script"), 2)
        found = re.findall(r"https?:|//cdn|@import|url\((?!#)", text.replace("http://www.w3.org/2000/svg", ""))
        self.assertEqual(found, [])
        self.assertEqual(text.count("content=\"default-src 'none'; "), 1)

    def test_bad_input_is_one_line_and_changes_nothing(self):
        bad = made_runs.make(self.folder / "bad")
        with open(bad / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step": 610, "tok\n')
        out = self.folder / "kept.html"
        out.write_text("mine")
        # What is wrong with a file is told in many ways, which launch/report tests; each start takes a second.
        for arguments, code, words in (((self.a, bad), 3, "bad/metrics.jsonl:68:"), ((), 2, "runs is required")):
            done = program.run("report", *arguments, "--out", out)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertEqual(out.read_text(), "mine")
        done = program.run("report", self.a, "--out", self.folder / "none" / "x.html")
        self.assertEqual(done.returncode, 7, done.stderr)
        done = program.run("report", self.a, "--out", self.folder)
        self.assertEqual(done.returncode, 2, done.stderr)

    def test_in_a_browser(self):
        if not browser.program():
            print("skipped: no chromium or google-chrome: launch/setup --tests installs one", flush=True)
            self.skipTest("no browser")
        with browser.Browser() as page:
            for width, dark in ((1280, False), (400, True)):
                page.open(self.page, width=width, dark=dark)
                self.assertEqual(page.complaints, [])
                self.assertEqual([url for url in page.requests if not url.startswith("file:")], [])
                self.assertEqual(page.run("document.querySelector('h1').textContent"), EVIL)
                self.assertEqual(page.run("document.images.length"), 0)
                # Seven charts with a line for each run, all within the page.
                self.assertEqual(page.run("document.querySelectorAll('.card').length"), 7)
                lines = page.run("[...document.querySelectorAll('.line')].map(line => line.getAttribute('d'))")
                self.assertEqual(len(lines), 14)
                self.assertTrue(all(re.fullmatch(r"M[-\d. ]+(L[-\d. ]+)+", line) for line in lines), lines[0])
                self.assertLessEqual(page.run("document.documentElement.scrollWidth"), width)
            self.use(page)
            self.assertEqual(page.complaints, [])
            page.screenshot(self.folder / "page.png")
            self.assertGreater((self.folder / "page.png").stat().st_size, 20_000)

    def use(self, page):
        """What a reader does: legend, axis, logarithm, smoothing, the pointer, a part and the whole."""
        first = "document.querySelector('.card .line:not(.pale)').getAttribute('d')"

        def does(script):
            page.run(script)
            page.settle()
            return page.run(first)

        start = page.run(first)
        logarithmic = does("document.querySelector('.card button').click()")
        self.assertNotEqual(logarithmic, start)
        self.assertEqual(does("document.querySelector('.card button').click()"), start)
        for axis in ("tokens", "time", "step"):
            does(f"axis.value = '{axis}'; axis.dispatchEvent(new Event('change'))")
        self.assertEqual(page.run(first), start)
        self.assertNotEqual(does("smoothing.value = 60; smoothing.dispatchEvent(new Event('input'))"), start)
        self.assertEqual(does("smoothing.value = 0; smoothing.dispatchEvent(new Event('input'))"), start)
        does("document.querySelector('#legend button').click()")
        self.assertEqual(page.run("document.querySelectorAll('.line').length"), 7)
        does("document.querySelector('#legend button').click()")
        self.pointer(page, first, start)

    def pointer(self, page, first, start):
        page.run("document.querySelector('.card svg').scrollIntoView({block: 'center'}), 0")
        page.settle()
        box = json.loads(page.run("JSON.stringify(document.querySelector('.card svg').getBoundingClientRect())"))
        y = box["y"] + box["height"] / 2

        def mouse(kind, share, **more):
            page.call("Input.dispatchMouseEvent", type=kind, x=box["x"] + share * box["width"], y=y, **more)

        mouse("mouseMoved", 0.5)
        tip = page.run("document.querySelector('.tip:not([hidden])').innerText")
        for words in ("step", "softmax", "dagpam"):
            self.assertIn(words, tip)
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        mouse("mousePressed", 0.4, **held)
        mouse("mouseMoved", 0.8, button="left", buttons=1)
        mouse("mouseReleased", 0.8, **held)
        page.settle()
        self.assertNotEqual(page.run(first), start)
        page.run("whole.click()")
        page.settle()
        self.assertEqual(page.run(first), start)


if __name__ == "__main__":
    unittest.main()
