"""VllmGenerator against a stand-in for vLLM's engine: what it is asked for, and which of its tokens are taken."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from prm.generators.vllm import VllmGenerator


class Engine:
    """Writes the ids of a text, one for every request and turn, and holds a context of 64."""

    model_config = SimpleNamespace(max_model_len=64)

    def __init__(self, ids):
        self.ids, self.requests, self.aborted = ids, {}, []
        self._running = {}

    def add_request(self, name, prompt, params):
        self.requests[name] = (prompt, vars(params))
        self._running[name] = 0

    def has_unfinished_requests(self):
        return bool(self._running)

    def step(self):
        outputs = []
        for name, done in list(self._running.items()):
            self._running[name] = done + 1
            finished = done + 1 == self.requests[name][1]["max_tokens"]
            token = SimpleNamespace(token_ids=[self.ids[done]])
            outputs.append(SimpleNamespace(request_id=name, outputs=[token], finished=finished))
            if finished:
                del self._running[name]
        return outputs

    def abort_request(self, names):
        self.aborted += names
        for name in names:
            del self._running[name]


@pytest.fixture
def engine(monkeypatch, plain_tokenizer):
    names = {
        "vllm": {"SamplingParams": SimpleNamespace},
        "vllm.inputs": {},
        "vllm.inputs.engine": {"tokens_input": lambda ids: ids},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(DELTA="delta")},
    }
    for name, contents in names.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    return Engine(plain_tokenizer("x = 4\n#### 4\nAnd so on, and so on", add_special_tokens=False)["input_ids"])


@pytest.fixture
def generator(engine, plain_tokenizer):
    return VllmGenerator(
        engine, plain_tokenizer, name="m", num_parameters=1, end_ids=1, temperature=0.7, top_p=0.9, max_new_tokens=40
    )


@pytest.mark.parametrize(("given", "used"), [({}, "line"), ({"step_rule": "paragraph"}, "paragraph")])
def test_the_step_rule_is_that_of_the_prompt_or_the_given_one(engine, plain_tokenizer, given, used):
    assert VllmGenerator(engine, plain_tokenizer, name="m", num_parameters=1, end_ids=1, **given).step_rule == used


def test_every_setting_reaches_the_request(engine, generator):
    generator.generate([[5, 6, 7], [5] * 60], [11, 12], limits=[30, 50])
    generator.generate([[5]], [13], greedy=True)
    mine = {"top_p": 0.9, "stop_token_ids": [1], "detokenize": False, "output_kind": "delta"}
    # The least of max_new_tokens, the limit, and what the prefix leaves of the context.
    assert engine.requests == {
        "0": ([5], {"temperature": 0.0, "seed": 13, "max_tokens": 40, **mine}),
        "1": ([5] * 60, {"temperature": 0.7, "seed": 12, "max_tokens": 4, **mine}),
    }


def test_what_cannot_be_asked_is_refused_before_the_engine_is(engine, generator):
    with pytest.raises(ValueError, match="2 prefixes but 1 seeds"):
        generator.generate([[5], [6]], [1])
    with pytest.raises(ValueError, match="context"):
        generator.generate([[5] * 64], [1])
    assert engine.requests == {}


def test_a_text_ends_by_our_rule_and_the_engine_is_told(engine, generator, plain_tokenizer):
    counts = []
    found = generator.generate([[5], [6, 7], [8] * 61], [0, 1, 2], ended=counts.append)
    assert [(one.text, one.stop, one.prefill) for one in found] == [
        ("x = 4\n#### 4\n", "answer", 1),
        ("x = 4\n#### 4\n", "answer", 2),
        ("x = 4", "length", 61),
    ]
    assert engine.aborted == ["0", "1"]
    assert sum(counts) == 3
    (step,) = generator.generate([[5]], [0], until="step")
    assert (step.text, step.stop) == ("x = 4\n", "step")


def test_an_engine_is_started_with_its_options(engine, plain_tokenizer, tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    folder = tmp_path / "student"
    tiny_llama(len(plain_tokenizer)).save_pretrained(folder)
    plain_tokenizer.save_pretrained(folder)
    started = []

    def from_engine_args(args):
        started.append(vars(args))
        return engine

    vllm = sys.modules["vllm"]
    vllm.EngineArgs, vllm.LLMEngine = SimpleNamespace, SimpleNamespace(from_engine_args=from_engine_args)
    generator = VllmGenerator.from_pretrained(str(folder), batch_size=7, max_new_tokens=9)
    VllmGenerator.from_pretrained(str(folder), engine_options={"dtype": "bfloat16", "tensor_parallel_size": 2})
    fixed = {
        "model": str(folder),
        "enable_chunked_prefill": False,
        "enable_prefix_caching": True,
        "async_scheduling": False,
        "trust_remote_code": False,
    }
    assert started == [
        fixed | {"dtype": "float32", "max_num_seqs": 7},
        fixed | {"dtype": "bfloat16", "max_num_seqs": 256, "tensor_parallel_size": 2},
    ]
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"  # an engine in this process
    assert generator.name.startswith("student-")
    assert (generator.max_new_tokens, generator.context) == (9, 64)
    assert generator.num_parameters > 1000


def test_a_model_without_generation_settings_ends_as_its_own_config_says(engine, plain_tokenizer, tiny_llama, tmp_path):
    vllm = sys.modules["vllm"]
    vllm.EngineArgs, vllm.LLMEngine = SimpleNamespace, SimpleNamespace(from_engine_args=lambda args: engine)
    tiny_llama(len(plain_tokenizer)).save_pretrained(tmp_path)
    plain_tokenizer.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink(missing_ok=True)
    generator = VllmGenerator.from_pretrained(str(tmp_path))
    generator.generate([[5]], [0])
    (params,) = [params for _, params in engine.requests.values()]
    assert plain_tokenizer.eos_token_id in params["stop_token_ids"]
    assert (
        generator.encode("4", ["x"])
        == plain_tokenizer("4\n", add_special_tokens=False)["input_ids"]
        + (plain_tokenizer("x\n", add_special_tokens=False)["input_ids"])
    )
