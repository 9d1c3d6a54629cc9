"""Checkpoints that are damaged, incomplete, of another model or hostile: refused at once, with the folder and what is wrong.

Each of them loaded and scored, ran code, or hung before it had its test. All are tried without the checksums, too, which a
checkpoint may lack.
"""

import ast
import io
import json
import sys
from contextlib import suppress

import pytest
import torch
from gguf_file import write_gguf

from prm.models.loading import from_base, load_model_and_tokenizer
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import FILE

NAN, INF = float("nan"), float("inf")


def one(part, value):
    """One number of a tensor replaced."""

    def change(tensors):
        name = next(name for name in tensors if part in name)
        tensors[name] = tensors[name].clone()
        tensors[name].view(-1)[-1] = value
        return tensors

    return change


def only(part, keep=True):
    return lambda tensors: {name: t for name, t in tensors.items() if (part in name) == keep}


def added(name, *shape):
    return lambda tensors: tensors | {name: torch.ones(*shape)}


def converted(dtype, part=""):
    return lambda tensors: {name: t.to(dtype) if part in name else t for name, t in tensors.items()}


UP = "layers.1.mlp.up_proj"
LORA = "base_model.model.model.layers.7.mlp.up_proj.lora_A.weight"
TENSORS = {
    "no tensor of the LoRA": ("lora", only("lora_", keep=False), "r is 4, its tensors have rank none"),
    "one LoRA matrix is missing": (
        "lora",
        only(f"{UP}.lora_B", keep=False),
        rf"lora lacks .*{UP}\.lora_B\.weight; the",
    ),
    "one layer is missing": (
        "lora",
        only(UP, keep=False),
        rf"lora lacks .*{UP}\.lora_A\.weight, .*{UP}\.lora_B\.weight",
    ),
    "a LoRA matrix too many": (
        "lora",
        added(LORA, 4, 32),
        r"lora holds .*layers\.7\.mlp\.up_proj\.lora_A\.weight, for",
    ),
    "NaN in a LoRA": ("lora", one("lora_B", NAN), r"the weights .*\.lora_B\.weight are not all finite"),
    "a LoRA in fp16": ("lora", converted(torch.float16, UP), rf"{UP}\.lora_A\.weight are stored as F16 and not as F32"),
    "a tensor too many": ("full", added("model.rope", 3), r"full holds model\.rope, for which its config has no place"),
    "a tensor is missing": ("full", only("norm.weight", keep=False), r"full lacks model\.layers\.0\.input_layernorm"),
    "NaN": ("full", one("down_proj", NAN), r"the weights model\.layers\.0\.mlp\.down_proj\.weight are not all finite"),
    "infinity in the head": ("full", one("score", INF), r"the weights score\.\w+ are not all finite"),
    "fp16 under fp32": ("full", converted(torch.float16), r"model\.\S+ are stored as F16 and not as F32"),
    "one tensor in bf16": ("full", converted(torch.bfloat16, UP), rf"{UP}\.weight are stored as BF16 and not as F32"),
    "one tensor in int8": ("full", converted(torch.int8, UP), rf"{UP}\.weight are stored as I8 and not as F32"),
    "half of a tensor": (
        "full",
        lambda t: {n: w[:16].clone() if UP in n else w for n, w in t.items()},
        rf"{UP}\.weight of another shape than its config says",
    ),
}


@pytest.mark.parametrize("attack", TENSORS)
def test_a_verifier_with_other_tensors_is_refused_by_name(attack, copy_of):
    kind, change, message = TENSORS[attack]
    folder = copy_of(kind)
    folder.without_checksums()
    folder.tensors(change)
    with pytest.raises(ValueError, match=message):
        folder.score()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one("down_proj", NAN), r"base: the weights model\.layers\.0\.mlp\.down_proj\.weight are not all finite"),
        (only("0.mlp.up_proj", keep=False), r"base lacks model\.layers\.0\.mlp\.up_proj\.weight; it is incomplete"),
        (added("model.layers.2.mlp.up_proj.weight", 64, 32), r"base holds model\.layers\.2\.mlp\.up_proj\.weight, for"),
    ],
)
def test_a_generator_and_a_base_with_other_tensors_are_refused(change, message, copy_of):
    folder = copy_of("base")
    folder.tensors(change)
    with pytest.raises(ValueError, match=message):
        folder.generator()
    with pytest.raises(ValueError, match=message):
        from_base(str(folder.path))


