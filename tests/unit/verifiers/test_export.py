"""The one-logit form of an ORM: the log-odds of the verifier but for a constant, where TRL's readers look."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.models.fingerprints import hash_of_base
from prm.models.loading import from_base
from prm.training.trainer import add_lora
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.export import export_reward_model
from prm.verifiers.step_verifier import StepVerifier

CONFIG = VerifierConfig("orm", StepCodec(max_length=64), "outcome", "last", "base", "hash")
TRACES = {
    "Start with 47, add 38.": ("47 + 38 = 85", "#### 85"),
    "Start with 12, add 3.": ("#### 16",),
}


def base_with(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def base(tmp_path, tiny_llama):
    tokenizer = build_tokenizer()
    return base_with(tiny_llama(len(tokenizer)), tokenizer, tmp_path / "base")


@pytest.mark.parametrize("lora_r", [0, 4])
def test_rewards_are_the_log_odds_but_for_the_bias(lora_r, base, tmp_path):
    torch.manual_seed(0)
    tokenizer, model = build_tokenizer(), from_base(base)
    if lora_r:
        model = add_lora(model, lora_r)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    head = model.base_model.model.score.modules_to_save.default if lora_r else model.score
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.25, 1.0]))
    folder = tmp_path / "orm"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    replace(CONFIG, base_weights=hash_of_base(base)).save(folder)
    assert export_reward_model(str(folder), str(tmp_path / "reward")) == pytest.approx(0.75)

    verifier = StepVerifier(model, tokenizer, CONFIG)
    reward = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    assert reward.config.num_labels == 1
    values = []
    for prompt, steps in TRACES.items():
        ids = CONFIG.codec.encode(tokenizer, prompt, steps).input_ids
        values.append(reward(torch.tensor([ids])).logits.item())
        score = verifier.score(prompt, steps)[-1]
        assert values[-1] + 0.75 == pytest.approx(math.log(score / (1 - score)), abs=1e-4)
    assert abs(values[0] - values[1]) > 0.01


@pytest.mark.parametrize(
    "config",
    [replace(CONFIG, kind="prm", semantics="value"), replace(CONFIG, head="mlp"), replace(CONFIG, quantization="nf4")],
)
def test_what_has_no_one_logit_form_is_refused(config, tmp_path):
    config.save(tmp_path)
    with pytest.raises(ValueError, match="only ORMs with a linear head on whole weights have a one-logit form"):
        export_reward_model(str(tmp_path), str(tmp_path / "reward"))


def test_the_tokenizer_of_an_exported_model_reads_the_date_of_the_verifier(
    tiny_llama, plain_tokenizer, tmp_path, clock
):
    tokenizer = copy.deepcopy(plain_tokenizer)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} {{ messages[0]['content'] }}"
    model = from_base(base_with(tiny_llama(len(tokenizer)), tokenizer, tmp_path / "base"))
    folder = tmp_path / "orm"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    codec = StepCodec(PromptTemplate("{prompt}", chat=True, date="2025-12-01"), max_length=64)
    replace(CONFIG, codec=codec).save(folder)
    export_reward_model(str(folder), str(tmp_path / "reward"))
    clock("2031-03-01")
    exported = AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert exported.apply_chat_template([{"role": "user", "content": "Hm?"}], tokenize=False) == "01 Dec 2025 Hm?"
