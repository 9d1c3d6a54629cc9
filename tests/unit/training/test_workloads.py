"""Examples for benchmarks have the shape that they say: steps, labels, shared beginnings, padding."""

import random
import time

import pytest

from prm.evaluation.workloads import PROMPT_TOKENS, STEPS, TRACE_TOKENS
from prm.training import workloads
from prm.training.workloads import (
    HEADER,
    gsm8k_problem,
    make_example,
    make_prompt,
    pad,
    random_ids,
    seconds_of,
    tree_problem,
)


def example():
    return make_example("p", [1, 2], [[3], [4, 5], [6]])


@pytest.fixture
def lengths(monkeypatch):
    """`lengths(prompt, trace, steps)` are those of every trace from now on."""

    def fix(prompt, trace, steps):
        drawn = {PROMPT_TOKENS: prompt, TRACE_TOKENS: trace, STEPS: steps}
        monkeypatch.setattr(workloads, "draw", lambda rng, deciles: drawn[deciles])

    return fix


def test_steps_are_wrong_and_right_in_turn():
    its = example()
    assert (its.input_ids, its.step_ends, its.steps) == ((1, 2, 3, 4, 5, 6), (2, 4, 5), (0, 1, 2))
    assert (its.targets, its.hard) == ((0.0, 1.0, 0.0), (False, True, False))
    assert (its.problem, its.truncated) == ("p", False)


def test_prompts_have_a_header_in_front(lengths):
    lengths(30, 0, 0)
    assert make_prompt(random.Random(0), 101) == [*HEADER, *[100] * 6]
    assert set(random_ids(random.Random(0), 99, 102)) == {100, 101}


def test_traces_of_gsm8k_share_the_prompt_and_nothing_else(lengths):
    lengths(30, 6, 6)
    examples = gsm8k_problem(random.Random(0), "p", 9999)
    assert len(examples) == 16
    assert {example.step_ends for example in examples} == {tuple(range(30, 36))}
    assert len({example.input_ids[:30] for example in examples}) == 1
    assert len({example.input_ids[30:31] for example in examples}) > 10
    lengths(30, 9, 2)
    for example in gsm8k_problem(random.Random(0), "p", 9999):
        assert (len(example.input_ids), len(example.step_ends), example.step_ends[-1]) == (39, 2, 38)


def test_four_rollouts_from_each_of_the_first_four_steps(lengths):
    lengths(30, 10, 0)
    examples = tree_problem(random.Random(0), "p", 9999)
    assert {example.step_ends for example in examples} == {(31, 33, 35, 37, 39)}
    steps = [[example.input_ids[end - 1 : end + 1] for end in example.step_ends] for example in examples]
    trunk = steps[-1][:4]
    shared = [next((i for i, (a, b) in enumerate(zip(its, trunk, strict=False)) if a != b), 4) for its in steps]
    assert shared == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert len({its[-1] for its in steps}) == 16
    lengths(30, 4, 0)
    assert tree_problem(random.Random(0), "p", 9999)[0].step_ends == (30, 31, 32, 33, 34)  # at least one token


def test_padding_has_no_labels():
    batch = pad([example(), make_example("q", [7], [[8]])])
    assert {str(tensor.dtype) for tensor in batch.values()} == {"torch.int64"}
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6], [7, 8, 0, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 0, -100, 1, 0], [-100, 0, -100, -100, -100, -100]]


def test_seconds():
    assert 0.01 <= seconds_of(lambda: time.sleep(0.01)) < 5
