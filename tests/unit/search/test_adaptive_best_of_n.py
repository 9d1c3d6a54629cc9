"""Instance-adaptive N: the calibration against brute force, the strategy against a few lines, and each against the other."""

import itertools
import json
import math
import random
from dataclasses import replace

import pytest

from prm import answers
from prm.generators.scripted import ScriptedGenerator
from prm.search import STRATEGIES
from prm.search.calibration import (
    Calibration,
    SampledPool,
    calibrate,
    check_fits,
    evidence_of,
    isotonic,
    pools_of,
    read_calibration,
)
from prm.search.coverage import coverage, promise
from prm.search.driver import search
from prm.search.methods import Method
from prm.storage.search_rows import results_to_row, row_to_results
from prm.types import Budget, Problem, Scores

CURVE = ((0.0, 0.1), (0.5, 0.6), (0.8, 0.95))
LEADS = ((-1.0, 0.0), (0.3, 0.5), (1.0, 0.9), (2.0, 0.97))
SAFE = ((0.8, -1.0),) * 22  # nothing is lost; enough for a risk of 0.1
EASY = Calibration("v", "g", 8, (), CURVE, LEADS, SAFE, SAFE[1:])


def problems(name, n):
    return [Problem(f"{name}/{i}", f"{name}: what is {i % 7} + {i % 5}?", str(i % 7 + i % 5), name) for i in range(n)]


def student():
    """Some problems are easy and some hard; a tenth of the samples states nothing."""

    def script(prefix, seed):
        rng = random.Random(f"{prefix}{seed}")
        a, _, b = prefix.split("?")[0].split()[-3:]
        ability = random.Random(prefix).random()
        if rng.random() < 0.1:
            return "I do not know\n"
        slip = 0 if rng.random() < ability else rng.choice([1, 2])
        return f"step {rng.randrange(4)}\n#### {int(a) + int(b) + slip}\n"

    return ScriptedGenerator(script)


class Noisy:
    """Right traces score higher as a rule, and it is too sure of itself."""

    name, kind, num_parameters = "noisy", "prm", 3

    def score_batch(self, prompts, steps_N):
        def score(prompt, steps):
            a, _, b = prompt.strip("?").split()[-3:]
            noise = random.Random(f"{prompt}{steps}").random()
            return noise ** (0.2 if steps[-1] == f"#### {int(a) + int(b)}" else 0.7)

        return [
            Scores((0.5,) * len(steps), score(prompt, tuple(steps)), read=len(steps))
            for prompt, steps in zip(prompts, steps_N, strict=True)
        ]


def run(strategy, chosen, samples=8, tokens=None, seed=0, **parameters):
    method = Method(strategy, STRATEGIES[strategy], "v", parameters)
    return search(method, chosen, student(), Noisy(), Budget(samples, tokens), seed)


def rows(chosen):
    return [
        row_to_results("", json.loads(json.dumps(results_to_row(problem, [result], answers.group))))
        for problem, result in zip(chosen, run("best_of_n", chosen), strict=True)
    ]


# --- The calibration ---


def mean(values, weights, those):
    return sum(values[i] * weights[i] for i in those) / sum(weights[i] for i in those)


def test_isotonic_regression_is_the_nearest_function_that_never_falls():
    """Against the min-max formula: the value at i is the largest, over beginnings, of the smallest mean up to an end."""
    rng = random.Random(0)
    for size in (1, 2, 7, 30):
        evidence = rng.sample(range(100), size)
        right, weights = [rng.random() for _ in range(size)], [rng.choice([0.5, 1.0, 2.0]) for _ in range(size)]
        steps = isotonic(evidence, right, weights)
        order = sorted(range(size), key=evidence.__getitem__)
        for place, i in enumerate(order):
            expected = max(
                min(mean(right, weights, order[a:b]) for b in range(place + 1, size + 1)) for a in range(place + 1)
            )
            found = [chance for low, chance in steps if low <= evidence[i]][-1]
            assert found == pytest.approx(expected)
        assert [chance for _, chance in steps] == sorted({chance for _, chance in steps})


