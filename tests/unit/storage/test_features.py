"""Our files load with Hugging Face `datasets`, whatever their first rows hold."""

import json
from dataclasses import replace

import datasets
import pytest

from prm.storage.features import FEATURES, SEARCH_FEATURES, features_of
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row, trace_to_row
from prm.storage.search_rows import results_to_row
from prm.types import Cost, LabeledTrace, Problem, SampledStep, Scores, SearchResult, Trace

PROBLEM = Problem("p/1", "1 + 1?", "2", "p", 3)
TRACE = Trace("p/1", ("a", "#### 2"), "2", True, "g", True, 5, 2**62, 0)
LABELED = LabeledTrace(TRACE, (True, None), (0.5, None), ((4, 8), (0, 0)), "monte_carlo@8", "value", "g")
RESULT = SearchResult("p/1", "x v", "x", "v", (TRACE,), (Scores((0.5, 0.9), 0.9),), 0, True, Cost(20, flops=7.0))


def load(path, tmp_path, **options):
    return datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"), **options
    )


def test_ten_megabytes_of_nulls_before_the_first_value(tmp_path):
    """Traces without labels, as `data/label_steps.py` writes them, and `kept` columns that are empty for long."""
    path = tmp_path / "labeled.jsonl"
    empty = trace_to_row(
        replace(PROBLEM, prompt="x" * 400_000, level=None), Trace("p/1", (), None, None, status="no_steps")
    )
    last = labeled_to_row(PROBLEM, LABELED) | {"kept": {"topic": "sums", "note": None}}
    write_jsonl(path, [*[empty | {"kept": {"topic": None}}] * 30, last])
    assert path.stat().st_size > 11e6
    with pytest.raises(datasets.exceptions.DatasetGenerationError):  # what types that are guessed lead to
        load(path, tmp_path)
    loaded = load(path, tmp_path, features=features_of(path))
    assert len(loaded) == 31
    assert loaded[-1] == last
    assert (loaded[0]["status"], loaded[0]["labels"], loaded[0]["level"]) == ("no_steps", None, None)


def test_results_of_a_search_with_nulls_first(tmp_path):
    path = tmp_path / "results.jsonl"
    silent = replace(TRACE, answer=None, correct=None, status="no_answer")
    nothing = replace(RESULT, verifier=None, candidates=(silent,), scores=(None,), chosen=None)
    bare = replace(PROBLEM, prompt="x" * 400_000, level=None)
    first = results_to_row(bare, [nothing], lambda answers: [None for _ in answers])
    tree = (SampledStep(None, "a", None, 4), SampledStep(0, "#### 2", 0.9, 3))
    last = results_to_row(PROBLEM, [replace(RESULT, tree=tree)], lambda answers: [0 for _ in answers])
    write_jsonl(path, [*[first] * 30, last])
    assert load(path, tmp_path, features=features_of(path))[-1] == json.loads(json.dumps(last))


def test_every_column_that_is_written_has_a_type():
    assert FEATURES.keys() == labeled_to_row(PROBLEM, LABELED).keys()
    row = results_to_row(PROBLEM, [RESULT], lambda answers: [0 for _ in answers])
    assert SEARCH_FEATURES.keys() == row.keys()
    for name in ("candidates", "results"):
        assert SEARCH_FEATURES[name].feature.keys() == row[name][0].keys()


def test_only_the_columns_of_the_file(tmp_path):
    path = tmp_path / "traces.jsonl"
    row = trace_to_row(PROBLEM, TRACE)
    write_jsonl(path, [row])
    assert features_of(path).keys() == row.keys()
    write_jsonl(path, [row, row | {"color": "red"}])
    with pytest.raises(ValueError, match=r"traces\.jsonl: the types of color are not known; state `features` yourself"):
        features_of(path)
    assert "kept" not in FEATURES


def test_counts_of_a_cost_are_integers():
    types = {name: value.dtype for name, value in SEARCH_FEATURES["results"].feature["cost"].items()}
    kinds = {name: {int: "int64", float: "float64"}[type(value)] for name, value in vars(Cost()).items()}
    assert types == kinds
    assert (types["generated_tokens"], types["flops"]) == ("int64", "float64")


def test_the_columns_are_those_that_any_row_has(tmp_path):
    path = tmp_path / "labeled.jsonl"
    row = labeled_to_row(PROBLEM, LABELED)
    write_jsonl(path, [row | {"kept": {"topic": "sums"}}, {"prompt": "?"} | {"kept": {"note": "n"}}])
    found = features_of(path)
    assert found.keys() == {*row, "kept"}
    assert list(found["kept"]) == ["topic", "note"]
    write_jsonl(path, [row, {"color": 1}])
    with pytest.raises(ValueError, match=r"labeled\.jsonl: the types of color are not known"):
        features_of(path)
