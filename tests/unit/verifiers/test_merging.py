"""A merged adapter is a checkpoint of its own: the same scores without base and PEFT, and a card that says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.models.fingerprints import hash_of_base
from prm.models.loading import from_base
from prm.training.trainer import add_lora
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.merging import merge_adapter

CONFIG = VerifierConfig("prm", StepCodec(max_length=64), "value", "last", "org/base", "hash")
SETTINGS = "# Made by this command, on 1 process(es):\n#   python x.py\ndata: d.jsonl\nlora_r: 4\nlicense: mit\n"


@pytest.fixture
def adapter(tmp_path, tiny_llama):
    tokenizer, base, folder = build_tokenizer(), tmp_path / "base", tmp_path / "lora"
    tiny_llama(len(tokenizer)).bfloat16().save_pretrained(base)
    torch.manual_seed(1)
    model = add_lora(from_base(str(base), torch.float32), 4)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    replace(CONFIG, base_weights=hash_of_base(str(base))).save(folder)
    (folder / "config.yaml").write_text(SETTINGS)
    (folder / "eval_results.json").write_text(json.dumps({"eval_auc": 0.75, "eval_runtime": 3.0, "epoch": 1.0}))
    return folder


def test_the_merged_folder_scores_alone_and_describes_itself(adapter, tmp_path):
    merged, prompt, steps = tmp_path / "merged", "Start with 12, add 3.", ["12 + 3 = 15", "#### 15"]
    expected = load_verifier(str(adapter)).score(prompt, steps)
    assert merge_adapter(str(adapter), str(merged)) <= 1e-5
    (tmp_path / "base").rename(tmp_path / "gone")
    assert not list(merged.glob("adapter*"))
    verifier = load_verifier(str(merged))
    assert verifier.score(prompt, steps) == pytest.approx(expected, abs=1e-5)
    assert {p.dtype for p in verifier.model.parameters()} == {torch.float32}
    assert verifier.config == replace(CONFIG, base_weights=None)
    card = ModelCard.load(merged / "README.md")
    assert (card.data.library_name, card.data.base_model, card.data.license) == ("transformers", "org/base", "mit")
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {"auc": 0.75}
    assert "| `lora_r` | 4 |" in card.text
    assert "Merge the adapter" not in card.text
    assert (merged / "config.yaml").read_text() == SETTINGS


def test_a_base_that_moved_is_given_and_another_is_refused(adapter, tmp_path, tiny_llama):
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="base_model="):
        merge_adapter(str(adapter), str(tmp_path / "merged"))
    merge_adapter(str(adapter), str(tmp_path / "merged"), str(tmp_path / "moved"))
    tiny_llama(len(build_tokenizer()), seed=1).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="has weights"):
        merge_adapter(str(adapter), str(tmp_path / "wrong"), str(tmp_path / "other"))
    assert not Path(tmp_path / "wrong").exists()


def test_what_is_no_adapter_or_has_4_bit_weights_is_refused(adapter, tmp_path):
    replace(CONFIG, quantization="nf4").save(adapter)
    with pytest.raises(
        ValueError, match="was trained on a base rounded to 4 bits; merged, it would be rounded once more"
    ):
        merge_adapter(str(adapter), str(tmp_path / "merged"))
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(ValueError, match="lora is no adapter; it has whole weights already"):
        merge_adapter(str(adapter), str(tmp_path / "merged"))
