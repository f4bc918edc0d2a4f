"""The controls on NAS-Bench-201's table, without the operation `none`.    nasjax sweep nb201_controls

What any learned method has to beat: 100 unique queries, 500 seeds (100 of the two that train a model), three data sets, and
as signal the validation accuracy after 12 epochs and after 200. The primary measure is the regret of that signal.

Expected: 16 CPU-minutes; regret with the 200-epoch signal on CIFAR-10, CIFAR-100 and ImageNet16-120 .04, .06 and .13 (`cem`),
.01, .01 and .23 (`local_search`), .01, .00 and .04 (`gp_bo`). NASJAX_DATA names the folder with nasbench201.npz. Figures:
docs/nasbench201_controls.md.
"""

from nasjax.methods.bananas import Bananas
from nasjax.methods.cem import Cem
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.local_search import LocalSearch
from nasjax.methods.random_search import RandomSearch
from nasjax.methods.regularized_evolution import RegularizedEvolution
from nasjax.search import Budget
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table

TASKS = ("cifar10", "cifar100", "ImageNet16-120")
SIGNALS = ("val_acc@12", "val_acc@200")


def config() -> Sweep:
    """Returns the sweep; `with none` is `nb201_controls_with_none`."""
    return Sweep(
        NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")),
        (
            Entry("random_search", RandomSearch(batch=1)),
            Entry("regularized_evolution", RegularizedEvolution()),
            Entry("local_search", LocalSearch()),
            Entry("cem", Cem()),
            Entry("cem_a1", Cem(explore=10, elite=15, pseudo=1.0)),
            Entry("gp_bo", GpBo(), seeds=100),
            Entry("bananas", Bananas(), seeds=100),
        ),
        tables(),
        Budget(evaluations=100),
        seeds=500,
        compare=Comparison(references=("cem", "local_search"), at=(20, 50, 100)),
    )


def tables() -> tuple[Table, ...]:
    """Returns the three data sets with both signals."""
    return tuple(Table("nasbench201.npz", task, signal) for signal in SIGNALS for task in TASKS)
