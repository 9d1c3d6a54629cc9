"""The command line of a script: flags from a dataclass, their defaults from `--config file.yaml`, errors of one line.

    @dataclass
    class Arguments:
        problems: str = field(metadata={"help": "JSON Lines file"})    # no default, so it is required
        limit: int | None = field(default=None, metadata={"help": "use only the first problems"})

    def main(args: Arguments) -> None: ...

    if __name__ == "__main__":
        run_script(main, Arguments)

A field is `str`, `int`, `float`, `bool`, `Path`, a `Literal`, a list of these, or `None` as well; `choices` in its metadata
make a `Literal` of it, `least`, `above` and `most` are the limits of a number. Nothing here imports torch or transformers:
help and a typo must not wait for them. The flags of `TrainingArguments` are therefore read from its source. Its `debug` is
left out, because `--debug` shows tracebacks.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import errno
import importlib
import importlib.util
import inspect
import io
import math
import os
import re
import shlex
import sys
import tempfile
import textwrap
import traceback
import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from prm.files import read_settings, visible
from prm.secrets import hide

TRAINING_ARGUMENTS = ("transformers.training_args.TrainingArguments",)
SFT_CONFIG = (*TRAINING_ARGUMENTS, "trl.trainer.base_config._BaseConfig", "trl.trainer.sft_config.SFTConfig")
GRPO_CONFIG = (*TRAINING_ARGUMENTS, "trl.trainer.base_config._BaseConfig", "trl.trainer.grpo_config.GRPOConfig")
"""A class of another library, after the classes from which it inherits its fields."""

COMMON = dict.fromkeys(
    ("output_dir", "num_train_epochs", "per_device_train_batch_size", "learning_rate", "bf16", "report_to", "seed"), ""
)
COMMON["resume_from_checkpoint"] = (
    "a checkpoint folder; true: the newest complete one in --output_dir; auto: the same, or a new start if there is none"
)
"""Flags of `TrainingArguments` that the short help shows, with what we say of them if it is not what they say there."""

REFUSED = {
    "do_train": "this script always trains",
    "do_eval": "--eval_strategy decides it",
    "do_predict": "this script predicts nothing",
}
"""Flags of `TrainingArguments` that the training scripts would ignore."""


WRITTEN = ("output", "output_dir", "report", "answers", "store")
"""Flags that name what a run writes, in every script: the first ones may hold the others."""


MAKE_ROOM = "what is committed is safe: make room, then start the same command again"
_FULL_DISK = re.compile(r"\(os error (?:27|28|122)\)|PytorchStreamWriter failed|No space left on device")


@dataclass(frozen=True)
class Flag:
    kind: Any
    """Its type."""
    help: str
    default: Any
    """MISSING if it is required."""
    group: str
    """Heading of its part of the help."""
    common: bool = True
    """Whether the short help shows it."""
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf


def run_script(
    main: Callable[..., object],
    arguments: type,
    library: Sequence[str] = (),
    check: Callable[[Mapping[str, Any]], None] = lambda given: None,
) -> None:
    """Read the command line, call `main` with what it says, and end as a person expects.

    An error that a user can cause becomes one line, with exit code 1 (2 if it is in the flags). Ctrl-C ends with the
    command that goes on, and exit code 130.

    Args:
        arguments: the script's dataclass of flags, the first argument of `main`.
        library: one of the three above, such as `SFT_CONFIG`: an object of its last class is the second argument of `main`.
        check: refuses what cannot work, by the values that are given, before the library is imported, which takes long.
    """
    words = sys.argv[1:]
    _make_printable()
    try:
        own = flags_of(arguments)
        values = parse(words, own | library_flags(library), main)
        parts: list[object] = [arguments(**{name: value for name, value in values.items() if name in own})]
        check(values)
        for name in WRITTEN:
            if values.get(name) is not None:
                _check_writable(name, Path(values[name]))
        if library:
            module, _, name = library[-1].rpartition(".")
            kind = getattr(importlib.import_module(module), name)
            parts.append(kind(**{name: value for name, value in values.items() if name not in own}))
        main(*parts)
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            more = ["--resume_from_checkpoint", "auto"] if library and "--resume_from_checkpoint" not in words else []
            print(f"\nto go on: {same_command(*more)}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if "--debug" in words or not _is_caused_by_user(error):
            sys.excepthook = _print_traceback
            raise
        sys.exit(f"error: {visible(hide(_one_line(error)))}")


def parse(words: Sequence[str], flags: Mapping[str, Flag], main: Callable[..., object]) -> dict[str, Any]:
    """Values by name, of the flags that are given in a config or on the command line.

    Args:
        main: the script's, which knows the name and the docstring of its file.

    Raises:
        SystemExit: after the help, or an error of one line.
    """
    path = Path(main.__code__.co_filename).resolve()
    script = f"{path.parent.name}/{path.name}"
    parser = make_parser(script, main.__globals__["__doc__"] or "", flags, everything="--help_all" in words)
    if "--help_all" in words:
        parser.print_help()
        sys.exit()
    given, unknown = parser.parse_known_args(words)
    if unknown:
        name = unknown[0].split("=")[0]
        if not name.startswith("--"):
            parser.error(f"{name!r} belongs to no flag")
        parser.error(f"{name} is no flag of {script}{_did_you_mean(name.lstrip('-'), flags, '--')}")

    values, config = {}, vars(given).pop("config", None)
    settings = read_settings(config, "a config holds lines `flag: value`") if config else {}
    for name, value in settings.items():
        if name not in flags:
            parser.error(f"{config}: no flag {name!r}{_did_you_mean(str(name), flags)}")
        values[name] = _checked(parser, f"{config}: {name}", flags[name], value)
    for name, value in vars(given).items():
        if name in flags:
            values[name] = _checked(parser, f"--{name}", flags[name], value)

    for name, reason in REFUSED.items():
        if name in values:
            parser.error(f"--{name} is refused: {reason}; leave it out")
    if missing := [f"--{name}" for name, flag in flags.items() if flag.default is MISSING and name not in values]:
        parser.error(f"{', '.join(missing)} must be given; --help explains the flags of {script}")
    return values


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message.removeprefix('argument ')}\n")


def make_parser(script: str, doc: str, flags: Mapping[str, Flag], everything: bool = False) -> argparse.ArgumentParser:
    """A parser that knows names and numbers of words; `convert` knows the types, for the command line and for YAML."""
    about = f"{textwrap.fill(_first_sentence(doc), 100)}\n\n{textwrap.indent(_example(doc), '    ')}"
    raw = argparse.RawDescriptionHelpFormatter
    usage = f"python {script} [--config FILE.yaml] [flags]"
    parser = _Parser(usage=usage, description=about, formatter_class=raw, add_help=False, allow_abbrev=False)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, flag in flags.items():
        if flag.group not in groups:
            groups[flag.group] = parser.add_argument_group(flag.group)
        options: dict[str, Any] = {"metavar": _metavar(flag.kind), "default": argparse.SUPPRESS}
        if _part(flag.kind) is bool:
            options |= {"nargs": "?", "const": True}
        elif get_origin(_part(flag.kind)) is list:
            options |= {"nargs": "+", "action": "extend"}
        options["help"] = _help(flag) if flag.common or everything else argparse.SUPPRESS
        groups[flag.group].add_argument(f"--{name}", **options)
    others = parser.add_argument_group("flags of every script")
    others.add_argument("--config", metavar="FILE.yaml", help="values of flags; the command line overrides them")
    others.add_argument("--debug", action="store_true", help="show the traceback of an error")
    others.add_argument("--help", "-h", action="help", help="show this help")
    if not all(flag.common for flag in flags.values()):
        others.add_argument("--help_all", action="store_true", help="show the flags of `TrainingArguments`, too")
    return parser


def flags_of(arguments: type) -> dict[str, Flag]:
    """The flags of a dataclass: its own first, then those of each class it inherits from; required ones first."""
    hints, found = get_type_hints(arguments), {}
    for f in fields(arguments):
        owner = next(kind for kind in arguments.__mro__ if f.name in inspect.get_annotations(kind))
        group = "flags" if owner is arguments else f"flags of the {owner.__name__.removesuffix('Arguments').lower()}"
        kind = _with_choices(hints[f.name], f.metadata["choices"]) if "choices" in f.metadata else hints[f.name]
        default = f.default if f.default_factory is MISSING else f.default_factory()
        limits = {name: f.metadata[name] for name in ("least", "above", "most") if name in f.metadata}
        found[f.name] = Flag(kind, f.metadata.get("help", ""), default, group, **limits)
    return dict(sorted(found.items(), key=lambda item: (item[1].group, item[1].default is not MISSING)))


def library_flags(classes: Iterable[str]) -> dict[str, Flag]:
    """The flags of `TRAINING_ARGUMENTS` and the like, without an import. A type defined there counts as text."""
    known: dict[str, Any] = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)}
    names = defaultdict(lambda: str, known | {"Any": Any, "Literal": Literal})
    found: dict[str, Flag] = {}
    for path in classes:
        package, *parts, name = path.split(".")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f'{package} is not installed; pip install "prm-toolkit[scripts]"')
        source = Path(spec.origin).parent.joinpath(*parts).with_suffix(".py").read_text(encoding="utf-8")
        (body,) = [x.body for x in ast.parse(source).body if isinstance(x, ast.ClassDef) and x.name == name]
        group = f"flags of {name.strip('_')} (most of them only in --help_all)"
        for node in body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            options = {word.arg: word.value for word in node.value.keywords} if isinstance(node.value, ast.Call) else {}
            if "init" in options or node.target.id == "debug":
                continue
            flag = node.target.id
            default = MISSING if flag == "output_dir" else _literal(options.get("default", node.value))
            text = COMMON.get(flag) or (_literal(options.get("metadata")) or {}).get("help", "")
            kind = eval(ast.unparse(node.annotation), {"__builtins__": {}}, names)
            found[flag] = Flag(kind, text, default, group, flag in COMMON)
    return found


def convert(kind: Any, value: Any) -> Any:
    """A word of the command line, a list of them, or a value of a YAML file, as the type `kind`.

    Raises:
        ValueError: it cannot be one; its arguments are the value that is wrong and the type needed.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in get_args(kind):
            return None
        parts = [part for part in get_args(kind) if part is not types.NoneType]
        for part in sorted(parts, key=lambda part: part is str)[:-1]:  # text last: every word is text
            try:
                return convert(part, value)
            except ValueError:
                continue
        return convert(max(parts, key=lambda part: part is str), value)
    if origin is Literal:
        by_text = {str(choice): choice for choice in get_args(kind)}
        if str(value) in by_text:
            return by_text[str(value)]
    elif origin is list or kind is list:
        if isinstance(value, list):
            return [convert((*get_args(kind), Any)[0], item) for item in value]
    elif kind is bool:
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
    elif kind in (int, float, str, Path):
        # YAML has 3 for text and "1e-3" for a number; but 2.5 must not become 2, nor `no` the text "False".
        if not isinstance(value, bool | list | dict | None) and not (kind is int and isinstance(value, float)):
            with suppress(ValueError):
                return kind(value)
    elif kind is Any or isinstance(value, origin or kind):
        return value
    raise ValueError(value, kind)


