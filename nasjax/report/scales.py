"""Axes of transformed values, and which of their ticks are labelled."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nasjax.report.charts import Axis, Floats


class Scale(NamedTuple):
    """An axis of transformed values.

    Attributes:
      axis: of what `forward` makes of a value.
      forward: ascending.
      unit: where a regret axis turns from linear to logarithmic; 1 for others.
    """

    axis: Axis
    forward: Callable[[float], float]
    unit: float

    def at(self, value: float) -> float:
        """Returns the pixel of a value."""
        return self.axis.at(self.forward(value))


def regret_axis(values: Floats, threshold: float, start: float, end: float) -> tuple[Scale, list[float]]:
    """Returns an inverse hyperbolic sine axis for `values`, and its ticks, most wanted first.

    Args:
      values: finite, one or more.
      threshold: regret below which the axis is near to linear, unless all values lie far above.
      start: pixel of no regret, about.
      end: pixel of the largest.
    """
    positive = values[values > 1e-9]
    least = float(positive.min()) if len(positive) else threshold
    power = 10.0 ** math.floor(math.log10(least))
    unit = max([threshold, *(factor * power for factor in (1, 2, 5) if factor * power <= least)])
    top = max(float(values.max()), 2 * unit)

    def forward(value: float) -> float:
        return math.asinh(value / unit) if value < 1e300 else math.inf

    # A little below 0, so that a line on it is seen whole.
    axis = Axis(min(-0.03 * forward(top), forward(min(0.0, float(values.min())))), forward(top) * 1.03, start, end)
    ticks = [0.0, *_decade_ticks(math.floor(math.log10(unit)), top)]
    return Scale(axis, forward, unit), [tick for tick in ticks if unit * 0.99 <= tick <= top or not tick]


def query_axis(last: int, start: float, end: float) -> tuple[Scale, list[float]]:
    """Returns a logarithmic axis from 1 to `last`, at least 2, and its ticks, most wanted first."""
    last = max(2, last)
    ticks = [float(last), *_decade_ticks(0, last)]
    return Scale(Axis(0.0, math.log(last), start, end), math.log, 1.0), [tick for tick in ticks if tick <= last]


def apart(scale: Scale, ticks: Sequence[float], gap: float) -> list[float]:
    """Returns those ticks that keep their distance, in pixels, from the ones before them, sorted."""
    kept: list[float] = []
    for tick in ticks:
        if all(abs(scale.at(tick) - scale.at(other)) >= gap for other in kept):
            kept.append(tick)
    return sorted(kept)


def tick_text(tick: float, ticks: Sequence[float]) -> str:
    """Returns a tick with the decimals that tell it from its neighbours."""
    if tick == 0 or max(map(abs, ticks)) >= 1e6:
        return f"{tick:.3g}"
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    even = bool(steps) and max(steps) < 1.5 * min(steps)
    decimals = max(0, -math.floor(math.log10(min(steps) if even else abs(tick)) + 1e-9))
    return f"{tick:,.{decimals}f}" if decimals < 6 else f"{tick:.3g}"


def _decade_ticks(first: int, top: float) -> list[float]:
    """1, 5 and 2 times the powers of ten from 10**first to about `top`, all of one factor before those of the next."""
    exponents = range(first, math.floor(math.log10(top)) + 1)
    return [factor * 10.0**exponent for factor in (1, 5, 2) for exponent in exponents]
