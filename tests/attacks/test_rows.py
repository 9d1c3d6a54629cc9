"""Rows and small files as people and broken programs write them: one line that names file, line and value."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from prm.command_line import convert
from prm.datasets.problems import load_examples, load_problems
from prm.encoding.prompts import prompt_template
from prm.evaluation.search_runs import read_runs
from prm.files import read_object, read_settings, read_text
from prm.sampling.sampler import sampler_record
from prm.search.calibration import read_calibration
from prm.search.policy import read_policy
from prm.storage.jsonl import read_jsonl, write_jsonl
from prm.storage.provenance import is_complete
from prm.storage.rows import read_labeled, read_outcomes, read_traces
from prm.storage.search_rows import row_to_results
from prm.storage.sources import read_rows

TRACE = {
    "prompt": "1 + 1?",
    "completions": ["1 + 1 = 2", "#### 2"],
    "labels": [True, None],
    "values": [1.0, None],
    "counts": [[1, 1], [0, 0]],
    "semantics": "value",
    "id": "p/0#0",
    "problem_id": "p/0",
    "gold": "2",
    "level": 1,
    "answer": "2",
    "correct": True,
    "finished": True,
    "num_tokens": 9,
    "seed": 3,
    "index": 0,
    "generator": "g",
    "step_rule": "line",
    "status": "ok",
    "method": "monte_carlo@8",
    "labeler": "g",
}
TYPES = {name: type(value) for name, value in TRACE.items()}


@dataclass
class Settings:
    a: int = 1


CONVERTED = Settings()
WRONG = (3, 0.5, "yes", True, [1], {"a": 1}, [], float("nan"), 2**70)


def refusal(read: Callable[[], object]) -> str:
    """What is said of it; empty if it is read."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return ""


def is_one_line(message: str, path, *parts: str) -> None:
    assert "\n" not in message
    assert len(message) < 600, message
    for part in (str(path), *parts):
        assert part in message, message


@pytest.mark.parametrize("name", TRACE)
def test_a_column_of_a_wrong_type_is_named(tmp_path, name):
    path = tmp_path / "labeled.jsonl"
    refused = 0
    for value in WRONG:
        if type(value) is TYPES[name] and not (name in ("completions", "labels", "values", "counts") or value == 2**70):
            continue
        path.write_text(json.dumps(TRACE) + "\n" + json.dumps(TRACE | {name: value}) + "\n")
        for read in (
            (read_labeled, read_outcomes, read_traces) if name not in ("labels", "semantics") else (read_labeled,)
        ):
            if read is not read_labeled and name in ("values", "counts") and value == []:
                continue
            if said := refusal(lambda read=read: read(path)):
                assert re.search(rf"^{re.escape(str(path))}:2: .*({name.rstrip('s')}|steps but)", said), said
                is_one_line(said, path)
                refused += 1
    assert refused > 0


@pytest.mark.parametrize("name", sorted(TRACE.keys() - {"prompt", "completions", "labels", "semantics"}))
def test_null_is_a_column_that_nobody_knows(tmp_path, name):
    path = tmp_path / "labeled.jsonl"
    write_jsonl(path, [TRACE | {name: None}])
    (row,) = read_labeled(path)
    assert row.labeled.trace.status == "ok"
    assert isinstance(row.labeled.trace.generator, str)
    assert row.labeled.trace.index == 0
    assert row.labeled.trace.finished is True


BROKEN = {
    "latin-1": ("größer".encode("latin-1"), "not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "cut in a character": ("größer".encode()[:3], "not UTF-8"),
    "zeros": (b"\0" * 64, ""),
    "empty": (b"", ""),
    "a number of 5,000 digits": (b'{"prompt": "x", "answer": ' + b"9" * 5000 + b"}", ""),
    "brackets": (b"[" * 5000, ""),
    "half": (b'{"prompt": "x", ', ""),
}
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_broken_file_of_problems_is_named(tmp_path, name, suffix):
    if name == "a number of 5,000 digits" and suffix == ".csv":
        pytest.skip("it is text, as all cells are")
    content, message = BROKEN[name]
    path = tmp_path / f"problems{suffix}"
    path.write_bytes((b"a\tb\n" if suffix == ".tsv" else b"prompt,answer\n" if suffix == ".csv" else b"") + content)
    is_one_line(refusal(lambda: load_problems(str(path), "all")), path, message)


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - {"empty"}))
def test_a_broken_line_among_right_ones_is_named_with_its_number(tmp_path, name):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n' + BROKEN[name][0].replace(b"\n", b"") + b"\n")
    is_text = name not in ("latin-1", "UTF-16", "cut in a character")
    is_one_line(refusal(lambda: list(read_jsonl(path))), f"{path}:3: ", "" if is_text else "not UTF-8")


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_half_a_character_in_a_row_is_named(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    row = r'{"prompt": "5 \ud83d 4", "answer": "2"}'
    path.write_text(row if suffix == ".jsonl" else f"[{row}]")
    is_one_line(refusal(lambda: list(read_rows(str(path)))), path, r"\ud83d is half of a character")
    path.write_text((row if suffix == ".jsonl" else f"[{row}]").replace(r"\ud83d", r"\ud83d\ude00"))
    ((_, found),) = read_rows(str(path))
    assert found["prompt"] == "5 \U0001f600 4"


@pytest.mark.parametrize("value", [True, [1], {"a": 1}, float("nan"), float("inf"), "  ", None])
@pytest.mark.parametrize("column", ["prompt", "answer"])
def test_problems_whose_text_is_none(tmp_path, column, value):
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps({"prompt": "x", "answer": "1"} | {column: value}) + "\n")
    is_one_line(refusal(lambda: load_problems(str(path), "all")), path, column)


