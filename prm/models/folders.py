"""The folder of a model, looked at before and after it is loaded: what is not whole, or not what it says, is refused.

    config.json          num_hidden_layers 1000000    the weights have 24 layers: refused before a model is built
    model.safetensors    model.norm.weight nan        refused, with the name of the tensor
    tokenizer.json       cut at 500 bytes             "outputs/prm cannot be loaded: JSONDecodeError: ..."

A model takes no more memory than its files justify (`check_config`, `check_size`), gets every tensor that it needs and
leaves none (`check_loaded`), and all its weights are numbers (`check_finite`). Weights are read from safetensors, never
from pickles, and code in a folder is never run (`SAFELY`).

Left out: tensors that changed and are still numbers. `prm_config.json` has checksums for these; of a generator the
fingerprint, which is part of its name, is another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open

from prm.files import read_object

SAFELY: dict[str, Any] = {"trust_remote_code": False}
"""For every `from_pretrained` of an Auto class: code that comes with a model is refused, and nobody is asked. Without it,
transformers asks on standard input."""

_COUNT = re.compile(r"(num|n)_.*(layer|expert|label|head|block).*|.*layers|depth")
"""Keys of a config that say how many modules are built."""
_MANY = 1000
"""Such a number needs no reason; a model with more layers would need as many in its files."""
_LAYER = re.compile(r"\.(\d+)\.")
_CONFIG_BYTES = 10 << 20
MODEL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "model*.safetensors")
"""What is read of a model on the hub."""


@dataclass(frozen=True)
class Stored:
    """A tensor, as the header of its file describes it."""

    shape: tuple[int, ...]
    dtype: str
    """As safetensors call it: F32, BF16, U8, ..."""
    file: Path


@contextmanager
def opening(path: str | Path) -> Iterator[None]:
    """Libraries fail in many ways on a damaged folder. Whatever they raise becomes an error that names it.

    Raises:
        ValueError: anything was raised that does not name the folder already.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{path} brings code of its own, which is not run here; use a model that needs none"
            ) from error
        if isinstance(error, ValueError | OSError) and str(path) in str(error):
            raise
        raise ValueError(
            f"{path} cannot be loaded: {type(error).__name__}{': ' * bool(reason)}{reason}. A file in it is damaged, or of a"
            " kind that is not supported; save or download it again"
        ) from error


def local_folder(path: str, *patterns: str) -> Path:
    """The folder itself, or the files of these patterns from the hub.

    Raises:
        OSError: it is no folder and not on the hub.
    """
    if Path(path).is_dir():
        return Path(path)
    try:
        return Path(snapshot_download(path, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # it may say only that there is no connection, or that this is no name
        reason = str(error).splitlines()[0]
        raise OSError(f"{path!r} is no folder with a model, and could not be loaded from the hub: {reason}") from error


def read_json(file: Path) -> dict[str, Any]:
    """
    Raises:
        FileNotFoundError: there is none. ValueError: it is no JSON object, or larger than any config is.
    """
    if file.stat().st_size > _CONFIG_BYTES:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes; a config has fewer than {_CONFIG_BYTES:,}")
    return read_object(file, "it is damaged, save or download its folder again")


def stored_tensors(folder: Path, pattern: str = "model*.safetensors") -> dict[str, Stored]:
    """Every tensor of the safetensors in a folder, from the headers alone.

    Raises:
        FileNotFoundError: there are none. ValueError: a file is damaged.
    """
    files = sorted(folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"{folder} has no {pattern}; save the model with `save_pretrained`")
    found = {}
    for file in files:
        with opening(file), safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # no dictionary
                part = tensors.get_slice(name)
                found[name] = Stored(tuple(part.get_shape()), part.get_dtype(), file)
    return found


def stored_in_gguf(file: Path) -> dict[str, Stored]:
    """Every tensor of a GGUF file, from its header alone."""
    from gguf import GGUFReader

    return {
        part.name: Stored(tuple(map(int, part.shape)), part.tensor_type.name, file) for part in GGUFReader(file).tensors
    }


def check_config(folder: Path, stored: Iterable[str] = ()) -> None:
    """As `check_counts`, of the config of a folder; it may be damaged, too."""
    check_counts(folder / "config.json", read_json(folder / "config.json"), stored)


def check_counts(file: Path, config: Mapping[str, Any], stored: Iterable[str] = ()) -> None:
    """Refuse a config that makes far more layers, experts or labels than the weights have: building them would not end.

    Args:
        file: where it is from.
        stored: the names of the weights, if they are known.

    Raises:
        ValueError: it does; names the file and the key.
    """
    largest = max([_MANY, *(int(number) + 1 for name in stored for number in _LAYER.findall(name))])
    todo: list[tuple[str, Any]] = list(config.items())
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            todo += value.items()
        elif isinstance(value, int) and value > largest and _COUNT.fullmatch(key):
            raise ValueError(f"{file}: {key} is {value:,}, more than its weights have; download it again")


def check_size(folder: Path, stored: Mapping[str, Stored], model: torch.nn.Module) -> None:
    """Refuse a model much larger than its files: what they lack would be made up, and could be of any size.

    Args:
        model: on the device `meta`, where it takes no memory.

    Raises:
        ValueError: it has more than eight times as many numbers (4-bit weights are stored in pairs; a head or an output
            layer may be made of the input's).
    """
    needed = sum(part.numel() for part in (*model.parameters(), *model.buffers()))
    there = sum(prod(part.shape) for part in stored.values())
    if needed > 8 * there + (1 << 20):
        raise ValueError(
            f"{folder}: its config describes a model of {needed:,} numbers, its weights hold {there:,}; they do not belong"
            " together, download or save the folder again"
        )


def check_loaded(path: str, info: Mapping[str, Any]) -> None:
    """Refuse a model that did not get each of its tensors from the files, or has no place for one of theirs.

    Args:
        info: of `from_pretrained(..., output_loading_info=True, ignore_mismatched_sizes=True)`.

    Raises:
        ValueError: names the tensors.
    """
    refuse_names(path, info["missing_keys"], "lacks {}; it is incomplete")
    refuse_names(
        path,
        {name for name, *_ in info["mismatched_keys"]},
        "has {} of another shape than its config says; files of two models are mixed",
    )
    refuse_names(path, info["unexpected_keys"], "holds {}, for which its config has no place: layers would be left out")


def refuse_names(path: str, names: Iterable[str], sentence: str) -> None:
    """
    Raises:
        ValueError: there are any; `sentence` says of them what is wrong.
    """
    if names := sorted(names):
        more = f" and {len(names) - 3} more tensors" if len(names) > 3 else ""
        raise ValueError(f"{path} {sentence.format(', '.join(names[:3]) + more)}. Save or download it again")


def check_finite(path: str | Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights that are not numbers.

    Raises:
        ValueError: names the first such tensor.
    """
    for name, tensor in tensors:
        if tensor.is_meta or not tensor.is_floating_point() or not tensor.numel():  # sharded: another process has it
            continue
        low, high = torch.aminmax(tensor)  # one pass and no copy, unlike `isfinite`; NaN is passed on
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise ValueError(
                f"{path}: the weights {name} are not all finite numbers: training diverged, or the file is damaged; use an"
                " earlier checkpoint, or download it again"
            )
