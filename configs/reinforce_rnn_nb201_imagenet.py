"""The recurrent baseline on NAS-Bench-201, ImageNet16-120, both objectives.    nasjax sweep reinforce_rnn_nb201_imagenet

As `reinforce_rnn_nb201_cifar100`, with this data set's exploring queries, elite and epochs.

Expected: 50 CPU-seconds a search of `elite`, a quarter of a second one of `reinforce`. Figures: docs/reinforce_rnn.md.
NASJAX_DATA names the folder with nasbench201.npz.
"""

from nasjax.configs import reinforce_rnn_nb201_cifar100
from nasjax.sweep import Sweep


def config() -> Sweep:
    """Returns the sweep."""
    return reinforce_rnn_nb201_cifar100.sweep("ImageNet16-120", explore_iters=10, elite=5, epochs=50)
