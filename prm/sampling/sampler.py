"""The sampler of a traces file: the settings with which `data/sample_traces.py` wrote it, as its record beside it says.

Labels are to say how the generator goes on that wrote the traces. With another temperature or prompt they measure another
generator, without any error. So labeling takes from the record what the user does not state, and says what differs.

    record = sampler_record("outputs/traces.jsonl")        # outputs/traces.config.yaml: {"temperature": 0.8, ...}
    settings, notes = settle(args, record)                 # what to label with, and what to tell the user
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from prm.encoding.prompts import prompt_template
from prm.files import read_settings
from prm.generators.arguments import GeneratorArguments
from prm.storage.paths import need_file

MODEL = ("generator", "engine", "tokenizer", "gguf_file", "dtype")
SAMPLING = ("temperature", "top_p", "max_new_tokens", "prompt", "step_rule")
DEFAULTS = {f.name: None if f.default is MISSING else f.default for f in fields(GeneratorArguments)}


def sampler_record(traces: str | Path) -> dict[str, Any] | None:
    """The settings that a traces file was sampled with; None if no record says them.

    The record of a labeled file names the traces that were labeled, that of mined traces the search run that they are from:
    theirs counts.

    Raises:
        FileNotFoundError: there is no such traces file.
    """
    path = need_file(traces)
    record = path.with_name(f"{path.stem}.config.yaml")
    if not record.is_file():
        return None
    fix = "restore it, or delete it and state the generator and its settings"
    settings = read_settings(record, fix)
    if "run" in settings:  # data/mine_traces.py
        record = Path(settings["run"]) / "config.yaml"
        if not record.is_file():
            return None
        settings = read_settings(record, fix)
    if "traces" in settings:
        return sampler_record(settings["traces"]) if Path(settings["traces"]).is_file() else None
    # Settings that did not exist when the traces were sampled had what is now their default.
    return _with_step_rule(DEFAULTS | settings) if {"generator", *SAMPLING} <= settings.keys() else None


def settle(args: GeneratorArguments, record: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
    """The settings to label with, and what the user should know of them.

    Args:
        args: None where the user states nothing. Then the record decides, or the default where there is none. Engine,
            tokenizer and GGUF file belong to the generator: they are the record's if the generator is.

    Raises:
        ValueError: nobody says which generator.
    """
    stated = {name: value for name in (*MODEL, *SAMPLING) if (value := getattr(args, name)) is not None}
    if record is None:
        settings = _with_step_rule({name: DEFAULTS[name] for name in (*MODEL, *SAMPLING)} | stated)
        if settings["generator"] is None:
            raise ValueError("no record says which generator wrote the traces; give it with --generator")
        used = ", ".join(f"{name} {settings[name]}" for name in SAMPLING)
        return settings, [f"no record says how the traces were sampled; their labels will be sampled with {used}"]
    of_record = SAMPLING if stated.get("generator", record["generator"]) != record["generator"] else (*MODEL, *SAMPLING)
    settings = DEFAULTS | {name: record[name] for name in of_record} | stated
    differing = [
        f"{name}: traces were sampled with {record[name]}, labels will be sampled with {settings[name]}"
        for name in (*MODEL, *SAMPLING)
        if settings[name] != record[name]
    ]
    notes = [
        "; ".join(differing)
        + ". So the labels say how another sampler goes on than the one that wrote the traces, and the"
        " traces do not count as its rollouts; without these flags, the traces' own settings are used"
    ]
    return {name: settings[name] for name in (*MODEL, *SAMPLING)}, notes if differing else []


def sampler_settings(args: GeneratorArguments) -> dict[str, Any]:
    """The settings that change what is sampled, with a hash of the prompt template, whose file may change."""
    template = hashlib.sha256(repr(prompt_template(args.prompt)).encode()).hexdigest()[:8]
    return _with_step_rule({name: getattr(args, name) for name in (*MODEL, *SAMPLING)}) | {"template": template}


def _with_step_rule(settings: dict[str, Any]) -> dict[str, Any]:
    """With the usual step rule of the prompt where none is given."""
    return settings | {"step_rule": settings["step_rule"] or prompt_template(settings["prompt"]).step_rule}
