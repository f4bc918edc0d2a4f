"""GraphPNAS on NAS-Bench-201 cells, really trained on digits.    nasjax search graphpnas_nb201_digits --seed 3

A generator is refitted ten times to the elite of what was evaluated so far: 40 cells of the prior, then 80 of the
generator, each trained for 300 steps (8 channels, one cell a stage; digits shifted and noisy) and rewarded with minus its
cross-entropy on validation images. Both phases leave the operation `none` out.

Expected: under 6 minutes on 2 cores. Figures: README, "What was measured".
"""

from nasjax.methods.graphpnas import GraphPNAS
from nasjax.search import Budget, Search
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.train.data import TaskSettings
from nasjax.train.population import ChildTraining


def config() -> Search[NasBench201, GraphPNAS, ChildTraining]:
    """Returns the experiment of `make search`."""
    return Search(
        NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")),
        GraphPNAS(batch=8, explore_iters=5, elite=15, epochs=70),
        ChildTraining(task=TaskSettings("digits"), channels=8, cells=1, reward="neg_val_ce"),
        Budget(evaluations=120),
    )
