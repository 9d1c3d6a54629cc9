"""Searches in worlds small enough to be searched by hand: every text, score and cost is written down here.

`Planted` gives the i-th sample of a problem (or the i-th of a level of beam search) the text that the test wants.
"""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from prm.aggregation import aggregate
from prm.generators import derive_seed
from prm.generators.scripted import ScriptedGenerator
from prm.search import STRATEGIES
from prm.search.adaptive_consistency import lead
from prm.search.calibration import Calibration
from prm.search.driver import search
from prm.search.methods import Method
from prm.search.policy import Choice, Policy
from prm.types import Budget, Cost, Problem, Scores
from prm.verifiers.oracle import OracleVerifier

FOUR = Problem("p/4", "What is 2 + 2?", "4", "p")
HALF = Problem("p/half", "Half of 1?", "1/2", "p")


class TableVerifier:
    """The score of a step is looked up; the tokens of a text are its characters, and neighbors share the prompt."""

    name, kind, num_parameters = "table", "prm", 7

    def __init__(self, scores: dict[str, float], aggregation="last") -> None:
        self.scores = scores
        self.aggregation = aggregation
        self.asked: list[tuple[str, ...]] = []

    def score_batch(self, prompts, steps_N):
        self.asked += map(tuple, steps_N)
        return [
            Scores(
                steps=(scores := tuple(self.scores[step] for step in steps)),
                trace=aggregate(scores, self.aggregation),
                read=sum(map(len, steps)) + (0 if i and prompts[i - 1] == prompt else len(prompt)),
                cached=len(prompt) if i and prompts[i - 1] == prompt else 0,
            )
            for i, (prompt, steps) in enumerate(zip(prompts, steps_N, strict=True))
        ]


def planted(texts: dict[Problem, list[str]], seeds=(0,)) -> ScriptedGenerator:
    """Sample i of a problem is `texts[problem][i]`, under every run seed of `seeds`."""
    table = {
        derive_seed(seed, problem.id, "trace", i): text
        for seed in seeds
        for problem, texts_N in texts.items()
        for i, text in enumerate(texts_N)
    }
    return ScriptedGenerator(lambda prefix, seed: table[seed])


def planted_beams(levels: list[list[str]], problem: Problem = FOUR) -> ScriptedGenerator:
    """Continuation i of level `depth` is `levels[depth][i]`."""
    table = {derive_seed(0, problem.id, "beam", d, i): t for d, texts in enumerate(levels) for i, t in enumerate(texts)}
    return ScriptedGenerator(lambda prefix, seed: table[seed])


def student(p: float, seed: int = 0) -> ScriptedGenerator:
    """Solves "What is a + b?" in three steps; each time it writes a number, it is right with probability `p`."""

    def script(prefix, seed_):
        rng = random.Random(f"{seed}/{seed_}")
        prefix = prefix.split("\n\n\n")[-1]  # after earlier attempts, the problem comes again
        a, b = (int(word) for word in prefix.splitlines()[0].strip("?").split()[2:5:2])
        done = prefix.count("\n") - 1
        value = int(prefix.splitlines()[-1].split()[-1]) if done else 0
        lines = []
        for number in range(done, 3):
            slip = 0 if rng.random() < p else rng.choice((1, 2))
            value = [a, value + b, value][number] + slip
            lines.append(["start ", "sum ", "#### "][number] + str(value))
            if number == 0 and rng.random() < 0.2:
                lines.append(f"#### {value}")  # an early finisher
                break
        return "\n".join(lines) + "\n"

    return ScriptedGenerator(script)


def sums(n: int) -> list[Problem]:
    return [Problem(f"sum/{i}", f"What is {i} + {2 * i + 1}?", str(3 * i + 1), "sum") for i in range(n)]


def without_time(results):
    return [replace(result, cost=replace(result.cost, seconds=0.0)) for result in results]


NEEDED = {"adaptive_best_of_n": {"target": 0.9}, "cascade": {"cheap": "v"}, "compute_optimal": {}}
"""Parameters without a default."""


