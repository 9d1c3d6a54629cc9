"""Which settings labels are sampled with: those of the traces, unless flags say otherwise."""

from argparse import Namespace

import pytest
import yaml

from prm.generators.arguments import GeneratorArguments
from prm.sampling.sampler import sampler_record, sampler_settings, settle

RECORD = {
    "generator": "http://10.0.0.5/v1",
    "engine": "openai",
    "tokenizer": "some/model",
    "gguf_file": None,
    "dtype": None,
    "temperature": 0.8,
    "top_p": 1.0,
    "max_new_tokens": 80,
    "prompt": "plain",
    "step_rule": "line",
}
NOTHING = dict.fromkeys(RECORD)


def flags(**stated):
    return Namespace(**(NOTHING | stated))


def test_the_record_decides_what_no_flag_states():
    assert settle(flags(), RECORD) == (RECORD, [])
    assert settle(flags(temperature=0.8, generator="http://10.0.0.5/v1"), RECORD) == (RECORD, [])


def test_a_flag_that_differs_wins_and_is_reported():
    settings, (note,) = settle(flags(temperature=1.0, prompt="chat"), RECORD)
    assert settings == RECORD | {"temperature": 1.0, "prompt": "chat"}
    assert note.startswith(
        "temperature: traces were sampled with 0.8, labels will be sampled with 1.0;"
        " prompt: traces were sampled with plain, labels will be sampled with chat. So the labels say"
    )


def test_another_generator_has_its_own_engine():
    settings, (note,) = settle(flags(generator="arithmetic"), RECORD)
    changed = {"generator": "arithmetic", "engine": "hf", "tokenizer": None}
    assert settings == RECORD | changed
    assert "generator: traces were sampled with http://10.0.0.5/v1, labels will be sampled with arithmetic" in note


def test_without_a_record_defaults_are_used_and_said():
    settings, (note,) = settle(flags(generator="arithmetic", top_p=0.9), None)
    assert settings == {
        "generator": "arithmetic",
        "engine": "hf",
        "tokenizer": None,
        "gguf_file": None,
        "dtype": None,
        "temperature": 1.0,
        "top_p": 0.9,
        "max_new_tokens": 512,
        "prompt": "plain",
        "step_rule": "line",
    }
    assert note == (
        "no record says how the traces were sampled; their labels will be sampled with temperature 1.0, top_p 0.9,"
        " max_new_tokens 512, prompt plain, step_rule line"
    )
    with pytest.raises(ValueError, match="give it with --generator"):
        settle(flags(), None)


def test_the_record_of_a_labeled_file_is_that_of_its_traces(tmp_path):
    for name, record in {"traces": RECORD, "labeled": RECORD | {"traces": str(tmp_path / "traces.jsonl")}}.items():
        (tmp_path / f"{name}.jsonl").write_text("")
        (tmp_path / f"{name}.config.yaml").write_text(yaml.safe_dump(record))
    (tmp_path / "labeled.config.yaml").write_text(
        yaml.safe_dump(RECORD | {"temperature": 0.1, "traces": str(tmp_path / "traces.jsonl")})
    )
    (tmp_path / "foreign.jsonl").write_text("")
    (tmp_path / "foreign.config.yaml").write_text("input: somewhere\n")
    assert sampler_record(tmp_path / "traces.jsonl")["temperature"] == 0.8
    assert sampler_record(tmp_path / "labeled.jsonl")["temperature"] == 0.8
    assert sampler_record(tmp_path / "foreign.jsonl") is None
    (tmp_path / "traces.jsonl").unlink()
    assert sampler_record(tmp_path / "labeled.jsonl") is None  # the traces are gone
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl does not exist"):
        sampler_record(tmp_path / "missing.jsonl")


def test_the_record_of_mined_traces_is_that_of_their_search(tmp_path):
    traces, run = tmp_path / "mined.jsonl", tmp_path / "run"
    traces.write_text("")
    assert sampler_record(traces) is None  # nothing says where it is from
    traces.with_name("mined.config.yaml").write_text(yaml.safe_dump({"run": str(run), "verifier": "prm"}))
    assert sampler_record(traces) is None  # its run is gone
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(RECORD | {"methods": ["majority"]}))
    assert {name: sampler_record(traces)[name] for name in RECORD} == RECORD


def test_what_is_sampled_depends_on_the_text_of_a_template_not_on_its_name_alone(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("text: 'Q: {prompt}'\n")
    args = GeneratorArguments(generator="arithmetic", prompt=str(path))
    first = sampler_settings(args)
    assert (first["generator"], first["temperature"], first["step_rule"]) == ("arithmetic", 1.0, "line")
    assert len(first["template"]) == 8
    path.write_text("text: 'Question: {prompt}'\n")
    assert sampler_settings(args) == first | {"template": sampler_settings(args)["template"]}
    assert sampler_settings(args) != first


@pytest.mark.parametrize(("given", "used"), [(None, "line"), ("paragraph", "paragraph")])
def test_the_step_rule_is_that_of_the_prompt_unless_another_is_given(given, used):
    assert sampler_settings(GeneratorArguments(generator="arithmetic", step_rule=given))["step_rule"] == used
