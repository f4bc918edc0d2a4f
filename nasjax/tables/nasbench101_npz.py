"""`nasbench101.npz`: all 423,624 cells of NAS-Bench-101, and `nasbench101_ec5v.npz`: those of at most five vertices.

Source: Ying et al. (arXiv:1902.09635); EC-NAS-Bench (arXiv:2210.06015) trained the small cells anew, for four epochs.
**Modelled**: the official test accuracies could not be had. `test_acc_model` and `test_acc_smooth` are a model of the mean
test accuracy, fitted on the 30,001 published validation figures `val_acc@108` (one run each); `val_acc_model` is what
a run's validation accuracy is on average given `test_acc_model`. The official table comes in by `nasbench101_tfrecord`.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nasjax.base import Graph, Space
from nasjax.spaces import nasbench101_cells, nasbench101_specs, nasbench101_words
from nasjax.spaces.nasbench101_specs import OPERATIONS
from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, Facts, given
from nasjax.tables.npz_arrays import Arrays
from nasjax.tables.signals import NB101_TEST, NB101_VALIDATION, nb101_validation

CELLS, SMALL_CELLS = 423_624, 2_532
VALIDATION_IMAGES = 9_984
VALIDATED = 30_001
EPOCHS = (4, 12, 36, 108)

FACTS = Facts(
    space="nasbench101",
    source="NAS-Bench-101 (Ying et al., arXiv:1902.09635); test accuracy modelled from 30,001 published validations",
    unit="percent",
    signal="val_acc_model:nb101",
    test="test_acc_model",
    modelled=(NB101_TEST, NB101_VALIDATION, "test_acc_smooth"),
    single=tuple(f"val_acc@{epochs}" for epochs in EPOCHS),
)

FACTS_SMALL = Facts(
    space="nasbench101",
    source="EC-NAS-Bench, 5 vertices, 4 epochs (arXiv:2210.06015)",
    unit="percent",
    signal="val_acc@4",
    test="test_acc@4",
    single=("val_acc@4", "val_acc@2of4"),
)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Cells in normal form as packed words, uint32[rows]."""

    words: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.words)

    def spec(self, row: int) -> str:
        """Returns the string of one row."""
        return nasbench101_specs.write(int(self.words[row]))

    def arrays(self, space: Space, table: Columns) -> Graph:
        """Returns Graph[rows] in NumPy."""
        del space, table
        return Graph(*nasbench101_words.unpacked(self.words))  # type: ignore[arg-type]


def columns(arrays: Arrays, name: str) -> Columns:
    """Returns the table.

    Raises:
      ValueError: an array is missing, damaged, or another one.
    """
    arrays.texts("op_names", OPERATIONS)
    cell, size = arrays.array("cell", "u", (CELLS,)), arrays.array("n", "u", (CELLS,))
    rows = arrays.array("val_row", "i", (VALIDATED,))
    counts = arrays.array("val_count", "u", (VALIDATED, len(EPOCHS)))
    if tuple(arrays.array("val_epochs", "u", (len(EPOCHS),)).tolist()) != EPOCHS:
        raise ValueError(f"array val_epochs: not {EPOCHS}")
    if not (np.diff(rows) > 0).all() or rows[0] < 0 or rows[-1] >= CELLS:
        raise ValueError("array val_row: not rows in ascending order")
    test = arrays.array("test_model_rough", "u", (CELLS,)) / 500
    published = np.zeros(CELLS, bool)
    published[rows] = True

    def some(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        column = np.full(CELLS, np.nan)
        column[rows] = values
        return column

    loaders = {
        NB101_VALIDATION: given(nb101_validation(test)),
        NB101_TEST: given(test),
        "test_acc_smooth": given(arrays.array("test_model", "u", (CELLS,)) / 500),
    }
    for place, epochs in enumerate(EPOCHS):
        loaders[f"val_acc@{epochs}"] = given(some(counts[:, place] / VALIDATION_IMAGES * 100), published)
    loaders["train_seconds@108"] = given(some(arrays.array("val_train_seconds", "f", (VALIDATED,))), published)
    loaders["params"] = given(arrays.array("params", "i", (CELLS,)))
    words = nasbench101_cells.from_published(cell, size)
    return Columns(name, "nasbench101_npz", Cells(words), loaders, FACTS)


def small_columns(arrays: Arrays, name: str) -> Columns:
    """Returns the table; `@4` is the end of the training, `@2of4` its half.

    Raises:
      ValueError: an array is missing, damaged, or another one.
    """
    arrays.texts("op_names", (*OPERATIONS, "input", "output"))
    arrays.texts("splits", ("train", "valid", "test"))
    accuracy = arrays.array("acc", "f", (SMALL_CELLS, 2, 3)).astype(np.float64) * 100
    seconds = arrays.array("train_seconds", "f", (SMALL_CELLS, 2))
    energy = arrays.array("train_kwh", "f", (SMALL_CELLS, 2))
    loaders = {}
    for place, fidelity in ((1, "4"), (0, "2of4")):
        for split, metric in ((1, "val_acc"), (2, "test_acc"), (0, "train_acc")):
            loaders[f"{metric}@{fidelity}"] = given(accuracy[:, place, split])
        loaders[f"train_seconds@{fidelity}"] = given(seconds[:, place])
        loaders[f"train_kwh@{fidelity}"] = given(energy[:, place])
    loaders["predict_seconds"] = given(arrays.array("predict_seconds", "f", (SMALL_CELLS,)))
    loaders["params"] = given(arrays.array("params", "i", (SMALL_CELLS,)))
    return Columns(name, "nasbench101_ec5v", Specs(tuple(_small_specs(arrays))), loaders, FACTS_SMALL)


def _small_specs(arrays: Arrays) -> Iterator[str]:
    """The strings of vertices, upper triangles of 5 x 5 row by row, and labels."""
    sizes = arrays.array("n", "u", (SMALL_CELLS,)).tolist()
    edges = arrays.array("adj", "u", (SMALL_CELLS, 10)).tolist()
    labels = arrays.array("ops", "u", (SMALL_CELLS, 5)).tolist()
    pairs = list(itertools.combinations(range(5), 2))
    for size, triangle, label in zip(sizes, edges, labels, strict=True):
        bits = "".join(str(bit) for bit, (_, j) in zip(triangle, pairs, strict=True) if j < size)
        yield bits + ":" + ",".join(OPERATIONS[operation] for operation in label[1 : size - 1])
