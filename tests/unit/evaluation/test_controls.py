"""Shuffled scores, growth, false positives and the lift over votes of equal FLOPs, against brute force on scripted rows.

A candidate is (class, score): class 0 is the right answer, None has no answer; a score of None could not be read.
"""

import itertools
import random
from collections import Counter
from fractions import Fraction
from statistics import fmean

import pytest
from scripted_run import scripted_run

from prm.evaluation.controls import blind_controls, false_positives, growth, is_loss, over_optimization
from prm.evaluation.equal_cost import over_majority
from prm.evaluation.estimates import curves
from prm.evaluation.search_runs import Run
from prm.storage.search_rows import ProblemResults
from prm.types import Cost, Problem, Scores, SearchResult, Trace

POOLS = (
    ((0, 0.9), (0, 0.7), (1, 0.8), (1, 0.1)),
    ((0, 0.2), (1, 0.6), (2, 0.6), (None, None)),
    ((1, 0.5), (1, 0.4), (0, None), (0, 0.3)),  # a right one that the verifier could not read
    ((None, None), (None, None), (None, None), (None, None)),
    ((0, 0.5), (0, 0.5), (0, 0.5), (0, 0.5)),
)
PROMPT, GENERATED, READ, PARAMETERS = 5, 40, 60, 100
METHODS = ("majority", "prm_best_of_n", "prm_weighted_vote")


def run(pools, methods=METHODS, cached=0, parameters=PARAMETERS, search=None) -> Run:
    """A run of methods that choose from these pools, and of a search of so many FLOPs that is always right."""
    rows = []
    for i, pool in enumerate(pools):
        problem = Problem(f"p{i}", "What?", "0", "made up")
        traces = tuple(trace(problem, answer_class, k) for k, (answer_class, _) in enumerate(pool))
        results = [result(problem, name, traces, pool, cached) for name in methods]
        candidates, classes = list(traces), [answer_class for answer_class, _ in pool]
        if search:
            found = trace(problem, 0, len(pool))
            cost = Cost(generated_tokens=50, flops=search)
            results.append(SearchResult(problem.id, "prm_rebase", "rebase", "prm", (found,), (None,), 0, False, cost))
            candidates.append(found)
            classes.append(0)
        rows.append(ProblemResults(problem, tuple(candidates), tuple(classes), tuple(results)))
    names = {result.method: len(pools[0]) for result in rows[0].results}
    return Run({"n": len(pools[0]), "methods": names, "generator": {"num_parameters": parameters}}, tuple(rows))


def trace(problem, answer_class, index):
    steps = (f"{'ab'[index % 2]}" * 4, f"step {index}")  # every second one begins alike
    answered = answer_class is not None
    return Trace(
        problem.id,
        steps,
        str(answer_class) if answered else None,
        answer_class == 0 if answered else False,
        generator="g",
        index=index,
        status="ok" if answered else "no_answer",
    )


def result(problem, method, traces, pool, cached):
    verifier, _, strategy = (method.rpartition("_")[0] and method.partition("_")) or (None, "", method)
    scores = tuple(None if score is None or not verifier else Scores((score,) * 2, score) for _, score in pool)
    flops = 2.0 * PARAMETERS * (PROMPT + GENERATED) + (1000.0 if verifier else 0.0)
    cost = Cost(
        generated_tokens=GENERATED,
        prompt_tokens=PROMPT,
        verifier_tokens=READ,
        cached_verifier_tokens=cached,
        flops=flops,
    )
    chosen = next((k for k, (answer_class, _) in enumerate(pool) if answer_class is not None), None)
    return SearchResult(problem.id, method, strategy, verifier, traces, scores, chosen, True, cost)


def best_of(members):
    """Chance that the highest score is right: ties share it."""
    usable = [(score, answer_class) for answer_class, score in members if None not in (answer_class, score)]
    top = [answer_class for score, answer_class in usable if score == max(usable)[0]]
    return Fraction(top.count(0), len(top)) if top else Fraction(0)


