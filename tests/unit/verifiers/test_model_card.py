"""The README.md of a checkpoint: what the Hub reads of it, what a person reads, and that no stock card replaces it."""

import json
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import transformers.trainer
from huggingface_hub import ModelCard
from transformers import TrainingArguments

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.models.loading import from_base
from prm.storage.rows import LabeledRow
from prm.training.arguments import VerifierArguments
from prm.training.examples import prm_examples
from prm.training.input import look_at
from prm.training.run import fit
from prm.training.settings import settings_text
from prm.training.trainer import VerifierTrainer
from prm.types import LabeledTrace, Problem, Trace
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.model_card import link_report, write_model_card
from prm.verifiers.score_meaning import score_meaning

TOKENIZER = build_tokenizer()
CONFIG = VerifierConfig(
    "prm", StepCodec(max_length=64), "value", "last", "org/base-7b", "9f2c41d8a0b3e7f6", targets="soft"
)
METRICS = {"loss": 0.25, "trace_auc_within_problem": 0.75123}


def rows():
    problem = Problem("set/train/7", "Start with 47, add 38.", "85", "set")
    for i, (steps, values) in enumerate(
        [(("47 + 38 = 85", "#### 85"), (0.75, 1.0)), (("47 + 38 = 75", "#### 75"), (0.5, 0.0))]
    ):
        labels = tuple(value > 0.5 for value in values)
        trace = Trace(problem.id, steps, steps[-1][5:], labels[-1], index=i)
        yield LabeledRow(problem, LabeledTrace(trace, labels, values, None, "test", "value"), f"train.jsonl:{i}")


ROWS = list(rows())
EXAMPLES = prm_examples(ROWS, CONFIG.codec, TOKENIZER, "soft")


def card(folder, config=CONFIG, tokenizer=TOKENIZER, metrics=METRICS):
    config = replace(config, training_data=str(EXAMPLES.report))
    write_model_card(folder, "my-prm", config, tokenizer, metrics)
    return ModelCard.load(folder / "README.md")


def test_front_matter_as_the_hub_reads_it(tmp_path):
    data = card(tmp_path).data
    assert (data.library_name, data.base_model, data.pipeline_tag) == (
        "transformers",
        "org/base-7b",
        "token-classification",
    )
    assert data.tags == ["prm", "process-reward-model", "reward-model", "reasoning"]
    assert data["training_data_hash"] == "9f2c41d8a0b3e7f6"
    results = {result.metric_type: result.metric_value for result in data.eval_results}
    assert results == {"loss": 0.25, "trace_auc_within_problem": 0.7512}
    assert data.model_name == "my-prm"


def test_a_local_base_is_no_name_for_the_hub_and_no_metrics_are_no_results(tmp_path):
    config = VerifierConfig("orm", CONFIG.codec, "outcome", "last", str(tmp_path), "hash")
    read = card(tmp_path, config, metrics={})
    assert read.data.base_model is None
    assert f"An outcome reward model trained from `{tmp_path}`" in read.text
    assert read.data.tags[:2] == ["orm", "outcome-reward-model"]
    assert read.data.eval_results is None
    assert "Not validated when this was written." in read.text


def test_text_says_how_to_load_where_scores_are_read_and_what_labels_mean(tmp_path):
    text = card(tmp_path).text
    assert 'load_verifier("my-prm")' in text
    assert "```\nStart with 47, add 38.\n47 + 38 = 85⟦\\n⟧\n#### 85⟦\\n⟧\n```" in text
    assert "at positions [11, 14] of 15. At most\n64 tokens" in text
    assert "the probability that the trace ends with the right answer if its generator continues" in text
    assert (
        "`value`; targets: `soft`; objective: `cross_entropy`. Aggregation of\nstep scores into a trace score: `last`."
        in text
    )
    assert "2 traces, 4 labeled steps (50.0% good, mean target 0.562), 0 truncated, 0 dropped, 30 tokens." in text
    assert "| `trace_auc_within_problem` | 0.7512 |" in text
    assert (
        """vllm serve my-prm --runner pooling --max-model-len 64 --pooler-config '{"pooling_type": "ALL"}'\n""" in text
    )
    assert "Qwen2 bases only" not in text
    assert "Merge the adapter" not in text


def test_it_says_what_a_score_means(tmp_path):
    for change in ({}, {"targets": "hard"}, {"objective": "ranking", "targets": "hard"}, {"bad_weight": 3.0}):
        config = replace(CONFIG, **change)
        assert f"\n\n{score_meaning(config)}\n\n" in card(tmp_path, config).text


def test_only_an_orm_cannot_say_which_step_is_wrong(tmp_path):
    words = "As an ORM it cannot say which step is wrong."
    assert words not in card(tmp_path).text
    assert words in card(tmp_path, replace(CONFIG, kind="orm", semantics="outcome", targets="hard")).text


def test_data_hyperparameters_command_and_license_are_those_of_the_settings(tmp_path):
    text = card(tmp_path).text
    assert "Its name was not recorded. 2 traces, 4 labeled steps" in text
    assert "## Training\n\nThe settings were not recorded." in text
    training = TrainingArguments(str(tmp_path / "out"), learning_rate=3e-4, max_steps=7, report_to="none", use_cpu=True)
    for data, hub_names, license, words in (
        ("org/set", ["org/set"], "apache-2.0", "License: apache-2.0."),
        ("outputs/labeled.jsonl", None, None, "No license was stated; those of the base model and of the data apply."),
        (str(tmp_path), None, "mit", "License: mit."),
    ):
        script = VerifierArguments(model="org/base-7b", data=data, eval_data="v.jsonl", lora_r=16, license=license)
        (tmp_path / "config.yaml").write_text(settings_text(script, training))
        read = card(tmp_path)
        assert (read.data.datasets, read.data.license, read.data.base_model) == (hub_names, license, "org/base-7b")
        assert f"`{data}`, validated on `v.jsonl`. 2 traces" in read.text
        for row in ("| `lora_r` | 16 |", "| `learning_rate` | 0.0003 |", "| `max_steps` | 7 |", "| `seed` | 42 |"):
            assert row in read.text
        assert "```\n# Made by this command, on 1 process(es):\n#   " in read.text
        assert words in read.text


