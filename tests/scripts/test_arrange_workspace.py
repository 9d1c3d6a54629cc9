"""The W&B workspace that would be sent, without a network: of stand-ins, or of wandb-workspaces' objects where it is there.
That its panels show what is logged is tested here for evaluations, and in test_tracking.py for training."""

import json
import runpy
import sys
from types import ModuleType, SimpleNamespace

import pytest
from search_run import rows, write_run

from prm.evaluation.search_runs import read_runs
from prm.evaluation.summary import summarize
from prm.evaluation.tracked import curves_over_samples, numbers_to_sort_by


@pytest.fixture
def script(root):
    return runpy.run_path(str(root / "eval/arrange_workspace.py"))


def module(name, **members):
    made = ModuleType(name)
    vars(made).update(members)
    return made


def kind(name):
    """A class whose objects remember what they were made of."""
    return lambda *values, **settings: SimpleNamespace(kind=name, values=values, **settings)


@pytest.fixture
def stand_ins(monkeypatch):
    sent = []
    panels = ("LinePlot", "BarPlot", "ScalarChart", "MediaBrowser", "WeavePanelSummaryTable")

    def workspace(**settings):
        made = SimpleNamespace(url=f"https://w/{settings['name']}", **settings)
        made.save = lambda: sent.append(made)
        return made

    views = {"Workspace": workspace, "Section": kind("section"), "RunsetSettings": kind("runs")}
    for one in (
        module("wandb_workspaces"),
        module("wandb_workspaces.reports"),
        module("wandb_workspaces.reports.v2", **{name: kind(name) for name in panels}),
        module("wandb_workspaces.workspaces", **views),
        module("wandb_workspaces.expr", Ordering=kind("order"), Summary=kind("summary")),
    ):
        monkeypatch.setitem(sys.modules, one.__name__, one)
    # `import a.b as c` takes b from a.
    sys.modules["wandb_workspaces"].reports = sys.modules["wandb_workspaces.reports"]
    sys.modules["wandb_workspaces"].workspaces = sys.modules["wandb_workspaces.workspaces"]
    sys.modules["wandb_workspaces.reports"].v2 = sys.modules["wandb_workspaces.reports.v2"]
    return sent


def test_both_views_are_sent(script, stand_ins, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    script["main"](script["Arguments"](entity="me"))
    evaluations, training = stand_ins
    assert [(its.entity, its.project, its.name) for its in stand_ins] == [
        ("me", "mine", "Evaluations"), ("me", "mine", "Training")
    ]  # fmt: skip
    (order,) = evaluations.runset_settings.order
    assert (order.values[0].values, order.ascending) == (("leading/accuracy",), False)
    assert evaluations.runset_settings.filters == 'JobType = "evaluation"'
    first = evaluations.sections[0]
    assert (first.name, [panel.kind for panel in first.panels]) == (
        "What search gains", ["LinePlot", "ScalarChart", "ScalarChart", "MediaBrowser"]
    )  # fmt: skip
    assert (first.panels[0].x, first.panels[0].metric_regex) == ("samples", "^accuracy/.*")
    assert [panel.table_name for panel in evaluations.sections[-1].panels] == ["methods", "traces"]
    assert training.sections[0].panels[0].y == ["train/loss", "eval/loss"]
    assert "Evaluations: https://w/Evaluations" in capsys.readouterr().out


def test_evaluations_show_what_is_logged(script, tmp_path):
    summary = summarize(read_runs([write_run(tmp_path, rows())]))
    logged = {*numbers_to_sort_by(summary), *next(iter(curves_over_samples(summary).values()))}
    panels = [panel for its in script["EVALUATIONS"].values() for panel in its]
    asked = [name for _, _, shown in panels for name in [*shown.get("metrics", []), shown.get("metric")] if name]
    view = script["VIEWS"]["Evaluations"]
    asked += [view["sort_by"], *(name.removeprefix("summary:") for name in view["columns"] if name != "run:group")]
    assert len(asked) > 12
    assert set(asked) <= logged
    assert any(name.startswith("accuracy/") for name in logged)


def test_the_layout_is_shown_without_a_key_or_the_package(script, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    script["main"](script["Arguments"](show=True))
    assert "bars     FLOPs of the leading method: metrics ['leading/prefill_flops'," in capsys.readouterr().out
    with pytest.raises(ValueError, match=r'pip install "prm-toolkit\[workspaces\]"'):
        script["main"](script["Arguments"](entity="me"))
    with pytest.raises(ValueError, match="--entity is missing"):
        script["main"](script["Arguments"]())


def test_the_package_takes_the_layout(script):
    """What it would send, as JSON."""
    pytest.importorskip("wandb_workspaces", reason='pip install "prm-toolkit[workspaces]"')
    evaluations, training = (
        json.loads(its._to_model().model_dump_json(by_alias=True)) for its in script["workspaces"]("me", "mine")
    )
    assert (evaluations["displayName"], training["displayName"]) == ("Evaluations", "Training")
    section = evaluations["spec"]["section"]
    first = section["panelBankConfig"]["sections"][0]["panels"][0]
    assert (first["viewType"], first["config"]["metricRegex"]) == ("Run History Line Plot", "^accuracy/.*")
    runs = section["runSets"][0]
    assert runs["filters"]["filters"][0]["key"] == {"section": "run", "name": "jobType"}
    assert runs["sort"]["keys"][0]["key"] == {"section": "summary", "name": "leading/accuracy"}
