"""Rows of files and of hub data sets, one at a time."""

import datasets
import pytest

from prm.storage.sources import read_rows

ROWS = [{"prompt": "a", "labels": [True, None]}, {"prompt": "b", "labels": [False]}]


def test_json_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"prompt": "b"}\n')
    assert list(read_rows(str(path))) == [(f"{path}:1", {"prompt": "a"}), (f"{path}:3", {"prompt": "b"})]


def test_parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    datasets.Dataset.from_list(ROWS).to_parquet(path)
    assert list(read_rows(str(path))) == [(f"{path}:0", ROWS[0]), (f"{path}:1", ROWS[1])]


def test_hub(monkeypatch):
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return iter(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(read_rows("openai/gsm8k", "test"))[1] == ("openai/gsm8k/test:1", ROWS[1])
    assert asked == [(("openai/gsm8k", "main"), {"split": "test", "streaming": True})]


def test_neither_file_nor_hub():
    with pytest.raises(ValueError, match=r"'nobody/nothing' is not a file and its split 'test' could not be loaded"):
        list(read_rows("nobody/nothing", "test"))
    with pytest.raises(FileNotFoundError, match=r"^nothing\.jsonl does not exist; check the path$"):
        list(read_rows("nothing.jsonl"))
