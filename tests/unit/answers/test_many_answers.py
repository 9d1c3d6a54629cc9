r"""Many answers to one problem: what is computed once for each, and that the classes are those of all pairs."""

import json
from itertools import product
from pathlib import Path

import pytest

from prm import answers
from prm.answers import check, fingerprints, group, leaves, values, workers
from prm.answers.algebra import expression_of
from prm.answers.fingerprints import Fingerprint, are_apart, fingerprint, read_fingerprint, variables_of

GOLDEN = Path(__file__).parents[2] / "golden" / "answer_pairs.jsonl"


@pytest.fixture
def asked(monkeypatch):
    """What workers are asked, with nothing known."""
    for module, name in ((answers, "_decided"), (answers, "_timeouts"), (leaves, "_known"), (leaves, "_hung")):
        monkeypatch.setattr(module, name, {})
    calls, timed = [], workers.POOL.timed
    monkeypatch.setattr(workers.POOL, "timed", lambda *args: (calls.append(args), timed(*args))[1])
    return calls


def by_pairs(texts):
    """Classes by `check` with the first member of every class."""
    first, classes = [], []
    for text in texts:
        found = next((i for i, other in enumerate(first) if check(gold=other, pred=text) == "correct"), len(first))
        first += [text] * (found == len(first))
        classes.append(found)
    return classes


def test_an_expression_is_evaluated_once_and_only_its_like_are_compared(asked):
    roots = [rf"\sqrt{{{n}}}" for n in (2, 3, 5, 6, 7, 8, 10, 11, 12, 13)]
    assert group([*roots, r"2\sqrt{2}", "1.414214", r"\frac{\sqrt{12}}{1}"]) == [*range(10), 5, 0, 8]
    by_checker = [args[3] if len(args) > 3 else "ours" for args in asked]
    assert by_checker.count("fingerprint") == 13
    # sqrt(2) and sqrt(8) for 2 sqrt(2) are told apart by value; what is equal is asked for once.
    assert by_checker.count("ours") == 3


def test_values_far_apart_need_no_algebra_and_near_ones_do(asked):
    assert group([r"\sqrt{2}", r"\sqrt{2}+10^{-9}", r"\sqrt{2}+1"]) == [0, 1, 2]
    assert [args[:2] for args in asked if len(args) == 3] == [(r"\sqrt{2}", r"\sqrt{2}+10^{-9}")]


def test_letters_kinks_and_parts(asked):
    texts = [r"\sqrt{x^2}", "x", "|x|", r"(1, \sqrt{x})", r"(1, x^{1/2})", r"(1, \sqrt{y})", r"x=\sqrt{3}", r"\sqrt{3}"]
    assert group(texts) == [0, 1, 0, 2, 2, 3, 4, 4]
    assert group([r"\sin 30^\circ", r"\cos 60^\circ", r"\sin 30", r"\{\sqrt{2}, 1\}", r"\{1, 2^{1/2}\}"]) == [
        0,
        0,
        1,
        2,
        2,
    ]


def test_classes_are_those_of_all_pairs(asked):
    rows = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    texts = list(dict.fromkeys(text for row in rows for text in (row["gold"], row["pred"]) if text and "%" not in text))
    for start in range(0, len(texts), 250):
        some = [text for text in texts[start : start + 24] if text.strip() and check(gold=text, pred=text) == "correct"]
        assert group(some) == by_pairs(some)


def test_fingerprints():
    none = variables_of("1", "2")
    assert none == "[[], []]"
    root = read_fingerprint(fingerprint(r"\sqrt{2}", none))
    assert root.real * 2.0 ** (root.high - 80) == pytest.approx(2**0.5, rel=1e-15)
    assert root.imaginary == 0
    assert read_fingerprint(fingerprint(r"\sqrt{-4}", none)).real == 0
    assert fingerprint(r"\frac{\sqrt{2}}{0}", none) == ""  # no value there
    assert fingerprint(r"\sum_{k=1}^{9999}k", none) == ""  # beside another there would be too many steps
    assert read_fingerprint(fingerprint(r"\sum_{k=1}^{9000}k", none)) is not None
    assert read_fingerprint("") is None
    assert json.loads(variables_of(r"n!+x", "y")) == [["n", "x", "y"], ["n"]]
    assert variables_of("x=1", "y") is None
    assert variables_of("x", r"\approx 3") is None
    assert variables_of("x", "two words") is variables_of("two words", "x") is None


def test_half_of_the_steps_of_a_comparison_are_one_value_s(monkeypatch):
    evaluator = values.Evaluator(fingerprints.FIRST_BITS)
    evaluator.real(evaluator.value(expression_of(r"\sqrt{2}+1").formula, {}))
    for most, has in ((2 * evaluator.steps, True), (2 * evaluator.steps - 1, False)):
        monkeypatch.setattr(fingerprints, "MAX_STEPS", most)
        assert (fingerprint(r"\sqrt{2}+1", "[[], []]") != "") == has


