"""Critiques from labels to a search: data/sample_critiques.py, recipes/train_generator.py --critiques, and the verifier."""

import json
import random
from collections import Counter

import pytest

from prm.datasets import arithmetic
from prm.datasets.arithmetic_critiques import critiques
from prm.encoding.critiques import ARITHMETIC
from prm.evaluation.search_runs import read_runs
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row
from prm.types import LabeledTrace, Trace

TINY = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 2, "learning_rate": 1e-2},
    **{"max_length": 96, "bf16": "false", "gradient_checkpointing": "false", "use_cpu": "true", "disable_tqdm": "true"},
    **{"save_strategy": "no", "report_to": "none", "seed": 3, "per_device_train_batch_size": 16},
    **{"lr_scheduler_type": "constant"},
}


def ok(done):
    assert done.code == 0, done.stderr
    return done.stdout


def verdicts(row):
    return [good for _, learned in row["turns"] for _, good in ARITHMETIC.read(learned, 1)]


def of_two_operations(split, n):
    return arithmetic.load(split, n, levels=[2])


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """Students' traces with Monte Carlo labels that are the truth; the last one has values that say otherwise."""
    path, rng, rows = tmp_path_factory.mktemp("labeled") / "labeled.jsonl", random.Random(0), []
    for problem in of_two_operations("train", 24):
        steps = arithmetic.student_trace(problem.prompt, rng)
        labels = arithmetic.check_steps(problem.prompt, steps)
        trace = Trace(problem.id, steps, steps[-1].removeprefix("#### "), labels[-1], step_rule="line")
        rows.append(
            labeled_to_row(problem, LabeledTrace(trace, labels, tuple(map(float, labels)), None, "mc", "value"))
        )
    rows[-1] |= {
        "completions": list(arithmetic.solution(problem.prompt)),
        "labels": [True] * 3,
        "values": [1.0, 0.5, 0.5],
    }
    write_jsonl(path, rows)
    return path


@pytest.fixture(scope="module")
def critic(scripts, labeled, tmp_path_factory):
    """A tiny model that has learned to write three verdicts, if not the right ones."""
    folder = tmp_path_factory.mktemp("critic")
    rows = [json.loads(line) for line in labeled.read_text().splitlines()]
    examples = []
    for row in rows:
        prompt, turns = ARITHMETIC.turns(
            row["prompt"], row["completions"], critiques(row["prompt"], row["completions"])
        )
        examples.append({"prompt": prompt, "turns": turns})
    write_jsonl(folder / "examples.jsonl", examples * 8)
    printed = ok(
        scripts.run(
            "recipes/train_generator.py",
            data=folder / "examples.jsonl",
            output_dir=folder / "model",
            num_train_epochs=8,
            **TINY,
        )
    )
    assert "0 are longer than --max_length 96" in printed
    return f"arithmetic_critic:{folder}/model"


def test_what_agrees_with_the_labels_is_kept(scripts, labeled, critic, tmp_path):
    kept = {}
    for labels in ("absolute", "relative"):
        flags = {"labeled": labeled, "critic": critic, "output": tmp_path / f"{labels}.jsonl", "labels": labels}
        printed = ok(scripts.run("data/sample_critiques.py", samples=12, keep=2, chunk=10, **flags))
        assert " about 24 traces " in printed
        kept[labels] = [json.loads(line) for line in (tmp_path / f"{labels}.jsonl").read_text().splitlines()]
    rows = {row["id"]: row for row in map(json.loads, labeled.read_text().splitlines())}
    assert {row["split"] for row in kept["absolute"]} == {"train"}
    for row in kept["absolute"]:
        its = rows[row["trace"]]
        assert row["prompt"] == its["prompt"]
        assert [given.strip() for given, _ in row["turns"]] == its["completions"]
        assert verdicts(row) == its["labels"]
    assert len({str(row["turns"]) for row in kept["absolute"]}) > 2
    last = max(rows, key=lambda name: int(name.split("/")[-1].split("#")[0]))
    for row in kept["relative"]:
        assert verdicts(row) == ([True, False, True] if row["trace"] == last else rows[row["trace"]]["labels"])
    facts = json.loads((tmp_path / "absolute.meta.json").read_text())
    assert (facts["critiques"], facts["traces"], facts["kept"]) == (24 * 12, 24, len(kept["absolute"]))
    assert (
        facts["critiques"]
        >= facts["readable"]
        >= facts["agreeing"]
        >= facts["kept"]
        > facts["kept_of_wrong_traces"]
        > 0
    )
    assert facts["written_tokens"] > facts["readable"]
    again = ok(scripts.run("data/sample_critiques.py", samples=12, keep=2, chunk=10, **flags))
    assert "is complete already" in again


def test_a_critic_searches_and_scores_steps(scripts, critic, tmp_path):
    rows = [{"id": its.id, "prompt": its.prompt, "answer": its.answer} for its in of_two_operations("test", 3)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row | {"split": "test"}) + "\n" for row in rows))
    one_vote, four = tmp_path / "one.yaml", tmp_path / "four.yaml"
    for path, votes in ((one_vote, 1), (four, 4)):
        path.write_text(f"like: arithmetic_critic\ncritic: {{votes: {votes}, retries: 200, temperature: 1.0}}\n")
    model = critic.partition(":")[2]
    flags = {"generator": "arithmetic", "problems": tmp_path / "problems.jsonl", "samples": 4, "max_new_tokens": 80}
    flags |= {"verifiers": [f"critic={one_vote}:{model}", f"critic4={four}:{model}"]}
    flags |= {"methods": ["majority", "best_of_n critic", "best_of_n critic4", "weighted_vote critic"]}
    ok(scripts.run("eval/run_search.py", output_dir=tmp_path / "search", **flags))
    run = read_runs([tmp_path / "search"])
    written: Counter[str] = Counter()
    for row in run.rows:
        _, one, four_votes, vote = (result.cost for result in row.results)
        written.update({"one": one.written_verifier_tokens, "four": four_votes.written_verifier_tokens})
        assert one.verifier_tokens >= one.written_verifier_tokens
        assert one.flops == vote.flops > 0 < one.flops_by_shape
        assert (
            one.flops - row.results[0].cost.flops
            == 2 * run.meta["verifiers"]["critic"]["num_parameters"] * one.verifier_tokens
        )
    assert min(written["one"], written["four"]) > 0
    ledger = run.meta["verifiers"]["critic4"]["critiques"]
    assert ledger["critiques"] >= 4
    flags = {"benchmark": "arithmetic", "limit": 30, "verifier": critic, "output_dir": tmp_path / "steps"}
    ok(scripts.run("eval/score_steps.py", **flags))
    assert json.loads((tmp_path / "steps/meta.json").read_text())["critiques"]["critiques"] > 30


def test_the_embedded_sets_make_exact_critiques(scripts, tmp_path):
    flags = TINY | {"data": "arithmetic", "limit": 8, "max_steps": 1, "max_length": 256, "output_dir": tmp_path / "out"}
    assert "8 traces, " in ok(scripts.run("recipes/train_generator.py", critiques="true", **flags))
    done = scripts.run("recipes/train_generator.py", critiques="true", **flags | {"data": "gsm8k"})
    assert "error: --critiques makes rows of an embedded set" in done.last_line
    done = scripts.run("data/sample_critiques.py", labeled="x.jsonl", critic="math_shepherd:x", output=tmp_path / "y")
    assert "x.jsonl does not exist" in done.last_line
