"""Label planners against generators whose values are known: what they ask for and conclude, and that resuming repeats it."""

import random
from collections import Counter
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from prm.generators.scripted import ScriptedGenerator
from prm.labelers import PLANNERS, run
from prm.labelers.adaptive import Adaptive, posterior
from prm.labelers.evidence import Evidence
from prm.labelers.first_error import FirstError
from prm.labelers.monte_carlo import MonteCarlo
from prm.labelers.omega_prm import OmegaPRM
from prm.labelers.plans import together
from prm.labelers.relative_progress import progress_labels
from prm.sampling.rollouts import Request, RolloutSource
from prm.types import Problem, Trace

PROBLEM = Problem("p/0", "Count.", "9", "p")
EIGHT = (*(f"step {i}" for i in range(1, 8)), "#### 8")
WRONG = Trace(PROBLEM.id, EIGHT, "8", False)


def by_values(values: dict[str, float]) -> ScriptedGenerator:
    """Rollouts end right with the chance that `values` gives for the last step of their prefix."""

    def script(prefix, seed):
        return "#### 9" if random.Random(seed).random() < values.get(prefix.splitlines()[-1], 0.0) else "#### 8"

    return ScriptedGenerator(script)


def until(good: int, p: float) -> ScriptedGenerator:
    """The first `good` steps have value p, the others 0."""
    return by_values({f"step {i}": p for i in range(1, good + 1)})


def asked(generator: ScriptedGenerator) -> Counter[str]:
    return Counter(prefix.splitlines()[-1] for prefix, _ in generator.calls)


def label(planner, generator, *traces, source=None):
    return run(planner, [(PROBLEM, traces)], source or RolloutSource(generator, 0))[0]


def test_a_planner_without_parameters_is_always_the_same_one():
    assert {name: asdict(planner()) for name, planner in PLANNERS.items()} == {
        "monte_carlo": {"rollouts": 8},
        "first_error": {"rollouts": 4, "confirm": 8, "round": 2},
        "adaptive": {"tolerance": 0.08, "rollouts": 32, "round": 4, "lost": 0.3},
        "omega_prm": {
            "rollouts": 8,
            "searches": 100,
            "alpha": 0.5,
            "beta": 0.9,
            "length": 500,
            "c_puct": 0.125,
        },  # as in its paper
    }


# ---- evidence


def test_what_passes_through_a_prefix_counts_there_too():
    """Two of three rollouts from "a" go on as the trace does; one of them is right."""
    texts = iter(["b\n#### 9", "b\n#### 8", "c\n#### 9"])
    source = RolloutSource(ScriptedGenerator(lambda prefix, seed: next(texts)), 0)
    evidence = Evidence(source)
    evidence.watch(PROBLEM, [Trace(PROBLEM.id, ("a", "b", "#### 8"), "8", False)])

    def plan():
        yield [Request(PROBLEM, ("a",), 3)]

    evidence.gather(plan())
    assert evidence.counts(PROBLEM, ("a",)) == (2, 3)
    assert evidence.counts(PROBLEM, ("a", "b")) == (1, 2)
    assert evidence.counts(PROBLEM, ("c",)) == (0, 0)  # no step of a trace
    assert len(evidence.own(PROBLEM, ("a",))) == 3
    assert evidence.own(PROBLEM, ("a", "b")) == []


def test_traces_of_the_same_generator_are_evidence_and_those_of_others_are_not():
    source = RolloutSource(ScriptedGenerator(lambda prefix, seed: "", name="student"), 0)
    mine = Trace(PROBLEM.id, ("a", "b", "#### 9"), "9", True, generator="student")
    evidence = Evidence(source)
    evidence.watch(PROBLEM, [mine, replace(mine, steps=("a", "c", "#### 8"), answer="8", correct=False, index=1)])
    assert evidence.counts(PROBLEM, ("a",)) == (1, 2)
    assert evidence.counts(PROBLEM, ("a", "c")) == (0, 1)
    evidence = Evidence(source)
    evidence.watch(PROBLEM, [replace(mine, generator="teacher")])
    assert evidence.counts(PROBLEM, ("a",)) == (0, 0)


