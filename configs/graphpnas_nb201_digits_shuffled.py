"""Control of GraphPNAS on digits: it learns from shuffled rewards.    nasjax search graphpnas_nb201_digits_shuffled

Each reward told is drawn uniformly from those up to and including this one, so what the generator learns has nothing to do
with the architectures; the run records the true rewards. A gain under this control would not come from learning.

Expected: under 6 minutes on 2 cores. Figures: README, "What was measured".
"""

from nasjax.configs import graphpnas_nb201_digits
from nasjax.methods.shuffled import Shuffled
from nasjax.search import Search
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.train.population import ChildTraining


def config() -> Search[NasBench201, Shuffled, ChildTraining]:
    """Returns the control: nothing differs but the rewards that the method is told."""
    controlled = graphpnas_nb201_digits.config()
    return Search(controlled.space, Shuffled(controlled.method), controlled.evaluator, controlled.budget)
