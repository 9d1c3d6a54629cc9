"""Critics: language models that answer a judge's questions, on a chat server or as a generator in this process.

    Question("arithmetic/train/7#3", key="9f2c41d8a0b3e7f6", index=0, seed=77, prompt="Below are a math problem ...")
    Answer("9f2c41d8a0b3e7f6", index=0, seed=77, text="... First wrong paragraph: 1", finished=True, prompt_tokens=311,
           generated_tokens=96)

`ChatCritic` sends `POST chat/completions` to any server with the OpenAI protocol, up to `batch_size` requests at once,
and retries temporary failures (`prm.generators.endpoint`). Reasoning that a server returns separately
(`reasoning_content`) is paid for but not kept. `GeneratorCritic` puts the prompt into the tokenizer's chat template. Each
answer is passed on as soon as it is complete, so that the caller can commit it.

The server decides about settings that are not sent: `vllm serve` takes `top_k` and `repetition_penalty` from the model's
generation_config.json. For a judge these are what its makers recommend, and hosted servers refuse fields outside the
protocol.

A critic that is given two `words`, those of a verdict, also tells how likely each was wherever it wrote one of them: from
the logits of a generator, or from the `logprobs` of a server, up to 20 alternatives per token.

Left out: models that accept only `max_completion_tokens`; structured output (`response_format`), because servers differ
in it, and a verdict that must be given before the checks are written is worse.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from prm.encoding.prompts import PROMPTS
from prm.generators import Generator, generate_what_fits, load_generator
from prm.generators.endpoint import (
    BYTES_PER_TOKEN,
    ENDS,
    Endpoint,
    EndpointError,
    MalformedAnswer,
    TooLong,
    finish_reason,
    whole_characters,
)
from prm.models.kept_tokens import KeptTokens


@dataclass(frozen=True)
class Question:
    """A request for one answer of a critic."""

    trace_id: str
    """For error messages."""
    key: str
    """Hash of the prompt."""
    index: int
    """Number of this answer among those to the same prompt."""
    seed: int
    prompt: str


@dataclass(frozen=True)
class Answer:
    """What a critic wrote."""

    key: str
    index: int
    seed: int
    text: str
    finished: bool
    """False if the answer was cut at the token limit or by a filter of the server."""
    prompt_tokens: int
    generated_tokens: int
    """As the server counts them, hidden reasoning included."""
    odds: tuple[tuple[int, int, float], ...] = ()
    """Of each token that begins one of the critic's two words (`Continuation.odds`)."""
    keeps: bool = False
    """Whether the critic keeps what it has read for questions that go on from this one, and then reads only what is new."""


Commit = Callable[[Sequence[Answer]], None]

ALTERNATIVES = 20
"""Tokens per position whose log-probability a server is asked for: the most that OpenAI's protocol allows."""


class Critic(Protocol):
    """A language model that answers questions."""

    name: str
    """Fingerprint of model and sampling settings: everything that changes the answers changes the name."""
    ledger: Counter[str]
    """Requests to a server, and retries by cause."""

    def ask(self, questions: Sequence[Question], commit: Commit) -> None:
        """Answer every question, in any order; `commit` receives the answers as they are completed."""
        ...


class ChatCritic:
    """A model on a server. Its weights cannot be fingerprinted, so serve other weights under another name."""

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        *,
        temperature: float = 0.6,
        top_p: float = 0.95,
        max_new_tokens: int = 8192,
        batch_size: int = 32,
        words: tuple[str, str] | None = None,
    ) -> None:
        """
        Args:
            batch_size: number of requests in flight.
            words: whose odds the answers are to tell; needs a server that gives log-probabilities.
        """
        self.endpoint = endpoint
        self.batch_size = batch_size
        self._max_new_tokens = max_new_tokens
        self._words = words
        self._body = {"model": model, "temperature": temperature, "top_p": top_p, "max_tokens": max_new_tokens}
        if words is not None:
            self._body |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
        digest = hashlib.sha256(repr(sorted(self._body.items())).encode()).hexdigest()[:8]
        self.name = f"{model.split('/')[-1]}-chat-{digest}"

    @property
    def ledger(self) -> Counter[str]:
        return self.endpoint.ledger

    def ask(self, questions: Sequence[Question], commit: Commit) -> None:
        """A question that the server refuses because of its length has an empty answer that is not finished, if the server
        answers others.

        Raises:
            EndpointError: the server refused a question (the message names its trace), or failed for too long.
        """
        asyncio.run(self._ask(iter(questions), commit))

    async def _ask(self, questions: Iterator[Question], commit: Commit) -> None:
        async with self.endpoint.client(self.batch_size) as client:
            refused: list[tuple[Question, TooLong]] = []

            async def work() -> None:
                for question in questions:  # all workers share one iterator
                    try:
                        commit([await self._answer(client, question)])
                    except TooLong as error:
                        refused.append((question, error))

            await asyncio.gather(*(work() for _ in range(self.batch_size)))  # the first error ends all of them
        if refused and not self.endpoint.answered:  # it may be set up for nothing that is asked here
            raise refused[0][1]
        if refused:
            commit([Answer(its.key, its.index, its.seed, "", False, 0, 0) for its, _ in refused])

    async def _answer(self, client: httpx2.AsyncClient, question: Question) -> Answer:
        def read(answer: Any) -> Answer:
            (choice,) = answer["choices"]
            text, usage = whole_characters(choice["message"]["content"] or ""), answer["usage"]
            counts = usage["prompt_tokens"], usage["completion_tokens"]
            if not all(type(count) is int and count >= 0 for count in counts):
                raise MalformedAnswer(f"{answer!r:.200}")
            most = self._max_new_tokens
            if (
                usage["completion_tokens"] > most + 1 or len(text) > BYTES_PER_TOKEN * most
            ):  # some count the end token, too
                raise MalformedAnswer(
                    f"{usage['completion_tokens']} tokens, {len(text):,} characters, where {most} tokens were asked for"
                )
            reason = finish_reason(self.endpoint, choice)
            # Some servers say `stop` of a text that the token limit has cut, too.
            full = reason == "stop" and usage["completion_tokens"] >= self._max_new_tokens
            return Answer(
                question.key,
                question.index,
                question.seed,
                text,
                finished=reason in ENDS and not full,
                prompt_tokens=usage["prompt_tokens"],
                generated_tokens=usage["completion_tokens"],
                odds=() if self._words is None else self._odds(choice.get("logprobs"), text),
            )

        body = self._body | {"messages": [{"role": "user", "content": question.prompt}], "seed": question.seed}
        try:
            return await self.endpoint.ask(client, "chat/completions", body, read)
        except EndpointError as error:
            raise type(error)(f"judging {question.trace_id}: {error}") from error

    def _odds(self, logprobs: Any, text: str) -> tuple[tuple[int, int, float], ...]:
        """As `Answer.odds`, from the `logprobs` of a choice."""
        assert self._words is not None
        if not isinstance(logprobs, dict) or not isinstance(logprobs.get("content"), list):
            raise self.endpoint.unfit(
                f"{self.endpoint.url} gives no logprobs, so the probability of a verdict is not known. Use a server that"
                " gives them, or say `logprobs: false` and several votes, whose share is the score then"
            )
        pieces = [_bytes(token) for token in logprobs["content"]]
        # Tokens of reasoning that is returned separately, or an end token, may surround those of the text.
        start = b"".join(pieces).find(text.encode())
        if start < 0:
            raise self.endpoint.unfit(f"{self.endpoint.url} gives logprobs of other tokens than those of its text")
        odds, place = [], -start
        for token, piece in zip(logprobs["content"], pieces, strict=True):
            begin, place = place + len(piece) - len(piece.lstrip()), place + len(piece)
            if begin >= 0 and _begins(piece, self._words):
                span = (len(text.encode()[:end].decode(errors="ignore")) for end in (begin, place))
                odds.append((*span, _log_odds(token["top_logprobs"], self._words)))
        return tuple(odds)  # type: ignore[arg-type]


