"""A process that has read Parquet files ends as it should: no worker of Arrow's still holds what belongs to Python.

A worker that lets go of a Python file while the interpreter ends aborts the process, after its work and with an exit
status that says otherwise, in one of some dozens of runs on a busy machine. So nothing is read by workers, which is told
at once: there is no thread more than before.
"""

import os
import pathlib
import subprocess
import sys

import pytest

in_proc = pytest.mark.skipif(not pathlib.Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")

SETUP = """
import collections, os, pathlib
import pyarrow as pa
from nasjax import results
from nasjax.tables import opening, writing
from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, given

def threads():
    names = [(task / "comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()]
    return collections.Counter(name for name in names if not name.startswith("jemalloc"))

one = pa.Table.from_pylist([dict.fromkeys(results.SCHEMA.names)], schema=results.SCHEMA)
packed, path = results.pack(one), pathlib.Path("mine.parquet")
writing.write_table(Columns("mine", "CSV", Specs(("a", "b")), {"val_acc": given([1.0, 2.0])}), path)
before = threads()
"""

READS = {
    "a sweep's results": "results.unpack(packed)",
    "a table": "opening.read(path, 'mine').column('val_acc', '')",
}


def workers(folder: pathlib.Path, read: str) -> int:
    """Returns how many threads a fresh process has after it has read, beyond those before."""
    # Left at once, as the control would now and then abort at its end.
    code = f"{SETUP}{read}\nprint(sum((threads() - before).values()), flush=True)\nos._exit(0)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, env=os.environ
    )
    return int(run.stdout)


@in_proc
@pytest.mark.parametrize("what", READS)
def test_no_worker_reads_a_parquet_file(tmp_path, what):
    assert workers(tmp_path, READS[what]) == 0


@in_proc
def test_the_count_sees_workers_where_there_are_some(tmp_path):
    read = "import io, pyarrow.parquet; pyarrow.parquet.read_table(io.BytesIO(packed))"
    assert workers(tmp_path, read) > 0
