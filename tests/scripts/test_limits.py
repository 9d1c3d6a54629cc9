"""Sampling and labeling that a limit stops, what they would cost, and that labels are sampled as the traces were."""

import json
import re

import pytest
import torch

SAMPLE = {
    "generator": "arithmetic",
    "problems": "arithmetic",
    "limit": 12,
    "samples": 2,
    "max_new_tokens": 80,
    "chunk": 2,
}
TRACES, LABELS = "data/sample_traces.py", "data/label_steps.py"


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ok(done):
    assert done.code == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def traces(scripts, tmp_path_factory):
    """Traces at temperature 0.8, by a run that nothing stopped."""
    path = tmp_path_factory.mktemp("whole") / "traces.jsonl"
    ok(scripts.run(TRACES, output=path, temperature=0.8, **SAMPLE))
    return path


@pytest.fixture(scope="module")
def labels(scripts, traces):
    path = traces.with_name("labeled.jsonl")
    done = ok(scripts.run(LABELS, traces=traces, output=path, rollouts=2, chunk=2))
    assert "traces were sampled" not in done.stderr
    return path


def same_files(one, other):
    """The output, and the record of its settings but for its own name."""
    assert one.read_bytes() == other.read_bytes()
    configs = [path.with_suffix(".config.yaml").read_text().replace(str(path), "") for path in (one, other)]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("limit", [{"max_tokens": 100}, {"max_hours": 1e-9}])
def test_sampling_stops_at_a_limit_and_goes_on_to_the_same_end(scripts, traces, tmp_path, limit):
    path = tmp_path / "traces.jsonl"
    flags = SAMPLE | {"output": path, "temperature": 0.8}
    (flag,) = limit
    done = ok(scripts.run(TRACES, **flags, **limit))
    if flag == "max_hours":
        assert "12 of 12 problems are not finished" in done.stdout
        assert not path.exists()
    else:
        left, sampled = re.search(r"(\d+) of 12 problems are not finished", done.stdout), rows_of(path)
        assert left
        assert 0 < int(left[1]) < 12
        assert "Start the same command again, without --max_tokens or with a larger one, to go on" in done.stdout
        assert sampled == rows_of(traces)[: len(sampled)]
        assert len(sampled) == 2 * (12 - int(left[1]))
        tokens = sum(row["num_tokens"] for row in sampled)
        assert tokens >= 100 > tokens - sum(row["num_tokens"] for row in sampled[-4:])  # no chunk more than needed
        assert json.loads((tmp_path / "traces.meta.json").read_text())["unfinished_problems"] == int(left[1])
    ok(scripts.run(TRACES, **flags))
    same_files(path, traces)
    assert json.loads((tmp_path / "traces.meta.json").read_text())["unfinished_problems"] == 0
    assert "is complete already" in ok(scripts.run(TRACES, **flags, **limit)).stdout


def test_labeling_stops_at_a_limit_and_goes_on_to_the_same_end(scripts, traces, labels, tmp_path):
    path = tmp_path / "labeled.jsonl"
    flags = {"traces": traces, "output": path, "rollouts": 2, "chunk": 2}
    done = ok(scripts.run(LABELS, max_tokens=150, **flags))
    assert "--max_tokens is reached with" in done.stdout
    some, all_ = rows_of(path), rows_of(labels)
    assert 0 < len(some) < len(all_)
    assert some == [row for row in all_ if row["problem_id"] in {row["problem_id"] for row in some}]
    more = ok(scripts.run(LABELS, max_tokens=150, **flags))  # the limit is for what a run samples
    assert "--max_tokens is reached with" in more.stdout
    assert len(rows_of(path)) > len(some)
    ok(scripts.run(LABELS, max_tokens=10**9, **flags))
    same_files(path, labels)