def test_a_trace_whose_answer_could_not_be_checked_is_no_evidence():
    source = RolloutSource(ScriptedGenerator(lambda prefix, seed: "", name="student"), 0)
    evidence = Evidence(source)
    undecided = Trace(PROBLEM.id, ("a", "#### 9"), "9", None, generator="student", status="timeout")
    evidence.watch(PROBLEM, [undecided, replace(undecided, correct=True, status="ok", index=1)])
    assert evidence.counts(PROBLEM, ("a",)) == (1, 1)


def test_a_rollout_is_counted_once_however_often_it_is_asked_for():
    source = RolloutSource(until(8, 1.0), 0)
    evidence = Evidence(source)
    request = Request(PROBLEM, EIGHT[:1], 2)

    def plan():
        yield [request, request]
        yield [replace(request, rollouts=3), request]

    evidence.gather(plan())
    assert evidence.counts(PROBLEM, EIGHT[:1]) == (3, 3)


def test_plans_advance_together_and_results_keep_their_order():
    def plan(name, rounds):
        for i in range(rounds):
            yield [f"{name}{i}"]
        return name

    def record(joined):
        result = yield from joined
        yield result

    *rounds, result = record(together([plan("a", 1), plan("b", 3), plan("c", 0)]))
    assert rounds == [["a0", "b0"], ["b1"], ["b2"]]
    assert result == ["a", "b", "c"]


# ---- first error


def test_bisection_by_hand():
    """Steps 1 to 5 are good for certain. Probes: 4 (good at once), 6 (k failures), 5 (good); then 6 is confirmed."""
    generator = until(5, 1.0)
    (labeled,) = label(FirstError(rollouts=4, confirm=8, round=2), generator, WRONG)
    assert labeled.labels == (True,) * 5 + (False,) * 3
    assert labeled.first_error == 5
    assert asked(generator) == {"step 4": 2, "step 6": 8, "step 5": 2}
    assert labeled.counts == ((0, 0), (0, 0), (0, 0), (2, 2), (2, 2), (0, 8), (0, 0), (0, 1))
    assert labeled.values is None
    assert (labeled.method, labeled.semantics) == ("first_error@4+8", "value")


@pytest.mark.parametrize("good", range(8))
def test_every_place_of_the_first_error_is_found(good):
    generator = until(good, 1.0)
    (labeled,) = label(FirstError(), generator, WRONG)
    assert labeled.first_error == good
    assert "#### 8" not in asked(generator)  # the outcome of the whole trace is known


def test_rollouts_that_are_still_needed_are_drawn_and_no_whole_round_more():
    """Four or five failures are needed, two are drawn at a time: 2 + 2 and 2 + 2 + 1. Evidence counts: after one failure of
    another trace through step 1, three are missing, 2 + 1."""
    for rollouts in (4, 5):
        generator = until(0, 1.0)
        label(FirstError(rollouts, confirm=rollouts, round=2), generator, WRONG)
        assert asked(generator) == {"step 4": rollouts, "step 2": rollouts, "step 1": rollouts}
    generator = until(0, 1.0)
    other = Trace(PROBLEM.id, ("step 1", "#### 7"), "7", False, generator="scripted", index=1)
    two = replace(WRONG, steps=("step 1", "step 2", "#### 8"))
    label(FirstError(rollouts=4, confirm=4, round=2), generator, two, other)
    assert asked(generator) == {"step 1": 3}


def test_a_right_trace_costs_nothing():
    generator = until(0, 0.0)
    right = replace(WRONG, steps=(*EIGHT[:-1], "#### 9"), answer="9", correct=True)
    (labeled,) = label(FirstError(), generator, right)
    assert labeled.labels == (True,) * 8
    assert generator.calls == []


def test_the_last_step_of_a_trace_without_an_outcome_is_not_called_bad():
    (labeled,) = label(FirstError(), until(7, 1.0), replace(WRONG, correct=None))
    assert (labeled.labels, labeled.counts[-1]) == ((True,) * 7 + (None,), (0, 0))
    (labeled,) = label(FirstError(), until(3, 1.0), replace(WRONG, correct=None))
    assert labeled.labels == (True,) * 3 + (False,) * 5


def test_a_success_during_confirmation_moves_the_search_on():
    """Step 6 fails 4 times, then succeeds: the first error comes after it, at 7."""
    counts = Counter()

    def script(prefix, seed):
        step = prefix.splitlines()[-1]
        counts[step] += 1
        good = step in {f"step {i}" for i in range(1, 6)} or (step == "step 6" and counts[step] > 4)
        return "#### 9" if good else "#### 8"

    (labeled,) = label(FirstError(rollouts=4, confirm=8), ScriptedGenerator(script), WRONG)
    assert labeled.first_error == 6


