r"""What the documents tell a reader to type.

    for path in documents():
        for line in lines_in(path.read_text()): ...     # "accelerate launch --quiet recipes/train_prm.py --bf16"

A command of ours is a line, or a piece of inline code, that runs a script with `python` or `accelerate launch`: in
Markdown, in the docstring of a script or at the top of a config. In a block marked `bash` every line is a command.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("data", "recipes", "eval")

_COMMAND = r"(?:\w+=\S+ +)*(?:\S*\bpython3?|accelerate launch) +[^`\n]*?\.py\b[^`\n]*"
_LINE = re.compile(rf"^[ \t]*(?:[#$][ \t]*)?({_COMMAND})$", re.MULTILINE)
_INLINE = re.compile(rf"(?<!`)`({_COMMAND})`(?!`)")
_CONTINUED = re.compile(r"[ \t]*\\\n[ \t]*(?:#[ \t]*)?")
_BASH = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(r"^([^#\n].*)$", re.MULTILINE)


def documents() -> list[Path]:
    """Markdown files, scripts and configs."""
    markdown = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    others = [path for folder in FOLDERS for kind in ("*.py", "*.yaml") for path in (ROOT / folder).rglob(kind)]
    return sorted(markdown + others)


def lines_in(text: str) -> list[str]:
    r"""All commands in the order of the text, those that a backslash continues on one line.

    >>> lines_in("run `python a.py --n 3`\n\n    accelerate launch b.py \\\n    --k v\n\n```bash\nls  # why\n```\n")
    ['python a.py --n 3', 'accelerate launch b.py --k v', 'ls  # why']
    """
    text = _CONTINUED.sub(" ", text)
    found = {match.start(1): match[1] for pattern in (_LINE, _INLINE) for match in pattern.finditer(text)}
    for block in _BASH.finditer(text):
        found |= {match.start(1): match[1] for match in _TYPED.finditer(text, block.start(1), block.end(1))}
    return [found[place] for place in sorted(found)]


def commands_in(text: str) -> list[list[str]]:
    r"""Script and arguments of every command that runs one.

    >>> commands_in("run `python a/b.py --n 3` or\n\n    $ X=1 accelerate launch --cpu c.py \\\n    --k v  # why")
    [['a/b.py', '--n', '3'], ['c.py', '--k', 'v']]
    """
    found = []
    for line in lines_in(text):
        words = shlex.split(re.split(r" [|>&;]|&&| \.\.\.", line)[0], comments=True)
        script = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
        if script is not None and "-m" not in words[:script]:
            found.append(words[script:])
    return found
