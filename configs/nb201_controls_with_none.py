"""Random search and evolution on all of NAS-Bench-201.    nasjax sweep nb201_controls_with_none

The same as `nb201_controls` in the whole space, `none` included: what leaving that operation out is worth.

NASJAX_DATA names the folder with nasbench201.npz. Figures: docs/nasbench201_controls.md.
"""

import dataclasses

from nasjax.configs import nb201_controls
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.summary import Comparison
from nasjax.sweep import Sweep


def config() -> Sweep:
    """Returns the sweep of two methods."""
    sweep = nb201_controls.config()
    compare = Comparison(references=("random_search",), at=(20, 50, 100))
    methods = tuple(entry for entry in sweep.methods if entry.name in ("random_search", "regularized_evolution"))
    return dataclasses.replace(sweep, space=NasBench201(), methods=methods, compare=compare)
