"""Step-level beam search against a verifier (Snell et al. 2024, arXiv:2408.03314, sec. 5.2).

Sample N first steps, score them, keep the best N/M; sample M next steps from each, score, keep the best N/M; and so on
until every beam has ended. Return the finished candidate with the highest score.

Candidates are *sampled*, so equal ones happen: they are scored once and only distinct ones are kept. A finished candidate
keeps its place, so at most N are ever finished or in work, and the generated tokens are at most those of N samples of the
same depth. All problems advance together, one batch per level; with a limit on tokens, a problem advances one more level as
long as it has spent less, so its last level may exceed the limit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from prm.aggregation import aggregate
from prm.costs import forward_flops
from prm.encoding.steps import split_steps
from prm.generators import Generator, derive_seed
from prm.sampling.traces import build_traces
from prm.search.candidates import Pool
from prm.types import Budget, Cost, Problem, SearchResult
from prm.verifiers import Verifier


@dataclass(frozen=True)
class _Beam:
    """A candidate in work or finished."""

    steps: tuple[str, ...]
    scores: tuple[float, ...]
    num_tokens: int
    ended: bool
    """It reached its answer or the end token (`finished`), or was cut (`truncated`)."""
    truncated: bool = False


@dataclass(frozen=True)
class BeamSearch:
    """See `prm.search.SearchStrategy`. N is `budget.samples`."""

    width: int = 4
    """M, the continuations of each kept beam; N/M beams are kept."""
    max_steps: int = 40

    def search(
        self, problems: Sequence[Problem], generator: Generator, verifier: Verifier, budget: Budget, seed: int
    ) -> list[SearchResult]:
        if budget.samples < self.width:
            raise ValueError(
                f"beam search with width {self.width} needs a budget of at least as many samples, not {budget.samples}"
            )
        started = time.monotonic()
        beams_P: list[list[_Beam]] = [[_Beam((), (), 0, False)] for _ in problems]
        cost_P = [Cost() for _ in problems]
        for depth in range(self.max_steps):
            open_P = [
                p
                for p, beams in enumerate(beams_P)
                if any(not beam.ended for beam in beams)
                and (budget.generated_tokens is None or cost_P[p].generated_tokens < budget.generated_tokens)
            ]
            if not open_P:
                break
            self._advance(open_P, depth, problems, beams_P, cost_P, generator, verifier, budget.samples, seed)
        seconds = (time.monotonic() - started) / max(1, len(problems))
        return [
            self._result(problem, beams, cost + Cost(seconds=seconds), generator, verifier, seed)
            for problem, beams, cost in zip(problems, beams_P, cost_P, strict=True)
        ]

    def _advance(
        self,
        open_P: list[int],
        depth: int,
        problems: Sequence[Problem],
        beams_P: list[list[_Beam]],
        cost_P: list[Cost],
        generator: Generator,
        verifier: Verifier,
        samples: int,
        seed: int,
    ) -> None:
        """One more step for every problem in `open_P`: expand, score, keep the best. Updates `beams_P` and `cost_P`."""
        parents: list[tuple[int, _Beam]] = []  # (problem, beam), one entry per continuation to sample
        seeds: list[int] = []
        for p in open_P:
            kept = self._keep(beams_P[p], samples, verifier)
            ended = [beam for beam in beams_P[p] if beam.ended]
            room = samples - len(ended)
            parents += [(p, kept[i % len(kept)]) for i in range(room)]
            seeds += [derive_seed(seed, problems[p].id, "beam", depth, i) for i in range(room)]
            beams_P[p] = ended
        prefixes = [generator.encode(problems[p].prompt, beam.steps) for p, beam in parents]
        continuations = generator.generate(prefixes, seeds, until="step")

        grown: dict[tuple[int, tuple[str, ...]], _Beam] = {}  # distinct candidates
        read: set[tuple[int, tuple[int, ...]]] = set()
        for (p, parent), prefix, continuation in zip(parents, prefixes, continuations, strict=True):
            new = split_steps(continuation.text, generator.separator)[:1]
            tokens = len(continuation.token_ids)
            beam = _Beam(
                parent.steps + new,
                parent.scores,
                parent.num_tokens + tokens,
                ended=continuation.stop != "step" or not new,
                truncated=continuation.stop == "length",
            )
            grown.setdefault((p, beam.steps), beam)
            unread = 0 if (p, tuple(prefix)) in read else len(prefix)
            read.add((p, tuple(prefix)))
            cost_P[p] += Cost(
                generated_tokens=tokens,
                prompt_tokens=unread,
                generator_calls=1,
                flops=forward_flops(generator.num_parameters, tokens + unread),
            )

        to_score = [(p, beam) for (p, _), beam in grown.items() if beam.steps]
        prompts = [problems[p].prompt for p, _ in to_score]
        scores_N = verifier.score_batch(prompts, [beam.steps for _, beam in to_score])
        for (p, beam), scores in zip(to_score, scores_N, strict=True):
            beams_P[p].append(_Beam(beam.steps, tuple(scores), beam.num_tokens, beam.ended, beam.truncated))
        for p in open_P:
            scored = [beam.steps for place, beam in to_score if place == p]
            tokens = verifier.count_tokens(problems[p].prompt, scored)
            cost_P[p] += Cost(
                verifier_tokens=tokens, verifier_calls=len(scored), flops=forward_flops(verifier.num_parameters, tokens)
            )

    def _keep(self, beams: list[_Beam], samples: int, verifier: Verifier) -> list[_Beam]:
        """The best N/M of the beams still in work; at the root, the empty beam."""
        working = [beam for beam in beams if not beam.ended]
        if working[0].scores:
            working.sort(key=lambda beam: -aggregate(beam.scores, verifier.aggregation))
        return working[: max(1, samples // self.width)]

    def _result(
        self,
        problem: Problem,
        beams: list[_Beam],
        cost: Cost,
        generator: Generator,
        verifier: Verifier,
        seed: int,
    ) -> SearchResult:
        beams = [beam for beam in beams if beam.steps]
        traces = build_traces(
            [problem] * len(beams),
            [beam.steps for beam in beams],
            generator=generator.name,
            finished=[beam.ended and not beam.truncated for beam in beams],
            num_tokens=[beam.num_tokens for beam in beams],
            seeds=[seed] * len(beams),
            indices=list(range(len(beams))),
        )
        pool = Pool(problem, tuple(traces), tuple(beam.scores for beam in beams), cost)
        best = max(pool.usable(), key=lambda i: aggregate(pool.scores[i], verifier.aggregation), default=None)
        return pool.choose("beam_search", best)
