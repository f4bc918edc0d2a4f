"""A small relative of NAS-Bench-201: three nodes, four operations; 64 strings, 26 networks. For tests, first tries."""

import dataclasses
import functools
from typing import ClassVar

from nasjax.spaces import cell_classes
from nasjax.spaces.edge_cells import EdgeCells

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
"""Operations by label."""


@dataclasses.dataclass(frozen=True)
class Toy(EdgeCells):
    """The space, or its part with the operations `op_names`. Enumerable, Generable, Factored and PathEncoded.

    Attributes:
      op_names: the operations that the space allows; their order is that of decisions and of `index`.
      prior: "uniform" over the operations, or "no_none": uniform over all but `none`, which stays in the space.
    """

    NUM_NODES: ClassVar[int] = 3
    OPERATIONS: ClassVar[tuple[str, ...]] = OPERATIONS

    op_names: tuple[str, ...] = OPERATIONS

    @property
    def name(self) -> str:
        """`toy`."""
        return "toy"

    def smallest_codes(self) -> cell_classes.Table:
        """Returns uint16[64]; computed at first use."""
        return _classes()


@functools.cache
def _classes() -> cell_classes.Table:
    table = cell_classes.exact_classes(3, OPERATIONS)
    table.flags.writeable = False
    return table
