"""The child network of NAS-Bench-201: a stem, three stages of equal cells with residual reductions between, a head.

Source: Dong and Yang, "NAS-Bench-201" (arXiv:2001.00326), section 2 and appendix. The architecture is data: one set of
weights holds every operation of every edge, and one compiled program trains any cell. `apply` and `static_apply` agree.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax.base import Array, Graph, Key
from nasjax.spaces.nasbench201 import EDGES
from nasjax.spaces.nasbench201 import operations as edge_operations
from nasjax.train.networks import convolution as layers
from nasjax.train.networks.cell import CONV1, CONV3, POOL, CellWeights, dense_cell, static_cell, switch_cell
from nasjax.train.networks.convolution import Moments, Norm

STAGES = 3  # at widths C, 2C, 4C and sides H, H/2, H/4
FORMS = ("switch", "dense")


class ReductionWeights(NamedTuple):
    """A residual block of stride 2 from c to 2c channels."""

    first: Array  # float[3, 3, c, 2c], stride 2
    first_norm: Norm
    second: Array  # float[3, 3, 2c, 2c]
    second_norm: Norm
    shortcut: Array  # float[c, 2c], after 2x2 means


class Params(NamedTuple):
    """Weights that serve every architecture."""

    stem: Array  # float[3, 3, in_channels, C]
    stem_norm: Norm
    cells: tuple[CellWeights, ...]  # one for each stage, stacked over its cells
    reductions: tuple[ReductionWeights, ...]
    head_norm: Norm
    head: Array  # float[4C, classes]
    bias: Array  # float[classes]


class Statistics(NamedTuple):
    """Moments of every batch norm; an edge without a convolution has mean 0 and variance 1."""

    stem: Moments
    cells: tuple[Moments, ...]  # float[cells, 6, c]
    reductions: tuple[tuple[Moments, Moments], ...]
    head: Moments


_Moments: TypeAlias = Moments | None  # None = those of the batch
_Cell: TypeAlias = Callable[[CellWeights, Array, _Moments], tuple[Array, Moments]]
_Conv: TypeAlias = Callable[[Array, Array, int], Array]  # (x, kernel, stride)
_BatchNorm: TypeAlias = Callable[[Array, Norm, _Moments], tuple[Array, Moments]]


class Cost(NamedTuple):
    """What an architecture costs in a skeleton."""

    params: int  # trainable parameters, by the published count: operations of dead edges count too
    macs: int  # multiply-adds of one image's forward pass: convolutions and classifier


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Everything about a child network but its cell; static and hashable.

    Attributes:
      channels: C, the width of the first stage.
      cells: N, cells in each stage.
      resolution: side of the images in pixels, a multiple of 4.
      classes: number of logits.
      in_channels: channels of the images.
    """

    channels: int = 16
    cells: int = 5
    resolution: int = 32
    classes: int = 10
    in_channels: int = 3

    def __post_init__(self) -> None:
        """Refuses sizes that no network has."""
        for name in ("channels", "cells", "classes", "in_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"skeleton: {name} must be >= 1, got {getattr(self, name)}")
        if self.resolution < 4 or self.resolution % 4:
            raise ValueError(f"skeleton: resolution must be a multiple of 4 (it halves twice), got {self.resolution}")

    def init(self, key: Key) -> Params:
        """Returns float32 weights for every architecture; `key` is consumed.

        Convolutions N(0, 2 / fan-in), the shortcut's 1x1 N(0, 1 / fan-in), batch norm 1 and 0, classifier 0.
        """
        widths = [self.channels << stage for stage in range(STAGES)]
        steps = list(itertools.pairwise(widths))
        variances = [2 / (9 * self.in_channels)]
        shapes: list[tuple[int, ...]] = [(3, 3, self.in_channels, self.channels)]
        for width in widths:
            edges = (self.cells, len(EDGES))
            shapes += [(*edges, width, width), (*edges, 3, 3, width, width)]
            variances += [2 / width, 2 / (9 * width)]
        for half, width in steps:
            shapes += [(3, 3, half, width), (3, 3, width, width), (half, width)]
            variances += [2 / (9 * half), 2 / (9 * width), 1 / half]
        stem, *draws = _normals(key, shapes, variances)
        cells, reductions = draws[: 2 * STAGES], draws[2 * STAGES :]
        edge_norms = [_init_norm((self.cells, len(EDGES), width)) for width in widths]
        return Params(
            stem,
            _init_norm((self.channels,)),
            tuple(
                CellWeights(conv1, norm, conv3, norm)
                for conv1, conv3, norm in zip(cells[::2], cells[1::2], edge_norms, strict=True)
            ),
            tuple(
                ReductionWeights(first, _init_norm((width,)), second, _init_norm((width,)), shortcut)
                for first, second, shortcut, (_, width) in zip(
                    reductions[::3], reductions[1::3], reductions[2::3], steps, strict=True
                )
            ),
            _init_norm((widths[-1],)),
            jnp.zeros((widths[-1], self.classes), jnp.float32),
            jnp.zeros((self.classes,), jnp.float32),
        )

    def apply(
        self, params: Params, arch: Graph, images: Array, statistics: Statistics | None = None, form: str = "switch"
    ) -> tuple[Array, Statistics]:
        """Returns logits float[B, classes] and the statistics that the batch norms used.

        Args:
          params: as `init` makes them; their dtype is the computation's.
          arch: one architecture of `nasjax.spaces.nasbench201`, traced or not.
          images: float[B, H, W, in_channels].
          statistics: None = those of this batch (training); given = these (evaluation).
          form: "switch" runs one operation an edge: for `lax.map` on CPUs. "dense" runs them all as batched matrix
            products and selects: for `vmap` on accelerators.

        Raises:
          ValueError: unknown form, or images of another shape.
        """
        return self.apply_operations(params, edge_operations(arch), images, statistics, form)

    def apply_operations(
        self,
        params: Params,
        operations: Array,
        images: Array,
        statistics: Statistics | None = None,
        form: str = "switch",
    ) -> tuple[Array, Statistics]:
        """`apply` for int32[6] operations in the order of the network's edges."""
        if form not in FORMS:
            raise ValueError(f"skeleton: no form {form!r}; one of {FORMS}")
        cell = switch_cell if form == "switch" else dense_cell
        return self._forward(params, images, statistics, lambda w, x, m: cell(w, operations, x, m), form == "dense")

    def static_apply(
        self,
        params: Params,
        arch: Graph,
        images: Array,
        statistics: Statistics | None = None,
        plain: bool | None = None,
    ) -> tuple[Array, Statistics]:
        """Like `apply` for one concrete architecture, whose cell becomes part of the program.

        Args:
          params: as for `apply`.
          arch: concrete arrays.
          images: as for `apply`.
          statistics: as for `apply`.
          plain: XLA's own operations differentiated by JAX, with nothing of ours: the reference, and the fast form on
            accelerators; on a CPU slow inside loops. None = plain everywhere but on CPUs.
        """
        with jax.ensure_compile_time_eval():  # inside `jit` too
            operations = np.asarray(edge_operations(arch))
        return self.static_apply_operations(params, operations, images, statistics, plain)

    def static_apply_operations(
        self,
        params: Params,
        operations: np.ndarray,
        images: Array,
        statistics: Statistics | None = None,
        plain: bool | None = None,
    ) -> tuple[Array, Statistics]:
        """`static_apply` for int32[6] concrete operations in the order of the network's edges."""
        choice = jax.default_backend() != "cpu" if plain is None else plain
        names = tuple(int(op) for op in operations)
        return self._forward(
            params, images, statistics, lambda w, x, m: static_cell(w, names, x, m, choice), False, choice
        )

    def _forward(
        self, params: Params, images: Array, given: Statistics | None, cell: _Cell, gemm: bool, plain: bool = False
    ) -> tuple[Array, Statistics]:
        expected = (self.resolution, self.resolution, self.in_channels)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(f"skeleton: images must be [B, {', '.join(map(str, expected))}], got {list(images.shape)}")
        conv: _Conv = layers.plain_conv3x3 if plain else lambda x, w, s: layers.conv3x3(x, w, s, gemm)
        norm: _BatchNorm = layers.plain_batch_norm if plain else layers.batch_norm
        x, stem = norm(conv(images, params.stem, 1), params.stem_norm, given and given.stem)
        cells, reductions = [], []
        for stage in range(STAGES):
            if stage:
                moments = given.reductions[stage - 1] if given else (None, None)
                x, used = _reduce(params.reductions[stage - 1], x, moments, gemm, plain)
                reductions.append(used)
            x, stacked = _stage(cell, params.cells[stage], x, given and given.cells[stage])
            cells.append(stacked)
        x, head = norm(x, params.head_norm, given and given.head)
        pooled = layers.relu(x).mean((1, 2))
        logits = pooled @ params.head + params.bias[None]
        return logits, Statistics(stem, tuple(cells), tuple(reductions), head)


def cost(arch: Graph, skeleton: Skeleton) -> Cost:
    """Returns the exact cost of one architecture. Host."""
    counts = counted(np.asarray(edge_operations(arch)), skeleton)
    return Cost(int(counts.params), int(counts.macs))


def table_flops(arch: Graph, skeleton: Skeleton) -> int:
    """Returns what the benchmark's published tables call flops. Host."""
    return int(counted(np.asarray(edge_operations(arch)), skeleton).table_flops)


class Counts(NamedTuple):
    """Exact counts of many architectures: int64[...] each."""

    params: np.ndarray
    macs: np.ndarray
    table_flops: np.ndarray


def counted(operations: np.ndarray, skeleton: Skeleton) -> Counts:
    """Returns the counts for operations int[..., 6]. Host; dead edges count, as in the published tables.

    `table_flops` follows the counter of the published tables: a multiply-add of a convolution or a linear layer is one,
    batch norm costs two and ReLU one per value, 3x3 pooling nine and 2x2 pooling four per value that comes out, and
    the global pooling of an h x h image (h + 1)^2 per channel.
    """
    operations = np.asarray(operations)
    conv1, conv3, pools = (np.asarray(np.sum(operations == name, -1, dtype=np.int64)) for name in (CONV1, CONV3, POOL))
    width, side = skeleton.channels, skeleton.resolution
    params = np.full_like(conv1, 9 * skeleton.in_channels * width + 2 * width)
    macs = np.full_like(conv1, 9 * skeleton.in_channels * width * side**2)
    flops = macs + 2 * width * side**2
    for stage in range(STAGES):
        if stage:
            half, width, side = width, 2 * width, side // 2
            weights = 9 * half * width + 9 * width * width + half * width
            params = params + weights + 4 * width
            macs = macs + weights * side**2
            elementwise = half * (2 * side) ** 2 + (2 + 1 + 2) * width * side**2 + 4 * half * side**2
            flops = flops + weights * side**2 + elementwise
        edges = (conv1 + 9 * conv3) * width**2
        params = params + skeleton.cells * (edges + 2 * width * (conv1 + conv3))
        macs = macs + skeleton.cells * edges * side**2
        flops = flops + skeleton.cells * (edges + 3 * width * (conv1 + conv3) + 9 * width * pools) * side**2
    params = params + 2 * width + width * skeleton.classes + skeleton.classes
    macs = macs + width * skeleton.classes
    flops = flops + 3 * width * side**2 + width * (side + 1) ** 2 + width * skeleton.classes
    return Counts(params, macs, flops)


def _stage(cell: _Cell, weights: CellWeights, x: Array, moments: _Moments) -> tuple[Array, Moments]:
    """All cells of one stage: a scan over their stacked weights, so that the program does not grow with N."""

    def step(x: Array, stacked: tuple[CellWeights, _Moments]) -> tuple[Array, Moments]:
        return cell(stacked[0], x, stacked[1])

    return lax.scan(step, x, (weights, moments))


def _reduce(
    w: ReductionWeights, x: Array, moments: tuple[_Moments, _Moments], gemm: bool, plain: bool
) -> tuple[Array, tuple[Moments, Moments]]:
    def layer(x: Array, kernel: Array, norm: Norm, stride: int, given: _Moments) -> tuple[Array, Moments]:
        if plain:
            return layers.plain_batch_norm(layers.plain_conv3x3(layers.relu(x), kernel, stride), norm, given)
        return layers.relu_conv_norm(x, kernel, norm, stride, given, gemm)

    y, first = layer(x, w.first, w.first_norm, 2, moments[0])
    y, second = layer(y, w.second, w.second_norm, 1, moments[1])
    return y + layers.average_pool2x2(x) @ w.shortcut, (first, second)


def _init_norm(shape: tuple[int, ...]) -> Norm:
    return Norm(jnp.ones(shape, jnp.float32), jnp.zeros(shape, jnp.float32))


def _normals(key: Key, shapes: list[tuple[int, ...]], variances: list[float]) -> list[Array]:
    """Normal arrays cut from one flat draw: XLA:CPU compiles a draw of rank six in eight seconds, a flat one in 0.2."""
    sizes = [math.prod(shape) for shape in shapes]
    flat = jax.random.normal(key, (sum(sizes),), jnp.float32)
    pieces = jnp.split(flat, list(itertools.accumulate(sizes))[:-1])
    scaled = zip(pieces, shapes, variances, strict=True)
    return [jnp.float32(variance**0.5) * piece.reshape(shape) for piece, shape, variance in scaled]
