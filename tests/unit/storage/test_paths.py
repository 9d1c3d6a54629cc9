"""A path of the user: there, of the other kind, or missing."""

from __future__ import annotations

import json

import pytest

from prm.datasets.problems import load_problems
from prm.storage.jsonl import read_jsonl
from prm.storage.paths import check_name, need_file, need_folder
from prm.storage.sources import read_rows


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    for name in ("train", "validation"):
        (tmp_path / "set" / f"{name}.jsonl").write_text(json.dumps({"question": "1 + 1?", "answer": "2"}) + "\n")
    return tmp_path


def test_what_is_there_is_returned(folder):
    assert need_file(folder / "set" / "train.jsonl").name == "train.jsonl"
    assert need_folder(folder / "set").name == "set"


@pytest.mark.parametrize(
    ("need", "name", "message"),
    [
        (need_file, "set", "set is a folder; give a file, such as .*train.jsonl, .*validation.jsonl"),
        (need_file, "set/trian.jsonl", "trian.jsonl does not exist, did you mean train.jsonl?"),
        (need_file, "set/x.jsonl", "x.jsonl does not exist; check the path"),
        (need_file, "no/folder/x.jsonl", "x.jsonl does not exist; check the path"),
        (need_folder, "sett", "sett does not exist, did you mean set?"),
        (need_folder, "set/train.jsonl", "train.jsonl is a file; give a folder"),
    ],
)
def test_what_is_not_there_is_said(folder, need, name, message):
    with pytest.raises(OSError, match=message):
        need(folder / name)


def test_what_can_be_no_name_on_the_hub_is_refused_without_asking_it(folder, monkeypatch):
    monkeypatch.chdir(folder / "set")
    for name in ("train.jsonl", "arithmetic", "openai/gsm8k", str(folder)):
        check_name(name, ["arithmetic"])
    for name, end in {
        "arithmetc": ", did you mean arithmetic?",
        "trian.jsonl": ", did you mean train.jsonl?",
        "gone/traces.csv": "; give a path, or owner/name on the hub",
        "outputs/math/prm": "; give a path, or owner/name on the hub",
        "nothing": "; give a path, or owner/name on the hub",
    }.items():
        with pytest.raises(FileNotFoundError) as error:
            check_name(name, ["arithmetic"])
        assert str(error.value) == f"{name} does not exist{end}"


@pytest.mark.parametrize("read", [read_rows, read_jsonl, load_problems])
def test_a_folder_where_rows_are_read_is_refused_by_every_reader(folder, read):
    """`datasets` would read whatever lies in it, and of several files one split only."""
    with pytest.raises(IsADirectoryError, match="set is a folder; give a file, such as"):
        list(read(str(folder / "set")))
