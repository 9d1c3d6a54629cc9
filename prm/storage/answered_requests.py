"""AnsweredRequests: what generator and verifier answered in a search, by request, in memory and in a file if one is given.

Two uses. Methods that ask for the same thing (the pool of independent samples, its scores) get the same answer, made once.
And a killed search loses one batch at most: started again, its strategies ask the same questions and are answered from
the file until they reach what nobody has asked yet.

One line of the file for a drawn trace, shortened, and one for the scores of a request:

    {"drawn": "5be1...", "trace": {"problem_id": "arithmetic/test/7", "steps": ["47 + 38 = 85", "#### 85"], ...},
     "token_ids": [31, 9, 25], "stop": "answer", "prefill": 14, "keeps": true, "asked": 0, "seconds": 0.02}
    {"scored": "9f2c...", "problem_id": "arithmetic/test/7", "scores": [[[0.9, 0.8], 0.8, 23, 0, [8, 17, 23], [], []]],
     "read": 23, "seconds": 0.1}
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.storage.journal import Journal
from prm.types import Continuation, Cost, Scores, Trace

FORMAT = 4
"""Of the file; 1 did not say to which problem scores belong, 2 not where steps end in the verifier's tokens, 3 neither
whether the generator keeps what it reads nor how sure scores are."""


@dataclass(frozen=True)
class Drawn:
    """A trace with what was sampled last, and its share of the seconds of its batch."""

    trace: Trace
    continuation: Continuation
    """Without its text, which is in the trace."""
    seconds: float


@dataclass(frozen=True)
class Scored:
    """The scores of one request, and its share of the seconds of its batch."""

    problem_id: str
    scores: tuple[Scores | None, ...]
    read: int
    """Tokens that were new to the search that asked first."""
    seconds: float


class AnsweredRequests:
    """Answers by the key of their request (`request_key`)."""

    def __init__(self, path: str | Path | None = None, header: dict[str, Any] | None = None) -> None:
        """
        Args:
            path: file that keeps the answers, read if it is there.
            header: everything that changes an answer: generator, verifiers, seed.

        Raises:
            ValueError: the file was written with another header.
        """
        self.drawn: dict[str, Drawn] = {}
        self.scored: dict[str, Scored] = {}
        self.costs: defaultdict[str, Cost] = defaultdict(Cost)
        """Tokens and seconds of these answers by problem, without those that were taken from another file."""
        self._journal = None if path is None else Journal(path, _with_format(header or {}), "Give another --output_dir")
        for row in self._journal.rows() if self._journal else ():
            self._remember(*_read(row))

    def take(self, path: Path, header: dict[str, Any]) -> None:
        """Take the answers of another file; they are not written again.

        Raises:
            ValueError: no such file, or it was written with another header.
        """
        if not path.is_file():
            raise ValueError(
                f"{path} does not exist; its run was cut short before, or had fewer problems: search those without it"
            )
        for row in Journal(path, _with_format(header), "Leave --reuse out").rows():
            drawn, scored = _read(row)
            self.drawn |= drawn
            self.scored |= scored

    def add(self, drawn: Mapping[str, Drawn], scored: Mapping[str, Scored]) -> None:
        """Remember the answers of one batch; they are on disk when this returns, if there is a file."""
        self._remember(drawn, scored)
        if self._journal:
            rows = [_drawn_row(key, one) for key, one in drawn.items()]
            rows += [
                {
                    "scored": key,
                    "problem_id": one.problem_id,
                    "scores": [scores and tuple(vars(scores).values()) for scores in one.scores],
                    "read": one.read,
                    "seconds": one.seconds,
                }
                for key, one in scored.items()
            ]
            self._journal.append(self._journal.next, rows)

    def _remember(self, drawn: Mapping[str, Drawn], scored: Mapping[str, Scored]) -> None:
        self.drawn |= drawn
        self.scored |= scored
        for one in drawn.values():
            sampled = len(one.continuation.token_ids)
            self.costs[one.trace.problem_id] += Cost(generated_tokens=sampled, seconds=one.seconds)
        for its in scored.values():
            self.costs[its.problem_id] += Cost(verifier_tokens=its.read, seconds=its.seconds)


def request_key(*parts: Any) -> str:
    """Twenty hex digits that name a request: equal ones have equal parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def _with_format(header: dict[str, Any]) -> dict[str, Any]:
    return header | {"format": FORMAT}


def _read(row: dict[str, Any]) -> tuple[dict[str, Drawn], dict[str, Scored]]:
    if "drawn" in row:
        trace = Trace(**row["trace"] | {"steps": tuple(row["trace"]["steps"])})
        counts = row["prefill"], row["keeps"], row["asked"]
        continuation = Continuation(tuple(row["token_ids"]), "", row["stop"], *counts)
        return {row["drawn"]: Drawn(trace, continuation, row["seconds"])}, {}
    scores = tuple(
        # Three lists at the end, or two in files from before verifiers could write.
        values and Scores(tuple(values[0]), *values[1:4], *map(tuple, values[4:]))  # type: ignore[call-arg]
        for values in row["scores"]
    )
    return {}, {row["scored"]: Scored(row["problem_id"], scores, row["read"], row["seconds"])}


def _drawn_row(key: str, drawn: Drawn) -> dict[str, Any]:
    continuation = drawn.continuation
    return {
        "drawn": key,
        "trace": vars(drawn.trace),
        "token_ids": list(continuation.token_ids),
        "stop": continuation.stop,
        "prefill": continuation.prefill,
        "keeps": continuation.keeps,
        "asked": continuation.asked,
        "seconds": drawn.seconds,
    }
