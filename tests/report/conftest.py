"""A sweep of three methods on two tasks, and its report; made once."""

import pytest
from sweep_cases import METHODS, PLACES, make_sweep, read

from nasjax.summary import Comparison


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "three methods"
    compare = Comparison(references=("cem", "random"), at=(4, 12), claims=("strong",), against=("cem",))
    cells = make_sweep(folder, METHODS, PLACES, seeds=24, compare=compare, modelled=PLACES[1:])
    return folder, cells, read(folder)
