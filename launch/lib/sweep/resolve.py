"""Asks the program what a run is: whether its configuration is good, and how long and how large it is.

`dagpam train --dry-run` checks everything and changes nothing. Its answers are kept in the sweep's folder, since each
takes a second or two; an answer belongs to the program, the words and the contents of the recipes and data.
"""
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import subprocess
import tempfile

from . import plan, textproto
from .failure import BAD_DATA, BAD_FILE, IN_USE, Failure
from .folder import Folder, write_whole
from .plan import Run
from .spec import METRICS, Sweep

PATIENCE_S = 300


@dataclasses.dataclass(frozen=True)
class Answer:
    steps: int
    parameters: int
    tokens_per_step: int
    config: str  # as the program prints it

    def splits(self) -> list[str]:
        """Those that are evaluated at the run's end."""
        known = textproto.fields(self.config)
        return [split for split in ("valid", "test") if known.get(f"data.{split}")]


def environment(ranks: int, threads: int) -> dict[str, str]:
    """Of a run. Runs are stopped by SIGUSR1 alone, for which mpirun needs no OMPI_MCA_odls_base_sigkill_timeout."""
    extra = {"OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMP_NUM_THREADS": str(threads)}
    if ranks > 1 and os.geteuid() == 0:
        extra |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**os.environ, **extra}


def command(program: str, ranks: int, words: list[str]) -> list[str]:
    """Ranks stay on the cores that this process has: mpirun's own binding would give all runs the same ones."""
    mpirun = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
    return [*mpirun, program, *words]


