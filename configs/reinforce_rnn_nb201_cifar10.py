"""The recurrent baseline on NAS-Bench-201, CIFAR-10, both objectives.    nasjax sweep reinforce_rnn_nb201_cifar10

As `reinforce_rnn_nb201_cifar100`, with this data set's exploring queries, elite and epochs.

Expected: 140 CPU-seconds a search of `elite`, a quarter of a second one of `reinforce`. Figures: docs/reinforce_rnn.md.
NASJAX_DATA names the folder with nasbench201.npz.
"""

from nasjax.configs import reinforce_rnn_nb201_cifar100
from nasjax.sweep import Sweep


def config() -> Sweep:
    """Returns the sweep."""
    return reinforce_rnn_nb201_cifar100.sweep("cifar10", explore_iters=30, elite=15, epochs=70)
