"""No home, no terminal, no locale, no cache, a clock that goes backwards; hostile names; the first format."""

import itertools
import math
import os
import pathlib
import shutil
import stat
import time

import numpy as np
import pytest

from nasjax import cli, rundir, startup

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "run_v1"


def test_a_bare_process(toy, tmp_path):
    """No HOME to write to, so no cache; an ASCII terminal-less stream; files that nobody else may read."""
    folder = tmp_path / "runs" / "run"
    bare = {name: None for name in ("TERM", "USER", "LOGNAME", "XDG_CACHE_HOME", "NASJAX_CACHE", "LC_ALL", "LC_CTYPE")}
    bare |= {"HOME": "/dev/null", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    status, out, err = toy.run(folder, environment=bare, umask=0o077)
    assert status == 0, err
    toy.expect_whole(folder)
    assert "nasjax: no compilation cache, so programs are compiled anew each time: /dev/null/.cache/nasjax/xla" in err
    assert "18/18 evaluations" in err
    assert "\x1b" not in out + err
    assert "Traceback" not in err
    for path in [folder, *folder.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NASJAX_CACHE": "/a/b"}, "/a/b"),
        ({"NASJAX_CACHE": "", "XDG_CACHE_HOME": "/x"}, "/x/nasjax"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/nasjax"),
        ({"HOME": "/h"}, "/h/.cache/nasjax"),
    ],
)
def test_where_the_cache_is(monkeypatch, variables, expected):
    for name in ("NASJAX_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(startup.cache_folder()) == expected


def test_no_home_at_all(monkeypatch):
    """Neither a variable nor an entry in the list of users."""
    for name in ("NASJAX_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(OSError, match="no home directory; NASJAX_CACHE=FOLDER names a cache folder"):
        startup.usable_cache()


@pytest.mark.parametrize("place", ["file", "long", "link to itself"])
def test_a_cache_that_cannot_be_used(monkeypatch, tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "link to itself").symlink_to("link to itself")
    folder = tmp_path / ("x" * 300 if place == "long" else place)
    monkeypatch.setenv("NASJAX_CACHE", str(folder))
    with pytest.raises(OSError, match=f"{str(folder)[:100]}.*: (Not a directory|File name too long|Too many levels)"):
        startup.usable_cache()


@pytest.mark.parametrize("clock", ["backwards", "standing", "before 1970", "not a number"])
def test_clocks(toy, half, monkeypatch, clock):
    """No clock enters a result."""
    start = time.time()
    ticks = itertools.count()
    now = {
        "backwards": lambda: start - 3600 * next(ticks),
        "standing": lambda: start,
        "before 1970": lambda: -1e6 - next(ticks),
        "not a number": lambda: math.inf,
    }[clock]
    monkeypatch.setattr(time, "time", now)
    toy.search(half)
    toy.expect_whole(half)
    assert len(rundir.read_events(half)) == 8


HOSTILE = [
    "..",
    ".",
    "",
    ".hidden",
    "../elsewhere",
    "a/../../elsewhere",
    "/tmp/elsewhere",
    "~",
    "~root",
    "nul\0byte",
    "x" * 300,
    "é" * 150,
    "line\nbreak",
    "\x1b[31mred",
    "right\u202eto left",
    "lone\ud800surrogate",
    "back\\slash",
    "-rf",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_run_names(toy, tmp_path, monkeypatch, capsys, name):
    """Refused before any work, in one line that a terminal can show; nothing is made."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["search", str(toy.config), f"--run={name}"]) == cli.REFUSED
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nasjax: run name ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert len(err) < 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["existing", "missing", "runs", "loop"])
def test_a_link_out_of_runs(toy, tmp_path, monkeypatch, capsys, target):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "existing").mkdir()
    place = {"existing": "../existing", "missing": "../missing", "runs": ".", "loop": "link"}[target]
    (tmp_path / "runs" / "link").symlink_to(place)
    assert cli.main(["search", str(toy.config), "--run", "link"]) == cli.REFUSED
    assert "runs/link" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["existing", "runs"]
    assert os.listdir(tmp_path / "existing") == []
    assert os.listdir(tmp_path / "runs") == ["link"]


def test_a_link_to_another_run_is_that_run(toy, half):
    link = half.parent / "link"
    link.symlink_to(half.name)
    assert toy.search(rundir.run_folder("link", half.parent)).resumed_from == 12
    toy.expect_whole(half)


def test_somebody_elses_folder(toy, tmp_path, content):
    """It is not filled up with a run."""
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(rundir.RunDirError, match=r"holds 'thesis\.tex' but no config\.json.*use another --run"):
        toy.search(tmp_path)
    assert content(tmp_path) == {"thesis.tex": b"precious"}
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.fixture
def golden(tmp_path):
    return pathlib.Path(shutil.copytree(GOLDEN, tmp_path / "run_v1"))


def test_a_run_of_format_1_opens(toy, golden, content):
    before = content(golden)
    result = toy.search(golden)
    assert (result.begun, result.evaluations, result.resumed_from) == ("finished", 18, 18)
    assert result.summary == rundir.read_result(golden)
    assert content(golden) == before
    record = rundir.read_history(golden)
    assert result.summary["history"] == record.digest().hex()
    assert len(rundir.read_events(golden)) == 7
    missing = np.isnan(record.reward)
    assert missing.sum() == record.num_invalid == result.summary["invalid"] > 0
    np.testing.assert_array_equal(record.valid, ~missing)


def test_a_run_of_format_1_goes_on(toy, golden):
    """From the state before the last batch; what is computed anew is what was there."""
    finished = {name: (golden / name).read_bytes() for name in (rundir.HISTORY, rundir.RESULT)}
    (golden / rundir.RESULT).unlink()
    (golden / rundir.STATE).unlink()
    result = toy.search(golden)
    assert (result.begun, result.resumed_from) == ("resumed", 16)
    assert {name: (golden / name).read_bytes() for name in finished} == finished
