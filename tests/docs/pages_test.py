#!/usr/bin/env python3
"""A page's blocks are found, and one that fails is named."""
import contextlib
import io
import pathlib
import tempfile
import unittest

import pages
import run_page

PAGE = """# Title
```sh
one=1
cd /
```
Text.
<!-- not run: needs a GPU -->
```sh
false
```
```sh
[[ $one == 1 && $PWD != / ]]
"""


class PagesTest(unittest.TestCase):
    def test_finds_blocks(self):
        blocks = pages.shell_blocks(PAGE + "```\n```toml\na = 1\n```\n")
        self.assertEqual([(b.line, b.reason) for b in blocks], [(3, ""), (9, "needs a GPU"), (12, "")])

    def test_refuses(self):
        for text, words in (("<!-- not run: too dull -->\n```sh\nls\n```\n", "is no reason"),
                            ("<!-- not run: needs a GPU -->\n```\nls\n```\n", "not run anyway"),
                            ("```\ndagpam train\n```\n", "not fenced as")):
            with self.subTest(text), self.assertRaisesRegex(pages.PageError, words):
                pages.shell_blocks(text)

    def run_text(self, text):
        said = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
            page = pathlib.Path(folder) / "page.md"
            page.write_text(text)
            return run_page.run(page, "/bin/true", pathlib.Path(folder)), said.getvalue()

    def test_runs_in_one_shell_each_from_the_top(self):
        code, said = self.run_text(PAGE + "```\n")
        self.assertEqual(code, 0, said)
        self.assertIn("2 blocks ran", said)

    def test_names_the_block_that_fails(self):
        code, said = self.run_text(PAGE + "echo so; false; true\n```\n")
        self.assertEqual(code, 1)
        self.assertRegex(said, r"the block at line 12 ended with 1:\nso\n")


if __name__ == "__main__":
    unittest.main()
