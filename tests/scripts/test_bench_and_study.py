"""Benchmarks and studies run, agree with themselves and end with the JSON that they promise. What they measure at full
size is in eval/README.md and recipes/README.md; times are not asserted."""

import json
import random
import re
import sys

import pytest
from scripted_run import scripted_run

from prm.command_line import TRAINING_ARGUMENTS, flags_of, library_flags, parse, run_script
from prm.datasets import arithmetic
from prm.evaluation.menus import menu_of
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row
from prm.types import Cost, LabeledTrace, Scores, SearchResult, Trace


def last_json(done):
    assert done.code == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_generators(scripts):
    result = last_json(scripts.run("eval/bench_generators.py", limit=2, rollouts=2, rounds=1, max_new_tokens=30))
    assert result["generate_speedup"] > 0
    assert result["generator"] == "arithmetic"


def test_scoring(scripts):
    result = last_json(scripts.run("eval/bench_scoring.py", model="tiny", candidates=8, rounds=1))
    assert result["largest_difference"] < 1e-5  # the padded rows of the baseline are scored alike
    assert {"speedup_padded", "speedup_per_step"} <= result.keys()


def test_search(scripts):
    result = last_json(scripts.run("eval/bench_search.py", model="tiny", steps=8, rounds=1))
    assert result["largest_difference"] < 1e-5  # what is kept changes no score, against the padded rows of the baseline
    assert result["verifier_token_ratio"] > 5
    assert result["verifier_speedup"] > 0
    ours, padded = ([tokens[way] for tokens in result["tokens"].values()] for way in ("ours", "padded"))
    # From 8 to 16 steps there are twice as many new ones as from 4 to 8.
    assert 1.8 < (ours[2] - ours[1]) / (ours[1] - ours[0]) < 2.2
    assert (padded[2] - padded[1]) / (padded[1] - padded[0]) > 2.5
    assert result["generator_largest_difference"] < 1e-5
    assert result["generator_prefill_ratio"] > 8  # at every step one token of a beam instead of all of them
    assert result["generator_speedup"] > 0


def test_growth(load, monkeypatch, capsys):
    bench = load("bench_growth")
    smallest = {"answers_different": 3, "verdicts": 4, "majority": 40, "beam": 2, "training_input": 8, "browser": 2}
    monkeypatch.setattr(bench, "LINES", {name: (smallest.get(name, 4), its) for name, (_, its) in bench.LINES.items()})
    monkeypatch.setattr(bench, "STARTS", {"load_verifier": lambda: bench.seconds_of("-c", "pass")})
    monkeypatch.setattr(sys, "argv", ["bench_growth.py", "--sizes", "1", "2", "--rounds", "1"])
    run_script(bench.main, bench.Arguments)
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert list(rows) == [*bench.LINES, "load_verifier"]
    assert rows["majority"]["sizes"] == [40, 80]
    assert all(len(its["seconds"]) == 2 and "exponent" in its for name, its in rows.items() if name != "load_verifier")
    assert rows["browser"]["shown"] == 3
    assert 0 < rows["training_input"]["bytes_per_token"] < 40  # of so few rows mostly that of the columns themselves
    assert 5e6 < rows["labeling"]["tokens"] < 3e7  # of eight problems with ten million each
    if "ray" in rows:  # a unit's problems, and no rollouts
        assert rows["ray"]["bytes_sent"] < 20_000
    monkeypatch.setattr(sys, "argv", ["bench_growth.py", "--only", "nothing"])
    with pytest.raises(SystemExit, match="--only nothing: the parts are answers_different"):
        run_script(bench.main, bench.Arguments)


def test_training(scripts):
    result = last_json(scripts.run("eval/bench_training.py", model="tiny", num_problems=1, rounds=1))
    assert {"speedup_gsm8k", "speedup_tree", "flop_utilization"} <= result.keys()
    assert result["token_ratio_tree"] > result["token_ratio_gsm8k"] > 2
    assert result["memory_ratio_gsm8k"] < 0.5


