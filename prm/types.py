"""The nouns of the project, as frozen dataclasses. Read this file first.

- **Problem**: a question and its gold final answer.
- **Trace**: one attempt at a problem, a tuple of step strings. (*Solution* means a gold solution only.)
- **prefix**: the first steps of a trace, or none of them; **rollout**: a continuation sampled after a prefix, only to
  label that prefix (`Rollout`).
- **LabeledTrace**: a trace and, per step, a hard label, a soft value and the raw rollout counts.
- **Continuation**: what a generator returned for one prefix of token ids.
- **Scores**: what a verifier said of one trace: a score per step, one of the whole trace, and the tokens it read.
- **strategy**: a function of one problem that asks for samples, next steps and scores and chooses a candidate
  (`prm.search`); **method**: a strategy with its verifier and parameters, as one run compares them.
- **candidate**: a trace that a method looked at (`SearchResult.candidates`); **usable**: it may be chosen, because it is
  finished and states an answer; **open**: it is still being written.
- **tree**: the steps that a search sampled, each a node after its parent (`SampledStep`).
- **pool**: the independent samples of one problem, shared by all methods that choose among such samples.
- **Budget** / **Cost**: what a method may spend and what it did spend, in the same units for every method.

In error messages `where` is `file:line` of a row; `prompt` is the text of a problem, a prompt *template* makes token ids
of it. Sequences are tuples so that values can be hashed, compared and shared between processes. Suffixes of nested lists
name their dimensions, outermost first: `_P` problems, `_N` traces per problem, `_S` steps, `_T` tokens.

One labeled trace of the embedded problem set (three steps, the second one wrong; 8 rollouts per step):

>>> trace = Trace(
...     problem_id="arithmetic/train/7",
...     steps=("47 + 38 = 85", "85 - 12 = 63", "#### 63"),
...     answer="63",
...     correct=False,
... )
>>> labeled = LabeledTrace(trace, labels=(True, False, False), values=(0.75, 0.0, 0.0),
...                        counts=((6, 8), (0, 8), (0, 1)), method="monte_carlo@8", semantics="value")
>>> labeled.first_error
1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

Semantics = Literal["value", "correctness", "outcome"]
"""What a label means: `value` = chance that the trace ends right from here (Monte Carlo); `correctness` = this step is
right (human, judge); `outcome` = the whole trace ended right (ORM). Loss and default aggregation follow from it."""

Aggregation = Literal["last", "min", "product", "mean"]
"""How the scores of the steps become one score of the trace."""

Head = Literal["linear", "mlp", "lm_tokens"]
"""Shape and initial weights of the head that turns a hidden state into two logits (`prm.models.step_classifier`)."""

Dtype = Literal["float32", "bfloat16"]
"""The numbers in which a model computes, by their names in torch."""

StepRule = Literal["line", "paragraph", "thought", "whole"]
"""Where the steps of a text end; `prm.encoding.steps` says how each rule divides."""

StopReason = Literal["answer", "step", "eos", "length"]
"""Why a continuation ended: at its final answer, at a step end, at the model's end token (`eos`, or where a base model
goes on to another problem), or cut at the token limit."""


UNDECIDED = ("timeout", "error")
"""Outcomes of the answer check that may be due to the machine: they are checked again when they are read."""


@dataclass(frozen=True)
class Problem:
    """A question with its gold final answer."""

    id: str
    """Unique, stable name: `source/split/number`."""
    prompt: str
    answer: str
    source: str
    level: int | None = None
    """Difficulty as the source states it (arithmetic: the number of operations); None where it states none."""
    kept: Mapping[str, str | None] = field(default_factory=dict, compare=False)
    """Other columns of its source, such as topics: nothing here reads them, rows and reports carry them."""


@dataclass(frozen=True)
class Trace:
    """One attempt at a problem."""

    problem_id: str
    steps: tuple[str, ...]
    """Step texts without the separator between them."""
    answer: str | None
    """Extracted final answer; None if none was found."""
    correct: bool | None
    """Outcome of the answer check; None if it was not decided (see `status`)."""
    generator: str = "unknown"
    """Fingerprint of the generator that wrote it."""
    finished: bool = True
    """False if it was cut at a token limit before it ended."""
    num_tokens: int | None = None
    """Tokens the generator sampled for it, end tokens included; None if nobody counted them."""
    seed: int | None = None
    """With which it was sampled; None if it was not sampled here."""
    index: int = 0
    """Number of this trace among those of its problem."""
    status: str = "ok"
    """`ok`, or why the row cannot be used: `no_answer`, `truncated`, `no_steps`, `timeout`, `error`, `too_long` (the prompt
    fills the model's context); `open` while a search is still writing it. Judges (`prm.labelers.judge`, `.consensus`) and
    `prm.conversions` have more."""
    step_rule: StepRule | None = None
    """How its text was divided into steps; None if nobody says."""
    kept: Mapping[str, str | None] = field(default_factory=dict, compare=False)
    """Other columns of its row, such as annotators; as those of a problem."""

    def __post_init__(self) -> None:
        _check_steps(self.problem_id, self.steps)

    @property
    def id(self) -> str:
        """`problem_id#index`."""
        return f"{self.problem_id}#{self.index}"

    @property
    def usable(self) -> bool:
        """Whether it may be chosen and has a vote: it is finished and states an answer."""
        return self.finished and self.answer is not None


@dataclass(frozen=True)
class Rollout:
    """A continuation sampled from a prefix of a trace to label that prefix, or from a bare prompt to become a trace."""

    problem_id: str
    prefix: str
    """Hash of the exact token ids it continues; traces that begin alike share their rollouts."""
    index: int
    """Number of this rollout among those from the same prefix."""
    seed: int
    token_ids: tuple[int, ...]
    """What was sampled, the end token included."""
    text: str
    """The same without end tokens."""
    stop: StopReason
    gold: str
    """The gold answer it was checked against."""
    outcome: str
    """What `prm.answers` said of its final answer: `correct`, `wrong`, `no_answer`, `timeout` or `error`; `too_long` if its
    prefix fills the model's context."""

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def decided(self) -> bool:
        """Whether the answer could be checked. What could not is no evidence for either side."""
        return self.outcome not in (*UNDECIDED, "too_long")


@dataclass(frozen=True)
class LabeledTrace:
    """A trace with one label per step."""

    trace: Trace
    labels: tuple[bool | None, ...]
    """True = good, None = this step has no label. For `value` semantics: some rollout from this prefix succeeded
    (Math-Shepherd's hard label)."""
    values: tuple[float | None, ...] | None
    """Soft labels in [0, 1], None at a step without one; or None where the source has none."""
    counts: tuple[tuple[int, int], ...] | None
    """(successes, rollouts) per step, as sampled; hard and soft labels can be derived from them again."""
    method: str
    semantics: Semantics
    labeler: str | None = None
    """Fingerprint of the generator whose rollouts the labels come from; None if it is unknown or there is none."""

    def __post_init__(self) -> None:
        n = len(self.trace.steps)
        for name in ("labels", "values", "counts"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise ValueError(
                    f"{self.trace.id}: {n} steps but {len(column)} {name}; one {name[:-1]} per step is needed"
                )
        for i, label in enumerate(self.labels, 1):
            if label is not None and not isinstance(label, bool):  # -100 and 0.2 would both count as good
                raise ValueError(
                    f"{self.trace.id}: label {i} is {label!r}; a label is True, False, or None for a step without one."
                    " Soft labels belong in `values`"
                )
        if self.semantics not in get_args(Semantics):
            raise ValueError(f"{self.trace.id}: semantics {self.semantics!r} is not one of {get_args(Semantics)}")

    @property
    def first_error(self) -> int:
        """Index of the first step labeled bad, -1 if there is none (ProcessBench's `label`)."""
        return self.labels.index(False) if False in self.labels else -1


def labels_to_first_error(num_steps: int, first_error: int) -> tuple[bool | None, ...]:
    """Good before the first error, bad there, no label after it, where nobody judged; all good if it is -1.

    >>> labels_to_first_error(4, 1)
    (True, False, None, None)
    """
    if first_error < 0:
        return (True,) * num_steps
    return (True,) * first_error + (False,) + (None,) * (num_steps - first_error - 1)


@dataclass(frozen=True)
class Continuation:
    """What a generator sampled after one prefix of token ids, and what it read for it."""

    token_ids: tuple[int, ...]
    """All sampled ids, the end token included: `len` is the exact number of tokens generated."""
    text: str
    """Their text without end tokens and without the beginning of another problem; step separators inside are kept."""
    stop: StopReason
    prefill: int = 0
    """Tokens of its prefix, as far as the generator computes them. Equal prefixes of one call are read once, but each
    continuation says what it would have needed alone, so that its cost does not depend on what else is in the call."""
    keeps: bool = False
    """Whether the generator keeps prefix and continuation for later calls of the search: then what an earlier request of the
    problem has read or written is not charged again (`prm.costs`), whatever the generator really had."""
    asked: int = 0
    """Tokens that a second call computed, which asked for the answer (`prm.generators.answer_call`); no other continuation
    shares them. 0 where there was none."""
    odds: tuple[tuple[int, int, float], ...] = ()
    """If the call asked for the odds of two tokens: of each place where one of them was sampled, the characters of the text
    from which and up to which it goes, and ln p(first) - ln p(second), as the model says it, whatever the temperature."""


@dataclass(frozen=True)
class Scores:
    """What a verifier says of one trace or prefix, and what it read for it."""

    steps: tuple[float, ...]
    """One score in [0, 1] per step."""
    trace: float
    """One score of the whole, in [0, 1]; strategies compare and add up these."""
    read: int = 0
    """Tokens of it that are not counted for another trace of the same request, whatever was read in earlier requests."""
    cached: int = 0
    """Tokens that another trace of the request shares."""
    ends: tuple[int, ...] = ()
    """Tokens up to the end of the prompt and of each step, if the verifier keeps what it has read between requests: then
    what an earlier request of the problem has read is not charged again (`prm.costs`)."""
    spreads: tuple[float, ...] = ()
    """One standard deviation per step, of the chance whose mean is the score: how far the chances of steps that look alike
    to the verifier scatter. Empty where the verifier says nothing of it."""
    written: tuple[int, ...] = ()
    """Tokens of each critique that the verifier wrote about it after reading. Empty where it writes none."""


@dataclass(frozen=True)
class Budget:
    """What a method may spend on one problem. Equal budgets mean equal generated tokens; `samples` is a cap beside it."""

    samples: int
    """Largest number of candidates (best-of-N) or beams."""
    generated_tokens: int | None = None
    """Largest number of generated tokens, held to the token; None = bounded by `samples` alone."""


@dataclass(frozen=True)
class Cost:
    """What was spent. Adds up with `+`."""

    generated_tokens: int = 0
    """Tokens sampled by the generator (decode)."""
    prompt_tokens: int = 0
    """Tokens of prefixes that the generator computed (prefill), once for all continuations of a prefix in one request, and
    once in all where it keeps them."""
    verifier_tokens: int = 0
    """Tokens that the verifier computed, read or written; what traces share is computed once (see `prm.costs`)."""
    cached_tokens: int = 0
    """Tokens that neither model had to compute again, because they are shared."""
    generator_calls: int = 0
    """Continuations asked for, and second calls that ask for an answer."""
    verifier_calls: int = 0
    """Traces (or prefixes) scored."""
    flops: float = 0.0
    """Forward FLOPs of both models, 2 x parameters x tokens (see `prm.costs`)."""
    seconds: float = 0.0
    """Its share of the wall time of the batches it took part in."""
    cached_verifier_tokens: int = 0
    """Those of `cached_tokens` that are the verifier's."""
    flops_by_shape: float = 0.0
    """Forward FLOPs of both models as they are built, attention included; what is unknown of a model is as in `flops`."""
    written_verifier_tokens: int = 0
    """Those of `verifier_tokens` that the verifier wrote (decode): its critiques."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class SampledStep:
    """A node of the tree of a search: a step after its parent."""

    parent: int | None
    """Index of the node before it; None if it is the first step of a trace."""
    text: str
    """Empty if only blanks were sampled."""
    score: float | None
    """What a verifier said last of the trace up to here; None if none was asked."""
    tokens: int
    """Sampled for it, those of equal steps after the same parent included. Of a trace that was sampled at once, all tokens
    are with the last step."""
    ahead: bool = False
    """Whether it was written only to see where the step before it leads (lookahead), and not to go on from it."""


@dataclass(frozen=True)
class SearchResult:
    """What a method found for one problem, with everything it looked at. One of them is one entry of a stored row
    (`prm.storage.search_rows`)."""

    problem_id: str
    method: str
    """Name of the method in its run, such as `best_of_n prm`."""
    strategy: str
    verifier: str | None
    """Name of the verifier in the run; None where none took part."""
    candidates: tuple[Trace, ...]
    scores: tuple[Scores | None, ...]
    """Of each candidate; None where it was not scored."""
    chosen: int | None
    """Index of the chosen candidate; None if no candidate is usable."""
    independent: bool
    """Whether the candidates are the pool: as many whole traces as the budget allows, asked for at once. Only for these the
    estimators of `prm.evaluation.search_metrics` hold: what is sampled after looking at others is not exchangeable."""
    cost: Cost
    duplicates: int = 0
    """Continuations that repeat a text which was sampled for this problem before: paid for, and of no use to a tree."""
    tree: tuple[SampledStep, ...] = ()
    """Everything that was sampled step by step, and the whole traces that are not among the candidates; parents come first.
    Empty where the candidates are all that was sampled."""

    @property
    def answer(self) -> str | None:
        return None if self.chosen is None else self.candidates[self.chosen].answer

    @property
    def correct(self) -> bool:
        return self.chosen is not None and bool(self.candidates[self.chosen].correct)


def _check_steps(name: str, steps: tuple[str, ...]) -> None:
    if set(map(type, steps)) == {str} and all(map(str.strip, steps)):  # a search makes a trace at every step
        return
    for i, step in enumerate(steps, 1):
        if not isinstance(step, str) or not step.strip():
            raise ValueError(
                f"{name}: step {i} of {len(steps)} is empty or not a string ({step!r}); remove it or fix the row"
            )
