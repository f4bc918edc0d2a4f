"""The controls and GraphPNAS on the digits table, which comes with nasjax: no download.    nasjax sweep digits_controls

100 queries of NAS-Bench-201's cells without `none`, told minus the validation cross-entropy (nats) of really trained
networks (`configs/digits_table.py`). GraphPNAS in its improved form, as it stands in `graphpnas_nb201_improved`: nothing was
set on this table.

Expected: 2 CPU-seconds a seed, nearly all of them GraphPNAS's; GraphPNAS ahead of `cem` and `local_search` after 20, 50 and 100
queries. Figures: docs/digits_table.md.
"""

from nasjax.configs.graphpnas_nb201_improved import IMPROVED, OPERATIONS
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


def config() -> Sweep:
    """Returns the sweep of 100 seeds."""
    return Sweep(
        NasBench201(op_names=OPERATIONS),
        (
            Entry("random_search", RandomSearch(batch=1)),
            Entry("regularized_evolution", RegularizedEvolution()),
            Entry("local_search", LocalSearch()),
            Entry("cem", Cem()),
            Entry("gp_bo", GpBo()),
            Entry("graphpnas", IMPROVED),
        ),
        (Table("digits", "digits", "neg_val_ce"),),
        Budget(evaluations=100),
        seeds=100,
        compare=Comparison(
            references=("cem",), at=(20, 50, 100), claims=("graphpnas",), against=("cem", "local_search", "gp_bo")
        ),
    )
