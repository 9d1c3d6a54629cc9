"""JSON Lines files: read row by row, written completely or not at all, identified by a hash of their content.

for where, row in read_jsonl("outputs/traces.jsonl"): ...    # where = "outputs/traces.jsonl:1"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prm.files import decoded, json_line, open_bytes, whole_file
from prm.storage.paths import need_file


def read_jsonl(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) for every line of a JSON Lines file; `where` is `file:line`, for error messages."""
    path = need_file(path)
    with open_bytes(path) as lines:
        for number, content in enumerate(lines, 1):
            line = decoded(content, str(path), number)
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # numbers of thousands of digits, and brackets as deep
                raise ValueError(f"{path}:{number}: not a JSON object on one line ({error}): {line[:80]!r}") from error
            check_row(f"{path}:{number}", row, line)
            yield f"{path}:{number}", row


def check_row(where: str, row: Any, text: str) -> None:
    """
    Args:
        text: of which the row was read.

    Raises:
        ValueError: it is no JSON object, or has a text with half of a character, which no tokenizer takes.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a row must be a JSON object, this is {type(row).__name__}")
    if "\\ud" not in text and "\\uD" not in text:  # as an escape, which is how it gets into UTF-8
        return
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end].encode("unicode_escape").decode()
        raise ValueError(
            f"{where}: {half} is half of a character (a lone surrogate); remove it, or write U+FFFD"
        ) from None


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a whole file (`prm.files.whole_file`). If a row fails, nothing is left."""
    with whole_file(path) as lines:
        for row in rows:
            lines.write(json_line(row))


def file_hash(path: str | Path) -> str:
    """Sixteen hex digits of a file's content, for `meta.json` and checkpoints."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
