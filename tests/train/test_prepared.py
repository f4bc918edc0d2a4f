"""Prepared sets: what is there already is left alone, interruptions leave nothing half done, damage is named."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from prepared_sources import SIZES, labels, names_of, pixels, raw, save

from nasjax import data_command, options
from nasjax.train import prepare, prepared

# What is there already, and what an interruption leaves


def test_a_set_that_is_there_is_left_alone(tmp_path):
    source = save(tmp_path / "part.npz", raw())
    folder = prepare.prepare("cifar10", source, tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    other = save(tmp_path / "other.npz", raw())
    with pytest.raises(
        FileExistsError, match=r"already prepared: train 10, test 4 \(subset of 14 images\); it is left"
    ):
        prepare.prepare("cifar10", other, tmp_path)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    prepare.prepare("cifar10", other, tmp_path, overwrite=True)
    with np.load(other) as arrays:
        np.testing.assert_array_equal(prepared.read("cifar10", tmp_path)["train"].images, arrays["train_image"])
    assert os.listdir(folder.parent) == ["3.0.2"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_something_else_under_the_name_is_left_alone(tmp_path, overwrite):
    folder = tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="is no prepared set; move it away"):
        prepare.prepare("cifar10", save(tmp_path / "part.npz", raw()), tmp_path, overwrite=overwrite)
    assert os.listdir(folder) == ["thesis.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("call", ["_png", "_flush", "_take_name", "os.rename"])
def test_an_interruption_leaves_what_was_there(tmp_path, monkeypatch, overwrite, call):
    source = save(tmp_path / "part.npz", raw())
    if overwrite:
        prepare.prepare("cifar10", source, tmp_path)
    expected = sorted(path.name for path in tmp_path.glob("cifar10/*"))
    bystander = tmp_path / "cifar10" / "3.0.1.incomplete-1234"
    bystander.mkdir(parents=True)
    original = prepare.os.rename if call == "os.rename" else getattr(prepare, call)
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == (2 if call != "_take_name" and (overwrite or call != "os.rename") else 1):
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(prepare.os if call == "os.rename" else prepare, call.rpartition(".")[2], interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare("cifar10", save(tmp_path / "other.npz", raw()), tmp_path, overwrite=overwrite)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.glob("cifar10/*")) == sorted([*expected, bystander.name])
    if overwrite:
        with np.load(source) as arrays:
            np.testing.assert_array_equal(prepared.read("cifar10", tmp_path)["train"].images, arrays["train_image"])
    else:
        with pytest.raises(FileNotFoundError, match="not prepared"):
            prepared.read("cifar10", tmp_path)


def test_a_killed_run_leaves_nothing_readable_and_the_next_one_cleans_up(tmp_path):
    source = save(tmp_path / "part.npz", raw())
    code = (
        "import os, signal, sys; from nasjax.train import prepare; "
        "prepare._take_name = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "prepare.prepare('cifar10', sys.argv[1], sys.argv[2])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(source), str(tmp_path)], check=False)
    assert result.returncode == -9
    (left,) = os.listdir(tmp_path / "cifar10")
    assert left.startswith("3.0.2.incomplete-")
    with pytest.raises(FileNotFoundError, match="not prepared"):
        prepared.read("cifar10", tmp_path)
    prepare.prepare("cifar10", source, tmp_path)
    assert os.listdir(tmp_path / "cifar10") == ["3.0.2"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the disk: the same error comes from the same call."""
    source = save(tmp_path / "part.npz", raw())
    code = (
        "import resource, signal, sys; from nasjax.train import prepare; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
        "prepare.prepare('cifar10', sys.argv[1], sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    assert result.stderr.splitlines()[-1].startswith("OSError: ")
    assert "is the disk full?" in result.stderr.splitlines()[-1]
    assert os.listdir(tmp_path / "cifar10") == []


def test_two_at_once(tmp_path):
    (tmp_path / "cifar10").mkdir()
    source = save(tmp_path / "part.npz", raw())
    busy = pytest.raises(BlockingIOError, match="another process is preparing")
    with prepare._alone(tmp_path / "cifar10", "3.0.2"), busy:
        prepare.prepare("cifar10", source, tmp_path)
    prepare.prepare("cifar10", source, tmp_path)


# Reading


def test_a_set_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        prepared.read("cifar10", tmp_path)
    expected = f"cifar10 3.0.2 is not prepared in {tmp_path}; to do it: nasjax data prepare cifar10 --from FILE_OR_DIR"
    assert str(caught.value) == f"{expected} --data-dir {tmp_path}"
    with pytest.raises(FileNotFoundError, match=r"fetch cifar-10-binary.tar.gz from https://\S+, then: nasjax data"):
        prepare.prepare("cifar10", None, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="unknown data set 'cifar100'; did you mean cifar10"):
        prepared.read("cifar100", tmp_path)


def info_changed(**changed):
    def change(folder):
        path = folder / prepared.INFO
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


def replaced(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def cut(folder):
    path = folder / "cifar10-train.array_record-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-100])


def exchanged(folder):
    """The records of another data set under this one's name."""
    arrays = raw("fashion_mnist")
    other = prepare.prepare("fashion_mnist", save(folder / "part.npz", arrays), folder)
    for split in SIZES:
        record = f"{split}.array_record-00000-of-00001"
        os.replace(other / f"fashion_mnist-{record}", folder / f"cifar10-{record}")


ONE = [{"name": "train", "shardLengths": ["1"]}]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (replaced(prepared.INFO, b"{"), "not a JSON file"),
        (replaced(prepared.INFO, b"[" * 10**5), "not a JSON file"),
        (replaced(prepared.INFO, b"[]"), "entries do not fit"),
        (info_changed(fileFormat="tfrecord"), "says 'cifar10 3.0.2 tfrecord', expected 'cifar10 3.0.2 array_record'"),
        (info_changed(version="3.0.1"), "says 'cifar10 3.0.1"),
        (info_changed(splits=ONE), "splits train; expected train, test"),
        (info_changed(splits=[*ONE, {"name": "test", "shardLengths": ["1" * 18]}]), "1 to 10,000 are possible"),
        (info_changed(splits=[*ONE, {"name": "test", "shardLengths": [1e999]}]), "entries do not fit"),
        (replaced(prepared.LABELS, b""), "0 class names"),
        (replaced(prepared.LABELS, b"only\n"), "there are 1 classes"),
        (replaced("cifar10-test.array_record-00000-of-00001", b""), "cannot be read"),
        (replaced(prepared.FEATURES, b"{}"), "cannot be read"),
        (cut, "cannot be read"),
        (lambda folder: os.remove(folder / "cifar10-train.array_record-00000-of-00001"), "cannot be read"),
        (exchanged, "cannot be read"),
    ],
)
def test_a_damaged_set_is_named(tmp_path, damage, message):
    folder = prepare.prepare("cifar10", save(tmp_path / "part.npz", raw()), tmp_path)
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        prepared.read("cifar10", tmp_path)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_grey_images_are_not_taken_for_colour(tmp_path):
    with pytest.MonkeyPatch.context() as grey:  # written by another program, say
        changed = dataclasses.replace(prepared.DATASETS["cifar10"], channels=1)
        grey.setitem(prepared.DATASETS, "cifar10", changed)
        prepare.prepare("cifar10", save(tmp_path / "part.npz", raw()), tmp_path)
    with pytest.raises(ValueError, match=r"image 0 is uint8\[32, 32, 1\], expected uint8\[32, 32, 3\]"):
        prepared.read("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train": None}, "splits test; expected train, test"),
        ({"test": (np.zeros((4, 32, 32, 3)), labels("test"))}, "test images float64"),
        ({"test": (np.zeros((3, 32, 32, 3), np.uint8), labels("test"))}, r"expected uint8\[4, 32, 32, 3\]"),
        (
            {"test": (np.zeros((4, 32, 32, 3), np.uint8), labels("test") + 9)},
            "test labels must be integers from 0 to 9",
        ),
        (
            {"test": (np.zeros((4, 32, 32, 3), np.uint8), labels("test") / 1)},
            "test labels must be integers from 0 to 9",
        ),
    ],
)
def test_images_that_do_not_fit_are_not_written(tmp_path, changed, message):
    splits = {split: (pixels("cifar10", split), labels(split)) for split in SIZES} | changed
    given = {split: prepared.Images(*data) for split, data in splits.items() if data}
    with pytest.raises(ValueError, match=message):
        prepare.write("cifar10", given, names_of("cifar10"), "", tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_sets_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert prepared.data_dir() == tmp_path
    assert prepared.data_dir("x") == pathlib.Path("x")
    monkeypatch.setenv("TFDS_DATA_DIR", "")
    monkeypatch.setenv("HOME", "/somewhere")
    assert prepared.data_dir() == pathlib.Path("/somewhere/tensorflow_datasets")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for an account without an entry
    with pytest.raises(ValueError, match="--data-dir or TFDS_DATA_DIR"):
        prepared.data_dir()


# The command


def test_prepare_and_list_on_the_command_line(tmp_path, capsys):
    source = save(tmp_path / "part.npz", raw())
    arguments = ["prepare", "cifar10", f"--from={source}", "--data-dir", str(tmp_path)]
    data_command.run(arguments)
    data_command.run(arguments)
    data_command.run(["list", "--data-dir", str(tmp_path)])
    first, second, digits, cifar, *others = capsys.readouterr().out.splitlines()
    assert first == f"cifar10 is prepared: train 10, test 4 (subset of 14 images), in {tmp_path}/cifar10/3.0.2"
    assert "already prepared" in second
    assert digits.split() == ["digits", "there:", "1,797", "images,", "part", "of", "nasjax"]
    assert "version 3.0.2, train 10, test 4 (subset of 14 images)" in cifar
    assert all(f"--from FILE_OR_DIR --data-dir {tmp_path}" in line for line in others)
    (tmp_path / "cifar10" / "3.0.2" / prepared.INFO).write_text("{")
    assert "damaged: " in prepared.listing(tmp_path)[1]
    with pytest.raises(ValueError, match="not a JSON file"):
        data_command.run(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command; usage: nasjax data prepare"),
        (["prepar"], "did you mean prepare"),
        (["prepare"], "0 data sets"),
        (["prepare", "a", "b"], "2 data sets"),
        (["prepare", "cifar10", "--form", "x"], "unknown option --form; did you mean --from"),
        (["prepare", "cifar10", "--from"], "--from: its value is missing"),
        (["prepare", "cifar10", "--from", "--data-dir", "x"], "--from: its value is missing"),
        (["prepare", "cifar10", "--from", "x", "--from", "y"], "given twice"),
        (["list", "cifar10"], "one argument too many"),
    ],
)
def test_command_lines_that_cannot_be_followed(arguments, message):
    with pytest.raises(options.UsageError, match=message):
        data_command.run(arguments)


@pytest.mark.parametrize("arguments", [["--help"], ["prepare", "-h"], ["list", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(options.HelpShown):
        data_command.run(arguments)
    assert "nasjax data prepare DATASET [--from FILE_OR_DIR]" in capsys.readouterr().out
