"""Traces -> revision data -> a reviser -> a search by revisions -> the study, and back to data for its verifier."""

import json

import pytest
import torch

from prm.encoding.revisions import ATTEMPT_BREAK
from prm.evaluation.search_runs import read_runs
from prm.generators import load_generator
from prm.storage.rows import read_outcomes

TRAINING = {
    **{"bf16": "false", "gradient_checkpointing": "false", "use_cpu": "true", "disable_tqdm": "true"},
    **{"save_strategy": "no", "report_to": "none", "max_length": 512, "context": 512, "max_steps": 2},
}


def ok(done):
    assert done.code == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(scripts, root, tmp_path_factory):
    """examples.jsonl: from 12 problems with 8 traces each; reviser/: two steps of training; search/: 10 problems, N = 4."""
    folder = tmp_path_factory.mktemp("revisions")
    sampling = {"generator": "arithmetic", "problems": "arithmetic", "limit": 12, "samples": 8, "max_new_tokens": 80}
    ok(scripts.run("data/sample_traces.py", **sampling, output=folder / "traces.jsonl"))
    building = {"traces": folder / "traces.jsonl", "output": folder / "examples.jsonl"}
    done = ok(scripts.run("data/build_revisions.py", **building))
    assert "problems: " in done.stdout
    assert "attempts shown: 0 in " in done.stdout
    assert "is complete already" in ok(scripts.run("data/build_revisions.py", **building)).stdout
    training = {"model": root / "prm/assets/arithmetic_generator", "data": folder / "examples.jsonl"}
    ok(scripts.run("recipes/train_generator.py", **training, **TRAINING, output_dir=folder / "reviser"))
    methods = ["revisions choose=majority", "revisions choose=majority chains=4", "revisions choose=majority chains=2"]
    searching = {"generator": folder / "reviser", "problems": "arithmetic", "limit": 10, "samples": 4}
    searching |= {"max_new_tokens": 80, "methods": methods, "output_dir": folder / "search"}
    ok(scripts.run("eval/run_search.py", **searching))
    return folder


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_reviser_learned_from_prompts_with_attempts_and_reads_longer_ones(folder, root):
    rows = rows_of(folder / "examples.jsonl")
    breaks = {(row["prompt"].count(ATTEMPT_BREAK), row["attempts"]) for row in rows}
    assert breaks <= {(0, 0), (2, 1), (3, 2), (4, 3), (5, 4)}
    assert len({row["attempts"] for row in rows}) > 2
    reviser, base = load_generator(str(folder / "reviser")), load_generator("arithmetic")
    assert (reviser.model.config.max_position_embeddings, base.model.config.max_position_embeddings) == (512, 256)
    weights = base.model.state_dict()
    assert any(not torch.equal(weights[name], tensor) for name, tensor in reviser.model.state_dict().items())
    long = (reviser.encode(rows[0]["prompt"]) * 30)[:300]
    (continuation,) = reviser.generate([long], [0])
    assert continuation.prefill == 300


def test_a_search_shows_its_attempts_and_the_study_reads_it(scripts, folder):
    run = read_runs([folder / "search"])
    one, many, two = run.rows[0].results
    assert [len(result.candidates) for result in (one, many, two)] == [4, 4, 4]
    assert (one.independent, many.independent) == (False, True)
    assert one.candidates[0].steps == many.candidates[0].steps
    assert one.cost.prompt_tokens > 2 * many.cost.prompt_tokens
    done = ok(scripts.run("eval/study_revisions.py", run=folder / "search"))
    results = json.loads(done.stdout.splitlines()[-1])
    assert [row["k"] for row in results["by_attempt"]] == [1, 2, 4]
    last = results["by_attempt"][-1]
    assert last["k independent"]["mean"] == pytest.approx(sum(ties(row.results[1], row) for row in run.rows) / 10)
    assert last["first k of a chain"]["mean"] == pytest.approx(sum(ties(row.results[0], row) for row in run.rows) / 10)
    assert [(row["chains"], row["attempts"]) for row in results["changes"]] == [(1, 4), (2, 2)]
    assert [row["chains x attempts"] for row in results["ratios"]] == ["1 x 4", "4 x 1", "2 x 2"]
    assert results["ratios"][1]["difference"] is None
    assert "| choice | k | attempt k | first k of a chain | k independent | difference |" in done.stdout


