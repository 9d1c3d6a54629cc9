"""The rollout store: what a kill can do to its files at any byte, several writers, and what must come back."""

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.storage.rollout_store import RolloutStore, _holder, prefix_hash
from prm.types import Rollout

HEADER = {"generator": "g-1", "seed": 0}


def rollout(problem: str, index: int, text: str = "größer ≥ 中\u2028 \n#### 2") -> Rollout:
    return Rollout(problem, "5be1", index, 77 + index, (5, index), text, "answer", "2", "correct")


BATCHES = [
    [rollout("a", 0), rollout("b", 0), rollout("a", 1)],
    [rollout("c", 0, "")],
    [rollout("b", 1), rollout("a", 2, 'quote " and \\')],
]


def open_store(folder) -> RolloutStore:
    return RolloutStore(folder, HEADER)


def write_rest(folder) -> None:
    """Append the batches that are not there yet, as a run that goes on would."""
    store = open_store(folder)
    there = list(store.read("abc"))
    for batch in BATCHES:
        if not set(batch) <= set(there):
            store.append(batch)
    store.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "new" / "store"
    write_rest(folder)
    return folder


def test_the_files_by_hand(whole):
    assert json.loads((whole / "store.json").read_text()) == HEADER | {"settings": {}}
    lines = (whole / "rollouts-0.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line)["problem_id"] for line in lines[:-1]] == ["a", "a", "b", "c", "b", "a"]
    assert lines[3].decode() == (
        '{"problem_id": "c", "prefix": "5be1", "index": 0, "seed": 77, "token_ids": [5, 0], "text": "", "stop": "answer",'
        ' "gold": "2", "outcome": "correct"}'
    )
    ends = [0]
    for line in lines[:-1]:
        ends.append(ends[-1] + len(line) + 1)
    index = (whole / "rollouts-0.index").read_text().splitlines()
    found = [json.loads(line) for line in index]
    assert [(line["end"], {key: (start, end) for key, (start, end, _) in line["spans"].items()}) for line in found] == [
        (ends[3], {"a": (0, ends[2]), "b": (ends[2], ends[3])}),
        (ends[4], {"c": (ends[3], ends[4])}),
        (ends[6], {"b": (ends[4], ends[5]), "a": (ends[5], ends[6])}),
    ]
    assert found[1]["spans"]["c"][2] == hashlib.sha256(lines[3] + b"\n").hexdigest()[:16]
    unsigned = index[1].rpartition(', "sha256"')[0] + "}\n"
    assert found[1]["sha256"] == hashlib.sha256(unsigned.encode()).hexdigest()[:16]


def test_what_was_committed_comes_back(whole):
    store = open_store(whole)
    assert list(store.read(["a"])) == [rollout("a", 0), rollout("a", 1), rollout("a", 2, 'quote " and \\')]
    assert list(store.read(["c", "x", "b"])) == [rollout("c", 0, ""), rollout("b", 0), rollout("b", 1)]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_kill_at_any_byte_changes_nothing(whole, tmp_path_factory, data):
    """Data are written before the line of the index that commits them, so that is how far a kill can have come."""
    folder = tmp_path_factory.mktemp("cut") / "store"
    shutil.copytree(whole, folder)
    rows, index = (whole / "rollouts-0.jsonl").read_bytes(), (whole / "rollouts-0.index").read_bytes()
    commits = [json.loads(line)["end"] for line in index.splitlines()]
    cut = data.draw(st.integers(0, len(index)), label="bytes of the index")
    committed = index[:cut].count(b"\n")
    least = commits[committed - 1] if committed else 0
    most = len(rows) if committed == len(commits) else commits[committed]
    if index[:cut] and not index[:cut].endswith(b"\n"):
        least = most  # its data were there before the line began
    size = data.draw(st.integers(least, most), label="bytes of the rows")
    (folder / "rollouts-0.jsonl").write_bytes(rows[:size])
    (folder / "rollouts-0.index").write_bytes(index[:cut])
    write_rest(folder)
    assert (folder / "rollouts-0.jsonl").read_bytes() == rows
    assert (folder / "rollouts-0.index").read_bytes() == index


def test_another_header_is_refused_by_the_keys_that_differ(whole):
    with pytest.raises(ValueError, match="was begun with other settings") as error:
        RolloutStore(whole, {"generator": "g-2", "seed": 0})
    assert "(generator: was 'g-1', now 'g-2')" in str(error.value)
    assert str(whole) in str(error.value)


def test_the_setting_that_differs_is_named_and_not_a_hash_of_it(tmp_path):
    RolloutStore(tmp_path, HEADER, {"prompt": "plain", "top_p": 1.0}).append(BATCHES[0])
    with pytest.raises(
        ValueError, match=r"begun with other settings \(prompt: was 'plain', now 'chat'\)\. Give another"
    ):
        RolloutStore(tmp_path, HEADER | {"generator": "g-2"}, {"prompt": "chat", "top_p": 1.0})
    RolloutStore(tmp_path, HEADER, {"prompt": "./plain.yaml", "top_p": 1.0})  # two names of one sampler


def test_a_run_that_failed_before_its_first_rollout_binds_nobody_to_its_settings(tmp_path):
    failed = RolloutStore(tmp_path, {"generator": "mistyped", "seed": 0})
    open_store(tmp_path).append(BATCHES[0])
    for late in (failed.refresh, lambda: failed.append(BATCHES[1])):  # it neither takes nor adds anything now
        with pytest.raises(ValueError, match="was begun with other settings"):
            late()


@pytest.mark.parametrize("failing", ["jsonl", "index"])
def test_a_full_disk_loses_the_batch_and_nothing_else(whole, tmp_path, monkeypatch, failing):
    folder = tmp_path / "store"
    store = open_store(folder)
    store.append(BATCHES[0])
    fsync = os.fsync

    def full(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(failing):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - 5)
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device") as error:
            store.append(BATCHES[1])
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(folder / f"rollouts-0.{failing}"))
    assert len(list(store.read("abc"))) == 3
    store.append(BATCHES[1])  # the same process goes on once there is room
    store.close()
    write_rest(folder)
    assert (folder / "rollouts-0.jsonl").read_bytes() == (whole / "rollouts-0.jsonl").read_bytes()
    assert (folder / "rollouts-0.index").read_bytes() == (whole / "rollouts-0.index").read_bytes()


