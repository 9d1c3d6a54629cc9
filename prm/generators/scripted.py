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

    def __init__(self, script: Callable[[str, int], str], separator: str = DEFAULT_SEPARATOR, name: str = "scripted"):
        self.script = script
        self.separator = separator
        self.name = name
        self.ledger: Counter[str] = Counter()
        self.calls: list[tuple[str, int]] = []
        """Every requested (prefix text, seed), in order."""

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        return [ord(c) for c in prompt + "\n" + "".join(step + self.separator for step in steps)]

    def generate(
        self, prefixes: Sequence[Sequence[int]], seeds: Sequence[int], until: Literal["step", "end"] = "end"
    ) -> list[Continuation]:
        return [
            self._continue("".join(map(chr, prefix)), seed, until) for prefix, seed in zip(prefixes, seeds, strict=True)
        ]

    def _continue(self, prefix: str, seed: int, until: str) -> Continuation:
        self.calls.append((prefix, seed))
        text = self.script(prefix, seed)
        if until == "step" and self.separator in text:
            text = text[: text.index(self.separator) + len(self.separator)]
            return Continuation(tuple(map(ord, text)), text, "answer" if is_final(text) else "step")
        return Continuation(tuple(map(ord, text)), text, "eos")
