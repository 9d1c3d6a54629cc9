r"""GenerativeVerifier: a language model that writes a critique of a trace, with a verdict on each step (arXiv:2504.00891).

    score(step i)  =  mean over the critiques of  p(good) / (p(good) + p(bad))  at the place of the verdict on step i

given all that the critique says before it. With one critique this is what vLLM's /generative_scoring computes of two label
tokens. A server that tells no probabilities can be asked several times; then the score is the share of verdicts that say
good (`Critic.logprobs`). The score of a trace is the aggregate of those of its steps.

    asked                                   written                       p(good) at the verdicts
    Start with 47, add 38, subtract 12.
    47 + 38 = 75                            47 + 38, carry 1 = 85
                                            #### 0                        0.02
    75 - 12 = 63                            85 - 12 = 73
                                            #### 0                        0.01

Who writes is a critic as of a judge (`prm.generators.chat`): the Hugging Face engine in this process, or a server. What is
asked, once for the whole trace or step by step, and how a verdict reads is data (`prm.encoding.critiques`,
`prm.verifiers.families`). A critique that is cut, or has not one verdict per step that it was asked about, is counted
(`ledger`), and another one is asked for; a trace without enough readable ones has no score. What is written follows from
text and seed alone, so a trace has the same scores in any batch.

It is charged for what it reads and for every token that it writes, unreadable critiques included; what was written about a
trace that has no score in the end is counted in the ledger alone. The votes on a trace read it once; traces with the same
text, or, step by step, the same beginning, share their critiques. Where the engine keeps what it reads, the next step costs
the tokens after it. Left out: keeping critiques from request to request of a search.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Literal

from transformers import PreTrainedModel

from prm.aggregation import aggregate
from prm.generators import derive_seed
from prm.generators.chat import Answer, ChatCritic, GeneratorCritic, Question
from prm.generators.endpoint import Endpoint
from prm.generators.hf import HfGenerator
from prm.models.kept_tokens import KeptTokens
from prm.types import Aggregation, Dtype, Scores, StepRule
from prm.verifiers.families import Critic, Family
from prm.verifiers.scoring import SERVED


@dataclass
class Turn:
    """One question and what came of it. Traces that begin alike share it."""

    question: Question
    vote: int
    num_verdicts: int
    before: int
    """Tokens of the question before it, which this one goes on from."""
    critique: str | None = None
    """The readable one."""
    chances: tuple[float, ...] = ()
    """Of a good verdict, at each step that was asked about."""
    asked: int = 0
    prompt_tokens: int = 0
    read: int = 0
    written: list[int] = field(default_factory=list)
    too_long: bool = False


Votes = list[list[Turn]]
"""Of one trace: of each vote its turns, as far as they could be read."""


class GenerativeVerifier:
    """See `prm.verifiers.Verifier`."""

    kind: Literal["prm", "orm"] = "prm"

    def __init__(self, writer: ChatCritic | GeneratorCritic, critic: Critic, aggregation: Aggregation = "min") -> None:
        """
        Args:
            writer: made with the words of the critic's form, if the score is their probability.
        """
        self.writer = writer
        self.critic = critic
        self.aggregation = aggregation
        generator = writer.generator if isinstance(writer, GeneratorCritic) else None
        self.num_parameters = 0 if generator is None else generator.num_parameters
        self.model: PreTrainedModel | None = generator.model if isinstance(generator, HfGenerator) else None
        """What writes, if it does so in this process."""
        settings = repr((replace(critic, batch_size=1), aggregation)).encode()
        self.name = f"generative-{writer.name}-{hashlib.sha256(settings).hexdigest()[:8]}"
        self.ledger: Counter[str] = Counter()
        """Critiques and their tokens, unreadable ones by cause, and traces without a score."""

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        family: Family,
        device: str | None = None,
        base_model: str | None = None,
        dtype: Dtype | None = None,
    ) -> GenerativeVerifier:
        """
        Args:
            path: folder or hub name of the language model; or its name on a server, `@`, and the server's URL.

        Raises:
            OSError: no such folder or name. ValueError: the tokenizer makes the same token of both words, or there is a base
                model, which it does not need.
        """
        critic = family.critic
        if critic is None or base_model is not None:
            raise ValueError(
                f"{path}: a generative verifier has a `critic` in its family and takes no base_model; merge an adapter first"
            )
        form, limits = critic.form, {"max_new_tokens": critic.max_new_tokens, "batch_size": critic.batch_size}
        sampling: dict[str, Any] = {"temperature": critic.temperature, "top_p": critic.top_p, **limits}
        if served := SERVED.fullmatch(path):
            if served["place"] == "vllm":
                raise ValueError(f"{path}: start `vllm serve` and give its URL, as in MODEL@http://127.0.0.1:8000/v1")
            words = (form.good, form.bad) if critic.logprobs else None
            chat = ChatCritic(Endpoint(served["place"]), served["folder"], words=words, **sampling)
            return cls(chat, critic, family.aggregation)
        rule: StepRule = (
            "line" if form.per_step else "whole"
        )  # a line that states an answer is the end of a step's critique
        generator = HfGenerator.from_pretrained(
            path, device=device, dtype=dtype, template=family.codec.prompt, step_rule=rule, **sampling
        )
        ids = form.word_ids(generator.tokenizer) if critic.logprobs else None
        return cls(GeneratorCritic(generator, critic.batch_size, ids), critic, family.aggregation)

    def score(self, prompt: str, steps: Sequence[str]) -> list[float]:
        """The chance of a good verdict for every step of one trace.

        Raises:
            ValueError: no critique of it could be read, or it is too long.
        """
        (scores,) = self.score_batch([prompt], [steps])
        if scores is None:
            raise ValueError(
                f"a trace of {len(steps)} steps has no score ({dict(self.ledger)}; prompt {prompt[:60]!r})"
            )
        return list(scores.steps)

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        """None for a trace that is too long, or has too few readable critiques."""
        paid: set[int] = set()
        found = [self._scores(votes, paid) for votes in self.critiques(prompts, steps_N)]
        if missing := found.count(None):
            self.ledger["traces without a score"] += missing
            warnings.warn(
                f"{missing} of {len(found)} traces have no score: too long, or without a critique that can be read; so far"
                f" {dict(self.ledger)}",
                stacklevel=2,
            )
        return found

    def critiques(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Votes]:
        """What is written about each trace.

        Raises:
            ValueError: not a single critique could be read; shows the first one.
        """
        form = self.critic.form
        if isinstance(self.writer, GeneratorCritic) and form.per_step:
            self.writer.kept = KeptTokens()
        turns: dict[tuple[str, int], Turn] = {}
        votes_N: list[Votes] = [[[] for _ in range(self.critic.votes)] for _ in prompts]
        rounds = max(map(len, steps_N), default=0) if form.per_step else 1
        for number in range(rounds):
            new = []
            for prompt, steps, votes in zip(prompts, steps_N, votes_N, strict=True):
                if form.per_step and number >= len(steps):
                    continue
                for vote, before in enumerate(votes):
                    critiques = [turn.critique for turn in before if turn.critique is not None]
                    if len(critiques) < len(before):  # it could not go on
                        continue
                    shown = steps[: number + 1] if form.per_step else steps
                    text = form.question(prompt, shown, critiques)
                    key = hashlib.sha256(text.encode()).hexdigest()[:16]
                    if (key, vote) not in turns:
                        question = Question(prompt[:60], key, 0, 0, text)
                        read = before[-1].prompt_tokens if before else 0
                        turns[key, vote] = Turn(question, vote, 1 if form.per_step else len(steps), read)
                        new.append(turns[key, vote])
                    before.append(turns[key, vote])
            unreadable = self._ask(new)
            if number == 0 and unreadable and not any(its.critique for its in new):
                raise ValueError(
                    f"{self.name}: none of {len(unreadable)} critiques can be read ({dict(self.ledger)}). The first one:"
                    f" {unreadable[0][-300:]!r}; a verdict reads {form.marker + form.good!r}"
                )
        return votes_N

    def _ask(self, turns: Sequence[Turn]) -> list[str]:
        """Ask these questions, and those again whose answers cannot be read. Returns the texts of these answers."""
        unreadable: list[str] = []
        while waiting := [
            its for its in turns if its.critique is None and its.asked <= self.critic.retries and not its.too_long
        ]:
            by_address = {(its.question.key, its.vote + its.asked * self.critic.votes): its for its in waiting}
            questions = [
                replace(its.question, index=index, seed=derive_seed(self.critic.seed, "critique", key, index))
                for (key, index), its in by_address.items()
            ]
            answers: list[Answer] = []
            self.writer.ask(questions, answers.extend)
            read: set[str] = set()
            # In the order of their numbers, whatever the one in which they came.
            for answer in sorted(answers, key=lambda its: (its.key, its.index)):
                unreadable += self._take(by_address[answer.key, answer.index], answer, answer.key in read)
                read.add(answer.key)
        return unreadable

    def _take(self, turn: Turn, answer: Answer, shared: bool) -> list[str]:
        """Count an answer, and note its verdicts. Returns its text if it cannot be read.

        Args:
            shared: whether another vote has read the same question in this round.
        """
        if not answer.finished and not answer.generated_tokens:
            turn.too_long = True
            return []
        # Of what is kept the last token is read again, for what it says of the next.
        kept = (turn.prompt_tokens - 1 if turn.asked else turn.before) if answer.keeps else 0
        turn.asked, turn.prompt_tokens = turn.asked + 1, answer.prompt_tokens
        turn.read += 0 if shared else answer.prompt_tokens - kept
        turn.written.append(answer.generated_tokens)
        self.ledger["critiques"] += 1
        self.ledger["tokens written"] += answer.generated_tokens
        chances = _chances(self.critic, answer, turn.num_verdicts)
        if isinstance(chances, str):
            self.ledger[f"unreadable: {chances}"] += 1
            return [answer.text]
        turn.critique, turn.chances = answer.text, chances
        return []

    def _scores(self, votes: Votes, paid: set[int]) -> Scores | None:
        """The mean of the votes. What another trace of the batch has paid (`paid`: by identity) is cached here."""
        if any(turn.critique is None for turns in votes for turn in turns):
            return None
        chances = [[its for turn in turns for its in turn.chances] for turns in votes]
        steps = tuple(fmean(its) for its in zip(*chances, strict=True))
        new = [turn for turns in votes for turn in turns if id(turn) not in paid]
        read, whole = sum(turn.read for turn in new), sum(turn.read for turns in votes for turn in turns)
        paid |= {id(turn) for turn in new}
        written = tuple(length for turn in new for length in turn.written)
        return Scores(steps, aggregate(steps, self.aggregation), read=read, cached=whole - read, written=written)


def _chances(critic: Critic, answer: Answer, num_steps: int) -> tuple[float, ...] | str:
    """The chance of a good verdict at every step, or why the answer cannot be read."""
    if not answer.finished:
        return "cut"
    verdicts = critic.form.read(answer.text, num_steps)
    if verdicts is None:
        return "not one verdict per step"
    if not critic.logprobs:
        return tuple(float(good) for _, good in verdicts)
    odds = [next((its for begin, end, its in answer.odds if begin <= place < end), None) for place, _ in verdicts]
    if None in odds:
        return "its verdicts are written in other tokens"
    return tuple(1 / (1 + math.exp(-its)) if its > -700 else 0.0 for its in odds if its is not None)
