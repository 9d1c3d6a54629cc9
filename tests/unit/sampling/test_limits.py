"""When a run stops, and what the whole is said to cost."""

import math
from dataclasses import dataclass, fields
from types import SimpleNamespace

import pytest

from prm.generators.scripted import ScriptedGenerator
from prm.sampling.limits import (
    LimitArguments,
    LimitReached,
    Limits,
    Pilot,
    is_finished,
    of_all,
    pilot,
    search_report,
    stopped,
    unlimited,
)
from prm.sampling.rollouts import Request, RolloutSource
from prm.storage.provenance import write_provenance
from prm.types import Cost, Problem

PROBLEM = Problem("p/0", "Count.", "3", "p")


def of(problem_id, tokens):
    return SimpleNamespace(problem_id=problem_id, num_tokens=tokens)


def test_a_source_stops_after_the_batch_that_reaches_the_limit_and_keeps_it():
    kept: list = []
    limits = Limits(max_tokens=1)
    source = RolloutSource(ScriptedGenerator(lambda prefix, seed: "#### 3"), 0, commit=kept.extend, limits=limits)
    source.take([Request(PROBLEM, (), 2)])
    assert len(kept) == 2
    assert (limits.reached, limits.sampled) == ("max_tokens", sum(rollout.num_tokens for rollout in kept))
    assert source.take([Request(PROBLEM, (), 2)]) == [kept]  # nothing has to be sampled
    with pytest.raises(LimitReached):
        source.take([Request(PROBLEM, (), 3)])
    assert len(kept) == 2


@dataclass(kw_only=True)
class Sampling(LimitArguments):
    samples: int = 4


def test_a_limit_and_an_estimate_are_no_settings_of_what_is_written(tmp_path):
    limits = {"max_tokens": 5, "max_hours": 2.0, "estimate": True, "price_per_million_tokens": 3.0}
    assert limits.keys() == {field.name for field in fields(LimitArguments)}
    limited = Sampling(samples=8, **limits)
    assert unlimited(limited) == Sampling(samples=8)
    output = tmp_path / "rows.jsonl"
    output.touch()
    for unfinished in (3, 0):
        write_provenance(output, "data/x.py", unlimited(limited), [], unfinished_problems=unfinished)
        assert is_finished(str(output), Sampling(samples=8), []) == is_finished(str(output), limited, [])
        assert is_finished(str(output), limited, []) == (unfinished == 0)


def test_what_was_written_otherwise_or_never_is_not_finished(tmp_path):
    output = tmp_path / "rows.jsonl"
    assert not is_finished(str(output), Sampling(), [])


def test_a_run_says_by_which_limit_it_was_stopped_and_how_to_go_on():
    limits = Sampling(max_tokens=1500, max_hours=2.0).limits()
    assert limits.reached is None
    limits.add(1500)
    assert stopped(limits, 1200, 2400) == (
        "--max_tokens is reached with 1,500 tokens: 1,200 of 2,400 problems are not finished and have no rows. Start the"
        " same command again, without --max_tokens or with a larger one, to go on"
    )


def test_hours_are_a_limit_too(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("prm.sampling.limits.time.monotonic", lambda: now[0])
    limits = Limits(max_hours=0.5)
    now[0] += 1799
    assert limits.reached is None
    now[0] += 1
    assert limits.reached == "max_hours"
    assert Limits().reached is None
    with pytest.raises(ValueError, match="max_tokens is 0, max_hours is None; a limit must be more than 0"):
        Limits(max_tokens=0)
    with pytest.raises(ValueError, match="max_hours is -1"):
        Limits(max_tokens=1, max_hours=-1)


def test_a_pilot_is_made_of_whole_chunks():
    assert pilot([1]) == pilot([1, 2, 3]) == [1]
    assert pilot([1, 2, 3, 4]) == [1, 3]
    assert pilot([1, 2, 3, 4, 5, 6]) == [1, 4]
    assert pilot([]) == []


def test_the_estimate_by_hand():
    """Problems of 10, 20 and 0 tokens: mean 10, variance 100. Nine more: 90 ± 1.96 sqrt((9 + 81 / 3) 100)."""
    costs = Pilot()
    costs.add(["a", "b", "c"], [of("a", 4), of("a", 6), of("b", 20)])
    expected, low, high = of_all([10, 20, 0], 12)
    assert (expected, low) == (120, 30)  # 30 tokens are spent already: it cannot become less
    assert high == pytest.approx(120 + 1.96 * 60)
    assert of_all([10, 20, 0], 3) == (30, 30, 30)
    assert costs.report(12, sampled=30, seconds=30, price=2.0).splitlines() == [
        "pilot: 3 problems, 30 tokens; 30 of them sampled now, in 30 s",
        "all 12 problems: 120 (95%: 30 to 238) tokens",
        "2.00 (95%: 0.50 to 3.96) minutes for one process like this one, at 1 tokens/s",
        "cost: 0.00024 (95%: 6e-05 to 0.00048) at 2 per million generated tokens; prompts are not counted",
    ]
    assert "0.04 (95%: 0.01 to 0.08) seconds for" in costs.report(12, sampled=30, seconds=0.01, price=None)
    assert "hours: unknown" in costs.report(12, sampled=0, seconds=1, price=None)


def test_the_estimate_of_a_search_by_hand():
    """The same numbers as verifier tokens, half of them as generated tokens, hours in steps of a half."""
    costs = {
        "a": Cost(generated_tokens=5, verifier_tokens=10, seconds=1800),
        "b": Cost(generated_tokens=10, verifier_tokens=20, seconds=3600),
        "c": Cost(),
    }
    assert search_report(costs, 12, price=1e6).splitlines() == [
        "pilot: 3 problems, 15 generated tokens and 30 read by verifiers, in 5400 s",
        "all 12 problems: 60 (95%: 15 to 119) generated tokens",
        "120 (95%: 30 to 238) tokens read by verifiers",
        "6.00 (95%: 1.50 to 11.88) hours for one process like this one",
        "cost: 60.00 (95%: 15.00 to 118.80) at 1e+06 per million generated tokens; prompts and verifiers are not counted",
    ]
    assert "cost" not in search_report(costs, 12, price=None)
    assert "nothing can be estimated" in search_report({}, 12, price=None)


def test_one_problem_has_no_spread():
    assert of_all([5], 3) == (15, 5, math.inf)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    import random

    rng = random.Random(0)
    covered = 0
    for _ in range(400):
        tokens = [round(rng.gauss(100, 30)) for _ in range(200)]
        _, low, high = of_all(tokens[:40], 200)
        covered += low <= sum(tokens) <= high
    assert 0.91 < covered / 400 < 0.985


def test_times_and_costs_have_the_largest_unit_of_which_they_are_one():
    costs = Pilot()
    costs.add(["a"], [of("a", 3600)])
    for seconds, words in ((3600, "1.00 (95%: 1.00 to 1.00) hours"), (60, "1.00 (95%: 1.00 to 1.00) minutes")):
        assert words in costs.report(1, sampled=3600, seconds=seconds, price=None)
    assert "59.00 (95%: 59.00 to 59.00) seconds" in costs.report(1, sampled=3600, seconds=59, price=None)
    assert "cost: 1.00 (95%: 1.00 to 1.00) at" in costs.report(1, sampled=1, seconds=1, price=1e6 / 3600)
    assert "cost: 0.5 (95%: 0.5 to 0.5) at" in costs.report(1, sampled=1, seconds=1, price=0.5e6 / 3600)
    assert "nothing can be estimated" in Pilot().report(1, sampled=0, seconds=1, price=None)
