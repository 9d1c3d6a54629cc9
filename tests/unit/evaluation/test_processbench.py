"""ProcessBench's figures from its definition, on predictions that were made by hand."""

import math
import random

import pytest

from prm.evaluation.processbench import best_threshold, called_below, called_wrong, processbench_summary
from prm.storage.step_scores import JudgedTrace, Prediction, join
from prm.types import labels_to_first_error

NAN = float("nan")


def trace(name, first_error, num_steps=3, problem=None):
    steps = tuple("abcdefgh"[:num_steps])
    labels = labels_to_first_error(num_steps, first_error)
    return JudgedTrace(name, name.rpartition("-")[0], problem or name, "p", steps, labels)


def summary(rows, **options):
    """Of (id, first error, prediction) triples."""
    traces = [trace(name, first) for name, first, _ in rows]
    return processbench_summary(traces, [said for *_, said in rows], **options)


def scored(*scores):
    return Prediction("", scores)


def verdict(first_error):
    return Prediction("", None, first_error=first_error)


@pytest.mark.parametrize(
    ("scores", "rule", "first"),
    [
        ((0.9, 0.5, 0.1), "official", 1),  # of two equal logits, the official code takes the first: wrong
        ((0.9, 0.5, 0.1), "half_is_right", 2),
        ((0.9, 0.500001, 0.6), "official", -1),
        ((0.5, 0.5, 0.5), "half_is_right", -1),
        ((0.9, 0.5), "first_minus", 1),  # read no further
        ((0.9, 0.5), "official", None),
        ((0.9, 0.6), "first_minus", None),  # ends, and nothing was called wrong
    ],
)
def test_which_step_is_called_wrong(scores, rule, first):
    assert called_wrong(scored(*scores), 3, rule) == first


def test_the_figures_of_the_definition():
    """GSM8K: 2 of 4 erroneous exact, 2 of 3 correct; F1 = 2 * 1/2 * 2/3 / (1/2 + 2/3) = 4/7.
    MATH: 1 of 1 and 1 of 2, 2/3."""
    found = summary(
        [
            ("gsm8k-0", 1, scored(0.9, 0.2, 0.9)),
            ("gsm8k-1", 1, scored(0.9, 0.8, 0.4)),  # a step too late
            ("gsm8k-2", 0, scored(0.9, 0.8, 0.7)),
            ("gsm8k-3", 0, scored(0.1, 0.1, 0.7)),
            ("gsm8k-4", -1, scored(0.9, 0.9, 0.9)),
            ("gsm8k-5", -1, scored(0.9, 0.3, 0.9)),
            ("gsm8k-6", -1, scored(0.9, 0.9, 0.6)),
            ("math-0", 2, verdict(2)),
            ("math-1", -1, verdict(0)),
            ("math-2", -1, verdict(-1)),
        ]
    )["rules"]["official"]
    gsm8k, math_ = found["subsets"]["gsm8k"], found["subsets"]["math"]
    assert (gsm8k["traces"], gsm8k["erroneous"]) == (7, 4)
    assert (gsm8k["error_accuracy"], gsm8k["correct_accuracy"]) == (0.5, pytest.approx(2 / 3))
    assert gsm8k["f1"] == pytest.approx(4 / 7)
    assert math_["f1"] == pytest.approx(2 / 3)
    assert found["f1_average"] == pytest.approx((4 / 7 + 2 / 3) / 2)
    assert found["f1_row_weighted"] == pytest.approx((7 * 4 / 7 + 3 * 2 / 3) / 10)
    assert gsm8k["accuracy"] == pytest.approx(4 / 7)
    # Has a mistake: 3 of 4 called so, with one false alarm. Without one: 2 of 3 called so, and one of the others.
    assert gsm8k["f1_has_mistake"] == pytest.approx(2 * 3 / (4 + 4))
    assert gsm8k["f1_without_mistake"] == pytest.approx(2 * 2 / (3 + 3))
    assert gsm8k["low"] is None, "seven problems have no interval"


