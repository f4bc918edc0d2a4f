"""What a table holds, for people; every row is read on the way."""

from collections.abc import Iterator

import numpy as np

from nasjax.tables.architectures import Hashes, placed
from nasjax.tables.arranging import distinct
from nasjax.tables.columns import Columns
from nasjax.tables.importing import space_of
from nasjax.tables.signals import offered


def lines(table: Columns, digest: str) -> Iterator[tuple[str, str]]:
    """Yields titles and texts.

    Args:
      table: the table.
      digest: its file's SHA-256.

    Raises:
      ValueError: a row is wrong, or contradicts another one; says which.
    """
    yield "file", f"{table.name}, {table.form}, {len(table):,} rows, sha256 {digest[:16]}…"
    columns = {name: table.column(name, "") for name in table.loaders}
    if isinstance(table.archs, Hashes):
        yield "architectures", "NAS-Bench-101's hashes; `nasjax table import table` turns them into strings"
    else:
        space = space_of(table)
        where = placed(table, space)
        first = distinct(
            table, where.identity, np.arange(len(table)), {name: column.values for name, column in columns.items()}
        )
        repeats = len(table) - len(first)
        yield "space", space.name
        repeated = f"; rows that repeat one with equal figures: {repeats:,}" if repeats else ""
        yield "architectures", f"{len(first):,} different{repeated}"
    facts = table.facts
    for title, text in (("source", facts.source), ("unit", facts.unit), ("modelled", ", ".join(facts.modelled))):
        if text:
            yield title, text
    if table.tasks:
        yield "tasks", ", ".join(table.tasks)
    for name, column in columns.items():
        values = column.values[column.there]
        empty = f", {len(table) - values.size:,} empty" if values.size < len(table) else ""
        span = f"{_number(values.min())} to {_number(values.max())}" if values.size else "no figures"
        yield "column", f"{name}: {span}{empty}"
    for name, what in table.left_out.items():
        yield "left out", f"{name}: {what}"
    for task in table.tasks or ("",):
        yield "signals", (f"{task}: " if task else "") + (", ".join(offered(table, task)) or "none")
    if facts.signal or facts.test:
        yield "by default", f"signal {facts.signal or '(to be chosen)'}, test {facts.test or '(none)'}"


def _number(value: float) -> str:
    """Whole numbers in full, others to six digits."""
    return f"{value:,.0f}" if value == round(value) else f"{value:.6g}"
