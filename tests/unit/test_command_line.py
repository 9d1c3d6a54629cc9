"""The flags of the scripts: types, YAML, errors in one line, and help that does not wait for torch."""

import ast
import dataclasses
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from prm.command_line import TRAINING_ARGUMENTS, _part, convert, flags_of, library_flags, make_parser, parse, run_script


@dataclass(kw_only=True)
class EngineArguments:
    engine: str = field(default="hf", metadata={"help": "where it runs", "choices": ["hf", "vllm"]})
    planner: str | None = field(default=None, metadata={"choices": ["all", "bisect"]})


@dataclass(kw_only=True)
class Arguments(EngineArguments):
    problems: str = field(metadata={"help": "JSON Lines file"})
    limit: int | None = field(default=None, metadata={"help": "100% of the problems, or only so many"})
    rate: float = field(default=0.5, metadata={"help": "a rate", "above": 0, "most": 1})
    samples: list[int] = field(default_factory=list, metadata={"help": "numbers of samples", "least": 1})
    consensus: bool = False
    shuffle: bool = True
    balance: Literal["label", "level"] | None = None
    files: list[Path] = field(default_factory=list)
    methods: list[str] = field(default_factory=list, metadata={"choices": ["a b", "c"]})

    def __post_init__(self) -> None:
        if self.limit == 0:
            raise ValueError("--limit 0 leaves\nnothing")


SCRIPT = '''"""Do a thing. Do more.

More about it.

    vllm serve X
    python data/do_thing.py --problems x.jsonl \\\\
        --limit 3
    python data/do_thing.py --problems y.jsonl
"""
def main(args, training=None):
    calls.append(args)
    if error is not None:
        raise error
'''


@pytest.fixture
def script(tmp_path, monkeypatch):
    """`script(*words, error=None)`: run `main` of data/do_thing.py with these words; what it was called with."""

    def call(*words, error=None, library=()):
        calls: list = []
        names = {"calls": calls, "error": error}
        exec(compile(SCRIPT, str(tmp_path / "data" / "do_thing.py"), "exec"), names)
        names["__doc__"] = ast.get_docstring(ast.parse(SCRIPT))
        monkeypatch.setattr(sys, "argv", ["data/do_thing.py", *map(str, words)])
        run_script(names["main"], Arguments, library)
        return calls[0]

    return call


def refused(capsys, script, *words, **more):
    """Exit code and the only line on standard error."""
    with pytest.raises(SystemExit) as end:
        script(*words, **more)
    if isinstance(end.value.code, str):  # Python prints it and exits with 1
        return 1, end.value.code
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    return end.value.code, printed.removesuffix("\n")


def test_types_of_the_command_line(script):
    words = "--problems p --limit 3 --rate 1e-3 --consensus --shuffle false --balance level --files a b --engine vllm"
    assert script(*words.split(), "--methods", "a b", "c") == Arguments(
        problems="p",
        limit=3,
        rate=0.001,
        consensus=True,
        shuffle=False,
        balance="level",
        files=[Path("a"), Path("b")],
        methods=["a b", "c"],
        engine="vllm",
    )
    assert script("--problems", "p", "--consensus", "True", "--limit=-1") == Arguments(
        problems="p", consensus=True, limit=-1
    )
    assert script("--problems", "p", "--files", "a", "--files", "b").files == [Path("a"), Path("b")]
    assert script("--problems", "p", "--planner", "bisect").planner == "bisect"


