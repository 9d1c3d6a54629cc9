"""How the pictures look: sizes, shades, places of legends. What they show is in test_study_plots.py.

Where a change is meant, look at the pictures, then `PYTHONPATH=.:tests python tests/unit/evaluation/test_looks.py >
tests/golden/looks.txt` writes it down.
"""

from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from prm.evaluation import plots
from prm.evaluation.plots import draw_by_level, draw_flops, draw_gains, draw_growth, draw_promises, styles
from prm.evaluation.study_plots import (
    draw_against_larger,
    draw_by_difficulty,
    draw_compute_optimal,
    draw_methods,
    draw_ratios,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "looks.txt"


def points(*accuracies, sure=True):
    bounds = {"low": 0.1, "high": 0.9} if sure else {"low": None, "high": None}
    return [
        {"n": 2**k, "generated_tokens": 2**k, "flops": 3 * 2**k, "accuracy": y, **bounds}
        for k, y in enumerate(accuracies)
    ]


def summary(methods, levels=3, **more):
    """Curves of two points, and methods of one point where the name has an exclamation mark."""
    curves = {name: points(0.25, 0.5) for name in methods if "!" not in name}
    at = {str(level): dict.fromkeys(methods, 0.5) for level in range(levels)}
    return {
        "methods": {
            name: {"label": f"{name} " * 9, "words": name, "verifier": None, "samples": 2, **points(0.5)[0]}
            for name in methods
        },
        "curves": curves, "verifiers": {}, "N": 2, "by_level": at, "problems_by_level": dict.fromkeys(at, 7),
        "by_level_intervals": {level: dict.fromkeys(methods, (0.1, 0.9)) for level in at}, **more,
    }  # fmt: skip


FLOPS = {
    "methods": {
        "single": {"strategy": None},
        "a": {
            "strategy": "majority",
            "label": "a " * 30,
            "prefill_flops": 1.0,
            "decode_flops": 2.0,
            "verifier_flops": 0.0,
        },
        "b": {"strategy": "best_of_n", "label": "b", "prefill_flops": 1.0, "decode_flops": 2.0, "verifier_flops": 4.0},
    }
}


def pictures():
    report = {
        "fixed": {"majority": points(0.25, 0.5)}, "adaptive": {"escalation": points(0.5)},
        "curves": [{"accounting": "charged", "difficulty": "probe", "form": "on average", "points": points(0.5, 0.6)}],
    }  # fmt: skip
    bins = [{"methods": {"a": points(0.25), "b": points(0.5)}}] * 2
    rows = [{"choice": "compute-optimal", "bin": 0, "difference": {"mean": 0.1, "low": 0.0, "high": 0.2}}]
    cases = [{"accounting": its, "R": 1, "multiple": 2.0, "rows": rows} for its in ("generation", "charged")]
    fall = {"points": points(0.5, 0.75, 0.25), "best_n": 2, "change": {"mean": -0.5, "low": -0.75, "high": -0.25}}
    rise = {"points": points(0.25, 0.5, sure=False), "best_n": 2, "change": {"mean": 0.25, "low": 0.1, "high": 0.4}}
    kept = SimpleNamespace(risk=0.1, lost=0.05, low=0.01, high=0.2, saved=0.5, refused=0, difference=0.01)
    few, many = ["single", "a", "pass_at_n", "b!"], [f"method {k}!" for k in range(9)]
    return {
        "gains": (draw_gains, summary(few)),
        "many gains": (draw_gains, summary(many)),
        "levels": (draw_by_level, summary(["single", "majority", "b", "pass_at_n"])),
        "many levels": (draw_by_level, summary(["a", "b", "c", "d"], 9)),
        "flops": (draw_flops, FLOPS),
        "growth": (draw_growth, {"falls": fall, "rises": rise}, "heading"),
        "promises": (draw_promises, {"a": [kept], "b": [kept]}, 9),
        "methods": (draw_methods, report, "heading"),
        "difficulty": (draw_by_difficulty, bins, "heading"),
        "compute-optimal": (draw_compute_optimal, report, "heading"),
        "ratios": (draw_ratios, bins, {"a": (1, 2), "b": (2, 1)}, "heading"),
        "larger": (draw_against_larger, cases, 14.0, "heading"),
    }


def looks():
    """Lines of text, some for each panel of each picture."""
    for name, (draw, *args) in pictures().items():
        asked, saved, before = [], [], plt.get_fignums()

        def legend(its, *args, method, asked=asked, **settings):
            asked.append({key: value for key, value in settings.items() if key != "handles"})
            return method(its, *args, **settings)

        with (
            mock.patch.object(Axes, "legend", partialmethod(legend, method=Axes.legend)),
            mock.patch.object(Figure, "legend", partialmethod(legend, method=Figure.legend)),
            mock.patch.object(Figure, "savefig", lambda figure, path, saved=saved: saved.append(figure)),
            mock.patch.object(plots, "title", return_value="title"),
        ):
            draw(*args, Path("p.png"))
        (figure,) = saved
        assert plt.get_fignums() == before, "an open picture takes memory until the end"
        width, height = figure.get_size_inches()
        yield f"{name}: {width:.2f} x {height:.2f} inches, {figure.dpi} dpi, {type(figure.get_layout_engine()).__name__}"
        yield from (f"  heading {shown(text)} x={text.get_position()[0]}" for text in figure.texts)
        yield from (f"  legend {settings}" for settings in asked)
        for axes in figure.axes:
            yield from (f"    {line}" for line in dict.fromkeys(panel(axes)))


def shown(text):
    return f"{text.get_fontsize():g} {text.get_ha()} {text.get_color()}"


def panel(axes):
    for side in (axes.xaxis, axes.yaxis):
        label = side.get_major_ticks()[0].label1.get_fontsize()
        grid = [(line.get_color(), line.get_linewidth()) for line in side.get_gridlines() if line.get_visible()]
        numbers = side.get_major_formatter()(0.256, 0) if side.get_scale() == "linear" else ""
        yield (
            f"{side.axis_name}: {numbers} {side.get_scale()} base {getattr(side.get_transform(), 'base', None)}, label"
            f" {side.label.get_fontsize():g}, ticks {label:g}, minor {type(side.get_minor_locator()).__name__},"
            f" grid {sorted(set(grid))}, shared {len(axes.get_shared_y_axes().get_siblings(axes))}"
        )
    spines = "".join(side[0] for side, spine in axes.spines.items() if spine.get_visible())
    written = {axes.get_title("left"), axes.get_title()} - {""}
    titles = [shown(text) for text in axes.findobj(Text) if text.get_text() in written]
    yield f"spines {spines}, grid below {axes.get_axisbelow()}, {titles}, ylim {axes.get_ylim()[1]:.3f}"
    yield from (f"second axis: minor {type(its.xaxis.get_minor_locator()).__name__}" for its in axes.child_axes)
    for line in axes.lines:
        yield (
            f"line {to_hex(line.get_color())} {line.get_linestyle()} {line.get_linewidth():g}, marker"
            f" {line.get_marker()} {line.get_markersize():g} {line.get_markerfacecolor()} {line.get_markeredgewidth():g}"
        )
    for marks in axes.collections:
        faces, edges = ([to_hex(c, True) for c in its] for its in (marks.get_facecolor(), marks.get_edgecolor()))
        kind = "intervals" if isinstance(marks, LineCollection) else "band"
        yield f"{kind} {faces} {edges} {[float(w) for w in marks.get_linewidths()]}"
    for bar in axes.patches:
        yield f"bar {to_hex(bar.get_facecolor())} {to_hex(bar.get_edgecolor(), True)} {bar.get_width():.3f}"
    for text in axes.texts:
        x, y = text.get_position()
        yield f"text {shown(text)} at {x:.4f} {y:.4f}, {text.get_text()}"


def test_pictures_look_as_they_did():
    assert list(looks()) == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_parts_of_the_flops_stand_one_after_the_other():
    with (
        mock.patch.object(plots, "title", return_value="title"),
        mock.patch.object(Figure, "savefig", autospec=True) as saved,
    ):
        draw_flops(FLOPS, Path("p.png"))
    ((figure, path),) = (call.args for call in saved.call_args_list)
    (axes,) = figure.axes
    bars = [[(bar.get_y() + 0.35, bar.get_x(), bar.get_width()) for bar in part] for part in axes.containers]
    assert bars == [[(0, 0, 1), (1, 0, 1)], [(0, 1, 2), (1, 1, 2)], [(0, 3, 0), (1, 3, 4)]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        *("prompts and prefixes read", "generated", "read by verifiers")
    ]
    assert axes.get_yticks().tolist() == [0, 1]
    assert axes.yaxis_inverted()
    assert (axes.get_xlabel(), path) == ("FLOPs per problem", Path("p.png"))


def test_after_a_turn_through_the_colors_each_has_another_marker():
    count = len(plots.COLORS)
    found = styles({"methods": dict.fromkeys(["single", *map(str, range(2 * count)), "pass_at_n"])})
    assert found["single"] == ("#999999", "X")
    assert found["pass_at_n"] == ("#444444", "")
    for k in range(count):
        first, second = found[str(k)], found[str(k + count)]
        assert (first, second) == ((plots.COLORS[k], plots.MARKERS[k]), (plots.COLORS[k], plots.MARKERS[(k + 1) % 8]))


if __name__ == "__main__":
    print(*looks(), sep="\n")
