"""GraphPNAS on NAS-Bench-201, CIFAR-100, the paper's protocol.    nasjax sweep graphpnas_nb201_cifar100

100 evaluations: 15 cells of four operations, then the generator, refitted to the 10 best before each query. It may
write `none`, which the exploring phase does not draw. The signal is one of the 200-epoch runs, drawn once for each cell.

Expected: 22 to 40 CPU-seconds a search. The official logs end at 73.345 (5 runs), ours at 73.23. Figures:
docs/nasbench201_graphpnas.md. NASJAX_DATA names the folder with nasbench201.npz.
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
        (Entry("graphpnas", GraphPNAS(batch=1, form="dense", explore_iters=15, elite=10, epochs=60)),),
        (Table("nasbench201.npz", "cifar100", "val_acc@200:run"),),
        Budget(evaluations=100),
        seeds=30,
        compare=Comparison(references=(), at=(30, 50, 75, 100)),
    )