def test_flags_override_yaml_which_may_have_numbers_as_text(script, tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text("problems: 7\nlimit: null\nrate: 1e-3\nconsensus: true\nfiles: [a, b]\nbalance: label\n")
    found = script("--config", config, "--files", "c", "--limit", "2")
    assert found == Arguments(problems="7", limit=2, rate=0.001, consensus=True, files=[Path("c")], balance="label")
    assert script("--config", config).limit is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--lmit 3", "--lmit is no flag of data/do_thing.py, did you mean --limit?"),
        ("--lim 3", "--lim is no flag of data/do_thing.py, did you mean --limit?"),
        ("--zzz", "--zzz is no flag of data/do_thing.py; --help shows all flags"),
        ("--limit 3 4", "'4' belongs to no flag"),
        ("--limit 2.5", "--limit '2.5': expected a whole number"),
        ("--limit", "--limit: expected one argument"),
        ("--rate much", "--rate 'much': expected a number"),
        ("--rate 1.5", "--rate 1.5: expected a number above 0 and at most 1"),
        ("--rate 0", "--rate 0.0: expected a number above 0 and at most 1"),
        ("--rate nan", "--rate nan: expected a number above 0 and at most 1"),
        ("--samples 3 -2", "--samples -2: expected a whole number of at least 1"),
        ("--consensus maybe", "--consensus 'maybe': expected true or false"),
        ("--balance both", "--balance 'both': expected one of label, level"),
        ("--engine tgi", "--engine 'tgi': expected one of hf, vllm"),
        ("--planner none", "--planner 'none': expected one of all, bisect"),
        ("--methods c d", "--methods 'd': expected one of a b, c"),
    ],
)
def test_wrong_flags(script, capsys, words, line):
    assert refused(capsys, script, "--problems", "p", *words.split()) == (2, f"error: {line}")


def test_required_flags(script, capsys):
    code, line = refused(capsys, script)
    assert (code, line) == (2, "error: --problems must be given; --help explains the flags of data/do_thing.py")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("problms: p", "no flag 'problms', did you mean problems?"),
        (
            "problems: no",
            "problems False: expected text; YAML reads yes, no, on and off as true or false, so quote them",
        ),
        ("limit: 2.5", "limit 2.5: expected a whole number"),
        (
            "limit: true",
            "limit True: expected a whole number; YAML reads yes, no, on and off as true or false, so quote",
        ),
        ("files: a", "files 'a': expected a list"),
        ("rate: null", "rate None: expected a number"),
        ("rate: -1", "rate -1.0: expected a number above 0 and at most 1"),
    ],
)
def test_wrong_yaml(script, capsys, tmp_path, text, line):
    config = tmp_path / "x.yaml"
    config.write_text(text + "\n")
    code, printed = refused(capsys, script, "--config", config)
    assert code == 2
    assert printed.startswith(f"error: {config}: {line}")


def test_configs_that_cannot_be_read(script, capsys, tmp_path):
    config = tmp_path / "x.yaml"
    assert refused(capsys, script, "--config", config) == (1, f"error: {config}: No such file or directory")
    config.write_text("- a\n")
    assert refused(capsys, script, "--config", config) == (
        1,
        f"error: {config} holds '- a\\n' and no lines `name: value`; a config holds lines `flag: value`",
    )
    config.write_text("a: [\n")
    assert refused(capsys, script, "--config", config)[1].startswith(f"error: {config} is not YAML (while parsing")


def test_errors_of_users_are_one_line_and_others_are_not(script, capsys):
    class EndpointError(RuntimeError): ...

    EndpointError.__module__ = "prm.generators.endpoint"
    words = ("--problems", "p")
    assert refused(capsys, script, *words, "--limit", 0) == (1, "error: --limit 0 leaves nothing")
    for error, line in {
        ValueError("x.jsonl:3: torn"): "x.jsonl:3: torn",
        FileNotFoundError(2, "No such file or directory", "x.jsonl"): "x.jsonl: No such file or directory",
        EndpointError("the server\nis gone"): "the server is gone",
    }.items():
        assert refused(capsys, script, *words, error=error) == (1, f"error: {line}")
        with pytest.raises(type(error)):
            script(*words, "--debug", error=error)
    assert refused(capsys, script, *words, error=SystemExit("as it is")) == (1, "as it is")
    with pytest.raises(KeyError):
        script(*words, error=KeyError("a bug"))


