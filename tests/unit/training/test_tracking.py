"""Tables and pictures of an evaluation, and files as artifacts. Whole runs: tests/scripts/test_tracking.py."""

import base64
import hashlib

import numpy as np

from prm.evaluation.step_metrics import reliability
from prm.training import tracking
from prm.training.tracking import data_artifact, draw_reliability, scores_by_depth


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