def vote_of(members, weighted):
    votes = Counter()
    for answer_class, score in members:
        if answer_class is not None and (score is not None or not weighted):
            votes[answer_class] += Fraction(score).limit_denominator(10) if weighted else 1
    top = [answer_class for answer_class, total in votes.items() if total == max(votes.values())]
    return Fraction(0 in top, len(top)) if top else Fraction(0)


def choose(method, members):
    return best_of(members) if method == "prm_best_of_n" else vote_of(members, method == "prm_weighted_vote")


def mean_over_subsets(method, pool, n):
    subsets = list(itertools.combinations(pool, n))
    return float(sum(choose(method, subset) for subset in subsets) / len(subsets))


def shuffled(pool):
    """The pool with its scores dealt to the candidates that may be chosen, in every order."""
    usable = [k for k, member in enumerate(pool) if None not in member]
    for order in itertools.permutations(usable):
        dealt = {k: pool[other][1] for k, other in zip(usable, order, strict=True)}
        # What was not scored may not be chosen, whatever is dealt.
        yield [(answer_class if k in dealt else None, dealt.get(k)) for k, (answer_class, _) in enumerate(pool)]


def blind_mean(method, pool, n):
    return fmean(mean_over_subsets(method, dealt, n) for dealt in shuffled(pool))


def blind(pools, **settings):
    its = run(pools, **settings)
    return blind_controls(its, curves(its))


def test_shuffled_scores_of_best_of_n_are_exact():
    points = blind(POOLS)["prm_best_of_n"]
    assert [point["n"] for point in points] == [1, 2, 4]
    for point in points:
        assert point["accuracy"] == pytest.approx(
            fmean(blind_mean("prm_best_of_n", pool, point["n"]) for pool in POOLS)
        )
    # With all four: the mean accuracy of the usable candidates.
    assert points[-1]["accuracy"] == pytest.approx(fmean([2 / 4, 1 / 3, 1 / 3, 0, 1]))


def test_shuffled_scores_of_the_weighted_vote_are_close_to_all_deals():
    rng = random.Random(0)
    pools = [[(rng.randrange(3), round(rng.uniform(0.1, 1), 1)) for _ in range(4)] for _ in range(15)]
    for point in blind(pools)["prm_weighted_vote"]:
        exact = fmean(blind_mean("prm_weighted_vote", pool, point["n"]) for pool in pools)
        assert point["accuracy"] == pytest.approx(exact, abs=0.02)  # 15 problems of 256 deals: an error of 0.005


def test_the_verifier_adds_the_difference_and_it_is_paired():
    pools = [POOLS[0]] * 6 + [((0, 0.1), (1, 0.9), (1, 0.8), (1, 0.7))] * 6
    point = blind(pools)["prm_best_of_n"][-1]
    own = fmean([1, 0])
    assert point["difference"]["mean"] == pytest.approx(own - fmean([2 / 4, 1 / 4]))
    assert point["difference"]["low"] < point["difference"]["mean"] < point["difference"]["high"]


def test_only_what_chooses_from_a_pool_by_a_verifier_is_shuffled():
    assert list(blind(POOLS, search=1e5)) == ["prm_best_of_n", "prm_weighted_vote"]
    assert blind(POOLS, methods=("majority",)) == {}


def test_equal_scores_and_shuffled_ones_are_one_thing():
    pools = [[(0, 0.5), (1, 0.5), (1, 0.5), (2, 0.5)]] * 3
    for points in blind(pools).values():
        assert all(point["difference"]["mean"] == pytest.approx(0) for point in points)


FOOLED = ((1, 0.9), (0, 0.8), (0, 0.7), (0, 0.6))


