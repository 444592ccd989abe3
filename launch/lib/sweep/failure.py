"""How a sweep ends early: one line, and the exit code that it stands for."""

# Of docs/commands.md.
BAD_FILE, BAD_DATA, IN_USE, DIVERGED, BAD_DISK, INTERRUPTED = 2, 3, 4, 5, 7, 8


class Failure(Exception):
    """A line that names file, key, value, what was expected and what to do, and launch/sweep's exit code."""

    def __init__(self, message: str, code: int = BAD_FILE):
        super().__init__(" ".join(message.split()))
        self.code = code
