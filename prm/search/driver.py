"""search: run a method on many problems at once. The only place that batches, charges and limits what strategies ask for.

All problems advance together: in each round, what they ask of the generator is one batch, and what they ask of the
verifier another. A problem pays for its own requests alone, so a problem that is searched alone finds and costs the same
as in a batch of 50. What was answered once is remembered (`prm.storage.answered_requests`): several methods share their
samples, and after a kill the strategies are started again and get the same answers until they reach what nobody has asked
yet. A remembered answer costs a method what it would have cost to make it, so that each is charged as if it had run alone.

Left out: requests that do not wait for the others of a round; the engines answer in batches.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prm.costs import ModelShape, generation_cost, prefixes, scoring_cost
from prm.encoding.revisions import revision_prompt
from prm.generators import Generator, derive_seed
from prm.sampling.limits import LimitReached, Limits
from prm.sampling.traces import cut, grow, open_trace, tokens_after, trace_seed
from prm.search.methods import Method
from prm.search.requests import Expand, Found, Request, Revise, Sample, Score, Search
from prm.storage.answered_requests import AnsweredRequests, Drawn, Scored, request_key
from prm.types import Budget, Cost, Problem, SampledStep, Scores, SearchResult, Trace
from prm.verifiers import Verifier


@dataclass
class _Task:
    """One problem on its way, with the meter of its costs."""

    problem: Problem
    budget: Budget
    search: Search
    request: Request | None = None
    """What it asks for now; None when it has found something."""
    found: Found | None = None
    cost: Cost = field(default_factory=Cost)
    sampled: int = 0
    """Whole traces asked for so far."""
    requests: list[Request] = field(default_factory=list)
    """Requests for traces so far, and those to another verifier than the method's own."""
    paid: set[str] = field(default_factory=set)
    """Keys of what it has been given: what it asks for again costs nothing."""
    read: defaultdict[str, set[tuple[str, ...]]] = field(default_factory=lambda: defaultdict(set))
    """Name of a verifier -> prefixes of the traces that it scored for this task."""
    drawn: set[tuple[str, ...]] = field(default_factory=set)
    """Steps of what was sampled for it."""
    duplicates: int = 0
    made: list[tuple[_Wanted, Drawn]] = field(default_factory=list)
    """What was sampled and paid, in order."""
    opinions: dict[tuple[str, ...], float] = field(default_factory=dict)
    """The last score of each trace, by its steps."""

    def answer(self, reply: Sequence[Trace] | Sequence[Scores | None] | None) -> None:
        """Give the strategy what it asked for; it goes on to its next request or to its end."""
        try:
            self.request = self.search.send(reply)
        except StopIteration as end:
            self.request, self.found = None, end.value

    def count_duplicates(self, traces: Sequence[Trace]) -> None:
        new = {trace.steps for trace in traces} - self.drawn
        self.duplicates += len(traces) - len(new)
        self.drawn |= new

    def scoring_cost(self, scores: Sequence[Scores | None], verifier: Verifier, shape: ModelShape | None) -> Cost:
        """Of the traces that it asks for, after those that were scored for it before."""
        assert isinstance(self.request, Score)
        steps_N = [trace.steps for trace in self.request.traces]
        # What was read after the problem alone is of no use after earlier attempts.
        known = self.read[verifier.name] if self.request.attempts is None else ()
        return scoring_cost(steps_N, scores, verifier.num_parameters, known, shape)

    def room(self, longest: int) -> tuple[int | None, int | None]:
        """How many continuations are sure to fit into the budget, and the limit of each in tokens; None = any number.

        If not even one of the longest kind fits, there is room for one that is cut at the last token of the budget.
        """
        if self.budget.generated_tokens is None:
            return None, None
        left = max(0, self.budget.generated_tokens - self.cost.generated_tokens)
        return min(left, max(1, left // longest)), None if left >= longest else left


@dataclass(frozen=True)
class _Wanted:
    """One continuation that a task asks for."""

    problem: Problem
    parent: Trace
    prefix: tuple[int, ...]
    one_step: bool
    limit: int | None = None

    @property
    def key(self) -> str:
        return request_key(self.problem.id, self.prefix, self.parent.seed, self.one_step, self.limit)

    @property
    def greedy(self) -> bool:
        """`_wanted` gives a seed to everything that is sampled."""
        return self.parent.seed is None


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
    judges = {**(verifiers or {}), **({} if verifier is None else {"": verifier})}  # the method's own has no name here
    tasks = [_Task(problem, budget, method.start(problem, budget, seed)) for problem in problems]
    for task in tasks:
        task.answer(None)
    while working := [task for task in tasks if task.request is not None]:
        for task in working:
            _check(task, method, judges)
        drawing = [task for task in working if not isinstance(task.request, Score)]
        scoring: dict[str, list[_Task]] = {}
        for task in working:
            if isinstance(task.request, Score):
                scoring.setdefault(task.request.by or "", []).append(task)
        _draw(drawing, generator, shapes.get(generator.name), seed, answered, limits)
        for by, asking in scoring.items():
            _score(asking, judges[by], shapes.get(judges[by].name), answered, limits)
        progress(sum(task.request is None for task in working))
    return [_result(task, method) for task in tasks]


def _check(task: _Task, method: Method, judges: Mapping[str, Verifier]) -> None:
    """Refuse what the budget does not hold, and what nobody can answer."""
    request, most, name = task.request, task.budget.samples, method.words
    if not isinstance(request, Request):
        raise ValueError(f"{name} yields {request!r}; a strategy yields Sample, Expand, Revise or Score")
    if isinstance(request, Sample):
        task.sampled += request.n
    if isinstance(request, Revise):
        task.sampled += len(request.attempts)
    if not isinstance(request, Score) or request.by is not None:
        task.requests.append(request)
    ended = [parent for parent in request.parents if parent.status != "open"] if isinstance(request, Expand) else []
    if ended:
        raise ValueError(f"{name} asks for a step after {ended[0].steps}, which has ended ({task.problem.id})")
    if task.sampled > most or (isinstance(request, Expand) and len(request.parents) > most):
        raise ValueError(f"{name} asks for more than the {most} samples of its budget at once ({task.problem.id})")
    if isinstance(request, Score) and (request.by or "") not in judges:
        if request.by is not None:
            raise ValueError(f"{name} asks for scores by {request.by!r}, which is no verifier of the run")
        raise ValueError(f"{name} asks for scores and names no verifier; write `{method.strategy} VERIFIER`")


def _draw(
    tasks: Sequence[_Task],
    generator: Generator,
    shape: ModelShape | None,
    seed: int,
    answered: AnsweredRequests,
    limits: Limits,
) -> None:
    """Answer all requests for traces: one batch, or with a limit on tokens as many at a time as surely fit."""
    waiting = [_wanted(task, generator, seed) for task in tasks]
    drawn: list[list[Trace]] = [[] for _ in tasks]
    while any(waiting):
        now: list[list[_Wanted]] = []
        for task, wanted in zip(tasks, waiting, strict=True):
            fit, limit = task.room(generator.max_new_tokens)
            now.append([replace(one, limit=limit) for one in wanted[:fit]])
            wanted[:] = [] if fit is None or fit == 0 else wanted[fit:]  # nothing fits any more: the rest is not drawn
        _sample([one for wanted in now for one in wanted], generator, answered, limits)
        for task, wanted, traces in zip(tasks, now, drawn, strict=True):
            made = [answered.drawn[one.key] for one in wanted]
            traces += [_after(one.parent, its) for one, its in zip(wanted, made, strict=True)]
            new = {one.key: (one, its) for one, its in zip(wanted, made, strict=True) if one.key not in task.paid}
            task.paid |= new.keys()
            task.made += new.values()
            task.cost += generation_cost(
                [one.prefix for one, _ in new.values()],
                [its.continuation for _, its in new.values()],
                generator.num_parameters,
                shape,
            ) + Cost(seconds=sum(its.seconds for _, its in new.values()))
    for task, traces in zip(tasks, drawn, strict=True):
        if not (isinstance(task.request, Expand) and task.request.greedy):
            task.count_duplicates(traces)
        task.answer(traces)


def _wanted(task: _Task, generator: Generator, seed: int) -> list[_Wanted]:
    """One entry for each continuation of a request, with the seed that follows from its place in the search."""
    problem, request = task.problem, task.request
    if isinstance(request, Sample):
        prefix = tuple(generator.encode(problem.prompt))
        numbers = range(request.first, request.first + request.n)
        whole = [replace(open_trace(problem), seed=trace_seed(seed, problem.id, i), index=i) for i in numbers]
        return [_Wanted(problem, parent, prefix, one_step=False) for parent in whole]
    if isinstance(request, Revise):
        return [
            _Wanted(
                problem,
                replace(open_trace(problem), seed=derive_seed(seed, problem.id, *request.key, i)),
                tuple(generator.encode(revision_prompt(problem.prompt, attempts))),
                one_step=False,
            )
            for i, attempts in enumerate(request.attempts)
        ]
    assert isinstance(request, Expand)
    prefixes = {parent.steps: tuple(generator.encode(problem.prompt, parent.steps)) for parent in request.parents}
    seeded = [
        replace(parent, seed=None if request.greedy else derive_seed(seed, problem.id, *request.key, i))
        for i, parent in enumerate(request.parents)
    ]
    return [_Wanted(problem, parent, prefixes[parent.steps], one_step=True) for parent in seeded]


def _sample(wanted: Sequence[_Wanted], generator: Generator, answered: AnsweredRequests, limits: Limits) -> None:
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
        continuations = generator.generate(
            [one.prefix for one in batch.values()],
            [one.parent.seed or 0 for one in batch.values()],
            until="step" if one_step else "end",
            limits=[generator.max_new_tokens if one.limit is None else one.limit for one in batch.values()],
            greedy=greedy,
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
    tasks: Sequence[_Task], verifier: Verifier, shape: ModelShape | None, answered: AnsweredRequests, limits: Limits
) -> None:
    """Answer all requests for scores; what was not scored before is one batch."""
    keys = [_score_key(task, verifier) for task in tasks]
    new = {key: task for key, task in zip(keys, tasks, strict=True) if key not in answered.scored}
    while new:
        if limits.reached == "max_hours":  # the other limit is for what is sampled
            raise LimitReached
        # Two problems with one prompt go into two batches: a verifier reports once what traces of one prompt share.
        batch: dict[str, _Task] = {}
        for key, task in new.items():
            if all(task.problem.prompt != other.problem.prompt for other in batch.values()):
                batch[key] = task
        _score_batch(batch, verifier, answered)
        new = {key: task for key, task in new.items() if key not in batch}
    for key, task in zip(keys, tasks, strict=True):
        scored = answered.scored[key]
        if key not in task.paid:
            task.cost += task.scoring_cost(scored.scores, verifier, shape) + Cost(seconds=scored.seconds)
            task.paid.add(key)
        assert isinstance(task.request, Score)
        for trace, its in zip(task.request.traces, scored.scores, strict=True):
            if its is not None:
                task.read[verifier.name].update(prefixes(trace.steps) if task.request.attempts is None else ())
                task.opinions[trace.steps] = its.trace
        task.answer(scored.scores)


_SCORES = "prm.types.Scores(steps=(one score per step), trace=one score), or None for what it cannot read"


def _score_batch(batch: dict[str, _Task], verifier: Verifier, answered: AnsweredRequests) -> None:
    started = time.monotonic()
    asked = [
        (prompt, trace.steps)
        for task in batch.values()
        for prompt, trace in zip(_prompts(task), task.request.traces, strict=True)  # type: ignore[union-attr]
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
    share = (time.monotonic() - started) / len(batch)
    rest = iter(scores_N)
    scored = {key: tuple(next(rest) for _ in task.request.traces) for key, task in batch.items()}  # type: ignore[union-attr]
    read = {key: task.scoring_cost(scored[key], verifier, None).verifier_tokens for key, task in batch.items()}
    answered.add({}, {key: Scored(task.problem.id, scored[key], read[key], share) for key, task in batch.items()})


def _score_key(task: _Task, verifier: Verifier) -> str:
    request = task.request
    assert isinstance(request, Score)
    history = [] if request.attempts is None else [_prompts(task)]
    return request_key(verifier.name, task.problem.id, [trace.steps for trace in request.traces], *history)


def _prompts(task: _Task) -> list[str]:
    """What the verifier reads before each trace."""
    request = task.request
    assert isinstance(request, Score)
    if request.attempts is None:
        return [task.problem.prompt] * len(request.traces)
    return [revision_prompt(task.problem.prompt, attempts) for attempts in request.attempts]


def _result(task: _Task, method: Method) -> SearchResult:
    """What a search found, checked: a strategy of one's own may be wrong about its candidates."""
    found, most, name = task.found, task.budget.samples, method.words
    if not isinstance(found, Found):
        raise ValueError(f"{name} returned {found!r}; a strategy must return Found(candidates, scores, chosen)")
    if len(found.candidates) > most:
        raise ValueError(
            f"{name} returned {len(found.candidates)} candidates, its budget is {most} ({task.problem.id})"
        )
    if len(found.scores) != len(found.candidates):
        raise ValueError(f"{name} returned {len(found.candidates)} candidates with {len(found.scores)} scores")
    if found.chosen is not None and not found.candidates[found.chosen].usable:
        raise ValueError(f"{name} chose candidate {found.chosen}, which states no answer ({task.problem.id})")
    candidates = [
        replace(cut(trace) if trace.status == "open" else trace, index=i) for i, trace in enumerate(found.candidates)
    ]
    return SearchResult(
        problem_id=task.problem.id,
        method=method.name,
        strategy=method.strategy,
        verifier=method.verifier,
        candidates=tuple(candidates),
        scores=tuple(found.scores),
        chosen=found.chosen,
        independent=task.requests == [Sample(most)]
        and task.budget.generated_tokens is None
        and len(candidates) == most,
        cost=task.cost,
        duplicates=task.duplicates,
        tree=_tree(task, found),
    )


def _tree(task: _Task, found: Found) -> tuple[SampledStep, ...]:
    """What was sampled, as `SearchResult.tree` says. The strategies need not keep it."""
    returned = {trace.steps for trace in found.candidates}
    tokens: dict[tuple[str, ...], int] = {}  # in the order of the first time
    for one, drawn in task.made:
        steps = drawn.trace.steps
        if not one.one_step and steps in returned:
            continue
        path = steps if len(steps) > len(one.parent.steps) else (*one.parent.steps, "")
        for end in range(1, len(path)):
            tokens.setdefault(path[:end], 0)
        tokens[path] = tokens.get(path, 0) + len(drawn.continuation.token_ids)
    number = {path: i for i, path in enumerate(tokens)}
    return tuple(
        SampledStep(number.get(path[:-1]), path[-1], task.opinions.get(path), count) for path, count in tokens.items()
    )
