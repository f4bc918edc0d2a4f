"""The recurrent baseline on NAS-Bench-201, CIFAR-100, both objectives.    nasjax sweep reinforce_rnn_nb201_cifar100

200 unique queries of cells without `none`, read after 20, 50 and 100 too; 12-epoch and 200-epoch signals. `elite` (30 seeds):
the loop of GraphPNAS's paper with this data set's exploring queries, elite and epochs, and an LSTM for the graph generator.
`reinforce` (100 seeds): batches of ten, policy gradients. Their other settings: `reinforce_rnn_tuning`. Beside them the control
`cem`, at the same seeds.

Expected: 90 CPU-seconds a search of `elite`, a quarter of a second one of `reinforce`. Figures: docs/reinforce_rnn.md.
NASJAX_DATA names the folder with nasbench201.npz.
"""

from nasjax.methods.cem import Cem
from nasjax.methods.reinforce_rnn import ReinforceRnn
from nasjax.search import Budget
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table


def config() -> Sweep:
    """Returns the sweep."""
    return sweep("cifar100", explore_iters=15, elite=10, epochs=60)


def sweep(task: str, *, explore_iters: int, elite: int, epochs: int) -> Sweep:
    """Returns the sweep of one data set with its settings of the elite objective."""
    return Sweep(
        NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")),
        (
            Entry("elite", ReinforceRnn(explore_iters=explore_iters, elite=elite, epochs=epochs), seeds=30),
            Entry("reinforce", ReinforceRnn("reinforce", reward_scale=0.01)),
            Entry("cem", Cem()),
        ),
        tuple(Table("nasbench201.npz", task, signal) for signal in ("val_acc@12", "val_acc@200")),
        Budget(evaluations=200),
        seeds=100,
        compare=Comparison(references=("cem",), at=(20, 50, 100, 200)),
    )
