"""prm/training/step_grpo.py: which tokens belong to which step, and what advantage each step gets, by hand."""

import pytest

from prm.datasets import arithmetic
from prm.training.step_grpo import StepGRPOTrainer, by_token, step_corrections, step_ends
from prm.types import Scores
from prm.verifiers.rewards import RewardRule, verifier_reward


def test_tokens_of_steps():
    tokenizer = arithmetic.build_tokenizer()
    ids = tokenizer("47 + 38, carry 1 = 85\n85 - 12 = 73\n#### 73")["input_ids"] + [tokenizer.eos_token_id]
    ends = step_ends(tokenizer, ids, "line")
    assert [tokenizer.decode(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)] == [
        "47 + 38, carry 1 = 85\n",
        "85 - 12 = 73\n",
    ]
    values = by_token([1.0, 2.0, 3.0], ends, len(ids))
    assert [values.count(step) for step in (1.0, 2.0, 3.0)] == [ends[0], ends[1] - ends[0], len(ids) - ends[1]]
    assert by_token([], [], 2) == [0.0, 0.0]  # a completion without a step
    assert by_token([1.0], [3, 6], 7) == [1.0] * 7  # what comes after the answer


def test_corrections_by_hand():
    # Two attempts: 0.9 - 0.8 + 0.1 = 0.2 and 0.7 + 0.1 = 0.8, mean 0.5; from the second step on -0.7 and 0.1, mean -0.3.
    first, second = step_corrections([(0.9, -0.8, 0.1), (0.7, 0.1)], 2)
    assert first == pytest.approx([0, (-0.7 + 0.3) - (0.2 - 0.5), (0.1 - 0.1) - (0.2 - 0.5)])
    assert second == pytest.approx([0, (0.1 + 0.3) - (0.8 - 0.5)])
    # One reward at the end of equally many steps is GRPO itself, and another group changes nothing.
    same = step_corrections([(0, 0, 0.4), (0, 0, 0.6), (1.0, -1.0), (0.5, 0.5)], 2)
    assert same[:2] == [pytest.approx([0, 0, 0])] * 2
    # A step is compared with those that have it; who wrote nothing earned 0.
    shorter = step_corrections([(0, 0.4), (0, 0.8), (0.6,), ()], 4)
    assert shorter == [pytest.approx([0, -0.15]), pytest.approx([0, -0.15]), [0], []]


class Wordy:
    """Scores by the letters of a step, so that completions differ."""

    name, kind, num_parameters = "wordy", "prm", 0

    def score_batch(self, prompts, steps_N):
        scores_N = [tuple(sum(map(ord, step)) % 97 / 97 for step in steps) for steps in steps_N]
        return [Scores(scores, scores[-1]) for scores in scores_N]


@pytest.mark.slow
@pytest.mark.parametrize("credit", ["aggregate", "progress"])
def test_advantages_of_real_completions(credit, tmp_path, root):
    from datasets import Dataset
    from trl import GRPOConfig

    from prm.models.loading import load_model_and_tokenizer

    model, tokenizer = load_model_and_tokenizer(str(root / "prm/assets/arithmetic_generator"))
    rows = [{"prompt": one.prompt + "\n", "problem": one.prompt} for one in arithmetic.load("train", 2)]
    seen = []
    trainer = StepGRPOTrainer(
        model=model,
        reward_funcs=[verifier_reward(Wordy(), RewardRule(credit=credit), {tokenizer.eos_token_id}, seen=seen)],
        args=GRPOConfig(
            str(tmp_path),
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=60,
            use_cpu=True,
            bf16=False,
            report_to="none",
            seed=1,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        seen=seen,
        step_rule="line",
    )
    trainer.model.train()
    output = trainer._generate_and_score_completions([row for row in rows for _ in range(4)])
    assert output["advantages"].shape == output["completion_ids"].shape
    totals = [one.total for one in seen]
    assert len(set(totals[:4])) > 1  # else it would prove nothing
    for start in (0, 4):
        group, mean = totals[start : start + 4], sum(totals[start : start + 4]) / 4
        spread = (sum((total - mean) ** 2 for total in group) / 3) ** 0.5 + 1e-4
        for i in range(start, start + 4):
            advantages = output["advantages"][i][output["completion_mask"][i].bool()].tolist()
            assert advantages[0] == pytest.approx((totals[i] - mean) / spread, abs=1e-4)
            last = seen[i].rewards[-1]
            at_last = [
                one.rewards for one in seen[start : start + 4]
            ]  # all as long: one problem, one step per operation
            later = sum(rewards[-1] for rewards in at_last) / 4
            assert {len(rewards) for rewards in at_last} == {len(seen[i].rewards)}
            assert advantages[-1] == pytest.approx((last - later) / spread, abs=1e-4)
