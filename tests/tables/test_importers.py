"""The published forms: their figures, and each other's; and that damaged or hostile ones are refused by name."""

import bz2
import gzip
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest
import scipy.stats

from nasjax.base import Space
from nasjax.spaces import nasbench101_cells, nasbench101_hash, nasbench101_specs
from nasjax.spaces.enas import Enas
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy
from nasjax.tables import Table, enas_dvae, importing, nats_bench, npz_arrays, opening
from nasjax.tables.columns import Columns
from nasjax.train.untrusted import BadFileError

TASKS = ("cifar10", "cifar100", "ImageNet16-120")


def quiet(line):
    del line


@pytest.fixture(scope="module")
def nb201(published_data) -> Columns:
    return opening.read(published_data / "nasbench201.npz", "nasbench201.npz")


@pytest.fixture(scope="module")
def nb101(published_data) -> Columns:
    return opening.read(published_data / "nasbench101.npz", "nasbench101.npz")


# nasbench201.npz


def test_nasbench201(nb201):
    """Golden facts of the published page: best rows and their test figures, rank correlations, ranges."""
    best = {
        "cifar10": (6111, 91.6067, 94.3733),
        "cifar100": (9930, 73.4933, 73.5133),
        "ImageNet16-120": (10676, 46.7333, 46.2),
    }
    ranks = {"cifar10": (0.984, 0.772), "cifar100": (0.993, 0.825), "ImageNet16-120": (0.995, 0.818)}
    assert (len(nb201), nb201.tasks) == (15_625, TASKS)
    for task, (row, validation, test) in best.items():
        signal, reported = nb201.column("val_acc@200", task).values, nb201.column("test_acc@200", task).values
        assert int(signal.argmax()) == row
        np.testing.assert_allclose([signal[row], reported[row]], [validation, test], atol=5e-5)
        few = nb201.column("val_acc@12", task).values
        found = [scipy.stats.spearmanr(column, reported).statistic for column in (signal, few)]
        np.testing.assert_allclose(found, ranks[task], atol=5e-4)
    assert nb201.column("test_acc@200", "ImageNet16-120").values.max() == pytest.approx(47.3111, abs=5e-5)
    assert nb201.column("params", "cifar10").values.min() == 73_306
    assert nb201.column("flops", "cifar10").values.min() == 7_943_872
    seconds = nb201.column("train_seconds@200", "cifar10").values
    assert (int(seconds.min()), int(seconds.max())) == (542, 3460)
    np.testing.assert_allclose(nb201.column("train_seconds@12", "cifar10").values, seconds * 0.06)


def test_nasbench201_runs_have_the_published_mean(nb201):
    for task in TASKS:
        runs = nb201.runs("val_acc@200", task)
        assert [int(run.there.sum()) for run in runs] == [15_625, 15_625, 8_169]
        mean = np.nanmean([run.values for run in runs], axis=0)
        np.testing.assert_allclose(mean, nb201.column("val_acc@200", task).values, atol=1e-5)


def test_nasbench201_refuses_other_arrays(tmp_path, published_data):
    with np.load(published_data / "nasbench201.npz") as file:
        arrays = dict(file)
    for name, changed, message in (
        ("datasets", arrays["datasets"][::-1], "array datasets: 'ImageNet16-120, cifar100, cifar10', expected"),
        ("val200_runs", arrays["val200_runs"][:, :2], r"array val200_runs: \[15625, 2, 3\], expected \[15625, 3, 3\]"),
        ("val12", arrays["val12"].astype(int), "array val12: arrays of int64 are not read; one of float"),
    ):
        np.savez(tmp_path / "t.npz", **{**arrays, name: changed})
        with pytest.raises(BadFileError, match=f"t.npz: {message}"):
            opening.read(tmp_path / "t.npz", "t.npz")


# nasbench101.npz