@pytest.fixture(scope="module", autouse=True)
def calibration(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    steps = ((0.0, 0.5), (2.0, 0.95))
    Calibration("v", "g", 8, (), steps, steps, (), ()).save(path)
    NEEDED["adaptive_best_of_n"]["calibration"] = str(path)
    policy = path.with_name("policy.json")
    choices = Choice("best_of_n", {}, 4), Choice("rebase", {"temperature": 0.3}, 3), Choice("weighted_vote", {}, 4)
    Policy("lead", 2, (0.4, 0.8), choices, "v", "g", {}, ()).save(policy)
    NEEDED["compute_optimal"]["policy"] = str(policy)


def run(strategy, problems, generator, verifier, budget, seed, **parameters):
    parameters = NEEDED.get(strategy, {}) | parameters
    method = Method(strategy, STRATEGIES[strategy], None if verifier is None else "v", parameters)
    named = {} if verifier is None else {"v": verifier}
    return search(method, problems, generator, verifier, budget, seed, verifiers=named)


def search_one(strategy, generator, verifier, samples, problem=FOUR, seed=0, tokens=None, **parameters):
    return run(strategy, [problem], generator, verifier, Budget(samples, tokens), seed, **parameters)[0]


def steps_of(result):
    """The step scores of every candidate."""
    return tuple(scores and scores.steps for scores in result.scores)


# --- Who is chosen ---


def test_best_of_n_finds_the_planted_answer():
    texts = ["2 + 2 = 5\n#### 5"] * 8
    texts[5] = "2 + 2 = 4\n#### 4"
    result = search_one("best_of_n", planted({FOUR: texts}), OracleVerifier([FOUR]), 8)
    assert (result.chosen, result.answer, result.correct, result.strategy) == (5, "4", True, "best_of_n")
    assert [c.correct for c in result.candidates] == [False] * 5 + [True] + [False] * 2
    assert result.scores[5].steps == (0.5, 1.0)
    assert result.scores[4].steps == (0.5, 0.0)


def test_beam_search_finds_the_planted_answer():
    levels = [["a", "b", "c", "d"], ["e", "f", "g", "h"], ["#### 5", "#### 5", "#### 4", "#### 6"]]
    levels = [[text + "\n" for text in texts] for texts in levels]
    result = search_one("beam_search", planted_beams(levels), OracleVerifier([FOUR]), 4, width=2)
    assert (result.answer, result.correct, result.strategy) == ("4", True, "beam_search")
    assert result.candidates[result.chosen].steps[-1] == "#### 4"


def test_best_of_n_with_an_oracle_is_pass_at_n():
    problems = sums(40)
    results = run("best_of_n", problems, student(0.5), OracleVerifier(problems), Budget(6), 0)
    found = [result.correct for result in results]
    assert found == [any(c.correct for c in result.candidates) for result in results]
    assert 5 < sum(found) < 35
    one = run("best_of_n", problems, student(0.5), OracleVerifier(problems), Budget(1), 0)
    assert [r.correct for r in one] == [r.candidates[0].correct for r in results]  # a larger N extends a smaller one
    assert sum(r.correct for r in one) < sum(found)


def test_majority_groups_equal_answers():
    texts = ["#### 7", "#### 0.5", "#### 7", "#### 1/2", r"So \boxed{\frac{1}{2}}", "no idea"]
    result = search_one("majority", planted({HALF: texts}), None, 6, HALF)
    assert (result.chosen, result.answer, result.correct) == (1, "0.5", True)
    assert result.scores == (None,) * 6
    assert result.cost.verifier_tokens == result.cost.verifier_calls == 0


def test_a_weighted_vote_adds_scores_of_equal_answers():
    texts = ["#### 7", "#### 0.5", "#### 1/2"]
    scores = {"#### 7": 0.8, "#### 0.5": 0.5, "#### 1/2": 0.4}
    generator = planted({HALF: texts})
    assert search_one("weighted_vote", generator, TableVerifier(scores), 3, HALF).chosen == 1  # 0.9 against 0.8
    assert search_one("best_of_n", generator, TableVerifier(scores), 3, HALF).chosen == 0
    lower = TableVerifier(scores | {"#### 1/2": 0.2})
    assert search_one("weighted_vote", generator, lower, 3, HALF).chosen == 0  # 0.7 against 0.8
    assert search_one("majority", generator, None, 3, HALF).chosen == 1


@pytest.mark.parametrize("strategy", ["majority", "weighted_vote"])
def test_ties_are_a_coin_that_the_seed_throws(strategy):
    texts = ["#### 1", "#### 2", "#### 2", "#### 1", "#### 3"]
    verifier = TableVerifier({"#### 1": 0.5, "#### 2": 0.5, "#### 3": 0.25})
    chosen = []
    for _ in range(2):
        generator = planted({FOUR: texts}, range(40))
        chosen.append([search_one(strategy, generator, verifier, 5, seed=seed).chosen for seed in range(40)])
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) == {0, 1}  # never the 3
    assert 8 < sum(chosen[0]) < 32


