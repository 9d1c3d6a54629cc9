"""The card of a model that comes from another one, and that of an exported verifier."""

from dataclasses import replace

import pytest
import yaml

from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.export_card import write_export_card
from prm.verifiers.origin import origins, read_settings, training_section, write_card
from prm.verifiers.scoring import READ, Example, Scoring, vllm_options


def test_a_card_is_readable_in_every_language_and_its_head_in_the_order_it_has(tmp_path):
    write_card(tmp_path, {"license": "mit", "base_model": "größe/中"}, ["# A", "B"])
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (
        "---\nlicense: mit\nbase_model: größe/中\n---\n\n# A\n\nB\n"
    )


def test_settings_are_those_of_the_run_or_none(tmp_path):
    assert read_settings(tmp_path) == {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"seed": 1}), encoding="utf-8")
    assert read_settings(tmp_path) == {"seed": 1}


CODEC = StepCodec(PromptTemplate("Q: {prompt}\n"), "\n", max_length=64)
TRACES = tuple(Example("1 + 1?", ("2", text), (5, 6, 7), (1, 2), (0.123456, 0.9)) for text in ("#### 2", "#### 3"))
TOKENS = Scoring(
    "token_classification", "prm", READ["token_classification"], CODEC, (8, 9), "last", "float32", 7, "prm-1a", TRACES
)
TWIN = replace(TOKENS, form="sequence_classification", read=READ["sequence_classification"], kind="orm", offset=0.25)


def card(tmp_path, scoring, readme=None):
    """(front matter, text) of an export of a checkpoint with this README."""
    source, folder = tmp_path / "source", tmp_path / "out"
    for path in (source, folder):
        path.mkdir(exist_ok=True)
    if readme is not None:
        (source / "README.md").write_text(readme)
    config = VerifierConfig(
        scoring.kind, CODEC, "outcome" if scoring.kind == "orm" else "value", "last", "org/base", "f"
    )
    write_export_card(str(source), str(folder), config, scoring)
    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


def test_the_card_of_an_export_says_how_it_is_read_and_served(tmp_path):
    head, text = card(tmp_path, TOKENS)
    assert head == {
        "library_name": "transformers",
        "base_model": "org/base",
        "pipeline_tag": "token-classification",
        "tags": ["prm", "process-reward-model", "reward-model", "reasoning"],
    }
    assert "`prm-1a`, a process reward model trained from `org/base`, in the layout `token_classification`.\n" in text
    assert "The prompt is 'Q: {prompt}\\n'; after it come the steps, each followed by\n'\\n' (token ids [8, 9])" in text
    assert (
        "'1 + 1?' with the steps ['2', '#### 2'] has the ids [5, 6, 7], the positions\n[1, 2] and the scores [0.12346, 0.9]."
        in text
    )
    assert "It returns logits for every token; take those at the positions." in text
    assert '"task": "token_classify"' in text
    assert "offset" not in text
    assert not (tmp_path / "out/SOURCE.md").exists()


def test_the_card_of_a_twin_names_its_offset_and_the_card_it_comes_from(tmp_path):
    head, text = card(tmp_path, TWIN, "how it was trained")
    assert (head["pipeline_tag"], head["tags"][:2]) == ("text-classification", ["orm", "outcome-reward-model"])
    assert "`prm-1a`, an outcome reward model trained from" in text
    assert "`sequence_classification`. [SOURCE.md](SOURCE.md) describes its training." in text
    assert "The offset is 0.250000." in text
    assert "It returns one logit per request." in text
    assert '"task": "classify"' in text
    assert (tmp_path / "out/SOURCE.md").read_text() == "how it was trained"


def test_with_a_marker_rows_are_those_of_the_steps_and_a_chat_is_named(tmp_path):
    codec = replace(CODEC, marker="<step>", prompt=PromptTemplate("{prompt}", chat=True))
    _, text = card(tmp_path, replace(TOKENS, codec=codec))
    assert (
        "'{prompt}' in the chat template, up to the start of the answer; after it come the steps, each followed by\n"
        in text
    )
    assert "\n'<step>' (token ids [8, 9])" in text
    assert "It returns logits at every step end." in text
    assert vllm_options(replace(TOKENS, codec=codec))["pooler_config"] == {
        "task": "token_classify",
        "pooling_type": "STEP",
        "step_tag_id": 9,
    }


def test_labels_in_the_vocabulary_are_named_to_the_server(tmp_path):
    options = vllm_options(replace(TOKENS, form="math_shepherd", label_tokens=("-", "+")), "bfloat16")
    assert options == {
        "runner": "pooling",
        "dtype": "bfloat16",
        "max_model_len": 64,
        "convert": "classify",
        "hf_overrides": {"classifier_from_token": ["-", "+"], "method": "no_post_processing"},
        "pooler_config": {"task": "token_classify", "pooling_type": "ALL"},
    }
    assert card(tmp_path, replace(TOKENS, form="math_shepherd"))[0]["pipeline_tag"] == "text-generation"


def test_what_decides_scores_changes_the_fingerprint_and_is_read_back(tmp_path):
    TOKENS.save(tmp_path)
    assert Scoring.load(tmp_path) == TOKENS
    assert len(TOKENS.fingerprint) == 8
    assert TOKENS.fingerprint != replace(TOKENS, offset=0.5).fingerprint
    replace(TOKENS, examples=()).save(tmp_path)
    with pytest.raises(ValueError, match="examples is empty, so nothing shows that scores are right"):
        Scoring.load(tmp_path)


def test_without_settings_or_a_base_nothing_is_claimed(tmp_path):
    assert origins(tmp_path, None) == {}
    assert training_section(tmp_path).endswith("The settings were not recorded.")


def test_the_section_of_the_training_quotes_the_command_and_no_setting(tmp_path):
    (tmp_path / "config.yaml").write_text("# Made by\n#   a command\nseed: 3\nlicense: null\nlora_r: null\n")
    text = training_section(tmp_path)
    assert "```\n# Made by\n#   a command\n```" in text
    assert "|---|---|\n| `seed` | 3 |\n\n" in text
    assert text.endswith("No license was stated; those of the base model and of the data apply.")
