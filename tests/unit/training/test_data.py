"""What --data names: the folder that a data set was built into, a file, a name on the hub."""

from types import SimpleNamespace

import datasets
import pytest

from prm.datasets import arithmetic
from prm.storage.jsonl import file_hash, write_jsonl
from prm.storage.rows import labeled_to_row, read_labeled, read_outcomes
from prm.training.arguments import VerifierArguments
from prm.training.data import data_hash, training_source, validation_source
from prm.training.input import look_at
from prm.training.run import read_rows
from prm.types import LabeledTrace, Trace


def labeled(first, count, name="value"):
    for problem in arithmetic.load("train", first + count)[first:]:
        trace = Trace(problem.id, ("#### 1",), "1", True)
        yield labeled_to_row(problem, LabeledTrace(trace, (True,), (0.5,), None, "exact", name))


@pytest.fixture
def folder(tmp_path):
    """As data/build_dataset.py writes it: 5 rows to train on, 2 to validate on, 3 to test on."""
    for split, first, count in (("train", 0, 5), ("validation", 5, 2), ("test", 7, 3)):
        write_jsonl(tmp_path / f"{split}.jsonl", labeled(first, count))
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    """`hub(train=rows, validation=rows)`: the only data set there, org/set."""

    def make(**splits):
        def load_dataset(name, config=None, split=None, streaming=False):
            assert (name, streaming) == ("org/set", True)
            return iter(splits[split])

        def names(name, config):
            if name != "org/set":
                raise FileNotFoundError(name)
            return list(splits)

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        monkeypatch.setattr(datasets, "get_dataset_split_names", names)

    return make


def ids(arguments, read=read_labeled):
    parts = read_rows(VerifierArguments(model="base", **arguments), read)
    return [[row.problem.id for row in rows] for rows in parts]


@pytest.mark.parametrize("read", [read_labeled, read_outcomes])
def test_a_folder_is_its_train_and_validation_rows(folder, read):
    expected = [[row["problem_id"] for row in labeled(0, 5)], [row["problem_id"] for row in labeled(5, 2)]]
    assert ids({"data": str(folder)}, read) == expected
    assert ids({"data": str(folder), "eval_data": str(folder / "test.jsonl")}, read) == [
        expected[0],
        [row["problem_id"] for row in labeled(7, 3)],
    ]
    assert ids({"data": str(folder / "train.jsonl"), "eval_data": str(folder)}, read) == expected


def test_rows_of_a_benchmark_are_not_trained_on_but_validated_on(tmp_path):
    rows = [row | {"problem_id": f"processbench/{i}"} for i, row in enumerate(labeled(0, 3))]
    write_jsonl(tmp_path / "benchmark.jsonl", rows)
    write_jsonl(tmp_path / "train.jsonl", labeled(5, 3))
    train, benchmark = str(tmp_path / "train.jsonl"), str(tmp_path / "benchmark.jsonl")
    with pytest.raises(ValueError, match=r"benchmark\.jsonl:1: .* is a problem of ProcessBench, .* --allow_benchmark"):
        ids({"data": benchmark, "eval_data": train})
    assert ids({"data": benchmark, "eval_data": train, "allow_benchmark": True})[0][0] == "processbench/0"
    assert ids({"data": train, "eval_data": benchmark})[1][0] == "processbench/0"


def test_a_folder_without_validation_holds_out_a_tenth(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", labeled(0, 60))
    train, validation = ids({"data": str(tmp_path)})
    assert sorted(train + validation) == sorted(row["problem_id"] for row in labeled(0, 60))
    assert 1 <= len(validation) <= 15


def test_a_hub_name_is_its_splits_and_without_validation_a_tenth_is_held_out(hub, tmp_path):
    hub(train=list(labeled(0, 5)), validation=list(labeled(5, 2)))
    expected = [[row["problem_id"] for row in labeled(0, 5)], [row["problem_id"] for row in labeled(5, 2)]]
    assert ids({"data": "org/set"}) == expected
    hub(train=list(labeled(0, 60)))
    train, validation = ids({"data": "org/set"})
    assert len(train) + len(validation) == 60
    write_jsonl(tmp_path / "own.jsonl", labeled(5, 2))
    assert ids({"data": "org/set", "eval_data": str(tmp_path / "own.jsonl")})[1] == expected[1]


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.parquet"])
def test_a_file_that_is_missing_is_not_looked_for_on_the_hub(name, monkeypatch):
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, config: pytest.fail(f"asked for {name}"))
    assert validation_source(name, None) is None


def test_a_file_of_any_name_is_not_looked_for_on_the_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, config: pytest.fail(f"asked for {name}"))
    (tmp_path / "labels").touch()
    assert validation_source(str(tmp_path / "labels"), None) is None


def test_data_is_looked_at_before_a_model_is_loaded(monkeypatch):
    def preflight(*args):
        raise ValueError("no row can train it")

    monkeypatch.setattr("prm.training.input.preflight", preflight)
    with pytest.raises(ValueError, match="no row can train it"):
        look_at("labels.jsonl", SimpleNamespace(codec=None), None, None, None)


def test_the_hash_is_that_of_the_file_or_of_the_rows(folder, hub):
    rows = read_labeled(folder / "train.jsonl")
    assert data_hash(training_source(str(folder)), rows) == file_hash(folder / "train.jsonl")
    hashes = {data_hash("org/set", some) for some in (rows, rows[:4], read_labeled(folder / "test.jsonl"))}
    assert len(hashes) == 3
    assert all(len(some) == 16 for some in hashes)


def test_folders_and_names_without_rows_are_refused(folder, tmp_path, hub):
    hub(train=[])
    (folder / "train.jsonl").unlink()
    with pytest.raises(ValueError, match=r"holds no train\.jsonl; give a folder that data/build_dataset\.py wrote"):
        training_source(str(folder))
    (folder / "validation.jsonl").unlink()
    with pytest.raises(ValueError, match=r"holds no validation\.jsonl"):
        validation_source("org/set", str(folder))
    with pytest.raises(ValueError, match="--data 'org/typo' is no file, no folder, and could not be read from the hub"):
        validation_source("org/typo", None)
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl does not exist"):
        ids({"data": str(tmp_path / "missing.jsonl")})
