"""UnknownWords: whether the texts that a model reads consist of words that its tokenizer has.

A text of unknown tokens is read as `<unk> <unk> <unk>`: the samples after it, or its scores, say nothing, and nothing fails.
Byte-level tokenizers write every text without unknown tokens.

    of the tokens of the first 3 texts, 83% are unknown to the tokenizer, e.g. in 'Natalia sold clips to 48 of her friends'
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_UNKNOWN = 0.1
"""Share of unknown tokens up to which nobody is warned."""
TEXTS = 50
"""So many texts are looked at."""
KNOWN_TEXTS = 1 << 14
"""Prompts and steps whose token ids a reader remembers, some ten megabytes: those of the searches that go on together."""


class UnknownWords:
    """Looks at the first texts that a model reads and warns once if many of their tokens are unknown."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, reader: str) -> None:
        """
        Args:
            reader: who reads the texts, for the message: `generator` or `verifier`.
        """
        self._unknown = tokenizer.unk_token_id
        self._reader = reader
        self._seen: set[str] = set()
        self._tokens = self._unknown_tokens = 0
        self._warned = False

    def watch(self, prompt: str, ids: Sequence[int]) -> None:
        """Count the token ids of a text; of texts with the same prompt, only those of the first."""
        if self._unknown is None or self._warned or len(self._seen) == TEXTS or prompt in self._seen:
            return
        self._seen.add(prompt)
        self._tokens += len(ids)
        self._unknown_tokens += sum(i == self._unknown for i in ids)
        if self._unknown in ids and self._unknown_tokens > MOST_UNKNOWN * self._tokens:
            self._warned = True
            share = self._unknown_tokens / self._tokens
            warnings.warn(
                f"of the tokens of the first {len(self._seen)} texts, {share:.0%} are unknown to the {self._reader}'s"
                f" tokenizer, e.g. in {prompt[:60]!r}; what it makes of them means nothing. Use a {self._reader} whose"
                " vocabulary has these words",
                stacklevel=2,
            )
