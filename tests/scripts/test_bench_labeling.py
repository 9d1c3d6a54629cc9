"""The labeling benchmark and study at a size of seconds: they run, count what they should and end with their JSON."""

import json
import shlex
import sys

import pytest

from prm.command_line import run_script


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_benchmark(load, scripts, tmp_path, monkeypatch, capsys):
    def generators_bench(command):
        done = scripts.wait(scripts.start_words(shlex.split(command)))
        return json.loads(done.stdout.splitlines()[-1])

    bench = load("bench_labeling")
    monkeypatch.setattr(bench, "last_json", generators_bench)
    monkeypatch.setattr(bench, "LONG", 2)
    monkeypatch.setattr(bench, "UNIFORM", (8, 16))
    monkeypatch.setattr(bench, "TOLERANCES", (0.2, 0.06))
    monkeypatch.setattr(bench, "GENERATORS", "eval/bench_generators.py --limit 1 --rounds 1 --rollouts 2")
    arguments = ["--output_dir", str(tmp_path), "--num_problems", "4", "--reference", "16"]
    monkeypatch.setattr(sys, "argv", ["bench_labeling.py", *arguments])
    run_script(bench.main, bench.Arguments)
    result = last_json(capsys)
    assert result["traces"] == 16
    assert result["first_error_token_ratio"] > 2
    assert result["adaptive_token_ratio"] > 1
    assert "first_error_wall_ratio" in result
    assert 0.3 < result["exhaustive_accuracy"] <= 1
    assert result["generate_speedup"] > 0
    assert result["process_speedup"] == 2.0  # by the clock of the fixture
    assert (tmp_path / "labeling.png").stat().st_size > 10_000
    for name in ("monte_carlo@8", "first_error"):  # one store, so the rollouts of both are the same
        meta = json.loads((tmp_path / f"{name}.meta.json").read_text())
        assert meta["generated_tokens"] > 0


def test_the_ratio_at_equal_error_is_interpolated(load):
    """Uniform has error 0.1 at 1000 tokens. Adaptive has 0.2 at 100 and 0.05 at 400: 0.1 is in the middle, at 200."""
    bench = load("bench_labeling")
    results = {f"adaptive@{t}": {"rmse": 0.9, "tokens": 1} for t in bench.TOLERANCES}
    results |= {"adaptive@0.2": {"rmse": 0.2, "tokens": 100}, "adaptive@0.15": {"rmse": 0.05, "tokens": 400}}
    results["monte_carlo@16"] = {"rmse": 0.1, "tokens": 1000}
    assert bench.adaptive_ratio(results) == pytest.approx(5.0)
    results["monte_carlo@16"]["rmse"] = 0.01
    with pytest.raises(ValueError, match="no tolerance of"):
        bench.adaptive_ratio(results)
    assert [bench.is_before(a, b) for a, b in ((1, 2), (2, 1), (1, -1), (-1, 1), (-1, -1))] == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_study(load, tmp_path, monkeypatch, capsys):
    """Everything but the training: what is labeled for a budget, and what is made of the choices of a verifier."""
    study = load("study_labeling")
    run = study.run_quietly
    trained = []

    def without_training(command):
        if command.startswith("recipes/train_prm.py"):
            trained.append(command)
            (tmp_path / "checkpoint").mkdir()
        else:
            run(command)

    monkeypatch.setattr(study, "run_quietly", without_training)
    monkeypatch.setattr(study, "best_of_16", lambda checkpoint, candidates: [1.0, 0.0, len(trained) / 2] * 4)
    monkeypatch.setattr(study, "METHODS", {name: study.METHODS[name] for name in ("monte_carlo@8", "first_error")})
    monkeypatch.setattr(study, "VARIANTS", [("monte_carlo@8", "hard"), ("first_error", "hard")])
    monkeypatch.setattr(study, "PROBE", 2)
    arguments = ["--output_dir", str(tmp_path), "--tokens", "4000", "--num_problems", "10", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["study_labeling.py", *arguments])
    run_script(study.main, study.Arguments)
    result = last_json(capsys)
    assert set(result) == {"monte_carlo@8 hard", "first_error hard"}
    assert result["first_error hard"]["traces"] > result["monte_carlo@8 hard"]["traces"]
    assert result["monte_carlo@8 hard"]["best_of_16"][0] == 0.5
    assert result["monte_carlo@8 hard"]["gain"] == [0, 0, 0]
    assert result["first_error hard"]["gain"][0] == pytest.approx(0.5 / 3, abs=1e-4)
    run_script(study.main, study.Arguments)
    assert last_json(capsys) == result
    assert len(trained) == 2  # a finished run is not repeated
