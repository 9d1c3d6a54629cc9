"""Examples in arrays, and traces that are tokenized together, against each on its own."""

import random

import pytest

from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.storage.rows import LabeledRow
from prm.training import columns
from prm.training.columns import Columns
from prm.training.examples import NUMBERS, TraceExample, prm_examples
from prm.types import LabeledTrace, Trace

ONE = TraceExample((6, 151_000, 3), (1, 2), (0.75, 1 / 3), (True, False), (0, 1), "p/1", False, (16, 3))
TWO = TraceExample((5,), (0,), (1.0,), (True,), (4,), "p/2", True)


def test_columns_give_back_what_they_were_given():
    made = Columns(TraceExample, NUMBERS)
    assert list(made) == []
    for example in (ONE, TWO, ONE):
        made.append(example)
    assert list(made) == [ONE, TWO, ONE]
    assert (len(made), made[1], made[-1], made[1:]) == (3, TWO, ONE, [TWO, ONE])
    assert made[0].hard[0] is True
    assert type(made[0].input_ids[0]) is int
    with pytest.raises(IndexError):
        made[3]


@pytest.mark.parametrize("codec", [StepCodec(), StepCodec(PromptTemplate("Q: {prompt}\nA:"), separator="\n\n")])
def test_traces_that_are_tokenized_together_are_encoded_as_alone(monkeypatch, codec):
    monkeypatch.setattr(columns, "TOGETHER", 3)
    rng, rows = random.Random(0), []
    for problem in arithmetic.load("train", 4):
        for index in range(2):
            steps = arithmetic.student_trace(problem.prompt, rng)
            labels = arithmetic.check_steps(problem.prompt, steps)
            trace = Trace(problem.id, steps, steps[-1], labels[-1], index=index)
            rows.append(LabeledRow(problem, LabeledTrace(trace, labels, None, None, "m", "value"), "rows:1"))
    tokenizer = arithmetic.build_tokenizer()
    made = prm_examples(rows, codec, tokenizer, "hard")
    for row, example in zip(rows, made.examples, strict=True):
        encoded = codec.encode(tokenizer, row.problem.prompt, row.labeled.trace.steps)
        assert (example.input_ids, example.step_ends) == (encoded.input_ids, encoded.step_ends)
    assert made.report.tokens == sum(len(example.input_ids) for example in made.examples)
