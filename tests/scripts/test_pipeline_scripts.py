"""sample_traces -> label_steps -> run_search -> write_report from the command line, what they refuse, and no network."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from prm.datasets.splits import split_of
from prm.encoding.codec import StepCodec
from prm.evaluation.search_runs import read_runs
from prm.search.calibration import read_calibration
from prm.search.policy import read_policy
from prm.storage.rows import read_labeled, read_traces
from prm.verifiers import find_verifier, load_verifier
from prm.verifiers.checkpoint import VerifierConfig

GENERATOR = {"generator": "arithmetic", "max_new_tokens": 80}
UNUSABLE = {"prompt": "Start with 1, add 1.", "completions": [], "id": "x#0", "problem_id": "x", "status": "no_steps"}


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ok(done):
    assert done.code == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(scripts, tmp_path_factory):
    """traces.jsonl: 2 traces of 6 problems, and a row that cannot be used. labeled.jsonl: their labels."""
    folder = tmp_path_factory.mktemp("pipeline")
    sampling = {"problems": "arithmetic", "limit": 6, "samples": 2, "chunk": 4, "output": folder / "traces.jsonl"}
    ok(scripts.run("data/sample_traces.py", **GENERATOR, **sampling))
    with (folder / "traces.jsonl").open("a") as traces:
        traces.write(json.dumps(UNUSABLE) + "\n")
    labeling = {"traces": folder / "traces.jsonl", "rollouts": 2, "output": folder / "labeled.jsonl"}
    done = ok(scripts.run("data/label_steps.py", **GENERATOR, **labeling))
    assert "labeled steps" in done.stdout
    return folder


@pytest.fixture(scope="module")
def verifiers(root, tmp_path_factory):
    """An untrained PRM and an untrained ORM on the embedded generator."""
    import torch
    from transformers import AutoTokenizer

    from prm.models.loading import from_base

    base = str(root / "prm" / "assets" / "arithmetic_generator")
    paths = {}
    for i, (kind, semantics) in enumerate({"prm": "value", "orm": "outcome"}.items()):
        paths[kind] = tmp_path_factory.mktemp(kind)
        model = from_base(base)
        torch.nn.init.normal_(model.score.weight, std=0.2, generator=torch.Generator().manual_seed(i))
        model.save_pretrained(paths[kind])
        AutoTokenizer.from_pretrained(base).save_pretrained(paths[kind])
        config = VerifierConfig(kind, StepCodec(max_length=256), semantics, "last", base, "untrained", step_rule="line")
        config.save(paths[kind])
    return paths


def test_sampled_traces(folder):
    traces = [row.trace for row in read_traces(folder / "traces.jsonl")]
    assert [trace.id for trace in traces] == [f"arithmetic/train/{p}#{i}" for p in range(6) for i in range(2)] + ["x#0"]
    for row in rows_of(folder / "traces.jsonl")[:-1]:
        assert row["status"] in ("ok", "truncated", "no_answer")
        assert row["correct"] == (row["answer"] == row["gold"])
        assert row["generator"].startswith("arithmetic_generator-")
        assert row["num_tokens"] > len(row["completions"])
    meta = json.loads((folder / "traces.meta.json").read_text())
    assert meta["script"] == "data/sample_traces.py"
    assert meta["generated_tokens"] == sum(trace.num_tokens for trace in traces[:-1])
    config = yaml.safe_load((folder / "traces.config.yaml").read_text())
    assert (config["limit"], config["chunk"], config["seed"]) == (6, 4, 0)


def test_labeled_traces(folder):
    rows = rows_of(folder / "labeled.jsonl")
    rollouts = rows_of(folder / "labeled.jsonl.rollouts" / "rollouts-0.jsonl")
    assert [row["id"] for row in rows] == [row["id"] for row in rows_of(folder / "traces.jsonl")]
    assert rows[-1]["status"] == "no_steps"
    assert "labels" not in rows[-1]
    usable = [row for row in rows if row["status"] == "ok"]
    assert usable
    for row in usable:
        *open_, last = row["counts"]
        assert last == [int(row["correct"]), 1]
        assert all(n == 2 for _, n in open_)
        assert row["labels"] == [good > 0 for good, _ in row["counts"]]
        assert row["values"] == [good / n for good, n in row["counts"]]
        assert (row["method"], row["semantics"]) == ("monte_carlo@2", "value")
    prefixes = {
        (row["problem_id"], tuple(row["completions"][:end])) for row in usable for end in range(1, len(row["labels"]))
    }
    assert len(rollouts) == 2 * len(prefixes)
    assert len({row["seed"] for row in rollouts}) == len(rollouts)
    meta = json.loads((folder / "labeled.meta.json").read_text())
    assert meta["rollouts"] == len(rollouts)
    assert meta["generated_tokens"] == sum(len(row["token_ids"]) for row in rollouts)
    assert meta["statuses"]["no_steps"] == 1
    assert set(meta["inputs"]) == {str(folder / "traces.jsonl")}
    assert len(read_labeled(folder / "labeled.jsonl")) == len(usable)


def search_flags(verifiers, output_dir, **more):
    named = [f"{name}={path}" for name, path in verifiers.items()]
    return (
        GENERATOR
        | {"problems": "arithmetic", "limit": 7, "samples": 4, "verifiers": named, "output_dir": output_dir}
        | more
    )


def timeless(rows):
    """Rows of results without the seconds they took."""
    return [
        row | {"results": [result | {"cost": result["cost"] | {"seconds": 0}} for result in row["results"]]}
        for row in rows
    ]


def test_search_and_report(scripts, verifiers, tmp_path):
    run = tmp_path / "search"
    flags = search_flags(verifiers, run, chunk=3)
    ok(scripts.run("eval/run_search.py", **flags))
    stored = read_runs([run])
    assert len(stored.rows) == 7
    methods = [
        "majority",
        "prm_best_of_n",
        "prm_weighted_vote",
        "prm_beam_search",
        "orm_best_of_n",
        "orm_weighted_vote",
    ]
    for row in stored.rows:
        by_name = {result.method: result for result in row.results}
        assert list(by_name) == methods
        pools = [by_name[name].candidates for name in methods if name != "prm_beam_search"]
        assert pools == [pools[0]] * 5  # one pool for all
        assert [by_name[name].independent for name in methods] == [True, True, True, False, True, True]
        for result in row.results:
            assert 1 <= len(result.candidates) <= 4
            for candidate, scores in zip(result.candidates, result.scores, strict=True):
                assert (scores is not None) == (candidate.usable and result.verifier is not None)
        assert by_name["majority"].cost.generated_tokens == sum(trace.num_tokens for trace in pools[0])
        assert by_name["majority"].cost.verifier_calls == 0 < by_name["prm_beam_search"].cost.verifier_calls
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock",
        "config.yaml",
        "meta.json",
        "requests",
        "results.journal",
        "results.jsonl",
    ]
    meta = json.loads((run / "meta.json").read_text())
    assert (meta["n"], meta["split"], meta["verifiers"]["orm"]["kind"]) == (4, "test", "orm")

    ok(scripts.run("eval/write_report.py", run=run, output_dir=tmp_path))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["n_problems"], summary["N"]) == (7, 4)
    assert list(summary["methods"]) == ["single", *methods, "pass_at_n"]

    # Again: nothing is done, the seconds of the real run stay.
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again = ok(scripts.run("eval/run_search.py", **flags))
    assert again.stdout == f"{run} is complete already\n"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before

    # Cut off in the second chunk: the first one is kept as it is, the rest is the same but for the time it took.
    journal = before[run / "results.journal"]
    (run / "results.journal").write_bytes(journal[: int(0.6 * len(journal))])
    (run / "results.jsonl").unlink()
    ok(scripts.run("eval/run_search.py", **flags))
    new, old = rows_of(run / "results.jsonl"), [json.loads(line) for line in before[run / "results.jsonl"].splitlines()]
    assert new[:3] == old[:3]
    assert timeless(new) == timeless(old)

    # Other settings, or other weights under the same name, are not mixed in.
    more = scripts.run("eval/run_search.py", **flags | {"samples": 8})
    assert more.code != 0
    assert "samples: was 4, now 8" in more.last_line
    weights = (verifiers["prm"] / "model.safetensors").read_bytes()
    (verifiers["prm"] / "model.safetensors").write_bytes((verifiers["orm"] / "model.safetensors").read_bytes())
    other = scripts.run("eval/run_search.py", **flags)
    (verifiers["prm"] / "model.safetensors").write_bytes(weights)
    assert other.code != 0
    assert f"{verifiers['prm'] / 'model.safetensors'} is not what was saved" in other.last_line


def test_a_search_killed_inside_a_chunk_goes_on_and_ends_alike(scripts, verifiers, tmp_path):
    flags = search_flags(verifiers, tmp_path / "killed", samples=8)
    requests = tmp_path / "killed" / "requests" / "0.journal"
    pid = scripts.start("eval/run_search.py", **flags)
    deadline = time.monotonic() + 60
    while not (requests.exists() and requests.read_bytes().count(b'"commit"') >= 3):
        assert time.monotonic() < deadline, "the search has committed nothing"
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert scripts.wait(pid).code == -signal.SIGKILL
    answered = requests.read_bytes()
    drawn = [row["drawn"] for row in map(json.loads, answered[: answered.rindex(b"\n")].splitlines()) if "drawn" in row]
    assert len(drawn) == len(set(drawn)) >= 7 * 8

    done = ok(scripts.run("eval/run_search.py", **flags))
    assert "7 problems, 6 methods" in done.stdout
    ok(scripts.run("eval/run_search.py", **flags | {"output_dir": tmp_path / "whole"}))
    killed, whole = (rows_of(tmp_path / name / "results.jsonl") for name in ("killed", "whole"))
    assert timeless(killed) == timeless(whole)
    # What was drawn before the kill was not drawn again: its share of the seconds is that of the first run.
    seconds = {
        row["trace"]["seed"]: row["seconds"] for row in map(json.loads, answered.splitlines()[1:]) if "drawn" in row
    }
    for row in killed:
        spent = sum(seconds[candidate["seed"]] for candidate in row["candidates"][:8])
        assert row["results"][0]["cost"]["seconds"] == pytest.approx(spent)


def test_a_stored_pool_is_scored_with_another_verifier_without_sampling_again(scripts, verifiers, tmp_path):
    first = search_flags({"prm": verifiers["prm"]}, tmp_path / "first", methods=["majority", "best_of_n prm"], chunk=4)
    ok(scripts.run("eval/run_search.py", **first))
    later = search_flags(
        {"orm": verifiers["orm"]}, tmp_path / "later", methods=["best_of_n orm"], chunk=4, reuse=tmp_path / "first"
    )
    ok(scripts.run("eval/run_search.py", **later))
    for old, new in zip(*(read_runs([tmp_path / name]).rows for name in ("first", "later")), strict=True):
        assert new.results[0].candidates == old.results[0].candidates
        assert new.results[0].cost.generated_tokens == old.results[0].cost.generated_tokens > 0
    for path in (tmp_path / "later" / "requests").iterdir():
        asked = [json.loads(line) for line in path.read_text().splitlines()[1:]]
        assert not any("drawn" in row for row in asked)  # scores only
        assert any("scored" in row for row in asked)
    refuses(
        scripts, "seed: was 0, now 1", "eval/run_search.py", **later | {"seed": 1, "output_dir": tmp_path / "other"}
    )


def test_a_calibrated_verifier_says_when_to_stop(scripts, verifiers, tmp_path):
    prm = {"prm": verifiers["prm"]}
    for split in ("validation", "test"):
        ok(
            scripts.run(
                "eval/run_search.py",
                **search_flags(prm, tmp_path / split, methods=["best_of_n prm"], limit=12, split=split),
            )
        )
    learn = {"run": tmp_path / "validation", "verifier": "prm", "output": tmp_path / "prm.json"}
    printed = ok(scripts.run("eval/calibrate_verifier.py", **learn)).stdout
    assert "learned from 12 problems with 4 samples each" in printed
    assert printed.count("\n1.00 ") == 2  # both ways of choosing, each with a row per target
    target = min(chance for _, chance in read_calibration(str(tmp_path / "prm.json")).best if chance > 0)

    checked = ok(scripts.run("eval/calibrate_verifier.py", **learn, check=tmp_path / "test")).stdout
    method = f"adaptive_best_of_n prm calibration={tmp_path / 'prm.json'} target="
    methods = ["best_of_n prm", f"{method}{target}", f"{method}1"]
    flags = search_flags(prm, tmp_path / "adaptive", methods=methods, limit=12, reuse=tmp_path / "test")
    ok(scripts.run("eval/run_search.py", **flags))
    samples = []
    for row in read_runs([tmp_path / "adaptive"]).rows:
        whole, stopped, never = row.results
        assert (never.candidates, never.chosen) == (whole.candidates, whole.chosen)
        assert stopped.candidates == whole.candidates[: len(stopped.candidates)]
        samples.append(len(stopped.candidates))
    assert sum(samples) < 4 * 12
    assert "12 problems" in checked

    (tmp_path / "prm.json").write_text((tmp_path / "prm.json").read_text().replace('"samples": 4', '"samples": 5'))
    refuses(scripts, "learned: was {", "eval/run_search.py", **flags)  # learned again: the results are not these

    refuses(scripts, "was learned of 12 of these problems", "eval/run_search.py", **flags | {"split": "validation"})
    refuses(
        scripts,
        "prm.json was learned of the verifier",
        "eval/run_search.py",
        **search_flags(
            {"orm": verifiers["orm"]}, tmp_path / "other", methods=[method.replace(" prm ", " orm ") + "0.5"]
        ),
    )
    refuses(
        scripts,
        "no method of the run has scores of orm for a whole pool; search with `best_of_n orm`",
        "eval/calibrate_verifier.py",
        **learn | {"verifier": "orm"},
    )


def test_a_policy_is_learned_followed_and_held_against_its_card(scripts, verifiers, tmp_path):
    prm = {"prm": verifiers["prm"]}
    methods = [f"{name} samples={n}" for name in ("majority", "weighted_vote prm", "rebase prm") for n in (1, 2, 4)]
    methods += ["best_of_n orm", "cascade prm cheap=orm"]
    flags = search_flags(verifiers, tmp_path / "validation", methods=methods, limit=12, split="validation")
    ok(scripts.run("eval/run_search.py", **flags))
    path = tmp_path / "policy.json"
    learn = {"run": tmp_path / "validation", "verifier": "prm", "output": path, "bins": 2}
    report = tmp_path / "report.json"
    printed = ok(scripts.run("eval/fit_policy.py", **learn, report=report, mean_tokens=300)).stdout
    assert (
        "left out, of another verifier or with more than the policy knows: orm_best_of_n, prm_cascade[cheap=orm]"
        in printed
    )
    assert f"{path}: learned from 12 validation problems of arithmetic" in printed
    assert "generated tokens" in printed.rpartition("promised")[2]
    assert {"compute_saving_generation", "compute_saving_charged"} <= json.loads(report.read_text()).keys()
    written = path.read_bytes()
    ok(scripts.run("eval/fit_policy.py", **learn, mean_tokens=300))
    assert path.read_bytes() == written  # the same from the same

    method = f"compute_optimal prm policy={path}"
    follow = search_flags(prm, tmp_path / "test", methods=["weighted_vote prm", method], limit=12)
    ok(scripts.run("eval/run_search.py", **follow))
    learned = read_policy(str(path))
    for row in read_runs([tmp_path / "test"]).rows:
        pool, found = row.results
        if found.candidates == pool.candidates[: len(found.candidates)]:  # not a tree
            assert len(found.candidates) in {choice.samples for choice in learned.choices}
            assert found.cost.generated_tokens == sum(t.num_tokens for t in found.candidates)
    checked = ok(scripts.run("eval/fit_policy.py", **learn, mean_tokens=300, check=tmp_path / "test")).stdout
    assert "found minus promised" in checked

    refuses(scripts, "was learned of 12 of these problems", "eval/run_search.py", **follow | {"split": "validation"})
    other = search_flags({"orm": verifiers["orm"]}, tmp_path / "other", methods=[method.replace(" prm ", " orm ")])
    refuses(scripts, "policy.json was learned of the verifier", "eval/run_search.py", **other)
    for message, change in (
        ("the cheapest policy costs", {"mean_tokens": 1}),
        ("one budget is enough", {"mean_tokens": 300, "mean_flops": 1e9}),
        ("no method says what a probe of 3 samples costs", {"probe": 3}),
        ("--verifier other: ", {"verifier": "other"}),
        ("no method is compute_optimal", {"mean_tokens": 300, "check": tmp_path / "validation"}),
    ):
        refuses(scripts, message, "eval/fit_policy.py", **learn | change)
    refuses(scripts, "needs scores; name a --verifier", "eval/fit_policy.py", run=tmp_path / "validation", output=path)
    path.write_bytes(written.replace(b'"share"', b'"portion"'))
    refuses(scripts, "learned: was {", "eval/run_search.py", **follow)  # another policy: the results are not its
    again = learn | {"bins": 1, "mean_tokens": 300, "check": tmp_path / "test"}
    refuses(scripts, "it followed another policy than the one that these flags make", "eval/fit_policy.py", **again)


def test_a_cascade_runs_by_name_from_the_likelihood_to_the_prm(scripts, verifiers, tmp_path):
    methods = ["best_of_n lm", "cascade prm cheap=lm keep=2", "cascade prm cheap=lm keep=9"]
    named = {"prm": verifiers["prm"], "lm": "likelihood"}
    ok(scripts.run("eval/run_search.py", **search_flags(named, tmp_path / "search", methods=methods)))
    meta = json.loads((tmp_path / "search/meta.json").read_text())
    assert meta["verifiers"]["lm"]["fingerprint"] == f"likelihood-{meta['generator']['name']}"
    dropped = 0
    for row in read_runs([tmp_path / "search"]).rows:
        likely, two, all_of_them = row.results
        score = {t.steps: its.trace for t, its in zip(likely.candidates, likely.scores, strict=True) if its is not None}
        best = sorted(score, key=score.get, reverse=True)[:2]
        assert {trace.steps for trace in two.candidates if trace.usable} == set(best)
        assert {trace.steps for trace in all_of_them.candidates} == {trace.steps for trace in likely.candidates}
        read = likely.cost.verifier_tokens
        assert read < two.cost.verifier_tokens <= all_of_them.cost.verifier_tokens
        assert two.cost.flops_by_shape > likely.cost.flops_by_shape > 0
        dropped += len(two.tree) > 0
    assert dropped > 0
    ok(scripts.run("eval/write_report.py", run=tmp_path / "search", output_dir=tmp_path / "report"))
    page = (tmp_path / "report" / "report.md").read_text()
    assert "| PRM cascade [keep=2] | " in page.split("## What was spent")[1].split("##")[0]
    flags = search_flags({"lm": "likelihood"}, tmp_path / "other", engine="openai", generator="http://127.0.0.1:9")
    refuses(scripts, "--verifiers likelihood needs --engine hf: engine openai does not", "eval/run_search.py", **flags)


OWN = '''
from prm.search.requests import Found, Sample, best, score_readable
from prm.types import Scores


def first_wins(problem, budget, seed, patience=1):
    """The first sample that has an answer; the verifier's scores are shown and not heeded."""
    traces = yield Sample(budget.samples)
    scores = yield from score_readable(traces)
    usable = [i for i, trace in enumerate(traces) if trace.usable]
    return Found(traces, scores, usable[0] if usable else None)