@pytest.mark.parametrize(
    ("answers", "sampled"),
    [
        ("1111", 4),  # P = 31/32
        ("11211", 5),  # 57/64, not enough
        ("112111", 6),  # 120/128, not enough
        ("1121111", 7),  # 247/256
        ("1212121", 7),
        ("1?1?11", 6),  # what states no answer has no vote
    ],
)
def test_adaptive_consistency_stops_when_the_vote_is_decided(answers, sampled):
    texts = ["no idea" if answer == "?" else f"#### {answer}" for answer in answers]
    generator = planted({FOUR: [*texts, "#### 9", "#### 9"]})
    result = search_one("adaptive_consistency", generator, None, len(answers))
    assert (len(result.candidates), result.answer) == (sampled, "1")
    assert result.cost.generated_tokens == sum(map(len, texts[:sampled]))
    assert result.cost.generator_calls == sampled
    assert not result.independent
    longer = search_one("adaptive_consistency", generator, None, len(answers) + 2)
    assert (len(longer.candidates) == sampled) == (answers in ("1111", "1121111", "1?1?11"))


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize("second", range(4))
def test_the_lead_is_a_tail_of_the_beta_distribution(first, second):
    """By adding up its density."""
    first = max(first, second)
    x = (np.arange(200_000) + 0.5) / 200_000
    density = x**first * (1 - x) ** second
    expected = density[x > 0.5].sum() / density.sum()
    assert lead(Counter({"a": second, "b": first, "c": min(second, 1)})) == pytest.approx(expected, abs=1e-6)


def test_adaptive_consistency_is_majority_voting_that_may_stop():
    problems = sums(30)
    majority = run("majority", problems, student(0.95), None, Budget(12), 0)
    certain = run("adaptive_consistency", problems, student(0.95), None, Budget(12), 0, confidence=1)
    assert [(r.candidates, r.chosen) for r in certain] == [(r.candidates, r.chosen) for r in majority]
    stopping = run("adaptive_consistency", problems, student(0.95), None, Budget(12), 0)
    for early, late in zip(stopping, majority, strict=True):
        assert early.candidates == late.candidates[: len(early.candidates)]  # the same pool
    assert sum(len(r.candidates) for r in stopping) < 0.8 * 12 * 30
    assert abs(sum(r.correct for r in stopping) - sum(r.correct for r in majority)) <= 2


def test_tied_best_scores_go_to_the_first_sample():
    texts = ["#### 1", "#### 2", "#### 3"]
    verifier = TableVerifier({"#### 1": 0.5, "#### 2": 0.7, "#### 3": 0.7})
    assert search_one("best_of_n", planted({FOUR: texts}), verifier, 3).chosen == 1


class Cut(ScriptedGenerator):
    """Everything it writes is cut at the token limit."""

    def generate(self, *args, **settings):
        return [replace(c, stop="length") for c in super().generate(*args, **settings)]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("generator", [ScriptedGenerator(lambda p, s: "no idea\n"), Cut(lambda p, s: "#### 4")])
def test_without_an_answer_nothing_is_chosen(name, generator):
    verifier = TableVerifier({"no idea": 1.0, "#### 4": 1.0})
    result = search_one(name, generator, verifier, 4)
    assert (result.chosen, result.answer, result.correct) == (None, None, False)
    assert result.candidates
    assert {c.answer for c in result.candidates} == {None}
    assert {c.status for c in result.candidates} <= {"no_answer", "truncated"}


def test_a_candidate_without_an_answer_is_never_chosen_whatever_its_score():
    texts = ["no idea", "#### 4", "#### 5"]
    verifier = TableVerifier({"no idea": 1.0, "#### 4": 0.1, "#### 5": 0.0})
    for strategy in ("best_of_n", "weighted_vote"):
        assert search_one(strategy, planted({FOUR: texts}), verifier, 3).chosen == 1

    levels = [["no idea", "#### 4\n", "#### 5\n", "#### 5\n"]]
    result = search_one("beam_search", planted_beams(levels), verifier, 4, width=4)
    assert [c.steps for c in result.candidates] == [("no idea",), ("#### 4",), ("#### 5",)]
    assert result.chosen == 1


