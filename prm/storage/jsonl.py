"""JSON Lines files: read row by row, written completely or not at all, identified by a hash of their content.

for where, row in read_jsonl("outputs/traces.jsonl"): ...    # where = "outputs/traces.jsonl:1"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prm.storage.files import decoded, json_line, whole_file
from prm.storage.paths import need_file


def read_jsonl(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) for every line of a JSON Lines file; `where` is `file:line`, for error messages."""
    path = need_file(path)
    with path.open("rb") as lines:
        for number, content in enumerate(lines, 1):
            line = decoded(content, str(path), number)
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # numbers of thousands of digits, and brackets as deep
                raise ValueError(f"{path}:{number}: not a JSON object on one line ({error}): {line[:80]!r}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number}: a row must be a JSON object, this is {type(row).__name__}")
            yield f"{path}:{number}", row


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a whole file (`prm.storage.files.whole_file`). If a row fails, nothing is left."""
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