def _checked(parser: argparse.ArgumentParser, where: str, flag: Flag, value: Any) -> Any:
    try:
        converted = convert(flag.kind, value)
    except ValueError as error:
        wrong, needed = error.args
        parser.error(f"{where} {wrong!r:.80}: expected {expected(needed, wrong)}")
    for number in converted if isinstance(converted, list) else [converted]:
        # The other way round would let NaN pass.
        if isinstance(number, int | float) and not (flag.least <= number <= flag.most and number > flag.above):
            parser.error(f"{where} {number}: expected {_limits(flag)}")
    return converted


def _limits(flag: Flag) -> str:
    """`a whole number of at least 1`, `a number above 0 and at most 1`."""
    words = {"of at least": flag.least, "above": flag.above, "at most": flag.most}
    limits = " and ".join(f"{word} {limit:g}" for word, limit in words.items() if math.isfinite(limit))
    kind = _part(flag.kind)
    return f"{expected(get_args(kind)[0] if get_origin(kind) is list else kind, None)} {limits}"


def expected(kind: Any, value: object) -> str:
    """What `convert` needed instead of this value, in words."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    quote = "; YAML reads yes, no, on and off as true or false, so quote them" if isinstance(value, bool) else ""
    return words.get(kind, f"a {(get_origin(kind) or kind).__name__}") + quote


def _part(kind: Any) -> Any:
    """What a word of the command line means: the type itself, or that of a union which is not None."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    parts = [part for part in get_args(kind) if part is not types.NoneType]
    return str if str in parts else parts[0]


