"""The controls on all of NAS-Bench-201, `none` included.    nasjax sweep nb201_controls_with_none

The same as `nb201_controls` in the whole space, read after 20, 50, 100 and 200 queries: what leaving that operation out is worth.

Expected: 40 CPU-minutes; after 100 queries regret with the 200-epoch signal on CIFAR-10, CIFAR-100 and ImageNet16-120 .06, .16
and .20 (`cem`), .12, .46 and .34 (evolution). NASJAX_DATA names the folder with nasbench201.npz. Figures:
docs/nasbench201_controls.md.
"""

import dataclasses

from nasjax.configs import nb201_controls
from nasjax.search import Budget
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.sweep import Sweep


def config() -> Sweep:
    """Returns the sweep."""
    controls = nb201_controls.config()
    compare = dataclasses.replace(controls.compare, at=(20, 50, 100, 200))
    return dataclasses.replace(controls, space=NasBench201(), budget=Budget(evaluations=200), compare=compare)
