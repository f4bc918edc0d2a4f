"""Anytime curves of a sweep as SVG: median and 95 % band over seeds against queries, on a logarithmic axis.

Regret is drawn on an inverse hyperbolic sine axis: 0, where good methods end, is on it, and what lies far above is not
flattened. Pictures in the page follow the reader's colour scheme; those for papers carry their own, light colours.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasjax import stats
from nasjax.report import markup, scales
from nasjax.report.charts import Axis, Floats
from nasjax.report.scales import Scale

Ints = npt.NDArray[np.int64]

STYLES = 12
"""Colours and marks of methods; a thirteenth method looks like the first one."""

_LIGHT = ("#0550ae", "#bc4c00", "#00746b", "#8a3fc4", "#b0217a", "#8a6100", "#0b83a8", "#3d444d")
_DARK = ("#79b8ff", "#ff9a52", "#4fd1c0", "#cda2ff", "#f58fcb", "#e3b341", "#5fd0f5", "#c3ccd5")
_DASHED = len(_LIGHT)  # styles from here on have the colour of an earlier one, and a dashed line
_EVERY = 100  # queries up to which each one is drawn; as many more, log-spaced, beyond
_MARKS = 5  # on a line
_GAP = 15.0  # pixels between two labels
_LONGEST = 22  # characters of a label

STYLE = (
    ":root { "
    + " ".join(f"--c{i}: {colour};" for i, colour in enumerate(_LIGHT))
    + " }\n@media (prefers-color-scheme: dark) { :root { "
    + " ".join(f"--c{i}: {colour};" for i, colour in enumerate(_DARK))
    + " } }\n"
    + "\n".join(f".c{i} {{ color: var(--c{i}); }}" for i in range(len(_LIGHT)))
    + """
