"""GraphPNAS's improved form with one part taken out at a time.    nasjax sweep graphpnas_nb201_ablation

NAS-Bench-201, three data sets, 200-epoch signal, 60 queries, 60 paired seeds; each form is tested against the whole one.
`prior` has no generator: the surrogate chooses among draws of the prior.

Expected: 35 to 65 CPU-minutes; without the Gaussian process 0.2 to 0.3, 0.6 to 0.9 and 0.3 to 0.5 points more regret after 50
queries on CIFAR-10, CIFAR-100 and ImageNet16-120. Figures: docs/nasbench201_graphpnas.md.
NASJAX_DATA names the folder with nasbench201.npz.
"""

import dataclasses
from typing import Any

from nasjax.configs.graphpnas_nb201_improved import IMPROVED, OPERATIONS
from nasjax.search import Budget
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table

WITHOUT: dict[str, dict[str, Any]] = {
    "improved": {},
    "code_objective": {"objective": "code"},
    "no_smoothing": {"prior_smoothing": 0.0},
    "no_screen": {"screen": "none"},
    "ridge_screen": {"screen": "ridge"},
    "likelihood_screen": {"screen": "likelihood"},
    "prior": {"prior_smoothing": 1.0, "refit_every": 1000},
    "refit_always": {"refit_every": 1},
    "seven_rounds": {"rounds": 7},
    "explore_15": {"explore_iters": 15},
}
"""What differs from the whole form, by name."""


def config() -> Sweep:
    """Returns the sweep of 60 seeds."""
    entries = tuple(Entry(name, dataclasses.replace(IMPROVED, **changed)) for name, changed in WITHOUT.items())
    return Sweep(
        NasBench201(op_names=OPERATIONS),
        entries,
        tuple(Table("nasbench201.npz", task, "val_acc@200") for task in ("cifar10", "cifar100", "ImageNet16-120")),
        Budget(evaluations=60),
        seeds=60,
        compare=Comparison(references=("improved",), at=(30, 50, 60)),
    )
