r"""OpenAIGenerator: a server that speaks the OpenAI completions protocol as a generator.

Made for `vllm serve` (0.10.2 and newer): prompts are sent as token ids and sampled ids come back (`return_token_ids`), so
prefixes and token counts are exact. There is one request per step: the server stops at the separator, which it knows as
a string, and the rule of all engines (`prm.generators.token_text`) decides here whether the trace has ended. A server
cannot be told "stop after the line that states the answer", and text after that line would have to be paid for. The next
step of a sample is requested with a seed derived from the sample's seed; its prefix is in the server's cache. Where a base
model could go on to another problem ("Q:"), the server stops there, too; within a line that is no end, and the next request
goes on.

    POST /v1/completions {"prompt": [31, 9, 25], "seed": 17, "stop": ["\n"], "max_tokens": 80, "return_token_ids": true, ...}
    -> {"choices": [{"text": "15 - 9 = 6\n", "token_ids": [31, 9, 25, 13, 22, 14], "finish_reason": "stop",
        "stop_reason": "\n"}], ...}

`token_ids=False` is for servers without token ids. Then

- prompts are sent as text, which the server tokenizes in its own way;
- the server does not stop at "Q:", so the line that begins with it is written, and left out
  (`ledger["tokens after the end"]`);
- sampled ids come from tokenizing the text here, so their number is not exact (`ledger["completion_tokens"]` is the server's
  own count);
- the server says what stopped a text: vLLM in `stop_reason` (null = the end token), SGLang in `matched_stop`, TGI in its
  `finish_reason`. One that says only `stop` is assumed to have stopped at the separator. If it wrote nothing, that is a
  blank line or the end: it is asked once more after the blank line, and if it writes nothing again, the trace has ended;
- `stop` after as many tokens as were allowed is a cut, unless the server names what stopped the text;
- fields outside the protocol are not sent, so the server's own sampling defaults (llama.cpp's top_k of 40) apply unless
  `extra_body` overrides them.

The weights cannot be fingerprinted from here, so serve other weights under another model name. `n` is not used, because
the samples of one seed could not be requested again one by one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import httpx2
from transformers import GenerationConfig, PreTrainedTokenizerBase

from prm.encoding.prompts import PromptTemplate, bos
from prm.encoding.steps import separator_of
from prm.generators import NO_ROOM, Ended, derive_seed, ignore
from prm.generators.endpoint import (
    CUTS,
    Endpoint,
    EndpointError,
    MalformedAnswer,
    TooLong,
    finish_reason,
    whole_characters,
)
from prm.generators.token_text import OpenStep, TokenText, Until
from prm.models.kept_tokens import KeptTokens
from prm.models.loading import load_tokenizer
from prm.types import Continuation, StepRule

UNNAMED_IDS = 4096
"""How many more ids than its tokenizer a model may have: the rows that fill up its embedding."""


@dataclass(frozen=True)
class _Piece:
    """The result of one request."""

    ids: list[int]
    finish: Literal["stop", "length", "blank"]
    """`stop`: the last ids are a stop string or the end token. `blank`: the text is blank, and the server does not say which
    of them ended it; the ids are those of a blank line."""


class OpenAIGenerator:
    """Samples continuations of token-id prefixes. See `prm.generators.Generator`."""

    def __init__(
        self,
        endpoint: Endpoint,
        tokenizer: PreTrainedTokenizerBase,
        *,
        model: str | None = None,
        end_ids: int | Sequence[int] | None = None,
        template: PromptTemplate | None = None,
        step_rule: StepRule | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 512,
        batch_size: int = 256,
        token_ids: bool = True,
        num_parameters: int = 0,
        extra_body: dict[str, Any] | None = None,
    ) -> None:
        """Asks the server which models it has.

        Args:
            tokenizer: tokenizer of the served model.
            model: name of the served model; may be omitted if the server has only one.
            end_ids: tokens that end a continuation, in addition to the tokenizer's own end token.
            temperature, top_p, max_new_tokens, template: as in `HfGenerator`.
            batch_size: number of requests in flight.
            token_ids: whether the server accepts and returns token ids.
            num_parameters: for FLOPs, because a server does not tell it; 0 = unknown.
            extra_body: further fields of every request.

        Raises:
            EndpointError: the server cannot be reached, or does not serve this model.
        """
        template = template or PromptTemplate()
        self.endpoint = endpoint
        self.tokenizer = tokenizer
        self.step_rule: StepRule = step_rule or template.step_rule
        self._separator = separator_of(self.step_rule)
        opening = template.another_problem if token_ids else None
        self._stops = [text for text in (self._separator, opening) if text]
        self.temperature = temperature
        self.top_p = top_p
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.num_parameters = num_parameters
        self._token_ids = token_ids
        self._extra = extra_body or {}
        self._model, self.context = asyncio.run(self._served(model))
        settings = (
            template,
            self.step_rule,
            temperature,
            top_p,
            max_new_tokens,
            token_ids,
            sorted(self._extra.items()),
        )
        self.name = f"{self._model.split('/')[-1]}-openai-{hashlib.sha256(repr(settings).encode()).hexdigest()[:8]}"
        self._ids = TokenText(tokenizer, template=template, step_rule=self.step_rule, end_ids=end_ids)

    @classmethod
    def from_pretrained(
        cls, url: str, *, tokenizer: str | None = None, timeout: float = 300.0, patience: float = 600.0, **settings
    ) -> OpenAIGenerator:
        """A generator for the server at a URL such as `http://127.0.0.1:8000/v1`.

        Args:
            tokenizer: folder or hub name of the served model, for its tokenizer and end tokens.
            timeout, patience: see `Endpoint`.
        """
        if tokenizer is None:
            raise ValueError(
                f"engine openai needs the tokenizer of the model served at {url}: give its folder or hub name"
            )
        try:
            ends = GenerationConfig.from_pretrained(tokenizer).eos_token_id
        except OSError:  # the folder has only a tokenizer
            ends = None
        return cls(
            Endpoint(url, timeout=timeout, patience=patience),
            load_tokenizer(tokenizer),
            end_ids=ends,
            **settings,
        )

    @property
    def ledger(self) -> Counter[str]:
        """Requests, retries by cause, and tokens as counted by the server."""
        return self.endpoint.ledger

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        """Prompt ids, then the ids of every step with its separator, each tokenized separately."""
        return self._ids.encode(prompt, steps)

    def generate(
        self,
        prefixes: Sequence[Sequence[int]],
        seeds: Sequence[int],
        until: Until = "end",
        limits: Sequence[int] | None = None,
        ended: Ended = ignore,
        greedy: bool = False,
        kept: KeptTokens | None = None,
    ) -> list[Continuation]:
        """One continuation per (prefix, seed). Must not be called from within an event loop.

        Raises:
            ValueError: prefixes and seeds differ in number, or a prefix leaves no room in the model's context.
            EndpointError: the server refused a request, or failed for too long. One that it refuses because of its length
                has no room to continue, if it answers others.
        """
        self._ids.check(prefixes, seeds, until, self.context)
        limits_N = [self.max_new_tokens] * len(prefixes) if limits is None else list(limits)
        temperature = 0.0 if greedy else self.temperature
        return asyncio.run(self._generate(prefixes, seeds, limits_N, until, ended, temperature))

    async def _generate(
        self,
        prefixes: Sequence[Sequence[int]],
        seeds: Sequence[int],
        limits: Sequence[int],
        until: Until,
        ended: Ended,
        temperature: float,
    ) -> list[Continuation]:
        gate = asyncio.Semaphore(self.batch_size)
        refused: list[TooLong] = []
        async with self.endpoint.client(self.batch_size) as client:

            async def one(prefix: Sequence[int], seed: int, limit: int) -> Continuation:
                async with gate:
                    try:
                        continuation = await self._continue(client, prefix, seed, limit, until, temperature)
                    except TooLong as error:
                        refused.append(error)
                        continuation = NO_ROOM
                ended(1)
                return continuation

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(*sample)) for sample in zip(prefixes, seeds, limits, strict=True)]
            except BaseExceptionGroup as errors:  # the first error has ended all tasks
                raise errors.exceptions[0] from None
        if refused and not self.endpoint.answered:  # it may be set up for nothing that is asked here
            raise refused[0]
        return [task.result() for task in tasks]

    async def _continue(
        self,
        client: httpx2.AsyncClient,
        prefix: Sequence[int],
        seed: int,
        limit: int,
        until: Until,
        temperature: float,
    ) -> Continuation:
        limit = min(limit, self.max_new_tokens)
        if self.context is not None:
            limit = min(limit, self.context - len(prefix))
        ids: list[int] = []
        step, stop, blank = OpenStep(), None, False
        # One request per step, until the rule of all engines says that the continuation has ended.
        while stop is None:
            # With one seed, every request would start from the same random numbers. The first keeps the sample's own.
            piece_seed = derive_seed(seed, len(ids)) if ids else seed
            body = self._body([*prefix, *ids], piece_seed, limit - len(ids), temperature)
            try:
                piece = await self.endpoint.ask(
                    client, "completions", body, partial(self._read, limit=body["max_tokens"])
                )
            except TooLong:  # for the context, which the server has not told
                if not ids:
                    raise
                return Continuation(tuple(ids), self._ids.text(ids), "length", prefill=len(prefix))
            # What may have been a blank line was the end if nothing follows it.
            new = [self.tokenizer.eos_token_id] if blank and piece.finish == "blank" else piece.ids
            blank = piece.finish == "blank"
            # Token by token: the rule may end the continuation before the server does. What it wrote after that is counted.
            for i, token in enumerate(new):
                ids.append(token)
                stop = self._ids.stop(token, until, step)
                if stop is not None:
                    self.ledger["tokens after the end"] += len(new) - i - 1
                    break
            # A step that is not final, or a blank line, has ended the request: the next one continues, if tokens are left.
            if stop is None and (piece.finish == "length" or len(ids) >= limit):
                stop = "length"
        return Continuation(tuple(ids), self._ids.text(ids), stop, prefill=len(prefix))

    def _body(self, ids: list[int], seed: int, max_tokens: int, temperature: float) -> dict[str, Any]:
        body = {
            "model": self._model,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": self.top_p,
            "seed": seed,
        }
        if self._stops:
            body["stop"] = self._stops
        # As text, without a BOS token, because the server adds its own.
        if not self._token_ids:
            start = len(bos(self.tokenizer)) if ids[:1] == [self.tokenizer.bos_token_id] else 0
            return body | {"prompt": self.tokenizer.decode(ids[start:])} | self._extra
        return body | {
            "prompt": ids,
            "return_token_ids": True,
            "include_stop_str_in_output": True,
            "stop_token_ids": sorted(self._ids.end_ids),
            # Without these, vLLM applies the model's generation_config.json and samples from another distribution.
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        } | self._extra  # fmt: skip

    def _read(self, answer: Any, limit: int) -> _Piece:
        choices = answer["choices"]
        if len(choices) != 1:
            raise MalformedAnswer(f"{len(choices)} choices where one was asked for")
        (choice,) = choices
        choice["text"] = whole_characters(choice["text"])
        reason = finish_reason(self.endpoint, choice)
        counted = (answer.get("usage") or {}).get("completion_tokens")
        if not (
            counted is None or (type(counted) is int and 0 <= counted <= limit + 1)
        ):  # some count the end token, too
            raise MalformedAnswer(f"{counted!r:.50} tokens where {limit} were asked for")
        if self._token_ids:
            piece = self._read_ids(choice, reason, limit)
        else:
            piece = self._read_text(choice["text"], self._ended_by(choice, reason, full=(counted or 0) >= limit))
            # Tokenized here, a text has about as many tokens as the server has counted.
            if len(piece.ids) > 4 * limit + 16:
                raise MalformedAnswer(f"a text of {len(piece.ids)} tokens where {limit} were asked for")
        self.ledger["completion_tokens"] += counted or len(piece.ids)
        return piece

    def _read_ids(self, choice: dict[str, Any], reason: str, limit: int) -> _Piece:
        # What shows how the server is set up ends the run, if it is in its first answer; the rest is requested again.
        if choice.get("token_ids") is None:
            raise self.endpoint.unfit(
                f"{self.endpoint.url} returns no token ids, so what was sampled is not known exactly. Use vLLM 0.10.2 or"
                " newer, or give token_ids=False and read in prm/generators/openai.py what that means"
            )
        ids, text = list(choice["token_ids"]), choice["text"]
        if not 0 < len(ids) <= limit:
            raise MalformedAnswer(f"{len(ids)} token_ids where {limit} were asked for")
        if not all(type(i) is int and 0 <= i < len(self.tokenizer) + UNNAMED_IDS for i in ids):
            raise MalformedAnswer(f"token_ids {ids!r:.50}, of which some are no tokens")
        # The text shows whether server and client have the same tokenizer. It may lack a stop string at the end, or the
        # last bytes of a character.
        ours = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        if not ours.strip().startswith(text.strip().rstrip("\ufffd")):
            raise self.endpoint.unfit(
                f"{self.endpoint.url} reads the token ids {ids[:20]} as {text[:60]!r}, the local tokenizer as"
                f" {ours[:60]!r}; give the tokenizer of the served model"
            )
        # Whether it stopped or was cut is read from the ids: some servers say `stop` of both.
        if reason in CUTS:
            return _Piece(ids, "length")
        if ids[-1] in self._ids.end_ids or any(text in ours for text in self._stops):
            return _Piece(ids, "stop")
        if len(ids) >= limit:
            return _Piece(ids, "length")
        raise self.endpoint.unfit(
            f"{self.endpoint.url} ended a text at token {ids[-1]}, which is not an end token here; give as tokenizer"
            " a folder that contains the model's generation_config.json"
        )

    def _ended_by(
        self, choice: dict[str, Any], reason: str, full: bool
    ) -> Literal["separator", "end", "length"] | None:
        """What ended a text without token ids; None if the server does not say.

        Args:
            full: the text has as many tokens as were allowed.
        """
        if reason in CUTS:
            return "length"
        if reason != "stop":  # the separator is the only stop sequence of a request
            return "separator" if reason == "stop_sequence" else "end"
        signs = [choice[name] for name in ("stop_reason", "matched_stop") if choice.get(name) is not None]
        if self._separator and (self._separator in signs or choice["text"].endswith(self._separator)):
            return "separator"
        if signs:  # the id of an end token, or a stop string of `extra_body`
            return "end"
        if full:
            return "length"
        return "end" if "stop_reason" in choice else None

    def _read_text(self, text: str, ended_by: Literal["separator", "end", "length"] | None) -> _Piece:
        # Some servers return the stop string, others cut it off. What ended the text is put back, so that the ids say it,
        # as those of a server with token ids do.
        text = text.removesuffix(self._separator)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if ended_by == "length":
            return _Piece(ids, "length")
        if ended_by == "end":
            return _Piece([*ids, self.tokenizer.eos_token_id], "stop")
        line = self.tokenizer(text + self._separator, add_special_tokens=False)["input_ids"]
        return _Piece(line, "stop" if ended_by == "separator" or text.strip() else "blank")

    async def _served(self, model: str | None) -> tuple[str, int | None]:
        """Name and context length of the model; the length is None if the server does not tell it (vLLM does)."""

        def read(answer: Any) -> dict[str, int | None]:
            served = {entry["id"]: entry.get("max_model_len") for entry in answer["data"]}
            for name, length in served.items():
                if not isinstance(name, str) or not (length is None or (type(length) is int and length > 0)):
                    raise MalformedAnswer(f"a model {name!r:.50} with a context of {length!r:.50} tokens")
            return served

        async with self.endpoint.client(1) as client:
            served = await self.endpoint.ask(client, "models", None, read)
        name = model or (next(iter(served)) if len(served) == 1 else None)
        if name not in served:
            raise EndpointError(
                f"{self.endpoint.url} serves {', '.join(served) or 'nothing'}, not {model}; give `model`"
            )
        return name, served[name]
