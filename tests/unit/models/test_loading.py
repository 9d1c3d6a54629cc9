"""4-bit weights compute the same on processors with and without avx512_bf16; bitsandbytes' warning there is not printed."""

import logging
import subprocess
import sys

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from gguf_file import write_gguf
from safetensors.torch import save_file
from transformers import CLIPConfig, LlamaConfig

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.models.fingerprints import read_weights
from prm.models.loading import from_base, load_model_and_tokenizer, never_pack, nf4
from prm.models.step_classifier import classifier_class
from prm.training.trainer import add_lora
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.loading import load_classifier

IDS = torch.tensor([[5, 6, 7, 8]])
WARNING = "Failed to load CPU gemm_4bit_forward"


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_llama):
    """A Llama whose layers bitsandbytes can pack: 64 or 128 inputs; 32, 64 or 128 outputs."""
    folder, tokenizer = tmp_path_factory.mktemp("base"), build_tokenizer()
    tiny_llama(len(tokenizer), hidden_size=64, intermediate_size=128).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def layer(inputs, outputs):
    """A 4-bit layer in eval mode, and its weights as 4 bits hold them."""
    torch.manual_seed(0)
    made = Linear4bit(inputs, outputs, bias=False, compute_dtype=torch.float32, quant_type="nf4").to("cpu").eval()
    return made, made(torch.eye(inputs, requires_grad=True)).T.detach()  # a gradient: it does not pack for that


def packed(model):
    """How many of its 4-bit layers have packed weights, and how many it has."""
    states = [p.quant_state for p in model.parameters() if isinstance(p, Params4bit)]
    return sum(vars(state).get("packing_format_for_cpu", False) for state in states), len(states)


def test_bitsandbytes_packs_where_it_finds_avx512_bf16_and_fails_on_some_shapes(avx512_bf16):
    """The reason for `never_pack`. If this fails after an upgrade, read `Linear4bit.forward` again."""
    wide, _ = layer(64, 32)
    wide(torch.ones(1, 64))
    assert packed(wide) == (avx512_bf16, 1)
    for inputs, outputs, message in (
        (32, 32, r"shape '\[32, 0\]' is invalid"),
        (96, 64, r"shape '\[64, 1\]' is invalid"),
        (64, 48, "N must be divisible by block_n"),
    ):
        narrow, _ = layer(inputs, outputs)
        if avx512_bf16:
            with pytest.raises((RuntimeError, AssertionError), match=message):
                narrow(torch.ones(1, inputs))
        else:
            narrow(torch.ones(1, inputs))


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 32), (128, 64), (32, 32), (96, 64), (64, 48)])
def test_4_bit_layers_of_any_shape_compute_in_fp32_on_every_processor(inputs, outputs, avx512_bf16):
    made, weight = layer(inputs, outputs)
    x = torch.randn(3, inputs)
    assert torch.allclose(never_pack(made)(x), x @ weight.T, atol=1e-6)
    assert not torch.allclose(x @ weight.T, (x.bfloat16() @ weight.T.bfloat16()).float(), atol=1e-4)  # else bf16 passes
    assert packed(made) == (0, 1)


def test_training_goes_on_after_an_evaluation_with_the_same_gradients(avx512_bf16, base):
    model = add_lora(from_base(base, torch.float32, quantization_config=nf4()), 4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # B starts at zero, and so does the gradient of A
            torch.nn.init.normal_(parameter, std=0.3)

    def gradients():
        model.train().zero_grad()
        model(IDS).logits.square().sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}

    before = gradients()
    assert len(before) == 30  # two matrices at seven layers of two blocks, and the head's weight and bias
    assert all(gradient.abs().max() > 0 for gradient in before.values())
    with torch.inference_mode():
        model.eval()(IDS)
    after = gradients()
    assert all(torch.allclose(after[name], gradient, rtol=1e-4, atol=1e-5) for name, gradient in before.items())


