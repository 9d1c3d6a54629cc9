"""Damaged files: whatever byte is wrong, nothing is lost or doubled without a word, and what is whole is kept."""

import itertools
import json
import os
import shutil
import warnings

import pytest

from prm.storage.journal import Journal
from prm.storage.rollout_store import RolloutStore
from prm.types import Rollout

HEADER = {"generator": "g-1", "rollouts": 8, "seed": 0}
CHUNKS = [[{"text": "85 - 12 = 73", "n": 1}, {"text": "größer ≥", "n": 2}], [], [{"text": "a", "n": 3}], [{"n": 4}]]
BATCHES = [
    [
        Rollout(problem, "5be1", index, 7, (5, index), "4 ≥ 2\n#### 2", "answer", "2", "correct")
        for problem, index in batch
    ]
    for batch in (("a0", "b0", "a1"), ("c0",), ("b1", "a2"))
]


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # it takes most of the time


def finish(journal: Journal) -> None:
    for number, rows in enumerate(CHUNKS):
        if number not in journal.done:
            journal.append(number, rows)


def fill(folder) -> list[Rollout]:
    """All rollouts after a run has sampled again what the store does not have."""
    store = RolloutStore(folder, {"seed": 0})
    there = list(store.read("abc"))
    for batch in BATCHES:
        if missing := [rollout for rollout in batch if rollout not in there]:
            store.append(missing)
    store.close()
    store = RolloutStore(folder, {"seed": 0})
    found = list(store.read("abc"))
    store.close()
    return found


def changed(content: bytes, place: int) -> list[bytes]:
    """The content with another byte there: one bit, and a line end or what it replaces."""
    return [
        content[:place] + bytes([wrong]) + content[place + 1 :]
        for wrong in (content[place] ^ 1, 10 if content[place] != 10 else 120)
    ]


def lines_removed(content: bytes) -> list[bytes]:
    lines = content.splitlines(keepends=True)
    return [b"".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines) - 1)]


def test_a_journal_with_any_wrong_byte_or_lost_line_ends_as_one_without(tmp_path):
    path = tmp_path / "whole"
    finish(Journal(path, HEADER))
    whole = path.read_bytes()
    header, every = whole.partition(b'{"text')[0], set(range(len(CHUNKS)))
    torn = [other for place in range(0, len(whole), 3) for other in changed(whole, place)[place % 2 :]]
    kept = 0
    for content in torn + lines_removed(whole):
        path = tmp_path / "j"
        path.write_bytes(content)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            journal = Journal(path, HEADER)
        assert path.read_bytes() == content, "reading changes nothing"
        done = journal.done
        kept += len(done)
        if done != every - {1}:  # its commit is one line, without which it was never there
            assert [str(its.message).startswith(f"{path}:") for its in said] == [True], content
        finish(journal)
        with warnings.catch_warnings():
            warnings.simplefilter("error" if done < every and content.startswith(header) else "ignore")
            assert list(Journal(path, HEADER).chunks()) == list(enumerate(CHUNKS)), content
        if said and done < every:
            assert path.with_name("j.damaged").read_bytes() == content
    assert kept > 0.7 * len(torn) * len(CHUNKS)


def test_other_settings_are_no_damage(tmp_path):
    finish(Journal(tmp_path / "j", HEADER))
    for seed in (1, -1, "0"):
        with pytest.raises(ValueError, match=r"was begun with other settings \(seed: was 0"):
            Journal(tmp_path / "j", HEADER | {"seed": seed})


@pytest.mark.parametrize("name", ["rollouts-0.jsonl", "rollouts-0.index"])
def test_a_store_with_any_wrong_byte_or_lost_line_gives_every_rollout_once(tmp_path, name):
    whole = tmp_path / "whole"
    expected = fill(whole)
    assert sorted(expected, key=repr) == sorted(itertools.chain(*BATCHES), key=repr)
    content = (whole / name).read_bytes()
    torn = [other for place in range(0, len(content), 7) for other in changed(content, place)[place % 2 :]]
    for other in torn + lines_removed(content):
        folder = tmp_path / "store"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        (folder / name).write_bytes(other)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = fill(folder)
        assert sorted(found, key=repr) == sorted(expected, key=repr), other
        if other in torn:
            assert any(str(folder / name) in str(its.message) for its in said), other
            with (folder / name).open("rb") as file:
                assert file.read(len(other)) == other, "what was committed is not overwritten"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"{", "is not JSON"),
        (b"[]", "no JSON object"),
        (b"\xff\xfe{}", r"store.json:1: not UTF-8"),
        (b"{}", "has no `settings`"),
        (b'{"seed": 0, "settings": 3}', "has no `settings`"),
        (b'{"seed": 1, "settings": {}}', r"was begun with other settings \(seed: was 1, now 0\)"),
        (b'{"seed": ' + b"9" * 5000 + b', "settings": {}}', "is not JSON"),
        (b"[" * 10**5, "is not JSON"),
        (None, "is missing"),
    ],
)
def test_a_damaged_store_json_says_how_to_go_on(tmp_path, content, message):
    fill(tmp_path)
    path = tmp_path / "store.json"
    line = path.read_text()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        fill(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    if "begun" not in message and "UTF-8" not in message:
        assert line.strip() in str(error.value)
    path.write_text(json.dumps({"seed": 0, "settings": {}}))  # as it says
    assert len(fill(tmp_path)) == 6
