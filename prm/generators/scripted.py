"""ScriptedGenerator: continues prefixes by fixed rules on characters. For tests of everything that needs a generator.

Token ids are the code points of the text, so that a person can compare ids and text. `script(prefix text, seed)` returns
the rest of the trace; the generator cuts it after the first step if only one step is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from prm.encoding.steps import DEFAULT_SEPARATOR, is_final
from prm.types import Continuation


class ScriptedGenerator:
    """See `prm.generators.Generator`."""

    num_parameters = 0

    def __init__(
        self,
        script: Callable[[str, int], str],
        separator: str = DEFAULT_SEPARATOR,
        name: str = "scripted",
        max_new_tokens: int = 10_000,
    ) -> None:
        self.script = script
        self.separator = separator
        self.name = name
        self.max_new_tokens = max_new_tokens
        self.ledger: Counter[str] = Counter()
        self.calls: list[tuple[str, int]] = []
        """Every requested (prefix text, seed), in order."""

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        return [ord(c) for c in prompt + "\n" + "".join(step + self.separator for step in steps)]

    def generate(
        self,
        prefixes: Sequence[Sequence[int]],
        seeds: Sequence[int],
        until: Literal["step", "end"] = "end",
        limits: Sequence[int] | None = None,
    ) -> list[Continuation]:
        limits = [self.max_new_tokens] * len(prefixes) if limits is None else limits
        return [
            self._continue("".join(map(chr, prefix)), seed, until, min(limit, self.max_new_tokens))
            for prefix, seed, limit in zip(prefixes, seeds, limits, strict=True)
        ]

    def _continue(self, prefix: str, seed: int, until: str, limit: int) -> Continuation:
        self.calls.append((prefix, seed))
        text = self.script(prefix, seed)
        if until == "step" and self.separator in text:
            text = text[: text.index(self.separator) + len(self.separator)]
            stop = "answer" if is_final(text) else "step"
        else:
            stop = "eos"
        if len(text) > limit:
            text, stop = text[:limit], "length"
        return Continuation(tuple(map(ord, text)), text, stop, prefill=len(prefix))  # type: ignore[arg-type]
