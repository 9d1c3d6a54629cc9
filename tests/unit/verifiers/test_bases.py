"""The base of an adapter: found from any working directory and after a move, and never another one than in training."""

import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.models.fingerprints import hash_of_base
from prm.models.loading import from_base, nf4
from prm.training.trainer import add_lora
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import VerifierConfig

CONFIG = VerifierConfig("prm", StepCodec(max_length=64), "value", "last", "bases/one", "hash")
PROMPT, STEPS = "Start with 47, add 38.", ["47 + 38 = 85", "#### 85"]
TOKENIZER = build_tokenizer()


@pytest.fixture
def project(tmp_path, tiny_llama, monkeypatch):
    """The working directory: bases/one, bases/two of the same shape, and an adapter of the former in outputs/lora."""
    folder = tmp_path / "project"
    for seed, name in enumerate(("one", "two")):
        tiny_llama(len(TOKENIZER), seed=seed).save_pretrained(folder / "bases" / name)
        TOKENIZER.save_pretrained(folder / "bases" / name)
    monkeypatch.chdir(folder)
    save_adapter("bases/one", "outputs/lora")
    return folder


def save_adapter(base, output, config=CONFIG, **options):
    torch.manual_seed(1)
    model = add_lora(from_base(base, torch.float32, **options), 4)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(output)
    TOKENIZER.save_pretrained(output)
    replace(config, base_model=base, base_weights=hash_of_base(base)).save(output)


def scores(path="outputs/lora", **options):
    return load_verifier(str(path), **options).score(PROMPT, STEPS)


def test_another_base_of_the_same_shape_is_refused_with_both_identities(project):
    one, two = hash_of_base("bases/one"), hash_of_base("bases/two")
    scores(base_model="bases/one")
    with pytest.raises(
        ValueError, match=rf"was trained on 'bases/one' with weights {one}, but 'bases/two' has weights {two}"
    ) as error:
        scores(base_model="bases/two")
    assert "give the folder or hub name of the base it was trained on as base_model=" in str(error.value)
    shutil.rmtree("bases/one")
    shutil.copytree("bases/two", "bases/one")  # at the place of the right one
    with pytest.raises(ValueError, match=f"bases/one' has weights {two}"):
        scores()


def test_another_base_is_refused_under_4_bit_adapters(project):
    config = replace(CONFIG, quantization="nf4")
    save_adapter("bases/one", "outputs/qlora", config, quantization_config=nf4())
    assert len(scores("outputs/qlora")) == 2
    with pytest.raises(ValueError, match="on another base its scores mean nothing"):
        scores("outputs/qlora", base_model="bases/two")


def test_the_base_is_found_from_any_working_directory(project, monkeypatch, tmp_path):
    expected = scores()
    monkeypatch.chdir(tmp_path)
    assert scores("project/outputs/lora") == expected
    shutil.move("project/outputs/lora", "elsewhere")
    assert scores("elsewhere") == expected


def test_the_base_is_found_if_it_moved_together_with_the_adapter(project, monkeypatch, tmp_path):
    expected = scores()
    monkeypatch.chdir("/")
    shutil.move(project, tmp_path / "moved")
    assert scores(tmp_path / "moved" / "outputs" / "lora") == expected


def test_a_base_that_is_gone_is_named_with_the_argument(project):
    expected = scores()
    shutil.move("bases/one", "bases/three")
    with pytest.raises(
        ValueError,
        match=rf"outputs/lora: its base 'bases/one' is no longer at {project}/bases/one; give the fol.*base_model=",
    ):
        scores()
    assert scores(base_model="bases/three") == expected
    with pytest.raises(ValueError, match=r"its base 'bases/four' could not be read .*base_model="):
        scores(base_model="bases/four")


def test_a_base_by_hub_name_is_found_in_the_cache_and_compared(project, monkeypatch, tmp_path):
    expected = scores()
    in_cache = Path(constants.HF_HUB_CACHE, "models--org--base")
    for name in ("one", "two"):
        shutil.copytree(f"bases/{name}", in_cache / "snapshots" / name)
    (in_cache / "refs").mkdir()
    (in_cache / "refs" / "main").write_text("one")
    file = Path("outputs/lora/adapter_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "org/base"}))
    replace(CONFIG, base_model="org/base", base_weights=hash_of_base("bases/one")).save("outputs/lora")
    try:
        assert scores() == expected
        (in_cache / "refs" / "main").write_text("two")  # the repository was changed
        with pytest.raises(ValueError, match="'org/base' has weights"):
            scores()
    finally:
        shutil.rmtree(in_cache)
    with pytest.raises(ValueError, match=r"its base 'org/base' could not be read .*base_model="):
        scores()


def test_an_adapter_that_does_not_say_its_base_is_refused_with_the_line_to_add(project):
    CONFIG.save("outputs/lora")
    with pytest.raises(ValueError, match=r"prm_config\.json does not say on which base") as error:
        scores()
    assert f'add "base_weights": "{hash_of_base("bases/one")}" to it' in str(error.value)


def test_a_base_for_whole_weights_is_refused(project):
    load_verifier("outputs/lora").model.save_pretrained("outputs/merged")
    TOKENIZER.save_pretrained("outputs/merged")
    CONFIG.save("outputs/merged")
    assert scores("outputs/merged") == pytest.approx(scores(), abs=1e-5)
    with pytest.raises(
        ValueError, match="outputs/merged holds whole weights and has no use for base_model='bases/one'"
    ):
        scores("outputs/merged", base_model="bases/one")


def test_nothing_is_reported_as_newly_initialized(project):
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        scores()
        logging.getLogger("transformers.modeling_utils").warning("a witness")
    finally:
        logger.removeHandler(handler)
    assert said == ["a witness"]


@pytest.mark.parametrize(
    "targets", ["q_proj", "qproj", ["q_proj", 1], ["q_proj", "(([a-z_.0-9]+)+)+$!"], ["q_proj", ""]]
)
def test_an_adapter_whose_layers_are_no_names_is_refused(targets, project):
    file = Path("outputs/lora/adapter_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"target_modules": targets}))
    checkpoint = VerifierConfig.load("outputs/lora")
    checkpoint.save("outputs/lora")  # with the checksum of the file that was edited
    with pytest.raises(ValueError, match=r"target_modules is .*, it must be a list of names of layers"):
        scores()


def test_an_adapter_whose_numbers_mean_nothing_is_refused_by_the_key(project):
    file = Path("outputs/lora/adapter_config.json")
    whole, checkpoint = json.loads(file.read_text()), VerifierConfig.load("outputs/lora")
    for key, values, message in (
        ("r", (None, "4", 5), "r is .*, its tensors have rank 4"),
        ("lora_alpha", (None, "16", 0, -1, math.inf, math.nan), "lora_alpha is .*, it must be a number above 0"),
    ):
        for value in values:
            file.write_text(json.dumps(whole | {key: value}))
            checkpoint.save("outputs/lora")
            with pytest.raises(ValueError, match=message):
                scores()