def test_nasbench101(nb101):
    """Golden facts: 423,624 cells, 30,001 published validations with the best .9491, ranges, the model's maxima."""
    assert len(nb101) == 423_624
    validation = nb101.column("val_acc@108", "")
    assert int(validation.there.sum()) == 30_001
    assert np.nanmax(validation.values) == pytest.approx(94.91, abs=5e-3)
    quantiles = np.nanpercentile(validation.values, [1, 5, 25, 50, 75, 95, 99])
    np.testing.assert_allclose(quantiles, [82.94, 87.03, 90.03, 91.62, 92.80, 93.92, 94.34], atol=6e-3)
    params = nb101.column("params", "").values
    assert (params.min(), params.max()) == (227_274, 49_979_274)
    test, smooth = nb101.column("test_acc_model", "").values, nb101.column("test_acc_smooth", "").values
    np.testing.assert_allclose([test.max(), smooth.max()], [94.21, 94.03], atol=6e-3)
    np.testing.assert_allclose([np.median(test), np.median(smooth)], [90.68, 90.68], atol=6e-3)
    assert nb101.archs.spec(0) == (
        "100110100001001010101:conv3x3-bn-relu,maxpool3x3,conv3x3-bn-relu,conv3x3-bn-relu,conv1x1-bn-relu"
    )
    assert set(nb101.facts.modelled) == {"test_acc_model", "val_acc_model", "test_acc_smooth"}


def test_nasbench101_of_five_vertices(published_data):
    """Its official hashes are those of the cells that are read; means and best figures as published."""
    small = opening.read(published_data / "nasbench101_ec5v.npz", "ec5v")
    with np.load(published_data / "nasbench101_ec5v.npz") as file:
        hashes = [bytes(row).hex() for row in file["hash"]]
    for row in range(0, len(small), 97):
        matrix, labels = nasbench101_specs.vertices(
            nasbench101_specs.read(small.archs.spec(row), NasBench101().op_names)
        )
        assert nasbench101_hash.hash_module(matrix, [-1, *labels, -2]) == hashes[row]
    best = small.column("val_acc@4", "").values
    assert (len(small), round(best.max(), 1)) == (2532, 77.0)
    assert hashes[int(best.argmax())].startswith("e833ee7d")
    assert [
        round(float(small.column(f"{metric}_acc@4", "").values.mean()), 1) for metric in ("train", "val", "test")
    ] == [43.5, 42.9, 42.6]


def test_scores_without_training(published_data, nb201):
    """Rank correlations with the test accuracy of the same strings are the published ones; sizes are those of the other table."""
    scores = opening.read(published_data / "nasbench201_zerocost.npz", "zerocost")
    place = {nb201.archs.spec(row): row for row in range(len(nb201))}
    rows = [place[scores.archs.spec(row)] for row in range(len(scores))]
    assert len(rows) == 9_445
    published = {("nwot", "cifar10"): 0.811, ("synflow", "cifar10"): 0.778, ("plain", "ImageNet16-120"): -0.341}
    for (score, task), expected in published.items():
        test = nb201.column("test_acc@200", task).values[rows]
        found = scipy.stats.spearmanr(scores.column(score, task).values, test).statistic
        assert found == pytest.approx(expected, abs=6e-4)
    for task in scores.tasks:
        sizes = (table.column("params", task).values for table in (scores, nb201))
        np.testing.assert_array_equal(next(sizes), next(sizes)[rows])
        np.testing.assert_allclose(
            scores.column("flops", task).values, nb201.column("flops", task).values[rows], rtol=1e-7
        )


def test_a_search_can_be_told_a_score(published_data):
    """And reports no test figure, as the table has none."""
    evaluator = Table(str(published_data / "nasbench201_zerocost.npz"), "cifar10").build(NasBench201())
    assert evaluator.named == ("cifar10", "nwot")
    assert evaluator.best(NasBench201())["validation"] == pytest.approx(832.3, abs=0.1)
    assert evaluator.source["unit"] == ""


