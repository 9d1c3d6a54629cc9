r"""Files that are there whole or not at all, errors that name theirs, and what may be shown on a terminal.

A file is written under another name, synced, and renamed: after a kill or on a full disk the old one is there, or the new
one, never half of it. Where several files belong together, the one that says that all are there is written last.

    with whole_file("search/meta.json") as file: ...   OSError: search/meta.json: No space left on device
    read_object("search/meta.json", "search again")    ValueError: search/meta.json is empty; search again
    read_text("problems.csv")                          ValueError: problems.csv:3: not UTF-8 text (byte 0xfc: ...)
    json_line({"text": "5 ≤ 6 \ud800"})                the bytes of {"text": "5 ≤ 6 \ud800"} and a line end
    visible("\x1b[2J#### 73")                          the same with a backslash, x1b, ... in place of the escape

Half of a character of UTF-16 (a lone surrogate, as servers send where they cut a text) is no UTF-8. As an escape it is JSON,
so that what was written can be read. A terminal obeys the escapes that it is shown: they move the cursor, change colors, and
on some write to the clipboard. So whoever shows a text of a row, or an error with a value of one, shows it as `visible`.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import yaml

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""All control characters but tabs and line ends, marks that turn the direction of writing, and halves of characters."""


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Errors of the disk within the block say which file they are about: those of writing and syncing do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:  # without a number it is ours, and says all
            error.filename = str(path)
        raise


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file for bytes that takes the place of `path` when the block has ended. If the block fails, nothing is left."""
    path = Path(path)
    draft = path.with_name(path.name + ".partial")
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)


def write_whole(path: str | Path, text: str) -> None:
    """Write a small text file (`whole_file`)."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def open_bytes(path: str | Path) -> IO[bytes]:
    """A file to read; one whose name ends in `.gz` is unpacked."""
    if str(path).endswith(".gz"):
        return gzip.open(path)  # type: ignore[return-value]
    return Path(path).open("rb")


_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False
).encode  # made once: `json.dumps` makes one each time


def json_line(row: Any) -> bytes:
    """A row of JSON Lines, which reads back as it is, whatever is in its texts."""
    return _encode(row).encode("utf-8", "backslashreplace") + b"\n"


def read_text(path: str | Path) -> str:
    """The text of a small file, with or without a byte order mark.

    Raises:
        ValueError: it is not UTF-8; names the file, the line and the byte. OSError: it cannot be read.
    """
    with open_bytes(path) as file:
        return decoded(file.read(), str(path))


def decoded(content: bytes, path: str, first: int = 1) -> str:
    """UTF-8 as text.

    Args:
        path: for the message.
        first: number of its first line.

    Raises:
        ValueError: it is none; names file, line and byte.
    """
    try:
        return content.decode("utf-8-sig" if first == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = first + content.count(b"\n", 0, error.start)
        raise ValueError(
            f"{path}:{line}: not UTF-8 text (byte {content[error.start] if error.start < len(content) else 0:#04x}:"
            f" {error.reason}); save the file as UTF-8"
        ) from None


def read_object(path: str | Path, fix: str) -> dict[str, Any]:
    """The object of a small JSON file.

    Args:
        fix: how the message ends.

    Raises:
        ValueError: it is damaged; names the file. OSError: it cannot be read.
    """
    return _mapping(path, json.loads, "JSON", "no JSON object", fix)


def read_settings(path: str | Path, fix: str) -> dict[str, Any]:
    """The settings of a small YAML file; as `read_object`."""
    return _mapping(path, yaml.safe_load, "YAML", "no lines `name: value`", fix)


def _mapping(path: str | Path, parse: Callable[[str], Any], form: str, else_: str, fix: str) -> dict[str, Any]:
    text = read_text(path)
    try:
        values = parse(text)
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # numbers of thousands of digits, and brackets as deep
        what = f"is not {form} ({' '.join(str(error).split())})" if text.strip() else "is empty"
        raise ValueError(f"{path} {what}; {fix}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {text[:40]!r} and {else_}; {fix}")
    return values


def sole_writer(lock_file: str | Path, written: str | Path, fix: str) -> IO[str]:
    """The exclusive right to write something, as long as the file that is returned is open: two would mix their rows.

    Args:
        lock_file: beside it; stays there.
        written: what it is, for the message.
        fix: what to do if another process has the right.

    Raises:
        ValueError: another process has the right; says which one.
    """
    path = Path(lock_file)
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read(100).strip() or "another process"
        lock.close()
        raise ValueError(f"{written} is written by {holder}; {fix}") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
    return lock


def visible(text: str) -> str:
    """The text with its control characters as escapes."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
