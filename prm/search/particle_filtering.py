"""Particle filtering (Puri et al. 2025, arXiv:2502.01618), with systematic resampling, and its entropic form (2510.05825).

N traces grow side by side. After every step they are resampled: trace i is copied about N x p_i times, where

    p_i  =  w_i^(1/T) / sum_j w_j^(1/T),     w = score / (1 - score)

So the traces are a sample of what the generator would write if it were weighed by the verifier, instead of a search for the
highest score: one that looks bad still goes on now and then. An ended trace keeps its score and is resampled with the
others. Systematic resampling (one random number for all, Kitagawa 1996) copies i at least floor(N p_i) times.

Verifiers are overconfident early, and then few traces survive the first steps. The entropic form raises T while this is so:
where the effective number of traces, 1 / sum p^2, is below N/2 in the first half of `max_steps`,

    T  =  max(1, (1 - depth / max_steps) x N x sum p^2),     else T = 1

    generated tokens  <=  N x depth x tokens of a step
    verifier calls    <=  N x depth; equal traces are scored once and remain several candidates, because their number counts
    verifier tokens   <=  the prompt and every step once, if the verifier keeps what it has read (`prm.costs`)

Differences: nothing is resampled once all have ended, as this would only lose candidates; if no trace has an answer at the
end, those that ended on the way and were not copied are candidates, too. Left out: Gibbs iterations, lookahead modulation.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from prm.search.requests import Search
from prm.search.tree import Node, conclude, expand, root
from prm.types import Budget, Problem

EDGE = 1e-7
"""Scores are taken to be at least this far from 0 and 1, where the weight would be 0 or infinite."""


def particle_filtering(
    problem: Problem, budget: Budget, seed: int, entropic: bool = False, max_steps: int = 40, vote: bool = True
) -> Search:
    """N is `budget.samples`.

    Args:
        entropic: anneal the resampling while few traces have most of the weight.
        max_steps: what is still open after so many steps is cut off.
        vote: choose by the weighted vote over the traces, or by the highest score.
    """
    particles = [root(problem)] * budget.samples
    ended: list[Node] = []
    for depth in range(1, max_steps + 1):
        working = [i for i, particle in enumerate(particles) if particle.open]
        children = yield from expand([particles[i] for i in working], ("particles", depth - 1))
        for i, child in zip(working, children, strict=False):
            particles[i] = child
        ended += [child for child in children if child.trace.usable]
        spent = len(children) < len(working)
        if spent or not any(particle.open for particle in particles):
            break
        weights = [odds(particle) for particle in particles]
        if entropic:
            temperature = annealed(weights, depth / max_steps)
            weights = [weight ** (1 / temperature) for weight in weights]
        coin = random.Random(f"{seed}/{problem.id}/{depth}").random()
        particles = [particles[i] for i in systematic(weights, coin)]
    # An answer that was not copied is better than none.
    some = any(particle.trace.usable for particle in particles)
    return conclude(particles if some else [*ended, *particles], problem, budget, seed, vote)


def odds(particle: Node) -> float:
    """The weight of a particle; 0 if it has no score, because it can never be chosen."""
    if particle.scores is None:
        return 0.0
    score = min(max(particle.score, EDGE), 1 - EDGE)
    return score / (1 - score)


def annealed(weights: Sequence[float], progress: float) -> float:
    """The temperature of the entropic form.

    >>> annealed([97, 1, 1, 1], progress=0.25)
    2.8236
    >>> annealed([1, 1, 1, 1], progress=0.25), annealed([97, 1, 1, 1], progress=0.5)
    (1.0, 1.0)
    """
    shares = [weight / math.fsum(weights) for weight in weights]
    concentration = len(weights) * math.fsum(share**2 for share in shares)  # N over the effective number
    return max(1.0, (1 - progress) * concentration) if concentration > 2 and progress < 0.5 else 1.0


def systematic(weights: Sequence[float], coin: float) -> list[int]:
    """Indices of the particles that go on, as many as there are; each about in proportion to its weight.

    Args:
        weights: at least one is above 0.
        coin: a uniform number in [0, 1).

    >>> systematic([2, 5, 1, 0], coin=0.5)
    [0, 1, 1, 2]
    """
    n, ends = len(weights), list(accumulate(weights))
    # Marks at (coin + 0, 1, 2, ...) / n of the whole: each copies the particle on whose stretch it lies.
    return [min(bisect_right(ends, (coin + k) / n * ends[-1]), n - 1) for k in range(n)]
