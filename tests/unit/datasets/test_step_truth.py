import pytest

from prm.datasets import arithmetic
from prm.datasets.step_truth import ATTEMPTS, PROBLEMS, judged_students, step_truth
from prm.types import Problem


@pytest.mark.parametrize(
    ("source", "prompt", "labels"),
    [
        ("arithmetic", "Start with 47, add 38.", (True, True)),
        ("arithmetic_hard", "Start with 47, add 38.", (False, False)),  # nobody writes down a carry there
        ("gsm8k", "Start with 47, add 38.", None),
        ("arithmetic", "What is 47 + 38?", None),  # somebody's own file of this name
        ("arithmetic", "Start with 47, add 38. Then rest.", None),
    ],
)
def test_steps_are_judged_for_problems_of_the_embedded_sets_only(source, prompt, labels):
    problem = Problem("p", prompt, "85", source)
    assert step_truth(problem, ("47 + 38, carry 1 = 85", "#### 85")) == labels
    assert step_truth(problem, ("47 + 38 = 75", "#### 75")) == (None if labels is None else (False, False))


@pytest.mark.parametrize("name", arithmetic.SETS)
def test_judged_students(name):
    traces = list(judged_students(name))
    assert traces == list(judged_students(name))
    assert len({trace.id for trace in traces}) == len(traces) == PROBLEMS * ATTEMPTS
    problems = {problem.id: problem for problem in arithmetic.load("test", PROBLEMS, variant=arithmetic.SETS[name])}
    assert {trace.problem for trace in traces} == problems.keys()
    for trace in traces[:200]:
        assert trace.labels == step_truth(problems[trace.problem], trace.steps)
        assert trace.correct is (trace.steps[-1] == f"#### {problems[trace.problem].answer}")
    right = [trace for trace in traces if trace.correct]
    assert 0.2 < len(right) / len(traces) < 0.8
    assert any(False in trace.labels for trace in right), "some right answer has a wrong step"
    assert all(trace.correct for trace in traces if all(trace.labels))
