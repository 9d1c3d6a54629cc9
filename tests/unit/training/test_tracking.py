"""Tables and pictures of an evaluation, and files as artifacts. Whole runs: tests/scripts/test_tracking.py."""

import base64
import hashlib
import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from prm.evaluation.step_metrics import reliability
from prm.training import tracking
from prm.training.arguments import VerifierArguments
from prm.training.examples import DatasetReport, TraceExample
from prm.training.tracking import WandbTracking, data_artifact, draw_reliability, scores_by_depth


def test_scores_by_depth_puts_every_score_into_one_bin():
    scores_N, steps_N = [[0.05, 0.31, 1.0], [0.0, 0.39], [0.55]], [[0, 1, 3], [0, 1], [3]]
    assert scores_by_depth(scores_N, steps_N) == [
        [0, 0.0, 0.1, 2],
        [1, 0.3, 0.4, 2],
        [3, 0.5, 0.6, 1],
        [3, 0.9, 1.0, 1],
    ]


def test_reliability_diagram_is_a_picture_that_depends_on_the_scores():
    good, bad = (draw_reliability(reliability([0.1, 0.9], targets)) for targets in ([0.1, 0.9], [0.9, 0.1]))
    assert good.shape == bad.shape == (450, 450, 4)
    assert good.dtype == np.uint8
    assert (good != bad).any()


def test_the_diagonal_of_the_diagram_is_where_scores_and_targets_are_equal(monkeypatch):
    drawn, add_subplot = [], Figure.add_subplot
    monkeypatch.setattr(
        Figure, "add_subplot", lambda *args, **options: drawn.append(add_subplot(*args, **options)) or drawn[0]
    )
    draw_reliability(reliability([0.1, 0.1, 0.9], [0.0, 0.5, 1.0]))
    diagonal, means = drawn[0].lines
    assert (drawn[0].get_xlabel(), drawn[0].get_ylabel(), drawn[0].get_title()) == ("score", "target", "Reliability")
    assert drawn[0].get_xlim() == drawn[0].get_ylim() == (0, 1)
    assert (diagonal.get_color(), diagonal.get_linestyle(), diagonal.get_linewidth()) == ("0.5", "--", 1)
    assert means.get_marker() == "o"
    assert drawn[0].patches[0].get_facecolor()[:3] == (0.85,) * 3
    (legend,) = (drawn[0].get_legend(),)
    assert [text.get_text() for text in legend.get_texts()] == ["mean target", "share of steps"]
    assert not legend.get_frame_on()
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert means.get_xydata().round(6).tolist() == [[0.1, 0.25], [0.9, 1.0]]
    bars = [(bar.get_x(), bar.get_width(), round(bar.get_height(), 6)) for bar in drawn[0].patches]
    assert [(round(x, 6), width, height) for x, width, height in bars] == [(0.1, 0.1, 0.666667), (0.9, 0.1, 0.333333)]


def test_small_data_are_uploaded_and_large_ones_named(monkeypatch, tmp_path):
    path = tmp_path / "labeled rows.jsonl"
    path.write_bytes(b"8 bytes\n")
    digest = base64.b64encode(hashlib.md5(b"8 bytes\n").digest()).decode()
    entries = []
    for limit in (9, 8):
        monkeypatch.setattr(tracking, "UPLOAD_BELOW", limit)
        artifact = data_artifact(str(path))
        assert (artifact.type, artifact.name) == ("dataset", "data-labeled-rows")
        assert artifact.metadata["hash"] == hashlib.sha256(b"8 bytes\n").hexdigest()[:16]
        entries.append(artifact.manifest.entries["labeled rows.jsonl"])
    small, large = entries
    assert (small.digest, small.ref) == (digest, None)
    assert small.local_path is not None
    assert (large.digest, large.ref) == (digest, path.as_uri())


@dataclass
class Config:
    head: str = "mlp"
    codec: str = "codec"


class Run:
    """What the callback needs of a run, recorded."""

    id, project, disabled = "x1y2", "mine", False

    def __init__(self):
        self.config, self.used, self.logged, self.artifacts, self.ended = {}, [], [], [], False
        self.config = SimpleNamespace(update=self._update)

    def _update(self, values, allow_val_change):
        assert allow_val_change
        self.values = values

    def _log_artifact(self, artifact, **options):
        self.used.append(artifact.name)

    def log(self, values):
        self.logged.append(values)

    def log_artifact(self, artifact, aliases=()):
        self.artifacts.append((artifact, list(aliases)))

    def finish(self):
        self.ended = True


