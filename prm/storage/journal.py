"""Journal: an append-only file of JSON rows, written in chunks. It lets a killed run continue with every row exactly once.

A run divides its work into chunks in a fixed order. A finished chunk is appended in one write: its rows, then a line that
commits it. Anything after the last commit line (half a line, half a chunk) was interrupted; the next chunk is written in its
place, and that chunk is done again. So no row is lost or duplicated, and because the chunks are always the same, a run that
was killed ends with the same bytes as one that was not.

    {"header": {"generator": "arithmetic-1f2e3d4c", "n": 16, "seed": 0, "input": "9f2c..."}}
    {"problem_id": "arithmetic/test/0", "candidates": [...], "cost": {...}, ...}
    {"commit": 0, "rows": 32, "sha256": "5b1f0c..."}

The header holds every setting that changes the rows; a journal with another header is refused, so settings never mix. It is
written with the first chunk: a run that failed before it binds nobody to its settings.

The checksum of a commit is over the header, the number of the chunk and its rows. A chunk that does not have it is damaged:
a warning names the file and the line, the chunk is not `done`, and with the next chunk the file is written anew from what is
whole. The damaged one is kept beside it. Reading changes no file.

Left out: several writers at once (`prm.storage.rollout_store` has them, for rollouts).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.files import json_line, named, whole_file
from prm.storage.provenance import check_same_settings

_COMMIT = b'{"commit": '


@dataclass
class _Contents:
    """What a journal holds, by the checksums under one header."""

    header: bytes
    """The line of the header by which chunks are checked."""
    chunks: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Number of a whole chunk -> first byte of its rows, and of its commit line."""
    damaged: list[tuple[int, int]] = field(default_factory=list)
    """First and last line of what does not fit its checksum, or has none."""
    end: int = 0
    """Bytes up to the end of the last whole chunk."""


class Journal:
    """One journal file, opened for reading its committed chunks and appending new ones."""

    def __init__(self, path: str | Path, header: dict[str, Any], fix: str = "Give another --output") -> None:
        """Open; the file is created with the first chunk.

        Args:
            fix: what to do about another header, besides deleting the file.

        Raises:
            ValueError: the file was written with another header (names the keys that differ), or is no journal.
            OSError: the file cannot be read.
        """
        self.path = Path(path)
        self.header = json.loads(json.dumps(header))
        self._contents = _Contents(_header_line(self.header))
        if self.path.exists():
            self._read(fix)

    @property
    def done(self) -> set[int]:
        """Numbers of the committed chunks."""
        return set(self._contents.chunks)

    @property
    def next(self) -> int:
        """A number for the next chunk, where it does not matter which one."""
        return max(self.done, default=-1) + 1

    def append(self, chunk: int, rows: Sequence[dict[str, Any]]) -> None:
        """Commit the rows of one chunk; they are on disk when this returns.

        Raises:
            OSError: the disk is full or the folder cannot be written; everything committed so far is safe.
        """
        if chunk in self.done:
            raise ValueError(f"{self.path}: chunk {chunk} is committed already")
        if self._contents.damaged:
            self._write_anew()
        its = self._contents
        lines = [json_line(row) for row in rows]
        text = b"".join(lines)
        digest = _digest(its.header, chunk, [hashlib.sha256(line).digest() for line in lines])
        start = its.end or len(its.header)
        commit = json_line({"commit": chunk, "rows": len(rows), "sha256": digest})
        with named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.truncate(its.end)  # rows without a commit line would become part of this chunk
                file.write((b"" if its.end else its.header) + text + commit)
                file.flush()
                os.fsync(file.fileno())
        its.chunks[chunk] = start, start + len(text)
        its.end = start + len(text) + len(commit)

    def chunks(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """(chunk, rows) in the order of the chunk numbers."""
        if not self.done:
            return
        with self.path.open("rb") as file:
            for chunk, (start, end) in sorted(self._contents.chunks.items()):
                file.seek(start)
                yield chunk, [json.loads(line) for line in file.read(end - start).split(b"\n")[:-1]]

    def rows(self) -> Iterator[dict[str, Any]]:
        for _, rows in self.chunks():
            yield from rows

    def _read(self, fix: str) -> None:
        """Find the chunks that are whole, and name the lines that are not."""
        with self.path.open("rb") as file:
            first = file.readline()
        ours = _header_line(self.header)
        contents = _contents(self.path, ours)
        if first != ours and first.endswith(b"\n"):
            found = _header(first)
            theirs = _Contents(first) if found is None else _contents(self.path, first)
            # Nothing was committed, or a header of ours is damaged: what is whole by it was made with our settings.
            if found is None and not contents.chunks:
                raise ValueError(f"{self.path} is not a journal: its first line has no header, it is {first[:60]!r}")
            if found is not None and not contents.chunks and (theirs.chunks or theirs.damaged):
                fix = f"{fix}, or delete it to start over"
                check_same_settings(f"{self.path} was begun", found, self.header, fix)
            if contents.chunks:
                contents.damaged.insert(0, (1, 1))
        self._contents = contents
        if contents.damaged:
            places = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in contents.damaged[:5])
            warnings.warn(
                f"{self.path}:{places}: damaged, or written by an older version: rows and checksum do not fit. The"
                f" {len(contents.chunks)} whole chunks are kept, the others made again; {_damaged(self.path).name} will be a"
                " copy of the file as it is now",
                stacklevel=3,
            )

    def _write_anew(self) -> None:
        """The whole chunks alone; the file as it is now is kept beside it."""
        old = self._contents
        with named(_damaged(self.path)):
            shutil.copyfile(self.path, _damaged(self.path))
        new = _Contents(old.header)
        with self.path.open("rb") as file, whole_file(self.path) as anew:
            anew.write(old.header if old.chunks else b"")
            for chunk, (start, end) in old.chunks.items():
                file.seek(start)
                text, commit = file.read(end - start), file.readline()
                start = anew.tell()
                anew.write(text + commit[:-1] + b"\n")
                new.chunks[chunk] = start, start + len(text)
            new.end = anew.tell()
        self._contents = new