@pytest.mark.slow
def test_the_average_and_the_row_weighted_one_are_those_in_print():
    """TRL's 1.5B model: F1 of 36.6, 49.6, 36.1 and 37.0, and 40.4 for all, which is weighted by the 400 and three times
    1,000 rows; the official average is 39.8. Half of the rows are erroneous here, and as many named right as give these."""
    found_of = {"gsm8k": (73, 73), "math": (248, 248), "olympiadbench": (180, 181), "omnimath": (185, 185)}
    rows = []
    for subset, (errors, corrects) in found_of.items():
        half = 200 if subset == "gsm8k" else 500
        rows += [(f"{subset}-{i}", 1, verdict(1 if i < errors else 0)) for i in range(half)]
        rows += [(f"{subset}-{half + i}", -1, verdict(-1 if i < corrects else 0)) for i in range(half)]
    found = summary(rows)["rules"]["official"]
    f1 = [round(its["f1"], 2) for its in found["subsets"].values()]
    assert f1 == [0.36, 0.5, 0.36, 0.37]
    assert (round(found["f1_row_weighted"], 3), round(found["f1_average"], 3)) == (0.404, 0.398)


def test_a_subset_without_an_erroneous_trace_is_nan_and_so_is_the_average():
    found = summary([("gsm8k-0", -1, scored(0.9, 0.9, 0.9)), ("math-0", 0, verdict(0)), ("math-1", -1, verdict(-1))])
    official = found["rules"]["official"]
    assert math.isnan(official["subsets"]["gsm8k"]["error_accuracy"])
    assert math.isnan(official["subsets"]["gsm8k"]["f1"])
    assert official["subsets"]["math"]["f1"] == 1.0
    assert math.isnan(official["f1_average"])
    assert math.isnan(official["f1_row_weighted"])


def test_where_nothing_is_found_the_harmonic_mean_is_zero():
    found = summary([("gsm8k-0", 0, verdict(1)), ("gsm8k-1", -1, verdict(0))])["rules"]["official"]
    assert found["f1_average"] == 0.0