def test_growth_names_the_best_number_and_the_fall_from_there():
    """One wrong sample of four scores highest: best of n is right with (4 - n) / 4."""
    curve_P = curves(run([FOOLED] * 12 + [((0, 0.5), (0, 0.5), (0, 0.5), (0, 0.5))] * 4))["prm_best_of_n"]
    its = growth(curve_P)
    assert its["best_n"] == 1
    assert its["change"]["mean"] == pytest.approx(-0.75 * 12 / 16)
    assert is_loss(its["change"])
    brute = {n: fmean([mean_over_subsets("prm_best_of_n", FOOLED, n)] * 12 + [1.0] * 4) for n in (1, 2, 4)}
    assert {n: fmean(values) for n, values in curve_P.items()} == pytest.approx(brute)


@pytest.mark.parametrize("pool", [((0, 0.9),) * 4, ((1, 0.9),) * 4, ((None, None),) * 4])
def test_where_all_are_alike_the_smallest_number_is_the_best(pool):
    for curve_P in curves(run([pool] * 12)).values():
        if len(curve_P) > 1:
            assert growth(curve_P) == {"best_n": 1, "change": {"mean": 0.0, "low": 0.0, "high": 0.0}}
            assert not is_loss(growth(curve_P)["change"])


def test_of_one_problem_no_fall_is_significant():
    change = growth(curves(run([FOOLED]))["prm_best_of_n"])["change"]
    assert change == {"mean": -0.75, "low": None, "high": None}
    assert not is_loss(change)


def test_over_optimization_is_the_curve_of_each_method_of_a_pool():
    its = over_optimization(run(POOLS, search=1e5))
    assert list(its) == list(METHODS)
    points = its["prm_best_of_n"]["points"]
    assert [(point["n"], point["accuracy"]) for point in points] == [
        (n, pytest.approx(fmean(mean_over_subsets("prm_best_of_n", pool, n) for pool in POOLS))) for n in (1, 2, 4)
    ]
    assert list(over_optimization(run(POOLS), ["majority"])) == ["majority"]
    with pytest.raises(ValueError, match="prm_rebase: no curve; the run has curves of majority"):
        over_optimization(run(POOLS, search=1e5), ["prm_rebase"])
    with pytest.raises(ValueError, match="no method of the run chooses from a pool of two samples"):
        over_optimization(run(POOLS, methods=(), search=1e5))


def lift(pools, **settings):
    its = run(pools, **settings)
    return over_majority(its, curves(its))


def test_votes_are_as_many_as_the_flops_buy():
    """Nothing is shared, so the verifier's 1000 FLOPs are spread over four samples. A vote is 2 x 100 x 45 / 4 = 2250."""
    entries = {entry["n"]: entry for entry in lift(POOLS)["prm_best_of_n"]}
    flops = {n: 200 * (5 + 10 * n) + 250 * n for n in (1, 2, 4)}
    assert {n: entry["flops"] for n, entry in entries.items()} == pytest.approx(flops)
    assert {n: entry["votes"] for n, entry in entries.items()} == pytest.approx({n: f / 2250 for n, f in flops.items()})
    # 2.44 votes are 2 on 56% of the problems, 3 on the others; whoever could not be read has a vote, too.
    votes = [mean_over_subsets("majority", pool, 2) * 0.5556 for pool in POOLS]
    votes = [a + mean_over_subsets("majority", pool, 3) * 0.4444 for a, pool in zip(votes, POOLS, strict=True)]
    own = fmean(mean_over_subsets("prm_best_of_n", pool, 2) for pool in POOLS)
    assert entries[2]["majority"] == pytest.approx(fmean(votes), abs=1e-4)
    assert entries[2]["difference"]["mean"] == pytest.approx(own - fmean(votes), abs=1e-4)


def test_a_pool_with_too_few_votes_says_how_many_are_needed():
    last = lift(POOLS)["prm_best_of_n"][-1]
    assert (last["votes"], last["majority"], last["difference"]) == (pytest.approx(10_000 / 2250), None, None)