def _contents(path: Path, header: bytes) -> _Contents:
    """The chunks that have their checksums under this header, and the lines that have no part in any."""
    found = _Contents(header)
    lines: list[tuple[int, int, bytes]] = []  # not committed yet: number, first byte and checksum of each
    with path.open("rb") as file:
        file.readline()
        start = file.tell()
        for number, line in enumerate(file, 2):
            chunk, count, digest = _commit(line)
            if chunk is None:
                lines.append((number, start, hashlib.sha256(line).digest()))
                start += len(line)
                continue
            # Its rows are the last ones before it. A line before these is damage, such as the commit of another chunk.
            its = lines[max(0, len(lines) - count) :]
            start += len(line)
            first = lines[0][0] if lines else number
            if len(its) < count or digest != _digest(header, chunk, [its_digest for _, _, its_digest in its]):
                found.damaged.append((first, number))
            else:
                found.chunks[chunk] = its[0][1] if its else start - len(line), start - len(line)
                found.end = start
                if len(its) < len(lines):
                    found.damaged.append((first, first + len(lines) - len(its) - 1))
                if not line.endswith(b"\n"):
                    found.damaged.append((number, number))
            lines = []
        # What an interrupted write leaves are whole rows, and half a line at the end.
        file.seek(lines[0][1] if lines else start)
        for (number, _, _), line in zip(lines, file, strict=False):
            if line.endswith(b"\n") and not _is_row(line):
                found.damaged.append((number, number))
    return found


def _commit(line: bytes) -> tuple[int | None, int, str]:
    """Chunk, rows and checksum of a commit line; None for any other line. Its line end may be damaged."""
    if not line.startswith(_COMMIT):
        return None, 0, ""
    try:
        row = json.loads(line[:-1])
        return int(row["commit"]), int(row["rows"]), str(row["sha256"])
    except (ValueError, TypeError, KeyError):
        return (None if not line.endswith(b"\n") else -1), 0, ""  # half of one, or a damaged one


def _digest(header: bytes, chunk: int, rows: Sequence[bytes]) -> str:
    return hashlib.sha256(header + f"{chunk} {len(rows)}\n".encode() + b"".join(rows)).hexdigest()[:32]


def _header_line(header: dict[str, Any]) -> bytes:
    return json_line({"header": dict(sorted(header.items()))})


def _header(line: bytes) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line)["header"])
    except (ValueError, TypeError, KeyError):
        return None


def _is_row(line: bytes) -> bool:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and "sha256" not in row  # that of a commit line


def _damaged(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")
