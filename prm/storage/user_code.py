"""A user's own strategy or verifier, named on a command line by file and name.

    load_object("my_search.py:first_wins")

The file is run: give only files that you would run yourself.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any


def load_object(name: str) -> Any:
    """What `file.py:name` names.

    Raises:
        FileNotFoundError: no such file. ValueError: nothing of that name is in it.
    """
    file, _, attribute = name.rpartition(":")
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file} does not exist ({name!r} names {attribute!r} in it); check the path")
    names = runpy.run_path(file)
    if attribute not in names:
        own = sorted(key for key, value in names.items() if callable(value) and not key.startswith("_"))
        raise ValueError(f"{file} has no {attribute!r}; it has {', '.join(own) or 'nothing that could be called'}")
    return names[attribute]
