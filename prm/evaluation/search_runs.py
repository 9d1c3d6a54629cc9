"""Stored search runs: the folder that `eval/run_search.py` writes, read back and checked row by row.

A folder holds `meta.json`, `pool.jsonl` (independent candidates, one row per problem) and, if beam search ran,
`beam.jsonl`. A candidate without an answer or cut before its end is *unusable*: it is wrong, has no vote, and its score
is -inf. Left out: writing the folder, and anything computed over several problems (`prm.evaluation.summary`).

One row of pool.jsonl, shortened to one candidate:

    {"problem_id": "arithmetic/test/7", "prompt": "Start with 47, add 38, subtract 12.", "gold": "73", "level": 2,
     "gold_class": 0, "candidates": [{"completions": ["47 + 38 = 85", "85 - 12 = 73", "#### 73"], "answer": "73",
     "class": 0, "correct": true, "status": "ok", "num_tokens": 31, "finished": true,
     "scores": {"prm": [0.9, 0.8, 0.95], "orm": [0.6, 0.5, 0.7]}}], "cost": {"generated_tokens": 31,
     "prompt_tokens": 14, "generator_calls": 1, "seconds": 0.1}, "verifier_tokens": {"prm": 45, "orm": 45}}
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.aggregation import aggregate

_META_KEYS = {"problems", "split", "n", "seed", "generator", "verifiers", "seconds"}
_POOL_KEYS = {
    "row": {"problem_id", "prompt", "gold", "level", "gold_class", "candidates", "cost", "verifier_tokens"},
    "cost": {"generated_tokens", "prompt_tokens"},
    "candidate": {"completions", "answer", "class", "correct", "status", "finished", "scores"},
}
_BEAM_KEYS = {
    "row": {"problem_id", "candidates", "answer", "correct", "cost"},
    "cost": {"generated_tokens", "verifier_tokens", "flops"},
    "candidate": {"completions", "answer", "finished", "scores"},
}


@dataclass(frozen=True)
class ProblemPool:
    """One row of pool.jsonl, with the columns that the estimators take: one entry per candidate."""

    row: dict[str, Any]
    usable: tuple[bool, ...]
    correct: tuple[bool, ...]
    classes: tuple[int | None, ...]
    scores: dict[str, tuple[float, ...]]
    """Verifier name -> aggregated score of each candidate."""

    def picks(self) -> dict[str, int | None]:
        """Index of the candidate that `majority` and each verifier choose among all; the first one where they tie."""
        chosen: dict[str, int | None] = {
            name: max(range(len(scores)), key=scores.__getitem__) if any(self.usable) else None
            for name, scores in self.scores.items()
        }
        votes = Counter(answer for answer in self.classes if answer is not None)
        chosen["majority"] = self.classes.index(votes.most_common(1)[0][0]) if votes else None
        return chosen


@dataclass(frozen=True)
class Run:
    """A search run, or several of one setup on different problems."""

    meta: dict[str, Any]
    pools: tuple[ProblemPool, ...]
    beams: tuple[dict[str, Any], ...]
    """Rows of beam.jsonl in the order of `pools`; empty if beam search did not run."""


def read_runs(folders: Sequence[Path]) -> Run:
    """Join run folders of one setup. Raises FileNotFoundError, or ValueError naming file and line of a bad row."""
    metas = [_read_meta(folder / "meta.json") for folder in folders]
    for folder, meta in zip(folders, metas, strict=True):
        for key in ("n", "generator", "verifiers"):
            if meta[key] != metas[0][key]:
                raise ValueError(
                    f"{folder / 'meta.json'}: {key} is {meta[key]}, but {metas[0][key]} in {folders[0]}; "
                    "write one report per setup"
                )
    pools: dict[str, ProblemPool] = {}
    beams: dict[str, dict[str, Any]] = {}
    for folder, meta in zip(folders, metas, strict=True):
        for where, row in _read_rows(folder / "pool.jsonl", _POOL_KEYS, list(meta["verifiers"])):
            if row["problem_id"] in pools:
                raise ValueError(f"{where}: problem {row['problem_id']!r} is there twice; remove one row")
            if len(row["candidates"]) != meta["n"]:
                raise ValueError(f"{where}: {len(row['candidates'])} candidates, but n is {meta['n']} in meta.json")
            pools[row["problem_id"]] = _pool(row, meta["verifiers"])
        if (folder / "beam.jsonl").is_file():
            for _, row in _read_rows(folder / "beam.jsonl", _BEAM_KEYS, ["prm"]):
                beams[row["problem_id"]] = row
    if not pools:
        raise ValueError(f"{folders[0] / 'pool.jsonl'}: no problem in it; run eval/run_search.py to its end")
    if beams and beams.keys() != pools.keys():
        odd = min(beams.keys() ^ pools.keys())
        raise ValueError(
            f"{folders[0] / 'beam.jsonl'}: problem {odd!r} is in only one of pool.jsonl and beam.jsonl; "
            "methods are compared on the same problems, so finish the run"
        )
    meta = metas[0] | {
        "problems": ", ".join(dict.fromkeys(meta["problems"] for meta in metas)),
        "seconds": sum(meta["seconds"] for meta in metas),
    }
    return Run(meta, tuple(pools.values()), tuple(beams[name] for name in pools) if beams else ())


def _read_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give a folder that eval/run_search.py wrote")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg}); run eval/run_search.py again") from error
    _check_keys(meta, _META_KEYS, str(path))
    if set(meta["verifiers"]) not in ({"prm"}, {"prm", "orm"}):
        raise ValueError(f"{path}: verifiers are {sorted(meta['verifiers'])}; a report needs 'prm', 'orm' is optional")
    return meta


def _read_rows(path: Path, keys: dict[str, set[str]], verifiers: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`file:line`, row) for each checked row."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give a folder that eval/run_search.py wrote")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{where}: not a JSON row ({error.msg}); the run may have been cut short") from error
            _check_keys(row, keys["row"], where)
            _check_keys(row["cost"], keys["cost"], f"{where}: cost")
            for i, candidate in enumerate(row["candidates"]):
                _check_keys(candidate, keys["candidate"], f"{where}: candidate {i}")
                for name in verifiers:
                    if _usable(candidate) or candidate["scores"].get(name):
                        _check_scores(candidate, name, f"{where}: candidate {i}")
            yield where, row


def _check_keys(row: Any, keys: set[str], where: str) -> None:
    if not isinstance(row, dict) or keys - row.keys():
        found = sorted(row) if isinstance(row, dict) else row
        raise ValueError(f"{where}: needs the keys {sorted(keys)}, has {found}; run eval/run_search.py again")


def _usable(candidate: dict[str, Any]) -> bool:
    """Whether a candidate may be chosen; the others need no scores."""
    return bool(candidate["finished"] and candidate["answer"] is not None and candidate["completions"])


def _check_scores(candidate: dict[str, Any], verifier: str, where: str) -> None:
    scores, steps = candidate["scores"].get(verifier), candidate["completions"]
    if scores is None or len(scores) != len(steps):
        count = "no" if scores is None else len(scores)
        raise ValueError(f"{where}: {len(steps)} steps but {count} {verifier} scores; score the run again")
    for i, score in enumerate(scores):
        if not 0 <= score <= 1:
            raise ValueError(f"{where}: {verifier} score {i} is {score}, not in [0, 1]; apply the sigmoid to logits")


def _pool(row: dict[str, Any], verifiers: dict[str, Any]) -> ProblemPool:
    candidates = row["candidates"]
    usable = tuple(_usable(c) for c in candidates)
    scores = {
        name: tuple(
            aggregate(c["scores"][name], verifier["aggregation"]) if ok else -math.inf
            for c, ok in zip(candidates, usable, strict=True)
        )
        for name, verifier in verifiers.items()
    }
    return ProblemPool(
        row=row,
        usable=usable,
        correct=tuple(ok and c["correct"] is True for c, ok in zip(candidates, usable, strict=True)),
        classes=tuple(c["class"] if ok else None for c, ok in zip(candidates, usable, strict=True)),
        scores=scores,
    )
