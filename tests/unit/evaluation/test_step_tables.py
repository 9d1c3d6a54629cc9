"""The tables of the benchmarks, cell by cell, from figures that are made up."""

import pytest

from prm.evaluation.step_tables import benchmark_sections, quality_sections, step_run_sections

NAN = float("nan")
NO_INTERVAL = {"low": None, "high": None}


def subset(traces, erroneous, f1, mistake):
    its = {"traces": traces, "erroneous": erroneous, "error_accuracy": 0.25, "correct_accuracy": 0.75, "f1": f1}
    return its | {"accuracy": 0.5, "f1_has_mistake": mistake, "f1_without_mistake": 0.1, "not_scored": 2} | NO_INTERVAL


def processbench():
    subsets = {"gsm8k": subset(1400, 1200, 0.375, 0.2), "math": subset(1000, 600, 0.5, 0.6)}
    official = {"subsets": subsets, "f1_average": 0.4375, "f1_row_weighted": 0.427, "what": "below 0.5"}
    lowest = official | {"f1_average": 0.3, "f1_row_weighted": None, "what": "the lowest"}
    return {"rules": {"official": official | {"low": 0.4, "high": 0.47512}, "lowest": lowest | NO_INTERVAL}}


def test_processbench():
    main, variants = benchmark_sections("processbench", processbench())
    assert main[1][1:] == [
        ["gsm8k", "1,400", "1,200", "25.0%", "75.0%", "37.5%", "–", "2"],
        ["math", "1,000", "600", "25.0%", "75.0%", "50.0%", "–", "2"],
        ["average F1", "2,400", "", "", "", "43.8%", "[40.0, 47.5]", ""],
    ]
    assert variants[1] == [
        ["which step is called wrong", "gsm8k", "math", "average F1", "row-weighted F1"],
        ["official", "37.5%", "50.0%", "43.8%", "42.7%"],
        ["lowest", "37.5%", "50.0%", "30.0%", "NaN"],
        ["accuracy", "50.0%", "50.0%", "50.0%", ""],
        ["F1 of has a mistake", "20.0%", "60.0%", "40.0%", ""],
        ["F1 without mistake", "10.0%", "10.0%", "10.0%", ""],
    ]
    assert "official: below 0.5; lowest: the lowest." in variants[2]


def test_a_mean_with_a_part_that_is_missing_is_missing():
    figures = processbench()
    figures["rules"]["official"]["subsets"]["math"]["accuracy"] = None
    _, variants = benchmark_sections("processbench", figures)
    assert variants[1][3] == ["accuracy", "50.0%", "NaN", "NaN", ""]


def test_prmbench():
    its = {"traces": 1000, "steps": 13000, "wrong_steps": 2, "f1": 0.9, "negative_f1": 0.4, "prm_score": 0.65}
    its |= {"not_scored": 3} | NO_INTERVAL
    groups = {"simplicity": 0.6, "soundness": 0.7, "sensitivity": NAN}
    figures = its | {"classes": {"circular": its | {"f1": 0.8}}, "groups": groups, "beyond": 5, "traces_beyond": 4}
    ((heading, table, note),) = benchmark_sections("prmbench", figures)
    assert heading == "PRMBench"
    assert table[1:] == [
        ["circular", "1,000", "13,000", "2", "80.0%", "40.0%", "65.0%", "–", "3"],
        ["overall", "1,000", "13,000", "2", "90.0%", "40.0%", "65.0%", "–", "3"],
        ["simplicity", "", "", "", "", "", "60.0%", "", ""],
        ["soundness", "", "", "", "", "", "70.0%", "", ""],
        ["sensitivity", "", "", "", "", "", "NaN", "", ""],
    ]
    assert "5 wrong steps of 4 traces" in note


def test_mr_gsm8k():
    its = {"traces": 1400, "wrong": 1300, "mcc": 0.25, "step_accuracy": 0.5, "mr_score_without_reasons": 0.2}
    its |= {"not_scored": 1} | NO_INTERVAL
    figures = {"types": {"original": its}, "all": its | {"low": 0.1, "high": 0.30049}}
    ((heading, table, _),) = benchmark_sections("mr_gsm8k", figures)
    assert heading == "MR-GSM8K"
    assert table[1:] == [
        ["original", "1,400", "1,300", "0.250", "–", "50.0%", "20.0%", "1"],
        ["all", "1,400", "1,300", "0.250", "[0.100, 0.300]", "50.0%", "20.0%", "1"],
    ]


def quality(low, high, last):
    depth = {"to": last, "steps": 1500, "right_steps": 0.5, "score": 0.25, "calibration_error": 0.125}
    return {
        "traces": 1234, "steps": 5678, "right_steps": 0.5, "auc_within_problem": 0.75, "low": low, "high": high,
        "auc": 0.625, "balanced_accuracy": 0.55, "calibration_error": NAN,
        "wrong_process": {"flagged": 0.5, "wrong_process": 1020, "flagged_right": 0.125},
        "by_depth": [depth | {"from": 17}, depth | {"from": 3, "to": 4}],
        "lowest_last": {"share": 0.5, "by_chance": 0.25, "by_truth": None},
        "bias": {"steps": 0.125, "steps_truth": -0.5, "characters": 0.0, "characters_truth": None},
    }  # fmt: skip


def test_the_quality_of_step_scores():
    found = quality_sections({"prm": quality(0.7, 0.8, None), "orm": quality(None, None, None)}, "human labels")
    assert found[0][0] == "Step scores against human labels"
    (_, prm, orm), depths, biases = (table for _, table, _ in found)
    rest = ["0.625", "55.0%", "NaN", "50.0% of 1,020", "12.5%"]
    assert prm == ["PRM", "1,234", "5,678", "50.0%", "0.750", "[0.700, 0.800]", *rest]
    assert orm == ["ORM", "1,234", "5,678", "50.0%", "0.750", "–", *rest]
    assert depths == [
        ["step", "steps", "right", "PRM score", "PRM error", "ORM score", "ORM error"],
        ["3 to 4", "1,500", "50.0%", *["0.250", "0.125"] * 2],
        ["17 and more", "1,500", "50.0%", *["0.250", "0.125"] * 2],
    ]
    assert biases[1] == ["PRM", "50.0%", "25.0%", "NaN", "+0.125", "-0.500", "+0.000", "NaN"]


@pytest.mark.parametrize("benchmark", ["processbench", "gsm8k"])
def test_a_run_shows_its_benchmark_first_and_its_steps_where_they_were_judged(benchmark):
    summary = {"benchmark": benchmark, "official": processbench(), "verifier": "prm", "truth": "the labels"}
    own = ["ProcessBench (prm)", "ProcessBench, other figures in print (prm)"] if benchmark == "processbench" else []
    steps = ["Step scores against the labels (prm)", "Calibration by depth (prm)", "Biases of step scores (prm)"]
    assert [heading for heading, *_ in step_run_sections(summary | {"steps": None})] == own
    judged = step_run_sections(summary | {"steps": quality(None, None, None)})
    assert [heading for heading, *_ in judged] == own + steps


def test_a_table_without_rows_is_left_out():
    summary = {"benchmark": "gsm8k", "official": {}, "verifier": "prm", "truth": "the labels"}
    judged = step_run_sections(summary | {"steps": quality(None, None, None) | {"by_depth": []}})
    assert [heading for heading, *_ in judged] == [
        "Step scores against the labels (prm)",
        "Biases of step scores (prm)",
    ]
