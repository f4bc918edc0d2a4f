"""GraphPNAS on NAS-Bench-201, CIFAR-10, with the epochs of the official log.    nasjax sweep graphpnas_nb201_cifar10_ramp

As `graphpnas_nb201_cifar10`, told one modelled 12-epoch run, but for the epochs of a refit: 23, then 46, then 70, as the official
log's, where the released code has 70 throughout. The same 30 seeds: is that why the log ends higher?

Expected: 31 to 45 CPU-seconds a search, a quarter of an hour or more in all; ends at 94.24, the log at 94.344. Figures:
docs/nasbench201_graphpnas.md. NASJAX_DATA names the folder with nasbench201.npz.
"""

import dataclasses

from nasjax.configs import graphpnas_nb201_cifar10
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.sweep import Entry, Sweep


def config() -> Sweep:
    """Returns the sweep of 30 seeds."""
    paper = graphpnas_nb201_cifar10.config()
    method = GraphPNAS(batch=1, form="dense", explore_iters=30, elite=15, epochs=70, epoch_ramp=True)
    return dataclasses.replace(paper, methods=(Entry("graphpnas_ramp", method),), tasks=paper.tasks[:1])
