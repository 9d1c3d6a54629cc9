"""Exact critiques: their verdicts are the truth, and they stay within the tokens of the sets."""

import pytest

from prm.datasets.arithmetic import SETS, build_tokenizer, check_steps
from prm.datasets.arithmetic_critiques import critique_examples
from prm.encoding.critiques import ARITHMETIC


@pytest.mark.parametrize("name", SETS)
def test_verdicts_are_the_truth(name):
    tokenizer, lengths = build_tokenizer(), set()
    for row in critique_examples(60, variant=SETS[name]):
        prompt, *steps = row["prompt"].strip().split("\n")
        assert ARITHMETIC.question(prompt, steps) == row["prompt"]
        verdicts = [good for _, good in ARITHMETIC.read(row["completion"], len(steps))]
        assert tuple(verdicts) == check_steps(prompt, steps, SETS[name])
        assert tokenizer.unk_token_id not in tokenizer(row["prompt"] + row["completion"])["input_ids"]
        lengths.add(steps[-1].startswith("#### "))
    assert lengths == {True, False}  # whole traces, and some that are still being written
