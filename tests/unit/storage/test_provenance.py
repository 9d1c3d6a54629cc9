import hashlib
import importlib.metadata
import json
import re
import subprocess
import time
from dataclasses import dataclass

import pytest
import yaml

from prm.storage import provenance
from prm.storage.provenance import check_same_settings, is_complete, library_versions, write_provenance


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
    assert list(config) == ["traces", "rollouts", "limit"]  # as in the class
    assert '\n  "script": "data/label_steps.py",\n' in (tmp_path / "labeled.meta.json").read_text()


def test_a_folder_gets_them_inside(tmp_path):
    write_provenance(tmp_path, "eval/run_search.py", Settings(rollouts=2), [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "meta.json"]
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["rollouts"] == 2


def test_versions_are_those_installed():
    versions = library_versions()
    assert set(versions) == {"prm", "torch", "transformers", "peft", "trl"}
    assert versions["torch"] == importlib.metadata.version("torch")


def test_versions_without_the_project_or_another_package_installed(monkeypatch):
    installed = importlib.metadata.version

    def version(package):
        if package in ("prm-toolkit", "trl"):
            raise importlib.metadata.PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    versions = library_versions()
    assert set(versions) == {"prm", "torch", "transformers", "peft"}
    assert versions["prm"] == "source tree"


def test_an_output_is_complete_only_for_the_settings_and_inputs_it_was_made_with(tmp_path):
    data, output = tmp_path / "in.jsonl", tmp_path / "labeled.jsonl"
    data.write_bytes(b'{"a": 1}\n')
    assert not is_complete(output, Settings(), [str(data)])
    output.touch()
    with pytest.raises(ValueError, match=r"labeled.jsonl exists, but labeled.config.yaml and labeled.meta.json do not"):
        is_complete(output, Settings(), [str(data)])
    write_provenance(output, "data/label_steps.py", Settings(), [str(data)])
    assert is_complete(output, Settings(), [str(data)])
    with pytest.raises(ValueError, match="made with other settings") as error:
        is_complete(output, Settings(rollouts=16), [str(data)])
    assert str(error.value) == (
        f"{output} was made with other settings (rollouts: was 8, now 16). Give another --output, or delete it"
    )
    before, after = (hashlib.sha256(content).hexdigest()[:16] for content in (b'{"a": 1}\n', b'{"a": 2}\n'))
    data.write_bytes(b'{"a": 2}\n')
    with pytest.raises(ValueError, match=rf"\({re.escape(str(data))}: was '{before}', now '{after}'\)"):
        is_complete(output, Settings(), [str(data)])


def test_other_settings_are_refused_by_the_keys_that_differ():
    check_same_settings("x was made", {"a": 1, "b": None}, {"b": None, "a": 1}, "Delete it")
    with pytest.raises(ValueError, match="made with other settings") as error:
        check_same_settings("x was made", {"a": 1, "b": "old", "c": 0}, {"a": 1, "b": "new", "d": 2}, "Delete it")
    assert str(error.value) == (
        "x was made with other settings (b: was 'old', now 'new'; c: was 0, now None; d: was None, now 2). Delete it"
    )


def test_the_commit_is_that_of_the_checkout_and_none_outside_of_one(tmp_path, monkeypatch):
    run = subprocess.run

    def git(code):
        def fake(command, **options):
            assert command[:2] == ["git", "describe"]
            return subprocess.CompletedProcess(command, code, stdout="v1-3-gabcdef0+\n", stderr="")

        return fake

    for code, expected in ((0, "v1-3-gabcdef0+"), (128, None)):
        monkeypatch.setattr("prm.storage.provenance.subprocess.run", git(code))
        write_provenance(tmp_path, "eval/run_search.py", Settings(), [])
        assert json.loads((tmp_path / "meta.json").read_text())["git"] == expected
    assert subprocess.run is not run


def test_a_flag_that_is_newer_than_the_output_had_its_default(tmp_path):
    output = tmp_path / "labeled.jsonl"
    output.touch()
    write_provenance(output, "data/label_steps.py", Settings(), [])
    config = tmp_path / "labeled.config.yaml"
    config.write_text("traces: in.jsonl\nlimit: null\n")
    assert is_complete(output, Settings(), [])
    with pytest.raises(ValueError, match=r"rollouts: was 8, now 9"):
        is_complete(output, Settings(rollouts=9), [])
    for name in ("labeled.config.yaml", "labeled.meta.json"):
        write_provenance(output, "data/label_steps.py", Settings(), [])
        (tmp_path / name).unlink()
        with pytest.raises(ValueError, match=r"labeled\.config\.yaml and labeled\.meta\.json do not"):
            is_complete(output, Settings(), [])
    write_provenance(output, "data/label_steps.py", Settings(), [])
    (tmp_path / "labeled.meta.json").write_text('{"inputs": []}')
    with pytest.raises(ValueError, match=r"meta\.json has no `inputs`; give another --output, or delete"):
        is_complete(output, Settings(), [])


def test_a_git_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.05)
    started = time.monotonic()
    write_provenance(tmp_path, "a.py", Settings(), [])
    assert json.loads((tmp_path / "meta.json").read_text())["git"] is None
    assert time.monotonic() - started < 20
