"""The journal: what a kill can do to the file at any byte, and what must come back."""

import errno
import json
import os
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.storage.journal import Journal

HEADER = {"generator": "g-1", "rollouts": 8, "seed": 0}
CHUNKS = [
    [{"text": "85 - 12 = 73\n", "n": 1}, {"text": "größer ≥ 中", "n": 2}],
    [],
    [{"text": 'quote " and \\ and \u2028', "n": 3}],
    [{"text": "last", "n": 4}, {"text": "", "n": 5}],
]


def write(path, numbers=(0, 1, 2, 3), header=HEADER):
    journal = Journal(path, header)
    for number in numbers:
        if number not in journal.done:
            journal.append(number, CHUNKS[number])
    return journal


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a journal that nobody disturbed."""
    path = tmp_path_factory.mktemp("journal") / "whole"
    write(path)
    return path.read_bytes()


def test_the_file_by_hand(whole):
    assert whole.decode().split("\n") == [
        '{"header": {"generator": "g-1", "rollouts": 8, "seed": 0}}',
        '{"text": "85 - 12 = 73\\n", "n": 1}',
        '{"text": "größer ≥ 中", "n": 2}',
        '{"commit": 0, "rows": 2, "sha256": "2e4577862b7e5fbae897669743e6ad8b"}',
        '{"commit": 1, "rows": 0, "sha256": "fc0e30798582e4afd4fdcea2f6cd2f8a"}',
        '{"text": "quote \\" and \\\\ and \u2028", "n": 3}',
        '{"commit": 2, "rows": 1, "sha256": "4fc344af5a7acbad0d5e6c039cb2d27d"}',
        '{"text": "last", "n": 4}',
        '{"text": "", "n": 5}',
        '{"commit": 3, "rows": 2, "sha256": "2c649517a96861bd4d92bca9989ac00f"}',
        "",
    ]


def test_what_was_committed_comes_back(tmp_path):
    journal = write(tmp_path / "new" / "folder" / "j")
    assert journal.done == {0, 1, 2, 3}
    again = Journal(journal.path, HEADER)
    assert again.done == {0, 1, 2, 3}
    assert list(again.chunks()) == list(enumerate(CHUNKS))
    assert [row["n"] for row in again.rows()] == [1, 2, 3, 4, 5]


def test_chunks_come_in_their_order_whatever_the_order_of_writing(tmp_path):
    journal = write(tmp_path / "j", numbers=(3, 0, 2, 1))
    assert [number for number, _ in journal.chunks()] == [0, 1, 2, 3]
    assert [row["n"] for row in journal.rows()] == [1, 2, 3, 4, 5]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_kill_at_any_byte_changes_nothing(whole, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "j"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)), label="bytes on disk")])
    write(path)
    assert path.read_bytes() == whole
    assert list(Journal(path, HEADER).chunks()) == list(enumerate(CHUNKS))


def test_only_committed_chunks_survive_each_cut(whole, tmp_path):
    """All bytes, one by one: the chunks that are there are those whose commit line is whole."""
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    commits = [ends[3], ends[4], ends[6], ends[9]]
    for size in range(0, len(whole) + 1, 3):
        path = tmp_path / f"j{size}"
        path.write_bytes(whole[:size])
        journal = Journal(path, HEADER)
        done = [number for number, end in enumerate(commits) if end <= size]
        assert sorted(journal.done) == done
        assert list(journal.chunks()) == [(number, CHUNKS[number]) for number in done]
        assert path.read_bytes() == whole[:size]  # who only reads changes nothing


def test_a_chunk_is_committed_once(tmp_path):
    journal = write(tmp_path / "j", numbers=(0, 1))
    before = journal.path.read_bytes()
    with pytest.raises(ValueError, match="j: chunk 1 is committed already"):
        journal.append(1, CHUNKS[1])
    assert journal.path.read_bytes() == before


def test_another_header_is_refused_by_the_keys_that_differ(tmp_path):
    path = write(tmp_path / "j").path
    before = path.read_bytes()
    with pytest.raises(ValueError, match="was begun with other settings") as error:
        Journal(path, {"generator": "g-1", "rollouts": 16, "chunk": 4})
    message = str(error.value)
    for part in (str(path), "chunk: was None, now 4", "rollouts: was 8, now 16", "seed: was 0, now None", "--output"):
        assert part in message
    assert "generator" not in message
    assert path.read_bytes() == before
    Journal(path, {"seed": 0, "rollouts": 8, "generator": "g-1"})  # the order of keys is no setting


def test_headers_are_compared_as_json(tmp_path):
    write(tmp_path / "j", numbers=(0,), header={"levels": (2, 3), 1: None})
    assert Journal(tmp_path / "j", {"levels": [2, 3], "1": None}).done == {0}


def test_a_run_that_failed_before_its_first_chunk_binds_nobody_to_its_settings(tmp_path):
    Journal(tmp_path / "j", {"generator": "mistyped"})
    journal = write(tmp_path / "j", numbers=(0,))
    assert list(journal.rows()) == CHUNKS[0]
    with pytest.raises(ValueError, match="Leave it out, or delete it to start over"):
        Journal(tmp_path / "j", {"generator": "mistyped"}, "Leave it out")


def test_another_file_is_not_taken_for_a_journal(tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text('{"prompt": "x"}\n')
    with pytest.raises(ValueError, match="is not a journal"):
        Journal(path, HEADER)
    assert path.read_text() == '{"prompt": "x"}\n'


@pytest.mark.parametrize("written", [0, 7, 40])
def test_a_full_disk_loses_the_chunk_and_nothing_else(whole, tmp_path, monkeypatch, written):
    """The disk takes `written` bytes of the chunk, then no more."""
    journal = write(tmp_path / "j", numbers=(0, 1))
    committed = journal.path.read_bytes()
    with monkeypatch.context() as full:

        def fsync(descriptor):
            os.ftruncate(descriptor, len(committed) + written)
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left"):
            journal.append(2, CHUNKS[2])
    assert journal.done == {0, 1}
    assert journal.path.read_bytes()[: len(committed)] == committed
    write(journal.path)
    assert journal.path.read_bytes() == whole


def test_rows_are_on_disk_when_append_returns(tmp_path, monkeypatch):
    journal = write(tmp_path / "j", numbers=())
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    journal.append(0, CHUNKS[0])
    assert synced == [journal.path.stat().st_size]
    commit = json.loads(journal.path.read_text().splitlines()[-1])
    assert (commit["commit"], commit["rows"]) == (0, 2)


def edited(whole, line, text):
    """The journal with another line (from 1) in the place of one; None leaves it out."""
    lines = whole.splitlines(keepends=True)
    lines[line - 1 : line] = [] if text is None else [text]
    return b"".join(lines)


@pytest.mark.parametrize(
    ("line", "text", "done", "places"),
    [
        (2, b'{"text": "other", "n": 1}\n', {1, 2, 3}, "2-4"),  # a row that does not fit its checksum
        (3, None, {1, 2, 3}, "2-3"),  # a row is lost
        (4, None, {1, 2, 3}, "2-3"),  # a commit is lost: its rows stand before the next one, which has none
        (4, b'{"commit": "x", "rows": 2, "sha256": ""}\n', {1, 2, 3}, "2-4"),
        (5, b'{"commit": 1, "rows": 0, "sha256": "fc0"}\n', {0, 2, 3}, "5"),
        (6, b"[1]\n", {0, 1, 3}, "6-7"),
        (7, None, {0, 1, 3}, "6"),  # its row stands before those of the next chunk, and is no part of it
        (1, b'{"header": {"generator": "other"}}\n', {0, 1, 2, 3}, "1"),
        (1, b"\xff\n", {0, 1, 2, 3}, "1"),
        (8, b'{"text": \n', {0, 1, 2}, "8-10"),
        (10, b"half\n", {0, 1, 2}, "10"),
        (10, b'{"commit": 3, "rows": 2, "sha256": "2c649517a96861bd4d92bca9989ac00f"}x', {0, 1, 2, 3}, "10"),
        (10, b'{"sha256": ""}\n', {0, 1, 2}, "10"),
        (10, b"[[\n", {0, 1, 2}, "10"),
        (10, b'{"commit": 3, "rows"', {0, 1, 2}, None),  # what an interrupted write leaves is no damage
        (10, None, {0, 1, 2}, None),
    ],
)
def test_damage_is_named_by_its_lines_and_only_its_chunk_is_made_again(whole, tmp_path, line, text, done, places):
    path, content = tmp_path / "j", edited(whole, line, text)
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        journal = Journal(path, HEADER)
    assert journal.done == done
    assert list(journal.chunks()) == [(number, CHUNKS[number]) for number in sorted(done)]
    assert [str(its.message).partition(": damaged")[0] for its in said] == [f"{path}:{places}"] * (places is not None)
    assert all(f"The {len(done)} whole chunks are kept" in str(its.message) for its in said)
    for number in {0, 1, 2, 3} - done:
        journal.append(number, CHUNKS[number])
    if done == {0, 1, 2, 3}:
        journal.append(4, [])
    again = Journal(path, HEADER)  # no warning
    assert list(again.chunks())[:4] == list(enumerate(CHUNKS))
    assert journal.done == again.done
    assert journal.next == again.next == max(again.done) + 1
    if places is not None:
        assert (tmp_path / "j.damaged").read_bytes() == content
        assert path.read_bytes().startswith(whole.splitlines(keepends=True)[0])
    assert {file.name for file in tmp_path.iterdir()} == {"j", "j.damaged"} - (
        {"j.damaged"} if places is None else set()
    )


def test_five_places_of_damage_are_named_and_no_more(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, HEADER)
    for number in range(7):
        journal.append(number, [{"n": number}])
    path.write_bytes(path.read_bytes().replace(b'{"n"', b'{"m"'))
    with pytest.warns(UserWarning, match=r"j:2-3, 4-5, 6-7, 8-9, 10-11: damaged"):
        assert Journal(path, HEADER).done == set()


def test_a_journal_of_other_settings_that_is_damaged_is_still_refused(whole, tmp_path):
    (tmp_path / "j").write_bytes(edited(whole, 2, b"x\n"))
    with pytest.raises(ValueError, match=r"j was begun with other settings \(seed: was 0, now 1\)"):
        Journal(tmp_path / "j", HEADER | {"seed": 1})
    (tmp_path / "j").write_bytes(whole.splitlines(keepends=True)[0])  # nothing was committed
    assert Journal(tmp_path / "j", HEADER | {"seed": 1}).next == 0
