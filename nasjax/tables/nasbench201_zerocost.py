"""`nasbench201_zerocost.npz`: 13 zero-cost scores of NAS-Bench-201's 9,445 cells without dead edges, on two data sets.

Source: NAS-Bench-Suite-Zero (Krishnakumar et al., NeurIPS 2022, arXiv:2210.03230). More of a score is meant to be better. The
all-`none` cell has -1e8 where a score was no number. Nothing is trained, so there is no accuracy to report: the accuracies of
the same strings are `nasbench201.npz`'s.
"""

import numpy as np

from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, Facts, given
from nasjax.tables.npz_arrays import Arrays

CELLS, TASKS = 9_445, ("cifar10", "ImageNet16-120")
SCORES = (
    *("epe_nas", "fisher", "flops", "grad_norm", "grasp", "jacov", "l2_norm"),
    *("nwot", "params", "plain", "snip", "synflow", "zen"),
)
_MILLIONS = (
    "flops",
    "params",
)  # in the file; as whole numbers here, as in other tables (flops to the file's seven digits)

FACTS = Facts(
    space="nasbench201",
    source="NAS-Bench-Suite-Zero (Krishnakumar et al., arXiv:2210.03230): scores without training",
    signal="nwot",
)


def columns(arrays: Arrays, name: str) -> Columns:
    """Returns the table.

    Raises:
      ValueError: an array is missing, damaged, or another one.
    """
    arrays.texts("datasets", TASKS)
    arrays.texts("proxies", SCORES)
    archs = arrays.array("arch", "U", (CELLS,))
    scores = arrays.array("scores", "f", (len(TASKS), CELLS, len(SCORES)))
    scores = scores.astype(np.float64)
    for score in _MILLIONS:
        column = SCORES.index(score)
        scores[..., column] = np.rint(scores[..., column] * 1e6)
    loaders = {
        f"{task}/{score}": given(scores[place, :, column])
        for place, task in enumerate(TASKS)
        for column, score in enumerate(SCORES)
    }
    return Columns(name, "nasbench201_zerocost", Specs(tuple(archs.tolist())), loaders, FACTS)