def test_the_hash_of_a_prefix_stays_the_same():
    """It is the key of stored rollouts: another one would orphan all of them."""
    assert prefix_hash([31, 9, 25]) == prefix_hash((31, 9, 25)) == "eef1db405a1c58ac"
    assert prefix_hash([5, 0]) == "2406e50a1535c094"


def _append(folder: Path, problem: str) -> None:
    store = open_store(folder)
    with store.claim([problem]) as mine:
        assert mine
        store.append([rollout(problem, 0)])


def test_a_closed_store_gives_its_files_to_the_next_writer(tmp_path):
    """While it is open, another process writes files of its own."""
    store = open_store(tmp_path / "store")
    store.append([rollout("a", 0)])
    names = []
    for problem in "bc":
        process = multiprocessing.get_context("spawn").Process(target=_append, args=(store.folder, problem))
        process.start()
        process.join()
        assert process.exitcode == 0
        names.append(sorted(path.name for path in store.folder.glob("*.jsonl")))
        if problem == "b":
            store.close()
    assert names == [["rollouts-0.jsonl", "rollouts-1.jsonl"]] * 2
    with (store.folder / "rollouts-0.jsonl").open() as file:
        assert [json.loads(line)["problem_id"] for line in file] == ["a", "c"]


def _hold(folder: Path, ready, release) -> None:
    store = open_store(folder)
    with store.claim(["a", "b"]) as mine:
        assert mine
        store.append([rollout("a", 0)])
        ready.set()
        release.wait(30)
        store.append([rollout("b", 0)])


@pytest.fixture
def other_writer(tmp_path):
    """A process that has claimed the problems a and b, and the event that lets it go on."""
    spawn = multiprocessing.get_context("spawn")
    ready, release = spawn.Event(), spawn.Event()
    process = spawn.Process(target=_hold, args=(tmp_path / "store", ready, release))
    process.start()
    assert ready.wait(60)
    yield process, release
    process.kill()
    process.join()


def test_two_writers_exclude_each_other(tmp_path, other_writer):
    _, release = other_writer
    store = open_store(tmp_path / "store")
    assert list(store.read("a")) == [rollout("a", 0)]
    with store.claim(["c", "b"]) as mine:
        assert not mine
    with store.claim(["c"]) as mine:
        assert mine
        store.append([rollout("c", 0)])
    assert sorted(path.name for path in store.folder.glob("*.jsonl")) == ["rollouts-0.jsonl", "rollouts-1.jsonl"]
    order = []
    for unit in store.claim_each(["a", "c"], list):
        order.append(unit)
        release.set()  # "a" comes last, when its writer is done
    assert order == ["c", "a"]
    assert list(store.read("b")) == [rollout("b", 0)]  # what it wrote meanwhile is seen


