"""Which cells with operations on edges are the same network: exact classes, and those that were published.

Host code, run once to make a constant table. Codes number the strings of operations: base K, first edge most
significant, edges in the order of `graph.pairs`. A table holds for each code the smallest code of its class.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nasjax import graph

Table = npt.NDArray[np.uint16]
Edge = tuple[int, int, str]
"""Sender, receiver and operation."""

CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
"""Operations with weights of their own; two edges with the same one are two modules."""


def exact_classes(num_nodes: int, op_names: Sequence[str]) -> Table:
    """Returns uint16[K^P], the smallest code of each string's class of equal networks.

    Two strings are equal if they write the same expression up to the names of modules. A node is the sum of its
    in-edges: a skip adds the terms of its origin, a pooling one opaque term of the origin's sum (it is linear, but
    distributing it over the sum would be another program), a convolution one term that carries its module's name, none
    nothing; sums commute. Modules of one kind may swap names, so the cell's form is the least over all namings: at
    most 6! = 720 for NAS-Bench-201. A convolution reached by two paths keeps one name, where the published strings
    count it twice.

    Raises:
      ValueError: more strings than uint16 can number.
    """
    forms: dict[tuple[Edge, ...], str] = {}

    def form(edges: list[Edge]) -> str:
        live = _live(edges, num_nodes)
        if live not in forms:
            forms[live] = min(_expression(live, names, num_nodes) for names in _namings(live))
        return forms[live]

    return _smallest_codes(form, num_nodes, op_names)


def published_classes(num_nodes: int, op_names: Sequence[str]) -> Table:
    """Returns uint16[K^P], the smallest code of each string's class by the published sum-of-terms string.

    Source: the unique strings of Dong and Yang, NAS-Bench-201 (arXiv:2001.00326), as its code writes them: node 0 is
      `0`; an in-edge gives `#` if it is none or its origin is exactly `#`, the origin's string if it is a skip, else
      `(string)@operation`; a node joins its in-edges' strings, sorted, by `+`. So a sum of zeros is no zero there.

    Raises:
      ValueError: more strings than uint16 can number.
    """

    def form(edges: list[Edge]) -> str:
        strings = ["0"]
        for node in range(1, num_nodes):
            terms = []
            for sender, _, name in (edge for edge in edges if edge[1] == node):
                origin = strings[sender]
                zero = name == "none" or origin == "#"
                terms.append("#" if zero else origin if name == "skip_connect" else f"({origin})@{name}")
            strings.append("+".join(sorted(terms)))
        return strings[-1]

    return _smallest_codes(form, num_nodes, op_names)


def dense_ids(smallest: Table) -> npt.NDArray[np.int32]:
    """Returns int32[K^P], the rank of each string's class among the classes by smallest code."""
    return np.unique(smallest, return_inverse=True)[1].astype(np.int32)


def _smallest_codes(form: Callable[[list[Edge]], str], num_nodes: int, op_names: Sequence[str]) -> Table:
    """The first code of each form; `itertools.product` counts as codes do."""
    places = [(int(s), int(r)) for s, r in zip(*graph.pairs(num_nodes), strict=True)]
    if len(op_names) ** len(places) > 2**16:
        raise ValueError(
            f"cell_classes: {len(places)} edges of {len(op_names)} operations make more than 65,536 strings"
        )
    first: dict[str, int] = {}
    codes = []
    for code, names in enumerate(itertools.product(op_names, repeat=len(places))):
        edges = [(s, r, name) for (s, r), name in zip(places, names, strict=True)]
        codes.append(first.setdefault(form(edges), code))
    return np.array(codes, np.uint16)


def _live(edges: list[Edge], num_nodes: int) -> tuple[Edge, ...]:
    """The edges on a path of operations other than none from the first to the last node."""
    real = [edge for edge in edges if edge[2] != "none"]
    fed, used = {0}, {num_nodes - 1}
    for sender, receiver, _ in real:  # receivers ascend, so one pass is enough
        if sender in fed:
            fed.add(receiver)
    for sender, receiver, _ in reversed(real):
        if receiver in used:
            used.add(sender)
    return tuple(edge for edge in real if edge[0] in fed and edge[1] in used)


def _namings(edges: tuple[Edge, ...]) -> Iterator[dict[Edge, int]]:
    """All ways to number the modules of each kind."""
    kinds = [[edge for edge in edges if edge[2] == kind] for kind in CONVOLUTIONS]
    for numbers in itertools.product(*(itertools.permutations(range(len(kind))) for kind in kinds)):
        pairs = zip(kinds, numbers, strict=True)
        yield {edge: number for kind, order in pairs for edge, number in zip(kind, order, strict=True)}


def _expression(edges: tuple[Edge, ...], names: dict[Edge, int], num_nodes: int) -> str:
    """The last node's sum, terms sorted in every sum."""
    sums: list[list[str]] = [["x"]] + [[] for _ in range(1, num_nodes)]
    for edge in edges:  # receivers ascend, so the sender's sum is complete
        sender, receiver, operation = edge
        inner = "+".join(sorted(sums[sender]))
        skip = operation == "skip_connect"
        sums[receiver] += sums[sender] if skip else [f"{operation}{names.get(edge, '')}({inner})"]
    return "+".join(sorted(sums[-1]))
