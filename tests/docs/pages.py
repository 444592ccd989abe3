"""What a page tells its readers to type: its shell blocks, in order.

A block of commands is fenced as ```sh. A comment before it says why it is not run, in words of REASONS:

    <!-- not run: needs a GPU -->
"""
import dataclasses
import re

REASONS = {
    "needs a GPU",
    "needs a cluster",
    "needs the network",  # or packages beyond what the tests have
    "needs root",
    "takes minutes",
    "takes hours",
    "another test",  # runs the same: those of launch/ that build or test everything
}
FENCE = re.compile(r"(?:^<!-- not run: (?P<reason>[^>]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
                   re.MULTILINE | re.DOTALL)
# A line that a shell would take and that names a program of ours.
OURS = re.compile(r"^(?:\./)?(?:dagpam(?:-tokenize)? [a-z]|mpirun |launch/[a-z]|build/bin/|srun |sbatch )")


@dataclasses.dataclass
class Block:
    line: int  # of the page, where its text begins
    text: str
    reason: str  # why it is not run; "": it is


class PageError(Exception):
    """A page that breaks the rules above."""


def shell_blocks(text):
    """The blocks of a page's text. PageError where a reason is not one, or commands stand in another block."""
    blocks = []
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start("text")) + 1
        reason, language = fence["reason"] or "", fence["language"]
        if language == "sh":
            if reason and reason not in REASONS:
                raise PageError(f"line {line}: '{reason}' is no reason of tests/docs/pages.py")
            blocks.append(Block(line, fence["text"], reason))
        elif reason:
            raise PageError(f"line {line}: a reason before a block that is not run anyway")
        elif any(OURS.match(one) for one in fence["text"].splitlines()):
            raise PageError(f"line {line}: commands in a block that is not fenced as ```sh")
    return blocks
