"""GraphPNAS on NAS-Bench-201, ImageNet16-120, the paper's protocol.    nasjax sweep graphpnas_nb201_imagenet

100 evaluations: 10 cells of four operations, then the generator, refitted to the 5 best before each query. It may
write `none`, which the exploring phase does not draw. The signal is the 12-epoch validation, as in the official log,
and one of the 200-epoch runs, as in its code.

Expected: 12 to 21 CPU-seconds a search. The official logs end at 46.495 (10 runs), ours at 46.435 with their signal.
Figures: docs/nasbench201_graphpnas.md.
NASJAX_DATA names the folder with nasbench201.npz.
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
        (Entry("graphpnas", GraphPNAS(batch=1, form="dense", explore_iters=10, elite=5, epochs=50)),),
        (
            Table("nasbench201.npz", "ImageNet16-120", "val_acc@12"),
            Table("nasbench201.npz", "ImageNet16-120", "val_acc@200:run"),
        ),
        Budget(evaluations=100),
        seeds=30,
        compare=Comparison(references=(), at=(30, 50, 75, 100)),
    )
