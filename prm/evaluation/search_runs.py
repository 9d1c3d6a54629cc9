"""Stored search runs: the folder that `eval/run_search.py` writes, read back and checked row by row.

A folder holds `meta.json` and `results.jsonl` (one row per problem, `prm.storage.search_rows`). Left out: writing the
folder, and anything computed over several problems (`prm.evaluation.summary`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.files import read_object
from prm.storage.jsonl import read_jsonl
from prm.storage.paths import need_folder
from prm.storage.search_rows import ProblemResults, row_to_results

FORMAT = 6
"""Of the folder; 1 had pool.jsonl and beam.jsonl, 2 no step rules, 3 one number of samples for all methods, 4 no trees and
less of the costs, 5 charged a generator for every prefix again."""

_META_KEYS = {"problems", "split", "n", "seed", "generator", "verifiers", "methods", "seconds"}


@dataclass(frozen=True)
class Run:
    """A search run, or several of one setup on different problems."""

    meta: dict[str, Any]
    rows: tuple[ProblemResults, ...]


def largest_pool(run: Run, verifier: str | None = None) -> int | None:
    """The place among the results of each problem of the method that chooses from most independent samples, the first of
    several; None if no method draws a pool.

    Args:
        verifier: of the methods that choose by this one.
    """
    results = run.rows[0].results
    drawn = [i for i, its in enumerate(results) if its.independent and verifier in (None, its.verifier)]
    return max(drawn, key=lambda i: len(results[i].candidates), default=None)


def read_runs(folders: Sequence[Path]) -> Run:
    """Join run folders of one setup. Raises FileNotFoundError, or ValueError naming file and line of a bad row."""
    metas = [_read_meta(folder / "meta.json") for folder in folders]
    for folder, meta in zip(folders, metas, strict=True):
        for key in ("n", "generator", "verifiers", "methods"):
            if meta[key] != metas[0][key]:
                raise ValueError(
                    f"{folder / 'meta.json'}: {key} is {meta[key]}, but {metas[0][key]} in {folders[0]}; "
                    "write one report per setup"
                )
    rows: dict[str, ProblemResults] = {}
    for folder, meta in zip(folders, metas, strict=True):
        for row in _read_rows(folder / "results.jsonl"):
            if row.problem.id in rows:
                raise ValueError(f"{row.where}: problem {row.problem.id!r} is there twice; remove one row")
            _check_methods(row, next(iter(rows.values()), row), meta)
            rows[row.problem.id] = row
    if not rows:
        raise ValueError(f"{folders[0] / 'results.jsonl'}: no problem in it; run eval/run_search.py to its end")
    meta = metas[0] | {
        "problems": ", ".join(dict.fromkeys(meta["problems"] for meta in metas)),
        "seconds": sum(meta["seconds"] for meta in metas),
        "unfinished_problems": sum(meta.get("unfinished_problems", 0) for meta in metas),
    }
    return Run(meta, tuple(rows.values()))


def _check_methods(row: ProblemResults, first: ProblemResults, meta: dict[str, Any]) -> None:
    """Methods are compared on the same problems and budgets."""
    methods = [result.method for result in row.results]
    if methods != list(meta["methods"]):
        raise ValueError(
            f"{row.where}: has the methods {methods}, meta.json says {list(meta['methods'])}; finish the run"
        )
    for result, other in zip(row.results, first.results, strict=True):
        if result.independent and len(result.candidates) != len(other.candidates):
            raise ValueError(
                f"{row.where}: {result.method} has {len(result.candidates)} candidates, but {len(other.candidates)} in"
                f" {first.where}; finish the run"
            )
        if result.verifier is not None and result.verifier not in meta["verifiers"]:
            raise ValueError(f"{row.where}: verifier {result.verifier!r} of {result.method} is not in meta.json")


def _read_meta(path: Path) -> dict[str, Any]:
    folder = need_folder(path.parent)
    if not path.is_file() and (folder / "results.journal").is_file():
        raise FileNotFoundError(f"{folder}: the search is unfinished; start it again, and it goes on where it stopped")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give a folder that eval/run_search.py wrote")
    meta = read_object(path, "run eval/run_search.py again, which then writes it anew")
    if meta.get("format") != FORMAT:
        raise ValueError(
            f"{path}: the run was written by another version of this project; run eval/run_search.py again"
        )
    if missing := sorted(_META_KEYS - meta.keys()):
        raise ValueError(f"{path}: needs the keys {', '.join(missing)}; run eval/run_search.py again")
    return meta


def _read_rows(path: Path) -> Iterator[ProblemResults]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give a folder that eval/run_search.py wrote")
    for where, row in read_jsonl(path):
        yield row_to_results(where, row)
