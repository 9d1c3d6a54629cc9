"""A pool of independent candidates per problem, scored: what majority, best-of-N and weighted voting choose from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prm.costs import forward_flops
from prm.generators import Generator
from prm.sampling.traces import sample_traces
from prm.types import Budget, Cost, Problem, SearchResult, Trace
from prm.verifiers import Verifier


@dataclass(frozen=True)
class Pool:
    """Candidates of one problem with their step scores (empty without a verifier) and what they cost."""

    problem: Problem
    candidates: tuple[Trace, ...]
    scores: tuple[tuple[float, ...], ...]
    cost: Cost

    def usable(self) -> list[int]:
        """Indices of the candidates that may be chosen: finished, with an answer."""
        return [i for i, candidate in enumerate(self.candidates) if candidate.answer is not None]

    def choose(self, strategy: str, chosen: int | None) -> SearchResult:
        """The result of choosing candidate `chosen`."""
        candidate = self.candidates[chosen] if chosen is not None else None
        return SearchResult(
            problem_id=self.problem.id,
            strategy=strategy,
            candidates=self.candidates,
            scores=self.scores,
            chosen=chosen,
            answer=candidate.answer if candidate else None,
            correct=bool(candidate and candidate.correct),
            cost=self.cost,
        )


def draw_pools(
    problems: Sequence[Problem], generator: Generator, verifier: Verifier | None, budget: Budget, seed: int
) -> list[Pool]:
    """Sample candidates within the budget and score them, all problems in one batch.

    With a limit on tokens, a problem draws one more candidate as long as it has spent less than its limit, so its last
    candidate may exceed it.
    """
    started = time.monotonic()
    if budget.generated_tokens is None:
        traces_P = sample_traces(problems, generator, budget.samples, seed)
    else:
        traces_P = _draw_one_by_one(problems, generator, budget.samples, budget.generated_tokens, seed)
    pools = []
    share = (time.monotonic() - started) / max(1, len(problems))
    for problem, traces in zip(problems, traces_P, strict=True):
        generated = sum(trace.num_tokens for trace in traces)
        batches = 1 if budget.generated_tokens is None else len(traces)
        prompt = len(generator.encode(problem.prompt)) * batches
        cost = Cost(
            generated_tokens=generated,
            prompt_tokens=prompt,
            generator_calls=len(traces),
            flops=forward_flops(generator.num_parameters, generated + prompt),
            seconds=share,
        )
        pools.append(Pool(problem, tuple(traces), ((),) * len(traces), cost))
    return score_pools(pools, verifier) if verifier else pools


def score_pools(pools: Sequence[Pool], verifier: Verifier) -> list[Pool]:
    """The same pools with the scores of a verifier, and its cost added.

    Candidates that may not be chosen (cut at the token limit, without an answer) are not read and have no scores.
    """
    started = time.monotonic()
    places = [(p, i) for p, pool in enumerate(pools) for i in pool.usable()]
    prompts = [pools[p].problem.prompt for p, _ in places]
    steps_N = [pools[p].candidates[i].steps for p, i in places]
    scores_PN: list[list[tuple[float, ...]]] = [[()] * len(pool.candidates) for pool in pools]
    for (p, i), scores in zip(places, verifier.score_batch(prompts, steps_N), strict=True):
        scores_PN[p][i] = tuple(scores)
    read_P = [[pool.candidates[i].steps for i in pool.usable()] for pool in pools]
    tokens_P = [verifier.count_tokens(pool.problem.prompt, read) for pool, read in zip(pools, read_P, strict=True)]
    share = (time.monotonic() - started) / max(1, len(pools))
    return [
        replace(
            pool,
            scores=tuple(scores_N),
            cost=pool.cost
            + Cost(
                verifier_tokens=tokens,
                verifier_calls=len(read),
                flops=forward_flops(verifier.num_parameters, tokens),
                seconds=share,
            ),
        )
        for pool, scores_N, tokens, read in zip(pools, scores_PN, tokens_P, read_P, strict=True)
    ]


def _draw_one_by_one(
    problems: Sequence[Problem], generator: Generator, samples: int, limit: int, seed: int
) -> list[list[Trace]]:
    traces_P: list[list[Trace]] = [[] for _ in problems]
    for i in range(samples):
        open_P = [p for p, traces in enumerate(traces_P) if sum(t.num_tokens for t in traces) < limit]
        if not open_P:
            break
        drawn = sample_traces([problems[p] for p in open_P], generator, 1, seed, first=i)
        for p, (trace,) in zip(open_P, drawn, strict=True):
            traces_P[p].append(trace)
    return traces_P
