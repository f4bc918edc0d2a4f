"""Charts of one run as inline SVG: rewards, their distribution, what a method says about its proposals.

Drawn by hand: a plot library's SVG carries fixed colours and a megabyte of font outlines, and these must follow the
reader's colour scheme. Same record, same bytes.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasjax.base import Origin
from nasjax.record import Record
from nasjax.report import markup

Floats = npt.NDArray[np.float64]

_MOST_POINTS = 4000  # of a group; more are thinned out
_BINS = 24


@dataclasses.dataclass(frozen=True)
class Group:
    """Evaluations that share a mark.

    Attributes:
      name: what the report calls them.
      style: the CSS class of their marks.
      origin: theirs, None for all origins without a group of their own.
    """

    name: str
    style: str
    origin: Origin | None


GROUPS = (
    Group("exploring (prior)", "prior", Origin.PRIOR),
    Group("generated (model)", "model", Origin.MODEL),
    Group("other (edits, refills)", "other", None),
)


@dataclasses.dataclass(frozen=True)
class Axis:
    """Maps values `low`..`high` to pixels `start`..`end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Returns the pixel of a value, those outside at the ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Returns round values within the axis, about `most` of them."""
        raw = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)][:20]


def usable(record: Record) -> npt.NDArray[np.bool_]:
    """Returns bool[n]: valid, and with a finite reward."""
    return np.asarray(record.valid & np.isfinite(record.reward))


def members(record: Record, group: Group) -> npt.NDArray[np.bool_]:
    """Returns bool[n], the evaluations of a group, valid or not."""
    if group.origin is None:
        return ~np.isin(record.origin, [Origin.PRIOR, Origin.MODEL])
    return np.asarray(record.origin == group.origin)


def reward_floor(rewards: Floats) -> float:
    """Returns where a reward axis starts: the smallest reward, but above a few far outliers.

    A handful of networks that did not learn would flatten everything of interest; up to 15 % of all may be cut off at
    the lower quartile less 3 times the interquartile range (Tukey's far fence).
    """
    low, quarter, three = (float(value) for value in np.quantile(rewards, [0, 0.25, 0.75]))
    fence = quarter - 3 * (three - quarter)
    cut = rewards < fence
    if not cut.any() or cut.mean() > 0.15 or three <= quarter:
        return low
    return float(rewards[~cut].min())


def rewards_over_time(record: Record) -> str:
    """Returns the figure of reward against evaluation with the running best; "" where no reward is usable."""
    mask = usable(record)
    if not mask.any():
        return ""
    rewards = record.reward.astype(np.float64)
    floor = reward_floor(rewards[mask])
    below = int((rewards[mask] < floor).sum())
    best = int(np.argmax(np.where(mask, rewards, -np.inf)))
    alt = (
        f"Reward against evaluation: {int(mask.sum())} usable rewards from {markup.number(float(rewards[mask].min()))} "
        f"to {markup.number(float(rewards[best]))}; the best was found at evaluation {best + 1} of {len(record)}."
    )
    wide = _time_picture(record, mask, floor, 900, 320, f'class="wide" role="img" aria-label="{alt}"')
    narrow = _time_picture(record, mask, floor, 400, 300, f'class="narrow" role="img" aria-label="{alt}"')
    shown = [group for group in GROUPS if (members(record, group) & mask).any()]
    keys = [f'<li><span class="key {g.style}-key"></span>{g.name}</li>' for g in shown]
    keys.append('<li><span class="key best-key"></span>best so far</li>')
    if not mask.all():
        keys.append('<li><span class="key invalid-key"></span>no usable reward</li>')
    notes = []
    if below:
        lowest = markup.number(float(rewards[mask].min()))
        notes.append(f"{below} below the axis stand on its lower end; the lowest is {lowest}.")
    if any((members(record, group) & mask).sum() > _MOST_POINTS for group in GROUPS):
        notes.append(f"Of more than {_MOST_POINTS} points of a kind, evenly chosen ones are drawn.")
    caption = f'<ul class="plain">{"".join(keys)}</ul>{" ".join(notes)}'
    return f"<figure>{wide}{narrow}<figcaption>{caption}</figcaption></figure>"


def _time_picture(
    record: Record, mask: npt.NDArray[np.bool_], floor: float, width: float, height: float, attributes: str
) -> str:
    rewards = record.reward.astype(np.float64)
    x = Axis(0.5, len(record) + 0.5, 58, width - 12)
    y = _padded(floor, float(rewards[mask].max()), height - 46, 12)
    parts = [_frame(x, y, "evaluation", "reward", 8 if width > 600 else 5)]
    for group in GROUPS:
        rows = np.flatnonzero(members(record, group) & mask)
        rows = rows[:: -(-len(rows) // _MOST_POINTS) or 1]
        marks = "".join(_mark(group.style, x.at(row + 1), y.at(rewards[row])) for row in rows.tolist())
        if marks:
            parts.append(f'<path class="{group.style}" d="{marks}"/>\n')
    bad = np.flatnonzero(~mask)
    if len(bad):
        places = bad[:: -(-len(bad) // _MOST_POINTS)].tolist()
        parts.append(f'<path class="invalid" d="{"".join(f"M{x.at(r + 1):.1f} {y.start:g}v-7" for r in places)}"/>\n')
    running = np.maximum.accumulate(np.where(mask, rewards, -np.inf))
    steps = np.flatnonzero(running > np.concatenate([[-np.inf], running[:-1]])).tolist()
    line = f"M{x.at(steps[0] + 1):.1f} {y.at(running[steps[0]]):.1f}"
    line += "".join(f"H{x.at(row + 1):.1f}V{y.at(running[row]):.1f}" for row in steps[1:])
    parts.append(f'<path class="best" d="{line}H{x.end:.1f}"/>\n')
    last = steps[-1]
    parts.append(f'<circle class="best-dot" cx="{x.at(last + 1):.1f}" cy="{y.at(running[last]):.1f}" r="4.5"/>\n')
    return f'<svg {attributes} viewBox="0 0 {width:g} {height:g}">\n{"".join(parts)}</svg>\n'


def _mark(style: str, x: float, y: float) -> str:
    """One point as a piece of a path: an open circle, a disc or a diamond, so that colour is not all that differs."""
    if style == "prior":
        return f"M{x - 3:.1f} {y:.1f}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0"
    if style == "model":
        return f"M{x - 3.2:.1f} {y:.1f}a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0"
    return f"M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4 -4z"


def distributions(record: Record) -> str:
    """Returns histograms of the rewards, one of each group over the same bins, and a table of their means."""
    mask = usable(record)
    if not mask.any():
        return ""
    rewards = record.reward.astype(np.float64)
    floor, top = reward_floor(rewards[mask]), float(rewards[mask].max())
    groups = [group for group in GROUPS if members(record, group).any()]
    drawn = [group for group in groups if (members(record, group) & mask).any()]
    width, row, pad = 440.0, 88.0, 26.0
    height = row * len(drawn) + 40
    x = _padded(floor, top, 10, width - 10)
    edges = np.linspace(x.low, x.high, _BINS + 1)
    counts = [np.histogram(np.maximum(rewards[members(record, g) & mask], floor), edges)[0] for g in drawn]
    parts = []
    for place, (group, count) in enumerate(zip(drawn, counts, strict=True)):
        base, values = row * (place + 1), rewards[members(record, group) & mask]
        parts.append(f'<text class="strong" x="10" y="{base - row + 14:g}">{group.name}, n = {len(values)}</text>')
        parts += _bars(count, edges, x, base, row - pad, group.style)
        middle = x.at(float(values.mean()))
        parts.append(f'<path class="axis" d="M{x.start:g} {base:g}H{x.end:g}"/>')
        parts.append(f'<path class="mean" d="M{middle:.1f} {base:g}v{-(row - pad):g}"/>\n')
    for tick, shown in _labelled(x.ticks()):
        parts.append(f'<text x="{x.at(tick):.1f}" y="{height - 23:g}" text-anchor="middle">{shown}</text>')
    parts.append(f'<text x="{width / 2:g}" y="{height - 3:g}" text-anchor="middle">reward</text>')
    means = "; ".join(f"{g.name} mean {markup.number(float(rewards[members(record, g) & mask].mean()))}" for g in drawn)
    alt = f"Histograms of the rewards by origin: {means}."
    picture = (
        f'<svg class="small" role="img" aria-label="{alt}" viewBox="0 0 {width:g} {height:g}">\n{"".join(parts)}</svg>'
    )
    note = "Dashed: the mean. Each histogram has its own height."
    if (rewards[mask] < floor).any():
        note += " The lowest bin also holds what lies below the axis."
    figure = f"<figure>{picture}<figcaption>{note}</figcaption></figure>"
    return f'<div class="columns">\n{figure}\n{_phase_table(record, groups)}\n</div>'


def _bars(count: Any, edges: Floats, x: Axis, base: float, height: float, style: str) -> list[str]:
    bars = []
    for number, low, high in zip(count, edges[:-1], edges[1:], strict=True):
        if number:
            left, tall = x.at(low), max(height * number / count.max(), 1.5)
            bars.append(
                f'<rect class="{style}-bar" x="{left + 0.5:.1f}" y="{base - tall:.1f}" '
                f'width="{x.at(high) - left - 1:.1f}" height="{tall:.1f}"/>'
            )
    return bars


def _phase_table(record: Record, groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        mine = members(record, group)
        values = record.reward[mine & usable(record)].astype(np.float64)
        spread = [float(f(values)) if len(values) else None for f in (np.mean, np.median, np.max)]
        bad = int(mine.sum()) - len(values)
        rows.append([group.name, str(int(mine.sum())), str(bad), *(markup.number(value) for value in spread)])
    head = ["origin", "count", "invalid", "mean", "median", "best"]
    return markup.table(head, rows, [False, True, True, True, True, True], "phase-table")


def entropies(record: Record) -> str:
    """Returns the entropy of the proposals over the steps; "" where the method reports none."""
    values = info(record, "entropy")
    if values is None:
        return ""
    first, last = (markup.number(float(values[np.isfinite(values)][place])) for place in (0, -1))
    alt = f"Entropy of the proposals over the steps: {first} nats at first, {last} at last."
    return _lines([(values, "model")], min(0.0, float(np.nanmin(values))), None, "nats", alt)


def shares(record: Record) -> str:
    """Returns the shares of distinct and unseen proposals over the steps; "" where the method reports none."""
    found = [(name, info(record, name), style) for name, style in (("distinct", "model"), ("unseen", "second"))]
    series = [(name, values, style) for name, values, style in found if values is not None]
    if not series:
        return ""
    spans = [
        f"{name} {100 * v[np.isfinite(v)][0]:.0f} % at first, {100 * v[np.isfinite(v)][-1]:.0f} % at last"
        for name, v, _ in series
    ]
    alt = f"Shares of the proposals over the steps: {'; '.join(spans)}."
    return _lines([(v, style) for _, v, style in series], 0.0, 1.0, "share", alt)


def info(record: Record, name: str) -> Floats | None:
    """Returns float64[steps], a method's diagnostic with NaN for what is not finite; None where it never is."""
    values = record.info.get(name)
    if values is None or not np.isfinite(values).any():
        return None
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)


def _lines(series: list[tuple[Floats, str]], low: float, high: float | None, title: str, alt: str) -> str:
    width, height = 440.0, 230.0
    steps = max(len(values) for values, _ in series)
    top = max(float(np.nanmax(values)) for values, _ in series) if high is None else high
    x = Axis(0.5, steps + 0.5, 50, width - 10)
    y = Axis(low, top + 0.05 * (top - low) if top > low else low + 1, height - 46, 12)
    parts = [_frame(x, y, "step", title, 5)]
    for values, style in series:
        path, pen = "", "M"
        for step, value in enumerate(values):
            if math.isnan(value):
                pen = "M"
                continue
            path += f"{pen}{x.at(step + 1):.1f} {y.at(float(value)):.1f}"
            pen = "L"
        parts.append(f'<path class="{style}-line" d="{path}"/>\n')
        step = int(np.flatnonzero(np.isfinite(values))[-1])
        colour = "model-dot" if style == "model" else "best-dot"
        parts.append(
            f'<circle class="{colour}" cx="{x.at(step + 1):.1f}" cy="{y.at(float(values[step])):.1f}" r="3.5"/>\n'
        )
    return (
        f'<svg class="small" role="img" aria-label="{alt}" viewBox="0 0 {width:g} {height:g}">\n{"".join(parts)}</svg>'
    )


def _padded(low: float, high: float, start: float, end: float) -> Axis:
    """An axis with room at both ends, also around a single value."""
    room = 0.06 * (high - low) or max(abs(high) * 0.05, 1e-3)
    return Axis(low - room, high + room, start, end)


def _frame(x: Axis, y: Axis, x_title: str, y_title: str, most: int) -> str:
    parts = []
    for tick, shown in _labelled(y.ticks()):
        parts.append(f'<path class="grid" d="M{x.start:g} {y.at(tick):.1f}H{x.end:g}"/>')
        parts.append(f'<text x="{x.start - 7:g}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{shown}</text>\n')
    for tick in x.ticks(most):
        if tick == int(tick) and tick > 0:
            parts.append(f'<text x="{x.at(tick):.1f}" y="{y.start + 17:g}" text-anchor="middle">{int(tick)}</text>\n')
    parts.append(f'<path class="axis" d="M{x.start:g} {y.end:g}V{y.start:g}H{x.end:g}"/>')
    parts.append(f'<text x="{(x.start + x.end) / 2:g}" y="{y.start + 35:g}" text-anchor="middle">{x_title}</text>')
    middle = (y.start + y.end) / 2
    parts.append(f'<text transform="translate(12 {middle:g}) rotate(-90)" text-anchor="middle">{y_title}</text>\n')
    return "".join(parts)


def _labelled(ticks: list[float]) -> list[tuple[float, str]]:
    """Ticks with as many decimals as tell neighbours apart."""
    if len(ticks) < 2 or max(map(abs, ticks)) >= 1e5 or ticks[1] - ticks[0] < 1e-4:
        return [(tick, f"{tick:.3g}") for tick in ticks]
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return [(tick, f"{tick + 0.0:.{decimals}f}") for tick in ticks]