def test_a_candidate_that_may_not_be_chosen_is_not_read():
    """It may be longer than the verifier reads, and would end the search of all problems."""
    verifier = TableVerifier({"#### 4": 0.1})
    result = search_one("best_of_n", planted({FOUR: ["no idea", "#### 4"]}), verifier, 2)
    assert verifier.asked == [("#### 4",)]
    assert steps_of(result) == (None, (0.1,))
    assert result.cost.verifier_calls == 1


def test_a_generator_that_says_nothing():
    for name in STRATEGIES:
        result = search_one(name, ScriptedGenerator(lambda p, s: ""), TableVerifier({}), 4)
        assert (result.chosen, result.correct) == (None, False)
        assert result.cost.generator_calls == 4
        assert result.cost.verifier_calls == 0


def test_aggregations_choose_differently():
    """Two-step candidates A, B, C and a one-step candidate D, one for each way to make one score of several."""
    first = {"a": 0.1, "b": 0.6, "c": 0.98, "#### 4": 0.55}
    last = {"#### 1": 0.95, "#### 2": 0.6, "#### 3": 0.5}
    best = {"last": "1", "min": "2", "mean": "3", "product": "4"}
    texts = ["a\n#### 1", "b\n#### 2", "c\n#### 3", "#### 4"]
    behind = {"a": "#### 1\n", "b": "#### 2\n", "c": "#### 3\n"}
    firsts = {derive_seed(0, FOUR.id, "beam", 0, i): text + "\n" for i, text in enumerate(first)}
    tree = ScriptedGenerator(lambda prefix, seed: behind.get(prefix.splitlines()[-1]) or firsts[seed])
    for aggregation, answer in best.items():
        verifier = TableVerifier(first | last, aggregation)
        assert search_one("best_of_n", planted({FOUR: texts}), verifier, 4).answer == answer
        assert search_one("beam_search", tree, verifier, 4, width=1).answer == answer


@pytest.mark.parametrize(
    ("aggregation", "kept"),
    [("last", {"b\ny", "b\nz"}), ("min", {"a\nw", "a\nx"}), ("product", {"a\nw", "a\nx"}), ("mean", {"a\nw", "a\nx"})],
)
def test_beams_are_kept_by_the_aggregated_score(aggregation, kept):
    """a 0.9 then w 0.5, x 0.45; b 0.4 then y 0.6, z 0.55: the last step speaks for b, all others for a."""
    scores = {"a": 0.9, "b": 0.4, "c": 0.1, "d": 0.0, "w": 0.5, "x": 0.45, "y": 0.6, "z": 0.55, "#### 4": 1.0}
    levels = [["a\n", "b\n", "c\n", "d\n"], ["w\n", "y\n", "x\n", "z\n"], ["#### 4\n"] * 4]
    generator = planted_beams(levels)
    search_one("beam_search", generator, TableVerifier(scores, aggregation), 4, width=2)
    prefixes = [prefix for prefix, _ in generator.calls]
    assert prefixes[4:8] == [f"{FOUR.prompt}\n{step}\n" for step in "abab"]
    assert {prefix.removeprefix(FOUR.prompt + "\n").rstrip() for prefix in prefixes[8:]} == kept


# --- What it costs ---


def test_cost_of_a_pool_by_hand():
    texts = ["x = 4\n#### 4", "#### 5", "", "#### 12"]
    verifier = TableVerifier({"x = 4": 0.1, "#### 4": 0.2, "#### 5": 0.3, "#### 12": 0.4})
    generator = planted({FOUR: texts})
    generator.num_parameters = 100
    result = search_one("best_of_n", generator, verifier, 4)
    assert steps_of(result) == ((0.1, 0.2), (0.3,), None, (0.4,))
    assert replace(result.cost, seconds=0.0) == Cost(
        generated_tokens=12 + 6 + 0 + 7,
        prompt_tokens=15,  # "What is 2 + 2?\n", once
        verifier_tokens=14 + (5 + 6) + 6 + 7,  # the prompt once; the empty candidate is not scored
        generator_calls=4,
        cached_tokens=3 * 15 + 2 * 14,  # three samples share the prompt with the first; two traces share it
        verifier_calls=3,
        flops=2 * 100 * (25 + 15) + 2 * 7 * 38,
        cached_verifier_tokens=2 * 14,
        flops_by_shape=2 * 100 * (25 + 15) + 2 * 7 * 38,  # no shape is known
    )
    assert result.cost.seconds > 0
    assert [c.num_tokens for c in result.candidates] == [12, 6, 0, 7]


