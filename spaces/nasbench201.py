"""NAS-Bench-201: cells of four nodes, one of five operations on each of the six edges; 15,625 strings, 5,260 networks.

Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search"
  (arXiv:2001.00326).
Ours: classes of equal networks are exact, where the published unique strings give 6,466 (docs/nasbench201_classes.md);
  `classes="published"` has those.
"""

import dataclasses
import functools
import importlib.resources
import io
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from nasjax import graph
from nasjax.base import Array, Graph
from nasjax.spaces import cell_classes
from nasjax.spaces.edge_cells import EdgeCells

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Operations by label."""

EDGES: tuple[tuple[int, int], ...] = tuple((int(s), int(r)) for s, r in zip(*graph.pairs(4), strict=True))
"""(0,1) (0,2) (1,2) (0,3) (1,3) (2,3): sender and receiver of each edge, in the order of the string."""

Classes: TypeAlias = Literal["exact", "published"]

CLASS_TABLE = "nasbench201_classes.npz"
"""uint16[15625] `smallest_code` = `compute_classes()`, shipped so that no process need compute it."""


@dataclasses.dataclass(frozen=True)
class NasBench201(EdgeCells):
    """The space, or its part with the operations `op_names`. Enumerable, Generable, Factored and PathEncoded.

    Attributes:
      op_names: the operations that the space allows; their order is that of decisions and of `index`.
      prior: "uniform" over the operations, or "no_none": uniform over all but `none`, which stays in the space.
      classes: which strings are the same architecture, hence have one key and are proposed once: "exact", those that
        write the same network, 5,260 classes; or "published", those with the same published unique string, 6,466.
    """

    NUM_NODES: ClassVar[int] = 4
    OPERATIONS: ClassVar[tuple[str, ...]] = OPERATIONS

    op_names: tuple[str, ...] = OPERATIONS
    # Younger than run directories that should stay what they are: its default is not written into configs.
    classes: Classes = dataclasses.field(default="exact", metadata={"omit_default": True})

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: as `EdgeCells`, or unknown classes.
        """
        super().__post_init__()
        if self.classes not in ("exact", "published"):
            raise ValueError(f"{self.name}: unknown classes {self.classes!r}; one of exact, published")

    @property
    def name(self) -> str:
        """`nasbench201`."""
        return "nasbench201"

    def smallest_codes(self) -> cell_classes.Table:
        """Returns uint16[15625]: the shipped table, or `published_classes()`."""
        return _shipped_classes() if self.classes == "exact" else published_classes()


def operations(arch: Graph) -> Array:
    """Returns int32[..., 6], the operation of each edge in the order of `EDGES`."""
    return NasBench201().operations(arch)


def from_operations(operations: Array) -> Graph:
    """Returns Graph[...] with the operations int32[..., 6] on `EDGES`."""
    return NasBench201().from_operations(operations)


def compute_classes() -> cell_classes.Table:
    """Returns uint16[15625], the smallest code of each string's exact class, computed anew. Host.

    The shipped file is `np.savez_compressed(CLASS_TABLE, smallest_code=compute_classes())`.
    """
    return cell_classes.exact_classes(4, OPERATIONS)


@functools.cache  # a tenth of a second, so no file is shipped
def published_classes() -> cell_classes.Table:
    """Returns uint16[15625], the smallest code of each string's published class: 6,466 of them. Host."""
    table = cell_classes.published_classes(4, OPERATIONS)
    table.flags.writeable = False
    return table


@functools.cache
def _shipped_classes() -> cell_classes.Table:
    content = (importlib.resources.files("nasjax.spaces") / CLASS_TABLE).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        table: cell_classes.Table = file["smallest_code"]
    table.flags.writeable = False
    return table