def test_scores_in_another_order_are_refused(published_data, tmp_path):
    with np.load(published_data / "nasbench201_zerocost.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "t.npz", **(arrays | {"proxies": arrays["proxies"][::-1]}))
    with pytest.raises(BadFileError, match="array proxies: 'zen, synflow"):
        opening.read(tmp_path / "t.npz", "t")


# NATS-Bench


@pytest.fixture
def nats(tmp_path, published_data):
    """The genuine sample, under the names that the published directory has."""
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    for path in (published_data / "nats_bench_simple").iterdir():
        shutil.copy(path, folder / path.name.replace(".pbz2", ".pickle.pbz2"))
    return folder


def test_nats_bench(nats, nb201):
    """Rows 0, 11 and 284 reproduce nasbench201.npz: every column that both have, each run, both fidelities."""
    table = nats_bench.read(nats, "nats", quiet)
    rows = [0, 11, 284]
    assert [table.archs.spec(row) for row in range(3)] == [nb201.archs.spec(row) for row in rows]
    shared = set(table.loaders) & set(nb201.loaders)
    assert len(shared) == 3 * 11  # four accuracies, three runs, two times, params, flops_nats
    assert set(nb201.loaders) - shared == {"cifar10/val_acc@12:delta"} | {f"{task}/flops" for task in TASKS}
    for name in shared:
        np.testing.assert_allclose(
            table.column(name, "").values, nb201.column(name, "").values[rows], rtol=1e-6, err_msg=name
        )
    runs = np.mean([run.values for run in table.runs("val_acc@12", "cifar10")], axis=0)
    np.testing.assert_allclose(runs, nb201.column("val_acc@12", "cifar10").values[rows], rtol=1e-6)
    assert {"cifar100/val_acc@12", "ImageNet16-120/val_acc@12"} <= set(table.facts.single)
    assert "cifar10/val_acc@12" not in table.facts.single


def packed(content):
    return bz2.compress(pickle.dumps(content, 4))


def record(path):
    """A genuine record, as Python objects, without the curves that nobody reads: they would be packed again and again."""
    content = nats_bench.loads(bz2.decompress(path.read_bytes()), "it")
    for epochs, part in content.items():
        for run in part["all_results"].values():
            for name in ("train_acc1es", "train_acc5es", "train_losses", "eval_acc5es", "eval_losses", "eval_times"):
                run.pop(name, None)
            last = f"@{int(epochs) - 1}"
            run["eval_acc1es"] = {name: value for name, value in run["eval_acc1es"].items() if name.endswith(last)}
    return content


def without(content, *keys):
    for key in keys[:-1]:
        content = content[key]
    del content[keys[-1]]


RUN = ("12", "all_results", ("cifar10-valid", 111))


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_hostile_nats_files_are_refused_by_name(nats, tmp_path):
    first = nats / "000011.pickle.pbz2"
    genuine = first.read_bytes()
    archs = nats_bench.loads(bz2.decompress((nats / "meta.pickle.pbz2").read_bytes()), "it")["meta_archs"]
    (nats / "meta.pickle.pbz2").write_bytes(packed({"meta_archs": archs[:300]}))
    (nats / "000000.pickle.pbz2").unlink()
    other = (nats / "000284.pickle.pbz2").read_bytes()
    (nats / "000284.pickle.pbz2").unlink()

    def refused(data, message):
        first.write_bytes(data)
        with pytest.raises(BadFileError, match=rf"000011\.pickle\.pbz2: .*{message}"):
            nats_bench.read(nats, "nats", quiet)
        first.write_bytes(genuine)

    refused(
        packed({"12": Runs(str(tmp_path / "made"))}),
        "it asks for 'posix.mkdir', and nothing of that kind is ever called",
    )
    assert not (tmp_path / "made").exists()
    refused(genuine[:1000], "cut off")
    refused(genuine[:-1], "cut off")
    refused(genuine + b"x", "something follows")
    refused(b"no bz2", "damaged|Invalid")
    refused(bz2.compress(bytes(nats_bench.RECORD + 1)), "unpacks to more than 4,194,304 bytes")
    refused(packed([1]), "no trainings in it")
    refused(other, "it says architecture 284, its name 11")

    content = record(first)
    content["12"]["arch_str"] = content["200"]["arch_str"] = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    refused(packed(content), "another one in meta")
    for keys, value, message in (
        (("eval_acc1es", "x-valid@11"), float("nan"), "nan where a number is expected"),
        (("eval_acc1es", "x-valid@11"), 101.0, "x-valid@11 is 101.0"),
        (("eval_acc1es", "x-valid@11"), "60", "'60' where a number is expected"),
        (("params",), None, "None where a number is expected"),
    ):
        content = record(first)
        place = content
        for key in (*RUN, *keys[:-1]):
            place = place[key]
        place[keys[-1]] = value
        refused(packed(content), message)
    content = record(first)
    without(content, *RUN, "eval_acc1es", "x-valid@11")
    refused(packed(content), "x-valid@11")
    content = record(first)
    without(content, "200", "all_results")
    refused(packed(content), "no all_results in it")


def test_nats_directories_that_are_none(nats, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nats: no directory; NATS-Bench's simple one holds meta\.pickle\.pbz2"
    ):
        nats_bench.read(tmp_path / "nowhere", "nats", quiet)
    (nats / "meta.pickle.pbz2").write_bytes(packed({"meta_archs": ["64:64:64:64:64"]}))
    with pytest.raises(
        BadFileError, match=r"meta\.pickle\.pbz2: architectures like '64:64:64:64:64': NATS-Bench's size space"
    ):
        nats_bench.read(nats, "nats", quiet)
    (nats / "meta.pickle.pbz2").unlink()
    with pytest.raises(FileNotFoundError, match=r"no meta\.pickle\.pbz2 in it"):
        nats_bench.read(nats, "nats", quiet)
    for path in nats.iterdir():
        path.unlink()
    shutil.copy(pathlib.Path(os.environ["NASJAX_DATA"]) / "nats_bench_simple" / "meta.pbz2", nats)
    with pytest.raises(FileNotFoundError, match=r"no file called 000000\.pickle\.pbz2"):
        nats_bench.read(nats, "nats", quiet)


# ENAS


def test_enas(published_data):
    """19,020 lines of 20,020, 19,015 architectures; accuracies as published; five repeated with equal figures."""
    table = opening.read(published_data / "enas_final_structures6.txt.gz", "enas")
    values = table.column("val_acc_shared", "").values
    assert (len(table), len(set(table.archs.texts))) == (19_020, 19_015)
    np.testing.assert_allclose([values.min(), values.max(), values.mean()], [70.20, 75.02, 73.630], atol=1e-3)
    assert int((values == values.max()).sum()) == 16
    assert (
        table.archs.spec(int(values.argmax()))
        == "[[2], [5, 0], [4, 0, 0], [0, 0, 0, 1], [5, 1, 0, 0, 0], [2, 0, 0, 1, 1, 0]]"
    )
    assert table.archs.spec(1401) == table.archs.spec(3414)
    assert table.place(0) == "line 1001"


def test_bad_enas_files(tmp_path, published_data):
    genuine = (published_data / "enas_final_structures6.txt.gz").read_bytes()
    text = gzip.decompress(genuine).decode().splitlines()

    def refused(name, data, message):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadFileError, match=f"{name}: {message}"):
            enas_dvae.lines(tmp_path / name)

    refused("cut.txt.gz", genuine[:5000], "damaged, or not what its name says .EOFError")
    refused("other.txt.gz", b"x" * 100, "damaged|Not a gzipped")
    refused("short.txt", "\n".join(text[:1000]).encode(), "1,000 lines; the first 1,000 are left out")
    for line in ("", "[[2]]", "[[2]], nan", "[[2]], 7e9", "x" * 5000):
        refused("bad.txt", "\n".join([*text[:1500], line, *text[1500:1600]]).encode(), "line 1501: ")


