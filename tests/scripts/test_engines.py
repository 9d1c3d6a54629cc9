"""Labeling from an OpenAI-compatible server that fails, stops and comes back: nothing is lost, every retry is counted. And a
search whose verifier is served."""

import ast
import json

import pytest
from exported_verifiers import make_verifier
from pooling_server import PoolingServer, plain_rows

from prm.datasets.arithmetic import build_tokenizer
from prm.generators import load_generator
from prm.verifiers.export import export_verifier

LABEL = {"engine": "openai", "max_new_tokens": 80, "rollouts": 2, "chunk": 2}
IMPATIENT = """
import runpy, sys

from prm.generators import endpoint

endpoint.FIRST_WAIT, endpoint.LONGEST_WAIT = 0.02, 0.1
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A script that waits milliseconds before it tries again."""


@pytest.fixture(scope="module")
def embedded(root):
    return str(root / "prm/assets/arithmetic_generator")


@pytest.fixture(scope="module")
def traces(scripts, tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    flags = {"generator": "arithmetic", "problems": "arithmetic", "limit": 4, "samples": 1, "max_new_tokens": 80}
    assert scripts.run("data/sample_traces.py", output=path, **flags).code == 0
    return path


def test_a_faulty_server_costs_retries_and_nothing_else(scripts, openai_server, embedded, traces, tmp_path):
    model = load_generator("arithmetic")
    flags = LABEL | {"traces": traces, "tokenizer": embedded}
    with openai_server(model.model, model.tokenizer) as server:
        done = scripts.run("data/label_steps.py", generator=server.url, output=tmp_path / "whole.jsonl", **flags)
        assert done.code == 0, done.stderr
    faults = ["429", None, "500", None, "half", None, "garbage", None, "hang", None]
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    with openai_server(model.model, model.tokenizer, faults=faults, hang_seconds=0.3) as server:
        flags |= {"generator": server.url, "output": tmp_path / "faulty.jsonl"}
        words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
        done = scripts.wait(scripts.start_words([str(tmp_path / "impatient.py"), "data/label_steps.py", *words]))
        assert done.code == 0, done.stderr
        served = server.served
    assert (tmp_path / "faulty.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    report = ast.literal_eval(done.stdout.splitlines()[-1].removeprefix("the engine reports "))
    failed = sum(count for fault, count in served.items() if fault in ("429", "500", "half", "garbage"))
    assert sum(count for cause, count in report.items() if cause.startswith("retry")) >= failed > 5
    assert report["retry: status 429"] == served["429"]

    def rollouts(name):
        lines = (tmp_path / f"{name}.jsonl.rollouts" / "rollouts-0.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    assert rollouts("faulty") == rollouts("whole")


def test_a_dead_server_is_an_error_in_bounded_time_and_the_run_goes_on_later(
    scripts, openai_server, embedded, traces, tmp_path
):
    model = load_generator("arithmetic")
    flags = LABEL | {"traces": traces, "tokenizer": embedded, "output": tmp_path / "labeled.jsonl", "patience": 2}
    with openai_server(model.model, model.tokenizer) as server:
        url, stop = server.url, server.stop
        pid = scripts.start("data/label_steps.py", generator=url, **flags)
        index = tmp_path / "labeled.jsonl.rollouts" / "rollouts-0.index"
        while not index.exists() or not index.read_bytes():
            pass
        stop()
        done = scripts.wait(pid)
        assert done.code != 0
        assert url in done.stderr
        assert "start again" in done.last_line or "again" in done.last_line
        before = index.read_bytes()
        server.start()
        done = scripts.run("data/label_steps.py", generator=url, **flags)
        assert done.code == 0, done.stderr
        assert index.read_bytes().startswith(before)
    assert len((tmp_path / "labeled.jsonl").read_text().splitlines()) == 4


def test_a_search_with_a_served_verifier_chooses_as_with_the_one_here(scripts, tmp_path):
    """Weights, requests and tokens of the twin are elsewhere; what is chosen, and what it costs, is the same."""
    path = make_verifier(tmp_path / "prm", "llama", build_tokenizer())
    export_verifier(path, str(tmp_path / "twin"), "sequence_classification")
    flags = {"generator": "arithmetic", "problems": "arithmetic", "limit": 3, "samples": 4, "max_new_tokens": 80}
    flags |= {"methods": ["best_of_n prm", "beam_search prm width=2"]}
    with PoolingServer(plain_rows(str(tmp_path / "twin")), length=200) as server:
        where = {"here": path, "served": f"{tmp_path / 'twin'}@{server.url}"}
        for name, verifier in where.items():
            done = scripts.run("eval/run_search.py", verifiers=f"prm={verifier}", output_dir=tmp_path / name, **flags)
            assert done.code == 0, done.stderr
        assert server.requests
    rows = {
        name: [json.loads(line) for line in (tmp_path / name / "results.jsonl").read_text().splitlines()]
        for name in where
    }
    assert len(rows["here"]) == 3
    for here, there in zip(rows["here"], rows["served"], strict=True):
        for one, other in zip(here["results"], there["results"], strict=True):
            assert one["chosen"] == other["chosen"]
            counts = [name for name in one["cost"] if name.endswith(("tokens", "calls"))]
            assert len(counts) == 8
            assert [one["cost"][name] for name in counts] == [other["cost"][name] for name in counts]
