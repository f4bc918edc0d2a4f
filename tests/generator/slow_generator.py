"""GraphPNAS's generator once more, slowly: NumPy float64, one edge at a time, after the paper and its code.

Shares nothing with `nasjax.generator`: loops over prefixes, rounds, nodes and edges; parameters by name, weights
[out, in] as in PyTorch. Source: Li et al., arXiv:2211.15155, and its code `DSL-Lab/GraphPNAS`.
"""

import dataclasses
import math

import numpy as np

ROUND_PARTS = ("W1", "W2", "V1", "V2", "GRU_i", "GRU_h")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a generator; n_v and n_e are 0 where nodes or edges have no labels."""

    N: int
    n_v: int = 0
    n_e: int = 0
    H: int = 24
    R: int = 7
    K: int = 10
    width: int = 128
    node_label_input: bool = False
    label_after_edges: bool = False


def tensors(s):
    """The layers in order, (name, outputs, inputs): a name is a tuple of a part and its place."""
    yield ("inp",), s.H - s.N, s.N
    shapes = ((s.H, 2 * s.H), (s.H, s.H), (s.width, 2 * s.H), (s.H, s.width), (3 * s.H, s.H), (3 * s.H, s.H))
    for r in range(s.R):
        for part, (out, inputs) in zip(ROUND_PARTS, shapes, strict=True):
            yield (part, r), out, inputs
    for head, out in (("theta", s.K), ("alpha", s.K), ("phi", s.n_v), ("psi", s.n_e)):
        if out:
            yield (head, 0), s.H, s.H
            yield (head, 1), s.H, s.H
            yield (head, 2), out, s.H
    if s.node_label_input:
        yield ("node_input",), s.H, s.n_v  # without a bias


def sine_params(s):
    """Weights by a formula, so that numbers can be written down: {name: (weight [out, in], bias [out])}."""
    found = {}
    for k, (name, out, inputs) in enumerate(tensors(s)):
        o, i = np.arange(out, dtype=float), np.arange(inputs, dtype=float)
        weight = np.sin(1 + 0.7 * k + 1.3 * o[:, None] + 0.37 * i[None, :]) / math.sqrt(inputs)
        found[name] = (weight, 0.1 * np.cos(0.5 * k + 0.9 * o))
    return found


def random_params(s, seed, scale=2.0):
    """Weights large enough that distributions are far from uniform."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=(out, inputs)) * scale / math.sqrt(inputs), rng.normal(size=out) * 0.3)
        for name, out, inputs in tensors(s)
    }


def zero_params(s):
    return {name: (np.zeros((out, inputs)), np.zeros(out)) for name, out, inputs in tensors(s)}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def linear(p, name, x):
    weight, bias = p[name]
    return weight @ x + bias


def head(p, name, x):
    return linear(p, (name, 2), relu(linear(p, (name, 1), relu(linear(p, (name, 0), x)))))


def log_softmax(x):
    x = np.asarray(x, float)
    shifted = x - x.max()
    return shifted - math.log(np.exp(shifted).sum())


def initial_state(p, s, A, v, i):
    """State of old node i: its row of A through a linear map, then which node it is."""
    a = np.array([1.0 if A[i][j] else 0.0 for j in range(s.N)])
    which = np.zeros(s.N)
    which[i] = 1
    state = np.concatenate([linear(p, ("inp",), a), which])
    if s.node_label_input:
        state = state + p[("node_input",)][0][:, v[i]]
    return state


def edge_feature(s, sender, receiver, t, label):
    """Roles (ranges overlap), label, and -1 at the sender, +1 at the receiver."""
    D = s.H - s.n_e - s.N
    f = np.zeros(s.H)
    f[1 if sender == t else 0] = 1
    f[2 if receiver == t else 1] = 1
    if s.n_e:
        f[D + label] = 1
    f[D + s.n_e + sender] = -1
    f[D + s.n_e + receiver] = 1
    return f


def message_edges(s, A, L, t, new):
    """(sender, receiver, feature) of all messages of prefix t: present old pairs and the new node with nodes `new`."""
    pairs = [(i, j, L[i][j]) for i in range(t) for j in range(i) if A[i][j]] + [(t, j, 0) for j in new]
    edges = []
    for i, j, label in pairs:
        edges += [(i, j, edge_feature(s, i, j, t, label)), (j, i, edge_feature(s, j, i, t, label))]
    return edges