.curve { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.dashed { stroke-dasharray: 7 3; } .band { fill: currentColor; fill-opacity: .13; stroke: none; }
.mark { fill: currentColor; stroke: currentColor; stroke-width: 1.3; stroke-linejoin: round; }
.open { fill: var(--ground); } .lead { fill: none; stroke: currentColor; stroke-opacity: .55; }
svg .name { fill: currentColor; } .minor { stroke: var(--line); fill: none; }
svg.key-line { display: inline-block; width: 30px; height: 14px; vertical-align: -2px; margin-right: .35em; }
"""
)
"""What a page with these pictures adds to `markup.STYLE`."""

_ALONE = (
    "text { font-family: Helvetica, Arial, 'Liberation Sans', sans-serif; font-size: 12px; fill: #3d444d; }\n"
    ".strong { fill: #000000; font-weight: bold; } .note, .modelled { fill: #3d444d; font-weight: normal; }\n"
    ".modelled { fill: #7d4e00; } .axis, .minor { stroke: #8b949e; fill: none; }\n"
    ".grid { stroke: #e6e9ed; fill: none; } .name { fill: currentColor; }\n"
    ".curve { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; }\n"
    ".dashed { stroke-dasharray: 7 3; } .band { fill: currentColor; fill-opacity: .13; stroke: none; }\n"
    ".mark { fill: currentColor; stroke: currentColor; stroke-width: 1.2; stroke-linejoin: round; }\n"
    ".open { fill: #ffffff; } .lead { fill: none; stroke: currentColor; stroke-opacity: .55; }\n"
    + "\n".join(f".c{i} {{ color: {colour}; }}" for i, colour in enumerate(_LIGHT))
)


class Curve(NamedTuple):
    """One method in a panel; Q' of its queries.

    Attributes:
      name: the method's.
      style: its number among the sweep's methods, the same in all pictures.
      seeds: number of searches.
      queries: int64[Q'].
      median: float64[Q'], infinite where half of the searches have no value yet.
      low: float64[Q'], lower end of the band.
      high: float64[Q'], upper end of the band.
    """

    name: str
    style: int
    seeds: int
    queries: Ints
    median: Floats
    low: Floats
    high: Floats


class Panel(NamedTuple):
    """What one picture shows.

    Attributes:
      title: task and signal.
      measure: "regret" or "test".
      unit: of regret, "" where unknown.
      threshold: regret below which the axis is near to linear.
      modelled: whether the table's figures are modelled.
      curves: one or more.
    """

    title: str
    measure: str
    unit: str
    threshold: float
    modelled: bool
    curves: tuple[Curve, ...]


def grid(budget: int) -> Ints:
    """Returns the queries that are drawn: all up to 100, and 100 log-spaced ones beyond."""
    every = np.arange(1, min(budget, _EVERY) + 1)
    beyond = np.round(np.geomspace(_EVERY, max(budget, _EVERY), _EVERY + 1))
    return np.unique(np.concatenate([every, beyond[beyond <= budget]])).astype(np.int64)


def curve(name: str, style: int, values: Floats, measure: str) -> Curve | None:
    """Returns a method's curve, None where its median is never known.

    Args:
      name: the method's.
      style: its number.
      values: float64[S, Q], one row a search; NaN before its first value, which counts as worst.
      measure: "regret" or "test".
    """
    queries = grid(values.shape[1])
    worst = np.inf if measure == "regret" else -np.inf
    drawn = np.nan_to_num(values[:, queries - 1], nan=worst, posinf=np.inf, neginf=-np.inf)
    median, low, high = stats.median_bands(drawn)
    if not np.isfinite(median).any():
        return None
    return Curve(name, style, len(values), queries, median, low, high)


def figure(panel: Panel, note: str = "") -> str:
    """Returns the panel as an HTML figure with its legend; `note`, HTML, follows the caption."""
    alt = markup.text(_described(panel), 2000)
    wide = f'<svg class="wide" role="img" aria-label="{alt}" viewBox="0 0 900 390">\n{_drawn(panel, 900, 390)}</svg>\n'
    small = _drawn(panel, 400, 330, labels=False)
    narrow = f'<svg class="narrow" role="img" aria-label="{alt}" viewBox="0 0 400 330">\n{small}</svg>\n'
    keys = "".join(f"<li>{key(c.style)}{markup.text(c.name, 60)}</li>" for c in panel.curves)
    badge = ' <span class="badge">modelled table</span>' if panel.modelled else ""
    caption = f'<ul class="plain">{keys}</ul><p>{_explained(panel)}{badge} {note}</p>'
    return f"<figure>{wide}{narrow}<figcaption>{caption}</figcaption></figure>"


def key(style: int) -> str:
    """Returns a short line with a method's colour and mark, as inline SVG."""
    line = f'<path class="curve{_dash(style)}" d="M1 7H29"/>{_mark(style, 15, 7)}'
    return f'<svg class="key-line" aria-hidden="true" viewBox="0 0 30 14">{_coloured(style, line)}</svg>'


def standalone(panel: Panel) -> str:
    """Returns the panel as an SVG file for papers: light colours, names at the ends of the lines."""
    width, height = 620.0, 380.0
    body = f'<g transform="translate(0 26)">{_drawn(panel, width, height - 26)}</g>\n'
    return _document(width, height, _described(panel), _heading(panel, 58, 18, _counted(panel)) + body)


def overview(panels: Sequence[Panel]) -> str:
    """Returns all panels side by side, three a row, with one legend below, as an SVG file for papers."""
    columns = min(3, len(panels))
    wide, tall = 350.0, 300.0
    rows = -(-len(panels) // columns)
    parts = []
    for place, panel in enumerate(panels):
        left, top = wide * (place % columns), tall * (place // columns)
        inner = f'<g transform="translate(0 24)">{_drawn(panel, wide - 8, tall - 34, labels=False)}</g>'
        parts.append(f'<g transform="translate({left:g} {top:g})">{_heading(panel, 58, 16)}{inner}</g>\n')
    styles = {curve.style: curve.name for panel in panels for curve in panel.curves}
    longest = max(min(len(name), _LONGEST) for name in styles.values())
    step = 7.0 * longest + 56
    fit = max(1, int((wide * columns - 50) // step))
    for place, (style, name) in enumerate(sorted(styles.items())):
        x, y = 50 + step * (place % fit), tall * rows + 12 + 20 * (place // fit)
        line = f'<path class="curve{_dash(style)}" d="M{x:g} {y:g}h30"/>{_mark(style, x + 15, y)}'
        parts.append(_coloured(style, line) + f'<text x="{x + 36:g}" y="{y + 4:g}">{_label(name)}</text>\n')
    height = tall * rows + 36 + 20 * -(-len(styles) // fit)
    parts.append(f'<text x="50" y="{height - 10:g}">{_counted(*panels)}</text>\n')
    alt = " ".join(_described(panel) for panel in panels)
    return _document(wide * columns, height, alt, "".join(parts))


def _document(width: float, height: float, alt: str, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{markup.text(alt, 6000)}">\n'
        f'<style>{_ALONE}</style>\n<rect width="100%" height="100%" fill="#ffffff"/>\n{body}</svg>\n'
    )


def _heading(panel: Panel, x: float, y: float, note: str = "") -> str:
    parts = [markup.text(panel.title, 60)]
    parts += ['<tspan class="modelled" dx="10">modelled table</tspan>'] if panel.modelled else []
    parts += [f'<tspan class="note" dx="10">{note}</tspan>'] if note else []
    return f'<text class="strong" x="{x:g}" y="{y:g}">{"".join(parts)}</text>\n'


def _counted(*panels: Panel) -> str:
    """What lines and bands are, for a picture."""
    seeds = [curve.seeds for panel in panels for curve in panel.curves]
    return counted(seeds) if max(seeds) == 1 else f"median and 95 % band, {counted(seeds)}"


def counted(seeds: Sequence[int]) -> str:
    """Returns for example "1 seed", "200 seeds", "16 to 200 seeds"."""
    low, high = min(seeds), max(seeds)
    return f"{high:,} seed{'s' * (high != 1)}" if low == high else f"{low:,} to {high:,} seeds"


def _explained(panel: Panel) -> str:
    """What the lines and the band are, and how the vertical axis runs, as HTML."""
    what = "regret" if panel.measure == "regret" else "the incumbent's test value"
    seeds = [curve.seeds for curve in panel.curves]
    text = f"Median of {what} over {counted(seeds)} with its pointwise 95 % bootstrap band."
    if max(seeds) == 1:
        text = f"{what[0].upper()}{what[1:]}, one seed: there is no band."
    scale, _ = _vertical(panel, 1, 0)
    if panel.measure == "regret":
        return f"{text} Vertical axis: near to linear below {scale.unit:g}, logarithmic above."
    lowest = min(float(c.median[np.isfinite(c.median)].min()) for c in panel.curves)
    if lowest < scale.axis.low:
        return f"{text} Lines enter from below the axis."
    return text


def _described(panel: Panel) -> str:
    """The panel in words, not escaped."""
    what = f"Regret{f' in {panel.unit}' if panel.unit else ''}"
    what = what if panel.measure == "regret" else "Test value of the incumbent"
    ends = [f"{c.name} {_short(c.median[-1])} ({_short(c.low[-1])} to {_short(c.high[-1])})" for c in panel.curves]
    last = max(int(c.queries[-1]) for c in panel.curves)
    return (
        f"{what} against queries, {panel.title}; median and 95 % band at the end ({last} queries): {'; '.join(ends)}."
    )


def _short(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "unknown"


def _vertical(panel: Panel, start: float, end: float) -> tuple[Scale, list[float]]:
    """The axis of values, and those that may be labelled, most wanted first."""
    known = np.concatenate([_finite(values) for c in panel.curves for values in (c.median, c.low, c.high)])
    if panel.measure == "regret":
        return scales.regret_axis(known, panel.threshold, start, end)
    high = float(known.max())
    last = max(int(c.queries[-1]) for c in panel.curves)
    # The first few queries are far below what is of interest; with fewer than 8 in all, nothing is cut.
    settled = [c.low[c.queries >= (last ** (1 / 3) if last >= 8 else 1)] for c in panel.curves]
    settled = [values for values in map(_finite, settled) if len(values)] or [known]
    low = min(float(values.min()) for values in settled)
    room = 0.04 * (high - low) or max(abs(high) * 0.01, 1e-3)
    axis = Axis(low - room, high + room, start, end)
    return Scale(axis, float, 1.0), axis.ticks(6)


# Drawing


def _drawn(panel: Panel, width: float, height: float, *, labels: bool = True) -> str:
    """The panel in a box of that size, without the tag around it."""
    longest = max(min(len(c.name), _LONGEST) for c in panel.curves)
    right = 28 + 7.0 * longest if labels else 12
    x, x_ticks = scales.query_axis(max(int(c.queries[-1]) for c in panel.curves), 58, width - right)
    y, y_ticks = _vertical(panel, height - 44, 12)
    parts = [_frame(panel, x, y, x_ticks, y_ticks)]
    for c in panel.curves:
        if c.seeds > 1:
            parts.append(_coloured(c.style, f'<path class="band" d="{_band(c, x, y)}"/>') + "\n")
    for place, c in enumerate(panel.curves):
        line = f'<path class="curve{_dash(c.style)}" d="{_line(c, x, y)}"/>'
        parts.append(_coloured(c.style, line + _marks(c, x, y, place / len(panel.curves))) + "\n")
    if labels:
        parts.append(_end_labels(panel, x, y))
    return "".join(parts)


def _frame(panel: Panel, x: Scale, y: Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
    left, right, base, top = x.axis.start, x.axis.end, y.axis.start, y.axis.end
    parts = []
    shown = scales.apart(y, y_ticks, 20)
    for tick in shown:
        parts.append(f'<path class="grid" d="M{left:g} {y.at(tick):.1f}H{right:g}"/>')
        parts.append(
            f'<text x="{left - 7:g}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{scales.tick_text(tick, shown)}</text>\n'
        )
    for tick in scales.apart(x, x_ticks, 34):
        parts.append(f'<text x="{x.at(tick):.1f}" y="{base + 18:g}" text-anchor="middle">{tick:,.0f}</text>\n')
    last = math.exp(x.axis.high) * 1.000001
    minor = [d * 10.0**e for e in range(math.floor(math.log10(last)) + 1) for d in range(1, 10) if d * 10.0**e <= last]
    strokes = "".join(f"M{x.at(tick):.1f} {base:g}v{5 if f'{tick:g}'[0] == '1' else 3}" for tick in minor)
    parts.append(f'<path class="minor" d="{strokes}"/><path class="axis" d="M{left:g} {top:g}V{base:g}H{right:g}"/>\n')
    parts.append(f'<text x="{(left + right) / 2:g}" y="{base + 37:g}" text-anchor="middle">queries</text>')
    unit = f" ({markup.text(panel.unit, 20)})" if panel.unit else ""
    name = f"regret{unit}" if panel.measure == "regret" else "test value of the incumbent"
    parts.append(
        f'<text transform="translate(13 {(base + top) / 2:g}) rotate(-90)" text-anchor="middle">{name}</text>\n'
    )
    return "".join(parts)


def _line(c: Curve, x: Scale, y: Scale) -> str:
    """A step at each query where the median changes; nothing where it is outside the axis."""
    low, high = y.axis.low, y.axis.high
    path, down, before = "", False, math.nan
    for query, value in zip(c.queries.tolist(), c.median.tolist(), strict=True):
        inside = low <= y.forward(value) <= high if math.isfinite(value) else False
        place, rise = f"{x.at(query):.1f}", f"{y.at(value):.1f}"
        if inside and not down:
            entry = y.axis.start if before < value else y.axis.end  # where the line comes from, if from anywhere
            path += f"M{place} {entry:g}V{rise}" if math.isfinite(before) else f"M{place} {rise}"
        elif inside and value != before:
            path += f"H{place}V{rise}"
        elif down and not inside:
            path += f"H{place}V{y.axis.start if value < before else y.axis.end:g}"
        down, before = inside, value
    return path + (f"H{x.at(int(c.queries[-1])):.1f}" if down else "")


def _band(c: Curve, x: Scale, y: Scale) -> str:
    """The area between the ends of the band, cut at the axis."""
    known = np.flatnonzero(np.isfinite(c.low) | np.isfinite(c.high))
    places = [x.at(int(q)) for q in c.queries[known]]
    tops = [y.at(v) for v in c.high[known].tolist()]
    bases = [y.at(v) for v in c.low[known].tolist()]
    path = f"M{places[0]:.1f} {tops[0]:.1f}"
    for place, before, after in zip(places[1:], tops[:-1], tops[1:], strict=True):
        if before != after:
            path += f"H{place:.1f}V{after:.1f}"
    path += f"H{places[-1]:.1f}V{bases[-1]:.1f}"
    for place, before, after in zip(places[:0:-1], bases[:0:-1], bases[-2::-1], strict=True):
        if before != after:
            path += f"H{place:.1f}V{after:.1f}"
    return path + f"H{places[0]:.1f}Z"


def _marks(c: Curve, x: Scale, y: Scale, shift: float) -> str:
    """Marks along the line, each method's at other places, so that lines on top of each other are told apart."""
    last = math.log(int(c.queries[-1]))
    wanted = [math.exp(last * (k + 0.5 + 0.5 * shift) / _MARKS) for k in range(_MARKS)]
    rows = sorted({int(np.argmin(np.abs(c.queries - query))) for query in wanted})
    low, high = y.axis.low, y.axis.high
    shown = [row for row in rows if math.isfinite(c.median[row]) and low <= y.forward(float(c.median[row])) <= high]
    return "".join(_mark(c.style, x.at(int(c.queries[row])), y.at(float(c.median[row]))) for row in shown)


_SHAPES = (
    "m-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0 -7.2 0z",  # disc
    "m-3.2 -3.2h6.4v6.4h-6.4z",  # square
    "m0 -4.2l4 7h-8z",  # triangle
    "m0 -4.4l4.4 4.4l-4.4 4.4l-4.4 -4.4z",  # diamond
    "m0 4.2l4 -7h-8z",  # triangle, point down
    "m-4 0l2.2 3.6h3.6l2.2 -3.6l-2.2 -3.6h-3.6z",  # hexagon
)


def _mark(style: int, x: float, y: float) -> str:
    """One of six shapes, filled or open."""
    shape, opened = _SHAPES[style % len(_SHAPES)], style % STYLES >= len(_SHAPES)
    return f'<path class="mark{" open" if opened else ""}" d="M{x:.1f} {y:.1f}{shape}"/>'


def _coloured(style: int, body: str) -> str:
    return f'<g class="c{style % STYLES % len(_LIGHT)}">{body}</g>'


def _dash(style: int) -> str:
    return " dashed" if style % STYLES >= _DASHED else ""


def _end_labels(panel: Panel, x: Scale, y: Scale) -> str:
    """Names at the ends of the lines, moved apart where they would collide, with a lead from line to name."""
    ends = [
        (y.at(float(c.median[-1])), place, c) for place, c in enumerate(panel.curves) if math.isfinite(c.median[-1])
    ]
    # Lines that end at the same height stand in the order in which they came there: the last one is the worst.
    arrival = {place: int(np.argmax(c.median == c.median[-1])) for place, c in enumerate(panel.curves)}
    downwards = panel.measure == "regret"
    ends.sort(key=lambda end: (round(end[0], 1), -arrival[end[1]] if downwards else arrival[end[1]], end[1]))
    top, base = y.axis.end + 2, y.axis.start - 2
    gap = min(_GAP, (base - top) / max(len(ends) - 1, 1))
    rows = spread([end[0] for end in ends], gap, top, base)
    parts = []
    for (height, _, c), row in zip(ends, rows, strict=True):
        start, text = x.at(int(c.queries[-1])), x.axis.end + 22
        lead = f'<path class="lead" d="M{start + 1:.1f} {height:.1f}L{text - 4:.1f} {row:.1f}"/>'
        name = f'<text class="name" x="{text:.1f}" y="{row + 4:.1f}">{_label(c.name)}</text>'
        parts.append(_coloured(c.style, lead + name) + "\n")
    return "".join(parts)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Returns `places`, ascending, moved as little as possible (least squares) to be `gap` apart, then into low..high."""
    blocks: list[tuple[float, int]] = []  # mean of the places less their gaps, and how many: pool adjacent violators
    for number, place in enumerate(places):
        blocks.append((place - gap * number, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (left, m), (right, n) = blocks[-2:]
            blocks[-2:] = [((left * m + right * n) / (m + n), m + n)]
    flat = [mean for mean, count in blocks for _ in range(count)]
    room = high - gap * (len(flat) - 1)
    return [min(max(mean, low), max(room, low)) + gap * number for number, mean in enumerate(flat)]


def _label(name: str) -> str:
    return markup.text(name, _LONGEST)


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]