def save_4_bit(folder, model, base):
    """`save_pretrained` cannot do it (transformers 5.23)."""
    model.config.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    build_tokenizer().save_pretrained(folder)
    VerifierConfig("prm", StepCodec(max_length=64), "value", "last", base, "hash").save(folder)
    return str(folder)


def test_no_way_of_loading_4_bit_weights_lets_them_be_packed(avx512_bf16, base, tmp_path):
    classifier = from_base(base, torch.float32, quantization_config=nf4())
    language_model = type(load_model_and_tokenizer(base)[0]).from_pretrained(base, quantization_config=nf4())
    stored = save_4_bit(tmp_path, language_model, base)
    finished = save_4_bit(tmp_path / "full", classifier, base)
    for model, layers in (
        (classifier, 14),
        (from_base(stored, torch.float32), 14),
        (load_classifier(finished), 14),
        (load_model_and_tokenizer(stored)[0], 15),  # and the language model's head
    ):
        with torch.inference_mode():
            model.eval()(IDS)
        assert packed(model) == (0, layers)


def test_only_the_warning_about_the_kernel_for_packed_weights_is_dropped(caplog):
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.warning(WARNING + " from kernels-community: %s.", "No module named 'kernels'")
    logger.warning("Failed to load %s", "something else")
    assert caplog.messages == ["Failed to load something else"]


def test_importing_prm_first_keeps_bitsandbytes_quiet(avx512_bf16_python, tmp_path, root):
    (tmp_path / "script.py").write_text(
        "import logging\n"
        "witness = lambda record: print(record.msg) or True\n"
        "logging.getLogger('bitsandbytes.backends.cpu.ops').addFilter(witness)\n"
        "import prm, peft"
    )
    command = [*avx512_bf16_python, str(tmp_path / "script.py")]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(WARNING)
    assert WARNING not in result.stderr


