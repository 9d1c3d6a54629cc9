"""What the attacks start from: a base model, a whole verifier and an adapter on the base, each a folder that loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.generators import load_generator
from prm.models.fingerprints import hash_of_base
from prm.models.loading import from_base
from prm.training.trainer import add_lora
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import FILE, VerifierConfig


@dataclass
class Folder:
    """A copy of one of the three, to be damaged."""

    path: Path

    def json(self, name: str, **changes: Any) -> None:
        """Set keys; None removes one."""
        values = json.loads((self.path / name).read_text()) | changes
        text = json.dumps({key: value for key, value in values.items() if value is not None})
        (self.path / name).write_text(text)

    def tensors(self, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
        (file,) = self.path.glob("*.safetensors")
        save_file(change(load_file(file)), file, {"format": "pt"})

    def without_checksums(self) -> None:
        self.json(FILE, files=None)

    def score(self, **options: Any) -> list[float]:
        return load_verifier(str(self.path), **options).score("Start with 47, add 38.", ["47 + 38 = 85", "#### 85"])

    def generator(self, **settings: Any) -> Any:
        return load_generator(str(self.path), max_new_tokens=4, **settings)


@pytest.fixture(scope="session")
def models(tmp_path_factory, tiny_llama):
    """Folders base, full and lora."""
    folder, tokenizer = tmp_path_factory.mktemp("models"), build_tokenizer()
    config = VerifierConfig("prm", StepCodec(max_length=64), "value", "last", "base", "hash")
    tiny_llama(len(tokenizer)).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    base = str(folder / "base")
    for name, model, its_config in (
        ("full", from_base(base, torch.float32), config),
        ("lora", add_lora(from_base(base, torch.float32), 4), replace(config, base_weights=hash_of_base(base))),
    ):
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        its_config.save(folder / name)
    return folder


@pytest.fixture
def copy_of(models, tmp_path):
    """`copy_of("full")`: a `Folder` of its own."""

    def make(name: str) -> Folder:
        return Folder(shutil.copytree(models / name, tmp_path / name))

    return make