def test_a_verifier_that_shares_beginnings_is_charged_the_tree_of_n_traces():
    """By brute force over all subsets: characters of the prompt and of what is left when equal beginnings are read once."""
    (row,) = run(POOLS[:1]).rows

    def size(traces):
        return len(row.problem.prompt) + sum(
            len(prefix[-1]) for prefix in {t.steps[:depth] for t in traces for depth in (1, 2)}
        )

    for entry in lift(POOLS[:1], cached=9)["prm_best_of_n"]:
        subsets = list(itertools.combinations(row.candidates, entry["n"]))
        share = fmean(map(size, subsets)) / size(row.candidates)
        assert entry["flops"] == pytest.approx(200 * (5 + 10 * entry["n"]) + 1000 * share)


def test_the_lift_of_a_search_is_one_entry_at_what_it_spent():
    (entry,) = lift([POOLS[0]] * 12, search=4500.0)["prm_rebase"]
    assert (entry["n"], entry["votes"], entry["accuracy"]) == (4, 2, 1)
    assert entry["majority"] == pytest.approx(mean_over_subsets("majority", POOLS[0], 2))
    assert entry["difference"]["mean"] == pytest.approx(1 - entry["majority"])


def test_there_is_no_lift_without_a_verifier_a_pool_or_a_known_size():
    assert lift(POOLS, methods=("majority",)) == {}
    assert lift(POOLS, methods=(), search=1e4) == {}
    assert lift(POOLS, parameters=0) == {}


def test_without_usable_candidates_nothing_is_gained():
    entry = lift([POOLS[3]] * 12, cached=9)["prm_weighted_vote"][0]
    assert (entry["accuracy"], entry["majority"], entry["difference"]["mean"]) == (0, 0, 0)


def truth(bad):
    """A step truth that says which traces have a wrong step, by their index; None: of no problem is it known."""

    def step_truth(problem, steps):
        return None if bad is None or problem.id == "p4" else (True, int(steps[-1].split()[1]) not in bad)

    return step_truth


def test_false_positives_are_counted_among_right_choices():
    """Chosen are the first with an answer: right in problems 0, 1 and 4, of which 4 cannot be judged."""
    its = false_positives(run(POOLS), truth({0}))
    assert its["prm_best_of_n"] == {"right": 2, "share": 1.0, "low": None, "high": None}
    # Right candidates of the pools: two, one, two, and none.
    assert its["single"] == {"right": 5, "share": 2 / 5, "low": None, "high": None}


def test_an_interval_of_false_positives_needs_ten_problems_and_some_of_both():
    some = false_positives(run([POOLS[0]] * 12), lambda problem, steps: (problem.id not in ("p1", "p2", "p3"),))
    assert some["majority"]["share"] == 3 / 12
    assert 0 <= some["majority"]["low"] < 3 / 12 < some["majority"]["high"]
    none = false_positives(run([POOLS[0]] * 12), lambda problem, steps: (True,))
    assert none["majority"] == {"right": 12, "share": 0.0, "low": None, "high": None}


def test_a_method_without_a_right_choice_has_no_share():
    its = false_positives(run([((1, 0.9), (0, 0.1), (0, 0.1), (0, 0.1))] * 12), truth({3}))
    assert its["prm_best_of_n"] == {"right": 0, "share": None, "low": None, "high": None}
    assert its["single"]["share"] == 1 / 3


def test_without_step_truth_there_are_no_false_positives():
    assert false_positives(run(POOLS), truth(None)) == {}
    # Not one trace is written as the truth expects: it cannot judge them.
    assert false_positives(run(POOLS), truth({0, 1, 2, 3})) == {}
    assert false_positives(run([POOLS[3]]), truth({0})) == {}


def test_votes_come_from_the_largest_pool():
    """Of pools of 1, 2, 4 and 8: 8 votes take 2 x 5 x 84 FLOPs, 8 scored samples 2 x 3 x 48 more."""
    its = scripted_run()
    (entry,) = (e for e in over_majority(its, curves(its))["v_best_of_n[samples=8]"] if e["n"] == 8)
    assert entry["votes"] == pytest.approx(8 * (840 + 288) / 840)


def test_two_samples_are_a_curve():
    its = run([pool[:2] for pool in POOLS], search=1e5)
    assert [point["n"] for point in over_optimization(its)["prm_best_of_n"]["points"]] == [1, 2]