def one_round(p, h, edges, r):
    """States after round r, each [H], given all edges (sender, receiver, feature)."""
    H = len(h[0])
    if r > 0:
        h = [relu(x) for x in h]
    received = [np.zeros(H) for _ in h]
    for sender, receiver, feature in edges:
        z = np.concatenate([h[sender] - h[receiver], feature])
        message = linear(p, ("W2", r), relu(linear(p, ("W1", r), z)))
        gate = sigmoid(linear(p, ("V2", r), relu(linear(p, ("V1", r), z))))
        received[receiver] = received[receiver] + message * gate
    after = []
    for a, x in zip(received, h, strict=True):
        from_input, from_state = linear(p, ("GRU_i", r), a), linear(p, ("GRU_h", r), x)
        reset = sigmoid(from_input[:H] + from_state[:H])
        update = sigmoid(from_input[H : 2 * H] + from_state[H : 2 * H])
        new = np.tanh(from_input[2 * H :] + reset * from_state[2 * H :])
        after.append((1 - update) * new + update * x)
    return after


def prefix_logits(p, s, A, L, v, t):
    """Logits of row t: edge [t + 1, K], mixture [K], node [n_v] and label [t + 1, n_e], raw.

    A bool[N, N] and L int[N, N] by rows (row i: incoming edges of i and their labels), v int[N]. Reads rows < t alone,
    and row t for the node logits under label_after_edges.
    """
    h = [initial_state(p, s, A, v, i) for i in range(t)] + [np.zeros(s.H)]
    for r in range(s.R):
        before = h
        h = one_round(p, h, message_edges(s, A, L, t, range(t)), r)
    differences = [h[t] - h[j] for j in range(t + 1)]
    state = h[t]
    if s.label_after_edges:
        true = [j for j in range(t) if A[t][j]]
        state = one_round(p, before, message_edges(s, A, L, t, true), s.R - 1)[t]
    return {
        "edge": np.array([head(p, "theta", d) for d in differences]),
        "mixture": sum(head(p, "alpha", d) for d in differences) / (t + 1),
        "node": head(p, "phi", state) if s.n_v else None,
        "label": np.array([head(p, "psi", d) for d in differences]) if s.n_e else None,
    }


def masked(logits, out):
    logits = np.array(logits, float)
    logits[list(out)] = -np.inf
    return logits


def evaluate(
    p,
    s,
    L,
    v=None,
    n=None,
    A=None,
    *,
    none_label="mask",
    first_labelled=0,
    masked_edges=(),
    masked_nodes=(),
    chain=False,
):
    """One graph of n nodes: log p in parts, and the loss with weight 1.

    `A` is L > 0, unless edges that exist may be labelled 0. With `chain` the edges t-1 -> t are given, hence no factors.

    Returns:
      {"edges": log p(A), "labels": the label term, "log_prob": their sum, "loss": the published code's loss}.
    """
    v, n = [0] * s.N if v is None else v, s.N if n is None else n
    A = np.asarray(L) > 0 if A is None else A
    out = set(masked_edges) | ({0} if none_label == "mask" else set())
    edges = node_term = edge_label_term = third = 0.0
    counted = 0
    for t in range(n):
        logits = prefix_logits(p, s, A, L, v, t)
        if 0 not in masked_edges:
            log_weights = log_softmax(logits["mixture"])
            inner = []
            for k in range(s.K):
                total = log_weights[k]
                for j in range(t - 1 if chain else t):
                    theta = logits["edge"][j][k]
                    total += math.log(sigmoid(theta if A[t][j] else -theta))
                inner.append(total)
            edges += max(inner) + math.log(sum(math.exp(x - max(inner)) for x in inner))
        if s.n_v and t >= first_labelled:
            node_term += log_softmax(masked(logits["node"], masked_nodes))[v[t]]
            counted += 1
        if s.n_e:
            row = [log_softmax(masked(logits["label"][j], out))[L[t][j]] for j in range(t) if A[t][j]]
            edge_label_term += sum(row)
            third += -sum(row) / len(row) if row else 0.0
    counted_pairs = n * (n + 1) / 2 - (n - 1 if chain else 0)
    loss = -edges / counted_pairs - (0.5 * node_term / counted if counted else 0.0) + third / 8
    labels = node_term + edge_label_term
    return {"edges": edges, "labels": labels, "log_prob": edges + labels, "loss": loss}
