import hashlib
import importlib.metadata
import json
import re
from dataclasses import dataclass

import yaml

from prm.storage.provenance import library_versions, write_provenance


@dataclass
class Settings:
    traces: str = "in.jsonl"
    rollouts: int = 8
    limit: int | None = None


def test_a_file_gets_meta_and_config_beside_it(tmp_path):
    data = tmp_path / "in.jsonl"
    data.write_bytes(b'{"a": 1}\n')
    write_provenance(
        tmp_path / "labeled.jsonl",
        "data/label_steps.py",
        Settings(),
        [str(data), "arithmetic"],
        seconds=1.5,
        outcomes={"correct": 3},
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "labeled.config.yaml", "labeled.meta.json"]
    meta = json.loads((tmp_path / "labeled.meta.json").read_text())
    assert meta["script"] == "data/label_steps.py"
    assert meta["inputs"] == {str(data): hashlib.sha256(b'{"a": 1}\n').hexdigest()[:16], "arithmetic": None}
    assert (meta["seconds"], meta["outcomes"]) == (1.5, {"correct": 3})
    assert meta["versions"] == library_versions()
    assert meta["git"] is None or re.fullmatch(r"[0-9a-f]{7,}\+?|.*-g[0-9a-f]{7,}\+?", meta["git"])
    config = yaml.safe_load((tmp_path / "labeled.config.yaml").read_text())
    assert config == {"traces": "in.jsonl", "rollouts": 8, "limit": None}


def test_a_folder_gets_them_inside(tmp_path):
    write_provenance(tmp_path, "eval/run_search.py", Settings(rollouts=2), [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "meta.json"]
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["rollouts"] == 2


def test_versions_are_those_installed():
    versions = library_versions()
    assert set(versions) == {"prm", "torch", "transformers", "peft", "trl"}
    assert versions["torch"] == importlib.metadata.version("torch")
