"""Training input: made once, mapped by every process, and never that of other rows, another tokenizer or other flags."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row, read_labeled
from prm.training.arguments import VerifierArguments
from prm.training.columns import Columns
from prm.training.examples import prm_examples
from prm.training.input import PREFIX, _load, _save, look_at, made_once, remove
from prm.types import LabeledTrace, Trace
from prm.verifiers.checkpoint import VerifierConfig

CONFIG = VerifierConfig("prm", StepCodec(max_length=200), "value", "last", "base", "hash")


def write_rows(path, good):
    rows = []
    for problem in arithmetic.load("train", 4):
        trace = Trace(problem.id, ("1 + 1 = 2", f"#### {problem.answer}"), problem.answer, True)
        labeled = LabeledTrace(trace, (True, problem.level == good), (0.75, 0.25), None, "test", "value")
        rows.append(labeled_to_row(problem, labeled))
    write_jsonl(path, rows)


@pytest.fixture
def run(tmp_path):
    """`run(process=, **flags)`: what a process gets, and how often rows were read so far."""
    path, made = tmp_path / "rows.jsonl", []
    write_rows(path, 2)

    def call(tokenizer, process=0, max_length=200, eval_data=str(path)):
        arguments = VerifierArguments(model="base", data=str(path), eval_data=eval_data, max_length=max_length)
        training = SimpleNamespace(
            output_dir=str(tmp_path / "out"), local_process_index=process, main_process_first=lambda desc: nullcontext()
        )

        def make():
            made.append(process)
            examples = prm_examples(read_labeled(path), CONFIG.codec, tokenizer, "soft")
            return look_at(arguments.data, CONFIG, examples, examples, tokenizer)

        return made_once(arguments, training, tokenizer, make), len(made)

    call.path, call.folder = path, tmp_path / "out"
    return call


def test_it_is_made_once_and_says_the_same_to_every_process(run, capsys):
    tokenizer = arithmetic.build_tokenizer()
    first, _ = run(tokenizer)
    printed = capsys.readouterr().out
    assert printed.startswith("train       4 traces, 8 labeled steps")
    for process in (1, 0):  # the second of the run, and a run that goes on
        again, times = run(tokenizer, process)
        assert (times, capsys.readouterr().out) == (1, printed)
        assert again == replace(first, train=again.train, validation=again.validation)
        assert list(again.train) == list(first.train) == list(again.validation)
    whole = prm_examples(read_labeled(run.path), CONFIG.codec, tokenizer, "soft")
    assert list(first.train) == list(whole.examples)
    assert isinstance(first.train, Columns)
    assert first.steps_N[0][0] == "1 + 1 = 2"
    assert first.prompts == [problem.prompt for problem in arithmetic.load("train", 4)]
    assert first.config.training_data == f"{whole.report}; labeled by test"
    assert len(first.folder.name) == len(PREFIX) + 16
    remove(first)
    assert list(run.folder.iterdir()) == []
    assert first.train[3] == whole.examples[3]


def test_what_was_made_of_other_rows_or_settings_is_never_used(run):
    tokenizer = arithmetic.build_tokenizer()
    before, _ = run(tokenizer)
    write_rows(run.path, 3)
    after, times = run(tokenizer)
    assert times == 2
    assert [example.hard for example in after.train] != [example.hard for example in before.train]
    assert run(tokenizer, max_length=100)[1] == 3
    tokenizer.add_tokens(["1 + 1"])
    assert run(tokenizer, max_length=100)[1] == 4
    assert run(tokenizer, max_length=100)[1] == 4
    assert len(list(run.folder.iterdir())) == 1  # nor kept


def test_it_is_kept_without_validation_rows_but_not_where_rows_are_no_file(run):
    tokenizer = arithmetic.build_tokenizer()
    assert [run(tokenizer, eval_data=its)[1] for its in (None, None, "a hub name", "a hub name")] == [1, 1, 2, 3]


def test_of_two_that_write_the_same_the_first_is_kept(run, tmp_path):
    """Of examples in a list, too."""
    made, _ = run(arithmetic.build_tokenizer())
    made = replace(made, train=list(made.train), validation=[])
    folder = tmp_path / "another" / "run" / PREFIX
    for printed in ("größer", "later"):
        _save(made, printed, folder)
    assert list(folder.parent.iterdir()) == [folder]
    again = _load(folder)
    assert (list(again.train), list(again.validation)) == (made.train, [])
    assert "größer" in (folder / "input.json").read_text()
    (folder / "input.json").unlink()
    with pytest.raises(OSError, match="not empty"):
        _save(made, "", folder)


def test_half_of_it_is_made_again_and_nobody_waits_for_what_failed(run, capsys):
    tokenizer = arithmetic.build_tokenizer()
    made, _ = run(tokenizer)
    (made.folder / "input.json").unlink()
    made.folder.rename(f"{made.folder}.killed")  # while it was written
    with pytest.raises(ValueError, match="the first process of this machine could not read the rows"):
        run(tokenizer, process=1)
    again, times = run(tokenizer)
    assert (times, list(again.train)) == (2, list(made.train))
    run.path.write_text("{}\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:1"):
        run(tokenizer)
