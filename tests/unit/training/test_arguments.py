"""What the rows decide of a verifier, and what flags decide."""

import pytest

from prm.storage.rows import LabeledRow
from prm.training.arguments import VerifierArguments, step_rule_of
from prm.types import LabeledTrace, Problem, Trace


def rows(*rules):
    return [
        LabeledRow(
            Problem("p/1", "1 + 1?", "2", "p"),
            LabeledTrace(
                Trace("p/1", ("#### 2",), "2", True, step_rule=rule), (True,), None, None, "human", "correctness"
            ),
            f"rows.jsonl:{i}",
        )
        for i, rule in enumerate(rules, 1)
    ]


@pytest.mark.parametrize(
    ("rules", "rule", "separator"),
    [
        (("line", "line"), "line", "\n"),
        (("paragraph", None), "paragraph", "\n\n"),
        ((None, None), None, "\n"),
        (("thought",), "thought", "\n\n"),
    ],
)
def test_the_rule_of_the_rows_is_kept_and_gives_the_separator(rules, rule, separator, tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    arguments = VerifierArguments(model="base", data=str(tmp_path / "rows.jsonl"))
    config = arguments.verifier_config("prm", "correctness", rows(*rules))
    assert (config.step_rule, config.codec.separator) == (rule, separator)


def test_rows_of_several_rules_are_refused_with_their_numbers():
    message = r"different rules: line \(1 rows\), paragraph \(2 rows\); train on the rows of one rule"
    with pytest.raises(ValueError, match=message):
        step_rule_of(rows("line", "paragraph", None, "paragraph"))


def test_a_separator_from_a_shell_has_real_line_ends():
    assert VerifierArguments(model="base", data="x", separator=r"\n\n").codec("line").separator == "\n\n"
    assert VerifierArguments(model="base", data="x", separator=" ки\n").codec(None).separator == " ки\n"
