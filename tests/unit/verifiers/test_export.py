"""The layouts in which verifiers are exported: what plain Transformers makes of them, and what is refused."""

import copy
import json
import math
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from exported_verifiers import BIAS, make_verifier, with_marker
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    Qwen2Model,
)

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.models.fingerprints import hash_of_base
from prm.models.loading import from_base
from prm.training.trainer import add_lora
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.export import SMALLEST_BIAS, TRACES, _as_language_model, _examples, export_verifier
from prm.verifiers.plain import check_key_set, plain_scores
from prm.verifiers.scoring import FILE, CalibratedChoice, Scoring

pytestmark = pytest.mark.slow  # each form is saved and loaded again

PROMPT, STEPS = "Natalia sold 48 clips in April.", ("She sold 24 in May.", "So 72.")


@pytest.fixture(params=["llama", "qwen2"])
def checkpoint(request, tmp_path, merging_tokenizer, trimming_tokenizer):
    """Its folder: a body with a tokenizer and a way to end steps of its own."""
    tokenizer = merging_tokenizer if request.param == "llama" else with_marker(trimming_tokenizer)
    return make_verifier(tmp_path / "verifier", request.param, tokenizer, marker=request.param == "qwen2")


def test_words_that_the_verifier_does_not_know_are_no_news_in_a_proof(tmp_path):
    verifier = load_verifier(make_verifier(tmp_path / "verifier", "llama", build_tokenizer()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(_examples("verifier", verifier)) == len(TRACES)


def ids_and_ends(folder):
    """Prompt and steps as the docstring of the codec says, put together here."""
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    marker = json.loads((folder / FILE).read_text())["codec"]["marker"]
    first = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    whole = first + ids(f"Q: {PROMPT}\n")
    ends = []
    for step in STEPS:
        whole += ids(step) + ids(marker or "\n")
        ends.append(len(whole) - 1)
    return torch.tensor([whole]), ends


def test_token_classification(checkpoint, tmp_path):
    folder = tmp_path / "out"
    scoring, difference = export_verifier(checkpoint, str(folder), "token_classification")
    assert difference <= 1e-5
    expected = load_verifier(checkpoint).score(PROMPT, STEPS)
    assert abs(expected[0] - expected[1]) > 0.01
    ids, ends = ids_and_ends(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype="float32").eval()
    assert model(ids).logits[0, ends].softmax(-1)[:, 1].tolist() == pytest.approx(expected, abs=1e-5)
    assert load_verifier(str(folder)).score(PROMPT, STEPS) == pytest.approx(expected, abs=1e-6)
    assert scoring.source == load_verifier(checkpoint).name


def test_qwen_prm(checkpoint, tmp_path):
    """Of a Llama, too; computed by hand as Qwen's published class does."""
    folder = tmp_path / "out"
    export_verifier(checkpoint, str(folder), "qwen_prm")
    expected = load_verifier(checkpoint).score(PROMPT, STEPS)
    config = json.loads((folder / "config.json").read_text())
    assert (config["architectures"], config["model_type"]) == (["Qwen2ForProcessRewardModel"], "qwen2")
    ids, ends = ids_and_ends(folder)
    hidden = Qwen2Model.from_pretrained(folder, dtype="float32").eval()(ids).last_hidden_state[0, ends]
    head = load_file(folder / "model.safetensors")
    inner = torch.relu(hidden @ head["score.0.weight"].T + head["score.0.bias"])
    logits = inner @ head["score.2.weight"].T + head["score.2.bias"]
    assert logits.softmax(-1)[:, 1].tolist() == pytest.approx(expected, abs=1e-5)
    assert load_verifier(str(folder)).score(PROMPT, STEPS) == pytest.approx(expected, abs=1e-5)


def test_a_tokenizer_that_would_be_read_as_another_is_refused(tmp_path, plain_tokenizer):
    """Transformers 5 divides texts as Qwen does, beside a config of Qwen2: here " 8" becomes two tokens."""
    path = make_verifier(tmp_path / "verifier", "llama", plain_tokenizer)
    with pytest.raises(
        ValueError, match="beside a config of qwen2, Transformers reads its tokenizer as a Qwen2Tokenizer"
    ):
        export_verifier(path, str(tmp_path / "out"), "qwen_prm")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_the_twin_gives_the_log_odds_but_for_the_offset(kind, tmp_path, plain_tokenizer):
    path, folder = make_verifier(tmp_path / "verifier", "llama", plain_tokenizer, kind=kind), tmp_path / "out"
    scoring, _ = export_verifier(path, str(folder), "sequence_classification")
    assert scoring.offset == pytest.approx(BIAS[1] - BIAS[0])
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32").eval()
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")
    article = {"prm": "a", "orm": "an"}[kind]
    assert f"\n`{scoring.source}`, {article} " in (folder / "README.md").read_text()
    ids, ends = ids_and_ends(folder)
    for end, score in zip(ends, load_verifier(path).score(PROMPT, STEPS), strict=True):
        logit = model(ids[:, : end + 1]).logits.item()
        assert logit + 0.75 == pytest.approx(math.log(score / (1 - score)), abs=1e-4)
    padded = torch.cat([ids, torch.full((1, 3), plain_tokenizer.pad_token_id)], -1)
    assert model(padded, attention_mask=(padded != plain_tokenizer.pad_token_id).long()).logits.item() == pytest.approx(
        logit, abs=1e-5
    )


def test_math_shepherd(tmp_path, trimming_tokenizer):
    tokenizer, folder = with_marker(trimming_tokenizer), tmp_path / "out"
    path = make_verifier(tmp_path / "verifier", "llama", tokenizer, marker=True, bias=None)
    scoring, _ = export_verifier(path, str(folder), "math_shepherd")
    bad, good = (tokenizer.convert_tokens_to_ids(token) for token in "-+")
    assert (scoring.label_ids, scoring.label_tokens) == ((bad, good), ("-", "+"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    assert type(model).__name__ == "LlamaForCausalLM"
    ids, ends = ids_and_ends(folder)
    assert [i for i, token in enumerate(ids[0]) if token == tokenizer.convert_tokens_to_ids("<step>")] == ends
    scores = model(ids).logits[0, ends][:, [good, bad]].softmax(-1)[:, 0].tolist()
    assert scores == pytest.approx(load_verifier(path).score(PROMPT, STEPS), abs=1e-5)


def test_an_adapter_is_merged(tmp_path, merging_tokenizer):
    path = make_verifier(tmp_path / "verifier", "llama", merging_tokenizer)
    base, folder = str(tmp_path / "verifier_base"), tmp_path / "lora"
    model = add_lora(from_base(base), 4)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    merging_tokenizer.save_pretrained(folder)
    replace(VerifierConfig.load(path), base_weights=hash_of_base(base)).save(folder)
    for form in ("token_classification", "qwen_prm", "sequence_classification"):
        _, difference = export_verifier(str(folder), str(tmp_path / form), form)
        assert difference <= 1e-5
        assert not list((tmp_path / form).glob("adapter*"))
        if form != "sequence_classification":  # one of ours, whose base is in it
            assert VerifierConfig.load(str(tmp_path / form)).base_weights is None


def test_a_bf16_body_keeps_its_numbers(tmp_path, plain_tokenizer):
    path = make_verifier(tmp_path / "verifier", "llama", plain_tokenizer, dtype=torch.bfloat16)
    scoring, difference = export_verifier(path, str(tmp_path / "out"), "token_classification")
    assert (scoring.dtype, difference <= 1e-5) == ("bfloat16", True)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert stored["model.norm.weight"].dtype == torch.bfloat16
    assert stored["score.weight"].dtype == torch.float32
    assert load_verifier(str(tmp_path / "out")).name == load_verifier(path).name


REFUSED = [
    ("token_classification", {"head": "mlp"}, "has an MLP head, which this layout cannot hold; export it as qwen_prm"),
    ("sequence_classification", {"head": "mlp"}, "has an MLP head"),
    ("math_shepherd", {"head": "mlp", "marker": True}, "has an MLP head"),
    ("math_shepherd", {}, "which may occur inside a step, too"),
    ("math_shepherd", {"marker": True}, "its head adds 0.7500 to the log-odds of good"),
]


@pytest.mark.parametrize(("form", "settings", "message"), REFUSED)
def test_what_a_layout_cannot_hold_exactly_is_refused(form, settings, message, tmp_path, trimming_tokenizer):
    path = make_verifier(tmp_path / "verifier", "llama", with_marker(trimming_tokenizer), **settings)
    with pytest.raises(ValueError, match=message):
        export_verifier(path, str(tmp_path / "out"), form)
    assert not (tmp_path / "out").exists()


def test_a_bias_as_small_as_the_limit_is_no_shift():
    config = SimpleNamespace(vocab_size=4)
    head = {"score.weight": torch.eye(2), "score.bias": torch.tensor([0.0, SMALLEST_BIAS], dtype=torch.float64)}
    _, written = _as_language_model("path", config, head, SimpleNamespace(head="linear"), (3, 1))
    assert written["lm_head.weight"].tolist() == [[0, 0], [0, 1], [0, 0], [1, 0]]
    head["score.bias"] = head["score.bias"] * 2
    with pytest.raises(ValueError, match=r"its head adds 0\.0"):
        _as_language_model("path", config, head, SimpleNamespace(head="linear"), (3, 1))


def test_other_bodies_and_positions_are_refused(tmp_path, plain_tokenizer):
    path = make_verifier(tmp_path / "verifier", "llama", plain_tokenizer)
    config = json.loads((tmp_path / "verifier" / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    (tmp_path / "verifier" / "config.json").write_text(json.dumps(config))
    VerifierConfig.load(path).save(path)
    with pytest.raises(ValueError, match="is a Llama with scaled rotary embeddings"):
        export_verifier(path, str(tmp_path / "out"), "qwen_prm")
    tokenizer = copy.deepcopy(plain_tokenizer)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(tokenizer("\n")["input_ids"])[0]
    tokenizer.save_pretrained(path)
    VerifierConfig.load(path).save(path)
    with pytest.raises(ValueError, match="the padding token: Transformers would read the one before it"):
        export_verifier(path, str(tmp_path / "out"), "sequence_classification")


@pytest.mark.parametrize("form", ["token_classification", "qwen_prm", "sequence_classification"])
def test_a_missing_or_misnamed_tensor_is_refused_by_name(form, tmp_path, merging_tokenizer):
    path, folder = make_verifier(tmp_path / "verifier", "llama", merging_tokenizer), tmp_path / "out"
    scoring, _ = export_verifier(path, str(folder), form)
    weights = load_file(folder / "model.safetensors")
    head = next(name for name in weights if name.startswith("score."))
    lost = {name: tensor for name, tensor in weights.items() if name != head}
    save_file(lost, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"out lacks {head}, and would be served with arbitrary numbers"):
        check_key_set(folder, form)
    with pytest.raises(ValueError, match=head):
        plain_scores(folder, scoring)
    save_file(weights | {head: torch.zeros(1, 1)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"out has another shape of {head} than its class"):
        check_key_set(folder, form)
    save_file(weights | {"score.1.weight": weights[head].clone()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"out holds score\.1\.weight, for which its class has no place"):
        check_key_set(folder, form)


def test_what_is_written_beside_the_weights(tmp_path, trimming_tokenizer):
    path, folder = tmp_path / "verifier", tmp_path / "out"
    make_verifier(path, "llama", with_marker(trimming_tokenizer), marker=True)
    (path / "README.md").write_text("how it was trained")
    with pytest.raises(ValueError, match="a calibration was learned for prm-0; leave it out"):
        export_verifier(
            str(path), str(folder), "qwen_prm", None, None, [CalibratedChoice("prm-0", "generator-1", 16, (), ())]
        )
    choice = CalibratedChoice(
        load_verifier(str(path)).name, "generator-1", 16, ((0.1, 0.2), (0.9, 0.75)), ((0.5, 0.6),)
    )
    scoring, _ = export_verifier(str(path), str(folder), "token_classification", None, 0.4, [choice])
    assert Scoring.load(folder) == scoring
    stated = json.loads((folder / FILE).read_text())
    assert (stated["aggregation"], stated["threshold"], stated["codec"]["marker"]) == ("last", 0.4, "<step>")
    assert stated["calibrations"][0]["best"] == [[0.1, 0.2], [0.9, 0.75]]
    card = (folder / "README.md").read_text()
    (step,) = scoring.step_end_ids
    assert (
        "vllm serve out --runner pooling --dtype float32 --max-model-len 200 --pooler-config "
        f"""'{{"task": "token_classify", "pooling_type": "STEP", "step_tag_id": {step}}}'\n""" in card
    )
    assert "It returns logits at every step end. " in card
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["library_name"], head["pipeline_tag"]) == ("transformers", "token-classification")
    assert head["tags"] == ["prm", "process-reward-model", "reward-model", "reasoning"]
    assert f"\n`{scoring.source}`, a process reward model trained from `" in card
    assert (folder / "SOURCE.md").read_text() == "how it was trained"
    assert "[SOURCE.md](SOURCE.md) describes its training." in card
    stated["examples"][0]["scores"] = "none"
    (folder / FILE).write_text(json.dumps(stated))
    with pytest.raises(ValueError, match=r"scoring\.json: examples"):
        Scoring.load(folder)
    with pytest.raises(FileNotFoundError, match="write the folder with recipes/export_verifier"):
        Scoring.load(path)


def test_the_tokenizer_of_an_exported_model_reads_the_date_of_the_verifier(tmp_path, plain_tokenizer, clock):
    tokenizer = copy.deepcopy(plain_tokenizer)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} {{ messages[0]['content'] }}"
    path = make_verifier(tmp_path / "verifier", "llama", tokenizer, kind="orm")
    codec = StepCodec(PromptTemplate("{prompt}", chat=True, date="2025-12-01"), max_length=64)
    VerifierConfig("orm", codec, "outcome", "last", "base", "hash").save(path)
    export_verifier(path, str(tmp_path / "reward"), "sequence_classification")
    clock("2031-03-01")
    exported = AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert exported.apply_chat_template([{"role": "user", "content": "Hm?"}], tokenize=False) == "01 Dec 2025 Hm?"