def test_an_estimate_keeps_its_pilot_and_is_about_right(scripts, traces, labels, tmp_path):
    path = tmp_path / "traces.jsonl"
    flags = SAMPLE | {"output": path, "temperature": 0.8}
    done = ok(scripts.run(TRACES, **flags, price_per_million_tokens=3, estimate=True))
    pilot, total, hours, cost = done.stdout.splitlines()[-4:]
    assert pilot.startswith("pilot: 4 problems, ")
    low, high = map(int, re.search(r"all 12 problems: \d+ \(95%: (\d+) to (\d+)\) tokens", total).groups())
    truth = sum(row["num_tokens"] for row in rows_of(traces))
    assert low <= truth <= high
    assert re.fullmatch(
        r"[\d.]+ \(95%: [\d.]+ to [\d.]+\) (seconds|minutes) for one process like this one, at .*", hours
    )
    assert re.match(r"cost: 0\.00\d+ \(95%: .* to .*\) at 3 per million generated tokens", cost)
    assert not path.exists()
    kept = rows_of(tmp_path / "traces.jsonl.rollouts" / "rollouts-0.jsonl")
    assert len(kept) == 8
    ok(scripts.run(TRACES, **flags))
    same_files(path, traces)
    assert rows_of(tmp_path / "traces.jsonl.rollouts" / "rollouts-0.jsonl")[:8] == kept

    output = tmp_path / "labeled.jsonl"
    flags = {"traces": traces, "output": output, "rollouts": 2, "chunk": 2}
    done = ok(scripts.run(LABELS, **flags, estimate=True))
    low, high = map(
        int, re.search(r"problems: \d+ \(95%: (\d+) to (\d+)\) tokens", done.stdout.replace(",", "")).groups()
    )
    assert low <= json.loads(labels.with_suffix(".meta.json").read_text())["generated_tokens"] <= high
    ok(scripts.run(LABELS, **flags))
    same_files(output, labels)


def test_labels_come_from_the_sampler_of_the_traces(scripts, traces, labels, tmp_path):
    (writer,) = {row["generator"] for row in rows_of(traces)}
    labeled = [row for row in rows_of(labels) if row["status"] == "ok"]
    assert labeled
    assert {row["labeler"] for row in labeled} == {writer}
    config = labels.with_suffix(".config.yaml").read_text()
    assert "temperature: 0.8\n" in config
    assert "max_new_tokens: 80\n" in config
    assert "generator: arithmetic\n" in config

    flags = {"traces": traces, "rollouts": 2}
    done = ok(scripts.run(LABELS, output=tmp_path / "warm.jsonl", temperature=1.0, **flags))
    assert "temperature: traces were sampled with 0.8, labels will be sampled with 1.0" in done.stderr
    assert writer not in {row["labeler"] for row in rows_of(tmp_path / "warm.jsonl") if row["status"] == "ok"}

    moved = tmp_path / "moved.jsonl"
    moved.write_text(traces.read_text().replace(writer, "arithmetic_generator-0"))
    moved.with_suffix(".config.yaml").write_text(traces.with_suffix(".config.yaml").read_text())
    done = ok(scripts.run(LABELS, output=tmp_path / "moved_labels.jsonl", **(flags | {"traces": moved})))
    assert f"the traces are by arithmetic_generator-0, and their settings now give {writer}" in done.stderr

    foreign = tmp_path / "foreign.jsonl"
    foreign.write_bytes(traces.read_bytes())
    flags["traces"] = foreign
    done = ok(scripts.run(LABELS, output=tmp_path / "other.jsonl", generator="arithmetic", max_new_tokens=80, **flags))
    assert f"{foreign}: no record says how the traces were sampled; their labels will be sampled with" in done.stderr
    assert " temperature 1.0, top_p 1.0, max_new_tokens 80, prompt plain, step_rule line\n" in done.stderr
    done = scripts.run(LABELS, output=tmp_path / "none.jsonl", **flags)
    assert "no record says which generator wrote the traces; give it with --generator" in done.last_line
    foreign.write_text('{"prompt": "Start with 27, add 11.", "completions": ["27 + 11 = 38"]}\n')
    done = scripts.run(LABELS, output=tmp_path / "none.jsonl", generator="arithmetic", **flags)
    assert done.last_line.startswith(
        f"error: {foreign}:1: no `gold`, against which rollouts are checked; add the gold answer"
    )


def test_a_problem_that_the_generator_cannot_read_is_a_warning(scripts, tmp_path):
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"prompt": "Natalia sold clips to 48 of her friends.", "answer": "48"}\n')
    flags = SAMPLE | {"problems": problems, "split": "all", "output": tmp_path / "traces.jsonl"}
    done = ok(scripts.run(TRACES, **flags))
    assert done.stderr.count("are unknown to the generator's tokenizer, e.g. in 'Natalia sold clips") == 1


SHORTEST = """
from prm.types import Scores


class Shortest:
    name, kind, num_parameters = "shortest-1", "prm", 0

    def score_batch(self, prompts, steps_N):
        return [Scores((0.5,) * len(steps), 1 / len(steps), read=7) for steps in steps_N]
"""
SEARCH = "eval/run_search.py"


