"""Labels of methods are short and unique, and a legend has what they leave out."""

import pytest

from prm.evaluation.labels import describe
from prm.evaluation.sections import legend
from prm.types import Cost, SearchResult


def described(*methods):
    """Of `strategy verifier[settings]`."""
    results = []
    for method in methods:
        words, bracket, settings = method.partition("[")
        strategy, _, verifier = words.partition(" ")
        name = (f"{verifier}_{strategy}" if verifier else strategy) + bracket + settings
        results.append(SearchResult("p", name, strategy, verifier or None, (), (), None, False, Cost()))
    return describe(results)


@pytest.mark.parametrize(
    ("methods", "labels"),
    [
        (["majority", "best_of_n prm", "mcts mine"], ["majority vote", "PRM best-of-N", "mine MCTS"]),
        # What only one has needs no telling apart, except for a number of samples.
        (["cascade prm[cheap=orm,keep=2]"], ["PRM cascade"]),
        (["majority[samples=64]"], ["majority vote [samples=64]"]),
        # What all have is no difference.
        (
            ["dvts prm", "rebase prm[width=4,vote=true]", "rebase prm[width=8,vote=true]"],
            ["PRM DVTS", "PRM REBASE [width=4]", "PRM REBASE [width=8]"],
        ),
        (["rebase prm", "rebase prm[width=8]"], ["PRM REBASE", "PRM REBASE [width=8]"]),
        # The same settings with another verifier.
        (["rebase prm[width=8]", "rebase orm[width=8]"], ["PRM REBASE", "ORM REBASE"]),
        # Paths: the file's name, unless two have the same; one with a comma.
        (
            ["adaptive_best_of_n prm[calibration=runs/a.json]", "adaptive_best_of_n prm[calibration=runs/b.json]"],
            ["PRM adaptive best-of-N [calibration=a.json]", "PRM adaptive best-of-N [calibration=b.json]"],
        ),
        (
            ["adaptive_best_of_n prm[calibration=x/a.json]", "adaptive_best_of_n prm[calibration=y,2/a.json]"],
            ["PRM adaptive best-of-N [calibration=x/a.json]", "PRM adaptive best-of-N [calibration=y,2/a.json]"],
        ),
    ],
)
def test_labels(methods, labels):
    assert [its["label"] for its in described(*methods).values()] == ["single sample", "pass@N (ceiling)", *labels]


def test_words_are_those_of_a_command_line():
    its = described("cascade prm[cheap=orm,keep=2]", "majority")
    assert its["prm_cascade[cheap=orm,keep=2]"]["words"] == "cascade prm cheap=orm keep=2"
    assert its["majority"]["words"] == "majority"
    assert its["single"]["words"] is None


def test_the_legend_has_what_labels_leave_out():
    methods = described("cascade prm[cheap=orm,keep=2]", "majority[samples=64]", "dvts prm[width=4]", "dvts prm")
    assert legend({"methods": methods}) == " PRM cascade is `cascade prm cheap=orm keep=2`."
    assert legend({"methods": described("majority", "best_of_n prm")}) == ""