def last_words(text: str) -> str:
    """The program's own error line, else the last line of what was said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line[line.index("dagpam: ") + 8:] for line in lines if "dagpam: " in line]
    return (own or lines or ["it said nothing"])[-1]


def read_answer(output: str) -> Answer | None:
    found = [re.search(pattern, output, re.MULTILINE) for pattern in (
        r"^length +(\d+) steps", r"^parameters +(\d+)", r"^batch .*?(\d+) (?:padded )?tokens a step")]
    head, blank, config = output.partition("\n\n")
    if not head or not blank or None in found:
        return None
    steps, parameters, tokens = (int(match.group(1)) for match in found)
    return Answer(steps, parameters, tokens, config.strip() + "\n")


def stamp(path: str) -> str:
    """Of a file that is too large to read."""
    try:
        return f"{path} {os.stat(path).st_size} {os.stat(path).st_mtime_ns}"
    except OSError:
        return path


def data_prefixes(config: str) -> list[str]:
    """Each once, in order of their names."""
    known = textproto.fields(config)
    return sorted({value[1:-1] for path, value in known.items() if path.startswith("data.") and value.startswith('"')})


def data_stamps(config: str) -> list[str]:
    return [stamp(f"{prefix}.json") for prefix in data_prefixes(config)]


class Resolver:
    def __init__(self, sweep: Sweep, program: str, folder: Folder):
        self.sweep, self.program, self.folder = sweep, program, folder
        self.cache_path = folder.root / "state" / "answers.json"
        self.cache: dict[str, dict] = {}
        self.news = False  # in the cache, that are not in its file
        self.known: dict[str, Answer] = {}  # of this process, by the run's name
        try:
            self.cache = json.loads(self.cache_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            pass

    def digest(self, words: list[str]) -> str:
        """Of what a question consists of."""
        parts = [*words, str(self.sweep.ranks), stamp(self.program)]
        parts += [pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
                  for flag, path in zip(words, words[1:]) if flag == "--config"]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def ask(self, run: Run) -> Answer:
        """Throws where the program refuses the run, in its words."""
        if run.name not in self.known:
            self.known[run.name] = self.ask_anew(run)
        return self.known[run.name]

    def ask_anew(self, run: Run) -> Answer:
        # The seed makes no difference to whether a run is good, nor its name: one answer does for all.
        asked = plan.Run(run.variant, self.sweep.seeds[0], run.tuned)
        answer = self.answer_for(asked)
        config = answer.config.replace(f'name: "{asked.name}"', f'name: "{run.name}"', 1)
        config = re.sub(r"^  seed: \d+$", f"  seed: {run.seed}", config, count=1, flags=re.MULTILINE)
        return dataclasses.replace(answer, config=config)

    def answer_for(self, run: Run) -> Answer:
        words = plan.words(self.sweep, run)
        key = self.digest(words)
        kept = self.cache.get(key)
        if kept and data_stamps(kept["config"]) == kept["data"]:
            return Answer(**{name: value for name, value in kept.items() if name != "data"})
        answer = self.dry_run(f"{self.sweep.path}: variant {run.variant}", words)
        self.cache[key] = {**dataclasses.asdict(answer), "data": data_stamps(answer.config)}
        self.news = True
        return answer

    def dry_run(self, place: str, words: list[str]) -> Answer:
        try:
            done = subprocess.run(command(self.program, self.sweep.ranks, ["train", *words, "--dry-run"]),
                                  capture_output=True, text=True, timeout=PATIENCE_S, check=False,
                                  env=environment(self.sweep.ranks, 1), stdin=subprocess.DEVNULL)
        except OSError as error:
            raise Failure(f"{error.filename}: cannot be run ({error.strerror}): build it with launch/quickstart or "
                          "name it with --program", BAD_FILE) from error
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{place}: `dagpam train --dry-run` has not ended in {PATIENCE_S} s") from error
        if done.returncode != 0:
            code = BAD_DATA if done.returncode == BAD_DATA else BAD_FILE
            raise Failure(f"{place}: {last_words(done.stderr or done.stdout)}", code)
        answer = read_answer(done.stdout)
        if not answer:
            raise Failure(f"{self.program}: `train --dry-run` printed no length, parameters and configuration: name "
                          "the dagpam program with --program")
        return answer

    def check_all(self, runs: list[Run]) -> None:
        """Every variant and tuned value is good, and has the split that is measured. Seeds make no difference."""
        seen: dict[tuple, Run] = {}
        for run in runs:
            seen.setdefault((run.variant, run.tuned), run)
        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            answers = list(pool.map(self.ask, seen.values()))  # the first refusal, in the file's order
        for run, answer in zip(seen.values(), answers):
            needed = {METRICS[self.sweep.metric][0]: f"metric {self.sweep.metric}"}
            if self.sweep.tune:
                needed["valid"] = "tuning"
            for split, what in needed.items():
                if split not in answer.splits():
                    raise Failure(f"{self.sweep.path}: variant {run.variant}: {what} needs data.{split}, which is not "
                                  f"set: write {split} = \"PREFIX\" under [data]")

    def check_same(self, run: Run) -> None:
        """What has been made of a run so far is this run; throws with the field that differs."""
        saved = self.folder.run_dir(run) / "config.textproto"
        if not saved.exists():
            return
        found = self.what_differs(str(saved), saved.read_text(encoding="utf-8"), run)
        if found:
            raise Failure(f"{self.folder.run_dir(run)}: {found}: undo the change in {self.sweep.path}, or give the "
                          "variant another name, or remove this folder to run it anew", IN_USE)

    def what_differs(self, place: str, config: str, run: Run) -> str:
        """The first field in which a configuration of `place` is another run than this one; "" where none."""
        old, new = textproto.fields(config), textproto.fields(self.ask(run).config)
        if new.keys() - old.keys():  # fields that the program has got since then have their defaults
            with tempfile.NamedTemporaryFile("w", suffix=".textproto", encoding="utf-8") as file:
                file.write(config)
                file.flush()
                old = textproto.fields(self.dry_run(place, ["--config", file.name]).config)
        return textproto.difference(old, new)

    def keep(self) -> None:
        if self.news:
            write_whole(self.cache_path, json.dumps(self.cache))
            self.news = False
