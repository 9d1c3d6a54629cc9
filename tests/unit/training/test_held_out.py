"""What reinforcement learning does on problems it does not learn from: when it is measured, and the figures by hand."""

import json
from types import SimpleNamespace

import pytest

from prm.encoding.prompts import PromptTemplate
from prm.generators.scripted import ScriptedGenerator
from prm.sampling.traces import trace_seed
from prm.training import held_out
from prm.training.held_out import HeldOut, describe, measured
from prm.types import Problem, Scores
from prm.verifiers.rewards import RewardRule

PROBLEMS = {
    "validation": [
        Problem("v/0", "What is 1 + 1?", "2", "v"),
        *(Problem(f"v/{i}", "What is 3 + 1?", "4", "v") for i in (1, 2)),
    ],
    "test": [Problem("t/0", "What is 1 + 1?", "2", "t")],
}


class Verifier:
    name, kind, num_parameters = "half", "prm", 0

    def score_batch(self, prompts, steps_N):
        return [Scores((0.5,) * len(steps), 0.5) for steps in steps_N]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(verifier)` -> the callback, its generators, and the state and arguments of a Trainer at step 0 of 4."""
    made = []

    def engine(model, tokenizer, **settings):
        answer = {"1": "1 + 1 = 2\n#### 2", "3": "3 + 1 = 5"}
        made.append(ScriptedGenerator(lambda prefix, seed: answer[prefix.removeprefix("What is ")[0]]))
        made[-1].settings = settings
        return made[-1]

    monkeypatch.setattr(held_out, "HfGenerator", engine)

    def begin(verifier=None):
        callback = HeldOut(PROBLEMS, 2, 2, None, PromptTemplate("{prompt}\n"), RewardRule(), verifier, seed=7)
        state = SimpleNamespace(global_step=0, max_steps=4, log_history=[{"loss": 1.0}])
        args = SimpleNamespace(output_dir=str(tmp_path), temperature=0.7, top_p=0.9, max_completion_length=50)
        return callback, made, state, args

    return begin


def test_figures_of_a_split(run):
    callback, made, _, args = run(Verifier())
    row = callback.measure(None, "validation", args)
    assert row == {
        "problems": 3, "samples": 2, "pass@1": pytest.approx(1 / 3), "low": None, "high": None,
        "reward": pytest.approx(1 / 6), "faults": {"no_answer": 4 / 6}, "steps": pytest.approx(4 / 3),
        "tokens": pytest.approx((16 + 9 + 9) / 3),
    }  # fmt: skip
    (generator,) = made
    assert generator.settings == {
        "name": "policy",
        "template": PromptTemplate("{prompt}\n"),
        "step_rule": "line",
        "temperature": 0.7,
        "top_p": 0.9,
        "max_new_tokens": 50,
    }
    seeds = [trace_seed(7, problem, i) for problem in ("v/0", "v/1", "v/2") for i in range(2)]
    assert [seed for _, seed in generator.calls] == seeds
    assert not {"reward", "faults"} & set(run()[0].measure(None, "test", args))


def test_what_was_cut_is_unfinished(run, monkeypatch):
    callback, _, _, args = run(Verifier())
    cut = ScriptedGenerator(lambda prefix, seed: "1 + 1 = 2\n#### 2", max_new_tokens=12)
    monkeypatch.setattr(held_out, "HfGenerator", lambda *its, **settings: cut)
    assert callback.measure(None, "test", args)["faults"] == {"unfinished": 1.0}


def test_validation_is_measured_every_few_steps_and_test_before_and_after(run, tmp_path, capsys):
    callback, _, state, args = run()
    modes = []
    model = SimpleNamespace(training=True, train=modes.append)

    def steps():
        return [(row["step"], row["split"]) for row in measured(state.log_history)]

    ends = [(0, "validation"), (0, "test")]
    callback.on_train_begin(args, state, None, model=model)
    assert steps() == ends
    assert capsys.readouterr().out.startswith("step 0 of 4: validation pass@1 33.3%, 1.3 steps, ")
    for state.global_step in (1, 2, 3, 4):
        callback.on_step_end(args, state, None, model=model)
    assert steps() == [*ends, (2, "validation")]
    for _ in range(2):  # once
        callback.on_train_end(args, state, None, model=model)
        assert steps() == [*ends, (2, "validation"), (4, "validation"), (4, "test")]
    callback.on_train_begin(args, state, None, model=model)  # goes on from a checkpoint
    assert len(steps()) == 5
    rows = [json.loads(line) for line in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    assert rows == measured(state.log_history)
    assert {entry["step"] for entry in state.log_history[1:]} == {0, 2, 4}
    assert modes == [True] * 3  # sampling leaves the model as it was


def test_a_row_in_words():
    row = {"split": "test", "pass@1": 0.5, "low": None, "high": None, "steps": 1.25, "tokens": 9.6}
    assert describe(row) == "test pass@1 50.0%, 1.2 steps, 10 tokens"
    row |= {"low": 0.25, "high": 0.75, "reward": 0.125, "faults": {"empty": 0.5}}
    assert describe(row) == "test pass@1 50.0% [25.0%, 75.0%], reward 0.125, 1.2 steps, 10 tokens, 50.0% empty"
