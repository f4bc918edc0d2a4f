"""Four searches of tables in plain Python, one after another: what `sweep.py` compares the engine with.

The same methods as `nasjax.methods`, by other random numbers: each network is asked once, by its exact class; the better
result wins, the earlier on ties. An architecture is its number: the operations of the edges as digits, the first edge most
significant. Lists and `random` instead of arrays: NumPy's calls cost more than steps as small as these.
"""

import bisect
import itertools
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

Method: TypeAlias = Callable[["Table", int, int], list[int]]
"""(table, seed, queries) -> the architectures asked, in order."""

POPULATION, SAMPLE, CHILDREN = 20, 5, 16
EXPLORE, ELITE, PSEUDO, DRAWS = 30, 10, 0.1, 32


class Table(NamedTuple):
    """What can be looked up; lists by the number of an architecture.

    Attributes:
      reward: percentage points.
      network: equal for equal networks.
      decisions: its digits.
      choices: operations K; the decisions are 0..K-1.
    """

    reward: list[float]
    network: list[int]
    decisions: list[tuple[int, ...]]
    choices: int

    @property
    def places(self) -> list[int]:
        """What a step of each digit is worth."""
        edges = len(self.decisions[0])
        return [self.choices ** (edges - 1 - edge) for edge in range(edges)]


class Search:
    """What a search has asked so far, and its random numbers."""

    def __init__(self, table: Table, seed: int) -> None:
        """Has asked nothing."""
        self.table = table
        self.random = random.Random(seed)
        self.asked: list[int] = []
        self.seen: set[int] = set()

    def below(self, number: int) -> int:
        """Returns one of 0..number-1."""
        return int(self.random.random() * number)

    def unseen(self, arch: int) -> bool:
        return self.table.network[arch] not in self.seen

    def ask(self, arch: int) -> float:
        """Returns the reward."""
        self.asked.append(arch)
        self.seen.add(self.table.network[arch])
        return self.table.reward[arch]

    def draw(self) -> int:
        """Returns an unseen draw of the prior, which is uniform."""
        while True:
            arch = self.below(len(self.table.reward))
            if self.unseen(arch):
                return arch

    def first_unseen(self, candidates: Iterator[int]) -> int:
        """Returns the first candidate that is unseen, or a draw of the prior."""
        for arch in candidates:
            if self.unseen(arch):
                return arch
        return self.draw()


def random_search(table: Table, seed: int, queries: int) -> list[int]:
    search = Search(table, seed)
    for _ in range(queries):
        search.ask(search.draw())
    return search.asked


def regularized_evolution(table: Table, seed: int, queries: int) -> list[int]:
    search = Search(table, seed)
    places = table.places
    population: list[int] = []  # the oldest first
    rewards: list[float] = []

    def children() -> Iterator[int]:
        for _ in range(CHILDREN):
            entrants = search.random.sample(range(POPULATION), SAMPLE)
            winner = max(entrants, key=lambda member: (rewards[member], -member))  # ties: the older
            yield mutant(population[winner])

    def mutant(arch: int) -> int:
        edge = search.below(len(places))
        old = table.decisions[arch][edge]
        new = (old + 1 + search.below(table.choices - 1)) % table.choices
        return arch + (new - old) * places[edge]

    for query in range(queries):
        arch = search.draw() if query < POPULATION else search.first_unseen(children())
        population.append(arch)
        rewards.append(search.ask(arch))
        if len(population) > POPULATION:
            del population[0], rewards[0]
    return search.asked


def local_search(table: Table, seed: int, queries: int) -> list[int]:
    search = Search(table, seed)
    places = table.places

    def neighbours(arch: int) -> list[int]:
        """In random order."""
        found = [
            arch + (new - old) * place
            for old, place in zip(table.decisions[arch], places, strict=True)
            for new in range(table.choices)
            if new != old
        ]
        search.random.shuffle(found)
        return found

    def better_neighbour(centre: int, reward: float) -> tuple[int, float] | None:
        """The first one; none where all are asked, or the queries are spent."""
        for arch in neighbours(centre):
            if len(search.asked) == queries:
                return None
            if search.unseen(arch):
                found = search.ask(arch)
                if found > reward:
                    return arch, found
        return None

    while len(search.asked) < queries:
        start = search.draw()
        climb: tuple[int, float] | None = (start, search.ask(start))
        while climb:
            climb = better_neighbour(*climb)
    return search.asked


def cem(table: Table, seed: int, queries: int) -> list[int]:
    search = Search(table, seed)
    places = table.places
    elite: list[tuple[float, int]] = []  # (minus the reward, architecture), the best first, of equal ones the earlier

    def frequencies() -> list[list[float]]:
        """For each edge the sums of weights up to each operation."""
        counts = [[PSEUDO] * table.choices for _ in places]
        for rank, (_, arch) in enumerate(elite):
            weight = 1 - rank / len(elite)
            for edge, decision in enumerate(table.decisions[arch]):
                counts[edge][decision] += weight
        return [list(itertools.accumulate(row)) for row in counts]

    def draws() -> Iterator[int]:
        edges = list(zip(frequencies(), places, strict=True))
        for _ in range(DRAWS):
            arch = 0
            for ends, place in edges:
                arch += place * bisect.bisect(ends, search.random.random() * ends[-1], 0, table.choices - 1)
            yield arch

    for query in range(queries):
        arch = search.draw() if query < EXPLORE else search.first_unseen(draws())
        bisect.insort_right(elite, (-search.ask(arch), arch), key=lambda member: member[0])
        del elite[ELITE:]
    return search.asked
