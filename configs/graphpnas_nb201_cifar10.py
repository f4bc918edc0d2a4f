"""GraphPNAS on NAS-Bench-201, CIFAR-10, the paper's protocol.    nasjax sweep graphpnas_nb201_cifar10

100 evaluations: 30 cells of four operations, then the generator, refitted to the 15 best before each query. It may
write `none`, which the exploring phase does not draw. The signal is one 12-epoch run, modelled (docs/tables.md),
and beside it the published mean of two.

Expected: 34 to 50 CPU-seconds a search. The official logs end at 94.344 (10 runs), ours at 94.17 told one run, 94.29 told the
mean. Figures: docs/nasbench201_graphpnas.md. NASJAX_DATA names the folder with nasbench201.npz.
"""

from nasjax.methods.graphpnas import GraphPNAS
from nasjax.search import Budget
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table


def config() -> Sweep:
    """Returns the sweep of 30 seeds."""
    return Sweep(
        NasBench201(prior="no_none"),
        (Entry("graphpnas", GraphPNAS(batch=1, form="dense", explore_iters=30, elite=15, epochs=70)),),
        (
            Table("nasbench201.npz", "cifar10", "val_acc@12:run"),
            Table("nasbench201.npz", "cifar10", "val_acc@12"),
        ),
        Budget(evaluations=100),
        seeds=30,
        compare=Comparison(references=(), at=(30, 50, 75, 100)),
    )