def test_an_interrupt_ends_with_the_command_to_go_on(script, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as end:
        script("--problems", "my file", error=KeyboardInterrupt())
    assert end.value.code == 130
    assert capsys.readouterr().err == "\nto go on: python data/do_thing.py --problems 'my file'\n"


def test_the_command_that_goes_on_with_a_training_resumes_it_once(script, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    launched = "\nto go on: accelerate launch data/do_thing.py --problems p --output_dir out"
    auto = "--resume_from_checkpoint auto"
    for given in ([], auto.split()):
        words = ("--problems", "p", "--output_dir", "out", *given)
        with pytest.raises(SystemExit):
            script(*words, error=KeyboardInterrupt(), library=TRAINING_ARGUMENTS)
        assert capsys.readouterr().err == f"{launched} {auto}\n"


def test_help(script, capsys):
    with pytest.raises(SystemExit) as end:
        script("--help")
    assert end.value.code == 0
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[:7] == [
        "usage: python data/do_thing.py [--config FILE.yaml] [flags]",
        "",
        "Do a thing.",
        "",
        "python data/do_thing.py --problems x.jsonl \\",
        "--limit 3",
        "",
    ]
    text = " ".join(printed.split())
    assert text.index("flags:") < text.index("--problems TEXT JSON Lines file (required)")
    assert "--limit INT 100% of the problems, or only so many --rate" in text
    assert "--rate FLOAT a rate (default: 0.5)" in text
    assert "default: []" not in text
    assert "--shuffle [true|false] (default: true)" in text
    assert "--balance {label,level}" in text
    assert "flags of the engine: --engine {hf,vllm} where it runs (default: hf)" in text
    assert "--config FILE.yaml" in text
    assert "--help_all" not in text


def test_flags_of_training_arguments_are_those_of_the_class():
    """Names and types are read from its source, which may change with a version."""
    from transformers import TrainingArguments

    flags = library_flags(TRAINING_ARGUMENTS)
    real = {f.name: f for f in dataclasses.fields(TrainingArguments) if f.init}
    assert set(flags) == set(real) - {"debug"}
    assert len(flags) > 100
    for name in ("learning_rate", "max_steps", "bf16", "save_strategy", "report_to", "lr_scheduler_kwargs"):
        assert flags[name].default == real[name].default
    assert (
        flags["output_dir"].default is dataclasses.MISSING
    )  # required here, in whatever folder the script was started
    assert flags["learning_rate"].help == "The initial learning rate for the optimizer."


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate", "1e-3", 0.001),
        ("max_steps", "-1", -1),
        ("save_strategy", "no", "no"),
        ("bf16", "true", True),
        ("lr_scheduler_kwargs", '{"a": 1}', '{"a": 1}'),
        ("lr_scheduler_kwargs", {"a": 1}, {"a": 1}),
        ("report_to", ["wandb"], ["wandb"]),
        ("save_steps", 500, 500.0),
        ("resume_from_checkpoint", "auto", "auto"),
    ],
)
def test_values_of_training_arguments(name, value, expected):
    assert convert(library_flags(TRAINING_ARGUMENTS)[name].kind, value) == expected


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--learnin_rate 1", "--learnin_rate is no flag of data/do_thing.py, did you mean --learning_rate?"),
        ("--learning_rate much", "--learning_rate 'much': expected a number"),
        ("--do_train false", "--do_train is refused: this script always trains; leave it out"),
    ],
)
def test_training_flags_are_checked_before_transformers_is_imported(script, capsys, words, line):
    words = ["--problems", "p", "--output_dir", "o", *words.split()]
    assert refused(capsys, script, *words, library=TRAINING_ARGUMENTS) == (2, f"error: {line}")