def test_who_says_nothing_is_never_right():
    """A trace that was too long, one with a NaN, one that is missing, and one with too many scores."""
    traces = [trace(f"gsm8k-{i}", first) for i, first in enumerate((0, -1, 0, -1, 0, -1))]
    said = join(
        traces,
        {
            "gsm8k-0": Prediction("gsm8k-0", None, status="too_long"),
            "gsm8k-1": Prediction("gsm8k-1", (0.9, NAN, 0.9)),
            "gsm8k-3": Prediction("gsm8k-3", (0.9, 0.9, 0.9, 0.9)),
            "gsm8k-4": Prediction("gsm8k-4", (0.2, 0.9, 0.9)),
            "gsm8k-5": Prediction("gsm8k-5", (0.9, 0.9, 0.9)),
        },
    )
    assert [its.status for its in said] == ["too_long", "nan", "missing", "wrong_length", "ok", "ok"]
    figures = processbench_summary(traces, said)["rules"]["official"]["subsets"]["gsm8k"]
    assert figures["not_scored"] == 4
    assert (figures["error_accuracy"], figures["correct_accuracy"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_half_and_stopping_are_figures_of_their_own():
    rows = [("gsm8k-0", 1, scored(0.9, 0.5, 0.9)), ("gsm8k-1", -1, scored(0.9, 0.9, 0.9)), ("gsm8k-2", 0, scored(0.1))]
    f1 = {rule: its["subsets"]["gsm8k"]["error_accuracy"] for rule, its in summary(rows)["rules"].items()}
    assert f1 == {"official": 0.5, "half_is_right": 0.0, "first_minus": 1.0}


def test_the_threshold_is_that_of_the_named_subset():
    """On GSM8K a threshold in (0.6, 0.7] finds both; on MATH it finds none, which 0.5 would."""
    rows = [
        ("gsm8k-0", 1, scored(0.9, 0.6, 0.9)),
        ("gsm8k-1", -1, scored(0.9, 0.7, 0.8)),
        ("math-0", 1, scored(0.55, 0.4, 0.9)),
        ("math-1", -1, scored(0.9, 0.65, 0.9)),
    ]
    figures = summary(rows, threshold_from="gsm8k")
    found = figures["rules"]["threshold_from_gsm8k"]
    assert 0.6 < figures["threshold"] <= 0.7
    assert found["subsets"]["gsm8k"]["f1"] == 1.0
    assert found["subsets"]["math"]["error_accuracy"] == 0.0
    assert "which gives the best F1 on gsm8k" in found["what"]
    traces, said = [trace(name, first) for name, first, _ in rows], [its for *_, its in rows]
    assert 0.6 < best_threshold(traces, said, "gsm8k") <= 0.7
    assert best_threshold(traces, said, "math") == 0.5, "of equally good ones the nearest to a half"
    with pytest.raises(ValueError, match="the subsets are gsm8k, math"):
        best_threshold(traces, said, "omnimath")


def test_the_best_threshold_is_that_of_trying_all():
    rng = random.Random(3)
    rows = [
        (f"gsm8k-{i}", rng.choice((-1, 0, 1, 2)), scored(*(rng.randint(1, 19) / 20 for _ in range(3))))
        for i in range(40)
    ]
    traces, said = [trace(name, first) for name, first, _ in rows], [its for *_, its in rows]

    def f1(threshold):
        named = [next((i for i, s in enumerate(its.scores) if s < threshold), -1) for its in said]
        hits = {True: [], False: []}
        for its, first in zip(traces, named, strict=True):
            hits[its.first_error == -1].append(first == its.first_error)
        error, correct = (sum(hits[kind]) / len(hits[kind]) for kind in (False, True))
        return 2 * error * correct / (error + correct) if error + correct else 0.0

    assert f1(best_threshold(traces, said, "gsm8k")) == pytest.approx(max(f1(i / 40) for i in range(42)))


def test_intervals_are_over_problems():
    """Four traces of each problem are no more evidence than one."""
    rows = [(i, -1 if i % 2 else 0, 0 if i % 4 == 0 else -1) for i in range(40)]

    def width(copies):
        traces = [trace(f"gsm8k-{4 * i + k}", first, problem=str(i)) for i, first, _ in rows for k in range(copies)]
        said = [verdict(named) for *_, named in rows for _ in range(copies)]
        found = processbench_summary(traces, said)["rules"]["official"]
        assert found["low"] < found["f1_average"] < found["high"]
        return found["high"] - found["low"]

    assert width(4) == pytest.approx(width(1))


def test_the_interval_of_problems_that_are_all_alike_is_the_figure_itself():
    """Of each problem 1 of 2 errors is found, and 1 of 3 correct traces: 2 * 1/2 * 1/3 / (1/2 + 1/3)."""
    traces, said = [], []
    for problem in range(12):
        for k, (first, named) in enumerate(((0, 0), (0, -1), (-1, -1), (-1, 0), (-1, 1))):
            traces.append(trace(f"gsm8k-{5 * problem + k}", first, problem=str(problem)))
            said.append(verdict(named))
    found = processbench_summary(traces, said)["rules"]["official"]
    assert [found[key] for key in ("f1_average", "low", "high")] == pytest.approx([0.4] * 3)


@pytest.mark.parametrize("first", [-1, 1])
def test_no_threshold_is_chosen_where_one_kind_of_traces_is_missing(first):
    traces = [trace(f"gsm8k-{i}", first) for i in range(2)]
    with pytest.raises(
        ValueError, match="no threshold can be chosen on 'gsm8k': it needs scored traces with and without"
    ):
        best_threshold(traces, [scored(0.9, 0.2, 0.9)] * 2, "gsm8k")


def test_scores_of_other_steps_have_no_threshold():
    assert called_below(scored(0.9, 0.2), 2, 0.5) == 1
    assert called_below(scored(0.9, 0.2), 3, 0.5) is None
    assert called_below(verdict(2), 3, 0.5) == 2
    assert called_below(scored(0.5), 1, 0.5) == -1
