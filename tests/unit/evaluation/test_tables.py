"""Accuracy by level, as a table and as bars; accuracy against tokens, as lines."""

import pytest

from prm.evaluation.plots import COLORS, draw_by_level, draw_gains, styles
from prm.evaluation.step_metrics import expected_calibration_error
from prm.evaluation.tables import level_table

SUMMARY = {
    "methods": {
        "single": {"label": "single sample", "verifier": None},
        "majority": {"label": "majority vote", "verifier": None},
        "orm_best_of_n": {"label": "ORM best-of-N", "verifier": "orm"},
        "prm_best_of_n": {"label": "PRM best-of-N", "verifier": "prm"},
    },
    "verifiers": {"prm": {}},
    "by_level": {
        "2": {"single": 0.5, "majority": 0.75, "prm_best_of_n": 1.0, "orm_best_of_n": 0.25},
        "4": {"single": 0.125, "majority": 0.25, "prm_best_of_n": 0.5, "orm_best_of_n": 0.0},
    },
    "problems_by_level": {"2": 8, "4": 16},
}
SUMMARY["by_level_intervals"] = {
    level: {name: (accuracy / 2, accuracy) for name, accuracy in by_name.items()}
    for level, by_name in SUMMARY["by_level"].items()
}


def test_a_level_is_a_row_with_its_number_of_problems():
    assert level_table(SUMMARY) == [
        ["level", "problems", "single sample", "majority vote", "ORM best-of-N", "PRM best-of-N"],
        ["2", "8", "50.0%", "75.0%", "25.0%", "100.0%"],
        ["4", "16", "12.5%", "25.0%", "0.0%", "50.0%"],
    ]


def test_bars_are_those_of_a_sample_the_vote_and_the_leading_method(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("prm.evaluation.plots.title", lambda summary: "title")
    monkeypatch.setattr("prm.evaluation.plots.finish", lambda figure, axes, text, path: drawn.append(axes))
    draw_by_level(SUMMARY, tmp_path / "levels.png")
    (axes,) = drawn
    bars = {container.get_label(): [bar.get_height() for bar in container] for container in axes.containers}
    assert list(bars) == ["single sample", "majority vote", "PRM best-of-N"]
    assert [round(height, 3) for height in bars["PRM best-of-N"]] in ([1.0, 0.5], [100.0, 50.0])


def test_a_curve_has_a_band_and_a_single_point_a_bar(tmp_path, monkeypatch):
    def point(n, accuracy):
        return {"n": n, "generated_tokens": 10 * n, "accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}

    methods = {
        "majority": {"label": "majority vote", **point(4, 0.75)},
        "prm_beam_search": {"label": "PRM beam search", **point(4, 0.5)},
    }
    summary = {"methods": methods, "curves": {"majority": [point(2, 0.25), point(4, 0.75)]}, "N": 4}
    drawn = []
    monkeypatch.setattr("prm.evaluation.plots.title", lambda summary: "title")
    monkeypatch.setattr("prm.evaluation.plots.finish", lambda figure, axes, text, path: drawn.append(axes))
    draw_gains(summary, tmp_path / "gains.png")
    lines = {line.get_label(): [xy.tolist() for xy in line.get_data()] for line in drawn[0].lines}
    assert lines == {"majority vote  75.0%": [[20, 40], [0.25, 0.75]], "PRM beam search  50.0%": [[40], [0.5]]}
    intervals = [(type(mark).__name__, mark.get_paths()[0].get_extents().extents) for mark in drawn[0].collections]
    assert [(kind, extents.round(3).tolist()) for kind, extents in intervals] == [
        ("FillBetweenPolyCollection", [20, 0.15, 40, 0.85]),
        ("LineCollection", [40, 0.4, 40, 0.6]),
    ]


@pytest.mark.parametrize("score", [1.5, -0.5])
def test_a_logit_is_no_chance(score):
    with pytest.raises(ValueError, match=rf"1 of 2 is {score}, out of \[0, 1\]; apply the sigmoid to logits first"):
        expected_calibration_error([0.5, score], [True, False])


def test_methods_have_different_colors_until_these_are_used_up():
    names = [f"method{i}" for i in range(len(COLORS) + 2)]
    style = styles({"methods": dict.fromkeys(["single", *names, "pass_at_n"])})
    assert [style[name][0] for name in names] == [*COLORS, *COLORS[:2]]
    assert (
        len({style[name] for name in names[: len(COLORS)]} | {style["single"], style["pass_at_n"]}) == len(COLORS) + 2
    )
