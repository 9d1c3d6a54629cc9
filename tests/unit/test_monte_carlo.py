"""Monte Carlo labels from rollouts whose outcomes are written down here."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

from prm import answers
from prm.generators import derive_seed
from prm.generators.scripted import ScriptedGenerator
from prm.labelers.monte_carlo import MonteCarlo, count
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


def test_counts_labels_and_values_by_hand():
    labeler = MonteCarlo(student({STEPS[0]: 3}), rollouts=8)
    (labeled,) = labeler.label([PROBLEM], [TRACE])
    assert labeled.counts == ((3, 8), (0, 8), (0, 1))
    assert labeled.values == (0.375, 0.0, 0.0)
    assert labeled.labels == (True, False, False)
    assert (labeled.method, labeled.semantics) == ("monte_carlo@8", "value")
    assert labeled.first_error == 1


def test_a_right_trace():
    trace = replace(TRACE, steps=("47 + 38 = 85", "85 - 12 = 73", "#### 73"), answer="73", correct=True)
    (labeled,) = MonteCarlo(student({"85 - 12 = 73": 4}), rollouts=4).label([PROBLEM], [trace])
    assert labeled.counts == ((0, 4), (4, 4), (1, 1))
    assert labeled.values == (0.0, 1.0, 1.0)
    assert labeled.labels == (False, True, True)


def test_the_last_step_of_a_finished_trace_costs_nothing():
    generator = student({})
    MonteCarlo(generator, rollouts=2).label([PROBLEM], [TRACE])
    prompt = PROBLEM.prompt + "\n"
    prefixes = [prefix for prefix, _ in generator.calls]
    assert prefixes == [prompt + "47 + 38 = 75\n"] * 2 + [prompt + "47 + 38 = 75\n75 - 12 = 63\n"] * 2

    only_answer = replace(TRACE, steps=("#### 73",), answer="73", correct=True)
    generator = student({})
    assert MonteCarlo(generator).label([PROBLEM], [only_answer])[0].counts == ((1, 1),)
    assert generator.calls == []


def test_the_last_step_of_a_cut_trace_is_sampled_like_the_others():
    cut = replace(TRACE, steps=STEPS[:2], answer=None, finished=False, status="truncated")
    (labeled,) = MonteCarlo(student({STEPS[1]: 1}), rollouts=2).label([PROBLEM], [cut])
    assert labeled.counts == ((0, 2), (1, 2))


def test_common_prefixes_are_sampled_once():
    traces = [
        TRACE,
        replace(TRACE, index=1),  # the same text again
        replace(TRACE, index=2, steps=(STEPS[0], "75 - 12 = 73", "#### 73"), answer="73", correct=True),
        replace(TRACE, index=3, steps=("47 + 38 = 85", "85 - 12 = 63", "#### 63")),
    ]
    twin = replace(PROBLEM, id="arithmetic/train/8")  # the same prompt, but another problem: samples stay its own
    problems = [PROBLEM] * 4 + [twin]
    generator = student({STEPS[0]: 2, "75 - 12 = 73": 5})
    labeler = MonteCarlo(generator, rollouts=5)
    labeled = labeler.label(problems, [*traces, replace(TRACE, problem_id=twin.id)])
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


def test_rollouts_can_be_sampled_again_one_by_one():
    generator = student({STEPS[0]: 1})
    rollouts = MonteCarlo(generator, rollouts=6, seed=3).sample([PROBLEM], [TRACE])
    assert len(rollouts) == 12
    assert len({rollout.seed for rollout in rollouts}) == 12
    assert [seed for _, seed in generator.calls] == [rollout.seed for rollout in rollouts]
    ids = generator.encode(PROBLEM.prompt, STEPS[:2])
    prefix = hashlib.sha256(repr(ids).encode()).hexdigest()[:16]
    last = rollouts[-1]
    assert (last.problem_id, last.prefix, last.index) == (PROBLEM.id, prefix, 5)
    assert last.seed == derive_seed(3, PROBLEM.id, prefix, 5)
    assert (last.text, last.num_tokens, last.outcome) == ("#### 63", 7, "wrong")
    assert rollouts[0].outcome == "correct"
    other = MonteCarlo(generator, rollouts=6, seed=4).sample([PROBLEM], [TRACE])
    assert not {r.seed for r in other} & {r.seed for r in rollouts}
    fewer = MonteCarlo(generator, rollouts=2, seed=3).sample([PROBLEM], [TRACE])
    assert [r.seed for r in fewer] == [r.seed for r in rollouts if r.index < 2]


def test_a_rollout_may_hold_only_the_end_of_its_last_line():
    """The model ends at once behind a step that states the answer in words: the answer is in the prefix."""
    trace = replace(TRACE, steps=("so 73 eggs", "#### 63"))
    (labeled,) = MonteCarlo(student({}, wrong=""), rollouts=3).label([PROBLEM], [trace])
    assert labeled.counts == ((3, 3), (0, 1))


def test_undecided_answers_count_as_neither(monkeypatch):
    told = {"1": "timeout", "2": "error", "3": "correct", "4": "wrong", None: "no_answer"}
    monkeypatch.setattr(answers, "check_many", lambda golds, preds: [told[pred] for pred in preds])

    def script(prefix, seed):
        if prefix.endswith("one\n"):
            return next(first)
        return "#### 1" if seed % 2 else "#### 2"

    first = iter(["#### 1", "#### 2", "#### 3", "#### 4", "#### 4", "I give up"])
    trace = Trace("p/0", ("one", "two", "#### 4"), "4", False)
    problem = Problem("p/0", "How many?", "3", "p")
    labeler = MonteCarlo(ScriptedGenerator(script), rollouts=6)
    rollouts = labeler.sample([problem], [trace])
    assert [rollout.outcome for rollout in rollouts[:6]] == [
        "timeout",
        "error",
        "correct",
        "wrong",
        "wrong",
        "no_answer",
    ]
    labeled = labeler.derive(problem, trace, count(rollouts))
    assert labeled.counts == ((1, 4), (0, 0), (0, 1))
    assert labeled.labels == (True, None, False)
    assert labeled.values == (0.25, 0.0, 0.0)


def test_the_last_step_of_an_undecided_trace_has_no_label():
    undecided = replace(TRACE, correct=None, status="timeout")
    (labeled,) = MonteCarlo(student({}), rollouts=1).label([PROBLEM], [undecided])
    assert labeled.counts == ((0, 1), (0, 1), (0, 0))
    assert labeled.labels == (False, False, None)


def test_a_rollout_cut_at_the_limit_has_no_answer():
    """It holds the right number, but it was not at its end."""

    class Cut(ScriptedGenerator):
        def generate(self, prefixes, seeds, until="end"):
            return [replace(c, stop="length") for c in super().generate(prefixes, seeds, until)]

    labeler = MonteCarlo(Cut(lambda prefix, seed: "73"), rollouts=2)
    rollouts = labeler.sample([PROBLEM], [TRACE])
    assert {rollout.outcome for rollout in rollouts} == {"no_answer"}
    assert labeler.derive(PROBLEM, TRACE, count(rollouts)).counts == ((0, 2), (0, 2), (0, 1))


def test_rollouts_of_several_commits_add_up():
    labeler = MonteCarlo(student({STEPS[0]: 3}), rollouts=4)
    rollouts = labeler.sample([PROBLEM], [TRACE])
    assert count(rollouts[:3] + rollouts[3:]) == count(reversed(rollouts)) == count(rollouts)
    assert list(count(rollouts).values()) == [(3, 4), (0, 4)]


def test_no_rollouts_are_refused():
    with pytest.raises(ValueError, match="rollouts is 0"):
        MonteCarlo(student({}), rollouts=0)