@pytest.mark.parametrize(("value", "found"), [("a/7", "a/7"), (7, "7"), (None, "problems/all/0")])
def test_ids_of_problems(tmp_path, value, found):
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps({"prompt": "x", "answer": "1", "id": value, "level": "9" * 5000}) + "\n")
    (problem,) = load_problems(str(path), "all")
    assert (problem.id, problem.level) == (found, None)
    for wrong in (True, [1], 0.5, {}):
        path.write_text(json.dumps({"prompt": "x", "answer": "1", "id": wrong}) + "\n")
        assert refusal(lambda: load_problems(str(path), "all")).startswith(f"{path}:1: `id` is")


def test_examples_are_checked_as_traces_are(tmp_path):
    path = tmp_path / "traces.jsonl"
    for wrong in ({"completions": [3]}, {"completions": "text"}, {"correct": "yes"}, {"step_rule": "words"}):
        path.write_text(json.dumps(TRACE | wrong | {"split": "train"}) + "\n")
        is_one_line(refusal(lambda: load_examples(str(path), "train")), f"{path}:1: ", *wrong)


READERS = {
    "object": lambda path: read_object(path, "write it again"),
    "settings": lambda path: read_settings(path, "write it again"),
    "prompt": lambda path: prompt_template(str(path)),
    "calibration": lambda path: read_calibration(str(path)),
    "policy": lambda path: read_policy(str(path)),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("reader", READERS)
def test_a_broken_small_file_is_named(tmp_path, reader, name):
    path = tmp_path / "small.yaml"
    path.write_bytes(BROKEN[name][0])
    is_one_line(refusal(lambda: READERS[reader](path)), path)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_records_beside_an_output(tmp_path, name):
    output, record, meta = (tmp_path / f"traces{end}" for end in (".jsonl", ".config.yaml", ".meta.json"))
    output.write_text(json.dumps(TRACE) + "\n")
    meta.write_text('{"inputs": {}}')
    record.write_bytes(BROKEN[name][0])
    for read in (lambda: sampler_record(output), lambda: is_complete(output, CONVERTED, [])):
        is_one_line(refusal(read), record)
    record.write_text("a: 1\n")
    meta.write_bytes(BROKEN[name][0])
    is_one_line(refusal(lambda: is_complete(output, CONVERTED, [])), meta)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_meta_json_of_a_search_says_how_it_is_made_again(tmp_path, name):
    (tmp_path / "meta.json").write_bytes(BROKEN[name][0])
    is_one_line(refusal(lambda: read_runs([tmp_path])), tmp_path / "meta.json")


@pytest.mark.parametrize("column", ["problem_id", "prompt", "candidates", "results", "level"])
@pytest.mark.parametrize("value", [3, "text", [3], ["text"], {"a": 1}, [[]], [{}], None])
def test_search_rows_of_wrong_types(column, value):
    from search_run import rows

    said = refusal(lambda: row_to_results("results.jsonl:7", rows()[0] | {column: value}))
    assert said.startswith("results.jsonl:7") or column in ("problem_id", "prompt", "level"), (
        "nothing computes with these"
    )


@pytest.mark.parametrize("kind", [int, list[int], int | None])
def test_flags_of_5000_digits(kind):
    value = "9" * 5000
    assert refusal(lambda: convert(kind, [value] if kind == list[int] else value))


def test_text_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\nb")
    assert read_text(tmp_path / "a.txt") == "a\nb"