def _bytes(token: dict[str, Any]) -> bytes:
    """Of a token: its text may be half a character, so servers give its bytes, too."""
    return token["token"].encode() if token.get("bytes") is None else bytes(token["bytes"])


def _begins(piece: bytes, words: tuple[str, str]) -> str | None:
    """Which of the two words begins with this token, or is its beginning; they begin with different letters."""
    found = piece.decode(errors="replace").lstrip()
    return next((word for word in words if found and (word.startswith(found) or found.startswith(word))), None)


def _log_odds(alternatives: Sequence[dict[str, Any]], words: tuple[str, str]) -> float:
    """ln p(first word) - ln p(second word) of the alternatives at one place. A word that is not among them is less likely
    than all of them, and is taken to be as likely as the last."""
    last = min(token["logprob"] for token in alternatives)
    chances = dict.fromkeys(words, 0.0)
    for token in alternatives:
        if word := _begins(_bytes(token), words):
            chances[word] += math.exp(token["logprob"])
    first, second = (chances[word] or math.exp(last) for word in words)
    return math.log(first) - math.log(second)


class GeneratorCritic:
    """A generator in this process. Its prompt template must be a chat template and its step rule `whole`, else it
    would stop when it quotes an answer."""

    def __init__(self, generator: Generator, batch_size: int = 32, words: tuple[int, int] | None = None) -> None:
        """
        Args:
            batch_size: questions answered together, and committed together.
            words: two tokens whose odds the answers are to tell; needs an `HfGenerator`.
        """
        self.generator = generator
        self.batch_size = batch_size
        self.words = words
        self.kept: KeptTokens | None = None
        """What earlier questions have left for those that go on from them; None = nothing is to be kept."""
        self.name = generator.name
        self.ledger: Counter[str] = Counter()

    @classmethod
    def from_pretrained(cls, path: str, *, batch_size: int = 32, **settings) -> GeneratorCritic:
        """A folder or hub name of a model with a chat template; settings as in `prm.generators.load_generator`."""
        generator = load_generator(path, template=PROMPTS["chat"], step_rule="whole", batch_size=batch_size, **settings)
        return cls(generator, batch_size)

    def ask(self, questions: Sequence[Question], commit: Commit) -> None:
        """Questions of similar length share a batch. One that leaves no room in the model's context has an empty answer that
        is not finished."""
        watched = {} if self.words is None else {"watched": self.words}
        encoded = [(question, self.generator.encode(question.prompt)) for question in questions]
        encoded.sort(key=lambda pair: len(pair[1]))
        for start in range(0, len(encoded), self.batch_size):
            batch = encoded[start : start + self.batch_size]
            texts = generate_what_fits(
                self.generator,
                [ids for _, ids in batch],
                [question.seed for question, _ in batch],
                kept=self.kept,
                **watched,
            )
            commit(
                [
                    Answer(
                        question.key,
                        question.index,
                        question.seed,
                        text.text,
                        finished=text.stop != "length",
                        prompt_tokens=len(ids),
                        generated_tokens=len(text.token_ids),
                        odds=text.odds,
                        keeps=text.keeps,
                    )
                    for (question, ids), text in zip(batch, texts, strict=True)
                ]
            )
