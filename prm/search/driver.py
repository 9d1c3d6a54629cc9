"""search: run a method on many problems at once. The only place that batches and limits what strategies ask for.

All problems advance together: in each round, what they ask of the generator is one batch, and what they ask of a
verifier another. A problem pays for its own requests alone (`prm.search.task`), so a problem that is searched alone finds
and costs the same as in a batch of 50. What was answered once is remembered (`prm.storage.answered_requests`): several
methods share their samples, and after a kill the strategies are started again and get the same answers until they reach
what nobody has asked yet. A remembered answer costs a method what it would have cost to make it, so that each is charged as
if it had run alone.

Left out: requests that do not wait for the others of a round; the engines answer in batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from prm.costs import ModelShape
from prm.generators import Generator, generate_what_fits
from prm.models.kept_tokens import KeptTokens
from prm.sampling.limits import LimitReached, Limits
from prm.sampling.traces import check_again, grow, tokens_after
from prm.search.methods import Method
from prm.search.requests import Score
from prm.search.task import Task, Wanted
from prm.storage.answered_requests import AnsweredRequests, Drawn, Scored
from prm.types import UNDECIDED, Budget, Problem, Scores, SearchResult, Trace
from prm.verifiers import Verifier


def search(
    method: Method,
    problems: Sequence[Problem],
    generator: Generator,
    verifier: Verifier | None,
    budget: Budget,
    seed: int,
    answered: AnsweredRequests | None = None,
    progress: Callable[[int], object] = lambda ended: None,
    limits: Limits | None = None,
    shapes: Mapping[str, ModelShape] | None = None,
    verifiers: Mapping[str, Verifier] | None = None,
) -> list[SearchResult]:
    """What the method finds for each problem within the budget.

    Args:
        verifier: the one that the method names; None if it names none.
        seed: of the run; every sample has its own, derived from it.
        answered: what was answered before; give the same to several methods to share their samples.
        progress: called after every round with the number of problems that ended in it.
        limits: of the run; None = it may sample as much as it likes.
        shapes: of the models whose shape is known, by the name of the generator or verifier.
        verifiers: of the run, by the names that a strategy may give in `Score.by`.

    Raises:
        LimitReached: something would have to be sampled, or read after the last hour. All answers before are kept.
        ValueError: the strategy refuses the budget, asks for more than it holds, or asks for scores without a verifier;
            or the verifier's answer is not one score in [0, 1] per step.
    """
    answered, limits = AnsweredRequests() if answered is None else answered, limits or Limits()
    budget = method.budget(budget)
    shapes = shapes or {}
    kept = KeptTokens()
    judges = {**(verifiers or {}), **({} if verifier is None else {"": verifier})}  # the method's own has no name here
    _check_again(answered, {problem.id: problem.answer for problem in problems})
    tasks = [Task(problem, method, budget, method.start(problem, budget, seed)) for problem in problems]
    for task in tasks:
        task.answer(None)
    while working := [task for task in tasks if task.request is not None]:
        for task in working:
            task.check(judges)
        # Divided before any of them is answered: with the answer, the next request takes the place of this one.
        drawing = [task for task in working if not isinstance(task.request, Score)]
        scoring: dict[str, list[Task]] = {}
        for task in working:
            if isinstance(task.request, Score):
                scoring.setdefault(task.request.by or "", []).append(task)
        _draw(drawing, generator, shapes.get(generator.name), seed, answered, limits, kept)
        for by, asking in scoring.items():
            _score(asking, judges[by], shapes.get(judges[by].name), answered, limits)
        progress(sum(task.request is None for task in working))
    return [task.result() for task in tasks]


def _check_again(answered: AnsweredRequests, golds: Mapping[str, str]) -> None:
    """Remembered traces whose answer could not be checked then, perhaps because of the machine, are checked again."""
    stale = {
        key: drawn
        for key, drawn in answered.drawn.items()
        if drawn.trace.status in UNDECIDED and drawn.trace.problem_id in golds
    }
    traces = [drawn.trace for drawn in stale.values()]
    checked = check_again(traces, [golds[trace.problem_id] for trace in traces])
    answered.drawn |= {key: replace(drawn, trace=its) for (key, drawn), its in zip(stale.items(), checked, strict=True)}


def _draw(
    tasks: Sequence[Task],
    generator: Generator,
    shape: ModelShape | None,
    seed: int,
    answered: AnsweredRequests,
    limits: Limits,
    kept: KeptTokens,
) -> None:
    """Answer all requests for traces: one batch, or with a limit on tokens as many at a time as surely fit."""
    waiting = [task.wanted(generator, seed) for task in tasks]
    drawn: list[list[Trace]] = [[] for _ in tasks]
    while any(waiting):
        now: list[list[Wanted]] = []
        for task, wanted in zip(tasks, waiting, strict=True):
            fit, limit = task.room(generator.max_new_tokens)
            now.append([replace(one, limit=limit) for one in wanted[:fit]])
            wanted[:] = [] if fit is None or fit == 0 else wanted[fit:]  # nothing fits any more: the rest is not drawn
        _sample([one for wanted in now for one in wanted], generator, answered, limits, kept)
        for task, wanted, traces in zip(tasks, now, drawn, strict=True):
            made = [answered.drawn[one.key] for one in wanted]
            traces += [_after(one.parent, its) for one, its in zip(wanted, made, strict=True)]
            task.pay_drawn(wanted, made, generator, shape)
    for task, traces in zip(tasks, drawn, strict=True):
        task.answer(traces)


def _sample(
    wanted: Sequence[Wanted], generator: Generator, answered: AnsweredRequests, limits: Limits, kept: KeptTokens
) -> None:
    """Sample what was not sampled before, and remember it."""
    new = {one.key: one for one in wanted if one.key not in answered.drawn}
    # A call of the generator has one end and one temperature for all.
    for one_step, greedy in ((False, False), (True, False), (True, True)):
        batch = {key: one for key, one in new.items() if (one.one_step, one.greedy) == (one_step, greedy)}
        if not batch:
            continue
        if limits.reached:
            raise LimitReached
        started = time.monotonic()
        parents = [one.parent for one in batch.values()]
        continuations = generate_what_fits(
            generator,
            [one.prefix for one in batch.values()],
            [one.parent.seed or 0 for one in batch.values()],
            until="step" if one_step else "end",
            limits=[generator.max_new_tokens if one.limit is None else one.limit for one in batch.values()],
            greedy=greedy,
            kept=kept if one_step else None,  # nothing goes on from a whole trace
        )
        traces = grow(parents, continuations, [one.problem for one in batch.values()], generator, one_step)
        share = (time.monotonic() - started) / len(batch)
        made = zip(batch, traces, continuations, strict=True)
        answered.add({key: Drawn(trace, replace(c, text=""), share) for key, trace, c in made}, {})
        limits.add(sum(len(continuation.token_ids) for continuation in continuations))


def _after(parent: Trace, drawn: Drawn) -> Trace:
    """The drawn trace as a child of this parent: another method may have come to the same steps by other tokens."""
    return replace(drawn.trace, num_tokens=tokens_after(parent, drawn.continuation))


def _score(
    tasks: Sequence[Task], verifier: Verifier, shape: ModelShape | None, answered: AnsweredRequests, limits: Limits
) -> None:
    """Answer all requests for scores; what was not scored before is one batch."""
    keys = [task.score_key(verifier) for task in tasks]
    new = {key: task for key, task in zip(keys, tasks, strict=True) if key not in answered.scored}
    while new:
        if limits.reached == "max_hours":  # the other limit is for what is sampled
            raise LimitReached
        # Two problems with one prompt go into two batches: a verifier reports once what traces of one prompt share.
        batch: dict[str, Task] = {}
        for key, task in new.items():
            if all(task.problem.prompt != other.problem.prompt for other in batch.values()):
                batch[key] = task
        _score_batch(batch, verifier, answered)
        new = {key: task for key, task in new.items() if key not in batch}
    for key, task in zip(keys, tasks, strict=True):
        task.pay_scored(key, answered.scored[key], verifier, shape)
        task.answer(answered.scored[key].scores)


_SCORES = "prm.types.Scores(steps=(one score per step), trace=one score), or None for what it cannot read"


def _score_batch(batch: dict[str, Task], verifier: Verifier, answered: AnsweredRequests) -> None:
    """Score the traces of these requests, and remember the scores if they are what a verifier must give."""
    started = time.monotonic()
    asked = [
        (prompt, trace.steps)
        for task in batch.values()
        for prompt, trace in zip(task.prompts(), task.asked.traces, strict=True)
    ]
    scores_N = verifier.score_batch([prompt for prompt, _ in asked], [steps for _, steps in asked]) if asked else []
    if not isinstance(scores_N, Sequence):
        raise ValueError(f"{verifier.name}: score_batch returned {scores_N!r:.60}; it must return a list of {_SCORES}")
    if len(scores_N) != len(asked):
        raise ValueError(
            f"{verifier.name} gave {len(scores_N)} scores for {len(asked)} traces; it must give one for each"
        )
    for (prompt, steps), scores in zip(asked, scores_N, strict=True):
        if scores is None:  # too long for this verifier
            continue
        if not isinstance(scores, Scores):
            raise ValueError(f"{verifier.name}: score_batch returned a list of {scores!r:.60}; it must hold {_SCORES}")
        if len(scores.steps) != len(steps) or not all(0 <= score <= 1 for score in (*scores.steps, scores.trace)):
            raise ValueError(
                f"{verifier.name} gave {scores} for a trace of {len(steps)} steps ({prompt[:60]!r}); it must give one"
                " score in [0, 1] per step, and one for the trace"
            )
        if scores.ends and len(scores.ends) != len(steps) + 1:
            raise ValueError(f"{verifier.name} gave {len(scores.ends)} ends for {len(steps)} steps; they are one more")
        if scores.spreads and (len(scores.spreads) != len(steps) or not all(0 <= its < 1 for its in scores.spreads)):
            raise ValueError(
                f"{verifier.name} gave spreads {scores.spreads} for {len(steps)} steps; they are one standard deviation each"
            )
    share = (time.monotonic() - started) / len(batch)
    rest = iter(scores_N)
    scored = {key: tuple(next(rest) for _ in task.asked.traces) for key, task in batch.items()}
    read = {key: task.scoring_cost(scored[key], verifier, None).verifier_tokens for key, task in batch.items()}
    answered.add({}, {key: Scored(task.problem.id, scored[key], read[key], share) for key, task in batch.items()})