def test_a_token_budget_is_spent_to_the_token():
    generator = planted({FOUR: ["#### 12345"] * 9, HALF: ["#### 1"] * 9})
    for strategy, verifier in (("majority", None), ("best_of_n", TableVerifier({"#### 12345": 1.0, "#### 1": 1.0}))):
        results = run(strategy, [FOUR, HALF], generator, verifier, Budget(9, generated_tokens=25), 0)
        assert [len(result.candidates) for result in results] == [3, 5]  # 10 tokens each; 6 tokens each
        assert [[c.num_tokens for c in result.candidates] for result in results] == [[10, 10, 5], [6, 6, 6, 6, 1]]
        assert [result.candidates[-1].status for result in results] == ["truncated", "truncated"]
        assert [result.cost.generated_tokens for result in results] == [25, 25]
        assert [result.cost.prompt_tokens for result in results] == [3 * 15, 5 * 11]  # one call per sample
        assert [result.cost.generator_calls for result in results] == [3, 5]
        assert all(result.chosen == 0 for result in results)
    assert len(search_one("majority", generator, None, 9, tokens=30).candidates) == 3
    assert len(search_one("majority", generator, None, 2, tokens=1000).candidates) == 2
    free = search_one("majority", generator, None, 9)
    capped = search_one("majority", generator, None, 9, tokens=1000)
    assert capped.candidates == free.candidates


def test_what_surely_fits_into_a_token_budget_is_drawn_at_once():
    generator = planted({FOUR: ["#### 12345"] * 9})
    generator.max_new_tokens = 10
    result = search_one("majority", generator, None, 9, tokens=25)
    assert [c.num_tokens for c in result.candidates] == [10, 10, 5]
    assert result.cost.prompt_tokens == 2 * 15  # the first two in one call


SCORES = {"a=1": 0.9, "b=1": 0.8, "c=1": 0.2, "d=1": 0.1, "e=1": 0.7, "f=1": 0.6}
SCORES |= {"#### 4": 0.95, "#### 5": 0.3, "#### 6": 0.99}
LEVELS = [["a=1\n", "b=1\n", "c=1\n", "d=1\n"], ["#### 4\n", "e=1\n", "f=1\n", "#### 5\n"], ["#### 6\n", "#### 4\n"]]
"""N = 4, M = 2: a and b are kept; a -> 4 (ended), f; b -> e, 5 (ended); two places are left: e -> 6, f -> 4."""


def test_beam_search_by_hand():
    generator, verifier = planted_beams(LEVELS), TableVerifier(SCORES)
    generator.num_parameters = 100
    result = search_one("beam_search", generator, verifier, 4, width=2, vote=False, weigh=False)
    assert [c.steps for c in result.candidates] == [
        ("a=1", "#### 4"),
        ("b=1", "#### 5"),
        ("b=1", "e=1", "#### 6"),
        ("a=1", "f=1", "#### 4"),
    ]
    assert steps_of(result) == ((0.9, 0.95), (0.8, 0.3), (0.8, 0.7, 0.99), (0.9, 0.6, 0.95))
    assert (result.chosen, result.answer, result.correct) == (2, "6", False)
    assert [c.num_tokens for c in result.candidates] == [11, 11, 15, 15]
    assert [c.correct for c in result.candidates] == [True, False, False, True]
    generated, prompts = (4 * 4) + (7 + 4 + 4 + 7) + (7 + 7), 15 + (19 + 19) + (23 + 23)
    read = (14 + 4 * 3) + (14 + 9 + 6 + 6 + 9) + (14 + 12 + 12)  # the prompt once in every round
    assert replace(result.cost, seconds=0.0) == Cost(
        generated_tokens=generated,
        prompt_tokens=prompts,
        verifier_tokens=read,
        cached_tokens=(3 * 15 + 2 * 19) + 14 * (3 + 3 + 1),
        generator_calls=10,
        verifier_calls=10,
        flops=2 * 100 * (generated + prompts) + 2 * 7 * read,
        cached_verifier_tokens=14 * (3 + 3 + 1),
        flops_by_shape=2 * 100 * (generated + prompts) + 2 * 7 * read,
    )
    deepest = max(c.num_tokens for c in result.candidates)
    assert generated == 52 <= 4 * deepest == 60