def test_equal_evidence_has_one_chance():
    assert isotonic([1, 1, 1, 2], [1, 0, 0, 1], [1, 1, 1, 1]) == ((1, pytest.approx(1 / 3)), (2, 1.0))


def test_a_target_is_reached_at_the_first_step_of_that_chance():
    assert [EASY.likely(target, False) for target in (0, 0.1, 0.11, 0.6, 0.96)] == [-1.0, 0.0, 0.5, 0.5, math.inf]
    assert EASY.likely(0.9, True) == 1.0


def test_a_risk_is_promised_or_refused_in_words():
    assert EASY.safe(0.1, False) == 0.8
    for risk, vote, message in (
        (0.05, False, "a risk of 0.05 cannot be promised after 22 problems: it takes 45 or more; calibrate on more"),
        (0.1, True, "a risk of 0.1 cannot be promised after 21 problems: it takes 22 or more"),
        (1.0, True, "risk 1.0: a share of the stopped problems, more than 0 and less than 1"),
    ):
        with pytest.raises(ValueError, match=message):
            EASY.safe(risk, vote)
    for count in (22, 30):
        unsafe = replace(EASY, stops_best=((0.8, 0.8),) * count)
        with pytest.raises(
            ValueError, match=f"after {count} problems: too many of them are lost wherever stopping begins"
        ):
            unsafe.safe(0.1, False)


def test_evidence():
    assert evidence_of([], [], False) == evidence_of([None, None], [0.9, 0.3], True) == -1
    assert evidence_of([0], [0.25], True) == 0.25
    assert evidence_of([0, 1, 1, 2], [0.75, 0.5, 0.5, 0.5], True) == 0.25
    assert evidence_of([0, 1, 1, None], [0.75, 0.5, 0.5, 0.9], False) == 0.75


def test_no_chance_is_one_and_none_rests_on_a_problem_more_often():
    """With one wrong choice added: twenty right problems in a row make 20/21."""
    found = rows(problems("easy", 250))
    certain = [row for row in found if row.candidates and all(t.correct for t in row.candidates if t.usable)][:20]
    assert len(certain) == 20
    learned = calibrate(pools_of(certain, "v"), "v", "g")
    for curve in (learned.best, learned.vote):
        assert max(chance for _, chance in curve) <= 20 / 21 + 1e-9


@pytest.mark.slow
def test_stopping_is_right_as_often_as_it_says():
    """Learned on some problems, tried on others of the same kind."""
    learned = calibrate(pools_of(rows(problems("learn", 300)), "v"), "v", "g")
    there = pools_of(rows(problems("other", 300)), "v")
    for vote, target in ((False, 0.6), (True, 0.6), (True, 0.8)):
        its = coverage(there, [learned.likely(target, vote)] * len(there), vote)
        assert its.stopped > 0.2
        assert its.accuracy_stopped.high > target
        assert its.accuracy_stopped.mean < target + 0.25  # and does not wait for more than was asked
        assert its.samples < 8


def test_a_calibration_is_read_back(saved, tmp_path):
    assert read_calibration(saved(EASY)) == EASY
    with pytest.raises(
        FileNotFoundError, match=r"nowhere\.json does not exist; eval/calibrate_verifier\.py writes one"
    ):
        read_calibration("nowhere.json")
    (tmp_path / "other.json").write_text('{"best": 3}')
    with pytest.raises(ValueError, match=r"other\.json is no calibration"):
        read_calibration(str(tmp_path / "other.json"))


