"""Journal: an append-only file of JSON rows, written in chunks. It lets a killed run continue with every row exactly once.

A run divides its work into chunks in a fixed order. A finished chunk is appended in one write: its rows, then a line that
commits it. Anything after the last commit line (half a line, half a chunk) was interrupted; it is dropped when
the journal is opened again, and that chunk is done again. So no row is lost or duplicated, and because the chunks are
always the same, a run that was killed ends with the same bytes as one that was not.

    {"header": {"generator": "arithmetic-1f2e3d4c", "n": 16, "seed": 0, "input": "9f2c..."}}
    {"problem_id": "arithmetic/test/0", "candidates": [...], "cost": {...}, ...}
    {"commit": 0, "rows": 32}

The header holds every setting that changes the rows; a journal with another header is refused, so settings never mix. It is
written with the first chunk: a run that failed before it binds nobody to its settings.
Left out: several writers at once (`prm.storage.rollout_store` has them, for rollouts).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prm.storage.provenance import check_same_settings


class Journal:
    """One journal file, opened for reading its committed chunks and appending new ones."""

    def __init__(self, path: str | Path, header: dict[str, Any], fix: str = "Give another --output") -> None:
        """Open or create.

        Args:
            fix: what to do about another header, besides deleting the file.

        Raises:
            ValueError: the file was written with another header (names the keys that differ), or a line is broken.
            OSError: the disk is full or the folder cannot be written; everything committed so far is safe.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.header = json.loads(json.dumps(header))
        self.done: set[int] = set()
        """Numbers of the committed chunks."""
        if self.path.exists():
            self._recover(fix)

    def append(self, chunk: int, rows: Sequence[dict[str, Any]]) -> None:
        """Commit the rows of one chunk; they are on disk when this returns."""
        if chunk in self.done:
            raise ValueError(f"{self.path}: chunk {chunk} is committed already")
        header = [] if self.done else [{"header": self.header}]
        self._write([*header, *rows, {"commit": chunk, "rows": len(rows)}])
        self.done.add(chunk)

    def chunks(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """(chunk, rows) in the order of the chunk numbers."""
        if not self.done:
            return
        by_number: dict[int, list[dict[str, Any]]] = {}
        rows: list[dict[str, Any]] = []
        with self.path.open(encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                row = json.loads(line)
                if "commit" in row:
                    by_number[row["commit"]] = rows
                    rows = []
                else:
                    rows.append(row)
        yield from sorted(by_number.items())

    def rows(self) -> Iterator[dict[str, Any]]:
        for _, rows in self.chunks():
            yield from rows

    def _recover(self, fix: str) -> None:
        """Find the committed chunks and cut off what comes after them."""
        found: dict[str, Any] = {}
        end = 0  # of the last committed line, in bytes
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines):
                # Half a line can only be the last one, where a write was interrupted.
                if not line.endswith(b"\n"):
                    break
                # A broken line before the end was not made by an interruption, so nothing is repaired.
                try:
                    row = json.loads(line)
                except ValueError as error:  # not JSON, or not UTF-8
                    raise ValueError(
                        f"{self.path}:{number + 1}: broken line inside the journal ({error}): {line[:80]!r}. Delete the"
                        " file to start over"
                    ) from error
                if not isinstance(row, dict):
                    raise ValueError(f"{self.path}:{number + 1}: a row must be a JSON object, this is {line[:80]!r}")
                if number == 0:
                    if "header" not in row:
                        raise ValueError(f"{self.path} is not a journal: its first line has no header")
                    found = row["header"]
                elif "commit" in row:
                    self.done.add(row["commit"])
                    end = lines.tell()
        if self.done:
            check_same_settings(f"{self.path} was begun", found, self.header, f"{fix}, or delete it to start over")
        # Rows without a commit line would otherwise become part of the next chunk.
        os.truncate(self.path, end)

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with self.path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
