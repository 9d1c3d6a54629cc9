"""Which split a problem belongs to: decided by a hash of its text, so that no split can leak into another.

The same problem is in the same split in every run, file and language of the project, however the rows are ordered.

>>> split_of("Start with 47, add 38.")
'train'
"""

from __future__ import annotations

import hashlib

SPLITS = {"test": range(0, 10), "validation": range(10, 20), "train": range(20, 100)}
"""Split name -> which hundredths of the hash range belong to it."""


def split_of(text: str) -> str:
    """The split of a problem with this text; white space does not count."""
    digest = hashlib.sha256(" ".join(text.split()).encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)
