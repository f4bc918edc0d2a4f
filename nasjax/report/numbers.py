"""Numbers as a sweep's tables show them, in HTML and in Markdown."""

import math
from collections.abc import Sequence

from nasjax.report.outcomes import Row

NONE = "\u2013"
"""Stands for what is not known."""


def decimals(widths: Sequence[float]) -> int:
    """Returns the decimals that show two digits of the usual half interval, 2 to 4, of one above 10 none; 3 without any."""
    halves = sorted(width / 2 for width in widths if math.isfinite(width) and width > 0)
    if not halves:
        return 3
    half = halves[len(halves) // 2]
    return min(max(1 - math.floor(math.log10(half)), 2), 4) if half < 10 else 0


def fixed(value: float, places: int, *, signed: bool = False) -> str:
    """Returns a number with so many decimals, large ones with five digits; a dash for what is not known."""
    if not math.isfinite(value):
        return NONE
    sign = "+" if signed else ""
    shown = f"{value:{sign}.4e}" if abs(value) >= 1e6 else f"{value:{sign}.{places}f}"
    return shown.replace("-", "\u2212") if float(shown) else f"{0:.{places}f}"


def percent(share: float) -> str:
    """Returns a share in per cent; only all is 100, only none is 0."""
    if not math.isfinite(share):
        return NONE
    inner = min(max(100 * share, 0.1), 99.9) if 0 < share < 1 else 100 * share
    return f"{inner:.1f} %" if 0 < inner < 1 or 99 < inner < 100 else f"{inner:.0f} %"


def p_value(p: float) -> str:
    """Returns a p-value: three decimals, or its power of ten."""
    if not math.isfinite(p):
        return NONE
    if p >= 0.001:
        return f"{p:.3f}"
    return f"{p:.0e}" if p >= 1e-300 else "\u2264 1e-300"


def reached(row: Row, key: str) -> tuple[str, str]:
    """Returns the median number of queries until a regret, and the share that came there in brackets."""
    if key not in row.reached:
        return NONE, ""
    median, share = row.reached[key]
    shown = plain(median) if math.isfinite(median) else "never"
    return shown, f"({percent(share)})"


def plus_minus(value: float, low: float, high: float, places: int) -> str:
    """Returns a mean and half its interval."""
    half = (high - low) / 2
    return fixed(value, places) + (f" \u00b1 {fixed(half, places)}" if math.isfinite(half) else "")


def plain(value: float) -> str:
    """Returns a count, or the mean or median of counts: whole, or with one decimal."""
    if not math.isfinite(value):
        return NONE
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def last(rank: float) -> float:
    """Returns what NaN sorts last by."""
    return math.inf if math.isnan(rank) else rank
