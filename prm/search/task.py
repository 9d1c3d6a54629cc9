"""Task: one problem on its way through a search: what it asks for, what it has paid, what came of it.

The driver (`prm.search.driver`) answers the requests of all tasks in batches; what concerns one problem alone is here. A
task pays for what it is given for the first time, as if nobody else had asked for it, and what it asks for again is free:

    request                          paid                                 again, or a part of it
    Sample(4)                        four traces, the prompt once         Sample(2): nothing
    Expand of ("a",): b              prompt, a, b                         Expand of ("a", "b"): the last token of b, and c,
                                                                          if the generator keeps the rest
    Score of ("a", "b")              prompt, a, b                         Score of ("a", "b", "c"): c, if the verifier keeps
                                                                          what it has read (`scoring_cost`)

It also records what was sampled for it, from which the tree of its result is made: strategies need not keep it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from prm.costs import ModelShape, generation_cost, new_prefixes, scoring_cost
from prm.encoding.revisions import revision_prompt
from prm.generators import Generator, derive_seed
from prm.models.token_tree import TokenTree
from prm.sampling.traces import cut, open_trace, trace_seed
from prm.search.methods import Method
from prm.search.requests import Expand, Found, Request, Revise, Sample, Score, Search
from prm.storage.answered_requests import Drawn, Scored, request_key
from prm.types import Budget, Cost, Problem, SampledStep, Scores, SearchResult, Trace
from prm.verifiers import Verifier


class Prefix(tuple[int, ...]):
    """Token ids that several steps continue: hashed and written out once for all of them."""

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return self._text

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()

    @cached_property
    def _text(self) -> str:
        return super().__repr__()


@dataclass(frozen=True)
class Wanted:
    """One continuation that a task asks for."""

    problem: Problem
    parent: Trace
    prefix: Prefix
    one_step: bool
    limit: int | None = None

    @cached_property
    def key(self) -> str:
        return request_key(self.problem.id, self.prefix, self.parent.seed, self.one_step, self.limit)

    @property
    def greedy(self) -> bool:
        """`Task.wanted` gives a seed to everything that is sampled."""
        return self.parent.seed is None


@dataclass
class Task:
    """See the module's docstring."""

    problem: Problem
    method: Method
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
    kept: TokenTree = field(default_factory=TokenTree)
    """What a generator that keeps its tokens has computed for it: prefixes, and what it wrote after them."""
    read: defaultdict[str, set[tuple[str, ...]]] = field(default_factory=lambda: defaultdict(set))
    """Name of a verifier -> prefixes of the traces that it scored for this task."""
    drawn: set[tuple[str, ...]] = field(default_factory=set)
    """Steps of what was sampled for it."""
    duplicates: int = 0
    made: list[tuple[Wanted, Drawn]] = field(default_factory=list)
    """What was sampled and paid, in order."""
    opinions: dict[tuple[str, ...], float] = field(default_factory=dict)
    """The last score of each trace, by its steps."""

    def answer(self, reply: Sequence[Trace] | Sequence[Scores | None] | None) -> None:
        """Give the strategy what it asked for; it goes on to its next request or to its end."""
        try:
            self.request = self.search.send(reply)
        except StopIteration as end:
            self.request, self.found = None, end.value

    def check(self, judges: Mapping[str, Verifier]) -> None:
        """Refuse what the budget does not hold, and what nobody can answer.

        Args:
            judges: verifiers by name; the method's own is "".
        """
        request, most, name = self.request, self.budget.samples, self.method.words
        if not isinstance(request, Request):
            raise ValueError(f"{name} yields {request!r}; a strategy yields Sample, Expand, Revise or Score")
        if isinstance(request, Sample):
            self.sampled += request.n
        if isinstance(request, Revise):
            self.sampled += len(request.attempts)
        if not isinstance(request, Score) or request.by is not None:
            self.requests.append(request)
        ended = [parent for parent in request.parents if parent.status != "open"] if isinstance(request, Expand) else []
        if ended:
            raise ValueError(f"{name} asks for a step after {ended[0].steps}, which has ended ({self.problem.id})")
        if self.sampled > most or (isinstance(request, Expand) and len(request.parents) > most):
            raise ValueError(f"{name} asks for more than the {most} samples of its budget at once ({self.problem.id})")
        if isinstance(request, Score) and (request.by or "") not in judges:
            if request.by is not None:
                raise ValueError(f"{name} asks for scores by {request.by!r}, which is no verifier of the run")
            raise ValueError(f"{name} asks for scores and names no verifier; write `{self.method.strategy} VERIFIER`")

    # Traces: what is wanted, how much of it fits, and what it costs

    def wanted(self, generator: Generator, seed: int) -> list[Wanted]:
        """One entry for each continuation of its request, with the seed that follows from its place in the search."""
        problem, request = self.problem, self.request
        if isinstance(request, Sample):
            prefix = Prefix(generator.encode(problem.prompt))
            numbers = range(request.first, request.first + request.n)
            whole = [replace(open_trace(problem), seed=trace_seed(seed, problem.id, i), index=i) for i in numbers]
            return [Wanted(problem, parent, prefix, one_step=False) for parent in whole]
        if isinstance(request, Revise):
            return [
                Wanted(
                    problem,
                    replace(open_trace(problem), seed=derive_seed(seed, problem.id, *request.key, i)),
                    Prefix(generator.encode(revision_prompt(problem.prompt, attempts))),
                    one_step=False,
                )
                for i, attempts in enumerate(request.attempts)
            ]
        assert isinstance(request, Expand)
        known = dict.fromkeys(parent.steps for parent in request.parents)
        encoded = {steps: Prefix(generator.encode(problem.prompt, steps)) for steps in known}
        seeded = [
            replace(parent, seed=None if request.greedy else derive_seed(seed, problem.id, *request.key, i))
            for i, parent in enumerate(request.parents)
        ]
        return [Wanted(problem, parent, encoded[parent.steps], one_step=True) for parent in seeded]

    def room(self, longest: int) -> tuple[int | None, int | None]:
        """How many continuations are sure to fit into the budget, and the limit of each in tokens; None = any number.

        If not even one of the longest kind fits, there is room for one that is cut at the last token of the budget.
        """
        if self.budget.generated_tokens is None:
            return None, None
        left = max(0, self.budget.generated_tokens - self.cost.generated_tokens)
        return min(left, max(1, left // longest)), None if left >= longest else left

    def pay_drawn(
        self, wanted: Sequence[Wanted], made: Sequence[Drawn], generator: Generator, shape: ModelShape | None
    ) -> None:
        """Charge and record those of these continuations (`made`, in the order of `wanted`) that are new to it."""
        new = {one.key: (one, its) for one, its in zip(wanted, made, strict=True) if one.key not in self.paid}
        self.paid |= new.keys()
        self.made += new.values()
        prefix_N = [one.prefix for one, _ in new.values()]
        continuations = [its.continuation for _, its in new.values()]
        # Of a prefix that is known the last token is read again, for what it says of the next.
        known = {prefix: min(len(self.kept.find(prefix)), len(prefix) - 1) for prefix in dict.fromkeys(prefix_N)}
        kept_N = [known[prefix] if its.keeps else 0 for prefix, its in zip(prefix_N, continuations, strict=True)]
        self.cost += generation_cost(prefix_N, continuations, generator.num_parameters, shape, kept_N)
        self.cost += Cost(seconds=sum(its.seconds for _, its in new.values()))
        keeping = [(prefix, its) for prefix, its in zip(prefix_N, continuations, strict=True) if its.keeps]
        ends = {prefix: self.kept.add(prefix) for prefix in dict.fromkeys(prefix for prefix, _ in keeping)}
        for prefix, its in keeping:
            if its.stop == "step":  # it may go on: all but the last token, which was drawn and not read
                self.kept.add((*prefix, *its.token_ids[:-1]), ends[prefix])
        for one, drawn in new.values():
            if not one.greedy:  # greedy steps after equal parents are always equal
                self.duplicates += drawn.trace.steps in self.drawn
                self.drawn.add(drawn.trace.steps)

    # Scores: what the verifier reads, and what it costs

    @property
    def asked(self) -> Score:
        """Its request, one for scores."""
        assert isinstance(self.request, Score)
        return self.request

    def prompts(self) -> list[str]:
        """What the verifier reads before each trace."""
        if self.asked.attempts is None:
            return [self.problem.prompt] * len(self.asked.traces)
        return [revision_prompt(self.problem.prompt, attempts) for attempts in self.asked.attempts]

    def score_key(self, verifier: Verifier) -> str:
        history = [] if self.asked.attempts is None else [self.prompts()]
        return request_key(verifier.name, self.problem.id, [trace.steps for trace in self.asked.traces], *history)

    def scoring_cost(self, scores: Sequence[Scores | None], verifier: Verifier, shape: ModelShape | None) -> Cost:
        """Of the traces that it asks for, after those that were scored for it before."""
        steps_N = [trace.steps for trace in self.asked.traces]
        # What was read after the problem alone is of no use after earlier attempts.
        known = self.read[verifier.name] if self.asked.attempts is None else ()
        return scoring_cost(steps_N, scores, verifier.num_parameters, known, shape)

    def pay_scored(self, key: str, scored: Scored, verifier: Verifier, shape: ModelShape | None) -> None:
        """Charge the scores of its request if they are new to it, and note what was read and said."""
        if key not in self.paid:
            self.cost += self.scoring_cost(scored.scores, verifier, shape) + Cost(seconds=scored.seconds)
            self.paid.add(key)
        for trace, its in zip(self.asked.traces, scored.scores, strict=True):
            if its is not None:
                if self.asked.attempts is None:
                    known = self.read[verifier.name]
                    known |= {(), *new_prefixes(trace.steps, known)}
                self.opinions[trace.steps] = its.trace

    # The end

    def result(self) -> SearchResult:
        """What it found, checked: a strategy of one's own may be wrong about its candidates."""
        found, most, name = self.found, self.budget.samples, self.method.words
        if not isinstance(found, Found):
            raise ValueError(f"{name} returned {found!r}; a strategy must return Found(candidates, scores, chosen)")
        if len(found.candidates) > most:
            raise ValueError(
                f"{name} returned {len(found.candidates)} candidates, its budget is {most} ({self.problem.id})"
            )
        if len(found.scores) != len(found.candidates):
            raise ValueError(f"{name} returned {len(found.candidates)} candidates with {len(found.scores)} scores")
        if found.chosen is not None and not 0 <= found.chosen < len(found.candidates):
            raise ValueError(
                f"{name} chose candidate {found.chosen} of {len(found.candidates)}; number them from 0 ({self.problem.id})"
            )
        if found.chosen is not None and not found.candidates[found.chosen].usable:
            raise ValueError(f"{name} chose candidate {found.chosen}, which states no answer ({self.problem.id})")
        candidates = [
            replace(cut(trace) if trace.status == "open" else trace, index=i)
            for i, trace in enumerate(found.candidates)
        ]
        return SearchResult(
            problem_id=self.problem.id,
            method=self.method.name,
            strategy=self.method.strategy,
            verifier=self.method.verifier,
            candidates=tuple(candidates),
            scores=tuple(found.scores),
            chosen=found.chosen,
            independent=self.requests == [Sample(most)]
            and self.budget.generated_tokens is None
            and len(candidates) == most,
            cost=self.cost,
            duplicates=self.duplicates,
            tree=self._tree(found),
        )

    def _tree(self, found: Found) -> tuple[SampledStep, ...]:
        """What was sampled, as `SearchResult.tree` says."""
        returned = {trace.steps for trace in found.candidates}
        tokens: dict[tuple[str, ...], int] = {}  # in the order of the first time
        kept: set[tuple[str, ...]] = set()  # not only written to look ahead
        for one, drawn in self.made:
            steps = drawn.trace.steps
            if not one.one_step and steps in returned:
                continue
            # Blanks instead of a step are a node without text.
            path = steps if len(steps) > len(one.parent.steps) else (*one.parent.steps, "")
            tokens |= dict.fromkeys(new_prefixes(path[:-1], tokens), 0)
            tokens[path] = tokens.get(path, 0) + len(drawn.continuation.token_ids)
            if not one.greedy:
                kept.update(new_prefixes(path, kept))
        number = {path: i for i, path in enumerate(tokens)}
        return tuple(
            SampledStep(number.get(path[:-1]), path[-1], self.opinions.get(path), count, ahead=path not in kept)
            for path, count in tokens.items()
        )
