"""GraphPNAS in its improved form on NAS-Bench-101, modelled table.    nasjax sweep graphpnas_nb101_improved

300 unique queries, read at 50, 100, 150 and 300, told the modelled validation accuracy of one run, and of the mean of three.
The setting is NAS-Bench-201's (`graphpnas_nb201_improved`): nothing was set on this table. Beside it the control `cem`,
`local_search`, and the surrogates `gp_bo` (one-hot and paths) and `bananas`. The official test accuracies are not in this table:
all figures are those of a *modelled table*, and say so.

Expected: 25 to 36 CPU-seconds a search of GraphPNAS, 70 to 104 CPU-minutes in all; after 150 queries told one run a test
accuracy of 93.98, `cem` 93.86. Figures: docs/nasbench101_graphpnas.md. NASJAX_DATA names the folder with nasbench101.npz.
"""

from nasjax.configs.graphpnas_nb201_improved import IMPROVED
from nasjax.methods.bananas import Bananas
from nasjax.methods.cem import Cem
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.local_search import LocalSearch
from nasjax.search import Budget
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table


def config() -> Sweep:
    """Returns the sweep of 50 seeds."""
    return Sweep(
        NasBench101(),
        (
            Entry("graphpnas", IMPROVED),
            Entry("cem", Cem()),
            Entry("local_search", LocalSearch()),
            Entry("gp_bo", GpBo()),
            Entry("gp_bo_paths", GpBo(encoding="paths")),
            Entry("bananas", Bananas()),
        ),
        tuple(Table("nasbench101.npz", "cifar10", f"val_acc_model:{noise}") for noise in ("nb101", "nb101x3")),
        Budget(evaluations=300),
        seeds=50,
        compare=Comparison(
            references=("cem",),
            measure="t1",
            at=(50, 100, 150, 300),
            claims=("graphpnas",),
            against=("cem", "local_search", "gp_bo", "gp_bo_paths", "bananas"),
        ),
    )
