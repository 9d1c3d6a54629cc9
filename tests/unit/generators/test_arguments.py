"""The flags of a generator: each reaches it, and what can be no generator is refused at once."""

from dataclasses import asdict

import pytest

from prm.encoding.prompts import PROMPTS
from prm.generators import load_generator
from prm.generators.arguments import GeneratorArguments


def test_a_mistyped_generator_is_refused_before_anything_is_loaded_or_compared():
    with pytest.raises(FileNotFoundError, match=r"arithmetik does not exist, did you mean arithmetic\?"):
        GeneratorArguments(generator="arithmetik")
    for generator in ("arithmetic", "someone/model"):
        assert GeneratorArguments(generator=generator).generator == generator
    GeneratorArguments(generator="http://127.0.0.1:8000/v1", engine="openai")


def test_a_mistyped_generator_is_refused_without_flags_too():
    with pytest.raises(FileNotFoundError, match=r"arithmetik does not exist, did you mean arithmetic\?"):
        load_generator("arithmetik")


def test_the_set_without_a_generator_is_named(tmp_path, monkeypatch):
    for load in (load_generator, lambda name: GeneratorArguments(generator=name)):
        with pytest.raises(
            FileNotFoundError, match=r"^arithmetic_hard is a problem set whose generator is not shipped; "
        ):
            load("arithmetic_hard")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arithmetic_hard").mkdir()  # a folder of one's own
    assert GeneratorArguments(generator="arithmetic_hard").generator == "arithmetic_hard"


def test_every_flag_reaches_the_generator(monkeypatch):
    asked = {}
    monkeypatch.setattr("prm.generators.arguments.load_generator", lambda path, **settings: asked.update(settings))
    settings = {
        "engine": "openai",
        "tokenizer": "student",
        "patience": 7.0,
        "gguf_file": "student.gguf",
        "step_rule": "thought",
        "temperature": 0.3,
        "top_p": 0.4,
        "max_new_tokens": 5,
        "batch_size": 6,
    }
    arguments = GeneratorArguments(generator="http://127.0.0.1:8000/v1", prompt="chat", **settings)
    assert asdict(arguments).keys() == {"generator", "prompt", *settings}  # a new flag belongs here
    arguments.load()
    assert asked == {"template": PROMPTS["chat"], **settings}
