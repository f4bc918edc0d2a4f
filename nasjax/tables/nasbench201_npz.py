"""`nasbench201.npz`: all 15,625 cells of NAS-Bench-201 (NATS-Bench's topology space) on three data sets.

Source: Dong and Yang (arXiv:2001.00326; NATS-Bench, arXiv:2009.00437). Validation at 200 epochs is the mean of two or three
runs, which are there; at 12 epochs CIFAR-10's is the mean of two runs, which are not. `flops` counts as NAS-Bench-Suite-Zero
does, `flops_nats` multiply-adds of convolutions and classifier.
Ours: those two are modelled as mean ± delta, delta = |N(0, 0.445)| once for each string: its median, 0.30, is what was
seen between two such runs in a published log.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, Facts, given
from nasjax.tables.npz_arrays import Arrays

CELLS, TASKS = 15_625, ("cifar10", "cifar100", "ImageNet16-120")
VALIDATION_IMAGES = (25_000, 5_000, 3_000)
NO_RUN = 0xFFFF

DELTA_SEED, DELTA_SD = 201, 0.445

FACTS = Facts(
    space="nasbench201",
    source="NAS-Bench-201 / NATS-Bench topology (Dong and Yang, arXiv:2001.00326, arXiv:2009.00437)",
    unit="percent",
    signal="val_acc@12",
    test="test_acc@200",
    modelled=("val_acc@12:delta",),
    single=("cifar100/val_acc@12", "ImageNet16-120/val_acc@12"),
)


def columns(arrays: Arrays, name: str) -> Columns:
    """Returns the table.

    Raises:
      ValueError: an array is missing, damaged, or another one.
    """
    arrays.texts("datasets", TASKS)
    archs = arrays.array("arch", "U", (CELLS,))
    code = arrays.array("code", "iu", (CELLS,))
    runs = arrays.array("val200_runs", "u", (CELLS, 3, 3))
    figures = {
        "val_acc@12": arrays.array("val12", "f", (CELLS, 3)),
        "val_acc@200": arrays.array("val200", "f", (CELLS, 3)),
        "test_acc@12": arrays.array("test12", "f", (CELLS, 3)),
        "test_acc@200": arrays.array("test200", "f", (CELLS, 3)),
        "train_seconds@200": arrays.array("train_seconds200", "f", (CELLS, 3)),
        "params": arrays.array("params", "iu", (CELLS, 3)),
        "flops": arrays.array("flops", "iu", (CELLS, 3)),
        "flops_nats": arrays.array("flops_nats", "iu", (CELLS, 3)),
    }
    figures["train_seconds@12"] = figures["train_seconds@200"].astype(np.float64) * (12 / 200)
    loaders = {}
    for place, task in enumerate(TASKS):
        for column, values in figures.items():
            loaders[f"{task}/{column}"] = given(values[:, place])
        for run in range(3):
            counts = runs[:, place, run]
            accuracy = counts / VALIDATION_IMAGES[place] * 100
            loaders[f"{task}/val_acc@200:run{run}"] = given(accuracy, counts != NO_RUN)
    loaders["cifar10/val_acc@12:delta"] = lambda: given(deltas(code))()
    return Columns(name, "nasbench201_npz", Specs(tuple(archs.tolist())), loaders, FACTS)


def deltas(code: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Returns float64[n], half the difference between two 12-epoch runs on CIFAR-10 of the strings with these codes.

    `|normal(fold_in(key(201), code))| * 0.445`, drawn on the CPU, so that every machine has the same.
    """
    with jax.default_device(jax.devices("cpu")[0]):
        return np.asarray(_deltas(jnp.asarray(code)), np.float64)


@jax.jit
@jax.vmap
def _deltas(code: jax.Array) -> jax.Array:
    key = jax.random.fold_in(jax.random.key(DELTA_SEED), code)
    drawn: jax.Array = jnp.abs(jax.random.normal(key)) * jnp.float32(DELTA_SD)
    return drawn
