"""Cascades: two verifiers in one search, against a reference of a few lines and at exact cost."""

import random
from collections import Counter

import pytest

from prm.costs import ModelShape
from prm.generators.scripted import ScriptedGenerator
from prm.search import STRATEGIES
from prm.search.cascade import cascade
from prm.search.driver import search
from prm.search.methods import Method, check_method, parse_method
from prm.search.requests import Found, Score
from prm.types import Budget, Problem, Scores

PROBLEMS = [Problem(f"sum/{i}", f"What is {i} + 3?", str(i + 3), "sum") for i in range(12)]


def student():
    """A fifth of the samples state nothing, and equal ones happen often."""

    def script(prefix, seed):
        rng = random.Random(f"{prefix}{seed}")
        if rng.random() < 0.2:
            return "no idea\n"
        return f"step {rng.randrange(3)}\n#### {rng.randrange(3, 7)}\n"

    return ScriptedGenerator(script)


class Opinion:
    kind = "prm"

    def __init__(self, name, num_parameters):
        self.name, self.num_parameters = name, num_parameters
        self.asked = Counter()

    def value(self, prompt, steps):
        return random.Random(f"{self.name}{prompt}{steps}").random()

    def score_batch(self, prompts, steps_N):
        self.asked.update(prompts)
        return [
            Scores((0.5,) * len(steps), self.value(prompt, tuple(steps)), read=10)
            for prompt, steps in zip(prompts, steps_N, strict=True)
        ]


def run(problems=PROBLEMS, **parameters):
    """Results, the pools they choose from, and the two verifiers."""
    cheap, dear = Opinion("c", 3), Opinion("d", 100)
    method = Method("cascade", cascade, "dear", {"cheap": "cheap", **parameters})
    verifiers, shapes = {"cheap": cheap, "dear": dear}, {"c": ModelShape(2, 0), "d": ModelShape(90, 0)}
    results = search(method, problems, student(), dear, Budget(8), 0, verifiers=verifiers, shapes=shapes)
    pools = search(Method("majority", STRATEGIES["majority"]), problems, student(), None, Budget(8), 0)
    return results, pools, cheap, dear


@pytest.mark.parametrize("keep", [1, 2, 4, 99])
@pytest.mark.parametrize("vote", [False, True])
def test_it_is_its_reference(keep, vote):
    results, pools, cheap, dear = run(keep=keep, vote=vote)
    for problem, result, pool in zip(PROBLEMS, results, pools, strict=True):
        usable = [trace.steps for trace in pool.candidates if trace.usable]
        kept = sorted(set(usable), key=lambda steps: -cheap.value(problem.prompt, steps))[:keep]
        values = {steps: dear.value(problem.prompt, steps) for steps in kept}
        found = [trace.steps for trace in result.candidates if trace.usable]
        assert found == [steps for steps in usable if steps in kept]  # copies of the kept ones, too
        assert [its and its.trace for its in result.scores] == [values.get(t.steps) for t in result.candidates]
        if vote:
            votes = Counter()
            for steps in found:
                votes[steps[-1]] += values[steps]
            assert result.candidates[result.chosen].steps[-1] == max(votes, key=votes.get)
        else:
            assert result.candidates[result.chosen].steps == max(kept, key=values.get)


def test_each_verifier_is_paid_for_what_it_read():
    results, pools, cheap, dear = run(keep=2)
    assert any(result.cost.verifier_calls < 12 for result in results)
    for problem, result, pool in zip(PROBLEMS, results, pools, strict=True):
        usable, kept = (sum(trace.usable for trace in its.candidates) for its in (pool, result))
        assert (cheap.asked[problem.prompt], dear.asked[problem.prompt]) == (usable, kept)
        assert result.cost.verifier_calls == usable + kept
        assert result.cost.verifier_tokens == 10 * (usable + kept)
        assert result.cost.flops == 2 * 10 * (3 * usable + 100 * kept)
        assert result.cost.flops_by_shape == 2 * 10 * (2 * usable + 90 * kept)
        assert result.cost.generated_tokens == pool.cost.generated_tokens
        assert (result.verifier, result.independent) == ("dear", False)