def _with_choices(kind: Any, choices: Iterable[str]) -> Any:
    one: Any = Literal[tuple(choices)]  # type: ignore[valid-type]
    if get_origin(kind) is list:
        return list[one]
    return one | None if types.NoneType in get_args(kind) else one


def _metavar(kind: Any) -> str:
    kind = _part(kind)
    if get_origin(kind) is list:
        return _metavar(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return f"{{{','.join(map(str, get_args(kind)))}}}" if len(get_args(kind)) < 10 else "NAME"
    return {bool: "true|false", str: "TEXT"}.get(kind, kind.__name__.upper())


def _help(flag: Flag) -> str:
    default = str(flag.default).lower() if isinstance(flag.default, bool) else flag.default
    note = "" if default is None or isinstance(default, list) else f" (default: {default})"
    if flag.default is MISSING:
        note = " (required)"
    return f"{flag.help}{note}".strip().replace("%", "%%").replace("\n", r"\n")


def _literal(node: ast.expr | None) -> Any:
    """The value of a constant in source text; None where it is computed."""
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _first_sentence(doc: str) -> str:
    return re.split(r"(?<=[.?!])\s", " ".join(doc.strip().split("\n\n")[0].split()))[0]


def _example(doc: str) -> str:
    """The command at the end of a docstring, with its continuation lines."""
    lines = textwrap.dedent(doc.rstrip().split("\n\n")[-1]).splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(("python ", "accelerate "))), len(lines))
    end = next((i for i in range(start, len(lines)) if not lines[i].endswith("\\")), len(lines))
    return "\n".join(lines[start : end + 1])


