"""What several test files of `nasjax.train` need."""

import dataclasses

import pytest
from prepared_sources import SIZES

from nasjax.train import prepared


@pytest.fixture
def small(monkeypatch):
    """Data sets of 10 and 4 images, so that original archives are small files."""
    for name, described in prepared.DATASETS.items():
        classes = 2 if name == "tiny_imagenet32" else 10
        changed = dataclasses.replace(described, sizes=SIZES, num_classes=classes)
        monkeypatch.setitem(prepared.DATASETS, name, changed)
