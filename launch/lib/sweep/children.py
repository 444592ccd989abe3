"""Runs as child processes: started on their own cores, asked to save, never left alone."""
import ctypes
import dataclasses
import os
import signal
import subprocess
import time
from typing import Callable, TextIO

from . import plan, resolve
from .folder import Folder
from .plan import Run
from .spec import Sweep

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)  # loaded here, since little may be done between fork and exec


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place where one run at a time goes. cores: empty where there are too few to give each slot its own."""
    number: int
    cores: tuple[int, ...]
    threads: int  # of a rank
    gpus: str | None  # CUDA_VISIBLE_DEVICES, None: as it is


def make_slots(sweep: Sweep, slots: int, cores: list[int], visible: str | None) -> list[Slot]:
    """Shares out the cores that this process may use, and the GPUs in CUDA_VISIBLE_DEVICES (without it 0, 1, ...)."""
    threads = sweep.threads or max(1, len(cores) // (slots * sweep.ranks))
    width, gpus = threads * sweep.ranks, sweep.gpus_per_run
    names = visible.split(",") if visible else [str(i) for i in range(slots * gpus)]
    made = []
    for i in range(slots):
        own = tuple(cores[i * width:(i + 1) * width]) if slots * width <= len(cores) else ()
        made.append(Slot(i, own, threads, ",".join(names[i * gpus:(i + 1) * gpus]) if gpus else None))
    return made


def prepare_child(cores: tuple[int, ...]) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        # A sweep that is killed takes its runs along: they save and end, and none keeps its run folder's lock.
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(8)
        if cores:
            os.sched_setaffinity(0, cores)
    return prepare


class Child:
    """A start of a run. Its output goes to the end of the run's log.

    It holds the sweep's lock too: where the sweep was killed, the next one waits until its runs have saved.
    """

    def __init__(self, sweep: Sweep, program: str, folder: Folder, run: Run, slot: Slot, minutes: float | None,
                 lock: TextIO):
        self.run, self.slot, self.start = run, slot, time.monotonic()
        words = ["train", *plan.words(sweep, run), "--run-dir", str(folder.run_dir(run)), "--resume", "auto"]
        if minutes is not None:
            words += ["--max-minutes", f"{minutes:.3f}"]
        self.command = resolve.command(program, sweep.ranks, words)
        environment = resolve.environment(sweep.ranks, slot.threads)
        if slot.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = slot.gpus
        log = folder.log(run)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as out:
            self.log, self.log_start = log, out.tell()
            # A session of its own: a terminal's Ctrl-C reaches launch/sweep alone, which asks the runs to save.
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env=environment, start_new_session=True, pass_fds=(lock.fileno(),),
                                            preexec_fn=prepare_child(slot.cores))

    def ask_to_save(self) -> None:
        """SIGUSR1 is what mpirun passes on as well; a second one ends the program at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)

    def exit_code(self) -> int | None:
        """None while it runs; of a killed one 128 + the signal, as a shell has it."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def last_words(self) -> str:
        with open(self.log, "rb") as text:
            text.seek(self.log_start)
            return resolve.last_words(text.read().decode(errors="replace"))
