"""NATS-Bench's "simple" directory: `meta.pickle.pbz2` and one pickle an architecture, of the topology space.

Source: Dong et al., "NATS-Bench" (arXiv:2009.00437), `NATS-tss-v1_0-3ffb9-simple`. A run's figure is that of its last
epoch; runs stand in the order of their seeds. CIFAR-10's validation is a training on half of the training images
(`cifar10-valid`), its test figure one on all of them. `params` and `flops_nats` (multiply-adds of convolutions and
classifier) are what the records say: millions there.
"""

import bz2
import math
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, Facts, given
from nasjax.tables.pickles import loads
from nasjax.train.untrusted import blamed, limited, regular

PACKED, RECORD, META = 1 << 22, 1 << 22, 1 << 24
"""Bytes of a file, of an unpacked record, of the unpacked list of all; genuine ones have 0.1, 0.4 and 1.4 million."""

FACTS = Facts(
    space="nasbench201",
    source="NATS-Bench topology (Dong et al., arXiv:2009.00437), NATS-tss-v1_0-3ffb9-simple",
    unit="percent",
    signal="val_acc@12",
    test="test_acc@200",
)

_FILE = re.compile(r"(\d{6})(\.pickle)?\.pbz2")


class _Task(NamedTuple):
    """Which of a record's trainings and evaluations say what of a task."""

    name: str
    validated: str  # the training whose validation, seconds and size count
    tested: str
    test: str  # the evaluation


_TASKS = (
    _Task("cifar10", "cifar10-valid", "cifar10", "ori-test"),
    _Task("cifar100", "cifar100", "cifar100", "x-test"),
    _Task("ImageNet16-120", "ImageNet16-120", "ImageNet16-120", "x-test"),
)


def read(source: pathlib.Path, name: str, tell: Callable[[str], None]) -> Columns:
    """Returns the table of a directory; it may hold a part of the architectures.

    Args:
      source: the directory.
      name: what to call it in errors.
      tell: told now and then how far it is.

    Raises:
      FileNotFoundError: there is no such directory, or no architecture in it.
      ValueError: a file is damaged, asks for code to be run, or is not what NATS-Bench writes.
    """
    if not source.is_dir():
        raise FileNotFoundError(
            f"{name}: no directory; NATS-Bench's simple one holds meta.pickle.pbz2 and 000000.pickle.pbz2, …"
        )
    known = _listed(source)
    files = {int(match[1]): path for path in sorted(source.iterdir()) if (match := _FILE.fullmatch(path.name))}
    if not files:
        raise FileNotFoundError(f"{name}: no file called 000000.pickle.pbz2 or alike in it")
    specs, rows = [], []
    for done, (number, path) in enumerate(sorted(files.items()), 1):
        with blamed(path):
            spec, figures = _record(_unpickled(path, RECORD), number)
            if not number < len(known) or known[number] != spec:
                raise ValueError(f"architecture {number} is {spec!r}, and another one in meta")
        specs.append(spec)
        rows.append(figures)
        if done % 1000 == 0:
            tell(f"{done:,} of {len(files):,} architectures read")
    names = dict.fromkeys(column for figures in rows for column in figures)
    columns = {
        column: np.array([figures.get(column, math.nan) for figures in rows]) for column in sorted(names, key=_order)
    }
    loaders = {column: given(values, ~np.isnan(values)) for column, values in columns.items()}
    single = tuple(column for column in columns if f"{column}:run0" in columns and f"{column}:run1" not in columns)
    loaders = {column: load for column, load in loaders.items() if not any(column == f"{one}:run0" for one in single)}
    return Columns(name, "nats_bench", Specs(tuple(specs)), loaders, FACTS._replace(single=single))


def _order(column: str) -> tuple[int, str]:
    """Tasks in the published order."""
    return [task.name for task in _TASKS].index(column.partition("/")[0]), column


