"""Benchmarks are known by source and by text."""

import pytest

from prm.conversions import IMPORTERS
from prm.datasets.benchmarks import SOURCES, benchmark_of, check_training
from prm.types import Problem

BOLTS = "A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in total does it take?"


def problem(prompt, source="own"):
    return Problem(f"{source}/1", prompt, "", source)


def test_every_source_is_a_format_that_we_read():
    assert SOURCES.keys() <= IMPORTERS.keys()


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (problem("Any.", "processbench"), "ProcessBench"),
        (problem(BOLTS), "GSM8K test"),
        (problem(BOLTS.upper().replace("  ", " ").replace(".", " .")), "GSM8K test"),
        (problem("How many positive whole-number divisors does 196 have?"), "MATH-500"),
        (problem("How many positive whole-number divisors does 195 have?"), None),
        (problem("Start with 1, add 1.", "arithmetic"), None),
    ],
)
def test_benchmark_of(asked, name):
    assert benchmark_of(asked) == name


def test_a_row_to_train_on_is_named_with_its_benchmark():
    check_training([("a:1", problem("Any."))])
    with pytest.raises(ValueError, match=r"^a:2: 'A robe takes .* is a problem of GSM8K test, .* --allow_benchmark$"):
        check_training([("a:1", problem("Any.")), ("a:2", problem(BOLTS))])


def test_a_problem_is_looked_up_once(monkeypatch):
    asked = []
    monkeypatch.setattr("prm.datasets.benchmarks.benchmark_of", lambda problem: asked.append(problem.prompt))
    check_training((f"a:{i}", problem(text)) for i, text in enumerate(("Other.", "Other.", "Any.")))
    assert asked == ["Other.", "Any."]
