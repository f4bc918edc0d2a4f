"""The controls on NAS-Bench-201's table with twice the queries.    nasjax sweep nb201_controls_200

As `nb201_controls`, read after 200 unique queries.

Expected: 30 to 50 CPU-minutes; regret with the 200-epoch signal on CIFAR-10, CIFAR-100 and ImageNet16-120 .005, .003 and .014
(`cem`). NASJAX_DATA names the folder with nasbench201.npz. Figures: docs/nasbench201_controls.md.
"""

import dataclasses

from nasjax.configs import nb201_controls
from nasjax.search import Budget
from nasjax.sweep import Sweep


def config() -> Sweep:
    """Returns the sweep."""
    controls = nb201_controls.config()
    compare = dataclasses.replace(controls.compare, at=(200,))
    return dataclasses.replace(controls, budget=Budget(evaluations=200), compare=compare)
