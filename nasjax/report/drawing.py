"""A cell drawn as a graph: strings like `|op~0|+|op~0|op~1|`, each operation on an edge from the node after the `~`."""

import re
from typing import NamedTuple

from nasjax.report import markup

_GROUP = re.compile(r"\|(?:[^|~+]+~[0-9]\|)+")
_ABSENT = "none"
_COLOURS = {
    "nor_conv_3x3": 0,
    "nor_conv_1x1": 1,
    "avg_pool_3x3": 2,
    "skip_connect": 3,
}
_NUM_COLOURS = 6

_WIDTH, _RADIUS, _MARGIN = 460.0, 17.0, 22.0
_LONGEST = 14  # characters of a label on an edge


class Edge(NamedTuple):
    """An operation between two nodes."""

    sender: int
    receiver: int
    operation: str


def parse_cell(spec: str) -> tuple[int, list[Edge]] | None:
    """Returns the number of nodes, 3 or 4, and the edges of a cell's string; None for a string of another form."""
    groups = spec.split("+")
    if len(spec) > 2000 or len(groups) not in (2, 3):
        return None
    edges = []
    for receiver, group in enumerate(groups, 1):
        if not _GROUP.fullmatch(group):
            return None
        for part in group.strip("|").split("|"):
            operation, _, sender = part.rpartition("~")
            edges.append(Edge(int(sender), receiver, operation))
    pairs = {(edge.sender, edge.receiver) for edge in edges}
    if len(pairs) < len(edges) or any(sender >= receiver for sender, receiver in pairs):
        return None
    return len(groups) + 1, edges


def draw_cell(spec: str) -> str | None:
    """Returns the cell as an SVG figure with a list of its edges below, None for a string of another form.

    `none` is no edge. Edges between neighbours are straight; longer ones bend up, that between nodes 1 and 3 down, so
    that no two cross.
    """
    cell = parse_cell(spec)
    if cell is None:
        return None
    num, edges = cell
    drawn = [edge for edge in edges if edge.operation != _ABSENT]
    colours = _colours([edge.operation for edge in drawn])
    gap = (_WIDTH - 2 * (_MARGIN + 8)) / (num - 1)
    places = [_MARGIN + 8 + gap * node for node in range(num)]
    rises = [_rise(edge) for edge in drawn]
    base = max(_RADIUS + 4, *(rise + 30 for rise in rises), 0)
    lines = [_draw_edge(edge, places, base, colours[edge.operation]) for edge in drawn]
    nodes = [_draw_node(node, num, place, base) for node, place in enumerate(places)]
    height = base + max(_RADIUS + 4, *(35 - rise for rise in rises if rise < 0), 0)
    described = "; ".join(f"{_name(e.sender, num)} to {_name(e.receiver, num)}: {e.operation}" for e in drawn)
    alt = markup.text(f"Graph of the best architecture: {described or 'no operation at all'}", 1000)
    picture = (
        f'<svg class="small" role="img" aria-label="{alt}" viewBox="0 0 {_WIDTH:g} {height:g}">\n'
        + "".join(lines + nodes)
        + "</svg>"
    )
    absent = len(edges) - len(drawn)
    note = f"Not drawn: none, {absent} of {len(edges)} edges." if absent else ""
    items = "".join(
        f'<li><span class="key" style="background:var(--op-{colour})"></span>{markup.text(name, 60)}</li>'
        for name, colour in colours.items()
    )
    legend = f'<ul class="plain">{items}</ul>' if items else ""
    return f"<figure>{picture}<figcaption>{legend}{note}</figcaption></figure>"


def _colours(operations: list[str]) -> dict[str, int]:
    """Colour numbers by operation: known ones have theirs in every report, others take what is free, in order."""
    colours: dict[str, int] = {}
    for name in dict.fromkeys(operations):
        used = {*colours.values(), *_COLOURS.values()}
        free = [colour for colour in range(_NUM_COLOURS) if colour not in used]
        colours[name] = _COLOURS.get(name, free[0] if free else len(colours) % _NUM_COLOURS)
    return colours


def _name(node: int, num: int) -> str:
    return {0: "input", num - 1: "output"}.get(node, f"node {node}")


def _draw_node(node: int, num: int, x: float, y: float) -> str:
    label = {0: "in", num - 1: "out"}.get(node, str(node))
    return (
        f'<circle class="node" cx="{x:g}" cy="{y:g}" r="{_RADIUS:g}"/>'
        f'<text class="strong" x="{x:g}" y="{y + 4:g}" text-anchor="middle">{label}</text>\n'
    )


def _draw_edge(edge: Edge, places: list[float], base: float, colour: int) -> str:
    """A quadratic curve from circle to circle with its arrow head and label, which stands on the curve's crest."""
    start, end = places[edge.sender], places[edge.receiver]
    rise = _rise(edge)
    if not rise:
        tip, tail = (end - _RADIUS - 2, base), (start + _RADIUS, base)
        control = ((start + end) / 2, base)
    else:
        # Leaves and arrives at the side of the circle that looks to the control point; two curves at one node differ.
        control = ((start + end) / 2, base - 2 * rise)
        tail = _rim(start, base, control, _RADIUS)
        tip = _rim(end, base, control, _RADIUS + 2)
    crest_y = 0.25 * tail[1] + 0.5 * control[1] + 0.25 * tip[1]
    crest_x = 0.25 * tail[0] + 0.5 * control[0] + 0.25 * tip[0]
    dx, dy = tip[0] - control[0], tip[1] - control[1]
    length = max((dx * dx + dy * dy) ** 0.5, 1e-9)
    ux, uy = dx / length, dy / length
    back = (tip[0] - 9 * ux, tip[1] - 9 * uy)
    head = " ".join(
        f"{x:.1f},{y:.1f}" for x, y in (tip, (back[0] - 4 * uy, back[1] + 4 * ux), (back[0] + 4 * uy, back[1] - 4 * ux))
    )
    name = edge.operation if len(edge.operation) <= _LONGEST else edge.operation[: _LONGEST - 1] + "…"
    label_y = crest_y + 16 if rise < 0 else crest_y - 7
    paint = f"var(--op-{colour})"
    return (
        f'<path d="M{tail[0]:.1f} {tail[1]:.1f}Q{control[0]:.1f} {control[1]:.1f} {back[0]:.1f} {back[1]:.1f}" '
        f'style="fill:none;stroke:{paint};stroke-width:2.2"/>'
        f'<polygon points="{head}" style="fill:{paint}"/>'
        f'<text x="{crest_x:.1f}" y="{label_y:.1f}" text-anchor="middle" style="fill:{paint}">'
        f"{markup.text(name)}</text>\n"
    )


def _rise(edge: Edge) -> float:
    """How far an edge bends up from the line of the nodes."""
    if (edge.sender, edge.receiver) == (1, 3):
        return -75.0
    return {1: 0.0, 2: 75.0, 3: 140.0}[edge.receiver - edge.sender]


def _rim(x: float, y: float, towards: tuple[float, float], radius: float) -> tuple[float, float]:
    dx, dy = towards[0] - x, towards[1] - y
    length = (dx * dx + dy * dy) ** 0.5
    return x + radius * dx / length, y + radius * dy / length