def test_a_success_of_another_trace_clears_shared_steps():
    """The right trace has the first five steps too: they need no rollouts."""
    generator = until(5, 1.0)
    right = Trace(PROBLEM.id, (*EIGHT[:5], "#### 9"), "9", True, generator="scripted", index=1)
    labeled, _ = label(FirstError(rollouts=4, confirm=4), generator, WRONG, right)
    assert labeled.first_error == 5
    assert set(asked(generator)) == {"step 6"}


def test_misses_follow_the_error_model():
    """A good step of value p is taken for bad with chance (1 - p)^k: p = 0.2, k = 4 gives 0.41; confirmation to 10, 0.11."""
    two = Trace(PROBLEM.id, ("step 1", "#### 8"), "8", False)
    for confirm, chance in ((4, 0.8**4), (10, 0.8**10)):
        wrong = sum(
            label(FirstError(4, confirm), None, two, source=RolloutSource(until(1, 0.2), seed))[0].first_error == 0
            for seed in range(400)
        )
        assert abs(wrong / 400 - chance) < 3 * (chance * (1 - chance) / 400) ** 0.5


def test_answers_that_cannot_be_checked_end_the_search_too(monkeypatch):
    from prm import answers

    monkeypatch.setattr(answers, "check_many", lambda golds, preds: ["timeout"] * len(preds))
    generator = until(8, 1.0)
    (labeled,) = label(FirstError(rollouts=4, confirm=4), generator, WRONG)
    assert labeled.first_error == 0
    assert max(asked(generator).values()) == 4


# ---- adaptive


def test_the_posterior_by_hand():
    """Beta(1, 1) after a success; a spike at zero after failures."""
    ((mean, deviation),) = posterior([(3, 4)], correct=False, lost=0.3)
    assert (mean, deviation) == pytest.approx((4 / 6, (4 * 2 / (36 * 7)) ** 0.5))
    ((mean, deviation),) = posterior([(0, 8)], correct=False, lost=0.3)
    lost = 0.3 / (0.3 + 0.7 / 9)
    assert mean == pytest.approx((1 - lost) / 10)
    assert deviation == pytest.approx(((1 - lost) * 2 / 110 - mean**2) ** 0.5)
    assert deviation < 0.08
    ((mean, _),) = posterior([(0, 8)], correct=True, lost=0.3)  # the trace itself reached the answer
    assert mean == pytest.approx(0.1)


def test_the_posterior_against_simulation():
    """Steps lose a prefix with chance 0.3, values are uniform: among chains with the same counts, means agree."""
    rng = random.Random(0)
    seen: dict[tuple, list[tuple[float, float]]] = {}
    for _ in range(200_000):
        lost, values, counts = False, [], []
        for _ in range(2):
            lost = lost or rng.random() < 0.3
            values.append(0.0 if lost else rng.random())
            counts.append((sum(rng.random() < values[-1] for _ in range(3)), 3))
        seen.setdefault(tuple(counts), []).append((values[0], values[1]))
    for counts in [((0, 3), (0, 3)), ((0, 3), (1, 3)), ((2, 3), (0, 3))]:
        chains = seen[counts]
        for i, (mean, deviation) in enumerate(posterior(counts, correct=False, lost=0.3)):
            values = [chain[i] for chain in chains]
            average = sum(values) / len(values)
            # The first step of a chain of failures does not learn that the second failed too: a little too high.
            assert mean == pytest.approx(average, abs=0.035)
            spread = (sum((v - average) ** 2 for v in values) / len(values)) ** 0.5
            assert deviation == pytest.approx(spread, abs=0.035)


def test_rollouts_go_where_the_value_is_uncertain():
    generator = by_values({"step 1": 1.0, "step 2": 0.5})  # lost after step 2
    (labeled,) = label(Adaptive(tolerance=0.08, rollouts=32, round=4), generator, WRONG)
    drawn = asked(generator)
    assert drawn["step 2"] == 32
    assert 8 <= drawn["step 1"] <= 16
    assert 4 <= drawn["step 3"] <= 16
    assert sum(drawn[f"step {i}"] for i in (4, 5, 6, 7)) <= 16  # what is lost stays lost
    assert labeled.values[0] > 0.9
    assert abs(labeled.values[1] - 0.5) < 0.25
    assert max(labeled.values[2:]) < 0.1
    assert labeled.labels[:3] == (True, True, False)
    assert labeled.values[-1] == 0.0


