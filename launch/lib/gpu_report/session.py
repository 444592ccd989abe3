"""A report in the making: its rows, its commands with time limits, and what each section has left."""
import json
import os
import signal
import subprocess
import time

# What a row always has; the rest (section, bar, note, memory ...) where it is known.
FIELDS = ("name", "shape", "ours_ms", "peer_ms", "peer", "ratio", "kernel", "gpu", "ranks", "pass")


class OutOfTime(Exception):
    """The section's time is over."""


class Result:
    def __init__(self, code, output, timed_out):
        self.code, self.output, self.timed_out = code, output, timed_out

    def rows(self):
        """Objects of the lines that are JSON objects; a line cut short by a kill is none."""
        found = []
        for line in self.output.splitlines():
            if line.startswith("{"):
                try:
                    found.append(json.loads(line))
                except json.JSONDecodeError:
                    pass
        return found

    def last_line(self):
        """Of what the command itself said: mpirun's own words about a rank that failed stand behind a ruler."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        ruler = next((at for at, line in enumerate(lines) if set(line) == {"-"}), 0)
        lines = lines[:ruler] or lines
        return lines[-1] if lines else "no output"

    def why(self):
        """Why it failed, in a line; "" where it did not."""
        if self.timed_out:
            return "stopped: its time was over"
        return "" if self.code == 0 else f"ended with {self.code}: {self.last_line()[:300]}"


class Session:
    def __init__(self, place, gpu, work, earlier=()):
        self.place, self.gpu, self.work = place, gpu, work
        self.earlier, self.rows = list(earlier), []  # rows of an earlier run of the day, and of this one
        self.section, self.deadline, self.commands = "", 0.0, []

    def begin(self, section, seconds):
        self.section, self.deadline, self.commands = section, time.monotonic() + seconds, []

    def left(self):
        return self.deadline - time.monotonic()

    def run(self, words, limit=None, environment=None, name=None):
        """Runs a command, its group killed at the limit or at the section's end. Output goes to a log as well."""
        seconds = min(limit or self.left(), self.left())
        if seconds < 1:
            raise OutOfTime("the section's time is over")
        self.commands.append(self.place.shell(words, self.work))
        number = len(self.commands)
        log = self.work / f"{self.section}-{number:02}-{name or 'command'}.log"
        with open(log, "w+", encoding="utf-8", errors="replace") as file:
            file.write(f"+ {self.commands[-1]}\n")
            file.flush()
            start = file.tell()
            child = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                     env={**self.place.environment(), **(environment or {})}, cwd=self.place.root,
                                     start_new_session=True)
            timed_out = False
            try:
                child.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                self._kill(child)
            file.seek(start)
            return Result(child.returncode, file.read(), timed_out)

    @staticmethod
    def _kill(child):
        """The whole group: ranks and peers of a command that hangs hold the GPU's memory."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(child.pid, sign)
            except ProcessLookupError:
                break
            try:
                child.wait(timeout=3)
            except subprocess.TimeoutExpired:
                continue
        child.wait()

    def add(self, name, shape="", **more):
        row = {**dict.fromkeys(FIELDS), "name": name, "shape": shape, "gpu": self.gpu, "ranks": 1,
               "section": self.section, **more}
        if row["ratio"] is None and row["ours_ms"] and row["peer_ms"]:
            row["ratio"] = row["ours_ms"] / row["peer_ms"]
        if row.get("note"):
            row["note"] = self.place.clean(str(row["note"]), self.work)
        self.rows.append(row)
        return row

    def add_measured(self, measured, **more):
        """A row of `dagpam bench --json`, with all that it says."""
        return self.add(**{"name": "", **measured, **more})

    def not_measured(self, name, why, **more):
        return self.add(name, note=f"not measured: {why}", **more)
