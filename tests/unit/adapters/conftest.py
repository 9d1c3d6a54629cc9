"""A verifier whose scores stand in the steps, so that every expected number can be read off the text."""

import pytest

from prm.adapters.texts import TextVerifier, load_text_verifier

READER = '''
import re
from prm.types import Scores

class Reader:
    """Scores "2 + 2 = 4 [0.9]" with 0.9, and a step without a number as the one before it. Reads up to 4 steps."""

    name, kind, num_parameters = "reader-1", "prm", 0

    def score_batch(self, prompts, steps_N):
        assert all(prompt.startswith("Add") for prompt in prompts), prompts
        return [self.scores(steps) for steps in steps_N]

    def scores(self, steps):
        scores = [0.5]
        for step in steps:
            found = re.search(r"\\[(.*)\\]", step)
            scores.append(float(found[1]) if found else scores[-1])
        return Scores(tuple(scores[1:]), scores[-1]) if len(steps) <= 4 else None
'''


@pytest.fixture(scope="session")
def reader(tmp_path_factory) -> str:
    """What names it on a command line."""
    path = tmp_path_factory.mktemp("verifier") / "reader.py"
    path.write_text(READER, encoding="utf-8")
    return f"{path}:Reader"


@pytest.fixture
def judge(reader) -> TextVerifier:
    return load_text_verifier(reader, "line")
