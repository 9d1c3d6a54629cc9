"""Exact critiques: their verdicts are the truth, and they stay within the tokens of the sets."""

import pytest

from prm.datasets.arithmetic import SETS, build_tokenizer, check_steps, load
from prm.datasets.arithmetic_critiques import critique_examples
from prm.encoding.critiques import ARITHMETIC


@pytest.mark.parametrize("name", SETS)
def test_verdicts_are_the_truth(name):
    tokenizer = build_tokenizer()
    for row in critique_examples(60, variant=SETS[name]):
        steps = [given.strip() for given, _ in row["turns"]]
        (verdicts,) = zip(*(ARITHMETIC.read(learned, 1) for _, learned in row["turns"]), strict=True)
        assert tuple(good for _, good in verdicts) == check_steps(row["prompt"], steps, SETS[name])
        text = "".join(given + learned for given, learned in row["turns"])
        assert tokenizer.unk_token_id not in tokenizer(row["prompt"] + "\n" + text)["input_ids"]


@pytest.mark.parametrize("name", SETS)
def test_problems_are_those_of_the_train_split(name):
    for seed in (0, 5):
        problems = load("train", 3, seed=seed, variant=SETS[name])
        rows = critique_examples(3, seed, SETS[name])
        assert [row["prompt"] for row in rows] == [problem.prompt for problem in problems]