IMPORT_SCRIPTS = """
import importlib, os, runpy, sys
import torch, transformers.modeling_utils

class Witness:
    def find_spec(self, name, path=None, target=None):
        if name == "bitsandbytes":
            os._exit(20 + ("prm" in sys.modules))

assert "bitsandbytes" not in sys.modules
sys.meta_path.insert(0, Witness())
known = set(sys.modules)
for module in ("prm.verifiers.step_verifier", "prm.generators.hf"):
    if not (child := os.fork()):
        importlib.import_module(module)
        packages = {name.split(".")[0] for name in sys.modules.keys() - known} - sys.stdlib_module_names
        print(module, ",".join(sorted(packages)), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
import datasets, matplotlib.pyplot
for script in sys.argv[1:]:
    if not (child := os.fork()):
        os.dup2(2, 1)
        runpy.run_path(script, run_name="imported")
        os._exit(0)
    print(os.path.basename(script), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_every_script_imports_prm_before_anything_that_imports_bitsandbytes(root, imported_modules):
    """Of those scripts that import more of PEFT, transformers or TRL than the reader of the command line.

    What loads a verifier or a generator imports nothing beside torch and the models of transformers: each of PEFT, TRL,
    datasets, pandas and SciPy would take a second or more.
    """
    scripts = [
        str(path)
        for folder in ("data", "recipes", "eval")
        for path in sorted((root / folder).glob("*.py"))
        if any(
            name.split(".")[0] in ("peft", "transformers", "trl") and name != "trl.TrlParser"
            for _, name in imported_modules(path)
        )
    ]
    command = [sys.executable, "-c", IMPORT_SCRIPTS, *scripts]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    exit_codes = dict(line.split() for line in result.stdout.splitlines() if line.count(" ") == 1)
    own = "prm,tokenizers,transformers"
    assert [exit_codes.pop(module) for module in ("prm.verifiers.step_verifier", "prm.generators.hf")] == [own, own]
    assert {"train_prm.py", "train_orm.py", "train_generator.py", "bench_training.py"} <= exit_codes.keys()
    assert {name: code for name, code in exit_codes.items() if code not in ("0", "21")} == {}


def test_weights_are_counted_and_told_apart_without_loading_them(tiny_llama, tmp_path):
    """Other values or another shape are other weights."""
    models = {"one": tiny_llama(50), "other": tiny_llama(50, seed=1), "larger": tiny_llama(60)}
    read = {}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        read[name] = read_weights(tmp_path / name)
    assert {name: count for name, (count, _) in read.items()} == {
        name: model.num_parameters() for name, model in models.items()
    }
    assert [len(digest) for digest in {digest for _, digest in read.values()}] == [8] * 3
    assert read_weights(tmp_path / "one") == read["one"]
    models["one"].save_pretrained(tmp_path / "in parts", max_shard_size="5KB")
    assert (tmp_path / "in parts" / "model.safetensors.index.json").is_file()
    assert read_weights(tmp_path / "in parts") == read["one"]
    config = tmp_path / "in parts" / "config.json"
    config.write_text(config.read_text().replace("rms_norm_eps", "rms_norm_epsilon"))
    assert read_weights(tmp_path / "in parts") != read["one"]
    with pytest.raises(FileNotFoundError, match=r"has no model\*\.safetensors; save the model with"):
        read_weights(tmp_path)


def test_a_model_that_is_nowhere_is_named_with_the_first_reason(tmp_path):
    with pytest.raises(
        OSError, match=f"'{tmp_path / 'gone'}' is no folder with a model, and could not be loaded"
    ) as error:
        load_model_and_tokenizer(str(tmp_path / "gone"), None, torch.float32)
    assert "\n" not in str(error.value)
    assert str(error.value).split("hub: ")[1].strip()


def test_a_new_head_is_of_fp32_whatever_the_body(tmp_path, tiny_llama):
    tokenizer = build_tokenizer()
    tiny_llama(len(tokenizer)).bfloat16().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for head in ("linear", "mlp"):
        model = from_base(str(tmp_path), head=head)
        assert model.get_decoder().embed_tokens.weight.dtype == torch.bfloat16
        assert {parameter.dtype for parameter in model.score.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"num_hidden_layers": 5000}, r"tiny\.gguf: num_hidden_layers is 5,000, more than its weights have"),
        (
            {"intermediate_size": 1 << 24},
            r"tiny\.gguf: its config describes a model of [\d,]+ numbers, its weights hold",
        ),
    ],
)
def test_a_header_of_a_gguf_file_that_describes_a_much_larger_model_is_refused(
    header, message, tmp_path, tiny_qwen2, plain_tokenizer
):
    write_gguf(tmp_path / "tiny.gguf", tiny_qwen2(len(plain_tokenizer)), plain_tokenizer, **header)
    with pytest.raises(ValueError, match=message):
        load_model_and_tokenizer(str(tmp_path), "tiny.gguf")


def test_layers_that_the_header_of_a_gguf_file_leaves_out_are_refused(tmp_path, tiny_qwen2, plain_tokenizer):
    write_gguf(tmp_path / "tiny.gguf", tiny_qwen2(len(plain_tokenizer)), plain_tokenizer, num_hidden_layers=1)
    with pytest.raises(ValueError, match=r"tiny\.gguf holds blk\.1\..*, for which its header has no place"):
        load_model_and_tokenizer(str(tmp_path), "tiny.gguf")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("linear", "LlamaForTokenClassification"),
        ("lm_tokens", "LlamaForTokenClassification"),
        ("mlp", "LlamaForProcessRewardModel"),
    ],
)
def test_a_class_has_the_name_that_checkpoints_record(head, name):
    kind = classifier_class(LlamaConfig(), head)
    assert (kind.__name__, kind.head) == (name, head)
    with pytest.raises(ValueError, match="'clip' models have no token-classification class"):
        classifier_class(CLIPConfig(), head)


@pytest.mark.parametrize(("gpu", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_weights_of_4_bits_compute_in_what_the_device_is_fast_in(gpu, dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = nf4()
    assert (config.bnb_4bit_compute_dtype, config.load_in_4bit, config.bnb_4bit_quant_type) == (dtype, True, "nf4")
    assert config.bnb_4bit_use_double_quant
    assert config.llm_int8_skip_modules == ["score"]
