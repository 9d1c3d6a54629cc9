"""The part of a model card that says where the model comes from: base, data, hyperparameters, command, license.

Verifiers and generators have it. It is read from the `config.yaml` that training leaves in the folder of the model:

    | `learning_rate` | 0.001 |
    ...
    # Made by this command, on 1 process(es):
    #   python recipes/train_prm.py --config recipes/configs/prm_arithmetic.yaml

Base and data in local folders are left out of the front matter, where the Hub accepts only its own names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from prm.files import write_whole
from prm.storage.paths import may_be_on_hub
from prm.verifiers.checkpoint import SETTINGS_FILE

HYPERPARAMETERS = (
    *("head", "lora_r", "load_in_4bit", "freeze_backbone", "max_length"),
    *("objective", "targets", "until_first_error", "tokens", "bad_weight", "beta"),
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "max_grad_norm"),
    *("bf16", "fp16", "seed"),
)
"""Those of the settings that cards list; `config.yaml` has all of them."""


def origins(folder: Path, base_model: str | None) -> dict[str, Any]:
    """For the front matter of any model: its license, and base and data as far as the Hub knows their names."""
    settings = read_settings(folder)
    head = {}
    if settings.get("license"):
        head["license"] = settings["license"]
    if base_model and may_be_on_hub(base_model):
        head["base_model"] = base_model
    if may_be_on_hub(settings.get("data", "")):
        head["datasets"] = [settings["data"]]
    return head


def training_section(folder: Path) -> str:
    """Hyperparameters, command and license of any model, from its config.yaml."""
    settings = read_settings(folder)
    if not settings:
        return "## Training\n\nThe settings were not recorded."
    rows = "\n".join(f"| `{name}` | {settings[name]} |" for name in HYPERPARAMETERS if settings.get(name) is not None)
    text = (folder / SETTINGS_FILE).read_text(encoding="utf-8")
    made = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    stated = settings["license"]
    license = (
        f"License: {stated}." if stated else "No license was stated; those of the base model and of the data apply."
    )
    return f"""## Training

| setting | value |
|---|---|
{rows}

`{SETTINGS_FILE}` has all settings. It begins:

```
{made}
```

{license}"""


def write_card(folder: Path, front_matter: dict[str, Any], sections: Sequence[str]) -> None:
    head = yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True)
    write_whole(folder / "README.md", f"---\n{head}---\n\n" + "\n\n".join(sections) + "\n")


def read_settings(folder: Path) -> dict[str, Any]:
    """The flags in its config.yaml; empty without such a file."""
    path = folder / SETTINGS_FILE
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
