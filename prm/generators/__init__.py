"""Generators propose traces and next steps. One protocol, one module per engine.

- `hf.HfGenerator`: any Hugging Face causal language model, in this process.
- `vllm.VllmGenerator`: vLLM's offline engine.
- `openai.OpenAIGenerator`: a server that speaks the OpenAI protocol (`vllm serve` and others).
- `scripted.ScriptedGenerator`: text by fixed rules, for tests.
- `answer_call.AnswerCall`: any of these, with a second call that asks for the answer, where the prompt template has one.
"""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Literal, Protocol

from prm.models.kept_tokens import KeptTokens
from prm.storage.paths import check_name
from prm.types import Continuation, StepRule

Ended = Callable[[int], object]


def ignore(continuations: int) -> None:
    """What nobody waits for."""


class Generator(Protocol):
    """Continues prefixes of token ids. Batch-first; the same seed gives the same text in any batch."""

    name: str
    """Fingerprint of model and sampling settings: everything that changes the samples changes the name."""
    step_rule: StepRule
    """Where its steps end (`prm.encoding.steps`)."""
    num_parameters: int
    """For FLOPs; 0 if unknown."""
    max_new_tokens: int
    """Longest continuation in tokens."""
    context: int | None
    """Most tokens of a prefix and its continuation; None if unknown."""
    ledger: Counter[str]
    """What an engine reports besides its samples (requests, retries by cause); empty if nothing can fail."""

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        """Token ids of a prompt and the steps written so far."""
        ...

    def generate(
        self,
        prefixes: Sequence[Sequence[int]],
        seeds: Sequence[int],
        until: Literal["step", "end"] = "end",
        limits: Sequence[int] | None = None,
        ended: Ended = ignore,
        greedy: bool = False,
        kept: KeptTokens | None = None,
    ) -> list[Continuation]:
        """One continuation for each prefix, up to the end of the next step or of the trace.

        For several samples from a prefix, repeat it: it is read once, and every entry has its own seed. A continuation that
        reaches its entry of `limits` (at least 1), or `max_new_tokens`, ends there with `stop == "length"`. `ended` is
        called now and then with the number of continuations that have ended since, for those who wait. `greedy` takes the
        most likely token each time (temperature 0), whatever the temperature of the generator; seeds then change nothing.
        `kept` is what earlier calls of a search have left, and where this one leaves what a later one may continue; a
        generator that makes use of it says so (`Continuation.keeps`), the others read every prefix again.
        """
        ...


NO_ROOM = Continuation((), "", "length")
"""What follows a prefix that fills the model's context."""


def generate_what_fits(
    generator: Generator,
    prefixes: Sequence[Sequence[int]],
    seeds: Sequence[int],
    limits: Sequence[int] | None = None,
    **options: Any,
) -> list[Continuation]:
    """`generator.generate`, which refuses prefixes that fill the model's context; here they have the continuation `NO_ROOM`.

    One problem of thousands that is too long is a row that says so, not the end of the run.
    """
    context = generator.context
    fits = [i for i, prefix in enumerate(prefixes) if context is None or len(prefix) < context]
    some_limits = None if limits is None else [limits[i] for i in fits]
    some = ([prefixes[i] for i in fits], [seeds[i] for i in fits])
    found = dict(zip(fits, generator.generate(*some, limits=some_limits, **options), strict=True)) if fits else {}
    return [found.get(i, NO_ROOM) for i in range(len(prefixes))]


ENGINES = {
    "hf": ("prm.generators.hf", "HfGenerator"),
    "vllm": ("prm.generators.vllm", "VllmGenerator"),
    "openai": ("prm.generators.openai", "OpenAIGenerator"),
}
"""Engine of `load_generator` -> its module and class. Imported when needed, because vLLM and httpx2 are extras."""

EMBEDDED = {"arithmetic": 80, "arithmetic_hard": 100}
"""Name of an embedded set (`prm.datasets.arithmetic`) that has a generator in `prm/assets/` -> longest trace in tokens."""


def derive_seed(run_seed: int, *address: str | int) -> int:
    """A 63-bit seed for one sample, from the run's seed and the address of the sample (problem, step, index).

    Any part of a run can be sampled again, in any order and on any machine, and gives the same text.

    >>> derive_seed(0, "gsm8k/train/17", 2, 5) == derive_seed(0, "gsm8k/train/17", 2, 5) != derive_seed(0, "x", 2, 5)
    True
    """
    digest = hashlib.sha256("\x1f".join(map(str, (run_seed, *address))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def embedded_folder(name: str) -> str:
    """Where the generator of this name (of `EMBEDDED`) is."""
    return str(files("prm") / "assets" / f"{name}_generator")


def load_generator(path: str, engine: str = "hf", **settings) -> Generator:
    """A generator from a Hugging Face folder or hub name, an embedded one (of `EMBEDDED`), or a server's URL.

    Args:
        engine: one of `ENGINES`.
        settings: for every engine `temperature`, `top_p`, `max_new_tokens`, `batch_size` (sequences at once), `template`
            and `step_rule`; further ones are those of the engine's `from_pretrained`. None = the default.

    Raises:
        ValueError: no such engine, or a sampling setting that would sample nonsense.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    settings = {name: value for name, value in settings.items() if value is not None}
    if not settings.get("temperature", 1) >= 0 or not 0 < settings.get("top_p", 1) <= 1:  # NaN is neither
        raise ValueError(f"temperature must be at least 0 and top_p above 0 and at most 1; they are in {settings}")
    if min(settings.get("max_new_tokens", 1), settings.get("batch_size", 1)) < 1:
        raise ValueError(f"max_new_tokens and batch_size must be at least 1; they are in {settings}")
    if engine != "hf" and "gguf_file" in settings:
        raise ValueError(f"engine {engine} reads no GGUF files; use engine hf, or save the model as safetensors")
    if engine == "openai" and "dtype" in settings:
        raise ValueError("engine openai takes no dtype, the server decides; leave it out")
    if path in EMBEDDED:
        settings = {"max_new_tokens": EMBEDDED[path], **settings}
        path = embedded_folder(path)
    elif engine != "openai":
        check_name(path, EMBEDDED)
    module, kind = ENGINES[engine]
    generator = getattr(importlib.import_module(module), kind).from_pretrained(path, **settings)
    template = settings.get("template")
    if template is None or template.trigger is None:
        return generator
    with_answers = importlib.import_module("prm.generators.answer_call").AnswerCall
    return with_answers(
        generator, template, lambda text: generator.tokenizer(text, add_special_tokens=False)["input_ids"]
    )
