"""Finds problems of a training set that are also in a benchmark: by equal text, or by 13 words in a row in common.

    benchmarks = index_problems([("MATH-500", "What is the greatest common factor of ..."), ...])
    benchmarks.find("What is the GREATEST common factor of ...")    # Match("MATH-500", "What is the ...", "whole problem")

A problem counts as known if one of two tests succeeds:

- The whole problem is equal except for case and white space. Operators count, so "2 + 3" is not "2 - 3".
- n words in a row are equal, ignoring case, white space and punctuation (LaTeX's included). n = 13 as in GPT-3 (Brown
  et al. 2005.14165, appendix C). Numbers are words. Benchmark problems of fewer than n words have only the first test.

The second test removes too much rather than too little: problems made from one template may share 13 words. Every match
names the words, so that a person can judge it. Left out: paraphrases and translations, which no test of words finds.

The exemplars of a few-shot prompt are held against the problems to solve in the same way (`check_exemplars`).

Each problem is read once; the n-grams of the benchmarks are kept in a dictionary (tens of thousands for the test
problems of GSM8K and MATH-500).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prm.encoding.prompts import PromptTemplate
from prm.types import Problem

NGRAM = 13

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Match:
    """Why a problem counts as known."""

    benchmark: str
    problem: str
    """The benchmark's problem."""
    words: str
    """The words in common, or `whole problem`."""


@dataclass(frozen=True)
class BenchmarkIndex:
    """Problems of benchmarks, by whole text and by n-grams."""

    n: int
    problems: dict[str, tuple[str, str]]
    """Normalized text -> (benchmark, problem)."""
    ngrams: dict[str, tuple[str, str]]
    """n words -> (benchmark, problem): the first problem that contains them."""

    def find(self, text: str) -> Match | None:
        """The first match, or None."""
        known = self.problems.get(_whole(text))
        if known:
            return Match(*known, "whole problem")
        for words in _ngrams(text, self.n):
            if words in self.ngrams:
                return Match(*self.ngrams[words], words)
        return None


def index_problems(problems: Iterable[tuple[str, str]], n: int = NGRAM) -> BenchmarkIndex:
    """
    Args:
        problems: (name of the benchmark, text) of each problem.
        n: number of words in a row that must agree.
    """
    index = BenchmarkIndex(n, {}, {})
    for benchmark, text in problems:
        index.problems.setdefault(_whole(text), (benchmark, text))
        for words in _ngrams(text, n):
            index.ngrams.setdefault(words, (benchmark, text))
    return index


def check_exemplars(template: PromptTemplate, problems: Sequence[Problem]) -> None:
    """Refuse a prompt that shows the solution of a problem which is to be solved, or of one that is almost the same.

    Raises:
        ValueError: counts the exemplars and names the first one.
    """
    if not template.exemplars:
        return
    index = index_problems((problem.id, problem.prompt) for problem in problems)
    known = {problem: match for problem, _ in template.exemplars if (match := index.find(problem)) is not None}
    if known:
        problem, match = next(iter(known.items()))
        raise ValueError(
            f"{len(known)} of the {len(template.exemplars)} exemplars of the prompt are among the problems to solve, such as"
            f" {problem[:60]!r} ({match.benchmark}: {match.words[:80]}); take exemplars from other problems (`ids`, `seed`"
            " or another file), or leave these problems out"
        )


def _whole(text: str) -> str:
    return "".join(text.casefold().split())


def _ngrams(text: str, n: int) -> Iterator[str]:
    words = _WORD.findall(text.casefold())
    for start in range(len(words) - n + 1):
        yield " ".join(words[start : start + n])
