"""GraphPNAS's graph generator: writes an architecture node by node, each with its incoming edges.

p(G) = Π_t p(row t | rows < t) · p(label of node t | rows < t) · Π_j p(label of edge j -> t | rows < t). Row t is drawn from
a mixture of K products of Bernoullis. A graph network on prefix t (`prefixes`) gives all logits, for all prefixes of a
known graph in one call.

Source: Li et al., "GraphPNAS" (arXiv:2211.15155), and its code `DSL-Lab/GraphPNAS`.
Ours: an edge that exists is never labelled "none" (`none_label="mask"`), so that p is a distribution over graphs; heads
without outputs are not built; the edges of a chain (`Alphabet.chain`) stand in all inputs, and nowhere in likelihood,
draws and the loss's count of pairs. As in that code, node labels do not enter the network unless `node_label_input`.
"""

from nasjax.generator.likelihood import (
    edge_log_prob,
    label_log_prob,
    log_prob,
    log_probs,
    loss,
    losses,
    row_subset,
)
from nasjax.generator.model import (
    GeneratorConfig,
    Logits,
    Marginals,
    Params,
    init,
    num_parameters,
    prefix_logits,
    teacher_forced,
)
from nasjax.generator.sampling import sample, sample_batch

__all__ = [
    "GeneratorConfig",
    "Logits",
    "Marginals",
    "Params",
    "edge_log_prob",
    "init",
    "label_log_prob",
    "log_prob",
    "log_probs",
    "loss",
    "losses",
    "num_parameters",
    "prefix_logits",
    "row_subset",
    "sample",
    "sample_batch",
    "teacher_forced",
]