def test_values_that_are_known_are_not_sampled_again():
    """Every rollout from step 1 passes through the other steps of a trace that always goes on alike."""
    right = Trace(PROBLEM.id, ("a", "b", "c", "#### 9"), "9", True)
    steps = list(right.steps)

    def script(prefix, seed):
        return "\n".join(steps[len(prefix.splitlines()) - 1 :])

    generator = ScriptedGenerator(script)
    (labeled,) = label(Adaptive(), generator, right)
    assert set(asked(generator)) == {"a"}
    assert labeled.counts[0] == labeled.counts[1] == labeled.counts[2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tolerance": 0}, r"^tolerance is 0; it is a standard deviation, more than 0 and less than 0\.3$"),
        ({"tolerance": 0.5}, r"^tolerance is 0\.5; it is a standard deviation"),
        ({"tolerance": 0.3}, r"^tolerance is 0\.3; it is a standard deviation"),
        ({"rollouts": 0}, r"^rollouts is 0, round is 4; both must be at least 1$"),
        ({"round": 0}, r"^rollouts is 32, round is 0; both must be at least 1$"),
        ({"lost": 1}, r"^lost is 1; it is a probability, more than 0 and less than 1$"),
        ({"lost": 0}, r"^lost is 0; it is a probability"),
    ],
)
def test_settings_without_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Adaptive(**wrong)


def test_no_more_rollouts_are_drawn_than_allowed():
    """Four at a time, and six are the most."""
    generator = by_values({"step 1": 0.5})
    planner = Adaptive(tolerance=0.01, rollouts=6, round=4)
    (labeled,) = label(planner, generator, WRONG)
    assert asked(generator)["step 1"] == 6
    assert labeled.method == "adaptive@0.01/6"
    generator = by_values({})
    label(Adaptive(tolerance=0.29, rollouts=1, round=1, lost=0.99), generator, WRONG)
    assert generator.calls == []  # nothing is known, and nothing better is asked for


# ---- OmegaPRM


def test_omega_prm_by_hand():
    """From the prompt half of the rollouts are right, the others go a, b, c and end wrong; "a" is good, "a, b" is lost."""
    turn = Counter()

    def script(prefix, seed):
        state = tuple(prefix.splitlines()[1:])
        turn[state] += 1
        if state == ():
            return "x\n#### 9" if turn[state] % 2 else "a\nb\nc\n#### 8"
        if state == ("a",):
            return "y\n#### 9" if turn[state] % 2 else "b\nc\n#### 8"
        return "#### 8"

    generator = ScriptedGenerator(script)
    first, second = label(OmegaPRM(rollouts=4, searches=10), generator)
    # r = a, b, c, #### 8: the middle is (a, b), lost; then (a), which is good and becomes a state.
    assert first.trace.steps == ("a", "b", "c", "#### 8")
    assert first.labels == (True, False, None, False)
    assert first.counts == ((2, 4), (0, 4), (0, 0), (0, 1))
    assert first.trace.correct is False
    # The wrong rollout of (a) is next: (a, b), in its middle, is a state already. Nothing is sampled or labeled twice.
    assert second.trace.steps == ("a", "b", "c", "#### 8")
    assert second.labels == (None, None, None, False)
    assert turn == {(): 4, ("a", "b"): 4, ("a",): 4}
    # No rollout says anything about the third step: it has no value, either.
    assert first.values == (0.5, 0.0, None, 0.0)
    assert second.values == (None, None, None, 0.0)
    assert (first.trace.id, second.trace.id) == ("p/0#1000000", "p/0#1000001")  # never those of sampled traces