CONFIGS = {
    "a layer too few": (
        {"num_hidden_layers": 1},
        r"holds model\.layers\.1\.input_layernorm\.weight, .* and 6 more tensors",
    ),
    "a layer too many": ({"num_hidden_layers": 3}, r"lacks model\.layers\.2\.input_layernorm\.weight, .* and 6 more"),
    "a million layers": ({"num_hidden_layers": 10**6}, r"config\.json: num_hidden_layers is 1,000,000, more than its"),
    "a million labels": ({"num_labels": 10**6, "id2label": None}, r"config\.json: num_labels is 1,000,000, more than"),
    "layers deep inside": ({"text_config": {"num_hidden_layers": 10**6}}, "num_hidden_layers is 1,000,000"),
    "wide": (
        {"hidden_size": 10**9},
        r"a model of [\d,]+ numbers, its weights hold [\d,]+; they do not belong together",
    ),
    "wide inside": ({"intermediate_size": 10**10}, r"a model of [\d,]+ numbers, its weights hold"),
    "a large vocabulary": ({"vocab_size": 10**9}, r"a model of [\d,]+ numbers, its weights hold"),
    "a small vocabulary": ({"vocab_size": 5}, r"has model\.embed_tokens\.weight of another shape"),
    "text for a number": ({"hidden_size": "a"}, r"cannot be loaded: .*Field 'hidden_size' expected int"),
    "an unknown kind": ({"model_type": "unheard"}, "full .*unheard"),
}


def refused(folder, file, change, message):
    folder.without_checksums()
    folder.json(file, **change)
    with pytest.raises(ValueError, match=message):
        folder.score()


@pytest.mark.parametrize("attack", CONFIGS)
def test_a_config_that_does_not_fit_the_weights_is_refused(attack, copy_of):
    refused(copy_of("full"), "config.json", *CONFIGS[attack])


def test_what_the_files_lack_is_not_made_up_in_memory(copy_of):
    """Missing tensors were initialized in the size of the config: 128 GB here."""
    folder = copy_of("base")
    folder.json("config.json", vocab_size=10**9)
    folder.tensors(lambda t: {name: w for name, w in t.items() if "embed" not in name and "lm_head" not in name})
    with pytest.raises(ValueError, match=r"a model of 64,000,018,600 numbers, its weights hold 18,592"):
        folder.generator()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ({"num_hidden_layers": 10**6}, r"tiny\.gguf: num_hidden_layers is 1,000,000, more than its weights have"),
        ({"num_hidden_layers": 3}, r"tiny\.gguf lacks model\.layers\.2\.input_layernorm\.weight, .* and \d+ more"),
        (
            {"num_hidden_layers": 1},
            r"tiny\.gguf holds blk\.1\.attn_k\.bias, .* and \d+ more tensors, for which its header",
        ),
        (
            {"intermediate_size": 10**9},
            r"a model of [\d,]+ numbers, its weights hold [\d,]+; they do not belong together",
        ),
        ({"without": "0.mlp.up_proj"}, r"tiny\.gguf lacks model\.layers\.0\.mlp\.up_proj\.weight; it is incomplete"),
    ],
)
def test_a_gguf_file_that_is_not_what_its_header_says_is_refused(lie, message, tiny_qwen2, plain_tokenizer, tmp_path):
    write_gguf(tmp_path / "tiny.gguf", tiny_qwen2(len(plain_tokenizer)), plain_tokenizer, **lie)
    with pytest.raises(ValueError, match=message):
        load_model_and_tokenizer(str(tmp_path), "tiny.gguf")


LORAS = {
    "a pattern that never ends": ({"target_modules": "(([a-z_.0-9]+)+)+$!"}, "it must be a list of names of layers"),
    "one in a list": ({"target_modules": ["(([a-z_.0-9]+)+)+$!"]}, "it must be a list of names of layers"),
    "one for ranks": ({"rank_pattern": {"(([a-z_.0-9]+)+)+$!": 4}}, "rank_pattern is .* do not have"),
    "one for layers": ({"layers_pattern": "(([a-z_.0-9]+)+)+$!"}, "layers_pattern is .* do not have"),
    "a rank too large for any memory": ({"r": 10**9}, "r is 1000000000, its tensors have rank 4"),
    "another rank": ({"r": 8}, "r is 8, its tensors have rank 4"),
    "no rank": ({"r": None}, "r is None, its tensors have rank 4"),
    "fewer layers": ({"target_modules": ["q_proj"]}, r"holds .* and \d+ more tensors, for which its adapter_config"),
    "a scale that is no number": ({"lora_alpha": "8"}, "lora_alpha is '8', it must be a number above 0"),
    "another scale": ({"use_rslora": True}, "use_rslora is True, which adapters of this project do not have"),
    "another method": ({"peft_type": "IA3"}, "peft_type is 'IA3', which adapters of this project do not have"),
}


@pytest.mark.parametrize("attack", LORAS)
def test_an_adapter_of_another_kind_is_refused(attack, copy_of):
    refused(copy_of("lora"), "adapter_config.json", *LORAS[attack])


