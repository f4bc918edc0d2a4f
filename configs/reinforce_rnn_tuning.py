"""Settings of the recurrent baseline, compared on NAS-Bench-201, CIFAR-100.    nasjax sweep reinforce_rnn_tuning

Both objectives, 100 queries of cells without `none`, 12-epoch signal. `reinforce`: three learning rates, three weights of the
entropy, two temperatures, 100 seeds each (--methods of 18 names). `elite`: three learning rates, two temperatures, 20 seeds.
The setting of least mean regret is the default of `ReinforceRnn`.

Expected: an eighth of a CPU-second a search of `reinforce`, 20 to 50 of `elite`, 50 to 105 CPU-minutes in all; least mean regret
.28 of `reinforce`, .08 of `elite`. Figures: docs/reinforce_rnn.md. NASJAX_DATA names the folder with nasbench201.npz.
"""

import itertools

from nasjax.methods.reinforce_rnn import ReinforceRnn
from nasjax.search import Budget
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table

RATES, ENTROPIES, TEMPERATURES = (1e-3, 3.5e-3, 1e-2), (0.0, 1e-4, 1e-2), (1.0, 5.0)


def config() -> Sweep:
    """Returns the sweep of 24 settings."""
    reinforce = [
        Entry(
            f"reinforce_{rate:g}_{entropy:g}_{temperature:g}",
            ReinforceRnn("reinforce", learning_rate=rate, entropy=entropy, temperature=temperature, reward_scale=0.01),
        )
        for rate, entropy, temperature in itertools.product(RATES, ENTROPIES, TEMPERATURES)
    ]
    elite = [
        Entry(
            f"elite_{rate:g}_{temperature:g}",
            ReinforceRnn("elite", learning_rate=rate, temperature=temperature),
            seeds=20,
        )
        for rate, temperature in itertools.product(RATES, TEMPERATURES)
    ]
    return Sweep(
        NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")),
        (*reinforce, *elite),
        (Table("nasbench201.npz", "cifar100", "val_acc@12"),),
        Budget(evaluations=100),
        seeds=100,
        compare=Comparison(references=(), at=(50, 100)),
    )
