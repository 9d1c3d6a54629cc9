"""Scores of a checkpoint: the same after every way of saving, in every batch; and what must never be loaded."""

import copy
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    GPT2Config,
    GPT2LMHeadModel,
)

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.models.fingerprints import fingerprint, hash_of_base
from prm.models.loading import from_base, nf4
from prm.models.step_classifier import classifier_class
from prm.training.trainer import add_lora
from prm.types import Scores
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.loading import load_classifier
from prm.verifiers.step_verifier import StepVerifier, usual_dtype

PROMPT = "Start with 47, add 38, subtract 12."
STEPS = ("47 + 38 = 85", "85 - 12 = 63", "#### 63")
PROMPTS = [PROMPT, "Start with 12, add 3.", "Start with 9, multiply by 2, add 5, subtract 1."]
TRACES = [STEPS, ("#### 15",), ("9 * 2 = 18", "18 + 5 = 23", "23 - 1 = 22", "#### 22")]
CONFIG = VerifierConfig("prm", StepCodec(max_length=64), "value", "last", "base", "hash")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def bases(tmp_path_factory, tokenizer, merging_tokenizer, tiny_llama, tiny_qwen2):
    """Folders of language models: `llama`, `wide` (its layers are multiples of the 64 weights that share a 4-bit scale),
    `bf16` (a Llama stored as most models are) and `qwen2`.

    The Qwen2 has a byte-level tokenizer, because AutoTokenizer makes every tokenizer next to a Qwen2 config a
    Qwen2Tokenizer.
    """
    folders = {}
    for name, model, its_tokenizer in (
        ("llama", tiny_llama(len(tokenizer)), tokenizer),
        ("wide", tiny_llama(len(tokenizer), hidden_size=64), tokenizer),
        ("bf16", tiny_llama(len(tokenizer)).bfloat16(), tokenizer),
        ("qwen2", tiny_qwen2(len(merging_tokenizer)), merging_tokenizer),
    ):
        folders[name] = str(tmp_path_factory.mktemp(name))
        model.save_pretrained(folders[name])
        its_tokenizer.save_pretrained(folders[name])
    return folders


def trained(model):
    """As after training: nothing that is trained has its first value any more (LoRA's B starts at zero)."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:  # gains of norms stay 1, so that scores differ between steps
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def save(folder, model, tokenizer, base=None):
    """A checkpoint; `base` is that of an adapter."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    on_base(CONFIG, base).save(folder)
    return str(folder)


def on_base(config, base):
    return replace(config, base_model=base, base_weights=hash_of_base(base)) if base else config


@pytest.fixture
def checkpoint(tmp_path, bases, tokenizer):
    return save(tmp_path / "full", trained(from_base(bases["llama"])), tokenizer)


@pytest.fixture
def adapter(tmp_path, bases, tokenizer):
    return save(tmp_path / "adapter", trained(add_lora(from_base(bases["llama"]), 4)), tokenizer, bases["llama"])


@pytest.fixture(scope="module")
def verifier(bases, tokenizer):
    return StepVerifier(trained(from_base(bases["qwen2"])), tokenizer, CONFIG)


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_head(path):
    """Remove the head from a weights file and return how many tensors it had."""
    weights = load_file(path)
    save_file({name: w for name, w in weights.items() if ".score." not in f".{name}"}, path, {"format": "pt"})
    return len(weights) - len(load_file(path))


