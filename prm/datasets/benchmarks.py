"""Benchmarks that must not be trained on: which rows come from one, by their source and by the text of their problem.

    check_training([("labeled.jsonl:1", problem), ...])     ValueError: labeled.jsonl:1: ... is a problem of GSM8K test ...

A source is the first part of a problem's id: `processbench/5f2c...` was converted from ProcessBench. A text that lost its
source, as a copy under another name does, is known by the first problems of GSM8K's test set and of MATH-500. ProcessBench,
MR-GSM8K, MR-MATH and PRMBench draw their problems from these sets and from the rest of MATH's test set, so a whole copy of
one of them holds some of these few with near certainty; a small part of one may hold none. Only hashes are kept here. To
remove every problem of a benchmark, name its file (`--against` of data/build_dataset.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from prm.types import Problem

SOURCES = {
    "agent_process_bench": "AgentProcessBench",
    "bigbench_mistake": "BIG-Bench-Mistake",
    "mr_ben": "MR-BEN",
    "mr_gsm8k": "MR-GSM8K",
    "prmbench": "PRMBench",
    "processbench": "ProcessBench",
    "reasoneval_mr": "MR-MATH",
}
"""Formats of `prm.conversions` that are benchmarks -> their names."""

_HASHES = {
    "GSM8K test": """
        07614cb7f492 515f4168425f 51cf66f1c540 f08b673bf54b efed293fba61 f77101ed24e2 1dca6d09930d 18752e9f2b09
        7d9ff8cf8409 31128330ecde 108811578e91 23bcc3277b23 8b4c8851541f 355f3f071772 e7822b56a9fc 189b864b3783
        30d309eca06f 9415e75ece11 0907bfe6179e 4bef83e752a0 1fa6d0086c17 44a1683599ae 151bd2c3e0af e547c212cbb9
        22052f535a28 5ddfa07a8020 1f0515678cd2 0cbef6688045
    """,
    "MATH-500": """
        ff2f3f7bfe32 ff5c480f92fa 5332a7698876 488e9bc48082 64d0bc6c8e77 cfca9fde61c5 a658cec63fa4 1d8ff8e85ee9
        192202d60b06 c0727bfffc3c 7a4b0e15f48a 9620c3ad4b58 d353c8486bd4 a29131f00c8a
    """,
}
_KNOWN = {digest: name for name, digests in _HASHES.items() for digest in digests.split()}

_LETTER = re.compile(r"\w")


def benchmark_of(problem: Problem) -> str | None:
    """Name of the benchmark that a problem is from, as far as its source or its text shows it."""
    if problem.source in SOURCES:
        return SOURCES[problem.source]
    letters = "".join(_LETTER.findall(problem.prompt.casefold()))
    return _KNOWN.get(hashlib.sha256(letters.encode()).hexdigest()[:12])


def check_training(problems: Iterable[tuple[str, Problem]]) -> None:
    """
    Args:
        problems: (where, problem) of each row to train on.

    Raises:
        ValueError: a problem is from a benchmark; names it, and what to do.
    """
    seen: set[str] = set()
    for where, problem in problems:
        if problem.prompt in seen:
            continue
        seen.add(problem.prompt)
        if name := benchmark_of(problem):
            raise ValueError(
                f"{where}: {problem.prompt[:60]!r} is a problem of {name}, a benchmark: what is trained on it cannot be"
                " measured there. Leave these rows out (data/build_dataset.py --against removes the problems of a"
                " benchmark's file), or say --allow_benchmark"
            )