def test_apart():
    one, near, far = (Fingerprint(0, real, 0) for real in (1 << 79, (1 << 79) + (1 << 59), (1 << 79) + (1 << 61)))
    assert are_apart("a", one, "b", far)
    assert not are_apart("a", one, "b", near)
    assert not are_apart("a", one, "b", Fingerprint(0, one.real + (1 << 60) + 1, 0))  # each may be one unit off
    assert are_apart("a", one, "b", Fingerprint(0, one.real + (1 << 60) + 2, 0))
    assert are_apart("a", one, "b", Fingerprint(0, 1 << 79, 1 << 70))
    # The distance counts against the larger of the two sizes that were met.
    assert not are_apart("a", one, "b", Fingerprint(40, far.real >> 40, 0))
    # A decimal may be rounded: 0.5 and 0.5000019 are apart, but not if the first is written with 5 places.
    for gold, pred in product(("0.50000", "a"), repeat=2):
        assert are_apart(gold, one, pred, far) == (gold == pred == "a")
    least = (1 << fingerprints._BITS) // 10**6 + 3  # of 6 places, with the two units that both may be off
    for distance, apart in ((least, True), (least - 1, False)):
        assert are_apart("0.500000", one, "b", Fingerprint(0, one.real + distance, 0)) is apart
    assert are_apart("0.50000 + a", one, "b", far)  # no decimal
    assert fingerprints.MARGIN == 20


def test_the_seconds_of_both_values_are_counted(monkeypatch, asked):
    monkeypatch.setattr(workers.POOL, "timed", lambda *its: ("0:5:0", 0.5))
    for expected in (1.0, 0.0):  # what is known costs nothing
        leaf = leaves.ByValue(1.5)
        assert leaf(r"\sqrt{2}+x", r"\sqrt{3}+x") is None
        assert leaf.seconds == expected


def test_what_has_no_value_is_not_told_apart_and_fractions_need_none(monkeypatch, asked):
    its = {r"\sqrt{2}+x": "0:5:0"}
    monkeypatch.setattr(workers.POOL, "timed", lambda *args: asked.append(args) or (its.get(args[0], "error"), 0.5))
    leaf = leaves.ByValue(2.0)
    assert leaf(r"\sqrt{2}+x", r"\sqrt{3}+x") is None
    assert len(asked) == 2
    assert (leaf("1/2", "0.5"), leaf("1/2", "0.6"), len(asked)) == (True, False, 2)


def test_what_takes_too_long_is_remembered_within_the_same_bound(monkeypatch, asked):
    monkeypatch.setattr(leaves, "MAX_KNOWN", 1)
    monkeypatch.setattr(workers.POOL, "timed", lambda *its: ("timeout", 0.5))
    for root in (r"\sqrt{2}+x", r"\sqrt{3}+x"):
        assert leaves.ByValue(2.0)(root, r"\sqrt{5}+x") is None
        assert (len(leaves._known), len(leaves._hung)) == (0, 1)
    without = leaves.ByValue(0.0)
    assert without(r"\sqrt{3}+x", r"\sqrt{5}+x") is None
    assert not without.hung  # it asks for no value


def test_algebra_has_what_the_values_leave_of_the_deadline(monkeypatch, asked):
    its = {"fingerprint": ("0:5:0", 0.5)}
    monkeypatch.setattr(workers.POOL, "timed", lambda *args: asked.append(args) or its.get(args[-1], ("wrong", 0.25)))
    assert group([r"\sqrt{2}+x", r"\sqrt{3}+x"]) == [0, 1]
    assert [args[2] for args in asked] == [answers.DEADLINE - spent for spent in (0.0, 0.5, 1.0)]


def test_what_is_remembered_has_a_bound(monkeypatch, asked):
    monkeypatch.setattr(leaves, "MAX_KNOWN", 1)
    monkeypatch.setattr(workers.POOL, "timed", lambda *its: ("0:5:0", 0.5))
    for _ in range(2):  # the second value takes the place of the first
        leaf = leaves.ByValue(2.0)
        assert leaf(r"\sqrt{2}+x", r"\sqrt{3}+x") is None
        assert leaf.seconds == 1.0
    assert len(leaves._known) == 1


@pytest.mark.parametrize("verdict", ["correct", "timeout"])
def test_verdicts_that_are_remembered_have_a_bound(verdict, monkeypatch, asked):
    monkeypatch.setattr(answers, "MAX_DECIDED", 2)
    monkeypatch.setattr(workers.POOL, "timed", lambda *its: asked.append(its[:2]) or (verdict, 0.5))
    pairs = [(rf"\sqrt{{{4 * n}}}", rf"2\sqrt{{{n}}}") for n in (2, 3, 5)]
    for _ in range(2):
        for gold, pred in pairs:
            assert check(gold=gold, pred=pred) == verdict
        assert len(answers._decided) + len(answers._timeouts) <= 2


def test_a_value_that_takes_too_long_is_not_asked_for_again(monkeypatch, asked):
    monkeypatch.setattr(workers.POOL, "timed", lambda *its: asked.append(its) or ("timeout", 0.5))
    for calls in (1, 1):
        leaf = leaves.ByValue(2.0)
        assert leaf(r"\sqrt{2}+x", r"\sqrt{3}+x") is None
        assert leaf.hung
        assert len(asked) == calls
        assert leaf(r"\sqrt{5}+x", r"\sqrt{7}+x") is None  # nothing is asked after it
        assert len(asked) == calls
