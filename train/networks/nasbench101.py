"""What a cell of NAS-Bench-101 costs in its network: parameters as published, and multiply-adds. The network is not here.

Source: Ying et al., "NAS-Bench-101" (arXiv:1902.09635), and google-research/nasbench, `lib/model_builder.py`. A stem, three
stacks of three cells, width doubled and 2x2 max-pooling before the second and third stack, global average pooling,
classifier. A cell joins what feeds its output as channels, which its inner vertices share; edges from the input are 1x1
projections, those between inner vertices are cut to the receiver's width.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from nasjax.base import Graph
from nasjax.spaces import nasbench101_specs
from nasjax.spaces.nasbench101_words import ABSENT, BIT, FIELD, INNER, OUTPUT, Words

CONV3, CONV1 = 0, 1
"""Numbers of the operations with weights, in packed words; pooling has none."""


class Cost(NamedTuple):
    """What an architecture costs in a skeleton."""

    params: int  # trainable parameters, by the published count
    macs: int  # multiply-adds of one image's forward pass: convolutions and classifier


class Counts(NamedTuple):
    """Exact counts of many architectures: int64[...] each."""

    params: np.ndarray
    macs: np.ndarray


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Everything about a child network but its cell; static and hashable.

    Attributes:
      channels: width of the stem and of the first stack.
      stacks: number of stacks, each twice as wide as the one before.
      cells: cells in each stack.
      resolution: side of the images in pixels; halves before every stack but the first.
      classes: number of logits.
      in_channels: channels of the images.
    """

    channels: int = 128
    stacks: int = 3
    cells: int = 3
    resolution: int = 32
    classes: int = 10
    in_channels: int = 3

    def __post_init__(self) -> None:
        """Refuses sizes that no network has."""
        for name in ("stacks", "cells", "classes", "in_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"skeleton: {name} must be >= 1, got {getattr(self, name)}")
        if self.channels < len(INNER):
            raise ValueError(f"skeleton: channels must be >= {len(INNER)}, which share them, got {self.channels}")
        halves = 1 << (self.stacks - 1)
        if self.resolution < halves or self.resolution % halves:
            raise ValueError(
                f"skeleton: resolution must be a multiple of {halves} (it halves {self.stacks - 1} times), "
                f"got {self.resolution}"
            )


def cost(arch: Graph, skeleton: Skeleton) -> Cost:
    """Returns the exact cost of one architecture, of what is left of it after pruning. Host.

    Where the output's channels cannot be shared evenly, the first vertices get one more, so that isomorphic cells may
    differ a little; a published figure is that of the cell as the published table lists it.

    Raises:
      ValueError: the architecture is no cell.
    """
    counts = counted(np.array(nasbench101_specs.normal_word(arch), np.uint32), skeleton)
    return Cost(int(counts.params), int(counts.macs))


def counted(words: Words, skeleton: Skeleton) -> Counts:
    """Returns the counts for cells in normal form, packed words uint32[...]. Host."""
    words = np.asarray(words, np.uint32)
    width, side = skeleton.channels, skeleton.resolution
    stem = 9 * skeleton.in_channels * width
    params = np.full(words.shape, stem + 2 * width, np.int64)
    macs = np.full(words.shape, stem * side**2, np.int64)
    for stack in range(skeleton.stacks):
        before = width
        if stack:
            width, side = 2 * width, side // 2
        for cell in range(skeleton.cells):
            weights, normed = _cell(words, width if cell else before, width)
            params += weights + 2 * normed
            macs += weights * side**2
    classifier = width * skeleton.classes
    return Counts(params + classifier + skeleton.classes, macs + classifier)


def _cell(words: Words, width_in: int, width_out: int) -> tuple[np.ndarray, np.ndarray]:
    """int64[...] each: weights of a cell's convolutions, and channels behind them, which have a batch norm."""
    edge = {pair: ((words >> bit) & 1).astype(np.int64) for pair, bit in BIT.items()}
    widths = _widths(edge, width_out)
    # The input's projections: to inner vertices, and added to the output.
    projected = sum((edge[0, v] * widths[v] for v in INNER), edge[0, OUTPUT] * width_out)
    weights, normed = width_in * projected, projected
    for v in INNER:
        operation = (words >> FIELD[v]) & ABSENT
        square = widths[v] ** 2
        weights = weights + np.where(operation == CONV3, 9 * square, np.where(operation == CONV1, square, 0))
        normed = normed + np.where(operation <= CONV1, widths[v], 0)
    return weights, normed


def _widths(edge: dict[tuple[int, int], np.ndarray], width_out: int) -> dict[int, np.ndarray]:
    """Channels of each inner vertex, int64[...]; 0 where it is absent."""
    feeding = sum(edge[v, OUTPUT] for v in INNER)
    share, more = np.divmod(width_out, np.maximum(feeding, 1))
    widths = {}
    earlier = np.zeros_like(feeding)
    for v in INNER:
        widths[v] = edge[v, OUTPUT] * (share + (earlier < more))
        earlier = earlier + edge[v, OUTPUT]
    for v in reversed(INNER):
        largest = np.zeros_like(feeding)
        for successor in range(v + 1, OUTPUT):
            largest = np.maximum(largest, edge[v, successor] * widths[successor])
        widths[v] = np.where(edge[v, OUTPUT] == 1, widths[v], largest)
    return widths