@pytest.mark.parametrize(
    "change", [{"exclude_modules": "(([a-z_.0-9]+)+)+$!"}, {"init_lora_weights": "pissa"}, {"lora_dropout": 0.5}]
)
def test_what_an_adapter_says_of_its_training_is_not_read(change, copy_of):
    folder = copy_of("lora")
    expected = folder.score()
    folder.without_checksums()
    folder.json("adapter_config.json", **change)
    assert folder.score() == expected


@pytest.mark.parametrize(
    ("kind", "file", "change"),
    [
        ("lora", "adapter_config.json", {"lora_alpha": 80}),
        ("full", "config.json", {"rope_parameters": {"rope_theta": 1.0, "rope_type": "default"}}),
        ("full", "config.json", {"rms_norm_eps": 0.1}),
        ("full", "tokenizer_config.json", {"padding_side": "left"}),
    ],
)
def test_a_file_that_was_edited_is_refused_by_its_checksum(kind, file, change, copy_of):
    folder = copy_of(kind)
    folder.json(file, **change)
    with pytest.raises(ValueError, match=f'{file} is not what was saved, .*delete "files" from .*{FILE}'):
        folder.score()
    folder.without_checksums()
    folder.score()


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_one_bit_of_the_weights_is_found(kind, copy_of):
    folder = copy_of(kind)
    folder.tensors(one("score", 0.25))
    with pytest.raises(ValueError, match=r"model\.safetensors is not what was saved"):
        folder.score()


