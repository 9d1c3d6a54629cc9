"""Where a check on a number draws its line: the outermost values that are taken, and the first ones that are refused."""

import math
from types import SimpleNamespace

import pytest

from prm.conversions import convert
from prm.costs import inference_multiple
from prm.datasets.problems import load_problems
from prm.evaluation.difficulty import quantile_edges
from prm.evaluation.search_metrics import best_of_n, weighted_vote_at_n
from prm.evaluation.step_metrics import processbench
from prm.labelers.adaptive import Adaptive
from prm.labelers.judge import Judge
from prm.labelers.monte_carlo import MonteCarlo
from prm.search import STRATEGIES
from prm.search.methods import parse_method
from prm.search.risk import safe_evidence
from prm.search.tree import branching
from prm.storage.rows import row_to_labeled
from prm.storage.search_rows import results_to_row, row_to_results
from prm.training.preflight import check_examples
from prm.types import Budget, Cost, Problem, SampledStep, Scores, SearchResult, Trace

PROBLEM = Problem("p", "1 + 1?", "2", "p")


def begin(strategy, samples=8, **parameters):
    """The first request of a search."""
    return next(STRATEGIES[strategy](PROBLEM, Budget(samples), 0, **parameters))


def processbench_row(label):
    row = {"problem": "1 + 1?", "steps": ["a", "b"], "label": label, "final_answer_correct": False, "id": "x"}
    return list(convert([("r:1", row)], "processbench"))


def prm800k_row(chosen):
    step = {"completions": [{"text": "a", "rating": 1}, {"text": "b", "rating": 1}], "chosen_completion": chosen}
    label = {"steps": [step], "finish_reason": "solution"}
    row = {"question": {"problem": "1 + 1?", "ground_truth_answer": "2"}, "label": label}
    return list(convert([("r:1", row)], "prm800k"))


def omega_row(value):
    steps = {"text": "", "children": [{"text": "a", "mc_value": value, "children": []}], "mc_value": 0.5}
    return list(convert([("r:1", {"question": "1 + 1?", "final_answer": "2", "reasoning_steps": steps})], "omega_prm"))


def labeled_row(value):
    row = {"prompt": "?", "completions": ["a"], "labels": [True], "values": [value], "semantics": "value"}
    return row_to_labeled("r:1", row)


def search_row(score=0.5, chosen=0, parent=0):
    trace = Trace("p", ("a",), "2", True, "g", True, 1, 1, 0)
    tree = (SampledStep(None, "a", 0.5, 1), SampledStep(0, "b", 0.5, 1))
    found = SearchResult("p", "v_x", "x", "v", (trace,), (Scores((0.5,), 0.5),), 0, False, Cost(), tree=tree)
    row = results_to_row(PROBLEM, [found], lambda answers: [0 for _ in answers])
    result = row["results"][0]
    result["scores"][0], result["chosen"], result["tree"]["parents"][1] = [score], chosen, parent
    return row_to_results("r:1", row)


def example(first=0, last=2, target=1.0):
    """Of three tokens that all end a step."""
    codec = SimpleNamespace(step_end_ids=lambda tokenizer: [7], marker=None, separator="\n")
    its = SimpleNamespace(input_ids=(7, 7, 7), step_ends=(first, last), targets=(0.0, target), steps=(0, 1))
    check_examples([SimpleNamespace(where="r:1")], [its], codec, SimpleNamespace(decode=str))


@pytest.mark.parametrize(
    ("take", "taken", "refused"),
    [
        (lambda n: MonteCarlo(rollouts=n), [1], [0, -1]),
        (lambda n: Adaptive(rollouts=n), [1], [0]),
        (lambda n: Adaptive(round=n), [1], [0]),
        (lambda x: Adaptive(tolerance=x), [0.001, 0.299], [0, 0.3]),
        (lambda x: Adaptive(lost=x), [0.001, 0.999], [0, 1]),
        (lambda n: Judge([], votes=n), [1], [0]),
        (lambda n: Judge([], votes=1, retries=n), [0], [-1]),
        (lambda x: inference_multiple(x, 1), [1], [0.99]),
        (lambda x: inference_multiple(2, x), [0.01], [0, -1]),
        (lambda n: best_of_n([0.1, 0.2], [True, False], n), [1, 2], [0, 3]),
        (lambda x: weighted_vote_at_n([0, 1], [0.5, x], 0, 1, 0), [0, 2.0], [-0.1, math.inf, math.nan]),
        (lambda n: quantile_edges([0.5], n), [1], [0]),
        (lambda n: processbench([[0.1, 0.2]], [n]), [-1, 1], [-2, 2]),
        (lambda n: load_problems("arithmetic", "test", n), [1], [0, -1]),
        (lambda n: branching(n, Budget(4)), [1, 4], [0, 5, "half"]),
        (lambda n: parse_method(f"majority samples={n}", []), [1], [0]),
        (lambda x: safe_evidence([(0.5, -1.0)], x), [0.001, 0.999], [0, 1]),
        (lambda x: begin("rebase", temperature=x), [0.001], [0, -1]),
        (lambda n: begin("cascade", cheap="v", keep=n), [1], [0]),
        (lambda n: begin("revisions", chains=n), [1, 8], [0, 3, 16]),
        (lambda n: begin("revisions", memory=n), [1], [0]),
        (processbench_row, [-1, 1], [-2, 2, True]),
        (prm800k_row, [0, 1], [-1, 2, "0"]),
        (omega_row, [0, 1, None], [-0.1, 1.1, "1"]),
        (labeled_row, [0, 1, None], [-0.1, 1.1, "1"]),
        (lambda x: search_row(score=x), [0, 1], [-0.1, 1.1]),
        (lambda n: search_row(chosen=n), [0, None], [-1, 1]),
        (lambda n: search_row(parent=n), [0, None], [-1, 1]),
        (lambda n: example(first=n), [0, 1], [-1, 2]),
        (lambda n: example(last=n), [1, 2], [0, 3]),
        (lambda x: example(target=x), [0, 1], [-0.1, 1.1]),
    ],
)
def test_a_check_of_a_number_takes_what_lies_on_its_line_and_nothing_beyond(take, taken, refused):
    for value in taken:
        take(value)
    for value in refused:
        with pytest.raises(ValueError, match=r"."):
            take(value)
