"""The pictures of the study: which numbers stand where, told apart how, and under which words."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from prm.evaluation.plots import COLORS, MARKERS, draw_by_level, draw_gains, draw_promises
from prm.evaluation.study_plots import (
    GRAYS,
    OF_DIFFICULTY,
    draw_against_larger,
    draw_by_difficulty,
    draw_compute_optimal,
    draw_methods,
    draw_ratios,
)


def point(tokens, accuracy, spread=0.125):
    low, high = (None, None) if spread is None else (accuracy - spread, accuracy + spread)
    return {"generated_tokens": tokens, "flops": 10 * tokens, "accuracy": accuracy, "low": low, "high": high}


MAJORITY, SEARCH = [point(100, 0.25), point(200, 0.5)], [point(110, 0.375), point(190, 0.75)]
UNSURE = [point(150, 0.625, None), point(160, 0.75, None)]


@pytest.fixture
def drawn(monkeypatch):
    """`drawn(draw, *args)`: the picture that it saves, with its panels; nothing is written."""
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: saved.append((figure, path)))

    def call(draw, *args):
        draw(*args, Path("p.png"))
        ((figure, path),) = saved
        assert path == Path("p.png")
        return figure, figure.axes

    return call


def lines(axes):
    return {line.get_label(): list(zip(*map(list, line.get_data()), strict=True)) for line in axes.lines}


def styles(axes):
    return {line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines}


def extents(axes):
    """(x0, y0, x1, y1) of each band and interval."""
    return [mark.get_paths()[0].get_extents().extents.round(3).tolist() for mark in axes.collections]


def written(legend):
    return [text.get_text() for text in legend.get_texts()]


def bars(axes):
    return [(round(bar.get_x() + bar.get_width() / 2, 6), bar.get_height()) for bar in axes.patches]


def test_every_method_is_a_line_with_a_band_and_a_style_of_its_own(drawn):
    report = {"fixed": {"majority": MAJORITY, "search": SEARCH}, "adaptive": {"escalation": UNSURE}}
    figure, (axes,) = drawn(draw_methods, report, "A heading")
    assert figure.get_suptitle() == "A heading"
    assert lines(axes) == {
        "majority": [(100, 0.25), (200, 0.5)],
        "search": [(110, 0.375), (190, 0.75)],
        "escalation": [(150, 0.625), (160, 0.75)],
    }
    assert [style[:2] for style in styles(axes).values()] == list(zip(COLORS[:3], MARKERS[:3], strict=True))
    assert extents(axes) == [[100, 0.125, 200, 0.625], [110, 0.25, 190, 0.875]]  # too few problems: no band
    assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "generated tokens per problem")
    assert written(axes.get_legend()) == ["majority", "search", "escalation"]
    show = axes.xaxis.get_major_formatter()
    assert [show(value, 0) for value in (1024, 99_999, 100_000, 2e9)] == ["1,024", "99,999", "1e+05", "2e+09"]


def test_after_the_last_style_the_first_comes_again(drawn):
    many = {f"m{i}": MAJORITY for i in range(len(COLORS) + 1)}
    _, (axes,) = drawn(draw_methods, {"fixed": many, "adaptive": {}}, "")
    found = list(styles(axes).values())
    assert found[0] == found[-1]
    assert len(set(found)) == len(COLORS)


def test_a_bin_is_a_panel_and_the_first_and_last_are_named(drawn):
    bins = [{"methods": {"majority": MAJORITY, "search": SEARCH[:n]}} for n in (2, 1, 2)]
    figure, panels = drawn(draw_by_difficulty, bins, "")
    assert [axes.get_title() for axes in panels] == ["bin 1, easiest", "bin 2", "bin 3, hardest"]
    assert [axes.get_ylabel() for axes in panels] == ["problems solved", "", ""]
    assert [len(lines(axes)["search"]) for axes in panels] == [2, 1, 2]
    assert [axes.get_legend() for axes in panels] == [None] * 3
    assert written(figure.legends[0]) == ["majority", "search"]


def test_each_accounting_has_its_cost_and_its_curves(drawn):
    def curve(accounting, difficulty, form):
        return {"accounting": accounting, "difficulty": difficulty, "form": form, "points": SEARCH[::-1]}

    report = {
        "fixed": {"majority": MAJORITY},
        "adaptive": {"escalation": UNSURE},
        "curves": [curve("generation", "oracle", "on average"), curve("charged", "probe", "at each budget")],
    }
    figure, (left, right) = drawn(draw_compute_optimal, report, "")
    oracle, probe = "compute-optimal, oracle, on average", "compute-optimal, probe, at each budget"
    assert lines(left) == {
        "majority": [(100, 0.25), (200, 0.5)],
        oracle: [(110, 0.375), (190, 0.75)],  # sorted by cost
        "escalation": [(150, 0.625), (160, 0.75)],
    }
    assert lines(right)[probe] == [(1100, 0.375), (1900, 0.75)]
    assert lines(right).keys() == {"majority", probe, "escalation"}
    assert styles(left)["majority"][:2] == (GRAYS[0], MARKERS[0])
    assert styles(left)[oracle] == (OF_DIFFICULTY["oracle"], "", "-")
    assert styles(right)[probe] == (OF_DIFFICULTY["probe"], "", ":")
    assert styles(left)["escalation"] == (COLORS[0], "o", "-")
    assert not left.collections  # no bands, of which there would be too many
    assert (left.get_title(), right.get_title()) == ("generation", "charged")
    assert left.get_legend() is right.get_legend() is None
    assert written(figure.legends[0]) == ["majority", oracle, "escalation", probe]
    assert len({*OF_DIFFICULTY.values()}) == 3


def test_ratios_stand_in_order_from_parallel_to_sequential_at_the_largest_budget(drawn):
    def bin_of(*last, spread=0.125):
        return {"methods": {name: [point(1, 0.0), point(2, y, spread)] for name, y in zip("abc", last, strict=True)}}

    bins = [bin_of(0.5, 0.75, 0.625), bin_of(0.25, 0.375, 0.125, spread=None), bin_of(0.0, 0.125, 0.25, spread=None)]
    _, (axes,) = drawn(draw_ratios, bins, {"a": (1, 8), "b": (8, 1), "c": (2, 4)}, "")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8 x 1", "2 x 4", "1 x 8"]
    assert lines(axes) == {
        "bin 1 (easiest)": [(0, 0.75), (1, 0.625), (2, 0.5)],
        "bin 2": [(0, 0.375), (1, 0.125), (2, 0.25)],
        "bin 3 (hardest)": [(0, 0.125), (1, 0.25), (2, 0.0)],
    }
    assert [style[:2] for style in styles(axes).values()] == list(zip(COLORS[:3], MARKERS[:3], strict=True))
    assert [path.vertices.round(3).tolist() for path in axes.collections[0].get_paths()] == [
        [[0, 0.625], [0, 0.875]],
        [[1, 0.5], [1, 0.75]],
        [[2, 0.375], [2, 0.625]],
    ]
    assert (axes.get_xscale(), len(axes.collections)) == ("linear", 1)


def test_bars_of_one_bin_stand_side_by_side_around_its_place(drawn):
    def row(bin, mean, low, choice="compute-optimal"):
        return {"choice": choice, "bin": bin, "difference": {"mean": mean, "low": low, "high": low and mean + 0.125}}

    def case(accounting, ratio, rows):
        return {"accounting": accounting, "R": ratio, "multiple": 4.4, "rows": rows}

    rows = [row(None, 0.25, 0.125), row(None, 0.5, 0.375, "always the largest"), row(0, -0.25, None)]
    cases = [case("generation", 0.16, rows), case("generation", 22.0, rows[:1]), case("charged", 0.79, rows)]
    figure, (left, right) = drawn(draw_against_larger, cases, 14.0, "")
    assert bars(left) == [(-0.2, 0.25), (0.8, -0.25), (0.2, 0.25)]
    assert bars(right) == [(0, 0.25), (1, -0.25)]
    assert [round(bar.get_width(), 6) for bar in (*left.patches, *right.patches)] == [0.4] * 3 + [0.8] * 2
    assert [mark.get_paths()[0].vertices.round(3).tolist() for mark in left.collections] == [
        [[-0.2, 0.125], [-0.2, 0.375]],
        [[0.2, 0.125], [0.2, 0.375]],
    ]
    assert [label.get_text() for label in right.get_xticklabels()] == ["all", "bin 1"]
    assert left.containers[0].patches[0].get_facecolor() != left.containers[1].patches[0].get_facecolor()
    assert left.get_ylabel() == "small minus 14x larger"
    assert (left.get_title(), right.get_title()) == ("generated tokens alone", "everything charged")
    assert left.get_legend() is right.get_legend() is None
    assert written(figure.legends[0]) == [f"R = {r}: 4 samples of the small one" for r in ("0.16", "22")]


def test_a_promise_is_set_against_what_was_lost_unless_it_was_refused(drawn):
    def kept(risk, lost, saved, refused=0.0):
        return SimpleNamespace(
            risk=risk, lost=lost, low=lost / 2, high=2 * lost, saved=saved, refused=refused, difference=-0.0125
        )

    promises = {
        "a": [kept(0.0625, 0.5, 0.25), kept(0.125, 0.25, 0.5)],
        "b": [kept(0.0625, 0.5, 0.0, 1), kept(0.125, 0.125, 0.75)],
    }
    _, (left, right) = drawn(draw_promises, promises, 50)
    most, apart = 1.1 * 0.125, 1.1 * 0.125 / 60
    assert left.get_xlim() == left.get_ylim() == pytest.approx((0, most))
    assert lines(left)["a"] == [pytest.approx((0.0625 - apart / 2, 0.5)), pytest.approx((0.125 - apart / 2, 0.25))]
    assert lines(left)["b"] == [pytest.approx((0.125 + apart / 2, 0.125))]
    assert [style[:2] for style in styles(left).values()] == list(zip(COLORS[:2], MARKERS[:2], strict=True))
    broken, *intervals = (mark.get_paths() for mark in left.collections)
    assert broken[0].get_extents().extents.round(4).tolist() == [0, 0, round(most, 4), round(most, 4)]
    assert [[path.vertices[:, 1].tolist() for path in paths] for paths in intervals] == [
        [[0.25, 1.0], [0.125, 0.5]],
        [[0.0625, 0.25]],
    ]
    assert bars(right) == [(-0.2, 0.25), (0.8, 0.5), (0.2, 0.0), (1.2, 0.75)]
    assert [text.get_text() for text in right.texts] == ["-1.2", "-1.2", "refused", "-1.2"]
    assert [label.get_text() for label in right.get_xticklabels()] == ["6%", "12%"]
    assert left.get_title(loc="left").startswith("Lost by stopping early\n50 problems")


def test_the_ceiling_is_a_dashed_line_above_which_the_numbers_of_samples_stand(drawn, monkeypatch):
    monkeypatch.setattr("prm.evaluation.plots.title", lambda summary: "title")
    curve = [{"n": n, **point(10 * n, y)} for n, y in ((1, 0.25), (2, 0.5))]
    methods = {"majority": {"label": "majority vote", **curve[0]}, "pass_at_n": {"label": "pass@N", **curve[1]}}
    summary = {"methods": methods, "curves": {"pass_at_n": curve, "majority": curve}, "N": 2}
    _, (axes,) = drawn(draw_gains, summary)
    assert {label: style[2] for label, style in styles(axes).items()} == {
        "pass@N  50.0%": "--", "majority vote  50.0%": "-"
    }  # fmt: skip
    assert len(axes.collections) == 1  # the ceiling has no band
    (above,) = axes.child_axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "20"]
    assert [label.get_text() for label in above.get_xticklabels()] == ["1", "2"]
    assert list(above.get_xticks()) == [10, 20]


def test_the_ceiling_of_a_level_is_a_wide_bar_around_the_others(drawn, monkeypatch):
    monkeypatch.setattr("prm.evaluation.plots.title", lambda summary: "title")
    names = ("single", "majority", "pass_at_n")
    summary = {
        "methods": {name: {"label": name, "words": None, "verifier": None, "samples": 4} for name in names},
        "verifiers": {},
        "by_level": {
            "2": dict(zip(names, (0.25, 0.5, 1), strict=True)),
            "4": dict(zip(names, (0, 0.25, 0.5), strict=True)),
        },
        "by_level_intervals": {level: dict.fromkeys(names, (None, None)) for level in "24"},
        "problems_by_level": {"2": 8, "4": 16},
    }
    _, (axes,) = drawn(draw_by_level, summary)
    assert bars(axes)[:2] == [(0, 1), (1, 0.5)]
    assert bars(axes)[2:6] == [(-0.26, 0.25), (0.74, 0), (0, 0.5), (1, 0.25)]
    assert not axes.collections  # too few problems for intervals
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2\n8 problems", "4\n16 problems"]