def test_weights_that_were_put_beside_those_of_a_checkpoint_are_refused(copy_of):
    folder = copy_of("full")
    (folder.path / "other.safetensors").write_bytes((folder.path / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"other\.safetensors was not saved with this checkpoint"):
        folder.score()


def test_the_base_of_an_adapter_is_known_by_all_its_values(copy_of):
    base, lora = copy_of("base"), copy_of("lora")
    lora.score(base_model=str(base.path))
    base.tensors(one("down_proj", 9.0))  # its last value, of which nothing was read
    with pytest.raises(ValueError, match=r"but '.*base' has weights"):
        lora.score(base_model=str(base.path))


def cut(file, to):
    return lambda path: (path / file).write_bytes((path / file).read_bytes()[:to])


def written(file, content):
    return lambda path: (path / file).write_bytes(content)


DAMAGES = {
    "weights cut": (cut("model.safetensors", 5000), r"full/model\.safetensors cannot be loaded: SafetensorError"),
    "weights empty": (cut("model.safetensors", 0), r"full/model\.safetensors cannot be loaded: SafetensorError"),
    "weights of noise": (written("model.safetensors", b"\xff" * 99), r"full/model\.safetensors cannot be loaded"),
    "weights gone": (lambda path: (path / "model.safetensors").unlink(), r"full has no model\*\.safetensors"),
    "config empty": (cut("config.json", 0), r"full/config\.json is empty; it is damaged"),
    "config no object": (written("config.json", b"[]"), r"full/config\.json holds \'\[\]\' and no JSON object"),
    "config without end": (written("config.json", b"[" * 99999), r"full/config\.json is not JSON \(maximum recursion"),
    "config in another encoding": (
        written("config.json", "{}".encode("utf-16")),
        r"full/config\.json:1: not UTF-8 text",
    ),
    "config of 11 MB": (written("config.json", b" " * (11 << 20)), r"full/config\.json has 11,534,336 bytes"),
    "tokenizer cut": (cut("tokenizer.json", 500), "full cannot be loaded: JSONDecodeError"),
    "tokenizer gone": (lambda path: (path / "tokenizer.json").unlink(), "full cannot be loaded: ValueError: Couldn't"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_its_folder(damage, copy_of):
    change, message = DAMAGES[damage]
    folder = copy_of("full")
    folder.without_checksums()
    change(folder.path)
    with pytest.raises((ValueError, OSError), match=message):
        folder.score()


PRM_CONFIGS = {
    "empty": ("", "is empty"),
    "cut": ('{"kind": "prm', "is not JSON"),
    "null": ("null", "holds 'null' and no JSON object"),
    "a list": ("[]", r"holds '\[\]' and no JSON object"),
    "5,000 digits": ('{"kind": ' + "9" * 5000 + "}", "is not JSON .*4300 digits"),
    "without end": ('{"kind": ' * 99999, "is not JSON"),
    "not UTF-8": ('{"kind": "prm"}'.encode("utf-16"), ":1: not UTF-8 text"),
}
PRM_KEYS = {
    "no kind": ({"kind": None}, "kind is missing"),
    "no codec": ({"codec": None}, "codec is missing"),
    "a kind that is a list": ({"kind": ["prm"]}, r"kind \['prm'\] is not one of prm, orm"),
    "labels that are a number": ({"labels": 3}, "labels 3 is not a list"),
    "a label too many": ({"labels": ["bad", "good", "best"]}, "labels .* is not a list"),
    "a weight that is no number": ({"bad_weight": NAN}, "bad_weight nan is not a number"),
    "a weight below 0": ({"bad_weight": -1.0}, r"bad_weight -1\.0 above 0"),
    "text for true": ({"until_first_error": "no"}, "until_first_error 'no' is not true or false"),
    "versions": ({"versions": {"torch": 2}}, r"versions\.torch 2 is not text"),
    "files": ({"files": 3}, "files is 3, not a checksum for each file"),
}
CODECS = {
    "no prompt": ({"prompt": None}, r"codec\.prompt is missing"),
    "no separator": ({"separator": None}, r"codec\.separator is missing"),
    "a length that is text": ({"max_length": "x"}, r"codec\.max_length 'x' is not a whole number"),
    "a length below 1": ({"max_length": -1}, "max_length -1 must be at least 1"),
    "another key": ({"stride": 1}, r"codec\.stride is no key of it"),
    "a prompt that is a list": ({"prompt": []}, r"codec\.prompt \[\] is not an object"),
    "a prompt without its text": ({"prompt": {"chat": False}}, r"codec\.prompt\.text is missing"),
    "exemplars": (
        {"prompt": {"text": "{prompt}", "chat": False, "exemplars": [["a"]]}},
        r"codec\.prompt\.exemplars \['a'\]",
    ),
}


@pytest.mark.parametrize("damage", [*PRM_CONFIGS, *PRM_KEYS, *CODECS])
def test_a_damaged_prm_config_is_named_with_the_key(damage, copy_of):
    folder = copy_of("full")
    if damage in PRM_CONFIGS:
        content, message = PRM_CONFIGS[damage]
        (folder.path / FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    elif damage in PRM_KEYS:
        change, message = PRM_KEYS[damage]
        folder.json(FILE, **change)
    else:
        change, message = CODECS[damage]
        codec = json.loads((folder.path / FILE).read_text())["codec"] | change
        marker = {} if "marker" in change else {"marker": None}
        kept = {key: value for key, value in codec.items() if value is not None}
        folder.json(FILE, codec=kept | marker)
    with pytest.raises(ValueError, match=rf"full/prm_config\.json.*{message}"):
        folder.score()


EVIL = """
open({ran!r}, "w").close()
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification, PreTrainedTokenizerFast
class C(LlamaConfig): model_type = "evil"
class M(LlamaForCausalLM): pass
class V(LlamaForTokenClassification): pass
class T(PreTrainedTokenizerFast): pass
"""


@pytest.mark.parametrize("model_type", ["evil", "llama"])
@pytest.mark.parametrize("kind", ["full", "base"])
def test_code_that_comes_with_a_checkpoint_is_never_run(kind, model_type, copy_of, tmp_path, monkeypatch):
    """Not even if somebody, or a pipe, answers the question of transformers with yes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    ran, folder = tmp_path / "ran", copy_of(kind)
    (folder.path / "evil.py").write_text(EVIL.format(ran=str(ran)))
    autos = {"AutoConfig": "C", "AutoModelForCausalLM": "M", "AutoModelForTokenClassification": "V"}
    folder.json("config.json", model_type=model_type, auto_map={auto: f"evil.{name}" for auto, name in autos.items()})
    folder.json("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}, tokenizer_class="T")
    if kind == "full":
        folder.without_checksums()
    loads = [folder.score] if kind == "full" else [folder.generator, lambda: from_base(str(folder.path))]
    for load in loads:
        with (
            suppress(ValueError) if model_type == "llama" else pytest.raises(ValueError, match="brings code of its own")
        ):
            load()  # a Llama has code in transformers, too
    assert not ran.exists()


AUTO = ("AutoConfig", "AutoTokenizer", "AutoModel", "EngineArgs", "AutoProcessor")


def test_every_call_that_could_run_code_says_that_it_must_not(tracked_files, root):
    calls = []
    for path in tracked_files:
        if path.suffix != ".py" or "tests" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        if not any(name in text for name in ("from_pretrained", "from_config", "EngineArgs")):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            loads = called.startswith(AUTO) or (called.startswith("kind.from_") and "prm/models" in str(path))
            if loads and called.endswith(("from_pretrained", "from_config", "EngineArgs")):
                calls.append((f"{path.relative_to(root)}:{node.lineno}", ast.unparse(node)))
    assert len(calls) >= 10
    assert [call for call in calls if "**SAFELY" not in call[1] and "trust_remote_code=False" not in call[1]] == []


def test_a_pickle_is_not_opened(copy_of):
    folder = copy_of("full")
    (folder.path / "model.safetensors").unlink()
    torch.save({"score.weight": torch.ones(2, 32)}, folder.path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"full has no model\*\.safetensors"):
        load_verifier(str(folder.path))
