"""TrainingInput: what a run learns from, made once per machine and read by all of its processes.

Rows are read, encoded and looked at by the first process of a machine only. It writes what came of them, and every process
maps these files, so that their tokens are in memory once for all and take nothing of what a process has for itself:

    <output_dir>/_input-09af3c.../    prm_config.json    what the checkpoint will say about itself
                                      train/             one file for each column of examples (`prm.training.columns`)
                                      validation/
                                      input.json         the rest, and what was printed; written last

The name is a hash of rows, tokenizer, prompt, flags and versions: what was made of other ones is never found. A run that
was killed finds its input again; one that has ended removes it. The leading _ keeps it from being pushed to the hub.

Left out: rows on the hub, which have no hash that is cheaper than reading them; every process reads those for itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prm.encoding.prompts import prompt_template
from prm.files import read_object, write_whole
from prm.models.fingerprints import tokenizer_text
from prm.storage.jsonl import file_hash
from prm.storage.provenance import library_versions
from prm.storage.rows import LabeledRow
from prm.training.arguments import VerifierArguments
from prm.training.columns import Columns
from prm.training.data import training_source, validation_source
from prm.training.examples import NUMBERS, DatasetReport, ExampleSet, TraceExample
from prm.training.preflight import preflight
from prm.verifiers.checkpoint import VerifierConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainingArguments

PREFIX = "_input-"
DONE = "input.json"
CHECKED_ROWS = 8
"""Validation rows whose scores are compared between the model in memory and the saved checkpoint."""


@dataclass(frozen=True)
class TrainingInput:
    """What `fit` needs to know of the rows."""

    config: VerifierConfig
    """What the checkpoint says about itself, all but the base of a LoRA."""
    train: Sequence[TraceExample]
    validation: Sequence[TraceExample]
    report: DatasetReport
    """Of the training rows."""
    prompts: list[str]
    """Of the traces whose scores are compared at the end."""
    steps_N: list[list[str]]
    folder: Path | None = None
    """Where it is mapped from; None = it is in memory."""


def look_at(
    data: str, config: VerifierConfig, train: ExampleSet, validation: ExampleSet, tokenizer: PreTrainedTokenizerBase
) -> TrainingInput:
    """Examples that were looked at, with the facts of their rows. Prints what `preflight` shows.

    Args:
        data: as the flag `--data`.
        config: its codec made the examples.

    Raises:
        ValueError: the data cannot train a verifier (`preflight`).
    """
    preflight(training_source(data), train, validation, config.codec, tokenizer)
    methods = ", ".join(sorted({row.labeled.method for row in train.rows}))
    config = replace(config, training_data=f"{train.report}; labeled by {methods}")
    prompts, steps_N = _readable(validation.rows[:CHECKED_ROWS], config, tokenizer)
    return TrainingInput(config, train.examples, validation.examples, train.report, prompts, steps_N)


def made_once(
    arguments: VerifierArguments,
    training: TrainingArguments,
    tokenizer: PreTrainedTokenizerBase,
    make: Callable[[], TrainingInput],
) -> TrainingInput:
    """What `make` makes, or made before of the same rows and settings; every process of the run must call it.

    Raises:
        ValueError: the first process could not make it. That process raises what `make` raised.
    """
    sources = training_source(arguments.data), validation_source(arguments.data, arguments.eval_data)
    files = [source for source in sources if source is not None]
    if not all(Path(file).is_file() for file in files):
        return make()
    folder = Path(str(training.output_dir)) / (PREFIX + _key(arguments, tokenizer, files))
    with training.main_process_first(desc="reading and encoding the rows"):
        if training.local_process_index == 0 and not (folder / DONE).is_file():
            printed = io.StringIO()
            try:
                with redirect_stdout(printed):
                    made = make()
            except Exception:
                print(printed.getvalue(), end="")
                raise
            _save(made, printed.getvalue(), folder)
            del made  # rows and examples in memory
        if not (folder / DONE).is_file():
            raise ValueError("the first process of this machine could not read the rows; its message says why")
        return _load(folder)


def _key(arguments: VerifierArguments, tokenizer: PreTrainedTokenizerBase, files: Sequence[str]) -> str:
    """Sixteen hex digits of all that decides what is made of the rows."""
    settings = type(arguments).__name__, asdict(arguments), prompt_template(arguments.prompt), library_versions()
    rows = [file_hash(file) for file in files]
    return hashlib.sha256(repr((settings, rows, tokenizer_text(tokenizer))).encode()).hexdigest()[:16]


def remove(made: TrainingInput) -> None:
    """Remove its files at the end of a run; processes that still map them keep them."""
    if made.folder is not None:
        for folder in made.folder.parent.glob(f"{made.folder.name}*"):  # halves of killed processes, too
            shutil.rmtree(folder, ignore_errors=True)


def _save(made: TrainingInput, printed: str, folder: Path) -> None:
    """Write a whole folder under another name first: a killed process leaves none that looks whole, and of two machines that
    share a disk one comes first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob(f"{PREFIX}*"):
        if not old.name.startswith(folder.name):  # of other rows or settings
            shutil.rmtree(old, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    made.config.save(new)
    for name, examples in (("train", made.train), ("validation", made.validation)):
        columns = Columns(TraceExample, NUMBERS)
        for example in () if isinstance(examples, Columns) else examples:
            columns.append(example)
        (examples if isinstance(examples, Columns) else columns).save(new / name)
    rest = {"report": asdict(made.report), "prompts": made.prompts, "steps": made.steps_N, "printed": printed}
    write_whole(new / DONE, json.dumps(rest, ensure_ascii=False) + "\n")
    try:
        os.rename(new, folder)
    except OSError:
        if not (folder / DONE).is_file():
            raise
        shutil.rmtree(new, ignore_errors=True)


def _load(folder: Path) -> TrainingInput:
    rest = read_object(folder / DONE, f"delete {folder}")
    print(rest["printed"], end="")
    train, validation = (Columns.mapped(folder / name, TraceExample, NUMBERS) for name in ("train", "validation"))
    report = DatasetReport(**rest["report"])
    return TrainingInput(VerifierConfig.load(folder), train, validation, report, rest["prompts"], rest["steps"], folder)


def _readable(
    rows: Sequence[LabeledRow], config: VerifierConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[str], list[list[str]]]:
    """Prompts and steps, as far as they fit into `max_length`: scoring refuses what training truncates."""
    prompts, steps_N = [], []
    for row in rows:
        prompt, steps = row.problem.prompt, row.labeled.trace.steps
        prompts.append(prompt)
        steps_N.append(list(steps[: config.codec.fit(config.codec.encode(tokenizer, prompt, steps))]))
    return prompts, steps_N
