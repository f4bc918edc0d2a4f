"""The controls on NAS-Bench-101's cells, modelled accuracies.    nasjax sweep nb101_controls

300 unique queries, read at 50, 150 and 300, told the modelled validation accuracy of one run, and of the mean of three. The
official test accuracies are not in this table: all figures are those of a *modelled table*, and say so. For official figures,
import the official file (`nasjax table import nasbench101_tfrecord …`) and name it: `--table FILE --signals
val_acc@108:run,val_acc@108`.

500 seeds, 50 of `gp_bo` and `bananas`. Expected: 27 to 45 CPU-minutes; after 150 queries told one run test accuracies of 93.88
(`cem`), 93.80 (evolution), 93.79 (`local_search`), 93.89 (`gp_bo`). NASJAX_DATA names the folder with nasbench101.npz. Figures:
docs/nasbench101_controls.md.
"""

from nasjax.methods.bananas import Bananas
from nasjax.methods.cem import Cem
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.local_search import LocalSearch
from nasjax.methods.random_search import RandomSearch
from nasjax.methods.regularized_evolution import RegularizedEvolution
from nasjax.methods.reinforce_rnn import ReinforceRnn
from nasjax.search import Budget
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table


def config() -> Sweep:
    """Returns the sweep; the prior is NAS-Bench-101's usual matrix sampler."""
    return Sweep(
        NasBench101(),
        (
            Entry("random_search", RandomSearch(batch=1)),
            Entry("regularized_evolution", RegularizedEvolution()),
            Entry("local_search", LocalSearch()),
            Entry("cem", Cem()),
            Entry("reinforce", ReinforceRnn("reinforce", reward_scale=0.01)),
            Entry("gp_bo", GpBo(), seeds=50),
            Entry("bananas", Bananas(), seeds=50),
        ),
        tables(),
        Budget(evaluations=300),
        seeds=500,
        compare=Comparison(references=("cem", "local_search"), at=(50, 150, 300)),
    )


def tables() -> tuple[Table, ...]:
    """Returns both signals."""
    return tuple(Table("nasbench101.npz", "cifar10", f"val_acc_model:{noise}") for noise in ("nb101", "nb101x3"))