def test_an_adapter_on_4_bit_weights_is_not_said_to_merge(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    text = card(tmp_path, replace(CONFIG, quantization="nf4")).text
    assert "Not served in this form: the adapter belongs to a base rounded to 4 bits" in text
    assert "vllm serve" not in text


def test_a_marker_gives_vllm_its_step_pooler_and_an_adapter_is_merged_first(tmp_path, plain_tokenizer):
    (tmp_path / "adapter_config.json").write_text("{}")
    config = VerifierConfig("prm", StepCodec(marker="<eos>"), "correctness", "product", "org/base", "hash")
    read = card(tmp_path, config, plain_tokenizer)
    assert read.data.library_name == "peft"
    pooler = json.dumps({"pooling_type": "STEP", "step_tag_id": plain_tokenizer.convert_tokens_to_ids("<eos>")})
    assert f"vllm serve merged --runner pooling --max-model-len 2048 --pooler-config '{pooler}'" in read.text
    assert "`python recipes/merge_adapter.py --verifier my-prm --output_dir merged`" in read.text
    assert "47 + 38 = 85⟦<eos>⟧#### 85⟦<eos>⟧" in read.text


@pytest.fixture
def hub(monkeypatch):
    """What is uploaded, in order: (commit message, README, names of the files). Nothing leaves the process."""
    uploads = []

    class Api:
        def create_repo(self, name, **kwargs):
            return SimpleNamespace(repo_id=f"someone/{name}")

        def upload_folder(self, repo_id, folder_path, commit_message, run_as_future=False, **kwargs):
            folder = Path(folder_path)
            files = {path.name for path in folder.iterdir() if path.is_file()}
            uploads.append((repo_id, commit_message, (folder / "README.md").read_text(), files))
            done = Future()
            done.set_result(None)
            return done if run_as_future else None

    monkeypatch.setattr(transformers.trainer, "hf_api", Api)
    return uploads


@pytest.fixture
def base(tmp_path, tiny_llama):
    tiny_llama(len(TOKENIZER)).save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def arguments(folder, **changes):
    return TrainingArguments(
        output_dir=str(folder), max_steps=2, report_to="none", disable_tqdm=True, use_cpu=True, **changes
    )


@pytest.mark.slow
@pytest.mark.parametrize("lora_r", [0, 4])
def test_push_to_hub_sends_checked_checkpoints_with_our_card(lora_r, hub, base, tmp_path):
    (tmp_path / "train.jsonl").touch()
    script = VerifierArguments(model=base, data=str(tmp_path / "train.jsonl"), lora_r=lora_r)
    training = arguments(tmp_path / "pushed", push_to_hub=True, hub_strategy="every_save", save_steps=1)
    made = look_at(script.data, CONFIG, EXAMPLES, EXAMPLES, TOKENIZER)
    metrics = fit(script, training, made, TOKENIZER).last_metrics

    assert [(repo, message) for repo, message, *_ in hub] == [
        ("someone/pushed", "Training in progress, step 1"),
        ("someone/pushed", "Training in progress, step 2"),
        ("someone/pushed", "End of training"),
    ]
    weights = "adapter_model.safetensors" if lora_r else "model.safetensors"
    for _, _, text, files in hub:
        assert {"README.md", "prm_config.json", "config.yaml", weights} <= files  # complete at every step
        assert text.startswith(f"---\nlibrary_name: {'peft' if lora_r else 'transformers'}\n")
        assert "# pushed\n\nA process reward model trained from `org/base-7b`" in text
    assert "Not validated when this was written." in hub[0][2]
    assert f"| `auc` | {metrics['auc']:.4f} |" in hub[2][2]
    assert len(load_verifier(str(tmp_path / "pushed")).score("Start with 47, add 38.", ["47 + 38 = 85"])) == 1


def test_the_card_of_a_trainer_that_has_evaluated_has_its_metrics(base, tmp_path):
    trainer = VerifierTrainer(
        from_base(base), arguments(tmp_path / "out"), CONFIG, TOKENIZER, EXAMPLES.examples, EXAMPLES.examples
    )
    trainer.save_model()
    assert "Not validated when this was written." in (tmp_path / "out" / "README.md").read_text()
    metrics = trainer.evaluate()
    trainer.create_model_card()
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"| `loss` | {metrics['eval_loss']:.4f} |" in text
    assert f"| `auc` | {metrics['eval_auc']:.4f} |" in text
    assert "Not validated" not in text


def test_a_report_is_linked_once_and_what_others_wrote_after_it_stays(tmp_path):
    card(tmp_path)
    readme = tmp_path / "README.md"
    before = readme.read_text()
    link_report(readme, "[verifier_report.md](verifier_report.md): AUC 0.9")
    assert readme.read_text() == before + "\n## Verifier report\n\n[verifier_report.md](verifier_report.md): AUC 0.9\n"
    readme.write_text(readme.read_text() + "\n## Thanks\n\nTo all.\n")
    for _ in range(2):
        link_report(readme, "AUC 0.8")
    assert readme.read_text() == before + "\n## Verifier report\n\nAUC 0.8\n\n## Thanks\n\nTo all.\n"
