"""Step-level beam search against a verifier (Snell et al. 2024, arXiv:2408.03314, sec. 5.2).

Sample N first steps, score them, keep the best N/M; sample M next steps from each, score, keep the best N/M; and so on
until every beam has ended. Choose the finished candidate with the highest score.

Candidates are *sampled*, so equal ones happen: they are scored once and only distinct ones are kept. A finished candidate
keeps its place, so at most N are ever finished or in work, and the generated tokens are at most those of N samples of the
same depth.
"""

from __future__ import annotations

from prm.sampling.traces import open_trace
from prm.search.requests import Expand, Found, Search, best, score_readable
from prm.types import Budget, Problem, Scores, Trace


def beam_search(problem: Problem, budget: Budget, seed: int, width: int = 4, max_steps: int = 40) -> Search:
    """N is `budget.samples`.

    Args:
        width: M, the continuations of each kept beam; N/M beams are kept.
        max_steps: what is still open after so many steps is cut off.
    """
    if not 1 <= width <= budget.samples:
        raise ValueError(
            f"beam search with width {width} needs a budget of at least as many samples, not {budget.samples}"
        )
    ended: dict[Trace, Scores | None] = {}
    working = {open_trace(problem): Scores((), 0.0)}
    for depth in range(max_steps):
        # The best N/M go on; ended beams keep their places, so the others share what is left.
        kept = sorted(working, key=lambda beam: -working[beam].trace)[: max(1, budget.samples // width)]
        room = budget.samples - len(ended)
        if not kept or not room:
            break
        children = yield Expand([kept[i % len(kept)] for i in range(room)], key=("beam", depth))
        if not children:  # the budget is spent: what was kept is all there is
            break

        # Equal children are one candidate, scored once; one without any step is no candidate.
        by_steps: dict[tuple[str, ...], Trace] = {}
        for child in children:
            by_steps.setdefault(child.steps, child)
        distinct = [child for child in by_steps.values() if child.steps]
        scores_N = yield from score_readable(distinct)
        working = {}
        for child, scores in zip(distinct, scores_N, strict=True):
            if child.status == "open" and scores is not None:
                working[child] = scores
            else:
                ended[child] = scores
    candidates = [beam for beam in (*ended, *working) if beam.steps]
    scores_N = [(ended | working)[beam] for beam in candidates]
    return Found(candidates, scores_N, best(candidates, scores_N))
