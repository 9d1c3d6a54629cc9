"""Odd environments: no git, outputs that cannot be written, full disks, old terminals, rows that talk to terminals."""

import errno
import io
import json
import os
import re
import resource
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tqdm import tqdm

from prm import command_line
from prm.command_line import run_script
from prm.files import json_line, sole_writer, visible, write_whole
from prm.sampling.rollouts import commit_to
from prm.storage import provenance
from prm.storage.journal import Journal
from prm.storage.jsonl import write_jsonl
from prm.storage.rollout_store import RolloutStore
from prm.types import Rollout

ROLLOUT = Rollout("p", "5be1", 0, 7, (5, 6), "4\n#### 2", "answer", "2", "correct")


@dataclass
class Settings:
    output: str = field(metadata={"help": "file to write"})
    output_dir: str | None = None
    store: str | None = None
    report: Path | None = None


@pytest.fixture
def script(monkeypatch, tmp_path):
    """`script(body, *words)`: what a script whose `main` is `body` prints, and its error."""
    plain = warnings.formatwarning

    def call(body, *words, encoding="utf-8"):
        def main(args: Settings) -> None:
            body(args)

        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
        monkeypatch.setattr(sys, "argv", ["data/do_thing.py", *map(str, words)])
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        try:
            run_script(main, Settings)
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            out.flush()
            err.flush()
        return out.buffer.getvalue(), code, err.buffer.getvalue()

    yield call
    warnings.formatwarning = plain


class NoGit:
    SubprocessError, DEVNULL = subprocess.SubprocessError, subprocess.DEVNULL

    def __init__(self, error):
        self.error = error

    def run(self, *args, **options):
        raise self.error