class Shortest:
    name, kind, num_parameters = "shortest-1", "prm", 0

    def score_batch(self, prompts, steps_N):
        return [Scores((0.5,) * len(steps), 1 / len(steps), read=7) for steps in steps_N]
'''


def test_a_strategy_and_a_verifier_of_ones_own_run_cost_and_are_reported(scripts, tmp_path):
    """From a file that a user wrote, without another edit: the names are all that the project knows of them."""
    own = tmp_path / "own.py"
    own.write_text(OWN)
    methods = ["majority", f"{own}:first_wins short", "best_of_n short", "beam_search short width=2"]
    flags = search_flags({"short": f"{own}:Shortest"}, tmp_path / "search", methods=methods)
    ok(scripts.run("eval/run_search.py", **flags))
    for row in read_runs([tmp_path / "search"]).rows:
        majority, first, shortest, _ = row.results
        assert (first.method, first.strategy, first.verifier) == ("short_first_wins", "first_wins", "short")
        assert first.candidates == majority.candidates
        usable = [i for i, trace in enumerate(first.candidates) if trace.usable]
        assert first.chosen == (usable[0] if usable else None)
        assert first.cost.verifier_tokens == 7 * len(usable)
        assert shortest.chosen == min(usable, key=lambda i: len(first.candidates[i].steps), default=None)
    ok(scripts.run("eval/write_report.py", run=tmp_path / "search", output_dir=tmp_path / "report"))
    page = (tmp_path / "report" / "report.md").read_text()
    for label in ("short first wins", "short best-of-N", "short beam search"):
        assert f"| {label} | " in page
    assert "short first wins" in (tmp_path / "report" / "report.html").read_text()


def examples_of_contributing(root):
    """The code of its strategy and of its verifier."""
    return re.findall(r"^```python\n(.*?)^```", (root / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_verifier_of_contributing_runs_as_it_is_printed(root, scripts, tmp_path):
    own = tmp_path / "my_verifier.py"
    own.write_text(examples_of_contributing(root)[1])
    right = ("47 - 12 = 35", "35 + 28, carry 1 = 63", "#### 63")
    wrong = ("47 - 12 = 35", "35 + 28 = 53", "#### 53")
    scores = find_verifier(f"{own}:Calculator").score_batch(["Start with 47, subtract 12, add 28."] * 2, [right, wrong])
    assert [its.steps for its in scores] == [(1, 1, 1), (1, 0, 1)]
    assert [its.trace for its in scores] == [1, 0]

    flags = search_flags({"calculator": f"{own}:Calculator"}, tmp_path / "search", methods=["best_of_n calculator"])
    ok(scripts.run("eval/run_search.py", **flags))
    chosen = [row.results[0] for row in read_runs([tmp_path / "search"]).rows]
    assert all(its.trace in (0, 1) for result in chosen for its in result.scores if its is not None)
    assert any(result.correct for result in chosen)


def test_the_worked_example_of_contributing_runs_as_it_is_printed(root, scripts, verifiers, tmp_path):
    own = tmp_path / "my_search.py"
    own.write_text(examples_of_contributing(root)[0])
    methods = ["best_of_n prm", f"{own}:rejection prm threshold=0.05", f"{own}:rejection prm threshold=1"]
    flags = search_flags(verifiers, tmp_path / "search", methods=methods)
    ok(scripts.run("eval/run_search.py", **flags))
    stopped_early = 0
    for row in read_runs([tmp_path / "search"]).rows:
        whole, early, never = row.results
        assert never.candidates == whole.candidates  # no score reaches 1: all samples of the pool, one after the other
        assert never.chosen == whole.chosen
        assert never.cost.generated_tokens == whole.cost.generated_tokens
        assert never.cost.prompt_tokens == 4 * whole.cost.prompt_tokens  # four requests, each reads the prompt
        assert early.candidates == whole.candidates[: len(early.candidates)]
        assert early.cost.generated_tokens == sum(trace.num_tokens for trace in early.candidates)
        assert all(scores is None or scores.trace < 0.05 for scores in early.scores[:-1])
        assert not early.independent
        stopped_early += len(early.candidates) < 4
    assert stopped_early > 0
    ok(scripts.run("eval/write_report.py", run=tmp_path / "search", output_dir=tmp_path / "report"))
    assert "| PRM rejection [threshold=0.05] | " in (tmp_path / "report" / "report.md").read_text()


def refuses(scripts, message, script, **flags):
    """The run fails, and the last line it writes says `message`."""
    done = scripts.run(script, **flags)
    assert done.code != 0, message
    assert message in done.last_line, done.stderr


def write(path, *lines):
    path.write_text("".join(line + "\n" for line in lines))
    return path


PROBLEM = '{"prompt": "Start with 1, add 1.", "answer": "2"}'


def test_what_sample_traces_refuses(scripts, tmp_path):
    torn = write(tmp_path / "torn.jsonl", PROBLEM, '{"prompt": "Start')
    column = write(tmp_path / "column.jsonl", PROBLEM, PROBLEM, '{"prompt": "Why?"}')
    answer = write(tmp_path / "answer.jsonl", '{"prompt": "Why?", "answer": ""}')
    empty = write(tmp_path / "empty.jsonl")
    one = write(tmp_path / "one.jsonl", PROBLEM)
    other = "test" if split_of(json.loads(PROBLEM)["prompt"]) == "train" else "train"
    arithmetic = {"problems": "arithmetic", "limit": 1}
    for message, flags in {
        f"{torn}:2: not a JSON object": {"problems": torn, "split": "all"},
        f"{column}:3: no column answer; say which of prompt it is": {"problems": column, "split": "all"},
        f"{answer}": {"problems": answer, "split": "all"},
        f"{empty} holds no row": {"problems": empty, "split": "test"},
        f"no problems in the {other} split of {one}": {"problems": one, "split": other},
        "missing.jsonl does not exist": {"problems": tmp_path / "missing.jsonl"},
        "split 'tset' is not one of ": {"problems": torn, "split": "tset"},
        "arithmetic is endless": {"problems": "arithmetic"},
        "error: --lmit is no flag of data/sample_traces.py, did you mean --limit?": arithmetic | {"lmit": 3},
        "prompt template 'chatt' is not one of plain, ": arithmetic | {"prompt": "chatt"},
        "has no chat template": arithmetic | {"prompt": "chat"},
        "--samples 0: expected a whole number of at least 1": arithmetic | {"samples": 0},
        "--temperature -1.0: expected a number of at least 0": arithmetic | {"temperature": -1},
        "nowhere does not exist; give a path, or owner/name on the hub": arithmetic | {"generator": "nowhere"},
    }.items():
        refuses(scripts, message, "data/sample_traces.py", output=tmp_path / "out.jsonl", **(GENERATOR | flags))
        assert not (tmp_path / "out.jsonl").exists()


def test_problems_that_changed_are_refused(scripts, tmp_path):
    problems = write(tmp_path / "problems.jsonl", PROBLEM)
    flags = GENERATOR | {"problems": problems, "split": "all", "samples": 1, "output": tmp_path / "traces.jsonl"}
    ok(scripts.run("data/sample_traces.py", **flags))
    write(problems, PROBLEM.replace("1.", "2."))
    refuses(scripts, f"{problems}: was '", "data/sample_traces.py", **flags)


def test_what_label_steps_refuses(scripts, folder, tmp_path):
    trace = {"prompt": "Start with 1, add 1.", "completions": ["1 + 1 = 2", "#### 2"], "gold": "2", "correct": True}

    def traces(name, **changes):
        row = {key: value for key, value in (trace | changes).items() if value is not None}
        return write(tmp_path / name, json.dumps(trace), json.dumps(row))

    torn = write(tmp_path / "torn.jsonl", json.dumps(trace), json.dumps(trace)[:-9])
    column = traces("column.jsonl", completions=None)
    text = traces("text.jsonl", completions="1 + 1 = 2\n#### 2")
    empty = traces("empty.jsonl", completions=[], status="ok")
    step = traces("step.jsonl", completions=["1 + 1 = 2", " "])
    for message, flags in {
        f"{torn}:2: not a JSON object": {"traces": torn},
        f"{column}:2: no column 'completions'; the row has correct, gold, prompt": {"traces": column},
        f"{text}:2: 'completions' must be a list": {"traces": text},
        f"{empty}:2: `completions` is empty": {"traces": empty},
        f"{step}:2: prompt/": {"traces": step},
        "step 2 of 2 is empty or not a string (' ')": {"traces": step},
        "missing.jsonl does not exist": {"traces": tmp_path / "missing.jsonl"},
        "error: --rolouts is no flag of data/label_steps.py, did you mean --rollouts?": {
            "traces": folder / "traces.jsonl",
            "rolouts": 3,
        },
        "--rollouts 0: expected a whole number of at least 1": {"traces": folder / "traces.jsonl", "rollouts": 0},
        "traces are divided into steps by the rule line, rollouts would be by paragraph; give --step_rule line": {
            "traces": folder / "traces.jsonl",
            "step_rule": "paragraph",
        },
    }.items():
        refuses(scripts, message, "data/label_steps.py", output=tmp_path / "out.jsonl", **(GENERATOR | flags))
        assert not (tmp_path / "out.jsonl").exists()

    rollouts = folder / "labeled.jsonl.rollouts" / "rollouts-0.jsonl"
    before = rollouts.read_bytes(), (folder / "labeled.jsonl").read_bytes()
    flags = GENERATOR | {"traces": folder / "traces.jsonl"}
    again = flags | {"output": folder / "labeled.jsonl"}
    refuses(scripts, "rollouts: was 2, now 3", "data/label_steps.py", rollouts=3, **again)
    other = flags | {"output": tmp_path / "out.jsonl", "store": folder / "labeled.jsonl.rollouts", "rollouts": 2}
    refuses(scripts, "seed: was 0, now 1", "data/label_steps.py", seed=1, **other)
    refuses(scripts, "(temperature: was 1.0, now 0.5)", "data/label_steps.py", temperature=0.5, **other)
    tolerance = {"method": "monte_carlo", "tolerance": 0.1}
    refuses(scripts, "--tolerance is not an option of monte_carlo", "data/label_steps.py", **(other | tolerance))
    (folder / "labeled.config.yaml").rename(tmp_path / "hidden")
    refuses(scripts, "labeled.config.yaml and labeled.meta.json do not", "data/label_steps.py", rollouts=2, **again)
    (tmp_path / "hidden").rename(folder / "labeled.config.yaml")
    assert (rollouts.read_bytes(), (folder / "labeled.jsonl").read_bytes()) == before


def test_planners_share_the_rollouts_of_a_store(scripts, folder, tmp_path):
    """Four rollouts per step cost what two do not have; the first error, next to nothing; and methods are compared."""
    store = tmp_path / "store"
    shutil.copytree(folder / "labeled.jsonl.rollouts", store)
    rows = store / "rollouts-0.jsonl"
    flags = GENERATOR | {"traces": folder / "traces.jsonl", "store": store}
    before = len(rows_of(rows))
    ok(scripts.run("data/label_steps.py", output=tmp_path / "four.jsonl", rollouts=4, **flags))
    assert len(rows_of(rows)) == 2 * before
    bisection = {"method": "first_error", "rollouts": 4}
    ok(scripts.run("data/label_steps.py", output=tmp_path / "first.jsonl", **bisection, **flags))
    ok(scripts.run("data/label_steps.py", output=tmp_path / "adaptive.jsonl", method="adaptive", **flags))
    topical = [row | {"kept": {"topic": row["problem_id"]}} for row in rows_of(folder / "traces.jsonl")]
    flags["traces"] = write(tmp_path / "topical.jsonl", *map(json.dumps, topical))
    ok(scripts.run("data/label_steps.py", output=tmp_path / "tree.jsonl", method="omega_prm", searches=2, **flags))
    tree = rows_of(tmp_path / "tree.jsonl")
    assert all(row["kept"] == {"topic": row["problem_id"]} for row in tree)  # those that the labeler made, too
    assert any(row["index"] >= 1_000_000 for row in tree)
    addresses = [(row["problem_id"], row["prefix"], row["index"]) for row in rows_of(rows)]
    assert len(set(addresses)) == len(addresses)
    for name in ("first", "adaptive", "tree"):
        for row in read_labeled(tmp_path / f"{name}.jsonl"):
            assert row.labeled.labels[-1] is row.labeled.trace.correct

    rows = [row | {"problem_id": "y/" + row["problem_id"]} for row in rows_of(tmp_path / "four.jsonl")]
    other = write(tmp_path / "other.jsonl", *map(json.dumps, rows))
    done = ok(scripts.run("data/compare_labels.py", labels=[tmp_path / "four.jsonl", tmp_path / "first.jsonl"]))
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"four/first"}
    assert result["four/first"]["traces"] == len(read_labeled(tmp_path / "four.jsonl"))
    assert 0.5 < result["four/first"]["labels"] <= 1
    assert result["four/first"]["value_rmse"] is None
    refuses(scripts, "no trace in common", "data/compare_labels.py", labels=[tmp_path / "four.jsonl", other])
    changed = [row | {"completions": [*row["completions"][:-1], "#### 0"]} for row in rows_of(tmp_path / "four.jsonl")]
    other = write(tmp_path / "other.jsonl", *map(json.dumps, changed))
    refuses(scripts, "has other steps in the other", "data/compare_labels.py", labels=[tmp_path / "four.jsonl", other])
    twice = [row | {"index": 0} for row in rows_of(tmp_path / "four.jsonl")]
    other = write(tmp_path / "other.jsonl", *map(json.dumps, twice))
    refuses(scripts, "in a column `index`", "data/compare_labels.py", labels=[other, tmp_path / "four.jsonl"])


def test_what_run_search_refuses(scripts, verifiers, tmp_path):
    prm = f"prm={verifiers['prm']}"
    flags = GENERATOR | {"problems": "arithmetic", "limit": 2, "output_dir": tmp_path / "out", "verifiers": prm}
    empty = write(tmp_path / "empty.jsonl")
    own = write(tmp_path / "own.py", "x = 1")
    for message, changes in {
        f"{empty} holds no row": {"problems": empty},
        "--verifiers: mine twice, a and b; give one of them another name": {"verifiers": ["mine=a", "mine=b"]},
        "prm_config.json is missing": {"verifiers": f"prm={tmp_path}"},
        "must be name=path, such as prm=outputs/prm": {"verifiers": verifiers["prm"]},
        f"{own} has no 'Mine'": {"verifiers": f"mine={own}:Mine"},
        "its kind is prm; swap the two, or give it another name": {"verifiers": f"orm={verifiers['prm']}"},
        "width 4 needs a budget of at least as many samples, not 2": {
            "samples": 2,
            "methods": "beam_search prm",
        },
        "no strategy 'best_of', did you mean 'best_of_n'?": {"methods": "best_of prm"},
        "no verifier 'orm', did you mean 'prm'?": {"methods": "best_of_n orm"},
        "beam_search has no parameter 'wide', did you mean 'width'?": {"methods": "beam_search prm wide=2"},
        "prm_best_of_n twice; leave one out": {"methods": ["best_of_n prm", "best_of_n prm"]},
        "best_of_n asks for scores; name a verifier after it: best_of_n prm": {"methods": "best_of_n"},
        "--verifiers prm: was trained on traces divided by the step rule line, the generator divides by paragraph; give"
        " --step_rule line": {"step_rule": "paragraph"},
    }.items():
        refuses(scripts, message, "eval/run_search.py", **flags | changes)
        assert not (tmp_path / "out" / "results.jsonl").exists()


OFFLINE = """
import runpy, socket, sys

class Blocked(socket.socket):
    def __init__(self, *args, **kwargs):
        raise RuntimeError("a socket was opened")

def blocked(*args, **kwargs):
    raise RuntimeError("a name was looked up")

socket.socket, socket.getaddrinfo, socket.create_connection = Blocked, blocked, blocked
sys.modules["wandb"] = None  # as if it were not installed

import prm
assert "torch" not in sys.modules

sys.argv = ["data/sample_traces.py", "--generator", "arithmetic", "--problems", "arithmetic", "--limit", "2",
            "--samples", "2", "--max_new_tokens", "80", "--output", sys.argv[1]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_sampling_opens_no_socket(root, tmp_path):
    """Nor does `import prm`; and wandb need not be there."""
    output = tmp_path / "traces.jsonl"
    command = [sys.executable, "-c", OFFLINE, output]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(output)) == 4


def test_the_traces_that_fool_a_verifier_are_mined_and_labeled(scripts, verifiers, tmp_path):
    run, mined = tmp_path / "search", tmp_path / "mined.jsonl"
    flags = search_flags(verifiers, run) | {"split": "train", "samples": 8, "methods": ["majority", "best_of_n prm"]}
    ok(scripts.run("eval/run_search.py", **flags))
    done = ok(scripts.run("data/mine_traces.py", run=run, verifier="prm", per_problem=2, output=mined))
    rows = {}
    for row in read_traces(mined):
        rows.setdefault(row.problem.id, []).append(row.trace)

    # A reference: of each problem the wrong texts in descending order of scores, then as many right ones.
    for row in read_runs([run]).rows:
        result = row.results[1]
        score = {t.steps: s.trace for t, s in zip(result.candidates, result.scores, strict=True) if s is not None}
        right = {t.steps: t.correct for t in result.candidates}
        ranked = sorted(score, key=lambda steps: -score[steps])
        wrong = [steps for steps in ranked if right[steps] is False][:2]
        expected = wrong + [steps for steps in ranked if right[steps]][: len(wrong)]
        assert [trace.steps for trace in rows.pop(row.problem.id, [])] == expected
    assert not rows
    assert re.search(r"mined\.jsonl: \d+ wrong and \d+ right traces of \d of 7 problems", done.stdout)

    # The sampler of the run is that of the labels, without a flag.
    ok(scripts.run("data/label_steps.py", traces=mined, rollouts=1, output=tmp_path / "labeled.jsonl"))
    assert len(read_labeled(tmp_path / "labeled.jsonl")) == len(read_traces(mined))

    for change, message in (
        ({"verifier": "orm"}, "no method of the run chooses from independent samples by 'orm'; --verifier may be prm"),
        ({"run": tmp_path / "none"}, "none does not exist"),
    ):
        done = scripts.run("data/mine_traces.py", **({"run": run, "verifier": "prm", "output": mined} | change))
        assert done.code != 0
        assert message in done.last_line


def test_problems_of_a_report_are_not_mined(scripts, verifiers, tmp_path):
    run = tmp_path / "search"
    ok(scripts.run("eval/run_search.py", **search_flags(verifiers, run), methods=["best_of_n prm"]))
    done = scripts.run("data/mine_traces.py", run=run, verifier="prm", output=tmp_path / "mined.jsonl")
    assert done.code != 0
    assert done.last_line.endswith(
        "searched the test split; what is learned of must not be reported on: search --split train"
    )


def test_published_verifiers_search(scripts, verifiers, root, tmp_path):
    """A family on the command line, one that is a YAML file, and an implicit PRM: the embedded generator against a copy."""
    import torch

    from prm.models.loading import load_model_and_tokenizer

    base = root / "prm" / "assets" / "arithmetic_generator"
    model, tokenizer = load_model_and_tokenizer(str(base))
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i))
    model.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    layout = {"form": "text", "separator": "\n", "prompt": {"text": "{prompt}\n", "chat": False}}
    implicit = {"like": "implicit", "reference": str(base), "codec": layout}
    (tmp_path / "implicit.yaml").write_text(yaml.safe_dump(implicit))
    named = {"trl": f"trl:{verifiers['prm']}", "implicit": f"{tmp_path}/implicit.yaml:{tmp_path}/policy"}
    methods = ["best_of_n trl", "beam_search trl width=2", "best_of_n implicit", "beam_search implicit width=2"]
    run = tmp_path / "search"
    ok(scripts.run("eval/run_search.py", **search_flags(named, run, limit=2, methods=methods)))
    for name, method in (("trl", 0), ("implicit", 2)):
        verifier = load_verifier(named[name])
        for row in rows_of(run / "results.jsonl"):
            result, steps_N = row["results"][method], [candidate["completions"] for candidate in row["candidates"][:4]]
            expected = [its.steps for its in verifier.score_batch([row["prompt"]] * 4, steps_N)]
            assert result["scores"] == [pytest.approx(scores, abs=1e-5) for scores in expected]
            assert row["results"][method + 1]["cost"]["verifier_tokens"] > 0
