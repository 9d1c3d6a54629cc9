"""Texts as models write them, through the whole chain: sampled, labeled, encoded for training, searched.

`golden/model_outputs.jsonl` holds the texts with what a person says of them: how each step begins, the final answer, its
outcome, and whether the text was finished. `run_on` is what a base model goes on to write after its answer, and nobody
reads. The generator writes these texts, whole or step by step; everything else is what the scripts run.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from prm import answers
from prm.encoding.codec import StepCodec
from prm.encoding.steps import separator_of, split_steps
from prm.generators.scripted import ScriptedGenerator
from prm.labelers import run
from prm.labelers.monte_carlo import MonteCarlo
from prm.sampling.rollouts import Request, RolloutSource
from prm.sampling.traces import trace_from_rollout
from prm.search import STRATEGIES
from prm.search.driver import search
from prm.search.methods import Method
from prm.storage.rows import LabeledRow
from prm.training.examples import prm_examples
from prm.types import Budget, Problem, Scores

ROWS = [json.loads(line) for line in (Path(__file__).parent / "golden/model_outputs.jsonl").open(encoding="utf-8")]


class ShareRead:
    """The score of a step is the share of the trace that has been read where it ends."""

    name, kind, num_parameters = "share", "prm", 1

    def __init__(self, tokenizer, codec):
        self.tokenizer, self.codec = tokenizer, codec

    def score_batch(self, prompts, steps_N):
        encoded_N = [self.codec.encode(self.tokenizer, *asked) for asked in zip(prompts, steps_N, strict=True)]
        return [
            Scores(tuple((end + 1) / len(encoded.input_ids) for end in encoded.step_ends), 1.0) for encoded in encoded_N
        ]


def writer(row, limit):
    """Writes the text of a row, or what is left of it after some steps."""
    text = row["text"] + row.get(
        "run_on", "" if row["want"]["finished"] else " and so on, for longer than anybody reads"
    )
    ends = [0, *(i + 1 for i, character in enumerate(text) if not character.isspace())]

    def script(prefix, seed):
        written = len(squeezed(prefix.removeprefix(row["problem"])))
        return text[ends[written] :].lstrip() if written else text

    return ScriptedGenerator(script, row["step_rule"], max_new_tokens=limit)


def squeezed(text):
    return "".join(text.split())


def students(row, steps):
    """Ends right after each of the first half of the steps, and wrong after the others."""
    separator = separator_of(row["step_rule"])

    def script(prefix, seed):
        read = sum(prefix.startswith(f"{row['problem']}\n{separator.join(steps[: i + 1])}") for i in range(len(steps)))
        return f"The answer is \\boxed{{{row['gold'] if 2 * read <= len(steps) else 987654321}}}."

    return ScriptedGenerator(script, row["step_rule"])


def goes_through_the_chain(row, tokenizer):
    """Samples, labels, encodes and searches; the trace is the same everywhere. Returns the trace and its rollout."""
    problem = Problem("set/test/1", row["problem"], row["gold"], "set")
    finished, length = row["want"]["finished"], len(row["text"])
    codec = StepCodec(separator=separator_of(row["step_rule"]), max_length=100_000)
    verifier = ShareRead(tokenizer, codec)

    generator = writer(row, limit=100_000 if finished else length)
    ((rollout,),) = RolloutSource(generator, seed=0).take([Request(problem, (), 1)])
    trace = trace_from_rollout(rollout, (), generator)

    if trace.steps:
        source = RolloutSource(students(row, trace.steps), seed=0)
        ((labeled,),) = run(MonteCarlo(2), [(problem, [trace])], source)
        counts = [(2 if 2 * i <= len(trace.steps) else 0, 2) for i in range(1, len(trace.steps) + 1)]
        assert labeled.counts == (*(counts[:-1] if finished else counts), *([(int(trace.correct), 1)] * finished))

        (example,) = prm_examples([LabeledRow(problem, labeled)], codec, tokenizer, "soft").examples
        assert len(example.step_ends) == len(trace.steps) == len(labeled.labels)
        assert tokenizer.decode(example.input_ids) == problem.prompt + "\n" + "".join(
            step + codec.separator for step in trace.steps
        )

    # The budget ends where the text was cut: step by step, every step has a limit of its own.
    for strategy, parameters in {"best_of_n": {}, "beam_search": {"width": 1, "max_steps": 100}}.items():
        if strategy == "beam_search" and row["step_rule"] == "thought":
            continue
        method = Method(strategy, STRATEGIES[strategy], "share", parameters)
        budget = Budget(1, None if finished else length)
        (found,) = search(method, [problem], writer(row, limit=100_000), verifier, budget, seed=0)
        if not trace.steps:
            assert (found.chosen, found.answer, found.correct) == (None, None, False)
            continue
        (candidate,) = found.candidates
        assert (candidate.steps, candidate.answer, candidate.correct, candidate.finished, candidate.status) == (
            trace.steps,
            trace.answer,
            trace.correct,
            trace.finished,
            trace.status,
        )
        assert found.chosen == (0 if trace.usable else None)
        assert [len(scores.steps) for scores in found.scores if scores] == [len(trace.steps)] * trace.usable
    return SimpleNamespace(trace=trace, outcome=rollout.outcome)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{i}-{row['kind']}") for i, row in enumerate(ROWS, 1)])
def test_a_text_is_read_as_a_person_reads_it(row, plain_tokenizer):
    want = row["want"]
    got = goes_through_the_chain(row, plain_tokenizer)
    trace = got.trace
    assert [step[: len(beginning)] for step, beginning in zip(trace.steps, want["steps"], strict=True)] == want["steps"]
    assert squeezed("".join(trace.steps)) == squeezed(row["text"])  # so each step ends where the next one begins
    assert (trace.answer, got.outcome, trace.finished) == (want["answer"], want["outcome"], want["finished"])
    assert trace.correct is (want["outcome"] == "correct")
    no_answer = "no_steps" if not trace.steps else "no_answer" if trace.finished else "truncated"
    assert trace.status == (no_answer if want["answer"] is None else "ok")

    assert split_steps(row["text"], row["step_rule"]) == trace.steps
    if want["finished"]:  # an answer that is served by others may run on
        assert answers.extract(row["text"] + row.get("run_on", "")).answer == want["answer"]


def test_a_long_chain_of_thought_is_grouped_into_steps(plain_tokenizer):
    thoughts = []
    for k in range(1, 41):
        thoughts.append(f"{'Wait' if k > 1 else 'Well'}, what about {k} * {k} + {k}? I have not tried this number yet.")
        thoughts += [f"Its half is {k * (k + 1) // 2}, number {i} of my list, and too small." for i in range(1, 6)]
    text = "\n\n".join([*thoughts, "So the number is 41, as 41 * 42 = 1722.", "The answer is \\boxed{41}."])
    row = {
        "problem": "Which positive number times its successor is 1722?",
        "gold": "41",
        "text": text,
        "step_rule": "thought",
        "want": {"finished": True},
    }
    got = goes_through_the_chain(row, plain_tokenizer)
    assert len(plain_tokenizer(text)["input_ids"]) > 3000
    assert [step.split("?")[0] for step in got.trace.steps[:-1]] == [
        f"{'Wait' if k > 1 else 'Well'}, what about {k} * {k} + {k}" for k in range(1, 41)
    ]
    assert got.trace.steps[-1] == "So the number is 41, as 41 * 42 = 1722.\n\nThe answer is \\boxed{41}."
    assert (got.trace.answer, got.outcome, got.trace.finished) == ("41", "correct", True)
