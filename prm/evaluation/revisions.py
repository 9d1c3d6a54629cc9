"""What happens along chains of revisions: how good each attempt is, which right ones are spoiled, which wrong ones mended.

The candidates of a search by `revisions` with C chains are the first attempt of every chain, then the second of every
chain, ...: chain c is candidates[c::C]. An attempt without an answer is wrong.

    chain of four attempts     wrong, right, right, wrong
    pairs                      wrong -> right (mended), right -> right, right -> wrong (spoiled)
    spoiled 1 of 2 right ones, mended 1 of 1 wrong one
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from prm.evaluation.search_metrics import Estimate, bootstrap, bootstrap_ratio
from prm.types import SearchResult


def chains_of(result: SearchResult, chains: int) -> list[list[bool]]:
    """Whether each attempt of each chain is right."""
    return [[trace.correct is True for trace in result.candidates[chain::chains]] for chain in range(chains)]


def accuracy_by_attempt(results_P: Sequence[SearchResult], chains: int) -> list[Estimate]:
    """The share of right ones among first attempts, among second ones, ...; chains of a problem are averaged."""
    right_P = [chains_of(result, chains) for result in results_P]
    length = min(len(chain) for right in right_P for chain in right)
    return [bootstrap([sum(chain[k] for chain in right) / chains for right in right_P]) for k in range(length)]


def spoiled_and_mended(results_P: Sequence[SearchResult], chains: int) -> tuple[Estimate, Estimate]:
    """Of the right attempts that another one follows, the share whose next one is wrong; of the wrong ones, the share whose
    next one is right.

    Raises ValueError if there are no such attempts.
    """
    pairs_P = [[pair for chain in chains_of(result, chains) for pair in pairwise(chain)] for result in results_P]

    def share(before: bool) -> Estimate:
        changed = [sum(pair == (before, not before) for pair in pairs) for pairs in pairs_P]
        return bootstrap_ratio(changed, [sum(pair[0] is before for pair in pairs) for pairs in pairs_P])

    return share(True), share(False)
