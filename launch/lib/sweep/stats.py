"""Means, paired differences, and Student's t.

The quantile comes from the regularised incomplete beta function (its continued fraction, by Lentz's method: Press et
al., Numerical Recipes, section 6.4) by bisection; tests hold it against closed forms and known values.
"""
import dataclasses
import functools
import math
import statistics
from typing import Sequence

LEVEL = 0.95


def beta_fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 10_000):
        for numerator in (m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                          -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))):
            d = 1 + numerator * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + numerator / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), regularised."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * beta_fraction(a, b, x) / a
    return 1 - front * beta_fraction(b, a, 1 - x) / b


def t_tail(t: float, degrees: float) -> float:
    """Probability that Student's t exceeds t >= 0."""
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2


@functools.lru_cache
def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Half the width of a two-sided interval of that level, in standard errors."""
    tail, low, high = (1 - level) / 2, 0.0, 1.0
    while t_tail(high, degrees) > tail:
        high *= 2
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_tail(middle, degrees) > tail else (low, middle)
    return (low + high) / 2


def mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Of a sample (n - 1); None below two values."""
    return statistics.stdev(values) if len(values) > 1 else None


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of two variants over the seeds that both have: ours minus theirs."""
    seeds: list[int]
    values: list[float]  # one a seed
    mean: float | None
    low: float | None  # of the 95 % interval; None below two seeds
    high: float | None

    def verdict(self) -> str:
        """In words; lower is better for every metric here."""
        if not self.seeds:
            return "no common seed"
        if self.low is None or self.high is None:
            return "one seed: no interval"
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "not resolved at 95 %"


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Difference:
    """From seed -> value."""
    seeds = sorted(ours.keys() & theirs.keys())
    values = [ours[seed] - theirs[seed] for seed in seeds]
    middle, spread = mean(values), deviation(values)
    if middle is None or spread is None:
        return Difference(seeds, values, middle, None, None)
    half = t_quantile(len(values) - 1) * spread / math.sqrt(len(values))
    return Difference(seeds, values, middle, middle - half, middle + half)
