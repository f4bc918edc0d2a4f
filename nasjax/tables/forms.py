"""The published forms of tables that are read, and what each is known by. A form's module is imported when it is met."""

import importlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from nasjax.tables.columns import Columns
from nasjax.tables.npz_arrays import Arrays

FromArrays = Callable[[Arrays, str], Columns]


class Form(NamedTuple):
    """A form.

    Attributes:
      about: what it is, for people.
      module: of `nasjax.tables`.
      function: in it: of (arrays, name) where `marks` are given, else of (path, name, tell).
      marks: the arrays by which an NPZ archive is known as one of this form.
    """

    about: str
    module: str
    function: str
    marks: frozenset[str] = frozenset()


FORMS = {
    "nasbench201_npz": Form(
        "nasbench201.npz, all of NAS-Bench-201",
        "nasbench201_npz",
        "columns",
        frozenset({"arch", "code", "isomorph", "val200_runs"}),
    ),
    "nasbench201_zerocost": Form(
        "nasbench201_zerocost.npz, scores without training of 9,445 of its cells",
        "nasbench201_zerocost",
        "columns",
        frozenset({"arch", "proxies", "scores", "row_of"}),
    ),
    "nasbench101_npz": Form(
        "nasbench101.npz, all of NAS-Bench-101, test accuracy modelled",
        "nasbench101_npz",
        "columns",
        frozenset({"cell", "n", "val_row", "test_model_rough"}),
    ),
    "nasbench101_ec5v": Form(
        "nasbench101_ec5v.npz, cells of at most five vertices, four epochs",
        "nasbench101_npz",
        "small_columns",
        frozenset({"adj", "hash", "train_kwh", "predict_seconds"}),
    ),
    "nasbench101_tfrecord": Form("nasbench_only108.tfrecord or nasbench_full.tfrecord", "nasbench101_tfrecord", "read"),
    "nats_bench": Form("NATS-Bench's directory NATS-tss-v1_0-3ffb9-simple", "nats_bench", "read"),
    "enas_dvae": Form("D-VAE's final_structures6.txt or .txt.gz", "enas_dvae", "read"),
}


def known_archive(arrays: Arrays) -> FromArrays | None:
    """Returns what reads an NPZ archive of a published form, None if it is of none."""
    for form in FORMS.values():
        if form.marks and form.marks <= arrays.names:
            function: FromArrays = _function(form)
            return function
    return None


def read_archive(form: str, arrays: Arrays, name: str) -> Columns:
    """Returns the table of an NPZ archive that is said to be of a published form.

    Raises:
      ValueError: it is of another one, or damaged.
    """
    if not FORMS[form].marks <= arrays.names:
        raise ValueError(f"not of the form {form}; its arrays are {', '.join(sorted(arrays.names))[:200]}")
    table: Columns = _function(FORMS[form])(arrays, name)
    return table


def read_form(form: str, path: pathlib.Path, name: str, tell: Callable[[str], None] = lambda line: None) -> Columns:
    """Returns the table of a published form that is no NPZ archive.

    Raises:
      FileNotFoundError: there is nothing of that form under the path.
      ValueError: it is damaged, or of another form.
    """
    table: Columns = _function(FORMS[form])(path, name, tell)
    return table


def _function(form: Form) -> Callable[..., Columns]:
    function: Callable[..., Columns] = getattr(importlib.import_module(f"nasjax.tables.{form.module}"), form.function)
    return function