def test_equal_candidates_are_scored_once():
    levels = [["a=1\n", "a=1\n", "b=1\n", "a=1\n"], ["#### 4\n"] * 4]
    verifier = TableVerifier(SCORES)
    result = search_one("beam_search", planted_beams(levels), verifier, 4, width=4)
    assert verifier.asked == [("a=1",), ("b=1",), ("a=1", "#### 4")]
    assert result.cost.verifier_calls == 3
    assert result.cost.generated_tokens == 4 * 4 + 4 * 7  # what was sampled was paid for
    assert result.cost.prompt_tokens == 15 + 19
    assert [c.steps for c in result.candidates] == [("a=1", "#### 4")]


@pytest.mark.parametrize(
    ("limit", "spent", "statuses", "answer"),
    [
        (1, 1, ["truncated"], None),  # the first token of the first step
        (16, 16, ["truncated"] * 4, None),  # four steps, all open
        (17, 17, ["truncated"], None),  # the fifth continuation is cut at its first token
        (27, 27, ["ok", "truncated"], "4"),  # a -> 4 has ended, b -> e is open, nothing is left for a -> f
        (31, 31, ["ok", "truncated", "truncated"], "4"),
        (38, 38, ["ok", "ok", "truncated", "truncated"], "4"),
        (39, 39, ["ok", "ok", "truncated"], "4"),
        (52, 52, ["ok"] * 4, "6"),
        (1000, 52, ["ok"] * 4, "6"),
    ],
)
def test_beam_search_holds_its_token_budget(limit, spent, statuses, answer):
    by_score = {"width": 2, "vote": False, "weigh": False}
    result = search_one("beam_search", planted_beams(LEVELS), TableVerifier(SCORES), 4, tokens=limit, **by_score)
    assert result.cost.generated_tokens == spent
    assert [c.status for c in result.candidates] == statuses
    assert result.answer == answer


def test_beam_search_gives_up_after_its_steps():
    generator = ScriptedGenerator(lambda prefix, seed: f"{prefix.count('=')}=1\n")
    verifier = TableVerifier({f"{i}=1": 0.5 for i in range(9)})
    result = search_one("beam_search", generator, verifier, 2, width=2, max_steps=5)
    assert [(c.steps, c.status) for c in result.candidates] == [(("0=1", "1=1", "2=1", "3=1", "4=1"), "truncated")]
    assert result.chosen is None


def test_beam_search_needs_room_for_its_width():
    with pytest.raises(ValueError, match=r"width is 0; it must be a number of continuations, at least 1, or sqrt"):
        search_one("beam_search", planted_beams(LEVELS), TableVerifier(SCORES), 3, width=0)
    with pytest.raises(ValueError, match=r"width 4 needs a budget of at least as many samples, not 3"):
        search_one("beam_search", planted_beams(LEVELS), TableVerifier(SCORES), 3, width=4)


# --- What holds for every strategy ---


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_never_more_candidates_than_samples_and_the_same_again(name):
    problems = sums(6)
    oracle = OracleVerifier(problems)
    finished = 0
    for samples in (4, 5, 8):
        results = run(name, problems, student(0.6), oracle, Budget(samples), 1)
        assert all(0 < len(result.candidates) <= samples for result in results)
        finished += sum(len(result.candidates) > 1 for result in results)
        again = run(name, problems, student(0.6), oracle, Budget(samples), 1)
        assert without_time(results) == without_time(again)
        other = run(name, problems, student(0.6), oracle, Budget(samples), 2)
        assert [r.candidates for r in results] != [r.candidates for r in other]
    assert finished > 6


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_problem_is_searched_alike_whatever_stands_beside_it(name):
    problems = sums(6)
    oracle = OracleVerifier(problems)
    for budget in (Budget(4), Budget(8, generated_tokens=60)):
        together = run(name, problems, student(0.6), oracle, budget, 0)
        alone = [run(name, [problem], student(0.6), oracle, budget, 0)[0] for problem in problems]
        assert without_time(together) == without_time(alone)
        assert run(name, [], student(0.6), oracle, budget, 0) == []


def test_beam_search_with_an_oracle_beats_one_sample():
    problems = sums(40)
    oracle = OracleVerifier(problems)
    beam = run("beam_search", problems, student(0.7), oracle, Budget(8), 0)
    assert all(r.correct == any(c.correct for c in r.candidates) for r in beam)
    one = run("best_of_n", problems, student(0.7), oracle, Budget(1), 0)
    assert sum(r.correct for r in beam) > sum(r.correct for r in one) + 5
