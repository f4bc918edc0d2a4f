"""D-VAE's `final_structures6.txt`, as it is or packed as .gz: ENAS cells of six layers and their shared-weights accuracy.

Source: Zhang et al., "D-VAE" (arXiv:1904.11088), `data/final_structures6.txt`. A line is `[[op], [op, flag], …], accuracy`.
The first 1,000 of 20,020 lines are early samples of the ENAS run, which D-VAE leaves out (`burn_in`). The accuracy is a
proxy: validation accuracy with weights shared among all, here in percent.
"""

import gzip
import pathlib
import re
from collections.abc import Callable

from nasjax.tables.architectures import Specs
from nasjax.tables.columns import ROWS, Columns, Facts, given
from nasjax.train.untrusted import blamed, limited, regular

BURN_IN = 1000
TEXT, LINE = 1 << 27, 4096
"""Bytes of the unpacked file, and of a line; the published one has 1.7 million, and 90."""

FACTS = Facts(
    space="enas",
    source="D-VAE, final_structures6.txt without its first 1,000 lines (Zhang et al., arXiv:1904.11088)",
    unit="percent",
    signal="val_acc_shared",
)

_ACCURACY = re.compile(r"[01]\.\d{1,8}|[01]")


def read(source: pathlib.Path, name: str, tell: Callable[[str], None] | None = None) -> Columns:
    """Returns the table: column `val_acc_shared`, percent.

    Raises:
      ValueError: the file is damaged, or a line of it is of another kind; the line is named.
    """
    del tell
    specs, accuracies = lines(source)
    numbers = range(BURN_IN + 1, BURN_IN + 1 + len(specs))
    column = given([100 * float(text) for text in accuracies])
    return Columns(name, "enas_dvae", Specs(tuple(specs)), {"val_acc_shared": column}, FACTS, lines=numbers)


def lines(source: pathlib.Path) -> tuple[list[str], list[str]]:
    """Returns architectures and accuracies of all lines after the first 1,000, repeated ones too, as they are written.

    Raises:
      ValueError: the file is damaged, or a line of it is of another kind; the line is named.
    """
    with blamed(source), regular(source) as file:
        unpacked = gzip.GzipFile(fileobj=file) if source.suffix == ".gz" else file
        text = limited(unpacked, TEXT, "the text").decode("ascii").splitlines()
        if not BURN_IN < len(text) <= ROWS:
            raise ValueError(f"{len(text):,} lines; the first {BURN_IN:,} are left out")
        specs, accuracies = [], []
        for number, line in enumerate(text[BURN_IN:], BURN_IN + 1):
            spec, comma, accuracy = line.strip().rpartition(", ")
            if len(line) > LINE or not comma or not _ACCURACY.fullmatch(accuracy):
                raise ValueError(f"line {number}: {line[:60]!a}, expected [[op], [op, flag], …], accuracy")
            specs.append(spec)
            accuracies.append(accuracy)
    return specs, accuracies
