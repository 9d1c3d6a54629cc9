"""A user's own strategy or verifier, named on a command line by file and name.

    load_object("my_search.py:first_wins")

The file is run: give only files that you would run yourself.
"""

from __future__ import annotations

import difflib
import runpy
import types
from typing import Any

from prm.storage.paths import need_file


def load_object(name: str) -> Any:
    """What `file.py:name` names.

    Raises:
        OSError: no such file. ValueError: nothing of that name is in it; says what the file defines.
    """
    file, _, attribute = name.rpartition(":")
    need_file(file, f"check the path ({name!r} names {attribute!r} in it)")
    names = runpy.run_path(file)
    if attribute not in names:
        own = [  # what it imports is nobody's mistake
            key
            for key, value in names.items()
            if isinstance(value, type | types.FunctionType) and value.__module__ == names["__name__"]
        ]
        near = difflib.get_close_matches(attribute, own)
        raise ValueError(
            f"{file} has no {attribute!r}{f', did you mean {near[0]!r}?' if near else ';'} it defines"
            f" {', '.join(own) or 'no function and no class'}"
        )
    return names[attribute]