# strings by the thousand


@pytest.mark.parametrize(
    "space",
    [NasBench201(), NasBench201(("nor_conv_3x3", "none")), Toy(), Enas(6), Enas(12), NasBench101()],
    ids=lambda space: space.name,
)
def test_many_strings_are_read_as_one_by_one(space: Space):
    rng = np.random.default_rng(0)
    if isinstance(space, NasBench101):
        specs = ["1:", "111:conv1x1-bn-relu", "100100010000101:maxpool3x3,conv3x3-bn-relu,conv1x1-bn-relu,maxpool3x3"]
    else:
        rows = [rng.integers(0, space.choices) for _ in range(8)]
        specs = [space.to_spec(space.from_decisions(np.asarray(row, np.int32))) for row in rows]
    many = space.from_specs(tuple(specs))
    for row, spec in enumerate(specs):
        for found, expected in zip(many, space.from_spec(spec), strict=True):
            np.testing.assert_array_equal(found[row], expected)
    with pytest.raises(ValueError, match=f"{space.name}: .* at character 1 of '.x'") as caught:
        space.from_specs((*specs, specs[0][0] + "x"))
    assert caught.value.row == len(specs)


# importing


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_an_imported_table_says_what_its_source_says(nats, tmp_path, suffix):
    table = importing.imported("nats_bench", str(nats), tmp_path / f"t{suffix}", quiet)
    read = opening.read(tmp_path / f"t{suffix}", "t")
    assert read.facts == table.facts
    assert read.facts.space == "nasbench201"
    for name in table.loaders:
        np.testing.assert_allclose(read.column(name, "").values, table.column(name, "").values, rtol=1e-7)
    with pytest.raises(ValueError, match="is there already"):
        importing.imported("nats_bench", str(nats), tmp_path / f"t{suffix}", quiet)