@pytest.fixture
def track(tmp_path, monkeypatch):
    """`track(is_first=True)` -> a run, and the callback after training has begun."""
    for name in ("rows", "others"):
        (tmp_path / f"{name}.jsonl").write_text(name)
    arguments = VerifierArguments("base", str(tmp_path / "rows.jsonl"), str(tmp_path / "others.jsonl"), lora_r=4)
    examples = [TraceExample((1, 2, 3), (1, 2), (1.0, 0.0), (True, False), (0, 2), "p/1", False)] * 2
    trainer = SimpleNamespace(
        verifier_config=Config(),
        last_scores_N=[[0.95, 0.15], [0.85, 0.05]],
        eval_examples=examples,
        last_metrics={"auc": 1.0},
        state=SimpleNamespace(global_step=7),
        args=SimpleNamespace(output_dir=str(tmp_path)),
    )

    def make(is_first=True, disabled=False):
        callback = WandbTracking(trainer, arguments, DatasetReport(36, 1, 2, 142, 91, 0.641, 1304))
        run, wandb = Run(), callback.wandb
        run.disabled = disabled
        table, image = (lambda columns, rows: [columns, *rows]), (lambda pixels: pixels)
        callback.wandb = SimpleNamespace(run=run, Table=table, Image=image, Artifact=wandb.Artifact)
        callback.on_train_begin(None, SimpleNamespace(is_world_process_zero=is_first), None)
        return run, callback

    return make


def test_a_run_has_its_data_as_inputs_and_all_settings(track):
    run, _ = track()
    assert run.used == ["data-rows", "data-others"]
    assert (run.values["lora_r"], run.values["head"], run.values["codec"]) == (
        4,
        "mlp",
        "codec",
    )  # the checkpoint's head
    assert run.values["train_rows"]["labeled_steps"] == 142


def test_an_evaluation_logs_tables_of_the_scores(track, monkeypatch):
    monkeypatch.setattr(tracking, "STEPS_IN_TABLE", 3)
    run, callback = track()
    callback.on_evaluate(None, SimpleNamespace(global_step=7), None)
    (logged,) = run.logged
    assert logged["train/global_step"] == 7
    assert logged["scores/steps"] == [
        ["problem", "step", "score", "target"], ["p/1", 0, 0.95, 1.0], ["p/1", 2, 0.15, 0.0], ["p/1", 0, 0.85, 1.0]
    ]  # fmt: skip
    assert logged["scores/by_depth"] == [
        ["step", "low", "high", "count"], [0, 0.8, 0.9, 1], [0, 0.9, 1.0, 1], [2, 0.0, 0.1, 1], [2, 0.1, 0.2, 1]
    ]  # fmt: skip
    assert logged["scores/reliability"][0] == ["low", "high", "count", "score", "target"]
    assert len(logged["scores/reliability"]) == 5
    assert logged["scores/reliability_diagram"].shape == (450, 450, 4)


def test_a_run_ends_with_its_checkpoint_and_evaluation(track, tmp_path):
    (tmp_path / "eval_results.json").write_text("{}")
    run, callback = track()
    callback.finish()
    assert json.loads((tmp_path / "wandb_run.json").read_text()) == {"id": "x1y2", "project": "mine"}
    (model, aliases), (evaluation, _) = run.artifacts
    assert (model.name, aliases) == ("verifier-x1y2", ["final", "step-7"])
    assert model.metadata["metrics"] == {"auc": 1.0}
    assert model.metadata["head"] == "mlp"
    assert (evaluation.name, evaluation.type) == ("evaluation-x1y2", "evaluation")
    assert evaluation.metadata == {"model": "verifier-x1y2", "auc": 1.0}
    assert list(evaluation.manifest.entries) == ["eval_results.json"]
    assert run.ended


@pytest.mark.parametrize("nobody", [{"is_first": False}, {"disabled": True}])
def test_other_processes_and_disabled_runs_log_nothing(track, tmp_path, nobody):
    run, callback = track(**nobody)
    callback.on_evaluate(None, SimpleNamespace(global_step=7), None)
    callback.finish()
    assert (run.used, run.logged, run.artifacts, run.ended) == ([], [], [], False)
    assert not (tmp_path / "wandb_run.json").exists()