def close(a_N, b_N, tolerance=1e-5):
    a_N, b_N = ([x.steps if isinstance(x, Scores) else x for x in x_N] for x_N in (a_N, b_N))
    assert [len(a) for a in a_N] == [len(b) for b in b_N]
    return all(abs(x - y) <= tolerance for a, b in zip(a_N, b_N, strict=True) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("base", ["llama", "qwen2"])
def test_scores_survive_saving_adapters_and_merging(base, bases, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(bases[base])
    full = trained(from_base(bases[base]))
    expected = StepVerifier(full, tokenizer, CONFIG).score_batch(PROMPTS, TRACES)
    assert max(expected[0].steps) - min(expected[0].steps) > 0.01  # else any two checkpoints would agree
    assert close(load_verifier(save(tmp_path / "full", full, tokenizer)).score_batch(PROMPTS, TRACES), expected)

    lora = trained(add_lora(from_base(bases[base]), 4))
    expected_lora = StepVerifier(lora, tokenizer, CONFIG).score_batch(PROMPTS, TRACES)
    assert not close(expected_lora, expected, tolerance=0.01)
    folder = save(tmp_path / "lora", lora, tokenizer, bases[base])
    loaded = load_verifier(folder)
    assert close(loaded.score_batch(PROMPTS, TRACES), expected_lora)
    merged = save(tmp_path / "merged", loaded.model, tokenizer)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert close(load_verifier(merged).score_batch(PROMPTS, TRACES), expected_lora)


def test_adapters_cover_every_linear_layer_of_the_body_and_train_the_head_in_full(bases):
    lora = add_lora(from_base(bases["llama"]), 4)
    names = {name for name, p in lora.named_parameters() if p.requires_grad}
    wrapped = {name.split(".lora_A")[0].split(".")[-1] for name in names if ".lora_A" in name}
    assert wrapped == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name for name in names if ".lora_" not in name} == {
        "base_model.model.score.modules_to_save.default.weight",
        "base_model.model.score.modules_to_save.default.bias",
    }


@pytest.mark.slow
@pytest.mark.parametrize("head", ["mlp", "lm_tokens"])
@pytest.mark.parametrize("lora_r", [0, 4])
def test_other_heads_survive_saving_and_merging(head, lora_r, bases, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(bases["qwen2"])
    model = from_base(bases["qwen2"], head=head)
    model = trained(add_lora(model, lora_r) if lora_r else model)
    config = replace(CONFIG, head=head)
    expected = StepVerifier(model, tokenizer, config).score_batch(PROMPTS, TRACES)
    folder = save(tmp_path / "saved", model, tokenizer)
    (on_base(config, bases["qwen2"]) if lora_r else config).save(folder)
    loaded = load_verifier(folder)
    assert close(loaded.score_batch(PROMPTS, TRACES), expected)
    merged = save(tmp_path / "merged", loaded.model, tokenizer)
    config.save(merged)
    assert close(load_verifier(merged).score_batch(PROMPTS, TRACES), expected)
    if head == "mlp":  # the names that vLLM's Qwen2ForProcessRewardModel reads
        assert json.loads((tmp_path / "merged/config.json").read_text())["architectures"] == [
            "Qwen2ForProcessRewardModel"
        ]
        names = {name for name in load_file(tmp_path / "merged/model.safetensors") if name.startswith("score")}
        assert names == {"score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias"}
        weights = tmp_path / "saved" / ("adapter_model.safetensors" if lora_r else "model.safetensors")
        assert drop_head(weights) == 4
        with pytest.raises(ValueError, match=r"score\.0"):
            load_verifier(folder)


def test_lm_tokens_head_takes_no_token_that_begins_texts(tiny_llama, trimming_tokenizer, tmp_path):
    base = tiny_llama(len(trimming_tokenizer))
    base.save_pretrained(tmp_path)
    trimming_tokenizer.save_pretrained(tmp_path)
    minus, plus = (trimming_tokenizer.convert_tokens_to_ids(token) for token in "-+")
    assert torch.equal(from_base(str(tmp_path), head="lm_tokens").score.weight, base.lm_head.weight[[minus, plus]])


def test_lm_tokens_head_starts_with_the_rows_of_minus_and_plus(bases, merging_tokenizer):
    model = from_base(bases["qwen2"], head="lm_tokens")
    rows = AutoModelForCausalLM.from_pretrained(bases["qwen2"]).lm_head.weight
    minus, plus = (merging_tokenizer.convert_tokens_to_ids(token) for token in "-+")
    assert torch.equal(model.score.weight, rows[[minus, plus]])
    ids = torch.tensor([[50, 60, 70]])
    assert torch.allclose(
        model(ids).logits[0, -1],
        AutoModelForCausalLM.from_pretrained(bases["qwen2"])(ids).logits[0, -1, [minus, plus]],
        atol=1e-5,
    )
    with pytest.raises(ValueError, match=r"'-' and '\+' are the tokens \[\[2\], \[2\]\], each must be one known token"):
        from_base(bases["llama"], head="lm_tokens")
    with pytest.raises(ValueError, match="head 'conv' is not one of linear, mlp, lm_tokens"):
        from_base(bases["llama"], head="conv")


def test_verifier_as_a_base_keeps_its_head_and_takes_no_other(checkpoint, bases, tmp_path):
    kept = from_base(checkpoint).score.weight
    assert torch.equal(kept, load_file(tmp_path / "full" / "model.safetensors")["score.weight"])
    with pytest.raises(ValueError, match="full is a verifier whose head is not mlp"):
        from_base(checkpoint, head="mlp")


def test_architecture_whose_head_has_another_name_is_refused(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="token classifier of 'gpt2' models has no head called 'score'"):
        from_base(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("base", ["llama", "wide"])
def test_4_bit_base_keeps_an_fp32_head_and_scores_as_it_was_trained(base, avx512_bf16, bases, tokenizer, tmp_path):
    lora = trained(add_lora(from_base(bases[base], torch.float32, quantization_config=nf4()), 4))
    kinds = {type(p).__name__ for name, p in lora.named_parameters() if "base_layer" in name}
    assert kinds == {"Params4bit"}
    assert {p.dtype for name, p in lora.named_parameters() if ".score." in name} == {torch.float32}
    with torch.inference_mode():  # as training computes: the packing of bitsandbytes waits for eval mode
        ids = torch.tensor([CONFIG.codec.encode(tokenizer, PROMPT, STEPS).input_ids])
        in_training = lora.train()(ids).logits
    expected = StepVerifier(lora, tokenizer, CONFIG).score_batch(PROMPTS, TRACES)
    with torch.inference_mode():
        assert torch.allclose(lora.eval()(ids).logits, in_training, atol=1e-5)
    folder = save(tmp_path, lora, tokenizer)
    on_base(replace(CONFIG, quantization="nf4"), bases[base]).save(folder)
    assert close(load_verifier(folder).score_batch(PROMPTS, TRACES), expected)
    with pytest.raises(
        ValueError, match="has 4-bit weights, which compute in numbers of their own; leave dtype bfloat16"
    ):
        load_verifier(folder, dtype="bfloat16")
    on_base(CONFIG, bases[base]).save(folder)  # the same adapter on a base that was not rounded
    assert not close(load_verifier(folder).score_batch(PROMPTS, TRACES), expected, tolerance=1e-3)


def test_4_bit_weights_without_bitsandbytes_are_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "prm-toolkit\[qlora\]"'):
        nf4()


def test_bf16_base_keeps_an_fp32_head_in_memory_and_on_disk(bases, tokenizer, tmp_path):
    model = from_base(bases["bf16"])
    with torch.no_grad():
        model.score.weight.normal_()  # fp32 digits that bf16 cannot hold
    body = {p.dtype for name, p in model.named_parameters() if not name.startswith("score.")}
    assert (body, model.score.weight.dtype, model.score.bias.dtype) == ({torch.bfloat16}, torch.float32, torch.float32)
    assert model(torch.tensor([[5, 6]])).logits.dtype == torch.float32

    expected = StepVerifier(model, tokenizer, CONFIG).score_batch(PROMPTS, TRACES)
    folder = save(tmp_path / "full", model, tokenizer)
    assert json.loads((tmp_path / "full" / "config.json").read_text())["dtype"] == "bfloat16"
    loaded = load_verifier(folder)
    assert torch.equal(loaded.model.score.weight, model.score.weight)
    assert loaded.model.get_decoder().embed_tokens.weight.dtype == torch.bfloat16
    assert close(loaded.score_batch(PROMPTS, TRACES), expected)


def test_a_gpu_scores_in_bf16_unless_told_otherwise(tmp_path, monkeypatch):
    """Not where it does not compute in bf16, of 4-bit weights, or where the CPU is asked for."""
    full, rounded = tmp_path / "full", tmp_path / "rounded"
    for folder, quantization in ((full, None), (rounded, "nf4")):
        folder.mkdir()
        replace(CONFIG, quantization=quantization).save(folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert [usual_dtype(str(full), device) for device in (None, "cuda:1", "cpu")] == ["bfloat16", "bfloat16", None]
    assert usual_dtype(str(rounded), None) is None
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert usual_dtype(str(full), None) is None


@pytest.mark.parametrize("kind", ["checkpoint", "adapter"])
def test_bfloat16_on_request_leaves_the_head_in_fp32_and_changes_the_name(request, kind):
    folder = request.getfixturevalue(kind)
    usual, rounded = load_verifier(folder), load_verifier(folder, dtype="bfloat16")
    assert {p.dtype for p in rounded.model.get_decoder().parameters()} == {torch.bfloat16}
    assert torch.equal(rounded.model.score.weight, usual.model.score.weight)
    assert rounded.name != usual.name
    without = fingerprint(usual.model, usual.tokenizer, (usual.config,))
    assert usual.name == f"prm-{without}"  # only numbers that were asked for are part of it
    expected = usual.score_batch(PROMPTS, TRACES)
    assert close(rounded.score_batch(PROMPTS, TRACES), expected, tolerance=0.1)
    assert not close(rounded.score_batch(PROMPTS, TRACES), expected, tolerance=1e-6)


@pytest.mark.parametrize("kind", ["checkpoint", "adapter"])
@pytest.mark.parametrize("part", ["score.weight", "q_proj"])
def test_weights_that_were_converted_after_training_are_refused(request, kind, part):
    folder = request.getfixturevalue(kind)
    file = Path(folder) / ("model.safetensors" if kind == "checkpoint" else "adapter_model.safetensors")
    weights = load_file(file)
    name = next(name for name in sorted(weights) if part in name)
    save_file(weights | {name: weights[name].half()}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"the weights {name} are stored as F16 and not as F32"):
        load_classifier(folder)


def test_head_computes_in_fp32_under_autocast(bases):
    model, ids = trained(from_base(bases["llama"])), torch.tensor([[5, 6, 7]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.get_decoder()(input_ids=ids).last_hidden_state
        logits = model(ids).logits
    assert torch.equal(logits, hidden.float() @ model.score.weight.T + model.score.bias)
    assert not torch.equal(logits, logits.bfloat16().float())


def test_adapter_on_a_bf16_base_scores_as_it_was_trained_in_fp32(bases, tokenizer, tmp_path):
    lora = trained(add_lora(from_base(bases["bf16"], dtype=torch.float32), 4))
    expected = StepVerifier(lora, tokenizer, CONFIG).score_batch(PROMPTS, TRACES)
    folder = save(tmp_path, lora, tokenizer, bases["bf16"])
    assert close(load_verifier(folder).score_batch(PROMPTS, TRACES), expected)


def test_checkpoint_is_a_plain_hugging_face_folder(checkpoint, tokenizer):
    stock = AutoModelForTokenClassification.from_pretrained(checkpoint).eval()
    assert stock.config.id2label == {0: "bad", 1: "good"}
    encoded = CONFIG.codec.encode(tokenizer, PROMPT, STEPS)
    good = stock(torch.tensor([encoded.input_ids])).logits.softmax(-1)[0, list(encoded.step_ends), 1].tolist()
    assert close([load_verifier(checkpoint).score(PROMPT, STEPS)], [good])


def test_full_checkpoint_without_its_head_is_refused(checkpoint, tmp_path):
    assert drop_head(tmp_path / "full" / "model.safetensors") == 2
    with pytest.raises(ValueError, match=r"full lacks score\.bias, score\.weight: the head was lost"):
        load_verifier(checkpoint)


def test_adapter_without_its_head_is_refused(adapter, tmp_path):
    assert drop_head(tmp_path / "adapter" / "adapter_model.safetensors") == 2
    with pytest.raises(ValueError, match=r"adapter: the adapter holds no score\.weight, so the trained head is lost"):
        load_verifier(adapter)


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear"])
def test_adapter_trained_without_task_type_is_refused(targets, bases, tokenizer, tmp_path):
    """PEFT saves no head then, or a LoRA of a random one; both load without an error and score at random."""
    lora = get_peft_model(from_base(bases["llama"]), LoraConfig(r=4, target_modules=targets))
    with pytest.raises(ValueError, match=r"task_type='TOKEN_CLS', modules_to_save=\['score'\]"):
        load_verifier(save(tmp_path, trained(lora), tokenizer))


@pytest.mark.parametrize("labels", [{"0": "good", "1": "bad"}, {"0": "LABEL_0", "1": "LABEL_1"}])
def test_other_order_of_labels_is_refused(labels, checkpoint, tmp_path):
    edit_json(tmp_path / "full" / "config.json", id2label=labels, label2id={v: int(k) for k, v in labels.items()})
    with pytest.raises(ValueError, match=r"full: labels are \{.*this project needs \{0: 'bad', 1: 'good'\}"):
        load_verifier(checkpoint)


def test_other_order_of_labels_in_prm_config_is_refused(checkpoint, adapter, tmp_path):
    for folder in (checkpoint, adapter):
        edit_json(tmp_path / folder / "prm_config.json", labels=["good", "bad"])
        with pytest.raises(ValueError, match="upside down"):
            load_verifier(folder)
    with pytest.raises(ValueError, match="upside down"):
        load_classifier(adapter)


def test_folder_without_prm_config_is_refused(bases):
    with pytest.raises(FileNotFoundError, match=r"prm_config\.json is missing: .* is not a verifier saved by this"):
        load_verifier(bases["llama"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sliding_window": 63},
            "attend to the last 63 tokens only, and traces may have 64: .*lower --max_length to 63",
        ),
        (
            {"layer_types": ["full_attention", "linear_attention"]},
            "llama models have full_attention, linear_attention la",
        ),
    ],
)
def test_checkpoint_with_an_attention_that_is_not_computed_here_is_refused(change, message, checkpoint, tmp_path):
    edit_json(tmp_path / "full" / "config.json", sliding_window=64)
    CONFIG.save(checkpoint)  # with its new checksum
    assert len(load_verifier(checkpoint).score(PROMPT, STEPS)) == 3
    edit_json(tmp_path / "full" / "config.json", **change)
    with pytest.raises(ValueError, match=message):
        load_verifier(checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 3, "alpha": 1}, r"prm_config\.json: unknown keys alpha, window; was it written by a newer version"),
        ({"kind": "orm"}, "a orm cannot have 'value' labels"),
        ({"semantics": "outcome"}, "a prm cannot have 'outcome' labels"),
        ({"kind": "critic"}, "kind 'critic' is not one of prm, orm"),
        ({"aggregation": "max"}, "aggregation 'max' is not one of last, min, product, mean"),
        ({"head": "conv"}, "head 'conv' is not one of linear, mlp, lm_tokens"),
        ({"head": "mlp"}, r"lacks score\.0\.bias, score\.0\.weight, .*: the head was lost"),
    ],
)
def test_prm_config_that_contradicts_itself_is_refused(change, message, checkpoint, tmp_path):
    edit_json(tmp_path / "full" / "prm_config.json", **change)
    with pytest.raises(ValueError, match=message):
        load_verifier(checkpoint)


def test_prm_config_survives_the_file(tmp_path):
    CONFIG.save(tmp_path)
    assert VerifierConfig.load(tmp_path) == CONFIG


def test_scores_do_not_depend_on_the_day(bases, merging_tokenizer, tmp_path, clock):
    """Although the chat template of the checkpoint asks for the date."""
    tokenizer = copy.deepcopy(merging_tokenizer)
    tokenizer.chat_template = "Today: {{ strftime_now('%d %b %Y') }}\n" + tokenizer.chat_template
    folder = save(tmp_path / "dated", trained(from_base(bases["qwen2"])), tokenizer)
    scores = {}
    for date in ("2024-07-26", "2031-11-09"):
        replace(CONFIG, codec=StepCodec(PromptTemplate("{prompt}", chat=True, date=date), max_length=256)).save(folder)
        for day in ("2031-03-01", "2031-11-09"):
            clock(day)
            scores[date, day] = load_verifier(folder).score(PROMPT, STEPS)
    for date in ("2024-07-26", "2031-11-09"):
        assert scores[date, "2031-03-01"] == scores[date, "2031-11-09"]  # to the bit
    assert not close([scores["2024-07-26", "2031-03-01"]], [scores["2031-11-09", "2031-03-01"]])  # a date is read


def test_incomplete_base_is_refused(bases, tmp_path):
    folder = shutil.copytree(bases["llama"], tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"base lacks model\.norm\.weight; it is incomplete"):
        from_base(str(folder))


def test_architecture_that_has_no_token_classifier_is_refused():
    class UnknownConfig(BertConfig):
        model_type = "unheard-of"

    with pytest.raises(ValueError, match="'unheard-of' models have no token-classification class"):
        classifier_class(UnknownConfig())


def test_forward_takes_no_labels_because_the_stock_loss_is_wrong(bases):
    with pytest.raises(TypeError, match="does not take labels"):
        from_base(bases["llama"])(torch.tensor([[5]]), labels=torch.tensor([[1]]))


def test_a_verifier_says_once_that_it_cannot_read_a_text(bases, tokenizer):
    reader = StepVerifier(trained(from_base(bases["llama"])), tokenizer, CONFIG)
    with pytest.warns(UserWarning, match="unknown to the verifier's tokenizer, e.g. in 'Natalia sold clips'"):
        reader.score("Natalia sold clips", ["She sold many."])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.score("Weng earns a lot", ["She earns more."])


def test_one_score_per_step_between_0_and_1(verifier):
    scores_N = verifier.score_batch(PROMPTS, TRACES)
    assert [len(scores.steps) for scores in scores_N] == [3, 1, 4]
    assert all(0 < score < 1 for scores in scores_N for score in scores.steps)
    assert [scores.trace for scores in scores_N] == [scores.steps[-1] for scores in scores_N]
    assert verifier.score_batch([], []) == []


def test_batches_change_no_score_and_no_order(verifier, tokenizer):
    alone = [verifier.score(prompt, steps) for prompt, steps in zip(PROMPTS, TRACES, strict=True)]
    assert not close(alone[0:1], [alone[2][:3]], tolerance=0.001)  # an exchange of rows would show
    assert close(verifier.score_batch(PROMPTS, TRACES), alone)
    small = StepVerifier(verifier.model, tokenizer, CONFIG, batch_tokens=1)
    assert close(small.score_batch(PROMPTS, TRACES), alone)
    assert close(verifier.score_batch(PROMPTS[::-1], TRACES[::-1]), alone[::-1])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_side_of_the_tokenizer_is_irrelevant(side, verifier):
    tokenizer = build_tokenizer()
    tokenizer.padding_side = side
    scores_N = StepVerifier(verifier.model, tokenizer, CONFIG).score_batch(PROMPTS, TRACES)
    assert close(scores_N, [verifier.score(p, s) for p, s in zip(PROMPTS, TRACES, strict=True)])


def test_score_of_a_step_is_the_last_score_of_the_trace_cut_after_it(verifier):
    whole = verifier.score(PROMPTS[2], TRACES[2])
    cut = [verifier.score(PROMPTS[2], TRACES[2][:k])[-1] for k in range(1, 5)]
    assert close([whole], [cut])
    assert verifier.score_batch(PROMPTS[2:3], TRACES[2:3])[0].spreads == ()  # another objective has them
    assert max(whole) - min(whole) > 0.001


def test_scores_are_without_dropout_whatever_the_model_did_before(bases, tokenizer, tmp_path):
    folder = shutil.copytree(bases["llama"], tmp_path / "base")
    edit_json(folder / "config.json", attention_dropout=0.5, classifier_dropout=0.5)
    model = trained(from_base(str(folder))).train()
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} <= {0.0}  # none in front of the head
    ids = torch.tensor([[5, 6, 7, 8]])
    assert not torch.equal(model(ids).logits, model(ids).logits)  # the attention's own dropout is on
    verifier = StepVerifier(model, tokenizer, CONFIG)
    assert not model.training
    assert verifier.score(PROMPT, STEPS) == verifier.score(PROMPT, STEPS)


def test_trace_too_long_to_read_is_an_error_with_both_numbers(verifier, tokenizer):
    # 8 tokens of prompt, 6 + 6 + 3 of steps
    (whole,) = verifier.score_batch([PROMPT], [STEPS])
    assert (whole.read, whole.cached) == (23, 0)
    short = VerifierConfig("prm", StepCodec(max_length=22), "value", "last", "base", "hash")
    with pytest.raises(ValueError, match="3 steps is 23 tokens long, this verifier reads 22: only 2 steps fit"):
        StepVerifier(verifier.model, tokenizer, short).score(PROMPT, STEPS)
    with pytest.raises(ValueError, match="3 steps is 23 tokens long"):
        StepVerifier(verifier.model, tokenizer, short).score_trace(PROMPT, STEPS)


def test_a_trace_too_long_to_read_has_no_score_and_changes_no_other(verifier, tokenizer):
    short = StepVerifier(
        verifier.model, tokenizer, VerifierConfig("prm", StepCodec(max_length=22), "value", "last", "base", "hash")
    )
    shorter = STEPS[:2]
    first, unread, last = short.score_batch([PROMPT] * 3, [shorter, STEPS, shorter[:1]])
    assert unread is None
    expected = short.score_batch([PROMPT] * 2, [shorter, shorter[:1]])
    assert close([first, last], expected)
    assert [first.read + last.read, first.cached + last.cached] == [
        sum(scores.read for scores in expected),
        sum(scores.cached for scores in expected),
    ]
    assert short.score_batch([PROMPT], [STEPS]) == [None]


def test_a_generator_of_other_steps_or_of_longer_traces_is_noticed_before_it_samples(verifier, tokenizer):
    """The prompt has 8 tokens."""

    def check(step_rule, max_new_tokens, learned="paragraph"):
        config = VerifierConfig("prm", StepCodec(max_length=30), "value", "last", "base", "hash", step_rule=learned)
        return StepVerifier(verifier.model, tokenizer, config).check_generator(
            ["2?", PROMPT], step_rule, max_new_tokens
        )

    assert check("paragraph", 22) is None
    assert check("line", 22, learned=None) is None  # nobody knows what it learned from
    assert check("paragraph", 23).startswith("reads 30 tokens, the longest prompt has 8 and --max_new_tokens is 23: a")
    assert "give --max_new_tokens 22, or train with" in check("paragraph", 23)
    with pytest.raises(
        ValueError, match="divided by the step rule paragraph, the generator divides by line; give --st"
    ):
        check("line", 22)


def test_what_traces_of_one_problem_share_is_read_once(verifier):
    traces = [STEPS, STEPS[:2], (*STEPS[:2], "#### 73")]
    scores_N = verifier.score_batch([PROMPT] * 3, traces)
    assert sum(scores.read for scores in scores_N) == 25  # two tokens of the third trace are not shared
    assert [scores.read + scores.cached for scores in scores_N] == [23, 20, 23]
    beside = verifier.score_batch([PROMPT, "Another problem?", *[PROMPT] * 2], [STEPS, STEPS, *traces[1:]])
    assert (beside[0].read, beside[0].cached) == (23, 0)  # only neighbors count as one problem
    assert sum(scores.read for scores in beside[2:]) == 23  # 20, and the end of the third trace


def test_empty_steps_empty_traces_and_unequal_numbers_are_errors(verifier):
    with pytest.raises(ValueError, match="step 2 of 2 is empty"):
        verifier.score(PROMPT, ["47 + 38 = 85", " "])
    with pytest.raises(ValueError, match="a trace without steps"):
        verifier.score(PROMPT, [])
    with pytest.raises(ValueError, match=r"steps are one text \('47 \+ 38 = 85\\n#### 85'\); give a list"):
        verifier.score(PROMPT, "47 + 38 = 85\n#### 85")
    with pytest.raises(ValueError, match="the prompt is ''; give the text of one problem"):
        verifier.score("", STEPS)
    with pytest.raises(ValueError, match=r"the prompt is \['Start with .*; give the text of one problem \("):
        verifier.score([PROMPT], [STEPS])
    with pytest.raises(ValueError, match=r"a step is \('47 \+ 38.*; give a list with one string per step of one trace"):
        verifier.score(PROMPT, [STEPS])
    with pytest.raises(ValueError, match="2 prompts but 1 traces"):
        verifier.score_batch([PROMPT, PROMPT], [STEPS])


def test_trace_score_follows_the_aggregation_of_the_checkpoint(verifier, tokenizer):
    scores = verifier.score(PROMPT, STEPS)
    assert verifier.score_trace(PROMPT, STEPS) == scores[-1]
    product = VerifierConfig("prm", CONFIG.codec, "correctness", "product", "base", "hash")
    other = StepVerifier(verifier.model, tokenizer, product)
    assert other.score_trace(PROMPT, STEPS) == pytest.approx(scores[0] * scores[1] * scores[2])
