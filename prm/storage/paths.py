"""Paths that a user gives: the file or folder is there, or an error of one line says what is there instead.

need_file("my/labled.jsonl")    FileNotFoundError: my/labled.jsonl does not exist, did you mean labeled.jsonl?
need_file("my/set")             IsADirectoryError: my/set is a folder; give a file, such as my/set/train.jsonl
need_folder("outputs/prmm")     FileNotFoundError: outputs/prmm does not exist, did you mean prm?
check_name("arithmetc")         FileNotFoundError: arithmetc does not exist, did you mean arithmetic?
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

_PLAIN_FILES = (".jsonl", ".json", ".csv", ".tsv")
TEXT_FILES = (*_PLAIN_FILES, *(f"{ending}.gz" for ending in _PLAIN_FILES))
DATA_FILES = (*TEXT_FILES, ".parquet")
"""Endings of the files that are read as rows."""

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def need_file(path: str | Path, fix: str = "check the path") -> Path:
    """The path, if it is a file.

    Raises:
        IsADirectoryError: it is a folder. FileNotFoundError: there is nothing; ends with a like name beside it, or `fix`.
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(str(file) for file in path.iterdir() if file.name.endswith(DATA_FILES))
        raise IsADirectoryError(
            f"{path} is a folder; give a file{', such as ' + ', '.join(inside[:3]) if inside else ''}"
        )
    if not path.is_file():
        raise _missing(path, fix)
    return path


def need_folder(path: str | Path, fix: str = "check the path") -> Path:
    """The path, if it is a folder.

    Raises:
        NotADirectoryError: it is a file. FileNotFoundError: there is nothing; as `need_file`.
    """
    path = Path(path)
    if path.is_file():
        raise NotADirectoryError(f"{path} is a file; give a folder")
    if not path.is_dir():
        raise _missing(path, fix)
    return path


def check_name(name: str, known: Iterable[str] = ()) -> None:
    """Refuse a name that can be nothing on the hub: libraries ask the network for it, for a minute if there is none.

    Args:
        name: a path, or `owner/name` on the hub.
        known: names that are allowed besides.

    Raises:
        FileNotFoundError: it is none of these; as `need_file`.
    """
    if name not in known and not may_be_on_hub(name) and not Path(name).exists():
        raise _missing(Path(name), "give a path, or owner/name on the hub", known)


def may_be_on_hub(name: str) -> bool:
    """Whether this is `owner/name`, and neither a data file nor anything on this machine."""
    return bool(_HUB_NAME.fullmatch(name)) and not name.endswith(DATA_FILES) and not Path(name).exists()


def _missing(path: Path, fix: str, known: Iterable[str] = ()) -> FileNotFoundError:
    beside = [*known, *([other.name for other in path.parent.iterdir()] if path.parent.is_dir() else [])]
    near = difflib.get_close_matches(path.name, beside, 1, cutoff=0.75)  # endings alone are alike, too
    return FileNotFoundError(f"{path} does not exist{f', did you mean {near[0]}?' if near else f'; {fix}'}")
