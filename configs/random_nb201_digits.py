"""Random search, the baseline of GraphPNAS on digits.    nasjax search random_nb201_digits --seed 3

The same space, children and budget as `graphpnas_nb201_digits`; all 120 cells from the prior.

Expected: under 5 minutes on 2 cores. Figures: README, "What was measured".
"""

from nasjax.configs import graphpnas_nb201_digits
from nasjax.methods.random_search import RandomSearch
from nasjax.search import Search
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.train.population import ChildTraining


def config() -> Search[NasBench201, RandomSearch, ChildTraining]:
    """Returns the baseline: nothing differs but the method."""
    compared = graphpnas_nb201_digits.config()
    method = RandomSearch(batch=compared.method.batch)
    return Search(compared.space, method, compared.evaluator, compared.budget)
