"""RolloutStore: keeps every sampled continuation exactly once, across kills, labeling methods and machines.

The address of a rollout is its problem, prefix (a hash of the exact token ids) and index; its seed is derived from the
address and the run's seed alone. Traces, labels of any planner and pass@k curves are read from the same store, so a
second planner, or a run with more rollouts, pays only for those that are missing.

A store is a folder. Every writer appends to its own pair of files:

    store.json          {"generator": "arithmetic_generator-1f2e3d4c", "seed": 0, "settings": {"temperature": 1.0, ...}}
    rollouts-0.jsonl    {"problem_id": "arithmetic/train/7", "prefix": "5be1...", "index": 0, "seed": 77, "text": "75 - ...
    rollouts-0.index    {"end": 18230, "spans": {"arithmetic/train/7": [0, 9120], "arithmetic/train/8": [9120, 18230]}}
    lock

A batch of rollouts is written and synced first, then its line of the index, which commits it. Half a batch or half a
line (after a kill or on a full disk) is therefore never read, and the next batch overwrites it. The index also says where
in the file the rollouts of a problem are, so a store far larger than memory opens at once. `store.json` is written with the
first batch: a run that failed before it binds nobody to its settings.

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
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

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
        self._spans: dict[str, list[tuple[int, int, int]]] = {}  # problem -> (file number, start, end)
        self._ends: dict[int, tuple[int, int]] = {}  # file number -> committed bytes of the file and of its index
        self._number: int | None = None  # of the pair of files that this process appends to
        self._header: dict[str, Any] = json.loads(json.dumps(dict(header)))
        self._settings: dict[str, Any] = json.loads(json.dumps(dict(settings)))
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
        for problem_id in problem_ids:
            for number, start, end in self._spans.get(problem_id, ()):
                path = self._path(number, "jsonl")
                with path.open("rb") as file:
                    file.seek(start)
                    for line in file.read(end - start).splitlines():
                        try:
                            row = json.loads(line)
                            yield Rollout(**(row | {"token_ids": tuple(row["token_ids"])}))
                        except (ValueError, TypeError, KeyError) as error:
                            raise ValueError(
                                f"{path}: bytes {start} to {end} hold no rollouts of {problem_id!r} ({error!r}):"
                                f" {line[:80]!r}. The file was edited or damaged; restore it, or delete {self.folder} to"
                                " start over"
                            ) from error

    def append(self, rollouts: Sequence[Rollout]) -> None:
        """Commit rollouts of problems that this process has claimed; they are on disk when this returns.

        Raises:
            OSError: the disk is full or the folder cannot be written; what was committed before is safe.
            ValueError: in the meantime, another writer has begun the store with another header.
        """
        self._check_header(begin=True)
        # The first pair of files that no living writer holds; a killed writer's pair is continued, so pairs stay few.
        if self._number is None:
            self._number = next(number for number in itertools.count() if self._lock(number, wait=False))
            self._read_index(self._number)

        # The rollouts of a problem lie together, so that the index needs one span for each problem.
        by_problem: dict[str, list[Rollout]] = {}
        for rollout in rollouts:
            by_problem.setdefault(rollout.problem_id, []).append(rollout)
        committed, index_end = self._ends.get(self._number, (0, 0))
        spans, text, end = {}, bytearray(), committed
        for problem_id, its_rollouts in by_problem.items():
            for rollout in its_rollouts:
                text += json.dumps(asdict(rollout), ensure_ascii=False).encode() + b"\n"
            spans[problem_id] = [end, committed + len(text)]
            end = committed + len(text)
        line = json.dumps({"end": end, "spans": spans}, ensure_ascii=False).encode() + b"\n"

        # The index goes last, because its line commits the batch. Both writes start at the end of what is committed, and
        # so replace what an interrupted batch has left there.
        try:
            _write_at(self._path(self._number, "jsonl"), committed, bytes(text))
            _write_at(self._path(self._number, "index"), index_end, line)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self.folder}: {error.strerror}. All rollouts committed before are safe; make room and start again",
            ) from error
        self._read_index(self._number)

    def refresh(self) -> None:
        """Read what other writers have committed in the meantime. Raises ValueError if it has another header."""
        self._check_header(begin=False)
        for path in sorted(self.folder.glob("rollouts-*.index")):
            self._read_index(int(path.stem.split("-")[1]))

    def close(self) -> None:
        os.close(self._locks)

    def _read_index(self, number: int) -> None:
        """Read the lines that were added to the index of a pair of files since it was last read."""
        path = self._path(number, "index")
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._ends.get(number, (0, 0))[1])
            for line in file:
                # Half a line: another writer is committing this batch, or was killed while it did.
                if not line.endswith(b"\n"):
                    break
                # A whole line that cannot be read is damage, and skipping it would lose rollouts without a word.
                try:
                    commit = json.loads(line)
                    spans, end = commit["spans"], commit["end"]
                except (ValueError, TypeError, KeyError) as error:
                    raise ValueError(
                        f"{path}: a line in the middle is broken ({error!r}): {line[:80]!r}. Restore the file, or delete"
                        f" {self.folder} to start over"
                    ) from error
                for problem_id, (first, last) in spans.items():
                    self._spans.setdefault(problem_id, []).append((number, first, last))
                self._ends[number] = end, file.tell()

    def _check_header(self, begin: bool) -> None:
        """Compare the header with that of the store, if it has one yet; or begin the store with it."""
        if self._checked:
            return
        path = self.folder / "store.json"
        # Several writers may begin a new store at once. The first writes the header, under another name until it is whole.
        self._lock(_HEADER_BYTE, wait=True)
        try:
            if not path.exists():
                if not begin:
                    return
                draft = path.with_suffix(".draft")
                draft.write_text(json.dumps(self._header | {"settings": self._settings}) + "\n", encoding="utf-8")
                draft.replace(path)
            found = json.loads(path.read_text(encoding="utf-8"))
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _HEADER_BYTE)
        settings = found.pop("settings")
        if found != self._header:
            # Where the settings tell the difference, the name of the generator, with a hash of them, tells no more.
            unsaid = {"generator"} if settings != self._settings else set()
            then, now = (
                {key: value for key, value in all_of.items() if key not in unsaid}
                for all_of in (settings | found, self._settings | self._header)
            )
            fix = "Give another --output or --store, or delete it to start over"
            check_same_settings(f"{self.folder} was begun", then, now, fix)
        self._checked = True

    def _lock(self, byte: int, wait: bool) -> bool:
        with suppress(BlockingIOError, PermissionError):  # what `lockf` raises where another process has the lock
            fcntl.lockf(self._locks, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
            return True
        return False

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"rollouts-{number}.{suffix}"


def prefix_hash(ids: Sequence[int]) -> str:
    """Sixteen hex digits of the exact token ids of a prefix."""
    return hashlib.sha256(repr(list(ids)).encode()).hexdigest()[:16]


def _problem_byte(problem_id: str) -> int:
    digest = hashlib.sha256(problem_id.encode()).digest()
    return _HEADER_BYTE + 1 + int.from_bytes(digest[:7], "big")


def _write_at(path: Path, start: int, content: bytes) -> None:
    """Write at `start`, replacing what follows it (an interrupted batch), and sync."""
    with path.open("ab") as file:
        file.truncate(start)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