def _did_you_mean(name: str, names: Iterable[str], before: str = "") -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f", did you mean {before}{close[0]}?" if close else "; --help shows all flags"


def _make_printable() -> None:
    """What is printed can be printed and does no harm: characters that the standard output does not have (in the C locale,
    on old consoles) become escapes instead of an error, and so do control characters of rows, which a terminal obeys. On the
    standard error, progress bars need them; there errors and warnings are escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    write = sys.stdout.write
    sys.stdout.write = lambda text: write(visible(text))  # type: ignore[method-assign]
    plain = warnings.formatwarning
    warnings.formatwarning = lambda *args, **options: visible(plain(*args, **options))


def _check_writable(name: str, path: Path) -> None:
    """Try to write where a flag of `WRITTEN` leads, so that nobody is told after the work that it cannot be. What is not
    there yet is made by whoever writes: a run that is refused leaves nothing.

    Raises:
        ValueError: it cannot be written; says why.
    """
    is_folder = name in ("output_dir", "store")
    if path.is_dir() and not is_folder:
        raise ValueError(f"--{name} {path} is a folder; give a file, such as {path / 'rows.jsonl'}")
    if path.exists() and not path.is_dir() and (is_folder or not path.is_file()):
        raise ValueError(f"--{name} {path} is no {'folder' if is_folder else 'regular file'}; give another --{name}")
    folder = path if is_folder else path.parent
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
    except OSError as error:
        raise ValueError(
            f"--{name} {path} cannot be written ({error.strerror}: {error.filename or folder}); give another --{name}"
        ) from error


def _print_traceback(*error: Any) -> None:
    print(hide("".join(traceback.format_exception(*error))), end="", file=sys.stderr)


def _is_caused_by_user(error: Exception) -> bool:
    """Whether its message says what to do; any other error is a bug, and its traceback is needed."""
    known = isinstance(error, ValueError | OSError | ImportError) or type(error).__module__.startswith("prm.")
    return known or bool(_FULL_DISK.search(str(error)))


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return f"{error.filename}: {error.strerror}{f'; {MAKE_ROOM}' if full else ''}"
    if _FULL_DISK.search(str(error)):  # no OSError: of torch or safetensors, which name no file
        return (
            f"the checkpoint could not be written ({str(error).splitlines()[0][:200]}): is the disk full? {MAKE_ROOM}"
        )
    return " ".join(str(error).splitlines()) or type(error).__name__


def same_command(*more: str) -> str:
    """The command line of this process, with further words, and without the token for the hub."""
    # The launcher tells its script by variables that it was used, but not with which flags.
    launcher = "accelerate launch" if any(name.startswith("ACCELERATE_") for name in os.environ) else "python"
    words = [re.sub(r"(--\w*hub_token=).*", r"\1***", word) for word in (*sys.argv, *more)]
    words = ["***" if before.endswith("hub_token") else word for before, word in zip(["", *words], words)]  # noqa: B905
    return f"{launcher} {shlex.join(words)}"
