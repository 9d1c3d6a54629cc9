"""JSON Lines files: read row by row, written completely or not at all, identified by a hash of their content.

for where, row in read_jsonl("outputs/traces.jsonl"): ...    # where = "outputs/traces.jsonl:1"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prm.storage.paths import need_file


def read_jsonl(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) for every line of a JSON Lines file; `where` is `file:line`, for error messages."""
    path = need_file(path)
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not a JSON object on one line ({error}): {line[:80]!r}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number}: a row must be a JSON object, this is {type(row).__name__}")
            yield f"{path}:{number}", row


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a whole file: under a temporary name first, so that a killed process never leaves half a file. If a row fails,
    nothing is left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as lines:
            for row in rows:
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def file_hash(path: str | Path) -> str:
    """Sixteen hex digits of a file's content, for `meta.json` and checkpoints."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
