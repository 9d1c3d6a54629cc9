"""RolloutStore: keeps every sampled continuation exactly once, across kills, labeling methods and machines.

The address of a rollout is its problem, prefix (a hash of the exact token ids) and index; its seed is derived from the
address and the run's seed alone. Traces, labels of any planner and pass@k curves are read from the same store, so a
second planner, or a run with more rollouts, pays only for those that are missing.

A store is a folder. Every writer appends to its own pair of files:

    store.json          {"generator": "arithmetic_generator-1f2e3d4c", "seed": 0, "settings": {"temperature": 1.0, ...}}
    rollouts-0.jsonl    {"problem_id": "arithmetic/train/7", "prefix": "5be1...", "index": 0, "seed": 77, "text": "75 - ...
    rollouts-0.index    {"end": 18230, "spans": {"arithmetic/train/7": [0, 9120, "c41d..."], ...}, "sha256": "09af..."}
    lock

A batch of rollouts is written and synced first, then its line of the index, which commits it. Half a batch or half a
line (after a kill or on a full disk) is therefore never read, and the next batch overwrites it. The index also says where
in the file the rollouts of a problem are, so a store far larger than memory opens at once. `store.json` is written with the
first batch: a run that failed before it binds nobody to its settings.

Every span has a checksum, and so has every line of the index. Damage costs what it hit: a warning names the file and the
place, the span or line is passed over, and its rollouts are sampled again. Nothing is appended to a pair of files whose
index is damaged, because where its committed rollouts end is not known for sure.

Writers, on one machine or on several that share a file system, coordinate through byte locks on one file (`fcntl.lockf`:
the kernel releases them when a process dies, and NFS and Lustre support them): one byte for every pair of files, one
for every problem. Left out: file systems without locks (object stores), and threads of one process, which do not
exclude each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import struct
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from prm.files import json_line, named, read_object, write_whole
from prm.storage.provenance import check_same_settings
from prm.types import Rollout

Unit = TypeVar("Unit")

_HEADER_BYTE = 2**31  # in the lock file: the bytes before it belong to pairs of files, those after it to problems


class RolloutStore:
    """One process's access to a store."""

    def __init__(
        self, folder: str | Path, header: Mapping[str, Any], settings: Mapping[str, Any] = types.MappingProxyType({})
    ) -> None:
        """Open or create.

        Args:
            header: the settings that change the samples: `generator` (its name includes the sampling settings) and `seed`.
            settings: what the name of the generator is made of, to name what differs.

        Raises:
            ValueError: the store was begun with another header (names the keys that differ), or a line is broken.
        """
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._locks = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        self._spans: dict[str, list[tuple[int, int, int, str]]] = {}  # problem -> (file number, start, end, checksum)
        self._damaged: set[int] = set()  # numbers of the pairs whose index is damaged
        self._ends: dict[int, tuple[int, int]] = {}  # file number -> committed bytes of the file and of its index
        self._number: int | None = None  # of the pair of files that this process appends to
        self.header: dict[str, Any] = json.loads(json.dumps(dict(header)))
        self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings)))
        self._checked = False
        self.refresh()

    @contextmanager
    def claim(self, problem_ids: Sequence[str], wait: bool = False) -> Iterator[bool]:
        """The exclusive right to sample for these problems; yields False if another writer has one of them.

        With `wait`, waits until it is free. Inside the block, everything that other writers have committed is visible.
        """
        held: list[int] = []
        try:
            for byte in sorted({_problem_byte(problem_id) for problem_id in problem_ids}):  # sorted: no deadlock
                if not self._lock(byte, wait):
                    break
                held.append(byte)
            else:
                self.refresh()
                yield True
                return
            yield False
        finally:
            for byte in held:
                fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, byte)

    def claim_each(self, units: Sequence[Unit], problem_ids: Callable[[Unit], Sequence[str]]) -> Iterator[Unit]:
        """All units of work, each claimed while the caller works on it; units that another writer holds come last.

        Units that another writer has finished are included; the store then has their rollouts.
        """
        later = []
        for unit in units:
            with self.claim(problem_ids(unit)) as mine:
                if mine:
                    yield unit
                else:
                    later.append(unit)
        for unit in later:
            with self.claim(problem_ids(unit), wait=True):
                yield unit

    def read(self, problem_ids: Sequence[str]) -> Iterator[Rollout]:
        """All rollouts of these problems that were committed before the last `refresh`."""
        for row in self.read_rows(problem_ids):
            yield Rollout(**(row | {"token_ids": tuple(row["token_ids"])}))

    def read_rows(self, problem_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """As `read`, whatever was appended."""
        for problem_id in problem_ids:
            for number, start, end, checksum in self._spans.get(problem_id, ()):
                path, rows = self._path(number, "jsonl"), b""
                if path.exists():
                    with path.open("rb") as file:
                        file.seek(start)
                        rows = file.read(end - start)
                if _checksum(rows) != checksum:
                    warnings.warn(
                        f"{path}: bytes {start} to {end} are damaged: they do not have the checksum of the rollouts of"
                        f" {problem_id!r}, which are sampled again. Restore the file if you can",
                        stacklevel=2,
                    )
                    continue
                yield from map(json.loads, rows.split(b"\n")[:-1])

    def problems(self) -> set[str]:
        """Those that have committed rollouts, as of the last `refresh`."""
        return set(self._spans)

    def append(self, rollouts: Sequence[Rollout]) -> None:
        """Commit rollouts of problems that this process has claimed, as `append_rows` does."""
        self.append_rows([vars(rollout) for rollout in rollouts])

    def append_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Commit rows with a `problem_id`, of one kind in a store: rollouts, or labels (`prm.labelers.finished`). They are
        on disk when this returns.

        Raises:
            OSError: the disk is full or the folder cannot be written; what was committed before is safe.
            ValueError: in the meantime, another writer has begun the store with another header.
        """
        self._check_header(begin=True)
        if self._number is None:
            self._number = self._take_files()

        # The rows of a problem lie together, so that the index needs one span for each problem.
        by_problem: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_problem.setdefault(row["problem_id"], []).append(row)
        committed, index_end = self._ends.get(self._number, (0, 0))
        spans, texts, end = {}, [], committed
        for problem_id, its_rows in by_problem.items():
            text = b"".join(map(json_line, its_rows))
            spans[problem_id] = [end, end + len(text), _checksum(text)]
            texts.append(text)
            end += len(text)

        # The index goes last, because its line commits the batch. Both writes start at the end of what is committed, and
        # so replace what an interrupted batch has left there.
        _write_at(self._path(self._number, "jsonl"), committed, b"".join(texts))
        _write_at(self._path(self._number, "index"), index_end, _index_line(end, spans))
        self._read_index(self._number)

    def refresh(self) -> None:
        """Read what other writers have committed in the meantime. Raises ValueError if it has another header."""
        self._check_header(begin=False)
        for path in sorted(self.folder.glob("rollouts-*.index")):
            self._read_index(int(path.stem.split("-")[1]))

    def close(self) -> None:
        os.close(self._locks)

    def _take_files(self) -> int:
        """The first pair of files that no living writer holds; a killed writer's pair is continued, so pairs stay few."""
        for number in itertools.count():
            if number not in self._damaged and self._lock(number, wait=False):
                self._read_index(number)
                if number not in self._damaged:
                    return number
                fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, number)
        raise AssertionError  # numbers do not end

    def _read_index(self, number: int) -> None:
        """Read the lines that were added to the index of a pair of files since it was last read."""
        path = self._path(number, "index")
        if not path.exists():
            return
        with path.open("rb") as file:
            committed, place = self._ends.get(number, (0, 0))
            file.seek(place)
            for line in file:
                # Another writer is committing this batch, or was killed while it did: half a line, without its end.
                commit = _read_index_line(line)
                if commit is None and not line.endswith(b"\n"):
                    break
                if commit is None or not line.endswith(b"\n"):
                    self._damaged.add(number)
                    where = f"{path}:{path.read_bytes()[:place].count(10) + 1}"
                    warnings.warn(
                        f"{where}: damaged, or written by an older version: the line does not have its checksum. Its"
                        " rollouts are sampled again, the others are kept; restore the file if you can",
                        stacklevel=2,
                    )
                if commit is not None:
                    committed, spans = commit
                    for problem_id, (first, last, checksum) in spans.items():
                        self._spans.setdefault(problem_id, []).append((number, first, last, checksum))
                place = file.tell()
                self._ends[number] = committed, place

    def _check_header(self, begin: bool) -> None:
        """Compare the header with that of the store, if it has one yet; or begin the store with it."""
        if self._checked:
            return
        path = self.folder / "store.json"
        # Several writers may begin a new store at once. The first writes the header, under another name until it is whole.
        self._lock(_HEADER_BYTE, wait=True)
        try:
            line = json_line(self.header | {"settings": self.settings}).decode()
            fix = (
                "the rollouts beside it were sampled with the settings that it held. If these were the settings of this"
                f" command, write this line into it: {line.strip()}. If not, or to start over, delete {self.folder}"
            )
            if not path.exists():
                if any(self.folder.glob("rollouts-*.index")):
                    raise ValueError(f"{path} is missing; {fix}")
                if not begin:
                    return
                write_whole(path, line)
            found = read_object(path, fix)
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _HEADER_BYTE)
        settings = found.pop("settings", None)
        if not isinstance(settings, dict):
            raise ValueError(f"{path} has no `settings`; {fix}")
        if found != self.header:
            # Where the settings tell the difference, the name of the generator, with a hash of them, tells no more.
            unsaid = {"generator"} if settings != self.settings else set()
            then, now = (
                {key: value for key, value in all_of.items() if key not in unsaid}
                for all_of in (settings | found, self.settings | self.header)
            )
            fix = "Give another --output or --store, or delete it to start over"
            check_same_settings(f"{self.folder} was begun", then, now, fix)
        self._checked = True

    def _lock(self, byte: int, wait: bool) -> bool:
        with suppress(BlockingIOError, PermissionError):  # what `lockf` raises where another process has the lock
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            return True
        if wait:
            waiting = f"waiting for {_holder(self._locks, byte)}, which samples the same problems into {self.folder}"
            print(f"{waiting}; Ctrl-C gives up", file=sys.stderr, flush=True)
            fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, byte)
        return wait

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"rollouts-{number}.{suffix}"


