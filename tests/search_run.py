"""A stored search run of 4 problems x 4 candidates whose every figure can be worked out by hand.

What the methods say of the four problems with all 4 candidates (right = 1, tie of two answers = 1/2):

    problem  level  single  majority  ORM  PRM  PRM-weighted  any
    0        1      2/4     1/2       0    1    1             1
    1        1      1/4     0         0    1    1             1
    2        2      0       0         0    0    0             0
    3        2      3/4     1         1    0    0             1
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

META = {
    "format": 6,
    "problems": "arithmetic",
    "split": "test",
    "n": 4,
    "seed": 0,
    "methods": dict.fromkeys(["majority", "orm_best_of_n", "prm_best_of_n", "prm_weighted_vote", "prm_beam_search"], 4),
    "generator": {"name": "student", "num_parameters": 100, "temperature": 1.0},
    "verifiers": {
        "prm": {"path": "prm", "num_parameters": 50, "kind": "prm"},
        "orm": {"path": "orm", "num_parameters": 20, "kind": "orm"},
    },
    "seconds": 12.5,
}
# Per candidate: class, PRM score, ORM score. Class 0 is right except in problem 2, where nothing is.
CANDIDATES = (
    ((0, 0.95, 0.1), (0, 0.85, 0.2), (1, 0.35, 0.8), (1, 0.25, 0.9)),
    ((0, 0.95, 0.05), (1, 0.15, 0.9), (1, 0.15, 0.1), (1, 0.15, 0.1)),
    ((0, 0.45, 0.5), (1, 0.35, 0.5), (None, 0.99, 0.99), (None, 0.99, 0.99)),
    ((0, 0.25, 0.9), (0, 0.35, 0.8), (0, 0.15, 0.7), (1, 0.95, 0.1)),
)


def rows(methods: Sequence[str] = tuple(META["methods"])) -> list[dict]:
    found = []
    for i, values in enumerate(CANDIDATES):
        right = [i != 2 and answer_class == 0 for answer_class, _, _ in values]
        candidates = [candidate(v[0], ok) | {"index": k} for k, (v, ok) in enumerate(zip(values, right, strict=True))]
        scores = {name: [[0.5, v[k]] for v in values] for name, k in (("prm", 1), ("orm", 2))}
        if i == 2:
            candidates[3].update(finished=False, status="truncated")
        if i == 3:
            candidates[3]["completions"] = ["a", "b", "c", "#### 11"]
            scores = {name: [*its[:3], [0.5, 0.5, *its[3]]] for name, its in scores.items()}
        usable = [c["answer"] is not None and c["finished"] for c in candidates]
        scores = {name: [s if ok else None for s, ok in zip(its, usable, strict=True)] for name, its in scores.items()}
        beam = candidate((0, 6, 5, 6)[i], i in (0, 2)) | {"completions": ["#### 10"]}
        results = {
            "majority": pool("majority", None, [None] * 4, chosen=(0, 1, 0, 0)[i]),
            "orm_best_of_n": pool("best_of_n", "orm", scores["orm"], chosen=(3, 1, 0, 0)[i]),
            "prm_best_of_n": pool("best_of_n", "prm", scores["prm"], chosen=(0, 0, 0, 3)[i]),
            "prm_weighted_vote": pool("weighted_vote", "prm", scores["prm"], chosen=(0, 0, 0, 3)[i]),
            "prm_beam_search": {
                "strategy": "beam_search",
                "verifier": "prm",
                "candidates": [4],
                "scores": [[0.7]],
                "trace_scores": [0.7],
                "chosen": 0,
                "independent": False,
                "duplicates": 2,
                "tree": {"parents": [None], "steps": ["#### 10"], "scores": [0.7], "tokens": [80]},
                "cost": cost(
                    generated_tokens=80,
                    verifier_tokens=120,
                    cached_tokens=15,
                    cached_verifier_tokens=5,
                    generator_calls=8,
                    verifier_calls=7,
                    flops=7e4,
                    flops_by_shape=8e4,
                ),
            },
        }
        row = {
            "problem_id": f"arithmetic/test/{i}",
            "prompt": f"Problem {i}",
            "gold": "10",
            "source": "arithmetic",
            "level": 1 + i // 2,
            "candidates": [*candidates, beam] if "prm_beam_search" in methods else candidates,
            "results": [results[name] | {"method": name} for name in methods],
        }
        found.append(row)
    found[0]["candidates"][0]["completions"][0] = "</script><b>1 < 2</b>"
    return found


def candidate(answer_class: int | None, right: bool) -> dict:
    return {
        "completions": ["1 + 1 = 2", f"#### {answer_class}"],
        "answer": None if answer_class is None else str(10 + answer_class),
        "class": answer_class,
        "correct": right,
        "status": "no_answer" if answer_class is None else "ok",
        "num_tokens": 10,
        "finished": True,
        "seed": 0,
        "index": 0,
        "generator": "student",
        "step_rule": "line",
    }


def pool(strategy: str, verifier: str | None, scores: list, chosen: int) -> dict:
    """The result of a method that chooses from the four samples."""
    size = {"prm": 50, "orm": 20, None: 0}[verifier]
    read = 60 if verifier else 0
    flops = 2 * 100 * (5 + 40) + 2 * size * read
    return {
        "strategy": strategy,
        "verifier": verifier,
        "candidates": [0, 1, 2, 3],
        "scores": list(scores),
        "trace_scores": [its and its[-1] for its in scores],
        "chosen": chosen,
        "independent": True,
        "duplicates": 1,
        "tree": {"parents": [], "steps": [], "scores": [], "tokens": []},
        "cost": cost(generated_tokens=40, prompt_tokens=5, verifier_tokens=read, flops=flops),
    }


def cost(**values: float) -> dict:
    tokens = ("generated_tokens", "prompt_tokens", "verifier_tokens", "cached_tokens", "cached_verifier_tokens")
    zero = dict.fromkeys((*tokens, "generator_calls", "verifier_calls"), 0)
    return zero | {"flops": 0.0, "flops_by_shape": 0.0, "seconds": 0.1} | values


def write_run(folder: Path, rows: list[dict], meta: dict = META) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def twelve_problems():
    """The four problems three times."""
    return [row | {"problem_id": f"{row['problem_id']}/{i}"} for i in range(3) for row in rows()]
