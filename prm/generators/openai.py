r"""OpenAIGenerator: a server that speaks the OpenAI completions protocol as a generator.

Made for `vllm serve` (0.10.2 and newer): prompts are sent as token ids and sampled ids come back (`return_token_ids`), so
prefixes and token counts are exact. There is one request per step: the server stops at the separator, which it knows as
a string, and the rule of all engines (`prm.generators.token_text`) decides here whether the trace has ended. A server
cannot be told "stop after the line that states the answer", and text after that line would have to be paid for. The next
step of a sample is requested with a seed derived from the sample's seed; its prefix is in the server's cache.

    POST /v1/completions {"prompt": [31, 9, 25], "seed": 17, "stop": ["\n"], "max_tokens": 80, "return_token_ids": true, ...}
    -> {"choices": [{"text": "15 - 9 = 6\n", "token_ids": [31, 9, 25, 13, 22, 14], "finish_reason": "stop",
        "stop_reason": "\n"}], ...}

`token_ids=False` is for servers without token ids. Then

- prompts are sent as text, which the server tokenizes in its own way;
- sampled ids come from tokenizing the text here, so their number is not exact (`ledger["completion_tokens"]` is the server's
  own count);
- a server that does not say whether it stopped at the separator or at its end token (`stop_reason`) is assumed to have
  stopped at the separator, unless it wrote nothing;
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
from typing import Any, Literal

import httpx2
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from prm.encoding.prompts import PromptTemplate, bos
from prm.encoding.steps import separator_of
from prm.generators import derive_seed
from prm.generators.endpoint import Endpoint, EndpointError, MalformedAnswer
from prm.generators.token_text import TokenText, Until
from prm.types import Continuation, StepRule


@dataclass(frozen=True)
class _Piece:
    """The result of one request: tokens up to a separator, the end token or the token limit."""

    ids: list[int]
    finish: Literal["separator", "end", "length"]


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
        self.temperature = temperature
        self.top_p = top_p
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.num_parameters = num_parameters
        self._token_ids = token_ids
        self._extra = extra_body or {}
        self._model, self._context = asyncio.run(self._served(model))
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
            AutoTokenizer.from_pretrained(tokenizer),
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
    ) -> list[Continuation]:
        """One continuation per (prefix, seed). Must not be called from within an event loop.

        Raises:
            ValueError: prefixes and seeds differ in number, or a prefix leaves no room in the model's context.
            EndpointError: the server refused a request, or failed for too long.
        """
        self._ids.check(prefixes, seeds, until, self._context)
        limits_N = [self.max_new_tokens] * len(prefixes) if limits is None else list(limits)
        return asyncio.run(self._generate(prefixes, seeds, limits_N, until))

    async def _generate(
        self, prefixes: Sequence[Sequence[int]], seeds: Sequence[int], limits: Sequence[int], until: Until
    ) -> list[Continuation]:
        gate = asyncio.Semaphore(self.batch_size)
        async with self.endpoint.client(self.batch_size) as client:

            async def one(prefix: Sequence[int], seed: int, limit: int) -> Continuation:
                async with gate:
                    return await self._continue(client, prefix, seed, limit, until)

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(*sample)) for sample in zip(prefixes, seeds, limits, strict=True)]
            except BaseExceptionGroup as errors:  # the first error has ended all tasks
                raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _continue(
        self, client: httpx2.AsyncClient, prefix: Sequence[int], seed: int, limit: int, until: Until
    ) -> Continuation:
        limit = min(limit, self.max_new_tokens)
        if self._context is not None:
            limit = min(limit, self._context - len(prefix))
        ids: list[int] = []
        stop = None
        # One request per step, until the rule of all engines says that the continuation has ended.
        while stop is None:
            # With one seed, every request would start from the same random numbers. The first keeps the sample's own.
            piece_seed = derive_seed(seed, len(ids)) if ids else seed
            body = self._body([*prefix, *ids], piece_seed, limit - len(ids))
            piece = await self.endpoint.ask(client, "completions", body, self._read)
            # Token by token: the rule may end the continuation before the server does. What it wrote after that is counted.
            for i, token in enumerate(piece.ids):
                ids.append(token)
                stop = self._ids.stop(ids, until)
                if stop is not None:
                    self.ledger["tokens after the end"] += len(piece.ids) - i - 1
                    break
            # A step that is not final, or a blank line, has ended the request: the next one continues, if tokens are left.
            if stop is None and (piece.finish == "length" or len(ids) >= limit):
                stop = "length"
        return Continuation(tuple(ids), self._ids.text(ids), stop, prefill=len(prefix))

    def _body(self, ids: list[int], seed: int, max_tokens: int) -> dict[str, Any]:
        body = {
            "model": self._model,
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": seed,
        }
        if self._separator:
            body["stop"] = [self._separator]
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

    def _read(self, answer: Any) -> _Piece:
        choices = answer["choices"]
        if len(choices) != 1:
            raise MalformedAnswer(f"{len(choices)} choices where one was asked for")
        (choice,) = choices
        text, finish = choice["text"], choice["finish_reason"]
        if not isinstance(text, str) or finish not in ("stop", "length"):
            raise MalformedAnswer(f"text {text!r:.50} with finish_reason {finish!r}")
        piece = self._read_ids(choice) if self._token_ids else self._read_text(choice)
        self.ledger["completion_tokens"] += (answer.get("usage") or {}).get("completion_tokens") or len(piece.ids)
        return piece

    def _read_ids(self, choice: dict[str, Any]) -> _Piece:
        # What a retry cannot change is an EndpointError and ends the run; a malformed answer is requested again.
        if choice.get("token_ids") is None:
            raise EndpointError(
                f"{self.endpoint.url} returns no token ids, so what was sampled is not known exactly. Use vLLM 0.10.2 or"
                " newer, or give token_ids=False and read in prm/generators/openai.py what that means"
            )
        ids, text = list(choice["token_ids"]), choice["text"]
        if not ids or not all(isinstance(i, int) for i in ids):
            raise MalformedAnswer(f"token_ids {ids!r:.50}")
        # The text shows whether server and client have the same tokenizer. It may lack a stop string at the end, or the
        # last bytes of a character.
        ours = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        if not ours.strip().startswith(text.strip().rstrip("\ufffd")):
            raise EndpointError(
                f"{self.endpoint.url} reads the token ids {ids[:20]} as {text[:60]!r}, the local tokenizer as"
                f" {ours[:60]!r}; give the tokenizer of the served model"
            )
        # Why it ended is read from the ids: `stop` is the reason given for a separator and for an end token alike.
        if choice["finish_reason"] == "length":
            return _Piece(ids, "length")
        if ids[-1] in self._ids.end_ids:
            return _Piece(ids, "end")
        if not self._separator or self._separator not in ours:
            raise EndpointError(
                f"{self.endpoint.url} ended a text at token {ids[-1]}, which is not an end token here; give as tokenizer"
                " a folder that contains the model's generation_config.json"
            )
        return _Piece(ids, "separator")

    def _read_text(self, choice: dict[str, Any]) -> _Piece:
        # Some servers return the stop string, others cut it off. The separator is put back where it ended the text, so that
        # the ids say why the text ended, as those of a server with token ids do.
        text = choice["text"].removesuffix(self._separator)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if choice["finish_reason"] == "length":
            return _Piece(ids, "length")
        if choice.get("stop_reason") == self._separator or ("stop_reason" not in choice and text.strip()):
            return _Piece(self.tokenizer(text + self._separator, add_special_tokens=False)["input_ids"], "separator")
        return _Piece([*ids, self.tokenizer.eos_token_id], "end")

    async def _served(self, model: str | None) -> tuple[str, int | None]:
        """Name and context length of the model; the length is None if the server does not tell it (vLLM does)."""

        def read(answer: Any) -> dict[str, int | None]:
            return {entry["id"]: entry.get("max_model_len") for entry in answer["data"]}

        async with self.endpoint.client(1) as client:
            served = await self.endpoint.ask(client, "models", None, read)
        name = model or (next(iter(served)) if len(served) == 1 else None)
        if name not in served:
            raise EndpointError(
                f"{self.endpoint.url} serves {', '.join(served) or 'nothing'}, not {model}; give `model`"
            )
        return name, served[name]
