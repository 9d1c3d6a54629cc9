"""Rows of files and of hub data sets, one at a time."""

import gzip
import json

import datasets
import pytest

from prm.storage.sources import cell_text, read_rows

ROWS = [{"prompt": "a", "labels": [True, None]}, {"prompt": "b", "labels": [False]}]


def test_json_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"prompt": "b"}\n')
    assert list(read_rows(str(path))) == [(f"{path}:1", {"prompt": "a"}), (f"{path}:3", {"prompt": "b"})]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (" größer \n", "größer"),
        (3, "3"),
        (3.0, "3"),
        (2.5, "2.5"),
        (True, "true"),
        (["größer", {"≥": 1}], '["größer", {"≥": 1}]'),
    ],
)
def test_a_cell_of_any_type_is_text(value, text):
    assert cell_text(value) == text


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


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    for name, text in {"a.jsonl": '{"a": "1"}', "a.json": '[{"a": "1"}]', "a.csv": "a\n1\n"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert [row for _, row in read_rows(str(tmp_path / name))] == [{"a": "1"}], name


def test_a_json_array_is_read_in_blocks(tmp_path, monkeypatch):
    rows = [{"text": 'in quotes: "]", {"', "n": i, "list": [1, {"a": None}]} for i in range(50)]
    path = tmp_path / "array.json"
    path.write_text("\n  " + json.dumps(rows, indent=1) + "\n")
    for block in (5, 64, 10_000):
        monkeypatch.setattr("prm.storage.sources._BLOCK", block)
        assert list(read_rows(str(path))) == [(f"{path}[{i}]", row) for i, row in enumerate(rows)]


LISTS = {"a-1": [{"n": 1, "text": 'in quotes: "}]'}, {"n": 2}], "train": [{"n": 3}], "none": []}


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_of_lists_of_rows_is_read_in_blocks(tmp_path, monkeypatch, indent):
    path = tmp_path / "lists.json"
    path.write_text("\n" + json.dumps(LISTS, indent=indent) + "\n", encoding="utf-8-sig")
    expected = [(f"{path}[{key!r}][{i}]", row) for key, rows in LISTS.items() for i, row in enumerate(rows)]
    for block in (40, 64, 10_000):
        monkeypatch.setattr("prm.storage.sources._BLOCK", block)
        assert list(read_rows(str(path))) == expected


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_json_lines_may_begin_like_an_object_of_lists(tmp_path, name):
    rows = [{"conversations": [{"role": "user"}]}, {"conversations": [{"role": "user"}, {"role": "assistant"}]}]
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row for _, row in read_rows(str(tmp_path / name))] == rows


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl.gz", '{"a": "1"}\n'), ("a.json.gz", '[{"a": "1"}]'), ("a.csv.gz", "a\n1\n")]
)
def test_packed_files(tmp_path, name, text):
    (tmp_path / name).write_bytes(gzip.compress(text.encode("utf-8-sig")))
    assert [row for _, row in read_rows(str(tmp_path / name))] == [{"a": "1"}]


def test_a_configuration_of_a_hub_set(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **_: asked.append(names) or iter(ROWS))
    assert next(read_rows("org/prm800k", "train", "phase1"))[0] == "org/prm800k/phase1/train:0"
    assert asked == [("org/prm800k", "phase1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"a": 2', r"a\.json\[1\]: not an object of a JSON array"),
        ('[{"a": 1},', r"a\.json\[1\]: not an object of a JSON array"),
        ('{"k": [{"a": 1}, 2]}', r"a\.json\['k'\]\[1\]: a row must be a JSON object, this is int"),
        ('{"k": [{"a": 1}], "l": 3}', r"a\.json\['l'\]: '\[' must follow, it is '3"),
        ('{"k": [{"a": 1}]', r"a\.json: not a name"),
        (
            '[{"a": 1}]\n[{"a": 2}]',
            r"a\.json: '\[\{\"a\": 2\}\]' follows after the end; rows are JSON Lines, one array",
        ),
        ('{"k": [{"a": 1}]}\n3', r"a\.json:2: a row must be a JSON object, this is int"),
        ('[{"a": 1}, 2]', r"a\.json\[1\]: a row must be a JSON object, this is int"),
    ],
)
def test_broken_arrays(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        list(read_rows(str(tmp_path / "a.json")))


def test_csv(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('id , text \n1,"two\nlines, ""quoted"""\n\n2,é\n', encoding="utf-8")
    assert list(read_rows(str(path))) == [
        (f"{path}:2", {"id": "1", "text": 'two\nlines, "quoted"'}),
        (f"{path}:5", {"id": "2", "text": "é"}),
    ]


@pytest.mark.parametrize(("name", "divider"), [("a.csv", ";"), ("a.tsv", "\t")])
def test_csv_with_other_dividers(tmp_path, name, divider):
    (tmp_path / name).write_text(f'a{divider}b{divider}"c"\n1{divider}2, or 3{divider}{"x" * 200_000}\n')
    assert [row for _, row in read_rows(str(tmp_path / name))] == [{"a": "1", "b": "2, or 3", "c": "x" * 200_000}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"a,b\n1,2\n1,2,3\n",
            r"a\.csv:3: 3 cells, but the first line names 2 columns; a cell that holds ',' must be in",
        ),
        (b'a,b\n1,"2\n3,4\n', r"a\.csv:2: unexpected end of data; check the quotes of this row"),
        (b'a,"b\n1,2\n', r"a\.csv:1: unexpected end of data; check the quotes of this row"),
        (b"a,a\n1,2\n", r"a\.csv:1: the first line must name every column once, it is \['a', 'a'\]"),
        (b"", r"a\.csv:1: the first line must name every column once, it is \[\]"),
        (b"a\n\xe9\n", r"a\.csv:2: not UTF-8 text \(byte 0xe9: .*\); save the file as UTF-8"),
    ],
)
def test_broken_csv(tmp_path, data, message):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        list(read_rows(str(tmp_path / "a.csv")))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"])
def test_a_git_lfs_pointer_is_named_as_one(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:f4b3\nsize 829105\n")
    with pytest.raises(ValueError, match=rf"{name} is a Git LFS pointer and not the data; run `git lfs pull`"):
        list(read_rows(str(tmp_path / name)))


@pytest.mark.parametrize(("name", "text"), [("a.csv", "question,steps\n"), ("a.json", "[]"), ("a.jsonl", "\n")])
def test_a_file_without_rows_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name} holds no row; check that it is the right file"):
        list(read_rows(str(tmp_path / name)))


def test_lines_within_a_cell_end_as_they_are_written(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'id,text\r\n1,"a\r\nb"\r\n2,c\r\n')
    assert [row["text"] for _, row in read_rows(str(path))] == ["a\r\nb", "c"]
