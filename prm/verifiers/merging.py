"""An adapter verifier merged into its base.

    outputs/lora         adapter_model.safetensors     needs its base, and PEFT to read it
    outputs/merged       model.safetensors             whole fp32 weights, for all that read Hugging Face folders

Left out: merging into 4-bit weights.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from prm.verifiers.checkpoint import SETTINGS_FILE, VerifierConfig
from prm.verifiers.model_card import EXAMPLE, write_model_card
from prm.verifiers.step_verifier import TOLERANCE, StepVerifier, largest_difference

EVALUATION_FILE = "eval_results.json"
"""What the Trainer calls its file of metrics."""


def merge_adapter(path: str, output_dir: str, base_model: str | None = None) -> float:
    """Write the whole weights of a LoRA verifier, in fp32, with its config, settings, metrics and a card.

    Args:
        base_model: as for `load_verifier`.

    Returns:
        The largest difference between the scores of the two on an example.

    Raises:
        ValueError: not an adapter, an adapter on 4-bit weights, or what `load_verifier` refuses.
        RuntimeError: the scores differ by more than `TOLERANCE`.
    """
    config = VerifierConfig.load(path)
    if not (Path(path) / "adapter_config.json").is_file():
        raise ValueError(f"{path} is no adapter; it has whole weights already")
    if config.quantization is not None:
        raise ValueError(
            f"{path} was trained on a base rounded to 4 bits; merged, it would be rounded once more, or score differently on"
            " the unrounded base. Use it as an adapter, or train without --load_in_4bit"
        )
    # The merged model is in memory; save it with what describes it.
    adapter = StepVerifier.from_pretrained(path, base_model=base_model)
    adapter.model.save_pretrained(output_dir)  # type: ignore[operator]
    adapter.tokenizer.save_pretrained(output_dir)
    merged_config = replace(config, base_weights=None)
    merged_config.save(output_dir)
    for name in (SETTINGS_FILE, EVALUATION_FILE):
        if (file := Path(path) / name).is_file():
            shutil.copy(file, output_dir)
    write_model_card(output_dir, Path(output_dir).name, merged_config, adapter.tokenizer, _metrics(Path(path)))
    # Proved as after training.
    prompt, steps = EXAMPLE
    expected = adapter.score(prompt, steps)
    found = StepVerifier.from_pretrained(output_dir).score(prompt, steps)
    difference = largest_difference(found, expected)
    if not difference <= TOLERANCE:  # true for NaN, too
        raise RuntimeError(f"{output_dir}: its scores differ from those of {path} by {difference:.2g}; do not use it")
    return difference


def _metrics(folder: Path) -> dict[str, float]:
    """Of the final evaluation, as a card lists them: without the Trainer's own about speed."""
    file = folder / EVALUATION_FILE
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    names = {name: name.removeprefix("eval_") for name in values if name.startswith("eval_")}
    return {short: values[name] for name, short in names.items() if short != "runtime" and "per_second" not in short}
