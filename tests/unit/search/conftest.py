import itertools

import pytest


@pytest.fixture
def saved(tmp_path):
    """`saved(policy)` -> the path of its file; of a calibration, too."""
    numbers = itertools.count()

    def save(its):
        path = tmp_path / f"{next(numbers)}.json"
        its.save(path)
        return str(path)

    return save