def test_step_cost(scripts, tmp_path):
    picture = tmp_path / "cost.png"
    points = last_json(scripts.run("eval/bench_step_cost.py", shape="tiny", vocabularies=[512, 1024], picture=picture))
    assert [x for x, _ in points["full-vocabulary logits"]] == [512, 1024]
    assert [x for x, _ in points["packed tree"]] == [1, 2, 4, 8, 16]
    assert all(milliseconds > 0 for pairs in points.values() for _, milliseconds in pairs)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_gpu(load, scripts, monkeypatch, tmp_path, capsys):
    """On the CPU at a tiny shape: every row that needs no GPU is measured beside its baseline, and the others say so."""
    bench = load("bench_gpu")

    def run_for(seconds, command, env):
        assert 0 < seconds <= 60 * 9
        done = scripts.wait(scripts.start_words(command))
        return done.code, done.stdout if done.code == 0 else done.stderr

    monkeypatch.setattr(bench, "run_for", run_for)
    flags = ["--device", "cpu", "--shapes", "tiny", "--minutes", "9", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", *flags])
    run_script(bench.main, bench.Arguments)
    *table, last = capsys.readouterr().out.splitlines()
    rows = json.loads(last)["rows"]
    assert len(table) == 1 + len(rows) == 1 + len(bench.ROWS)
    gpu_only = {f"{row.name} tiny" for row in bench.ROWS if row.gpu_only}
    assert gpu_only == {name for name, row in rows.items() if row == {"left_out": "needs a GPU"}}
    measured = {name: row for name, row in rows.items() if name not in gpu_only}
    assert not [row for row in measured.values() if "failed" in row]
    assert len(measured) == 7
    assert rows["training tiny"]["difference_fp32"]["gradients"] < 1e-5  # exact, and against another implementation
    assert rows["training tiny"]["difference_fp32"]["logits"] < 1e-5
    assert rows["scoring tiny"]["largest_difference"] < 1e-5
    assert all(set(bench.rates_of(row)[0]) >= {"ours"} for row in measured.values())
    assert rows["rollouts tiny"]["same_rollouts"] == {"each_token": 1.0, "no_graph": 1.0, "growing": 1.0}
    assert set(rows["rollouts tiny"]["same_rollouts"]) <= set(rows["rollouts tiny"]["tokens_per_second"])
    (line,) = (line for line in table if line.startswith("rollouts tiny"))
    assert re.search(r" tokens/s .* each_token [\d,]+  no_graph [\d,]+  growing [\d,]+$", line)
    written = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {line.pop("row"): line for line in written} == rows


def test_gpu_rows_that_fail_or_have_no_time(load, monkeypatch, tmp_path, capsys):
    bench = load("bench_gpu")
    ends = iter([(1, "Traceback\nOutOfMemoryError: no room"), (None, "")])
    monkeypatch.setattr(bench, "run_for", lambda seconds, command, env: next(ends))
    args = bench.Arguments(minutes=1, device="cpu", shapes=["tiny"], rows=["training", "scoring"], output_dir=tmp_path)
    bench.main(args)
    *_, training, scoring, last = capsys.readouterr().out.splitlines()
    assert "failed: OutOfMemoryError: no room" in training
    assert "failed: ran into the end of 1 minutes" in scoring
    assert json.loads(last)["rows"]["training tiny"]["failed"] == "OutOfMemoryError: no room"
    bench.main(bench.Arguments(minutes=1e-9, device="cpu", shapes=["tiny"], rows=["training"], output_dir=tmp_path))
    assert "left out: no time was left of 1e-09 minutes" in capsys.readouterr().out


def test_ways_of_training(load, tmp_path, monkeypatch, capsys):
    rng = random.Random(0)
    rows = []
    for problem in arithmetic.load("train", 20):
        for index in range(2):
            steps = arithmetic.student_trace(problem.prompt, rng)
            labels = arithmetic.check_steps(problem.prompt, steps)
            trace = Trace(problem.id, steps, steps[-1], labels[-1], index=index)
            rows.append(
                labeled_to_row(problem, LabeledTrace(trace, labels, tuple(map(float, labels)), None, "", "value"))
            )
    write_jsonl(tmp_path / "labeled.jsonl", rows)
    study = load("study_training")
    arguments = ["--output_dir", str(tmp_path / "study"), "--labels", str(tmp_path / "labeled.jsonl")]
    arguments += ["--num_problems", "3", "--seeds", "1", "--variants", "hard linear frozen"]
    monkeypatch.setattr(sys, "argv", ["study_training.py", *arguments])
    run_script(study.main, study.Arguments)
    *_, line = capsys.readouterr().out.splitlines()
    numbers = json.loads(line)["hard linear frozen"]
    assert 0 <= numbers["best_of_16"]["mean"] <= 1
    assert numbers["best_of_16"]["sd"] == 0
    assert "| hard linear frozen | " in (tmp_path / "study" / "table.md").read_text()

    run_script(study.main, study.Arguments)
    again = capsys.readouterr().out
    assert again.splitlines()[-1] == line
    assert "1/1" not in again  # nothing was trained again

    write_jsonl(tmp_path / "labeled.jsonl", rows[:-1])
    with pytest.raises(SystemExit, match="holds runs on other data"):
        run_script(study.main, study.Arguments)


def test_every_way_of_training_is_one_of_the_trainer(load, root):
    """Its flags go with those of the config that the study gives."""
    study, train = load("study_training"), load("train_prm", "recipes")
    flags = flags_of(train.PrmArguments) | library_flags(TRAINING_ARGUMENTS)
    config = ["--config", str(root / "recipes/configs/prm_arithmetic.yaml")]
    for variant, words in study.VARIANTS.items():
        values = parse([*config, *words.split()], flags, train.main)
        own = {name: value for name, value in values.items() if name in flags_of(train.PrmArguments)}
        assert train.PrmArguments(**own).head in variant


def test_study_of_search(load, tmp_path, monkeypatch, capsys):
    """With step truth in the place of a PRM: its AUC is 1, and its beams are those of the ceiling."""
    study = load("study_search")
    monkeypatch.setattr(study, "load_verifier", lambda path: study.StepTruth(arithmetic.KIND))
    methods = ["beam_search prm", "beam_search truth", "particle_filtering prm", "cascade prm cheap=truth"]
    arguments = ["--verifier", "truth", "--output_dir", str(tmp_path), "--limit", "14", "--samples", "4", "--pool", "8"]
    monkeypatch.setattr(sys, "argv", ["study_search.py", *arguments, "--methods", *methods])
    run_script(study.main, study.Arguments)
    printed = capsys.readouterr().out
    prefixes, beams, compared, growth, mistakes = json.loads((tmp_path / "study.json").read_text()).values()
    assert [row[4] for row in prefixes[1:]] == ["1.000"] * 9  # 8 depths and the last step
    assert [int(row[1]) for row in beams[1:]] == [14, 14, 14, *range(12, 0, -2)]  # two problems of every level
    own, ceiling, particles, _ = compared[1:]
    assert own[1:] == ceiling[1:] != particles[1:]
    assert float(own[4][:-1]) > float(own[6][:-1]) > 0  # better than as many tokens of independent samples
    assert [row[0] for row in growth[1:]] == ["4", "8"]
    assert [row[0] for row in mistakes[1:]] == ["every sample", "best of 4", *methods]
    assert all(sum(float(cell[:-1]) for cell in row[1:]) == pytest.approx(100, abs=0.3) for row in mistakes[1:])
    assert "3 methods at equal generated tokens (N = 4)" in printed

    sampled = (tmp_path / "requests.journal").stat().st_size
    run_script(study.main, study.Arguments)
    assert capsys.readouterr().out == printed
    assert (tmp_path / "requests.journal").stat().st_size == sampled  # nothing was sampled again


def test_study_of_search_refuses_at_once_what_it_cannot_compare(load, tmp_path):
    study = load("study_search")
    args = study.Arguments("no such folder", output_dir=tmp_path, methods=["best_of_n prm"])
    with pytest.raises(ValueError, match="--methods 'best_of_n prm': best_of_n has no parameter `vote`"):
        study.main(args)


def test_independent_samples_at_equal_tokens(load):
    """Samples of 10 tokens: right with score 0.9, and two wrong ones that agree, with 0.5 each."""
    study = load("study_search")
    attempts = [("4", 0.9), ("5", 0.5), ("5", 0.5)]
    candidates = tuple(
        Trace("p", (f"#### {a}",), a, a == "4", num_tokens=10, index=i) for i, (a, _) in enumerate(attempts)
    )
    scores = tuple(Scores((score,), score) for _, score in attempts)
    pool = SearchResult("p", "best_of_n prm", "best_of_n", "prm", candidates, scores, 0, True, Cost())
    assert study.independent(0, pool, 10, vote=False) == pytest.approx(1 / 3)
    assert study.independent(0, pool, 11, vote=False) == pytest.approx(2 / 3)  # rounded up
    assert study.independent(0, pool, 30, vote=False) == 1
    assert study.independent(0, pool, 20, vote=True) == pytest.approx(2 / 3)
    assert study.independent(0, pool, 30, vote=True) == 0  # 1.0 against 0.9
    with pytest.raises(ValueError, match="31 tokens pay for 4 samples of p; raise --pool"):
        study.independent(0, pool, 31, vote=True)


def test_a_set_is_studied_with_its_own_generator(load):
    study = load("study_search")
    assert study.Arguments("outputs/prm", problems="arithmetic_hard").generator == "arithmetic_hard"
    assert study.Arguments("outputs/prm").generator == "arithmetic"
    assert (
        study.Arguments("outputs/prm", problems="arithmetic_hard", generator="outputs/mine").generator == "outputs/mine"
    )


def test_study_of_compute(load, tmp_path, monkeypatch, capsys):
    """Its stages have tests of their own; here its tables and pictures are made of scripted runs."""
    study = load("study_compute")
    small, large = scripted_run(verifier="prm"), scripted_run(verifier="prm")
    monkeypatch.delitem(study.TITLES, "arithmetic_hard")  # as the kind set
    runs = dict.fromkeys(study.TITLES, large) | {"small": small}
    large.meta["generator"] = {"name": "large", "num_parameters": 10 * small.meta["generator"]["num_parameters"]}
    monkeypatch.setattr(study, "read_runs", lambda folders: runs[folders[0].name])
    monkeypatch.setattr(study, "OUTPUT", tmp_path / "study")
    monkeypatch.setattr(study, "STAGES", {"nothing": "--version"})
    monkeypatch.setattr(study, "CHAINS", {"rebase prm": 2, "weighted_vote prm": 8})
    report = tmp_path / "study/arithmetic/report/report.html"
    report.parent.mkdir(parents=True)
    report.touch()
    study.main(study.Arguments())
    summary = json.loads((tmp_path / "study/summary.json").read_text())
    kind = summary["arithmetic"]
    assert summary["compute_saving_charged"] == kind["compute_saving_charged"]
    assert sum(its["problems"] for its in kind["by_difficulty"]["oracle"]) == 30
    assert summary["against_larger"]["larger"] == 10
    single = {case["rows"][0]["larger"]["mean"] for case in summary["against_larger"]["cases"]}
    assert single == {1 - sum(menu_of(large, "prm").oracle_P()) / 30}
    printed = capsys.readouterr().out
    assert "## Kind set: 30 test problems" in printed
    assert "## Against a model 10.0 times larger" in printed
    assert (tmp_path / "study/study.md").read_text() in printed
    pictures = {path.name for path in (tmp_path / "study").glob("*.png")}
    assert {"arithmetic_methods.png", "revisions_ratios.png", "against_larger.png"} <= pictures
    assert len(pictures) == 3 * 3 + 2
    page = (tmp_path / "study/study.html").read_text()
    assert page.count("data:image/png;base64,") == len(pictures)
    assert "<h2>Kind set: 30 test problems</h2>" in page
    assert re.findall('<a href="(.*?)"', page) == ["arithmetic/report/report.html"]
    assert '"traces">[]</script>' in page
