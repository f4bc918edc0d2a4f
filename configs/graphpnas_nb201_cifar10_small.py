"""GraphPNAS on small colour images: CIFAR-10 at 16x16.    nasjax search graphpnas_nb201_cifar10_small

Real children on a part of CIFAR-10's training images, scaled down to 16x16: a proxy that ends in 20 minutes, not a
result on CIFAR-10. `nasjax data prepare cifar10` makes the images ready. Both phases leave the operation `none` out.

Expected: 20 minutes on 2 cores. Figures: docs/cifar10_small.md.
"""

from nasjax.methods.graphpnas import GraphPNAS
from nasjax.search import Budget, Search
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.train.data import TaskSettings
from nasjax.train.population import ChildTraining
from nasjax.train.recipe import Recipe


def config() -> Search[NasBench201, GraphPNAS, ChildTraining]:
    """Returns 40 cells of the prior and 80 of the generator, each trained for 750 steps of 32 images."""
    return Search(
        NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")),
        GraphPNAS(batch=8, explore_iters=5, elite=15, epochs=70),
        ChildTraining(
            task=TaskSettings("cifar10", resolution=16, train_images=4000, validation_images=2000),
            channels=16,
            cells=1,
            recipe=Recipe(epochs=6, batch=32, learning_rate=0.1, weight_decay=5e-4),
            reward="neg_val_ce",
        ),
        Budget(evaluations=120),
    )