def test_a_form_that_the_archive_has_not(published_data, tmp_path):
    with pytest.raises(BadFileError, match="not of the form nasbench101_npz; its arrays are acc, adj"):
        importing.imported("nasbench101_npz", str(published_data / "nasbench101_ec5v.npz"), tmp_path / "t.npz", quiet)
    assert not (tmp_path / "t.npz").exists()


def test_hashes_become_strings(tmp_path, monkeypatch, published_data):
    """The official hash is a key, too: here of the 91 cells of at most four vertices, as all 423,624 take a minute."""
    small = np.concatenate([nasbench101_cells.encodings(n) for n in (2, 3, 4)])
    monkeypatch.setattr(nasbench101_cells, "cells", lambda: small)
    with npz_arrays.opened_npz(published_data / "nasbench101_ec5v.npz") as arrays:
        sizes, digests = arrays.any("n"), arrays.any("hash")
    rows = np.flatnonzero(sizes <= 4)
    hashes = [bytes(digests[row]).hex() for row in rows]
    path = tmp_path / "hashes.csv"
    path.write_text(
        "hash,val_acc\n" + "".join(f"{text.upper()},{row}\n" for text, row in zip(hashes, rows, strict=True))
    )
    table = importing.imported("table", str(path), tmp_path / "t.parquet", quiet)
    assert len(table) == len(rows) == 91
    for row, text in enumerate(hashes):
        matrix, labels = nasbench101_specs.vertices(
            nasbench101_specs.read(table.archs.spec(row), NasBench101().op_names)
        )
        assert nasbench101_hash.hash_module(matrix, [-1, *labels, -2]) == text
    path.write_text("hash,val_acc\n" + "0" * 32 + ",1\n")
    with pytest.raises(ValueError, match=r"hashes\.csv: line 2: '0+' is no hash of a cell"):
        importing.imported("table", str(path), tmp_path / "u.parquet", quiet)


def test_a_table_of_no_known_space_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("arch,val_acc\nsomething,1\n")
    with pytest.raises(
        ValueError, match=r"t\.csv: line 2: 'something' is an architecture of none of nasbench201, nasbench101"
    ):
        importing.imported("table", str(path), tmp_path / "t.parquet", quiet)
