"""GraphPNAS's paper form with one thing changed at a time.    nasjax sweep graphpnas_nb201_additions

NAS-Bench-201, CIFAR-100, the protocol of `graphpnas_nb201_cifar100` (100 queries, one of the 200-epoch runs), 50 paired seeds;
each form is tested against the paper's. `objective`, `prior_smoothing` and `screen` are the improved form's; leaving one switch
out of that: `graphpnas_nb201_ablation`.

Expected: 3 to 5 CPU-hours, 20 to 50 CPU-seconds a search, 5 to 10 with `warm_start`; stopped and started again, it goes on
(--methods paper,screen,… for some). Only `screen` makes a difference: regret .17 for .77 after 50 queries (another machine:
.16 for .91). Figures: docs/nasbench201_graphpnas.md. NASJAX_DATA names the folder with nasbench201.npz.
"""

import dataclasses
from typing import Any, cast

from nasjax.configs import graphpnas_nb201_cifar100
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep

WITH: dict[str, dict[str, Any]] = {
    "paper": {},
    "warm_start": {"warm_start": "params", "reset_every": 10},
    "full_batch": {"full_batch": True},
    "stop_at": {"stop_at": 3.0},
    "objective": {"objective": "nll"},
    "elite": {"elite_rule": "fraction"},
    "weights": {"weights": "log"},
    "prior_smoothing": {"prior_smoothing": 0.1},
    "screen": {"screen": "gp"},
}
"""What differs from the paper's form, by name."""


def config() -> Sweep:
    """Returns the sweep of 50 seeds."""
    protocol = graphpnas_nb201_cifar100.config()
    paper = cast(GraphPNAS, protocol.methods[0].method)
    return dataclasses.replace(
        protocol,
        methods=tuple(Entry(name, dataclasses.replace(paper, **changed)) for name, changed in WITH.items()),
        seeds=50,
        compare=Comparison(references=("paper",), at=(30, 50, 100)),
    )