def test_a_calibration_of_something_else_is_refused(saved):
    path = saved(replace(EASY, problems=("p/1", "p/2")))
    check_fits(path, "v", "g", ["p/3"])
    for arguments, message in (
        (("w", "g", []), "was learned of the verifier v, this one is w; calibrate again"),
        (("v", "h", []), "was learned of the generator g, this one is h"),
        (("v", "g", ["p/0", "p/2"]), "was learned of 1 of these problems, such as p/2"),
    ):
        with pytest.raises(ValueError, match=message):
            check_fits(path, *arguments)


# --- The strategy ---


@pytest.mark.parametrize("vote", [False, True])
@pytest.mark.parametrize("target", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("at_once", [1, 3])
def test_it_is_its_reference(saved, vote, target, at_once):
    chosen = problems("p", 30)
    results = run("adaptive_best_of_n", chosen, calibration=saved(EASY), target=target, vote=vote, at_once=at_once)
    wholes = run("weighted_vote" if vote else "best_of_n", chosen)
    stopped = 0
    for result, whole in zip(results, wholes, strict=True):
        n, sums, best, requests = 0, {}, 0.0, set()
        while n < 8:
            for trace, scores in zip(whole.candidates[n : n + at_once], whole.scores[n : n + at_once], strict=True):
                if trace.usable:
                    sums[trace.answer] = sums.get(trace.answer, 0) + scores.trace
                    best = max(best, scores.trace)
            requests.add(tuple(t.steps for t in whole.candidates[n : n + at_once] if t.usable))
            n = min(8, n + at_once)
            first, second = sorted([*sums.values(), 0, 0])[:-3:-1]
            found = (first - second if vote else best) if sums else -1
            if max([chance for low, chance in (LEADS if vote else CURVE) if low <= found], default=0) >= target:
                break
        assert result.candidates == whole.candidates[:n]
        assert result.cost.verifier_calls == sum(map(len, requests))  # what is asked again is not paid again
        assert result.cost.generator_calls == n
        assert not result.independent
        stopped += n < 8
    assert stopped > 0


@pytest.mark.parametrize(("vote", "whole"), [(False, "best_of_n"), (True, "weighted_vote")])
def test_target_one_never_stops_and_target_zero_at_once(saved, vote, whole):
    chosen = problems("p", 20)
    never = run("adaptive_best_of_n", chosen, calibration=saved(EASY), target=1, vote=vote)
    expected = run(whole, chosen)
    assert [(r.candidates, r.scores, r.chosen) for r in never] == [(r.candidates, r.scores, r.chosen) for r in expected]
    assert [r.cost.generated_tokens for r in never] == [r.cost.generated_tokens for r in expected]
    at_once = run("adaptive_best_of_n", chosen, calibration=saved(EASY), target=0, vote=vote)
    assert {len(result.candidates) for result in at_once} == {1}


@pytest.mark.parametrize("tokens", [1, 20, 60])
@pytest.mark.parametrize("vote", [False, True])
def test_a_budget_in_tokens_is_never_exceeded(saved, tokens, vote):
    for result in run("adaptive_best_of_n", problems("p", 20), 8, tokens, calibration=saved(EASY), target=1, vote=vote):
        assert result.cost.generated_tokens <= tokens
        assert len(result.candidates) <= 8


@pytest.mark.slow
def test_what_coverage_says_is_what_the_strategy_does(saved):
    """The table that chooses a target is computed from a pool: the search does the same."""
    learned = calibrate(pools_of(rows(problems("learn", 100)), "v"), "noisy", "scripted")
    chosen = problems("other", 60)
    pools = pools_of(rows(chosen), "v")
    for vote, target in itertools.product((False, True), (0.5, 0.7, 0.9)):
        results = run("adaptive_best_of_n", chosen, calibration=saved(learned), target=target, vote=vote)
        its = coverage(pools, [learned.likely(target, vote)] * len(pools), vote)
        assert its.samples == sum(len(result.candidates) for result in results) / 60
        assert its.tokens == sum(result.cost.generated_tokens for result in results) / 60
        right = sum(result.correct for result in results) / 60
        assert its.accuracy.mean == pytest.approx(right, abs=0.02)  # equal votes share the credit there


def test_what_it_cannot_do_is_refused(saved):
    for parameters, message in (
        ({"target": 1.5}, "target 1.5 and at_once 1: a chance from 0 to 1"),
        ({"at_once": 0, "target": 0.5}, "at least one sample"),
        ({}, "target None and risk None: give one of them, such as target=0.9 or risk=0.05"),
        ({"target": 0.5, "risk": 0.1}, "target 0.5 and risk 0.1: give one of them"),
        ({"risk": 0.1, "at_once": 2}, r"risk 0.1 is promised for 8 samples, one by one, of which .*\.json was learned"),
        ({"risk": 0.05}, "a risk of 0.05 cannot be promised"),
    ):
        with pytest.raises(ValueError, match=message):
            next(STRATEGIES["adaptive_best_of_n"](problems("p", 1)[0], Budget(8), 0, saved(EASY), **parameters))
    with pytest.raises(ValueError, match="the search has 4, 1 at once"):
        next(STRATEGIES["adaptive_best_of_n"](problems("p", 1)[0], Budget(4), 0, saved(EASY), risk=0.1))


def test_a_risk_stops_where_its_evidence_is_reached(saved):
    """At 0.8 here, wherever the highest score is first so high; else after all samples."""
    chosen = problems("p", 30)
    results = run("adaptive_best_of_n", chosen, calibration=saved(EASY), risk=0.1)
    lengths = set()
    for result, whole in zip(results, run("best_of_n", chosen), strict=True):
        high = [n for n, its in enumerate(whole.scores, 1) if its and its.trace >= 0.8]
        assert len(result.candidates) == (high[0] if high else 8)
        lengths.add(len(result.candidates))
    assert {1, 8} < lengths


@pytest.mark.parametrize("vote", [False, True])
def test_what_is_kept_of_a_pool_says_what_any_threshold_does_to_it(vote):
    """`highest` and `losing` against stopping at every threshold that makes a difference."""
    for pool in pools_of(rows(problems("p", 40)), "v"):
        highest, losing = pool.stop(vote)
        ends = list(pool.maxima(range(8), vote))
        whole = pool.choice_right(range(8), vote)
        for threshold in sorted({evidence for _, evidence in ends}):
            n = next(n for n, evidence in ends if evidence >= threshold)
            assert (n < 8) == (threshold <= highest)
            if n < 8 and pool.choice_right(range(n), vote) < whole:
                assert threshold <= losing <= highest


def test_the_promise_is_kept_on_problems_that_were_not_learned_from():
    pools = pools_of(rows(problems("p", 200)), "v")
    its = promise(pools, 0.1, True, halves=40)
    assert its.refused == 0
    assert its.kept >= 0.85  # 0.9 up to chance, and the share lost in a half is uncertain itself
    assert its.lost <= 0.1
    assert its.early > 0.5
    assert its.saved > 0.3
    assert promise(pools, 0.01, True, halves=2).refused == 1  # 100 problems are too few


def test_a_chance_that_is_the_target_has_reached_it():
    pool = SampledPool("p", (0, 1), (0.4, 0.6), (True, False), (5, 7))
    even = Calibration("v", "g", 2, (), ((0.0, 0.5),), ((0.0, 0.5),), (), ())
    found = coverage([pool], [even.likely(0.5, False)], False)
    assert (found.stopped, found.samples, found.tokens) == (1, 1, 5)
    found = coverage([pool], [even.likely(0.51, False)], False)
    assert (found.stopped, found.accuracy_stopped, found.samples, found.tokens) == (0, None, 2, 12)


def test_of_equal_votes_each_has_half_the_credit():
    pool = SampledPool("p", (0, 1), (1.0, 1.0), (True, False), (1, 1))
    assert pool.choice_right(range(2), True) == 0.5
