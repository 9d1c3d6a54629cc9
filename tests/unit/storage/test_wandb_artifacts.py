"""What a report and a checkpoint become in W&B, with a stand-in for wandb; whole runs: tests/scripts/test_tracking.py."""

import json
import sys
from types import SimpleNamespace

import pytest

from prm.storage.wandb_artifacts import RUN_FILE, checkpoint_artifact, log_report, use, valid_name


class Artifact:
    def __init__(self, name, type, metadata=None):
        self.name, self.type, self.metadata, self.files = name, type, metadata, {}

    def add_file(self, path, name):
        self.files[name] = path


class Run:
    def __init__(self, **settings):
        self.settings, self.logged, self.artifacts, self.used, self.summary = settings, [], [], [], {}
        self.metrics = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def log(self, values):
        self.logged.append(values)

    def define_metric(self, name, step_metric=None):
        self.metrics[name] = step_metric

    def log_artifact(self, artifact):
        self.artifacts.append(artifact)

    def _log_artifact(self, artifact, is_user_created, use_after_commit):
        assert is_user_created
        assert use_after_commit
        self.used.append(artifact)


@pytest.fixture
def runs(monkeypatch):
    """The runs that were begun, with a module that begins them."""
    begun = []

    def init(**settings):
        begun.append(Run(**settings))
        return begun[-1]

    fake = SimpleNamespace(init=init, Artifact=Artifact, Table=lambda columns, rows: [columns, *rows], Image=str)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return begun


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "my prm"
    (folder / "checkpoint-2").mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (folder / name).touch()
    return folder


def test_names_have_no_character_that_is_forbidden():
    assert valid_name("a b/c:d") == "a-b-c-d"
    assert valid_name("Ünï_1.2-x") == "Ünï_1.2-x"


def test_a_checkpoint_is_its_files_under_the_name_of_its_run_or_folder(runs, checkpoint):
    artifact = checkpoint_artifact(checkpoint, {"a": 1})
    assert (artifact.name, artifact.type, artifact.metadata) == ("verifier-my-prm", "model", {"a": 1})
    assert artifact.files == {name: str(checkpoint / name) for name in ("config.json", "model.safetensors")}
    (checkpoint / RUN_FILE).write_text(json.dumps({"id": "x1y2", "project": "p"}))
    assert checkpoint_artifact(checkpoint).name == "verifier-x1y2"


def test_what_is_used_is_recorded_as_an_input():
    run = Run()
    use(run, "artifact")
    assert run.used == ["artifact"]


@pytest.mark.parametrize(("variable", "project"), [(None, "huggingface"), ("mine", "mine")])
def test_a_report_is_a_run_with_its_numbers_files_and_inputs(
    variable, project, runs, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    if variable:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    folder = tmp_path / "report 1"
    folder.mkdir()
    (folder / "gains.png").touch()
    trained = tmp_path / "orm"
    trained.mkdir()
    (trained / RUN_FILE).write_text(json.dumps({"id": "x1y2", "project": "p"}))
    numbers = {"majority/accuracy": 0.5, "prm/accuracy": 0.75}
    curves = {1: {"accuracy/prm": 0.5}, 4: {"accuracy/prm": 0.75, "accuracy/beam": 0.75}}
    tables = {"methods": (["method", "accuracy"], [["majority", 0.5], ["prm", 0.75]])}
    log_report(folder, numbers, curves, tables, {"prm": checkpoint, "orm": trained}, {"n": 4})
    (run,) = runs
    assert run.settings == {
        "project": project, "job_type": "evaluation", "name": "report 1", "group": "verifier-x1y2",
        "config": {"n": 4, "trained_by": {"orm": "x1y2"}},
    }  # fmt: skip
    assert [artifact.name for artifact in run.used] == ["verifier-my-prm", "verifier-x1y2"]
    assert run.metrics == {"samples": None, "accuracy/*": "samples"}
    table = [["method", "accuracy"], ["majority", 0.5], ["prm", 0.75]]
    assert run.logged == [
        {"samples": 1, "accuracy/prm": 0.5},
        {"samples": 4, "accuracy/prm": 0.75, "accuracy/beam": 0.75},
        {"methods": table, "gains": str(folder / "gains.png")},
    ]
    assert run.summary == numbers
    (report,) = run.artifacts
    assert (report.name, report.type) == ("report-report-1", "evaluation")
    assert report.files == {name: str(folder / name) for name in ("summary.json", "report.md", "report.html")}