def test_help_shows_the_common_training_flags_and_help_all_shows_all(script, capsys):
    texts = []
    for flag in ("--help", "--help_all"):
        with pytest.raises(SystemExit):
            script(flag, library=TRAINING_ARGUMENTS)
        texts.append(" ".join(capsys.readouterr().out.split()))
    short, whole = texts
    assert "--output_dir TEXT" in short
    assert "--help_all show the flags of `TrainingArguments`, too" in short
    assert "--adam_beta1" not in short
    assert "--adam_beta1 FLOAT" in whole


def test_parse_gives_what_was_given_and_nothing_else(script):
    assert parse(["--problems", "p", "--consensus"], flags_of(Arguments), script) == {
        "problems": "p",
        "consensus": True,
    }


@pytest.mark.parametrize(("count", "shown"), [(9, "{a,b,c,d,e,f,g,h,i}"), (10, "NAME")])
def test_up_to_nine_choices_are_listed_in_the_help(count, shown):
    kind = dataclasses.make_dataclass(
        "Kind", [("engine", str, field(default="a", metadata={"choices": "abcdefghij"[:count]}))]
    )
    assert f"--engine {shown}" in make_parser("data/do_thing.py", "Do.", flags_of(kind)).format_help()


@dataclass(kw_only=True)
class Writing:
    output: Path | None = None
    output_dir: Path | None = None


def written_by(words, monkeypatch, check=lambda given: None):
    """Whether the script was called; else the error, in one line."""
    called = []

    def main(args):
        called.append(args)

    monkeypatch.setattr(sys, "argv", ["x.py", *map(str, words)])
    try:
        run_script(main, Writing, check=check)
    except SystemExit as end:
        assert not called
        return end.code
    return bool(called)


def test_what_cannot_be_written_is_said_before_the_work(monkeypatch, tmp_path):
    file, locked = tmp_path / "file", tmp_path / "file" / "x"
    file.touch()
    for words, said in (
        (["--output", tmp_path / "new" / "rows.jsonl"], True),
        (["--output", file], True),
        (["--output_dir", tmp_path], True),
        (["--output_dir", tmp_path / "new" / "er"], True),
        (["--output", tmp_path], f"error: --output {tmp_path} is a folder; give a file, such as {tmp_path}/rows.jsonl"),
        (["--output_dir", file], f"error: --output_dir {file} is no folder; give another --output_dir"),
        (["--output", "/dev/null"], "error: --output /dev/null is no regular file; give another --output"),
        (["--output", locked], f"error: --output {locked} cannot be written (Not a directory: {file}/"),
    ):
        found = written_by(words, monkeypatch)
        assert found is True if said is True else found.startswith(said), words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_script_may_refuse_values_before_its_library_is_imported(monkeypatch, tmp_path):
    def check(given):
        assert given == {"output": tmp_path / "x"}
        raise ValueError("it cannot be so")

    assert written_by(["--output", tmp_path / "x"], monkeypatch, check) == "error: it cannot be so"


@pytest.mark.parametrize(
    ("error", "is_short"),
    [
        (RuntimeError("write failed: No space left on device"), True),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0"), True),
        (RuntimeError("a bug"), False),
        (ValueError("say --limit"), True),
    ],
)
def test_a_full_disk_is_no_bug_whoever_says_so(error, is_short, monkeypatch):
    def main(arguments):
        raise error

    monkeypatch.setattr(sys, "argv", ["x.py", "--problems", "p"])
    main.__globals__["__doc__"] = __doc__
    with pytest.raises(SystemExit if is_short else RuntimeError):  # the traceback of a bug is needed
        run_script(main, Arguments)


def test_choices_of_what_may_be_left_out_leave_it_out():
    kinds = {name: flag.kind for name, flag in flags_of(Arguments).items()}
    assert kinds["engine"] == Literal["hf", "vllm"]
    assert kinds["planner"] == Literal["all", "bisect"] | None
    assert kinds["methods"] == list[Literal["a b", "c"]]


def test_a_word_means_what_is_there_if_anything_is():
    assert [_part(kind) for kind in (int | None, None | int, Path | str, bool)] == [int, int, str, bool]
