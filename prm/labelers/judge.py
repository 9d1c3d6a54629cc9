"""Judge: labels from a language model that looks for the first wrong step of a trace.

Every trace is one question (`prm.labelers.judge_prompt`) and needs `votes` readable answers; the verdict is the step named
most often. If an answer is cut or has no verdict, another one is requested with a new seed, up to `retries` times per
trace. Which answers count depends on their numbers alone, not on the order in which they come, so a run that was killed
and restarted ends with the same labels. Traces with the same text are one case, which is asked once.

    steps      47 + 38 = 85      85 - 12 = 63      #### 63
    verdict    first error 1
    labels     good              bad               none

Labels mean correctness. Steps after the first error have none: the judge has not looked at them, and a step that
follows from an error is neither right nor wrong. Traces without labels, by status:

    unparsed        too few readable answers
    tie             no step has more votes than all others
    missed_error    the judge finds no error, but the final answer is wrong, so there is one

Left out: soft labels. The share of votes is not a probability, and Qwen's hard consensus labels beat soft ones (2501.07301).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prm.generators import derive_seed
from prm.generators.chat import Answer, Question
from prm.labelers.judge_prompt import judge_prompt, read_verdict
from prm.types import LabeledTrace, Problem, Trace, labels_to_first_error


@dataclass(frozen=True)
class _Reading:
    """What is kept of an answer. Its text is not, because all texts together may be many gigabytes."""

    first_error: int | None
    finished: bool
    prompt_tokens: int
    generated_tokens: int


class Judge:
    """Collects a critic's answers about some traces: knows which ones are missing, and what the others say."""

    def __init__(
        self, cases: Sequence[tuple[Problem, Trace]], *, votes: int = 1, retries: int = 3, seed: int = 0
    ) -> None:
        """
        Args:
            cases: the traces to judge, with their problems.
            votes: number of readable answers per trace.
            retries: number of further answers per trace, to replace unreadable ones.
            seed: seed of the run; the seed of an answer is derived from it, the prompt and the answer's number.
        """
        if votes < 1 or retries < 0:
            raise ValueError(f"votes is {votes} and retries {retries}; a verdict needs a vote, retries are 0 or more")
        self.votes = votes
        self.retries = retries
        self.seed = seed
        self._cases: dict[str, tuple[str, str, int]] = {}  # key -> (id of the first such trace, prompt, steps)
        for problem, trace in cases:
            prompt = judge_prompt(problem.prompt, trace.steps)
            self._cases.setdefault(_key(prompt), (trace.id, prompt, len(trace.steps)))
        self._readings: dict[str, dict[int, _Reading]] = {key: {} for key in self._cases}

    @property
    def method(self) -> str:
        return f"judge@{self.votes}"

    def __len__(self) -> int:
        """Number of cases, i.e. of traces with different texts."""
        return len(self._cases)

    def add(self, answers: Sequence[Answer]) -> None:
        """Take answers of this run or an earlier one; those about other traces are ignored."""
        for answer in answers:
            if answer.key in self._cases:
                first_error = read_verdict(answer.text, self._cases[answer.key][2]) if answer.finished else None
                self._readings[answer.key][answer.index] = _Reading(
                    first_error, answer.finished, answer.prompt_tokens, answer.generated_tokens
                )

    def questions(self) -> list[Question]:
        """The questions to ask now; empty if every verdict is known."""
        return [
            Question(trace_id, key, index, derive_seed(self.seed, "judge", key, index), prompt)
            for key, (trace_id, prompt, _) in self._cases.items()
            for index in self._wanted(key)
            if index not in self._readings[key]
        ]

    def verdict(self, problem: Problem, trace: Trace) -> int | str:
        """Index of the first wrong step, -1 if there is none; or a status, `unparsed` or `tie`."""
        key = _key(judge_prompt(problem.prompt, trace.steps))
        readings = [self._readings[key][index] for index in self._wanted(key)]
        votes = Counter(reading.first_error for reading in readings if reading.first_error is not None)
        if votes.total() < self.votes:
            return "unparsed"
        (first_error, most), *others = votes.most_common()
        return "tie" if others and others[0][1] == most else first_error

    def report(self) -> dict[str, Any]:
        """What the verdicts cost, in this run or earlier ones."""
        counted = [self._readings[key][i] for key in self._cases for i in self._wanted(key) if i in self._readings[key]]
        unreadable = [reading for reading in counted if reading.first_error is None]
        return {
            "judged": len(self),
            "answers": len(counted),
            "retries": max(0, len(counted) - self.votes * len(self)),
            "unparsable": {
                "cut": sum(not reading.finished for reading in unreadable),
                "no_verdict": sum(reading.finished for reading in unreadable),
            },
            "prompt_tokens": sum(reading.prompt_tokens for reading in counted),
            "generated_tokens": sum(reading.generated_tokens for reading in counted),
        }

    def _wanted(self, key: str) -> range:
        """Numbers of the answers that decide a case, as far as the known answers show."""
        # Begin with `votes` answers. When all of these are known, extend the range by as many as were unreadable.
        readings, count = self._readings[key], self.votes
        while all(index in readings for index in range(count)):
            readable = sum(readings[index].first_error is not None for index in range(count))
            enough = min(count + self.votes - readable, self.votes + self.retries)
            if enough == count:
                break
            count = enough
        return range(count)


def judged(trace: Trace, verdict: int | str, method: str) -> LabeledTrace | str:
    """The trace with labels, or the status that says why it has none."""
    if isinstance(verdict, str):
        return verdict
    if verdict < 0 and trace.correct is False:
        return "missed_error"
    return label_first_error(trace, verdict, method)


def label_first_error(trace: Trace, first_error: int, method: str) -> LabeledTrace:
    """Labels: good before the first error, bad there, none after it; all good if it is -1."""
    labels = labels_to_first_error(len(trace.steps), first_error)
    return LabeledTrace(trace, labels, None, None, method, "correctness")


def _key(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]
