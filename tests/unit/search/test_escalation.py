"""Escalation on scripted trees, against a loop of a few lines over the searches that it is made of."""

import pytest
from scripted_tree import Likes, P, World, run, texts

from prm.generators.scripted import ScriptedGenerator
from prm.search.driver import search
from prm.search.escalation import TREES, agreement
from prm.search.methods import Method
from prm.search.requests import Found
from prm.types import Budget, Trace

CASES = [(by, n, first, enough) for by in TREES for n, first in ((16, 4), (32, 8), (20, 5)) for enough in (0.5, 0.8, 1)]


def found_by(name, world, samples):
    """What one search returns, its votes included."""
    finds = []

    def kept(problem, budget, seed):
        finds.append((yield from TREES[name](problem, budget, seed)))
        return finds[0]

    (result,) = search(Method("kept", kept, "v"), [P], world.generator(), world, Budget(samples), 0)
    return finds[0], result


def reference(world, by, n, first, enough):
    """(result, samples) of the last of searches that know nothing of each other."""
    samples = first
    while True:
        found, result = found_by(by, world, samples)
        sums = {}
        for trace, vote in zip(found.candidates, found.votes, strict=True):
            sums[trace.answer] = sums.get(trace.answer, 0) + vote
        if (sums[result.answer] >= enough * sum(sums.values()) - 1e-12) or 2 * samples > n:
            return result, samples
        samples *= 2


@pytest.mark.slow
@pytest.mark.parametrize(("by", "n", "first", "enough"), CASES)
def test_it_is_its_reference(by, n, first, enough):
    last = set()
    for world in map(World, range(6)):
        expected, samples = reference(world, by, n, first, enough)
        generator = world.generator()
        (result,) = run("escalation", generator, world, n, by=by, first=first, enough=enough)
        assert (result.answer, texts(result), result.scores) == (expected.answer, texts(expected), expected.scores)
        assert result.cost.generator_calls == len(generator.calls) == len(set(generator.calls))
        last.add(samples)
    assert len(last) > 1 or enough > 0.5


def test_it_pays_once_for_what_two_searches_sample():
    """The first steps of a search are those of one with half of the samples, and as many more."""
    for world in map(World, range(4)):
        small, large = (found_by("rebase", world, n)[1].cost.generated_tokens for n in (8, 16))
        (both,) = run("escalation", world.generator(), world, 16, enough=1)
        assert max(small, large) < both.cost.generated_tokens < small + large
        assert both.cost.generated_tokens == sum(step.tokens for step in both.tree)


@pytest.mark.parametrize("by", TREES)
@pytest.mark.parametrize("settings", [{"enough": 0}, {"first": 16}, {"first": 99}])
def test_one_search_is_that_search(by, settings):
    world = World(3)
    first = min(settings.get("first", 8), 16)
    alone = found_by(by, world, first)[1]
    (result,) = run("escalation", world.generator(), world, 16, by=by, **settings)
    assert texts(result) == texts(alone)
    assert result.answer == alone.answer
    assert (result.cost.generated_tokens, result.cost.verifier_tokens, result.duplicates) == (
        alone.cost.generated_tokens,
        alone.cost.verifier_tokens,
        alone.duplicates,
    )


def test_where_all_agree_the_first_search_is_the_last():
    generator = ScriptedGenerator(lambda prefix, seed: "#### 4\n")
    (result,) = run("escalation", generator, Likes(lambda steps: 0.1), 64, first=4, enough=1)
    assert (result.answer, result.cost.generator_calls, result.duplicates) == ("4", 4, 3)


def test_votes_that_are_all_0_make_nothing_sure_and_a_coin_decides():
    answers: dict[str, int] = {}
    for seed in range(8):
        generator = ScriptedGenerator(lambda prefix, its: f"#### {its % 2}\n")
        (result,) = run("escalation", generator, Likes(lambda steps: 0.0), 16, seed=seed, first=4, enough=0.9)
        answers[result.answer] = answers.get(result.answer, 0) + 1
        assert result.cost.generator_calls == 16
    assert set(answers) == {"0", "1"}


def test_what_never_ends_is_not_chosen_and_nothing_is_sure():
    generator = ScriptedGenerator(lambda prefix, seed: f"on {seed % 7}\n")
    (result,) = run("escalation", generator, Likes(lambda steps: 0.9), 8, first=4)
    assert (result.chosen, result.correct) == (None, False)
    assert 0 < len(result.candidates) <= 8


@pytest.mark.parametrize("tokens", [1, 40, 90])
def test_a_budget_in_tokens_is_held(tokens):
    for world in map(World, range(4)):
        (result,) = run("escalation", world.generator(), world, 32, tokens=tokens, first=4, enough=1)
        assert result.cost.generated_tokens <= tokens
        (small,) = run("rebase", world.generator(), world, 4, tokens=tokens)
        assert (result.chosen is None) <= (small.chosen is None)  # what the first search found is not lost


def test_after_a_search_that_found_nothing_none_is_begun(monkeypatch):
    asked = []
    traces = [Trace("p", (f"#### {i}",), str(i), False) for i in range(2)]

    def tree(problem, budget, seed):
        asked.append(budget.samples)
        return Found(traces, [None, None], 0 if len(asked) == 1 else None, votes=[1.0, 1.0])
        yield  # a generator that asks for nothing

    monkeypatch.setitem(TREES, "rebase", tree)
    (result,) = run("escalation", ScriptedGenerator(lambda prefix, seed: ""), Likes(lambda steps: 0.5), 32, first=4)
    assert asked == [4, 8]
    assert result.chosen == 0


def test_nobody_agrees_without_an_answer_or_a_vote():
    trace = Trace("p", ("#### 1",), "1", None)
    assert agreement(Found([trace], [None], None, [1.0])) == agreement(Found([trace], [None], 0, [0.0])) == 0.0
    assert agreement(Found([trace, trace], [None, None], 1, [0.5, 0.0])) == 1.0
