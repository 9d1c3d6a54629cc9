"""Revision data from checked traces: what a reviser and its verifier learn from (Snell et al. 2024, 2408.03314, sec. 6).

A reviser's example is a right trace after 0 to 4 wrong ones of the same problem. Their number is drawn uniformly; the last
one is the nearest to the right one by edit distance in characters, so that there is something to mend, and the others are
drawn at random. They are independent samples: that one was written after the other is pretended.

    prompt    Start with 47, add 38.          target    47 + 38, carry 1 = 85
              47 + 39 = 86                              #### 85
              #### 86
              47 + 38 = 75
              #### 75
              Start with 47, add 38.          (with blank lines between them: prm.encoding.revisions)

A verifier that is to read the history of an attempt learns from whole chains, right and wrong, as a reviser wrote them.

A row is a trace row whose prompt shows the attempts, with two more columns: their number, and the split of the problem,
because the hash of a prompt with attempts would spread a problem over all splits. Left out: right attempts in a reviser's
prompt (the published recipe has none, and so a reviser spoils some right answers), and training it on its own chains,
which made long chains worse.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from prm.datasets.splits import split_of
from prm.encoding.revisions import MEMORY, attempt_text, revision_prompt, shown
from prm.storage.rows import trace_to_row
from prm.types import Problem, Trace


def revision_examples(
    problem: Problem, traces: Sequence[Trace], seed: int
) -> Iterator[tuple[tuple[Trace, ...], Trace]]:
    """(attempts, target): one example for each right trace; none if the problem has no right or no wrong one.

    Args:
        traces: of this problem. Those that state no answer, or could not be checked, are neither right nor wrong.
        seed: of the run; what is drawn for a trace follows from it and the trace's id.
    """
    wrong = [trace for trace in traces if trace.usable and trace.correct is False]
    distance = cache(edit_distance)  # many traces of a problem are equal
    for target in (trace for trace in traces if trace.usable and trace.correct and wrong):
        rng = random.Random(f"{seed}/{target.id}")
        count = min(rng.randint(0, MEMORY), len(wrong))
        attempts: tuple[Trace, ...] = ()
        if count:
            text = attempt_text(target)
            near = min(range(len(wrong)), key=lambda i: distance(attempt_text(wrong[i]), text))
            attempts = (*rng.sample(wrong[:near] + wrong[near + 1 :], count - 1), wrong[near])
        yield attempts, target


def chain_examples(candidates: Sequence[Trace], chains: int, memory: int) -> Iterator[tuple[tuple[Trace, ...], Trace]]:
    """(attempts that it was shown, attempt) of everything that a search by revisions wrote and could check.

    Args:
        candidates: of one problem, in the order of the search: an attempt of each chain, then the next of each.
    """
    for i, trace in enumerate(candidates):
        if trace.usable and trace.correct is not None:
            yield shown(candidates[i % chains : i : chains], memory), trace


def revision_row(problem: Problem, attempts: Sequence[Trace], target: Trace) -> dict[str, Any]:
    asked = replace(problem, prompt=revision_prompt(problem.prompt, attempts))
    return trace_to_row(asked, target) | {"attempts": len(attempts), "split": split_of(problem.prompt)}


def edit_distance(a: str, b: str) -> int:
    """How many characters to insert, delete or replace to make `b` of `a` (Levenshtein).

    A column of the usual table is two integers, one bit per character of `a`: where it rises, and where it falls, against
    the cell above. So a column takes a few operations instead of a loop (Myers 1999, in the form of Hyyrö 2003), which is
    what makes millions of pairs possible without a library.

    >>> edit_distance("47 + 38 = 75", "47 + 38, carry 1 = 85")
    10
    """
    if not a:
        return len(b)
    places: dict[str, int] = {}
    for i, character in enumerate(a):
        places[character] = places.get(character, 0) | 1 << i
    column, bottom = (1 << len(a)) - 1, 1 << (len(a) - 1)
    rises, falls, distance = column, 0, len(a)
    for character in b:
        same = places.get(character, 0)
        kept = (((same & rises) + rises) ^ rises) | same | falls  # where the way goes on along the diagonal for free
        right_up, right_down = falls | ~(kept | rises) & column, rises & kept
        distance += bool(right_up & bottom) - bool(right_down & bottom)
        right_up, right_down = right_up << 1 | 1, right_down << 1
        rises, falls = (right_down | ~(kept | right_up)) & column, right_up & kept & column
    return distance
