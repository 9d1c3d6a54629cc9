"""A user's own strategy or verifier by file and name."""

import pytest

from prm.storage.user_code import load_object

FILE = """
from pathlib import Path
from statistics import fmean

LIMIT = 3

def first_wins(): return "first"

def first_winner(): return "second"

class Odd: pass
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_it_is_what_the_file_names(file):
    assert load_object(f"{file}:first_wins")() == "first"
    assert load_object(f"{file}:LIMIT") == 3
    with_colon = file.rename(file.with_name("10:30.py"))
    assert load_object(f"{with_colon}:first_wins")() == "first"


def test_a_name_that_is_not_there_is_told_from_those_that_the_file_defines(file):
    message = r"mine\.py has no 'first_win', did you mean 'first_wins'\? it defines first_wins, first_winner, Odd$"
    with pytest.raises(ValueError, match=message):
        load_object(f"{file}:first_win")
    with pytest.raises(ValueError, match=r"mine\.py has no 'fmeans'; it defines first_wins, first_winner, Odd$"):
        load_object(f"{file}:fmeans")  # imports are not its own
    file.write_text("LIMIT = 3\n")
    with pytest.raises(ValueError, match=r"has no 'x'; it defines no function and no class"):
        load_object(f"{file}:x")


def test_a_file_that_is_not_there_is_told_with_the_name(file):
    with pytest.raises(
        FileNotFoundError, match=r"missing\.py does not exist; check the path \('.*missing\.py:f' names 'f' in it\)"
    ):
        load_object(f"{file.parent}/missing.py:f")
