"""Time: what a call may take, what a run may take, and how long the rest will take."""
import dataclasses
import statistics
import time
from typing import Callable


def show(seconds: float) -> str:
    """1:02:05, 3:05 or 12 s."""
    whole = int(round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


@dataclasses.dataclass
class Budget:
    """Of this call; minutes 0: no limit."""
    minutes: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.begin = self.clock()

    def left_s(self) -> float:
        return float("inf") if self.minutes == 0 else 60 * self.minutes - (self.clock() - self.begin)

    def over(self) -> bool:
        """So little is left that no run is started any more: 20 s, of a short call a twentieth."""
        return self.left_s() < min(20.0, 3 * self.minutes)


def max_minutes(budget: Budget, timeout_minutes: float, spent_s: float) -> float | None:
    """What the program is given as --max-minutes, None without a limit; what is left of a run's time counts too."""
    seconds = min(budget.left_s(), 60 * timeout_minutes - spent_s if timeout_minutes else float("inf"))
    return None if seconds == float("inf") else max(seconds / 60, 0.01)


def remaining_s(finished: dict[str, list[float]], left: list[tuple[str, float]], slots: int) -> float | None:
    """Seconds until the runs that are left are through, from those that are: [(variant, share of it still to do)].

    A variant without a finished run is taken to be as slow as the mean of the others; None while there are none.
    """
    times = {variant: statistics.fmean(seconds) for variant, seconds in finished.items() if seconds}
    if not times:
        return None
    typical = statistics.fmean(times.values())
    work = [times.get(variant, typical) * share for variant, share in left]
    return max(sum(work) / slots, max(work, default=0.0))
