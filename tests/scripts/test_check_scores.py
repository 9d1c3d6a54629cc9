"""What bf16 moves in scores, and what a twin is worth where a trainer reads it: tables against counts made here."""

from itertools import groupby, product

import pytest
from exported_verifiers import make_verifier

from prm.datasets.arithmetic import build_tokenizer
from prm.storage.rows import read_traces
from prm.verifiers import load_verifier
from prm.verifiers.export import export_verifier


@pytest.fixture(scope="module")
def made(scripts, tmp_path_factory):
    """A folder with a verifier, its two layouts, and traces."""
    folder = tmp_path_factory.mktemp("made")
    path = make_verifier(folder / "prm", "llama", build_tokenizer())
    for form in ("token_classification", "sequence_classification"):
        export_verifier(path, str(folder / form), form)
    flags = {"generator": "arithmetic", "problems": "arithmetic", "limit": 12, "samples": 4, "max_new_tokens": 80}
    assert scripts.run("data/sample_traces.py", output=folder / "traces.jsonl", **flags).code == 0
    return folder


def cells(out):
    """First column of a printed table -> the last one."""
    lines = [line for line in out.splitlines() if "  " in line]
    return {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines}


def test_parity(scripts, made):
    flags = {"verifier": made / "prm", "data": made / "traces.jsonl"}
    scores = {}
    rows = read_traces(made / "traces.jsonl")
    for dtype in ("float32", "bfloat16"):
        verifier = load_verifier(str(made / "prm"), dtype=dtype)
        scores[dtype] = verifier.score_batch([row.problem.prompt for row in rows], [row.trace.steps for row in rows])
    moved = [
        abs(a - b)
        for one, other in zip(scores["float32"], scores["bfloat16"], strict=True)
        for a, b in zip(one.steps, other.steps, strict=True)
    ]
    done = scripts.run("eval/check_parity.py", **flags)
    assert done.code == 0, done.stderr
    assert f"{len(moved)} steps of 48 traces" in done.stdout
    assert float(cells(done.stdout)["steps: the largest difference of a score"]) == pytest.approx(max(moved), rel=0.1)
    assert max(moved) > 1e-4
    done = scripts.run("eval/check_parity.py", **flags, against=made / "token_classification", dtype="float32")
    found = cells(done.stdout)
    assert float(found["steps: the largest difference of a score"]) < 1e-6
    assert found["problems: best-of-N chooses another trace"] == "0 of 12"


def test_where_a_reward_is_read(scripts, made):
    done = scripts.run(
        "eval/check_reward_position.py", verifier=made / "sequence_classification", data=made / "traces.jsonl"
    )
    assert done.code == 0, done.stderr
    wins = []
    verifier = load_verifier(str(made / "prm"))
    for prompt, rows in groupby(read_traces(made / "traces.jsonl"), key=lambda row: row.problem.prompt):
        rows = list(rows)
        scores = {correct: [] for correct in (True, False)}
        for row in rows:
            scores[row.trace.correct].append(verifier.score(prompt, row.trace.steps)[-1])
        wins += [(a > b) + (a == b) / 2 for a, b in product(scores[True], scores[False])]
    assert len(wins) > 5
    (ours,) = [line.split() for line in done.stdout.splitlines() if line.startswith("the last step and its separator")]
    assert float(ours[-2]) == pytest.approx(sum(wins) / len(wins), abs=6e-4)
    assert {line.split()[-1] for line in done.stdout.splitlines()[2:5]} == {str(len(wins))}
    done = scripts.run(
        "eval/check_reward_position.py", verifier=made / "token_classification", data=made / "traces.jsonl"
    )
    assert done.code == 1
    assert "has the layout token_classification; give one exported with --form sequence_classification" in done.stderr
