"""Accuracy by level, as a table and as bars; accuracy against tokens and against samples, as lines."""

import pytest
from matplotlib.colors import to_rgb

from prm.evaluation.plots import COLORS, MARKERS, draw_by_level, draw_gains, draw_growth, styles
from prm.evaluation.step_metrics import expected_calibration_error
from prm.evaluation.tables import level_table

SUMMARY = {
    "methods": {
        "single": {"label": "single sample", "words": None, "verifier": None, "samples": 4},
        "majority": {"label": "majority vote", "words": None, "verifier": None, "samples": 4},
        "orm_best_of_n": {"label": "ORM best-of-N", "words": None, "verifier": "orm", "samples": 4},
        "prm_best_of_n": {"label": "PRM best-of-N", "words": None, "verifier": "prm", "samples": 4},
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


def test_a_level_is_a_column_with_its_number_of_problems():
    assert level_table(SUMMARY) == [
        ["level", "2", "4"],
        ["problems", "8", "16"],
        ["single sample", "50.0%", "12.5%"],
        ["majority vote", "75.0%", "25.0%"],
        ["ORM best-of-N", "25.0%", "0.0%"],
        ["PRM best-of-N", "100.0%", "50.0%"],
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


def test_growth_is_a_line_with_a_band_and_a_ring_where_more_samples_hurt(tmp_path, monkeypatch):
    def grown(accuracies, best, change):
        points = [
            {"n": n, "accuracy": a, "low": a - 0.1, "high": a + 0.1} for n, a in zip((1, 2, 4), accuracies, strict=True)
        ]
        return {"points": points, "best_n": best, "change": change}

    growths = {
        "PRM best-of-N": grown((0.25, 0.75, 0.5), 2, {"mean": -0.25, "low": -0.4, "high": -0.1}),
        "PRM weighted vote": grown((0.25, 0.5, 0.875), 4, {"mean": 0.0, "low": 0.0, "high": 0.0}),
        "majority vote": grown((0.25, 0.375, 0.25), 2, {"mean": -0.125, "low": -0.3, "high": 0.1}),
    }
    drawn = []
    monkeypatch.setattr("prm.evaluation.plots.finish", lambda figure, axes, text, path: drawn.append((axes, text)))
    draw_growth(growths, "A heading", tmp_path / "growth.png")
    ((axes, heading),) = drawn
    assert heading == "A heading"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "PRM weighted vote  87.5%", "PRM best-of-N  75.0% at N = 2, then\n50.0%", "majority vote  25.0%"
    ]  # fmt: skip
    assert [mark.get_facecolor()[0, :3].tolist() for mark in axes.collections] == [
        pytest.approx(to_rgb(color)) for color in COLORS[:3]
    ]
    curves = [line for line in axes.lines if line.get_markersize() != 13]
    assert [(line.get_color(), line.get_marker()) for line in curves] == list(zip(COLORS[:3], MARKERS[:3], strict=True))
    rings = [line.get_data() for line in axes.lines if line.get_markersize() == 13]
    assert [(x.tolist(), y.tolist()) for x, y in rings] == [([2], [0.75])]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4"]


def test_many_methods_have_styles_of_their_own_and_no_bars(tmp_path, monkeypatch):
    names = [f"prm_rebase[width={i}]" for i in range(14)]
    point = {"generated_tokens": 10, "accuracy": 0.5, "low": 0.4, "high": 0.6}
    summary = {"methods": {name: {"label": name} | point for name in names}, "curves": {}, "N": 4}
    assert len(set(styles(summary).values())) == 16  # with one sample, and the ceiling
    drawn = []
    monkeypatch.setattr("prm.evaluation.plots.title", lambda summary: "title")
    monkeypatch.setattr("prm.evaluation.plots.finish", lambda figure, axes, text, path: drawn.append(axes))
    draw_gains(summary, tmp_path / "gains.png")
    assert (len(drawn[0].lines), len(drawn[0].collections)) == (14, 0)


def test_methods_have_different_colors_until_these_are_used_up():
    names = [f"method{i}" for i in range(len(COLORS) + 2)]
    style = styles({"methods": dict.fromkeys(["single", *names, "pass_at_n"])})
    assert [style[name][0] for name in names] == [*COLORS, *COLORS[:2]]
    assert (
        len({style[name] for name in names[: len(COLORS)]} | {style["single"], style["pass_at_n"]}) == len(COLORS) + 2
    )
