"""GraphPNAS on NAS-Bench-101, the paper's protocol, beside its recurrent baseline.    nasjax sweep graphpnas_nb101

Evaluations in batches of ten, 150 in the paper, read there and after 300: 30 cells of the explorer (3 to 7 vertices, edges of
probability 1/4), then the generator, refitted to the 15 best before each batch. `elite`: the same loop with an LSTM for the
graph generator. Beside them the control `cem`. Told the modelled validation accuracy of one run, and of the mean of three, as
the paper's code is told three. The official test accuracies are not in this table: all figures are those of a *modelled table*,
and say so. All three explore with that explorer, so this `cem` is not quite that of `nb101_controls`.

Expected: 45 to 90 CPU-seconds a search of GraphPNAS, 24 to 55 of `elite`, two to four hours of one core in all.
Figures: docs/nasbench101_graphpnas.md. NASJAX_DATA names the folder with nasbench101.npz.
"""

from nasjax.configs import nb101_controls
from nasjax.methods.cem import Cem
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.methods.reinforce_rnn import ReinforceRnn
from nasjax.search import Budget
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep


def config() -> Sweep:
    """Returns the sweep of 50 seeds."""
    return Sweep(
        NasBench101(prior="er"),
        (
            Entry("graphpnas", GraphPNAS(batch=10, form="dense", explore_iters=3, elite=15, epochs=70)),
            Entry("elite", ReinforceRnn(batch=10, explore_iters=3, elite=15, epochs=70)),
            Entry("cem", Cem()),
        ),
        nb101_controls.tables(),
        Budget(evaluations=300),
        seeds=50,
        compare=Comparison(references=("cem",), measure="t1", at=(50, 100, 150, 300)),
    )