def test_the_study_compares_methods_of_one_number_of_samples(scripts, folder):
    searching = {"generator": folder / "reviser", "problems": "arithmetic", "limit": 10, "samples": 4}
    searching |= {"max_new_tokens": 80, "output_dir": folder / "sizes", "reuse": folder / "search"}
    methods = [
        f"revisions choose=majority {own}" for own in ("", "memory=1", "chains=4", "samples=2", "chains=2 samples=2")
    ]
    ok(scripts.run("eval/run_search.py", **searching, methods=methods))
    results = json.loads(ok(scripts.run("eval/study_revisions.py", run=folder / "sizes")).stdout.splitlines()[-1])
    names = ["majority", "majority, memory=1", "majority", "majority, samples=2", "majority, samples=2"]
    shapes = ["1 x 4", "1 x 4", "4 x 1", "1 x 2", "2 x 1"]
    assert [(row["choice"], row["chains x attempts"]) for row in results["ratios"]] == [
        *zip(names, shapes, strict=True)
    ]
    assert [row["difference"] is None for row in results["ratios"]] == [False, False, True, False, True]
    assert [(row["choice"], row["k"]) for row in results["by_attempt"]] == [
        *(("majority", k) for k in (1, 2, 4)),
        *(("majority, memory=1", k) for k in (1, 2, 4)),
        *(("majority, samples=2", k) for k in (1, 2)),
    ]
    changes = [(row["chains"], row["attempts"], row["memory"]) for row in results["changes"]]
    assert changes == [(1, 2, 4), (1, 4, 1), (1, 4, 4)]


def ties(result, row):
    """The expected credit of the majority: ties share it."""
    votes = [row.class_of[trace] for trace in result.candidates if trace.usable]
    most = {c for c in votes if votes.count(c) == max(map(votes.count, votes))}
    return (row.gold_class in most) / len(most) if votes else 0


def test_chains_become_traces_for_a_verifier(scripts, folder):
    done = ok(scripts.run("data/build_revisions.py", chains=folder / "search", output=folder / "chains.jsonl"))
    rows, run = rows_of(folder / "chains.jsonl"), read_runs([folder / "search"])
    assert len(rows) == sum(trace.usable for row in run.rows for trace in row.results[0].candidates)
    assert {row["split"] for row in rows} == {"test"}
    assert f"{len(rows)} traces, {sum(row['correct'] for row in rows)} right" in done.stdout
    assert max(row["attempts"] for row in rows) == 3
    assert len(read_outcomes(folder / "chains.jsonl")) == len(rows)

    training = TRAINING | {"model": folder / "reviser", "data": folder / "chains.jsonl", "output_dir": folder / "orm"}
    del training["context"]
    ok(scripts.run("recipes/train_orm.py", **training, eval_data=folder / "chains.jsonl"))
    searching = {"generator": folder / "reviser", "problems": "arithmetic", "limit": 3, "samples": 4, "chunk": 2}
    searching |= {"max_new_tokens": 80, "verifiers": f"orm={folder / 'orm'}", "output_dir": folder / "history"}
    methods = ["revisions orm history=true", "revisions orm"]
    ok(scripts.run("eval/run_search.py", **searching, methods=methods))
    for row in read_runs([folder / "history"]).rows:
        seeing, blind = row.results
        assert seeing.candidates == blind.candidates
        # The first attempt has no history, the second one has.
        assert seeing.scores[0].steps == pytest.approx(blind.scores[0].steps, abs=1e-5)
        assert seeing.scores[1].steps != pytest.approx(blind.scores[1].steps, abs=1e-5)
        assert seeing.cost.verifier_tokens > blind.cost.verifier_tokens + 3 * len(row.problem.prompt.split(","))


def test_what_is_refused(scripts, folder, root):
    right_only = [row for row in rows_of(folder / "traces.jsonl") if row["correct"]]
    (folder / "right.jsonl").write_text("".join(json.dumps(row) + "\n" for row in right_only))
    for message, script, flags in (
        ("give either --traces, to train a reviser, or --chains", "data/build_revisions.py", {}),
        ("nothing to learn from, problems: ", "data/build_revisions.py", {"traces": folder / "right.jsonl"}),
        (
            "chains is 3; it must divide the 4 samples",
            "eval/run_search.py",
            {"methods": "revisions choose=best chains=3"},
        ),
        (
            "revisions asks for scores; name a verifier after it",
            "eval/run_search.py",
            {"methods": "revisions"},
        ),
    ):
        more = {
            "generator": "arithmetic",
            "problems": "arithmetic",
            "limit": 2,
            "samples": 4,
            "output_dir": folder / "x",
        }
        more = more if script.startswith("eval") else {"output": folder / "x.jsonl"}
        done = scripts.run(script, **more, **flags)
        assert done.code != 0
        assert message in done.last_line, done.stderr
