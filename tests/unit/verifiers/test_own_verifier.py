"""A verifier of one's own, named by its file: loaded, or refused with what it lacks."""

import pytest

from prm.verifiers import find_verifier, short_name

FILE = """
from prm.types import Scores


class Whole:
    name, kind, num_parameters = "whole", "prm", 0

    def score_batch(self, prompts, steps_N):
        return []


class Nameless:
    num_parameters = 0

    def score_batch(self, prompts, steps_N):
        return []


class Asking(Whole):
    def __init__(self, threshold):
        self.threshold = threshold


class Judge(Whole):
    kind = "judge"


def function():
    return Whole()
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(FILE)
    return f"{tmp_path / 'own.py'}:"


def test_it_needs_four_members_and_nothing_else(own):
    assert find_verifier(own + "Whole").name == "whole"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nameless", "own.py:Nameless lacks name, kind; a verifier has name, kind, num_parameters, score_batch"),
        ("Asking", "own.py:Asking must be made without arguments: missing a required argument: 'threshold'"),
        ("Judge", "own.py:Judge: its kind is 'judge'; it must be prm or orm"),
        ("function", "own.py:function is <function function .*>; a verifier is a class"),
        ("Whol", "own.py has no 'Whol', did you mean 'Whole'\\? it defines Whole, Nameless, Asking, Judge, function$"),
    ],
)
def test_it_is_refused_with_what_it_lacks(own, name, message):
    with pytest.raises(ValueError, match=message):
        find_verifier(own + name)


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path):
    (tmp_path / "prm").mkdir()
    with pytest.raises(FileNotFoundError, match=r"prmm does not exist, did you mean prm\?"):
        find_verifier(str(tmp_path / "prmm"))


@pytest.mark.parametrize("name", ["outputs/mine", "trl:org/mine", "my_file.py:mine", "outputs/mine@http://h:1/v1"])
def test_tables_call_a_verifier_by_its_folder_or_class(name):
    assert short_name(name) == "mine"
    assert short_name("outputs/mine@vllm-2") == "mine@vllm-2"