def test_omega_prm_searches_what_is_close_to_right_and_short_first():
    """Q = 0.5^(1 - MC) 0.9^(len / L): the state of value 3/4 before that of 1/4."""
    values = {"a": 3, "b": 1}
    turn = Counter()

    def script(prefix, seed):
        state = prefix.splitlines()[1:]
        turn[tuple(state)] += 1
        i = turn[tuple(state)]
        if not state:
            return ["#### 9", "a\nq\n#### 8", "b\nq\n#### 8", "#### 9"][i - 1]
        if len(state) == 1:
            return "#### 9" if i <= values[state[0]] else f"{state[0]}{state[0]}\n#### 8"
        return "#### 8"

    labeled = label(OmegaPRM(rollouts=4, searches=10, c_puct=0.0), ScriptedGenerator(script))
    order = [row.trace.steps[:2] for row in labeled]
    assert order.index(("a", "aa")) < order.index(("b", "bb"))
    assert label(OmegaPRM(rollouts=4, searches=1), ScriptedGenerator(lambda prefix, seed: "#### 9")) == []
    assert label(OmegaPRM(rollouts=4, searches=1), ScriptedGenerator(lambda prefix, seed: "#### 8")) == []
    for searches in (1, 2):
        turn.clear()
        rows = label(OmegaPRM(rollouts=4, searches=searches, c_puct=0.0), ScriptedGenerator(script))
        assert len(rows) == searches


def test_omega_prm_turns_to_what_was_searched_less_the_more_it_explores():
    """After one search from the prompt (value 1/2), what is left there has Q = 0.71, a rollout of "a" (value 1/4) 0.59."""

    def second(c_puct):
        turn = Counter()

        def script(prefix, seed):
            state = tuple(prefix.splitlines()[1:])
            turn[state] += 1
            if state == ():
                return ["#### 9", "a\nq\n#### 8", "b\nq\n#### 8", "#### 9"][turn[state] - 1]
            if state in (("a",), ("b",)) and turn[state] == 1:
                return "#### 9"
            return "again\n#### 8" if len(state) == 1 else "#### 8"

        return label(OmegaPRM(rollouts=4, c_puct=c_puct), ScriptedGenerator(script))[1].trace.steps

    assert second(0.125) == ("b", "q", "#### 8")  # U: 0.0625 and 0.125
    assert second(0.5) == ("a", "again", "#### 8")  # 0.25 and 0.5


# ---- all of them


@pytest.mark.parametrize("name", PLANNERS)
def test_resuming_repeats_the_same_requests(name):
    """A plan that reads half of its rollouts from a store asks for the others, and concludes the same."""
    planner, generator = PLANNERS[name](), by_values({f"step {i}": 0.9 - i / 10 for i in range(1, 6)} | {"Count.": 0.5})
    traces = [WRONG, replace(WRONG, steps=("other", *EIGHT[1:]), index=1)]
    batches: list = []
    whole = label(planner, None, *traces, source=RolloutSource(generator, 0, commit=batches.append))
    for cut in range(len(batches)):
        known, rest = [rollout for batch in batches[:cut] for rollout in batch], []
        source = RolloutSource(generator, 0, known, rest.append)
        assert label(planner, None, *traces, source=source) == whole
        assert rest == batches[cut:]


def test_methods_share_one_store():
    generator = until(5, 0.6)
    kept: list = []
    source = RolloutSource(generator, 0, commit=kept.extend)
    label(MonteCarlo(16), None, WRONG, source=source)
    calls = len(generator.calls)
    label(FirstError(8, 16), None, WRONG, source=RolloutSource(generator, 0, kept))
    assert len(generator.calls) == calls


def test_a_deviation_that_is_the_tolerance_is_small_enough():
    """Of a step of a right trace without a rollout, the deviation of Beta(1, 1)."""
    ((_, deviation),) = posterior([(0, 0)], True, 0.3)
    trace = Trace("p", ("a", "#### 1"), "1", True)
    nothing = SimpleNamespace(watch=lambda *_: None, counts=lambda *_: (0, 0), own=lambda *_: [])
    for tolerance, asks in ((deviation, False), (deviation * 0.999, True)):
        plan = Adaptive(tolerance=tolerance).plan(Problem("p", "?", "1", "p"), [trace], nothing)
        assert bool(next(plan, [])) == asks


@pytest.mark.parametrize(
    ("values", "threshold", "labels"),
    [
        ((1.0, 0.75), 0.75, (True, True)),  # just enough
        ((0.0, 0.5), 0.8, (False, False)),  # nothing is right after a step from which nothing succeeds
        ((1.0, 0.0), 0.0, (True, False)),
        ((None, 0.5, 0.5), 0.8, (None, None, True)),
    ],
)
def test_progress_is_relative_to_the_step_before(values, threshold, labels):
    assert progress_labels(values, threshold) == labels
