"""One problem that is longer than the context among others: it is a row that says so, and the run goes on."""

import pytest

from prm.generators import NO_ROOM, generate_what_fits
from prm.generators.chat import GeneratorCritic, Question
from prm.generators.scripted import ScriptedGenerator
from prm.labelers import PLANNERS, run
from prm.sampling.rollouts import Request, RolloutSource
from prm.sampling.traces import trace_from_rollout
from prm.search.driver import search
from prm.search.methods import default_methods, parse_method
from prm.storage.rows import row_to_trace, trace_to_row
from prm.types import Budget, Problem, Scores, Trace

SHORT = Problem("p/short", "What is 1 + 1?", "2", "p")
LONG = Problem("p/long", "What is 1 + 1? " * 10, "2", "p")
STEPS = ("1 + 1 = 2", "so it is 2", "#### 2")


class Small(ScriptedGenerator):
    """Has room for 60 characters, and refuses more as every engine does."""

    context = 60

    def __init__(self):
        super().__init__(lambda prefix, seed: "#### 2" if "= 2" in prefix else "1 + 1 = 2\n#### 2", name="small")

    def generate(self, prefixes, seeds, until="end", limits=None, **settings):
        for prefix in prefixes:
            if len(prefix) >= self.context:
                raise ValueError(f"a prefix of {len(prefix)} tokens fills the model's context of {self.context}")
        return super().generate(prefixes, seeds, until, limits, **settings)


class Sure:
    name, kind, num_parameters = "sure", "prm", 0

    def score_batch(self, prompts, steps_N):
        return [Scores((1.0,) * len(steps), 1.0) for steps in steps_N]


@pytest.mark.parametrize("order", [(SHORT, LONG), (LONG, SHORT), (LONG,)])
def test_sampling(order):
    generator = Small()
    source = RolloutSource(generator, 0)
    found = source.take([Request(problem, (), 2) for problem in order])
    traces = {p.id: [trace_from_rollout(r, (), generator) for r in its] for p, its in zip(order, found, strict=True)}
    assert [(t.status, t.correct, t.steps) for t in traces["p/long"]] == [("too_long", False, ())] * 2
    assert [(t.status, t.correct) for t in traces.get("p/short", [])] == [("ok", True)] * 2 * (len(order) - 1)
    row = trace_to_row(LONG, traces["p/long"][0])
    assert row_to_trace("x:1", row).trace == traces["p/long"][0]


@pytest.mark.parametrize("method", PLANNERS)
def test_a_step_after_which_nothing_fits_has_no_label(method):
    """A rollout that could not begin is no evidence that the step is bad."""
    long_step = "1 + 1 = 2, " * 5
    trace = Trace(SHORT.id, (STEPS[0], long_step, STEPS[2]), "2", True, num_tokens=9)
    (labeled_N,) = run(PLANNERS[method](), [(SHORT, [trace])], RolloutSource(Small(), 0))
    for labeled in labeled_N:
        assert False not in labeled.labels
    assert labeled_N or method == "omega_prm"  # which makes its own traces


@pytest.mark.parametrize(
    "words", [*default_methods({"prm": "prm"}, 4), "rebase prm", "mcts prm", "particle_filtering prm"]
)
def test_search(words):
    method = parse_method(words, ["prm"])
    found = {its.problem_id: its for its in search(method, [LONG, SHORT], Small(), Sure(), Budget(4), 0)}
    assert found[LONG.id].chosen is None or not found[LONG.id].candidates[found[LONG.id].chosen].usable
    assert found[LONG.id].cost.generated_tokens == 0
    assert {trace.status for trace in found[LONG.id].candidates} <= {"too_long"}
    assert found[SHORT.id].candidates[found[SHORT.id].chosen].correct


def test_judging():
    answers = []
    questions = [Question(f"t#{i}", f"k{i}", 0, 7, prompt) for i, prompt in enumerate(("Right?", "Right? " * 20))]
    GeneratorCritic(Small()).ask(questions, answers.extend)
    assert [(its.key, its.finished, its.text) for its in answers] == [
        ("k0", True, "1 + 1 = 2\n#### 2"),
        ("k1", False, ""),
    ]


def test_limits_and_order_are_those_of_the_prefixes_that_fit():
    generator = Small()
    prefixes = [[65] * 70, [65] * 3, [65] * 60, [65] * 4]
    found = generate_what_fits(generator, prefixes, [1, 2, 3, 4], [5, 4, 3, 2])
    assert [len(its.token_ids) for its in found] == [0, 4, 0, 2]
    assert found[0] is found[2] is NO_ROOM
    assert [seed for _, seed in generator.calls] == [2, 4]
