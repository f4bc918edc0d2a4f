"""The hash by which NAS-Bench-101 names a cell: MD5 of its vertices' neighbourhoods, iterated. Host.

Source: the public code of google-research/nasbench (Apache-2.0), `lib/graph_util.py`; Ying et al. (arXiv:1902.09635).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasjax.base import Graph
from nasjax.spaces import nasbench101_specs

INPUT, OUTPUT = -1, -2
"""Labels of the two ends; operations are numbered from 0 in the order of `nasbench101.OPERATIONS`."""


def nasbench_hash(arch: Graph) -> str:
    """Returns the official hash of one architecture, of what is left after pruning: 32 hexadecimal digits.

    Raises:
      ValueError: the architecture is no cell.
    """
    matrix, operations = nasbench101_specs.vertices(nasbench101_specs.normal_word(arch))
    return hash_module(matrix, [INPUT, *operations, OUTPUT])


def hash_module(matrix: npt.ArrayLike, labels: Sequence[int]) -> str:
    """Returns 32 hexadecimal digits, equal for isomorphic cells; all 423,624 different cells have different ones.

    Args:
      matrix: [n, n] of 0 and 1; `[i, j]` = an edge i -> j, i < j. Not pruned here, as in the published code.
      labels: n of them, `INPUT` first and `OUTPUT` last.

    Raises:
      ValueError: the matrix is not square, or has not as many rows as there are labels.
    """
    edges = np.asarray(matrix)
    if edges.shape != (len(labels), len(labels)):
        raise ValueError(f"nasbench101: a matrix of shape {edges.shape} for {len(labels)} labels")
    before = [np.flatnonzero(column).tolist() for column in edges.T]
    after = [np.flatnonzero(row).tolist() for row in edges]
    # The text is what Python prints for the tuple and the list: the published hashes depend on it.
    hashes = [_md5(str((len(a), len(b), int(label)))) for a, b, label in zip(after, before, labels, strict=True)]
    for _ in labels:
        hashes = [
            _md5("".join(sorted(hashes[i] for i in b)) + "|" + "".join(sorted(hashes[i] for i in a)) + "|" + own)
            for a, b, own in zip(after, before, hashes, strict=True)
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
