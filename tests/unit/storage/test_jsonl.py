"""Rows of JSON Lines: what is no row is named by file and line."""

import pytest

from prm.storage.jsonl import read_jsonl, write_jsonl


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": "\\ud83d"}', r"x:3: \\ud83d is half of a character \(a lone surrogate\); remove it"),
        ('{"a": ["\\uD83D"]}', r"x:3: \\ud83d is half of a character"),
        ('{"a": "\\ud83d\\ude00"}', None),  # both halves
        ('{"a": "\\\\ud83d"}', None),  # the text of an escape
        ("[1]", r"x:3: a row must be a JSON object, this is list"),
        ('{"a": ', r"x:3: not a JSON object on one line \(.*\): '\{\"a\": "),
        ("[" * 100_000, "x:3: not a JSON object on one line"),
    ],
)
def test_what_is_no_row_is_named_by_its_line(line, said, tmp_path):
    path = tmp_path / "x"
    path.write_text(f'{{"a": 1}}\n\n{line}\n')
    if said is None:
        assert len(list(read_jsonl(path))) == 2
        return
    with pytest.raises(ValueError, match=said):
        list(read_jsonl(path))


def test_what_is_written_is_read_back_with_its_places(tmp_path):
    rows = [{"a": 1}, {"a": "5 ≤ 6\u2028"}]
    write_jsonl(tmp_path / "x", rows)
    assert list(read_jsonl(tmp_path / "x")) == [(f"{tmp_path}/x:{i}", row) for i, row in enumerate(rows, 1)]
