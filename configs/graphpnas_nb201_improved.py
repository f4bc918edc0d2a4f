"""GraphPNAS in its improved form on NAS-Bench-201, one setting for three data sets.    nasjax sweep graphpnas_nb201_improved

100 queries of cells without `none`: 7 of the prior, then the generator's draws, of which the one of largest expected
improvement is asked for. The generator (3 rounds) is refitted to the 10 best before every fifth query, the surrogate's
hyperparameters before every third. Beside it the controls `cem`, `local_search` and `gp_bo`, at the same seeds.

Expected: 1.7 to 2.6 CPU-seconds a search of GraphPNAS, 20 CPU-minutes in all; at the optimum after 50 queries in 95 % of the
seeds on CIFAR-10, 99 % on CIFAR-100. Figures (--seeds 400): docs/nasbench201_graphpnas.md.
NASJAX_DATA names the folder with nasbench201.npz.
"""

from nasjax.methods.cem import Cem
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.methods.local_search import LocalSearch
from nasjax.search import Budget
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table

OPERATIONS = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

IMPROVED = GraphPNAS(
    fidelity="improved",
    batch=1,
    explore_iters=7,
    elite=10,
    epochs=20,
    refit_every=5,
    learning_rate=3e-3,
    rounds=3,
    form="dense",
    screen_candidates=128,
    screen_every=3,
)


def config() -> Sweep:
    """Returns the sweep of 200 seeds."""
    return Sweep(
        NasBench201(op_names=OPERATIONS),
        (
            Entry("graphpnas", IMPROVED),
            Entry("cem", Cem()),
            Entry("local_search", LocalSearch()),
            Entry("gp_bo", GpBo()),
        ),
        tuple(Table("nasbench201.npz", task, "val_acc@200") for task in ("cifar10", "cifar100", "ImageNet16-120")),
        Budget(evaluations=100),
        seeds=200,
        compare=Comparison(
            references=("cem",), at=(30, 50, 100), claims=("graphpnas",), against=("cem", "local_search", "gp_bo")
        ),
    )
