from __future__ import annotations

import json

import pytest

from prm.datasets.mixed import divide, keep_mixed
from prm.storage.jsonl import write_jsonl


def row(problem: str, correct: bool | None, status: str = "ok") -> dict:
    return {"problem_id": problem, "correct": correct, "status": status}


def ids(path) -> list[str]:
    return [json.loads(line)["problem_id"] for line in path.open()]


@pytest.fixture
def traces(tmp_path):
    path = tmp_path / "traces.jsonl"
    (tmp_path / "traces.config.yaml").write_text("temperature: 0.7\n")
    return path


def test_problems_with_right_and_wrong_usable_traces_are_kept(traces):
    mixed, never, always = (("a", True, False), ("b", False, False), ("c", True, True))
    rows = [row(name, correct) for name, *its in (mixed, never, always, ("d", False, True)) for correct in its]
    rows += [row("a", None, "no_answer"), row("b", None, "timeout")]
    write_jsonl(traces, rows)
    found = keep_mixed(traces)
    assert ids(found) == ["a", "a", "d", "d"]
    assert (traces.parent / "mixed.config.yaml").read_text() == "temperature: 0.7\n"


def test_one_mixed_problem_is_too_few(traces):
    write_jsonl(traces, [row("a", True), row("a", False), row("b", True), row("b", None, "timeout")])
    with pytest.raises(ValueError, match=r"traces.jsonl: of its problems, fewer than two have right and wrong traces"):
        keep_mixed(traces)


def test_every_tenth_problem_is_validated_on(tmp_path):
    labeled = tmp_path / "labeled.jsonl"
    write_jsonl(labeled, [row(f"p{i}", True) for i in range(12) for _ in range(2)])
    train, validation = divide(labeled)
    assert ids(validation) == ["p0", "p0", "p10", "p10"]
    assert len(ids(train)) == 20
    assert not {*ids(train)} & {*ids(validation)}
