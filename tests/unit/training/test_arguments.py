"""What the rows decide of a verifier, and what flags decide."""

import pytest
import torch

from prm.storage.rows import LabeledRow
from prm.training.arguments import VerifierArguments, check_given, step_rule_of
from prm.training.losses import cross_entropy, squared_error
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


def test_flags_are_in_the_config_of_the_checkpoint(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    data = {"model": "base", "data": str(tmp_path / "rows.jsonl")}
    plain = VerifierArguments(**data).verifier_config("prm", "correctness", [])
    assert (plain.head, plain.quantization, plain.objective, plain.bad_weight) == ("linear", None, "cross_entropy", 1)
    assert (plain.aggregation, plain.base_model, plain.codec.max_length) == ("product", "base", 1024)
    arguments = VerifierArguments(
        **data,
        head="mlp",
        load_in_4bit=True,
        lora_r=4,
        objective="squared_error",
        bad_weight=2,
        marker="<e>",
        max_length=9,
    )
    config = arguments.verifier_config("prm", "correctness", [], "last", targets="soft")
    assert (config.head, config.quantization, config.objective, config.bad_weight) == ("mlp", "nf4", "squared_error", 2)
    assert (config.aggregation, config.targets, config.codec.marker, config.codec.max_length) == (
        "last",
        "soft",
        "<e>",
        9,
    )


def test_bad_steps_weigh_what_they_are_asked_to():
    given = torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([1.0, 0.0]), torch.zeros(2), torch.ones(2)
    plain, doubled = (VerifierArguments("base", "x", bad_weight=weight).loss()(*given) for weight in (1, 2))
    assert plain.tolist() == cross_entropy(*given).tolist()
    assert (doubled / plain).tolist() == [1.0, 2.0]
    assert VerifierArguments("base", "x", objective="squared_error").loss() is squared_error


def test_what_is_nowhere_is_refused_before_anything_is_loaded(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "base").mkdir()
    given = {"model": str(tmp_path / "base"), "data": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / "out")}
    check_given(given)
    check_given(given | {"eval_data": str(tmp_path / "rows.jsonl"), "data": "arithmetic_hard"})
    check_given(given | {"model": None, "eval_data": None})  # a new generator
    for name in ("model", "data", "eval_data"):
        with pytest.raises(FileNotFoundError, match="nothing/at/all does not exist"):
            check_given(given | {name: "nothing/at/all"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors").touch()
    with pytest.raises(ValueError, match="holds a finished model"):
        check_given(given)
    check_given(given | {"overwrite_output_dir": True})
