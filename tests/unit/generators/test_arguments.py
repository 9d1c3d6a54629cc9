"""The flags of a generator: each reaches it, and what can be no generator is refused at once."""

from dataclasses import asdict

import pytest
import torch

from prm.datasets import arithmetic
from prm.encoding.prompts import PROMPTS
from prm.generators import arguments, load_generator
from prm.generators.arguments import GeneratorArguments


def test_a_mistyped_generator_is_refused_before_anything_is_loaded_or_compared(monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"arithmetik does not exist, did you mean arithmetic\?"):
        GeneratorArguments(generator="arithmetik")
    for generator in ("arithmetic", "someone/model"):
        assert GeneratorArguments(generator=generator).generator == generator
    GeneratorArguments(generator="http://127.0.0.1:8000/v1", engine="openai")
    with pytest.raises(ValueError, match="arithmetik"):
        GeneratorArguments(generator="arithmetik", engine="openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1 234")
    with pytest.raises(ValueError, match="OPENAI_API_KEY holds a blank"):
        GeneratorArguments(generator="http://127.0.0.1:8000/v1", engine="openai")
    for engine in ("hf", "openai"):  # labeling takes it from the record of the traces
        assert GeneratorArguments(generator=None, engine=engine).generator is None


def test_so_is_a_mistyped_prompt_and_none_is_what_the_record_of_the_traces_says():
    with pytest.raises(ValueError, match="plian"):
        GeneratorArguments(generator="arithmetic", prompt="plian")
    assert GeneratorArguments(generator="arithmetic", prompt=None).prompt is None


def test_a_mistyped_generator_is_refused_without_flags_too():
    with pytest.raises(FileNotFoundError, match=r"arithmetik does not exist, did you mean arithmetic\?"):
        load_generator("arithmetik")


def test_a_gpu_with_vllm_is_told_of_it(monkeypatch, capsys):
    monkeypatch.setattr(arguments, "load_generator", lambda *given, **settings: None)
    monkeypatch.setattr(arguments, "find_spec", lambda name: object())
    for on_gpu, engine, said in ((False, "hf", False), (True, "hf", True), (True, "vllm", False)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda on_gpu=on_gpu: on_gpu)
        GeneratorArguments(generator="arithmetic", engine=engine).load()
        assert ("vLLM is installed: --engine vllm" in capsys.readouterr().out) == said


@pytest.mark.parametrize("name", list(arithmetic.SETS))
def test_every_embedded_set_has_a_generator_that_solves_some_of_it(name):
    generator = load_generator(name)
    problems = arithmetic.load("validation", 20, levels=[2], variant=arithmetic.SETS[name])
    written = generator.generate([generator.encode(problem.prompt) for problem in problems], list(range(20)))
    right = sum(its.text.endswith(f"#### {p.answer}") for its, p in zip(written, problems, strict=True))
    assert 5 <= right < 20
    assert any("carry" in its.text or "borrow" in its.text for its in written) == arithmetic.SETS[name].notes


def test_every_flag_reaches_the_generator(monkeypatch):
    asked = {}
    monkeypatch.setattr("prm.generators.arguments.load_generator", lambda path, **settings: asked.update(settings))
    settings = {
        "engine": "openai",
        "tokenizer": "student",
        "patience": 7.0,
        "gguf_file": "student.gguf",
        "dtype": "bfloat16",
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
