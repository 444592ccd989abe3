"""Makes the runs that are still to be made, in slots, until all are done, the time is over, or a signal comes."""
import dataclasses
import functools
import os
import pathlib
import signal
import time
from typing import Callable, TextIO

from . import budget, machine, plan
from .budget import Budget
from .children import Child, Slot
from .failure import BAD_DISK, DIVERGED, INTERRUPTED as SAVED, Failure
from .folder import DONE, FAILED, INTERRUPTED, Folder
from .plan import Row, Run, tuning_runs
from .resolve import Resolver
from .spec import METRICS, Sweep

NEWS_S = 60
POLL_S = 0.1


@dataclasses.dataclass(frozen=True)
class Options:
    program: str
    slots: list[Slot]
    time: Budget
    root: pathlib.Path  # of the checkout, whose commit is written down
    lock: TextIO | None  # held by every run; needed to make runs
    say: Callable[[str], None]


class Runner:
    """Looks at runs and makes them. Throws where what there is of a run is not what the sweep file says."""

    def __init__(self, sweep: Sweep, folder: Folder, resolver: Resolver, options: Options):
        self.sweep, self.folder, self.resolver, self.options = sweep, folder, resolver, options
        self.running: list[Child] = []
        self.ended: dict[str, str] = {}  # states of runs that go on no more, by name
        self.left: set[str] = set()  # runs that were stopped in this call: they go on in the next
        self.checked: set[str] = set()
        self.stopping = False
        self.news = time.monotonic()

    def state(self, run: Run) -> str:
        if run.name in self.ended:
            return self.ended[run.name]
        if run.name not in self.checked:
            self.resolver.check_same(run)
            self.checked.add(run.name)
        answer = self.resolver.ask(run)
        state = self.folder.state(run, answer.steps, answer.splits())
        if state in (DONE, FAILED):
            self.ended[run.name] = state
        return state

    def forget(self, run: Run) -> None:
        """Its folder has changed: it is looked at anew."""
        self.ended.pop(run.name, None)
        self.checked.discard(run.name)

    def check(self) -> list[Row]:
        """Throws where a run would be refused, or where one that is there is another than the file says."""
        self.resolver.check_all(tuning_runs(self.sweep) or [Run(v.name, self.sweep.seeds[0])
                                                            for v in self.sweep.variants])
        rows = self.rows()
        for row in rows:
            if row.run:
                self.state(row.run)
        return rows

    @functools.cached_property
    def here(self) -> tuple[str, str]:
        return machine.describe(), machine.version(self.options.program, self.options.root)

    def valid_nll(self, run: Run) -> float | None:
        """For plan.chosen()."""
        state = self.state(run)
        if state == FAILED:
            return float("inf")
        if state != DONE:
            return None
        line = self.folder.metrics(run).final("valid", self.resolver.ask(run).steps)
        return line["nll"] if line and isinstance(line["nll"], float) else float("inf")

    def rows(self) -> list[Row]:
        return plan.rows(self.sweep, self.valid_nll)

    def startable(self, only: list[Run] | None) -> list[Run]:
        """In order, each once."""
        runs = only if only is not None else [row.run for row in self.rows() if row.run]
        busy = {child.run.name for child in self.running} | self.left
        return [run for run in dict.fromkeys(runs)
                if run.name not in busy and self.state(run) not in (DONE, FAILED)]

    def run_all(self, only: list[Run] | None = None) -> None:
        """Makes all runs of the sweep, or `only` these, until none can be started, the time is over, or a signal."""
        handlers = {number: signal.signal(number, self.stop) for number in (
            signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)}
        try:
            self.start(self.startable(only))
            while self.running:
                time.sleep(POLL_S)
                if self.collect():
                    self.start(self.startable(only))
                self.tell_news()
        finally:
            for child in self.running:  # only after an error here
                child.ask_to_save()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def stop(self, _signal: int, _frame: object) -> None:
        """The runs save and end; asked again they end without."""
        self.stopping = True
        for child in self.running:
            child.ask_to_save()

    def start(self, todo: list[Run]) -> None:
        busy = {child.slot.number for child in self.running}
        free = [slot for slot in self.options.slots if slot.number not in busy]
        for slot, run in zip(free, todo):
            if self.stopping or self.options.time.over():
                return
            self.start_one(slot, run)

    def start_one(self, slot: Slot, run: Run) -> None:
        record, goes_on = self.folder.record(run), self.state(run) == INTERRUPTED
        minutes = budget.max_minutes(self.options.time, self.sweep.timeout_minutes, record.seconds)
        record.starts += 1
        record.exit_code = None
        record.machine, record.version = self.here
        self.folder.keep_record(run, record)
        try:
            child = Child(self.sweep, self.options.program, self.folder, run, slot, minutes, self.options.lock)
        except OSError as error:
            raise Failure(f"{self.folder.log(run)}: {run.name} cannot be started ({error.strerror})",
                          BAD_DISK) from error
        self.running.append(child)
        if self.stopping:  # the signal came in between
            child.ask_to_save()
        at = f"on cores {','.join(map(str, slot.cores))}" if slot.cores else f"with {slot.threads} threads a rank"
        self.say(run, ("goes on " if goes_on else "starts ") + at)

    def collect(self) -> bool:
        """Looks after runs that have ended; whether there are any."""
        over = [child for child in self.running if child.exit_code() is not None]
        for child in over:
            self.running.remove(child)
            self.finish(child)
        return bool(over)

    def finish(self, child: Child) -> None:
        """Writes down what became of a start. An end that a stop explains is no failure of the run."""
        run, record = child.run, self.folder.record(child.run)
        record.seconds += child.seconds()
        record.exit_code = child.exit_code()
        stopped = record.exit_code in (0, SAVED) or (self.stopping and record.exit_code != DIVERGED)
        if not stopped:
            record.failed, record.message = True, child.last_words()
        self.folder.keep_record(run, record)
        limit = 60 * self.sweep.timeout_minutes
        if self.state(run) == INTERRUPTED and limit and record.seconds >= limit - 1:
            record.failed = True
            record.message = f"not done within timeout_minutes = {self.sweep.timeout_minutes:g}"
            self.folder.keep_record(run, record)
        state = self.state(run)
        if state == DONE:
            self.say(run, f"done in {budget.show(record.seconds)}, {self.result(run)}{self.eta()}")
        elif state == FAILED:
            self.say(run, f"failed with exit code {record.exit_code}: {record.message}")
        else:
            self.left.add(run.name)
            self.say(run, f"stopped at step {self.folder.metrics(run).last_step()}, goes on with the next call")

    def result(self, run: Run) -> str:
        split = METRICS[self.sweep.metric][0]
        line = self.folder.metrics(run).final(split, self.resolver.ask(run).steps)
        return f"{split} nll {line['nll']:.4f}" if line and isinstance(line["nll"], float) else "no loss"

    def counts(self) -> tuple[int, int]:
        """Rows that are done or failed, of all."""
        rows = self.rows()
        return sum(1 for row in rows if row.run and self.state(row.run) in (DONE, FAILED)), len(rows)

    def eta(self) -> str:
        finished: dict[str, list[float]] = {}
        left = []
        for row in self.rows():
            if row.run and self.state(row.run) == DONE:
                finished.setdefault(row.variant, []).append(self.folder.record(row.run).seconds)
            elif not row.run or self.state(row.run) != FAILED:
                steps = self.resolver.ask(row.run).steps if row.run else 1
                made = self.folder.metrics(row.run).last_step() if row.run else 0
                left.append((row.variant, 1 - made / steps))
        seconds = budget.remaining_s(finished, left, len(self.options.slots))
        return f"; {len(left)} left" + (f", about {budget.show(seconds)}" if left and seconds else "")

    def tell_news(self) -> None:
        if time.monotonic() - self.news < NEWS_S:
            return
        self.news = time.monotonic()
        for child in self.running:
            step = self.folder.metrics(child.run).last_step()
            self.say(child.run, f"step {step} of {self.resolver.ask(child.run).steps}")

    def say(self, run: Run, what: str) -> None:
        ended, of = self.counts()
        self.options.say(f"[{ended}/{of}] {run.name} {what}")


def usable_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))