def _listed(source: pathlib.Path) -> list[str]:
    """The strings of all architectures, by number."""
    path = next((path for name in ("meta.pickle.pbz2", "meta.pbz2") if (path := source / name).exists()), None)
    if path is None:
        raise FileNotFoundError(f"{source}: no meta.pickle.pbz2 in it")
    with blamed(path):
        content = _unpickled(path, META)
        archs = content.get("meta_archs") if isinstance(content, dict) else None
        if not isinstance(archs, list) or not all(isinstance(arch, str) for arch in archs):
            raise ValueError("no list meta_archs of strings in it")
        if archs and "~" not in archs[0]:
            raise ValueError(f"architectures like {archs[0][:40]!r}: NATS-Bench's size space is not read")
        return archs


def _unpickled(path: pathlib.Path, limit: int) -> Any:
    with regular(path) as file:
        packed = limited(file, PACKED, "the packed file")
    unpacker = bz2.BZ2Decompressor()
    data = unpacker.decompress(packed, limit + 1)
    if len(data) > limit:
        raise ValueError(f"unpacks to more than {limit:,} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("cut off" if not unpacker.eof else "something follows the packed data")
    return loads(data, "the pickle")


def _record(content: Any, number: int) -> tuple[str, dict[str, float]]:
    """The string and the figures of one architecture."""
    if not isinstance(content, Mapping) or not content:
        raise ValueError("no trainings in it")
    figures: dict[str, float] = {}
    specs = set()
    for epochs, part in content.items():
        if not (isinstance(epochs, str) and epochs.isdigit() and isinstance(part, Mapping)):
            raise ValueError(f"a training of {ascii(epochs)[:60]} epochs")
        if part.get("arch_index") != number:
            raise ValueError(f"it says architecture {ascii(part.get('arch_index'))[:60]}, its name {number}")
        specs.add(part.get("arch_str"))
        for task in _TASKS:
            for column, value in _figures(part.get("all_results"), task, int(epochs)).items():
                figures[f"{task.name}/{column}"] = value
    if len(specs) != 1 or not isinstance(spec := specs.pop(), str):
        raise ValueError("its trainings are of different architectures, or of none")
    return spec, figures


def _figures(results: Any, task: _Task, epochs: int) -> dict[str, float]:
    """One task's columns at one number of epochs; those that there are."""
    if not isinstance(results, Mapping):
        raise ValueError("no all_results in it")
    validated = {seed: run for (dataset, seed), run in results.items() if dataset == task.validated}
    tested = {seed: run for (dataset, seed), run in results.items() if dataset == task.tested}
    found: dict[str, float] = {}
    validations = [_accuracy(validated[seed], f"x-valid@{epochs - 1}") for seed in sorted(validated)]
    tests = [_accuracy(tested[seed], f"{task.test}@{epochs - 1}") for seed in sorted(tested)]
    if validations:
        found[f"val_acc@{epochs}"] = math.fsum(validations) / len(validations)
        found |= {f"val_acc@{epochs}:run{run}": value for run, value in enumerate(validations)}
        seconds = [math.fsum(_number(second) for second in run["train_times"].values()) for run in validated.values()]
        found[f"train_seconds@{epochs}"] = math.fsum(seconds) / len(seconds)
        first = validated[min(validated)]
        found["params"] = float(round(_number(first["params"]) * 1e6))
        found["flops_nats"] = float(round(_number(first["flop"]) * 1e6))
    if tests:
        found[f"test_acc@{epochs}"] = math.fsum(tests) / len(tests)
        found |= {f"test_acc@{epochs}:run{run}": value for run, value in enumerate(tests)}
    return found


def _accuracy(run: Any, evaluation: str) -> float:
    value = _number(run["eval_acc1es"][evaluation])
    if not 0 <= value <= 100:
        raise ValueError(f"{evaluation} is {value}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{ascii(value)[:60]} where a number is expected")
    return float(value)
