"""Tables of benchmark results as evaluators: a search reads its rewards off a file, on the device."""

from nasjax.tables.evaluator import Table, TableEvaluator
from nasjax.tables.partial import searchable

__all__ = ["Table", "TableEvaluator", "searchable"]
