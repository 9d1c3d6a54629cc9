"""Revision data: the nearest wrong attempt is last, numbers are uniform, nothing leaks between problems."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm.datasets.problems import load_examples, load_problems
from prm.datasets.revisions import edit_distance, revision_examples, revision_row
from prm.datasets.splits import split_of
from prm.encoding.revisions import revision_prompt
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import read_outcomes
from prm.types import Problem, Trace


def table_distance(a, b):
    """The usual table, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b, 1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != y)))
        row = new
    return row[-1]


@given(st.text("ab\n", max_size=80), st.text("ab\n", max_size=80))
def test_edit_distance_is_that_of_the_table(a, b):
    assert edit_distance(a, b) == table_distance(a, b)


def test_edit_distances_by_hand():
    assert edit_distance("", "") == 0
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("a" * 300 + "b", "b" + "a" * 300) == 2  # beyond a machine word


def traces(problem, right, wrong, unusable=2):
    """Right traces first; wrong trace i is i + 1 characters longer than them."""
    made = [Trace(problem.id, ("sum", "#### 4"), "4", True, index=i) for i in range(right)]
    made += [
        Trace(problem.id, ("sum" + "x" * (i + 1), "#### 4"), "5", False, index=right + i)
        for i in random.Random(0).sample(range(wrong), wrong)
    ]
    made += [
        Trace(problem.id, ("cut",), None, False, finished=False, status="truncated", index=right + wrong + i)
        for i in range(unusable)
    ]
    return [*made, Trace(problem.id, ("slow",), "4", None, status="timeout", index=999)]


P = Problem("p", "What is 2 + 2?", "4", "p")


def test_the_last_attempt_is_the_nearest_one_and_the_others_are_drawn():
    examples = list(revision_examples(P, traces(P, 500, 9), seed=0))
    assert [target.index for _, target in examples] == list(range(500))
    shown = [attempts for attempts, _ in examples]
    assert {attempts[-1].steps[0] for attempts in shown if attempts} == {"sumx"}
    assert all(len({trace.index for trace in attempts}) == len(attempts) for attempts in shown)
    assert {trace.correct for attempts in shown for trace in attempts} == {False}
    assert {trace.status for attempts in shown for trace in attempts} == {"ok"}
    numbers = Counter(map(len, shown))
    assert numbers.keys() == {0, 1, 2, 3, 4}
    assert all(70 < number < 130 for number in numbers.values())  # 100 of each, give or take three standard deviations
    earlier = Counter(len(trace.steps[0]) - 3 for attempts in shown for trace in attempts[:-1])
    assert earlier.keys() == set(range(2, 10))  # the nearest one is never drawn twice
    assert max(earlier.values()) < 2 * min(earlier.values())


def test_a_seed_decides_and_a_trace_has_its_own_draw():
    first, again, other = (list(revision_examples(P, traces(P, 20, 9), seed)) for seed in (0, 0, 1))
    assert first == again != other
    fewer = traces(P, 20, 9)[10:]
    assert list(revision_examples(P, fewer, 0)) == first[10:]


@pytest.mark.parametrize(("right", "wrong", "expected"), [(0, 4, 0), (4, 0, 0), (0, 0, 0), (6, 1, 6)])
def test_problems_need_right_and_wrong_traces(right, wrong, expected):
    examples = list(revision_examples(P, traces(P, right, wrong), 0))
    assert len(examples) == expected
    assert all(len(attempts) <= wrong for attempts, _ in examples)  # fewer wrong ones than drawn: all of them


def test_rows_are_read_by_all_who_train_and_stay_in_the_split_of_their_problem(tmp_path):
    problems = [Problem(f"p/{i}", f"What is {i} + {i}?", str(2 * i), "p", level=3) for i in range(60)]
    rows = []
    for problem in problems:
        right = Trace(problem.id, (f"#### {problem.answer}",), problem.answer, True, step_rule="line")
        wrong = [Trace(problem.id, (f"#### {problem.id} {k}",), "no", False, index=k) for k in range(1, 9)]
        for attempts, target in revision_examples(problem, [right, *wrong], 0):
            assert {attempt.problem_id for attempt in attempts} <= {problem.id}
            rows.append(revision_row(problem, attempts, target))
            assert rows[-1]["prompt"] == revision_prompt(problem.prompt, attempts)
            assert (rows[-1]["split"], rows[-1]["attempts"]) == (split_of(problem.prompt), len(attempts))
    write_jsonl(tmp_path / "rows.jsonl", rows)
    path = str(tmp_path / "rows.jsonl")
    in_train = [problem for problem in problems if split_of(problem.prompt) == "train"]
    examples, left_out = load_examples(path)
    assert (len(examples), left_out) == (len(in_train), 0)
    assert [example["completion"] for example in examples] == [f"#### {problem.answer}" for problem in in_train]
    assert all(example["prompt"].startswith(p.prompt) for example, p in zip(examples, in_train, strict=True))
    assert any(split_of(row["prompt"]) != row["split"] for row in rows)  # else the column would not be needed
    assert len(read_outcomes(path)) == 60
    again = load_problems(path, "train")  # to sample after these prompts
    assert [problem.answer for problem in again] == [problem.answer for problem in in_train]
