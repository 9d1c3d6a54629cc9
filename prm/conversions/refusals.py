"""Too many rows that cannot be read, all for one reason: then the format is another one, or an option is missing.

for row in limited(convert(rows, "openr", strict=False), lambda: rows_read, 0.05): ...
ValueError: 5 of 50 rows have the status no_question, ... For example: set.jsonl:4: the question is empty; remove the row
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

from prm.conversions.rows import Row

REFUSED = ("no_question", "no_gold", "no_first_step", "bad_label", "broken_row")
"""Statuses of rows that could not be read."""

CHECKED_EVERY = 1000
"""Traces after which is checked whether too many of them are refused."""
EXAMPLES = 3
"""Refused rows that the error names."""
HINTS = {"no_first_step": "--questions (rlhflow) shows where the questions end. "}


def limited(traces: Iterable[Row], rows_read: Callable[[], int], most: float) -> Iterator[Row]:
    """The traces, as long as not too many of them could not be read.

    Args:
        rows_read: says how many rows they were made of so far.
        most: share of the rows that may have one of these statuses. One row may always: a share says nothing of a few.

    Raises:
        ValueError: more have; after `CHECKED_EVERY` traces, or at the end. Gives examples.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(traces, 1):
        status = row["status"]
        if status in REFUSED:
            counts[status] += 1
            if len(examples[status]) < EXAMPLES:
                unread = f"nothing shows where the question ends in {row['prompt'][:80]!r}"
                examples[status].append((row.get("kept") or {}).get("refused") or unread)
        yield row
        if number % CHECKED_EVERY == 0:
            _check(counts, rows_read(), most, examples)
    _check(counts, rows_read(), most, examples)


def _check(counts: Counter[str], rows: int, most: float, examples: dict[str, list[str]]) -> None:
    for status, count in counts.items():
        if count > max(1, most * rows):
            raise ValueError(
                f"{count} of {rows} rows have the status {status}, more than --max_refused {most:g}: check that --source is"
                f" the format of this file. {HINTS.get(status, '')}For example: {'; '.join(examples[status])}"
            )
