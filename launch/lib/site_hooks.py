"""mkdocs' hooks for launch/site: what a page of docs/ needs to stand in a site of its own.

CONTRIBUTING.md becomes a page beside the others, and links to files of the source tree, which the site does not carry,
become the files' names.
"""
import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)\s#]*)(#[^)\s]*)?\)")
CONTRIBUTING = "contributing.md"


def on_files(files, config):
    files.append(File.generated(config, CONTRIBUTING, abs_src_path=str(ROOT / "CONTRIBUTING.md")))
    return files


def _outside(match):
    words, target = match[1], match[2].removeprefix("../")
    if target == "CONTRIBUTING.md":
        return f"[{words}]({CONTRIBUTING}{match[3] or ''})"
    if target == "README.md":
        return f"[{words}](README.md{match[3] or ''})"
    named = target.rstrip("/") in words or pathlib.PurePosixPath(target).name in words
    return words if named else f"{words} (`{target}`)"


def on_page_markdown(markdown, page, config, files):
    del config, files
    if page.file.src_uri == CONTRIBUTING:
        return markdown.replace("](docs/", "](")
    return LINK.sub(_outside, markdown)
