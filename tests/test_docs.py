"""Does what the documents say still work? Links lead somewhere, commands name scripts and flags that exist.

A command is a line, or a piece of inline code, that starts with `python` or `accelerate launch`, wherever it stands: in
Markdown, in the docstring of a script, in the head of a config. Flags, and the keys of the configs they name, are
checked against the script's own `--help`.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("data", "recipes", "eval")

_COMMAND = r"(?:\w+=\S+ +)*(?:\S*\bpython3?|accelerate launch) +[^`\n]*?\.py\b[^`\n]*"
_LINE = re.compile(rf"^[ \t]*(?:[#$][ \t]*)?({_COMMAND})$", re.MULTILINE)
_INLINE = re.compile(rf"(?<!`)`({_COMMAND})`(?!`)")
_CONTINUED = re.compile(r"[ \t]*\\\n[ \t]*(?:#[ \t]*)?")
_PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def documents() -> list[Path]:
    """Markdown files, scripts and configs."""
    markdown = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    others = [path for folder in FOLDERS for kind in ("*.py", "*.yaml") for path in (ROOT / folder).rglob(kind)]
    return sorted(markdown + others)


def commands_in(text: str) -> list[list[str]]:
    r"""
    >>> commands_in("run `python a/b.py --n 3` or\n\n    $ X=1 accelerate launch --cpu c.py \\\n    --k v  # why")
    [['a/b.py', '--n', '3'], ['c.py', '--k', 'v']]
    """
    found = []
    text = _CONTINUED.sub(" ", text)
    for match in sorted([*_LINE.finditer(text), *_INLINE.finditer(text)], key=lambda match: match.start()):
        words = shlex.split(re.split(r" [|>&;]|&&| \.\.\.", match[1])[0], comments=True)
        script = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
        if script is not None and "-m" not in words[:script]:
            found.append(words[script:])
    return found


COMMANDS = [(path, command) for path in documents() for command in commands_in(path.read_text(encoding="utf-8"))]
SCRIPTS_WITH_FLAGS = sorted({command[0] for _, command in COMMANDS if any(word.startswith("--") for word in command)})


def test_every_command_names_files_that_exist():
    """Inputs under outputs/ are made by other commands; everything in the folders of the repository must be there."""
    missing = [
        f"{path.relative_to(ROOT)}: {word}"
        for path, command in COMMANDS
        for i, word in enumerate(command)
        if (i == 0 or word.startswith(tuple(f"{folder}/" for folder in (*FOLDERS, "prm", "tests"))))
        and not (ROOT / word).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("script", SCRIPTS_WITH_FLAGS)
def test_every_flag_is_known(script, monkeypatch, capsys):
    """Runs the script in this process: what it imports (torch, trl) is loaded once for all of them."""
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert end.value.code in (0, None)
    known = set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", capsys.readouterr().out))
    if "TrlParser" in (ROOT / script).read_text(encoding="utf-8"):
        known.add("--config")  # read before argparse, so its help does not list it
    unknown = []
    for path, command in COMMANDS:
        if command[0] == script:
            flags = [word.split("=")[0] for word in command if word.startswith("--")]
            for word in command:
                if word.endswith(".yaml") and (ROOT / word).is_file():
                    flags += [f"--{key}" for key in yaml.safe_load((ROOT / word).read_text(encoding="utf-8"))]
            unknown += [f"{path.relative_to(ROOT)}: {script} {flag}" for flag in flags if flag not in known]
    assert unknown == []


def test_every_script_says_how_it_is_run():
    scripts = {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.py")}
    shown = {command[0] for path, command in COMMANDS if str(path.relative_to(ROOT)) == command[0]}
    assert scripts - shown == set(), "its docstring shows no command that runs it"


def test_links_between_files():
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        if path.suffix == ".md"
        for target in _LINK.findall(path.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists()
    ]
    assert broken == []


def test_python_blocks_compile():
    for path in documents():
        if path.suffix == ".md":
            for block in _PYTHON_BLOCK.findall(path.read_text(encoding="utf-8")):
                compile(block, str(path), "exec")
