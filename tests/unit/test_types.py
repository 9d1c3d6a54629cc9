import dataclasses

import pytest

import prm
from prm.costs import scoring_cost
from prm.types import Budget, Continuation, Cost, LabeledTrace, Problem, Rollout, Scores, SearchResult, Trace

TRACE = Trace("arithmetic/train/7", ("47 + 38 = 85", "85 - 12 = 63", "#### 63"), "63", False, index=3)


def labeled(**changes):
    columns = {"labels": (True, False, False), "values": (0.75, 0.0, 0.0), "counts": ((6, 8), (0, 8), (0, 1))}
    return LabeledTrace(TRACE, **{**columns, "method": "monte_carlo@8", "semantics": "value", **changes})


def test_a_verifier_that_reports_no_tokens_costs_none():
    assert (Scores((0.5,), 0.5).read, Scores((0.5,), 0.5).cached) == (0, 0)
    assert scoring_cost([("a",), ("b",)], [Scores((0.5,), 0.5), None], 7) == Cost(verifier_calls=1)


def test_id_names_problem_and_index():
    assert TRACE.id == "arithmetic/train/7#3"


@pytest.mark.parametrize(
    ("labels", "first_error"),
    [
        ((True, True, True), -1),
        ((False, True, True), 0),
        ((True, False, True), 1),
        ((True, True, False), 2),
        ((None, None, False), 2),
        ((None, True, None), -1),
    ],
)
def test_first_error_is_the_first_bad_label(labels, first_error):
    assert labeled(labels=labels).first_error == first_error


@pytest.mark.parametrize("step", ["", "  \n", None, 7])
def test_a_trace_refuses_steps_without_text(step):
    with pytest.raises(ValueError, match=r"^p/1: step 2 of 2 is empty or not a string"):
        Trace("p/1", ("47 + 38 = 85", step), None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": (True, False)}, r"arithmetic/train/7#3: 3 steps but 2 labels; one label per step"),
        ({"values": (0.5,) * 4}, r"3 steps but 4 values; one value per step"),
        ({"counts": ()}, r"3 steps but 0 counts; one count per step"),
        ({"semantics": "reward"}, r"semantics 'reward' is not one of \('value', 'correctness', 'outcome'\)"),
    ],
)
def test_a_labeled_trace_refuses_columns_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        labeled(**change)


@pytest.mark.parametrize("label", [-100, 1, 0.0, "true"])
def test_a_label_is_a_boolean(label):
    """-100, TRL's "no label", counts as True wherever it is taken for a boolean."""
    with pytest.raises(ValueError, match=r"arithmetic/train/7#3: label 2 is .*None for a step without one"):
        labeled(labels=(True, label, False))


def test_soft_labels_and_counts_may_be_absent():
    assert labeled(values=None, counts=None).first_error == 1


def test_costs_add_up_field_by_field():
    one = Cost(10, 3, 5, 8, 1, 2, seconds=0.5)
    two = Cost(generated_tokens=7, prompt_tokens=1, verifier_tokens=2, generator_calls=4, flops=1e9, seconds=0.25)
    assert (one.cached_tokens, one.generator_calls, one.verifier_calls) == (8, 1, 2)
    assert one + two == Cost(17, 4, 7, 8, 5, 2, 1e9, 0.75)
    assert sum([one, two, one], Cost()).generated_tokens == 27


def test_values_can_be_hashed_and_not_changed():
    assert len({labeled(), labeled(), labeled(method="judge")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Budget(samples=4).samples = 8


def test_what_is_not_said_is_unknown_or_nothing():
    """Rows and callers leave these out."""
    trace = Trace("p/1", ("a",), None, None)
    assert (trace.generator, trace.finished, trace.num_tokens, trace.seed) == ("unknown", True, None, None)
    assert (trace.id, trace.status, trace.step_rule, trace.kept) == ("p/1#0", "ok", None, {})
    assert set(vars(Cost()).values()) == {0}
    continuation = Continuation((1,), "a", "step")
    assert (continuation.prefill, continuation.keeps, continuation.asked) == (0, False, 0)
    result = SearchResult("p/1", "m", "m", None, (trace,), (None,), None, True, Cost())
    assert (result.duplicates, result.tree, result.answer, result.correct) == (0, (), None, False)
    assert Budget(4).generated_tokens is None


def test_a_result_has_the_answer_of_the_candidate_that_it_chose():
    right, wrong = Trace("p/1", ("a",), "2", True), Trace("p/1", ("b",), "3", False)
    for chosen, answer, correct in ((0, "2", True), (1, "3", False)):
        result = SearchResult("p/1", "m", "m", None, (right, wrong), (None, None), chosen, True, Cost())
        assert (result.answer, result.correct) == (answer, correct)


def test_an_answer_that_could_not_be_checked_is_no_evidence():
    outcomes = ("correct", "wrong", "no_answer", "timeout", "error")
    rollouts = [Rollout("p", "5be1", 0, 7, (1, 2), "", "answer", "2", outcome) for outcome in outcomes]
    assert [rollout.decided for rollout in rollouts] == [True, True, True, False, False]
    assert rollouts[0].num_tokens == 2


def test_the_package_has_its_public_names_and_no_others():
    assert prm.Trace is Trace
    with pytest.raises(AttributeError, match="module 'prm' has no attribute 'nothing'"):
        _ = prm.nothing


def test_what_a_problem_carries_along_makes_it_no_other_problem():
    plain, carrying = (Problem("p", "?", "4", "p", kept=kept) for kept in ({}, {"topic": "sums"}))
    assert {plain, carrying} == {plain}