def test_a_claim_that_ended_or_failed_holds_nothing(tmp_path, monkeypatch):
    """The locks belong to the process, so what is still held is seen in what is released."""
    store, locked, released = open_store(tmp_path / "store"), [], []
    lockf = fcntl.lockf

    def watched(file, kind, length, byte):
        lockf(file, kind, length, byte)
        if byte > 2**31:  # the bytes of problems; below are those of the store itself
            (released if kind == fcntl.LOCK_UN else locked).append(byte)

    monkeypatch.setattr("prm.storage.rollout_store.fcntl.lockf", watched)
    with store.claim(["a", "b", "a"]) as mine:
        assert mine
        assert (len(locked), released) == (2, [])
    assert sorted(released) == sorted(locked)
    with pytest.raises(KeyError), store.claim(["c"]):
        raise KeyError
    assert sorted(released) == sorted(locked)
    assert len(set(locked)) == 3  # every problem has its own


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not tell")
def test_the_holder_of_a_byte_is_not_that_of_the_next(tmp_path):
    hold = "import fcntl, os, sys; fcntl.lockf(1, fcntl.LOCK_EX, 1, 8); os.write(2, b'8'); sys.stdin.read()"
    with (tmp_path / "locks").open("wb") as locks:
        pipes = {"stdin": subprocess.PIPE, "stdout": locks, "stderr": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-SIc", hold], **pipes) as other:
            assert other.stderr.read(1) == b"8"
            holders = [_holder(locks.fileno(), byte) for byte in (7, 8, 9)]
            other.stdin.close()
    assert holders == ["another process", f"process {other.pid}", "another process"]


def test_a_killed_writer_leaves_its_problems_and_its_files_to_the_next(tmp_path, other_writer):
    process, _ = other_writer
    store = open_store(tmp_path / "store")
    with store.claim(["a"]) as mine:
        assert not mine
    process.kill()
    process.join()
    started = time.monotonic()
    with store.claim(["a", "b"], wait=True):
        assert list(store.read("ab")) == [rollout("a", 0)]
        store.append([rollout("b", 0)])
    assert time.monotonic() - started < 30
    assert [path.name for path in store.folder.glob("*.jsonl")] == ["rollouts-0.jsonl"]


@pytest.fixture
def damaged(whole, tmp_path):
    """`damaged(name, line, text)`: a copy of the store with another line (from 1) in one of its files."""

    def change(name, line, text):
        folder = tmp_path / "store"
        shutil.copytree(whole, folder)
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        lines[line - 1] = text
        (folder / name).write_bytes(b"".join(lines))
        return folder

    return change


def kept(store):
    return [(its.problem_id, its.index) for its in store.read("abc")]


EVERY = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0)]


def test_damaged_rollouts_are_left_out_and_named_by_their_bytes_and_their_problem(whole, damaged):
    line = (whole / "rollouts-0.jsonl").read_bytes().splitlines(keepends=True)[3]
    folder = damaged("rollouts-0.jsonl", 4, line.replace(b'"seed": 77', b'"seed": 78'))
    with pytest.warns(UserWarning, match=r"rollouts-0\.jsonl: bytes \d+ to \d+ are damaged: .* of 'c'"):
        assert kept(open_store(folder)) == EVERY[:-1]
    (folder / "rollouts-0.jsonl").unlink()
    with pytest.warns(UserWarning, match=r"bytes \d+ to \d+ are damaged"):
        assert kept(open_store(folder)) == []


@pytest.mark.parametrize("text", [b"x\n", b"[[\n", b'{"end": 3}\n', b'{"end": 9, "spans": {}, "sha256": "0"}\n'])
def test_a_damaged_line_of_the_index_costs_its_batch_and_a_new_pair_of_files_is_begun(damaged, text):
    folder = damaged("rollouts-0.index", 2, text)
    with pytest.warns(UserWarning, match=r"rollouts-0\.index:2: damaged, or written by an older version"):
        store = open_store(folder)
    assert kept(store) == [its for its in EVERY if its[0] != "c"]
    assert store.problems() == {"a", "b"}
    before = (folder / "rollouts-0.index").read_bytes()
    store.append(BATCHES[1])
    assert kept(store) == EVERY
    assert (folder / "rollouts-0.index").read_bytes() == before
    assert (folder / "rollouts-1.index").exists()
    store.close()


def test_half_a_line_at_the_end_is_a_batch_that_another_writer_commits(damaged):
    folder = damaged("rollouts-0.index", 3, b'{"end": 3, "sp')
    store = open_store(folder)
    assert kept(store) == [("a", 0), ("a", 1), ("b", 0), ("c", 0)]
    store.append(BATCHES[2])
    assert kept(store) == EVERY
    assert not (folder / "rollouts-1.index").exists()
    store.close()


def test_units_that_another_writer_holds_come_last(tmp_path, monkeypatch):
    store, asked = open_store(tmp_path), []

    @contextmanager
    def claim(problem_ids, wait=False):
        asked.append((*problem_ids, wait))
        yield wait or problem_ids != ["b"]

    monkeypatch.setattr(store, "claim", claim)
    assert list(store.claim_each("abc", lambda unit: [unit])) == ["a", "c", "b"]
    assert asked == [("a", False), ("b", False), ("c", False), ("b", True)]
    store.close()
