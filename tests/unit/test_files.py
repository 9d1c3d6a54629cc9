"""Files that are there whole or not at all, one writer at a time, and errors that name the file, the line and the byte."""

import json
import os
import socket

import pytest

from prm.files import (
    decoded,
    json_line,
    named,
    read_object,
    read_settings,
    read_text,
    sole_writer,
    visible,
    whole_file,
    write_whole,
)


def test_a_file_is_replaced_when_the_block_has_ended_and_left_alone_where_it_fails(tmp_path):
    path = tmp_path / "new" / "meta.json"
    write_whole(path, "old ü \ud800")
    assert path.read_bytes() == "old ü \\ud800".encode()

    def fail():
        with whole_file(path) as file:
            file.write(b"half")
            assert path.read_bytes().startswith(b"old")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes().startswith(b"old")
    assert os.listdir(path.parent) == ["meta.json"]


def test_what_was_written_is_on_disk_before_it_has_its_name_and_the_name_after(tmp_path, monkeypatch):
    path, synced = tmp_path / "x", []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append((os.readlink(f"/proc/self/fd/{fd}"), path.exists())))
    with whole_file(path) as file:
        file.write(b"1")
    assert synced == [(str(tmp_path / "x.partial"), False), (str(tmp_path), True)]


@pytest.mark.parametrize(("filename", "shown"), [(None, "mine"), ("its", "its")])
def test_an_error_of_the_disk_has_a_name_and_keeps_its_own(filename, shown):
    with pytest.raises(OSError, match="full") as error, named("mine"):
        raise OSError(28, "full", filename)
    assert error.value.filename == shown


def test_a_second_writer_is_told_who_the_first_one_is(tmp_path):
    path = tmp_path / "outer" / "folder" / ".lock"
    first = sole_writer(path, "rows.jsonl", "wait for it")
    me = f"process {os.getpid()} on {socket.gethostname()}"
    assert path.read_text() == me
    with pytest.raises(ValueError, match=f"^rows[.]jsonl is written by {me}; wait for it$"):
        sole_writer(path, "rows.jsonl", "wait for it")
    first.truncate(0)  # the first one has not come to write its name
    with pytest.raises(ValueError, match=r"^rows\.jsonl is written by another process; wait for it"):
        sole_writer(path, "rows.jsonl", "wait for it")
    first.close()
    path.write_text("process 1 on a machine with a much longer name " * 3)
    sole_writer(path, "rows.jsonl", "").close()
    assert path.read_text() == me


@pytest.mark.parametrize(
    ("content", "first", "message"),
    [
        (b"a\nb\n\xfc", 1, r"rows:3: not UTF-8 text \(byte 0xfc: .*; save the file as UTF-8"),
        (b"\xfca\n", 7, r"rows:7: not UTF-8 text \(byte 0xfc"),
        (b"a\n\xe2\x82", 1, r"rows:2: not UTF-8 text \(byte 0xe2: unexpected end of data"),
    ],
)
def test_what_is_no_utf8_is_named_by_line_and_byte(content, first, message):
    with pytest.raises(ValueError, match=message):
        decoded(content, "rows", first)


def test_a_mark_of_byte_order_is_dropped_at_the_begin_of_a_file_alone(tmp_path):
    marked = b"\xef\xbb\xbfa"
    assert (decoded(marked, "rows"), decoded(marked, "rows", 2)) == ("a", "\ufeffa")
    (tmp_path / "rows").write_bytes(marked)
    assert read_text(tmp_path / "rows") == "a"


@pytest.mark.parametrize("read", [read_object, read_settings])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 500, r"^x is not (JSON|YAML) \(.*; fix"),
        ('{"a": "\n', r"^x is not (JSON|YAML) \(.*; fix"),
        ("[1, 2]", r"^x holds '\[1, 2\]' and no (JSON object|lines `name: value`); fix"),
        ('"' + "a" * 99 + '"', rf"^x holds '\"{'a' * 39}' and no"),
    ],
)
def test_what_is_no_mapping_is_refused_in_one_line(read, text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read("x", "fix")
    assert "\n" not in str(error.value)
    (tmp_path / "x").write_text('{"a": 1}')
    assert read("x", "fix") == {"a": 1}


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "x").write_text(" \n")
    with pytest.raises(ValueError, match="x is empty; fix"):
        read_object(tmp_path / "x", "fix")


def test_a_row_reads_back_as_it_is():
    row = {"text": "5 ≤ 6 \ud800\u2028"}
    assert json_line(row) == '{"text": "5 ≤ 6 \\ud800\u2028"}\n'.encode()
    assert json.loads(json_line(row)) == row


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J#### 73", r"\x1b[2J#### 73"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x00\x08\x0b\x0c\r\x1f\x7f\x9f", r"\x00\x08\x0b\x0c\r\x1f\x7f\x9f"),
        ("\u200e\u200f\u2028\u202e\u2066\u2069\ud800\udfff", r"\u200e\u200f\u2028\u202e\u2066\u2069\ud800\udfff"),
        ("ü \xa0\u200d≤", "ü \xa0\u200d≤"),
    ],
)
def test_control_characters_are_shown_as_escapes(text, shown):
    assert visible(text) == shown