def test_a_cascade_is_never_a_pool_not_even_where_all_samples_are_kept():
    """Else the estimators over subsets would be used on some problems and not on others."""
    results, pools, _, _ = run(keep=99)
    assert any(len(result.candidates) == 8 for result in results)
    assert [result.independent for result in results] == [False] * 12
    assert [pool.independent for pool in pools] == [True] * 12


def test_what_the_cheap_one_dropped_is_in_the_tree_with_its_opinion():
    results, pools, cheap, _ = run(keep=1)
    for problem, result, pool in zip(PROBLEMS, results, pools, strict=True):
        paths = []
        for step in result.tree:
            paths.append((*(() if step.parent is None else paths[step.parent]), step.text))
        scores = {path: step.score for path, step in zip(paths, result.tree, strict=True) if step.score is not None}
        dropped = {t.steps for t in pool.candidates if t.usable} - {t.steps for t in result.candidates}
        assert scores == {steps: cheap.value(problem.prompt, steps) for steps in dropped}


def test_a_problem_without_an_answer_has_candidates_and_no_choice():
    silent = ScriptedGenerator(lambda prefix, seed: f"hm {'abc'[seed % 3]}\n")
    verifiers = {name: Opinion(name, 1) for name in ("cheap", "dear")}
    method = Method("cascade", cascade, "dear", {"cheap": "cheap", "keep": 2})
    (result,) = search(method, PROBLEMS[:1], silent, verifiers["dear"], Budget(8), 0, verifiers=verifiers)
    assert (result.chosen, result.cost.verifier_calls) == (None, 0)
    assert len({trace.steps for trace in result.candidates}) == 2


def test_not_even_a_cascade_that_had_nothing_to_score_is_a_pool():
    silent = ScriptedGenerator(lambda prefix, seed: f"hm {'abc'[seed % 3]}\n")
    verifiers = {name: Opinion(name, 1) for name in ("cheap", "dear")}
    method = Method("cascade", cascade, "dear", {"cheap": "cheap", "keep": 3})
    (result,) = search(method, PROBLEMS[:1], silent, verifiers["dear"], Budget(8), 0, verifiers=verifiers)
    assert (len(result.candidates), result.chosen, result.cost.verifier_calls) == (8, None, 0)
    assert not result.independent


def test_a_method_names_two_verifiers():
    method = parse_method("cascade prm cheap=orm keep=2", ["prm", "orm"])
    assert (method.verifier, method.parameters) == ("prm", {"cheap": "orm", "keep": 2})
    assert method.name == "prm_cascade[cheap=orm,keep=2]"
    assert check_method(method, "prm", PROBLEMS[0], Budget(8), 0) is None
    for text, message in (
        ("cascade prm cheap=om", "cheap names no verifier, did you mean 'orm'"),
        ("cascade prm", r"cascade needs cheap=\.\.\."),
    ):
        with pytest.raises(ValueError, match=message):
            parse_method(text, ["prm", "orm"])
    alone = parse_method("cascade cheap=orm", ["prm", "orm"])
    with pytest.raises(ValueError, match="asks for scores; name a verifier after it: cascade prm"):
        check_method(alone, None, PROBLEMS[0], Budget(8), 0)
    with pytest.raises(ValueError, match="keep is 0; at least one trace must be left"):
        check_method(parse_method("cascade prm cheap=orm keep=0", ["prm", "orm"]), "prm", PROBLEMS[0], Budget(8), 0)


def test_a_verifier_that_is_not_there_is_named():
    def asking(problem, budget, seed):
        yield Score([], "nobody")
        return Found([], [], None)

    with pytest.raises(ValueError, match="mine dear asks for scores by 'nobody', which is no verifier of the run"):
        search(Method("mine", asking, "dear"), PROBLEMS, student(), Opinion("d", 1), Budget(8), 0)
