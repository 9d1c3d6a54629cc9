"""prm_config.json: what a verifier checkpoint says about itself, beside the plain Hugging Face files.

    {"kind": "prm", "head": "linear", "semantics": "value", "aggregation": "last", "labels": ["bad", "good"],
     "codec": {"prompt": {"text": "{prompt}\\n", "chat": false, "system": null, "date": "2024-07-26"},
               "separator": "\\n", "marker": null, "max_length": 256},
     "base_model": "arithmetic-generator", "base_weights": null, "data_hash": "9f2c...", "versions": {"prm": "0.1.0", ...},
     "files": {"model.safetensors": "5e0c...", "config.json": "77a1...", "tokenizer.json": "c2d9..."}}

Training writes it and scoring reads it, so that the two can never differ in prompt, separator or read position. `files` are
checksums of what is beside it and decides scores, too: a bit that a disk has lost looks like a weight.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from prm.encoding.codec import StepCodec
from prm.files import read_object, write_whole
from prm.storage.jsonl import file_hash
from prm.storage.paths import need_folder
from prm.storage.provenance import library_versions
from prm.types import Aggregation, Head, Semantics, StepRule

FILE = "prm_config.json"
SETTINGS_FILE = "config.yaml"
"""All flags of the training run, beside it (`prm.training.settings`)."""


@dataclass(frozen=True)
class VerifierConfig:
    """The contents of `prm_config.json`."""

    kind: Literal["prm", "orm"]
    codec: StepCodec
    semantics: Semantics
    aggregation: Aggregation
    base_model: str
    """Folder or hub name, as it was given in training."""
    data_hash: str
    head: Head = "linear"
    quantization: Literal["nf4"] | None = None
    """How the base of an adapter was quantized in training; scoring does the same, or the scores would shift (a little they
    do where bf16 is computed on a GPU and fp32 on the CPU)."""
    base_weights: str | None = None
    """Of an adapter: the hash of the base that it was trained on (`prm.models.fingerprints.hash_of_base`)."""
    objective: str = "cross_entropy"
    bad_weight: float = 1.0
    targets: Literal["soft", "hard", "counts"] = "hard"
    until_first_error: bool = False
    tokens: Literal["last", "all"] = "last"
    """What it was trained with (`prm.training`). What a score means follows from it (`prm.verifiers.score_meaning`)."""
    training_data: str = ""
    """Counts of the training rows and who labeled them, in words."""
    step_rule: StepRule | None = None
    """How the traces it learned from were divided into steps (`prm.encoding.steps`); None if their rows do not say."""
    labels: tuple[str, str] = ("bad", "good")
    versions: dict[str, str] = field(default_factory=library_versions)

    def __post_init__(self) -> None:
        if self.codec.max_length < 1 or not self.bad_weight > 0:
            raise ValueError(
                f"{FILE}: max_length {self.codec.max_length} must be at least 1, bad_weight {self.bad_weight} above 0"
            )
        if self.labels != ("bad", "good"):
            raise ValueError(f"{FILE}: labels are {self.labels}, not ('bad', 'good'); the scores could be upside down")
        if (self.kind == "orm") != (self.semantics == "outcome"):
            raise ValueError(
                f"{FILE}: a {self.kind} cannot have {self.semantics!r} labels; an orm learns outcomes, a prm learns steps"
            )

    def save(self, folder: str | Path) -> None:
        """Write it, with checksums of the files beside it that decide scores: save it last."""
        values = asdict(self) | {"files": {file.name: _checksum(file) for file in _decisive(Path(folder))}}
        write_whole(Path(folder) / FILE, json.dumps(values, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> VerifierConfig:
        """
        Raises:
            FileNotFoundError: there is none. ValueError: it is damaged; names the file, the key and its value.
        """
        path, values = _read(folder)
        values.pop("files", None)
        unknown = values.keys() - cls.__dataclass_fields__
        if unknown:
            raise ValueError(f"{path}: unknown keys {', '.join(sorted(unknown))}; was it written by a newer version?")
        try:
            return made(cls, values)
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{FILE}: ')}; {_DAMAGED}") from error


_NEEDED = {"prompt", "separator", "marker", "max_length", "text", "chat"}
"""Of codec and prompt: what is read otherwise without them."""

_DAMAGED = "copy the checkpoint again, or train again"


def check_files(folder: str | Path) -> None:
    """Refuse a checkpoint one of whose files changed since it was saved. One that was saved without checksums passes.

    Raises:
        ValueError: names the file.
    """
    path, values = _read(folder)
    saved = values.get("files") or {}
    if not isinstance(saved, dict):
        raise ValueError(f"{path}: files is {saved!r:.80}, not a checksum for each file; {_DAMAGED}")
    found = {file.name: file for file in _decisive(Path(folder))}
    for name, checksum in saved.items():
        if name not in found or _checksum(found[name]) != checksum:
            state = "is not what was saved" if name in found else "is gone"
            raise ValueError(
                f"{Path(folder) / name} {state}, its scores would be those of another verifier; {_DAMAGED}. If you changed"
                f' it yourself, delete "files" from {path}'
            )
    weights = [name for name in found if name.endswith(_WEIGHTS)]
    if not saved.keys().isdisjoint(weights) and (new := sorted(set(weights) - saved.keys())):
        raise ValueError(
            f"{Path(folder) / new[0]} was not saved with this checkpoint; remove it, or copy the folder again"
        )


_WEIGHTS = ".safetensors"
_SETTINGS = {"config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}


def _decisive(folder: Path) -> list[Path]:
    """The files that decide scores, besides `FILE` itself."""
    return sorted(f for f in folder.glob("*") if f.is_file() and (f.name in _SETTINGS or f.name.endswith(_WEIGHTS)))


def _checksum(file: Path) -> str:
    if file.name != "adapter_config.json":
        return file_hash(file)
    values = json.loads(file.read_text(encoding="utf-8"))
    values.pop("base_model_name_or_path", None)  # may be corrected where the base was moved; its weights are compared
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _read(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    path = need_folder(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: {folder} is not a verifier saved by this project, and how its prompts, steps and"
            " scores are laid out is unknown; of one that others published, give its family, as in"
            f" qwen_prm:{folder} (prm/verifiers/families.py)"
        )
    return path, read_object(path, _DAMAGED)


def made(kind: Any, values: Any, where: str = "") -> Any:
    """A dataclass from what JSON holds of it.

    Raises:
        ValueError: a key is missing, unknown, or of another type; names it.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where.rstrip('.')} {values!r:.50} is not an object")
    known = {f.name: f for f in fields(kind)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"{where}{unknown[0]} is no key of it")
    needed = [n for n, f in known.items() if f.default is f.default_factory is MISSING or n in _NEEDED]
    if missing := [n for n in needed if n not in values]:
        raise ValueError(f"{where}{missing[0]} is missing")
    hints = get_type_hints(kind)
    return kind(**{name: _of_type(hints[name], value, where + name) for name, value in values.items()})


def _of_type(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint):
        return made(hint, value, f"{name}.")
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if is_dataclass(option) and isinstance(value, dict):
            return made(option, value, f"{name}.")
        origin, inner = get_origin(option), get_args(option)
        if origin is Literal and isinstance(value, str | None) and value in inner:
            return value
        if origin is tuple and isinstance(value, list):
            parts = [inner[0]] * len(value) if inner[1:] == (...,) else inner
            if len(parts) == len(value):
                return tuple(_of_type(part, v, name) for part, v in zip(parts, value, strict=True))
        if origin is dict and isinstance(value, dict):
            return {key: _of_type(inner[1], v, f"{name}.{key}") for key, v in value.items()}
        if option is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return value
        if origin is None and option is not float and type(value) is option:
            return value
    raise ValueError(f"{name} {value!r:.80} is not {_expected(hint)}")


def _expected(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_expected(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
    return words.get(hint, "a list" if get_origin(hint) is tuple else "an object")
