r"""Decides two expressions within two answers of many: by fractions, else by their values, which a worker computes.

ByValue(5.0)(r"\sqrt{2}", r"\sqrt{3}")   ->  False
ByValue(5.0)(r"\sqrt{8}", r"2\sqrt{2}")  ->  None    equal as far as can be seen, so algebra must tell
ByValue(0.0)(r"\sqrt{2}", r"\sqrt{3}")   ->  None    by fractions only
"""

from __future__ import annotations

from prm.answers import workers
from prm.answers.algebra import equal_fractions
from prm.answers.fingerprints import are_apart, read_fingerprint, variables_of

MAX_KNOWN = 50_000

_known: dict[tuple[str, str], str] = {}
"""Expression and letters -> its fingerprint."""
_hung: dict[tuple[str, str], float] = {}
"""Those that took longer, and the longest deadline by which they did."""


class ByValue:
    """A leaf of `compare` for one pair of answers, which may spend so many seconds of a worker's processor time."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.seconds = 0.0
        """Spent so far."""
        self.hung = False
        """Whether an expression has no value within the deadline, so that algebra, which computes the same, cannot tell."""

    def __call__(self, gold: str, pred: str) -> bool | None:
        same = equal_fractions(gold, pred)
        if same is not None or not self.deadline or self.hung or (variables := variables_of(gold, pred)) is None:
            return same
        x = self._fingerprint(gold, variables)
        y = self._fingerprint(pred, variables) if x else ""
        a, b = read_fingerprint(x), read_fingerprint(y)
        return False if a is not None and b is not None and are_apart(gold, a, pred, b) else None

    def _fingerprint(self, text: str, variables: str) -> str:
        """ "" if it has none or cannot be had."""
        key = text, variables
        if (found := _known.get(key)) is not None:
            return found
        left = self.deadline - self.seconds
        if left <= _hung.get(key, 0.0):
            self.hung = key in _hung
            return ""
        found, seconds = workers.POOL.timed(text, variables, left, "fingerprint")
        self.seconds += seconds
        if len(_known) + len(_hung) >= MAX_KNOWN:
            _known.clear()
            _hung.clear()
        if found == "timeout":
            _hung[key], self.hung = left, True
            return ""
        _known[key] = "" if found == "error" else found
        return _known[key]