GIT_ERRORS = (
    FileNotFoundError(errno.ENOENT, "No such file or directory", "git"),
    PermissionError(errno.EACCES, "Permission denied", "git"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    subprocess.TimeoutExpired(["git"], 20),
)


@pytest.mark.parametrize("error", GIT_ERRORS, ids=lambda error: type(error).__name__)
def test_provenance_never_costs_a_result(tmp_path, monkeypatch, error):
    monkeypatch.setattr(provenance, "subprocess", NoGit(error))
    provenance.write_provenance(tmp_path, "eval/run_search.py", Settings("x"), ["arithmetic"])
    assert json.loads((tmp_path / "meta.json").read_text())["git"] is None
    assert (tmp_path / "config.yaml").is_file()


def test_a_machine_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    provenance.write_provenance(tmp_path, "eval/run_search.py", Settings("x"), [])
    assert json.loads((tmp_path / "meta.json").read_text())["git"] is None


@pytest.mark.parametrize("name", ["output", "output_dir", "store", "report"])
def test_what_a_run_will_write_is_checked_before_it_starts(script, tmp_path, name):
    began = []
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    is_folder = name in ("output_dir", "store")
    bad = [file / "x", "/proc/no/such/place", "/dev/null/x", file if is_folder else folder]
    bad += [] if is_folder else ["/dev/null"]
    for path in bad:
        words = ["--output", tmp_path / "x", f"--{name}", path]
        _, code, _ = script(began.append, *words)
        assert re.match(rf"error: --{name} {re.escape(str(path))} (cannot be written|is a folder|is no)", code), code
        assert "\n" not in code
    assert began == []
    new = tmp_path / "new" / "folder" / "x"
    assert script(lambda args: write_whole(new, "done"), "--output", new)[1] == 0
    assert new.read_text() == "done"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
def test_any_standard_output_will_do(script, encoding):
    out, code, _ = script(lambda args: print("train ⟦\n → 1.00⟧ ß"), "--output", "x", encoding=encoding)
    assert code == 0
    assert "1.00" in out.decode(encoding)
    _, code, _ = script(lambda args: warnings.warn("⟦ß⟧", stacklevel=1), "--output", "x", encoding=encoding)
    assert code == 0


ESCAPES = ("\x1b[2J", "\x1b]52;c;cm0gLXJmIH4=\x07", "\x9b31m", "a\rb", "\b\b\b", "\u202e", "\x00", "\u2066")


@pytest.mark.parametrize("text", ESCAPES)
def test_no_row_talks_to_the_terminal(script, text):
    def fail(args):
        raise ValueError(f"x.jsonl:3: {text} is wrong")

    def warn(args):  # by hand, because pytest collects warnings
        sys.stderr.write(warnings.formatwarning(f"x.jsonl:3: {text}", UserWarning, "x.py", 3, ""))

    shown = visible(text)
    assert shown != text
    assert shown.isprintable()
    out, _, _ = script(lambda args: print(f"row: {text}\tend"), "--output", "x")
    assert out.decode() == f"row: {shown}\tend\n"
    if "\r" not in text:  # which is a line end in an error
        assert script(fail, "--output", "x")[1] == f"error: x.jsonl:3: {shown} is wrong"
    assert f"x.jsonl:3: {shown}" in script(warn, "--output", "x")[2].decode()
    assert visible("größer ≥ 中 🙂\n\tend") == "größer ≥ 中 🙂\n\tend"


class Store:
    def append(self, rollouts):
        pass


def test_a_progress_bar_that_is_switched_off_has_no_clock(monkeypatch):
    with tqdm(total=3, disable=True) as progress:
        commit_to(Store(), progress)([ROLLOUT])


@pytest.fixture
def full(monkeypatch):
    """`full(size)`: from now on no file can be larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_rows(folder):
    write_jsonl(folder / "rows.jsonl", [{"text": "x" * 100}] * 30)


def write_meta(folder):
    provenance.write_provenance(folder, "x" * 3000, Settings("y"), [])


def write_journal(folder):
    Journal(folder / "answers", {"seed": 0}).append(1, [{"text": "x" * 100}] * 30)


def write_store(folder):
    RolloutStore(folder / "store", {"seed": 0}).append([ROLLOUT] * 30)


@pytest.mark.parametrize("write", [write_rows, write_meta, write_journal, write_store], ids=lambda its: its.__name__)
def test_a_full_disk_is_named_and_leaves_what_was_there(script, tmp_path, full, write):
    write_whole(tmp_path / "rows.jsonl", "old")
    write_whole(tmp_path / "meta.json", "old")
    Journal(tmp_path / "answers", {"seed": 0}).append(0, [{"n": 1}])

    def body(args):
        full(2000)
        write(tmp_path)

    _, code, _ = script(body, "--output", "x")
    full(resource.RLIM_INFINITY)
    assert re.fullmatch(
        rf"error: {re.escape(str(tmp_path))}/\S+: File too large; what is committed is safe: make room, then start the same"
        " command again",
        code,
    )
    assert [path.name for path in tmp_path.rglob("*.partial")] == []
    assert (tmp_path / "rows.jsonl").read_text() == (tmp_path / "meta.json").read_text() == "old"
    assert list(Journal(tmp_path / "answers", {"seed": 0}).rows()) == [{"n": 1}]
    if write is not write_meta:
        write(tmp_path)  # there is room again
        assert list(RolloutStore(tmp_path / "store", {"seed": 0}).read("p")) in ([], [ROLLOUT] * 30)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_any_error_of_the_disk_leaves_the_old_file(tmp_path, monkeypatch, number, call):
    path = tmp_path / "meta.json"
    write_whole(path, "old")

    def fail(*args):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, fail)
        with pytest.raises(OSError, match=os.strerror(number)) as error:
            write_whole(path, "new")
    assert error.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_whose_rows_fail_is_not_written(tmp_path):
    def rows():
        yield {"n": 1}
        raise KeyError

    with pytest.raises(KeyError):
        write_jsonl(tmp_path / "x", rows())
    assert list(tmp_path.iterdir()) == []


def test_the_second_writer_is_told_who_the_first_is(tmp_path):
    run = tmp_path / "run"
    first = sole_writer(run / ".lock", run, "wait")
    with pytest.raises(ValueError, match=rf"run is written by process {os.getpid()} on \S+; give another"):
        sole_writer(run / ".lock", run, "give another")
    first.close()
    sole_writer(run / ".lock", run, "wait").close()


WAITER = """
import sys
from prm.storage.rollout_store import RolloutStore
with RolloutStore(sys.argv[1], {"seed": 0}).claim(["p"], wait=True):
    pass
"""


def test_who_waits_for_a_lock_says_for_whom_and_gives_up_on_request(tmp_path):
    store = RolloutStore(tmp_path, {"seed": 0})
    with store.claim(["p"]) as mine:
        assert mine
        command = [sys.executable, "-c", WAITER, str(tmp_path)]
        waiter = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = waiter.stderr.readline()
        assert line == (
            f"waiting for process {os.getpid()}, which samples the same problems into {tmp_path}; Ctrl-C gives up\n"
        )
        waiter.send_signal(2)
        assert "KeyboardInterrupt" in waiter.communicate(timeout=60)[1]


@pytest.mark.parametrize("text", ["half \ud83d", "\udc00\ud800", "\x00\x7f\x85\u2028", "\n\r", '"\\'])
def test_a_line_of_json_reads_back_as_it_is(text):
    line = json_line({text: [text]})
    assert line.count(b"\n") == 1
    assert json.loads(line.decode()) == {text: [text]}


def test_the_flags_that_name_what_is_written_are_all_there(root):
    """A script whose flag has another name would be told at its end that it cannot be written."""
    for path in sorted(root.glob("*/*.py")):
        if path.parent.name in ("data", "recipes", "eval"):
            names = re.findall(
                r'(\w+): [^\n]*metadata=\{"help": "[^"]*(?:file|folder)[^"]* to write"', path.read_text()
            )
            assert set(names) <= set(command_line.WRITTEN), path