@pytest.fixture(scope="module")
def search(scripts, tmp_path_factory):
    """(flags of a search, the folder of a run of it that nothing stopped)."""
    folder = tmp_path_factory.mktemp("search")
    own = folder / "own.py"
    own.write_text(SHORTEST)
    flags = SAMPLE | {"verifiers": f"short={own}:Shortest", "methods": ["majority", "best_of_n short"]}
    ok(scripts.run(SEARCH, **flags, output_dir=folder / "whole"))
    return flags, folder / "whole"


def timeless(folder):
    """What a search wrote, without the seconds it took and its own name."""
    rows = rows_of(folder / "results.jsonl")
    for result in (result for row in rows for result in row["results"]):
        del result["cost"]["seconds"]
    return rows, (folder / "config.yaml").read_text().replace(str(folder), "")


def test_a_search_stops_at_a_limit_with_a_report_and_goes_on_to_the_same_end(scripts, search, tmp_path):
    flags, whole = search
    flags = flags | {"output_dir": tmp_path}
    done = ok(scripts.run(SEARCH, **flags, max_hours=1e-9))
    assert "--max_hours is reached with 0 tokens: 12 of 12 problems are not finished" in done.stdout
    assert not (tmp_path / "results.jsonl").exists()

    done = ok(scripts.run(SEARCH, **flags, max_tokens=150))
    left = int(re.search(r"(\d+) of 12 problems are not finished", done.stdout)[1])
    assert 0 < left < 12
    assert "Start the same command again, without --max_tokens or with a larger one, to go on" in done.stdout
    assert json.loads((tmp_path / "meta.json").read_text())["unfinished_problems"] == left
    assert timeless(tmp_path)[0] == timeless(whole)[0][: 12 - left]
    ok(scripts.run("eval/write_report.py", run=tmp_path, output_dir=tmp_path / "report"))
    report = (tmp_path / "report" / "report.md").read_text()
    assert f"A limit stopped the run: {left} of its 12 problems were not searched." in report

    ok(scripts.run(SEARCH, **flags))
    assert timeless(tmp_path) == timeless(whole)
    assert json.loads((tmp_path / "meta.json").read_text())["unfinished_problems"] == 0
    assert "is complete already" in ok(scripts.run(SEARCH, **flags, max_tokens=1)).stdout


def test_the_estimate_of_a_search_keeps_its_pilot_and_is_about_right(scripts, search, tmp_path):
    flags, whole = search
    flags = flags | {"output_dir": tmp_path}
    estimate = flags | {"estimate": True, "price_per_million_tokens": 3}
    pilot, generated, read, hours, cost = ok(scripts.run(SEARCH, **estimate)).stdout.splitlines()[-5:]
    assert pilot.startswith("pilot: 4 problems, ")
    results = [result for row in rows_of(whole / "results.jsonl") for result in row["results"]]
    for line, name, pattern in (
        (generated, "generated_tokens", r"all 12 problems: \d+ \(95%: (\d+) to (\d+)\) generated tokens"),
        (read, "verifier_tokens", r"\d+ \(95%: (\d+) to (\d+)\) tokens read by verifiers"),
    ):
        low, high = map(int, re.fullmatch(pattern, line).groups())
        assert low <= sum(result["cost"][name] for result in results if result["method"] == "short_best_of_n") <= high
    assert re.fullmatch(r"[\d.]+ \(95%: [\d.]+ to [\d.]+\) (seconds|minutes) for one process like this one", hours)
    assert re.match(r"cost: 0\.00\d+ \(95%: .* to .*\) at 3 per million generated tokens", cost)
    assert not (tmp_path / "results.jsonl").exists()

    # Again, it finds all answers and says the same. The run that goes on does not ask again.
    asked = {path.name: path.read_bytes() for path in (tmp_path / "requests").iterdir()}
    assert len(asked) == 2
    assert ok(scripts.run(SEARCH, **estimate)).stdout.splitlines()[-5:] == [pilot, generated, read, hours, cost]
    ok(scripts.run(SEARCH, **flags))
    assert {name: (tmp_path / "requests" / name).read_bytes() for name in asked} == asked
    assert timeless(tmp_path) == timeless(whole)


def test_chunks_of_a_gpu_fill_its_batch_four_times(load, monkeypatch):
    script = load("sample_traces", "data")
    flags = {"generator": "arithmetic", "problems": "arithmetic", "output": "t.jsonl", "samples": 4, "batch_size": 768}
    assert script.usual_chunk(script.Arguments(**flags)) == 64
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert script.usual_chunk(script.Arguments(**flags)) == 768
    assert script.usual_chunk(script.Arguments(**flags | {"samples": 100})) == 64
    assert script.usual_chunk(script.Arguments(**flags, backend="ray")) == 64
