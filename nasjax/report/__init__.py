"""Reports of runs and sweeps: self-contained HTML and Markdown."""

import os
import pathlib


def is_sweep(folder: pathlib.Path) -> bool:
    """Whether a run directory is a sweep's, finished or not, and not a search's."""
    return any(os.path.lexists(folder / name) for name in ("results.parquet", "summary.json", "chunks"))
