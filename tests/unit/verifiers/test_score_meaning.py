"""What a card says that a score means: another thing for every kind of labels and objective, and a true one."""

from dataclasses import replace

import pytest
import torch

from prm.encoding.codec import StepCodec
from prm.training.losses import OBJECTIVES, weigh_bad
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.score_meaning import RANKS, score_meaning

PRM = VerifierConfig("prm", StepCodec(), "value", "last", "base", "hash", targets="soft")
ORM = VerifierConfig("orm", StepCodec(), "outcome", "last", "base", "hash")
ENDS_RIGHT = "A score is the probability that the trace ends with the right answer if its generator continues"


@pytest.mark.parametrize("objective", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize(
    ("config", "beginning"),
    [
        (PRM, ENDS_RIGHT),
        (replace(PRM, targets="hard"), "A score is the probability that this step is labeled good: that some rollout"),
        (replace(PRM, semantics="correctness"), "A score is the mean soft label of such a step: how sure its labelers"),
        (
            replace(PRM, semantics="correctness", targets="hard"),
            "A score is the probability that this step is right, wh",
        ),
        (
            ORM,
            "A score is the probability that the whole trace ends with the right answer. It is read at the last step",
        ),
        (
            replace(ORM, tokens="all"),
            "A score is the probability that the whole trace ends with the right answer, learned",
        ),
    ],
)
def test_labels_and_targets_decide(config, beginning, objective):
    assert score_meaning(replace(config, objective=objective)).startswith(beginning)


def test_only_soft_values_say_that_the_score_is_the_chance_to_end_right():
    text = score_meaning(replace(PRM, targets="hard"))
    assert "That is not the probability that the trace ends right" in text
    assert ENDS_RIGHT not in text


def test_every_objective_that_compares_orders_and_is_no_probability():
    assert set(OBJECTIVES) == {"cross_entropy", "squared_error", "beta_binomial", *RANKS}
    steps = score_meaning(replace(PRM, objective="ranking", targets="hard"))
    traces = score_meaning(replace(ORM, objective="bradley_terry"))
    assert steps.startswith("A score orders the steps of one trace and is not a probability: the loss of PQM")
    assert traces.startswith("A score orders whole traces of one problem and is not a probability: only differences")


def test_counts_say_what_soft_values_say_and_what_their_spread_is():
    text = score_meaning(replace(PRM, objective="beta_binomial", targets="counts"))
    assert text.startswith(score_meaning(PRM)[:-1])
    assert "the variance score (1 - score) / (a + b + 1)" in text


def test_until_the_first_error_is_said_of_every_objective():
    for objective in ("cross_entropy", "squared_error", "ranking"):
        text = score_meaning(replace(PRM, objective=objective, targets="hard", until_first_error=True))
        assert text.endswith("No step after the first bad one of a trace was trained on: scores after the first low one"
                             " mean nothing.")  # fmt: skip


@pytest.mark.parametrize("objective", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("config", [replace(PRM, targets="hard"), ORM])
def test_the_formula_for_weighted_bad_steps_gives_the_probability_back(config, objective):
    text = score_meaning(replace(config, bad_weight=3.0, objective=objective))
    assert text.startswith("A score, since bad targets counted 3 times in the loss, lies below the probability")
    assert text.endswith("Where a score is s, the probability is 3 s / (1 - s + 3 s).")
    loss, p = weigh_bad(OBJECTIVES[objective], 3.0), 0.8
    z = torch.linspace(-6, 6, 2401)
    logits, traces = torch.stack([torch.zeros_like(z), z], -1), torch.zeros(len(z), dtype=torch.long)
    ones, zeros = torch.ones_like(z), torch.zeros_like(z)
    expected = p * loss(logits, ones, traces, ones) + (1 - p) * loss(logits, zeros, traces, ones)
    s = torch.sigmoid(z[expected.argmin()]).item()
    assert s < 0.6
    assert 3 * s / (1 - s + 3 * s) == pytest.approx(p, abs=0.01)


def test_weights_on_soft_targets_have_no_formula_and_small_weights_raise_scores():
    assert "Where a score is s" not in score_meaning(replace(PRM, bad_weight=3.0))
    assert score_meaning(replace(PRM, bad_weight=0.5)).startswith(
        "A score, since bad targets counted 0.5 times in the loss, lies above the probability"
    )


@pytest.mark.parametrize(("weight", "side"), [(0.5, "above"), (1.5, "below"), (2.0, "below"), (1.0, None)])
def test_a_score_lies_on_the_side_that_its_weight_pulls_it_to(weight, side):
    text = score_meaning(replace(PRM, bad_weight=weight))
    assert text.startswith("A score is" if side is None else f"A score, since bad targets counted {weight:g} times")
    assert (f"lies {side}" in text) == (side is not None)
