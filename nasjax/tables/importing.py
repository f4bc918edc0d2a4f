"""From a published form to one file."""

import dataclasses
import pathlib
from collections.abc import Callable

from nasjax.base import Space
from nasjax.spaces.enas import Enas
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.randwire import RandWire
from nasjax.spaces.toy import Toy
from nasjax.spaces.toy_nodes import ToyNodes
from nasjax.tables.architectures import Hashes, Specs, placed
from nasjax.tables.columns import Columns
from nasjax.tables.forms import FORMS, read_archive, read_form
from nasjax.tables.npz_arrays import opened_npz
from nasjax.tables.opening import find, read
from nasjax.tables.writing import check_target, write_table


def imported(form: str, source: str, target: pathlib.Path, tell: Callable[[str], None]) -> Columns:
    """Reads a table of a form, checks its architectures, writes it, and returns it.

    Args:
      form: one of `forms.FORMS`, or "table".
      source: the file or directory.
      target: the file to write, .parquet or .npz.
      tell: told what takes long.

    Raises:
      FileNotFoundError: there is no source.
      ValueError: the source is damaged or of another form, or the target is there already.
      OSError: the target cannot be written.
    """
    check_target(target)
    path = _existing(source)
    if form == "table":
        table = _with_strings(read(path, source), tell)
    elif FORMS[form].marks:
        with opened_npz(path) as arrays:
            table = read_archive(form, arrays, source)
    else:
        table = read_form(form, path, source, tell)
    space = space_of(table)
    placed(table, space)  # every architecture is one
    table = dataclasses.replace(table, facts=table.facts._replace(space=space.name))
    write_table(table, target)
    return table


def space_of(table: Columns) -> Space:
    """Returns the space, with all its operations, that a table's first architecture is of.

    Raises:
      ValueError: it is of none; says why, where the table names its space.
    """
    first = table.archs.spec(0)
    complaints: dict[str, str] = {}
    for space in spaces():
        try:
            space.from_spec(first)
            return space
        except ValueError as error:
            complaints.setdefault(space.name, str(error))
    if table.facts.space in complaints:
        raise table.error(0, complaints[table.facts.space])
    names = ", ".join(complaints)
    raise table.error(0, f"{first[:60]!a} is an architecture of none of {names}")


def spaces() -> list[Space]:
    """Returns the spaces whose strings are known, in one form each."""
    layers = [Enas(layers) for layers in range(2, 25)]
    return [NasBench201(), NasBench101(), Toy(), ToyNodes(), *layers, RandWire()]


def _existing(source: str) -> pathlib.Path:
    """A file is looked for as `Table` does it; a directory as it stands."""
    path = pathlib.Path(source)
    return path if "\0" not in source and path.is_dir() else find(source)


def _with_strings(table: Columns, tell: Callable[[str], None]) -> Columns:
    """The table with strings in place of NAS-Bench-101's hashes."""
    if not isinstance(table.archs, Hashes):
        return table

    from nasjax.spaces import nasbench101_cells, nasbench101_hash, nasbench101_specs, nasbench101_words

    tell("hashing NAS-Bench-101's 423,624 cells, which takes about a minute")
    wanted = {text.lower() for text in table.archs.texts}
    found: dict[str, str] = {}
    for word in nasbench101_words.compacted(nasbench101_cells.cells()).tolist():
        matrix, labels = nasbench101_specs.vertices(word)
        digest = nasbench101_hash.hash_module(matrix, [nasbench101_hash.INPUT, *labels, nasbench101_hash.OUTPUT])
        if digest in wanted:
            found[digest] = nasbench101_specs.write(word)
    for row, text in enumerate(table.archs.texts):
        if text.lower() not in found:
            raise table.error(row, f"{text[:40]!a} is no hash of a cell of NAS-Bench-101")
    specs = Specs(tuple(found[text.lower()] for text in table.archs.texts))
    return dataclasses.replace(table, archs=specs)
