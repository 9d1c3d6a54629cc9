r"""GenerativeVerifier: a language model that writes a critique of a trace, with a verdict on each step (arXiv:2504.00891).

    score(step i)  =  mean over the critiques of  p(good) / (p(good) + p(bad))  at the place of the verdict on step i

given all that the critique says before it. With one critique this is what vLLM's /generative_scoring computes of two label
tokens. A server that tells no probabilities can be asked several times; then the score is the share of verdicts that say
good (`Critic.logprobs`). The score of a trace is the aggregate of those of its steps.

    the question                            the critique                  p(good) at the verdicts
    Start with 47, add 38, subtract 12.     47 + 38, carry 1 = 85
    47 + 38 = 75                            #### 0                        0.02
    75 - 12 = 63                            75 - 12 = 63
                                            #### 0                        0.01

Who writes is a critic as of a judge (`prm.generators.chat`): the Hugging Face engine in this process, or a server. What is
asked and how a verdict reads is data (`prm.encoding.critiques`, `prm.verifiers.families`). A critique that is cut, or does
not have one verdict per step, is counted (`ledger`) and another one is asked for; a trace with too few readable ones has no
score. Critiques follow from trace and seed alone, so a trace has the same scores in any batch.

It is charged for what it reads and for every token that it writes, unreadable critiques included. The k critiques of a trace
read it once. A search step by step has every step judged anew with each step after it. Left out: going on from the critique
of a prefix, which would save that, and a tree of traces that share what was read.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter, defaultdict
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
from prm.types import Aggregation, Dtype, Scores
from prm.verifiers.families import Critic, Family
from prm.verifiers.scoring import SERVED


@dataclass
class Critiques:
    """Of one trace, as they come in."""

    question: Question
    num_steps: int
    votes: list[tuple[float, ...]] = field(default_factory=list)
    """Of each readable critique, the chance of a good one at every step."""
    texts: list[str] = field(default_factory=list)
    """The readable critiques."""
    asked: int = 0
    read: int = 0
    written: list[int] = field(default_factory=list)
    too_long: bool = False


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
        """Critiques, unreadable ones by cause, and traces without a score."""

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
        generator = HfGenerator.from_pretrained(
            path, device=device, dtype=dtype, template=family.codec.prompt, step_rule="whole", **sampling
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
        critiques, known = self.critiques(prompts, steps_N), set()
        found = []
        for its in critiques:
            found.append(self._scores(its, first=its.question.key not in known))
            known.add(its.question.key)
        if missing := found.count(None):
            self.ledger["traces without a score"] += missing
            warnings.warn(
                f"{missing} of {len(found)} traces have no score: too long, or without a critique that can be read; so far"
                f" {dict(self.ledger)}",
                stacklevel=2,
            )
        return found

    def critiques(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Critiques]:
        """The critiques of each trace; traces with the same text share theirs.

        Raises:
            ValueError: not a single critique could be read; shows the first one.
        """
        cases: dict[str, Critiques] = {}
        keys = []
        for prompt, steps in zip(prompts, steps_N, strict=True):
            text = self.critic.form.question(prompt, steps)
            key = hashlib.sha256(text.encode()).hexdigest()[:16]
            cases.setdefault(key, Critiques(Question(prompt[:60], key, 0, 0, text), len(steps)))
            keys.append(key)
        votes, most = self.critic.votes, self.critic.votes + self.critic.retries
        unreadable: list[str] = []
        while open_cases := [
            its for its in cases.values() if len(its.votes) < votes and its.asked < most and not its.too_long
        ]:
            questions = [
                replace(
                    its.question, index=index, seed=derive_seed(self.critic.seed, "critique", its.question.key, index)
                )
                for its in open_cases
                for index in range(its.asked, min(its.asked + votes - len(its.votes), most))
            ]
            answers: list[Answer] = []
            self.writer.ask(questions, answers.extend)
            by_case: defaultdict[str, list[Answer]] = defaultdict(list)
            for answer in sorted(answers, key=lambda its: its.index):  # whatever the order in which they came in
                by_case[answer.key].append(answer)
            for key, its_answers in by_case.items():
                unreadable += self._take(cases[key], its_answers)
        if cases and not any(its.votes for its in cases.values()) and unreadable:
            raise ValueError(
                f"{self.name}: none of {len(unreadable)} critiques can be read ({dict(self.ledger)}). The first one:"
                f" {unreadable[0][-300:]!r}; a verdict reads {self.critic.form.marker + self.critic.form.good!r}"
            )
        return [cases[key] for key in keys]

    def _take(self, its: Critiques, answers: Sequence[Answer]) -> list[str]:
        """Count the answers of a round, and note the votes of those that can be read. Returns the texts of the others."""
        its.asked += len(answers)
        if not answers[0].finished and not answers[0].generated_tokens:
            its.too_long = True
            return []
        its.read += answers[0].prompt_tokens
        its.written += [answer.generated_tokens for answer in answers]
        self.ledger["critiques"] += len(answers)
        unreadable = []
        for answer in answers:
            chances = _chances(self.critic, answer, its.num_steps)
            if isinstance(chances, str):
                self.ledger[f"unreadable: {chances}"] += 1
                unreadable.append(answer.text)
            else:
                its.votes.append(chances)
                its.texts.append(answer.text)
        return unreadable

    def _scores(self, its: Critiques, first: bool) -> Scores | None:
        """The mean of its votes. What another trace with this text has paid is cached here."""
        if len(its.votes) < self.critic.votes:
            return None
        steps = tuple(fmean(chances) for chances in zip(*its.votes, strict=True))
        trace = aggregate(steps, self.aggregation)
        if not first:
            return Scores(steps, trace, cached=its.read)
        return Scores(steps, trace, read=its.read, written=tuple(its.written))


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