def _holder(locks: int, byte: int) -> str:
    """Who has the lock of this byte, as far as the kernel tells."""
    if sys.platform == "linux":
        flock = struct.Struct("hhqqi4x")  # type, whence, start, length, process
        answer = fcntl.fcntl(locks, fcntl.F_GETLK, flock.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
        kind, *_, process = flock.unpack(answer)
        if kind != fcntl.F_UNLCK and process > 0:
            return f"process {process}"
    return "another process"


def prefix_hash(ids: Sequence[int]) -> str:
    """Sixteen hex digits of the exact token ids of a prefix."""
    return hashlib.sha256(repr(list(ids)).encode()).hexdigest()[:16]


def _problem_byte(problem_id: str) -> int:
    digest = hashlib.sha256(problem_id.encode()).digest()
    return _HEADER_BYTE + 1 + int.from_bytes(digest[:7], "big")


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _index_line(end: int, spans: Mapping[str, Sequence[Any]]) -> bytes:
    values = {"end": end, "spans": spans}
    return json_line(values | {"sha256": _checksum(json_line(values))})


def _read_index_line(line: bytes) -> tuple[int, dict[str, tuple[int, int, str]]] | None:
    """End and spans of a line; None if it is not one as `_index_line` makes it, but for its line end."""
    try:
        values = json.loads(line[:-1])
        if _index_line(values["end"], values["spans"])[:-1] != line[:-1]:
            return None
        return values["end"], values["spans"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _write_at(path: Path, start: int, content: bytes) -> None:
    """Write at `start`, replacing what follows it (an interrupted batch), and sync."""
    with named(path), path.open("ab") as file:
        file.truncate(start)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
