"""Monte Carlo labels from rollouts whose outcomes are written down here."""

from collections import Counter
from dataclasses import replace

import pytest

from prm import answers
from prm.generators.scripted import ScriptedGenerator
from prm.labelers import run
from prm.labelers.monte_carlo import MonteCarlo
from prm.sampling.rollouts import RolloutSource
from prm.types import Problem, Trace

PROBLEM = Problem("arithmetic/train/7", "Start with 47, add 38, subtract 12.", "73", "arithmetic", 2)
STEPS = ("47 + 38 = 75", "75 - 12 = 63", "#### 63")
TRACE = Trace(PROBLEM.id, STEPS, "63", False)


def student(successes: dict[str, int], wrong: str = "#### 63") -> ScriptedGenerator:
    """Behind a prefix that ends with step `s`, the first `successes[s]` rollouts end right, the others say `wrong`."""
    seen: Counter[str] = Counter()

    def script(prefix, seed):
        step = prefix.splitlines()[-1]
        seen[step] += 1
        return "#### 73" if seen[step] <= successes.get(step, 0) else wrong

    return ScriptedGenerator(script)


def label(generator, rollouts, *traces, problem=PROBLEM):
    return run(MonteCarlo(rollouts), [(problem, traces)], RolloutSource(generator, 0))[0]


def test_counts_labels_and_values_by_hand():
    (labeled,) = label(student({STEPS[0]: 3}), 8, TRACE)
    assert labeled.counts == ((3, 8), (0, 8), (0, 1))
    assert labeled.values == (0.375, 0.0, 0.0)
    assert labeled.labels == (True, False, False)
    assert (labeled.method, labeled.semantics, labeled.labeler) == ("monte_carlo@8", "value", student({}).name)
    assert labeled.first_error == 1


def test_a_right_trace():
    trace = replace(TRACE, steps=("47 + 38 = 85", "85 - 12 = 73", "#### 73"), answer="73", correct=True)
    (labeled,) = label(student({"85 - 12 = 73": 4}), 4, trace)
    assert labeled.counts == ((0, 4), (4, 4), (1, 1))
    assert labeled.values == (0.0, 1.0, 1.0)
    assert labeled.labels == (False, True, True)


def test_the_last_step_of_a_finished_trace_costs_nothing():
    generator = student({})
    label(generator, 2, TRACE)
    prompt = PROBLEM.prompt + "\n"
    prefixes = [prefix for prefix, _ in generator.calls]
    assert prefixes == [prompt + "47 + 38 = 75\n"] * 2 + [prompt + "47 + 38 = 75\n75 - 12 = 63\n"] * 2

    only_answer = replace(TRACE, steps=("#### 73",), answer="73", correct=True)
    generator = student({})
    assert label(generator, 8, only_answer)[0].counts == ((1, 1),)
    assert generator.calls == []


def test_the_last_step_of_a_cut_trace_is_sampled_like_the_others():
    cut = replace(TRACE, steps=STEPS[:2], answer=None, finished=False, status="truncated")
    (labeled,) = label(student({STEPS[1]: 1}), 2, cut)
    assert labeled.counts == ((0, 2), (1, 2))


def test_common_prefixes_are_sampled_once():
    traces = [
        TRACE,
        replace(TRACE, index=1),  # the same text again
        replace(TRACE, index=2, steps=(STEPS[0], "75 - 12 = 73", "#### 73"), answer="73", correct=True),
        replace(TRACE, index=3, steps=("47 + 38 = 85", "85 - 12 = 63", "#### 63")),
    ]
    twin = replace(PROBLEM, id="arithmetic/train/8")  # the same prompt, but another problem: samples stay its own
    generator = student({STEPS[0]: 2, "75 - 12 = 73": 5})
    groups = [(PROBLEM, traces), (twin, [replace(TRACE, problem_id=twin.id)])]
    labeled = [row for rows in run(MonteCarlo(5), groups, RolloutSource(generator, 0)) for row in rows]
    calls = Counter(prefix for prefix, _ in generator.calls)
    prompt = PROBLEM.prompt + "\n"
    assert calls == {
        prompt + "47 + 38 = 75\n": 10,  # 5 for each problem
        prompt + "47 + 38 = 75\n75 - 12 = 63\n": 10,
        prompt + "47 + 38 = 75\n75 - 12 = 73\n": 5,
        prompt + "47 + 38 = 85\n": 5,
        prompt + "47 + 38 = 85\n85 - 12 = 63\n": 5,
    }
    assert [row.counts for row in labeled] == [
        ((2, 5), (0, 5), (0, 1)),
        ((2, 5), (0, 5), (0, 1)),
        ((2, 5), (5, 5), (1, 1)),
        ((0, 5), (0, 5), (0, 1)),
        ((0, 5), (0, 5), (0, 1)),
    ]


def test_undecided_answers_count_as_neither(monkeypatch):
    told = {"1": "timeout", "2": "error", "3": "correct", "4": "wrong", None: "no_answer"}
    monkeypatch.setattr(answers, "check_many", lambda golds, preds: [told[pred] for pred in preds])

    def script(prefix, seed):
        if prefix.endswith("one\n"):
            return next(first)
        return "#### 1" if seed % 2 else "#### 2"

    first = iter(["#### 1", "#### 2", "#### 3", "#### 4", "#### 4", "I give up"])
    trace = Trace("p/0", ("one", "two", "#### 4"), "4", False)
    (labeled,) = label(ScriptedGenerator(script), 6, trace, problem=Problem("p/0", "How many?", "3", "p"))
    assert labeled.counts == ((1, 4), (0, 0), (0, 1))
    assert labeled.labels == (True, None, False)
    assert labeled.values == (0.25, None, 0.0)


def test_the_last_step_of_an_undecided_trace_has_no_label():
    undecided = replace(TRACE, correct=None, status="timeout")
    (labeled,) = label(student({}), 1, undecided)
    assert labeled.counts == ((0, 1), (0, 1), (0, 0))
    assert labeled.labels == (False, False, None)
    assert labeled.values == (0.0, 0.0, None)


def test_no_rollouts_are_refused():
    with pytest.raises(ValueError, match="rollouts is 0"):
        MonteCarlo(rollouts=0)
