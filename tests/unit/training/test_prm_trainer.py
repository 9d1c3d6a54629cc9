"""A script written for TRL 1.13's PRMTrainer: the same first loss with one import changed, and what is refused."""

import json

import pytest
import torch
from datasets import Dataset, IterableDataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    HfArgumentParser,
    TrainerCallback,
)

import prm.training
from prm.training import PRMConfig, PRMTrainer
from prm.verifiers import load_verifier

pytestmark = pytest.mark.slow  # whole trainings

# As the test inputs of TRL: `standard_stepwise_supervision` of its generated sets.
ROWS = {
    "prompt": ["Blue light", "Water", "Blue light", "Water"],
    "completions": [
        [" scatters more in the atmosphere,", " so the sky is green."],
        [" forms a less dense structure in ice,", " which causes it to expand when it freezes.", " So it sinks."],
        [" scatters more in the atmosphere,", " so the sky is blue."],
        [" is wet."],
    ],
    "labels": [[True, False], [True, True, False], [True, True], [False]],
}
PROMPT, STEPS = ROWS["prompt"][1], tuple(ROWS["completions"][1])


@pytest.fixture(params=["plain_tokenizer", "trimming_tokenizer"])
def folder(request, tiny_llama, tmp_path):
    """A base without BOS, and one whose tokenizer begins every text with it."""
    tokenizer = request.getfixturevalue(request.param)
    tiny_llama(len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


SOFT = Dataset.from_dict(ROWS | {"labels": [[1.0, 0.0], [1.0, 1.0, 0.75], [1.0, 1.0], [0.0]]})


def load(folder):
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=2)
    torch.nn.init.normal_(model.score.bias)
    return model


def trls_loss(model, tokenizer, separator="\n", last_only=False):
    """The mean cross-entropy of all labeled tokens of the batch, rows tokenized as `PRMTrainer.tokenize_row` of TRL did."""
    losses = []
    for prompt, steps, labels in zip(*ROWS.values(), strict=True):
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        targets = [-100] * (len(ids) + (tokenizer.bos_token_id is not None))
        ids = ids if tokenizer.bos_token_id is None else [tokenizer.bos_token_id, *ids]
        for i, (step, label) in enumerate(zip(steps, labels, strict=True)):
            piece = tokenizer(step, add_special_tokens=False)["input_ids"]
            piece = piece + tokenizer.encode(separator, add_special_tokens=False)
            ids = ids + piece
            kept = int(label) if not last_only or i == len(steps) - 1 else -100
            targets += [-100] * (len(piece) - 1) + [kept]
        logits = model(torch.tensor([ids])).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="none"))
        losses[-1] = losses[-1][torch.tensor(targets) != -100]
    return torch.cat(losses).mean().item()


@pytest.fixture
def train(folder, tmp_path):
    """`train(**changes of the config)`: a trainer after two steps on all rows."""

    def run(peft_config=None, dataset=None, **changes):
        values = {"per_device_train_batch_size": 4, "max_steps": 2, "logging_steps": 1, "save_strategy": "no"}
        values |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False, "learning_rate": 1e-4}
        trainer = PRMTrainer(
            model=load(folder),
            args=PRMConfig(output_dir=str(tmp_path / "out"), **values | changes),
            train_dataset=Dataset.from_dict(ROWS) if dataset is None else dataset,
            eval_dataset=Dataset.from_dict(ROWS),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=peft_config,
        )
        trainer.train()
        return trainer

    return run


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


LORA = LoraConfig(task_type="TOKEN_CLS", r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)


@pytest.mark.parametrize(
    ("changes", "peft_config"),
    [({}, None), ({"step_separator": "\n\n"}, None), ({"train_on_last_step_only": True}, None), ({}, LORA)],
)
def test_the_first_loss_is_trls_and_the_checkpoint_loads(changes, peft_config, train, folder, tmp_path, capsys):
    options = {"separator": changes.get("step_separator", "\n"), "last_only": "train_on_last_step_only" in changes}
    expected = trls_loss(load(folder).eval(), AutoTokenizer.from_pretrained(folder), **options)
    trainer = train(peft_config, **changes)
    first, second = losses(trainer)
    assert first == pytest.approx(expected, abs=1e-5)
    assert second < first
    trainer.save_model()
    verifier = load_verifier(str(tmp_path / "out"))
    live = {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}
    assert trainer.check_saved([PROMPT], [STEPS]) < 1e-5
    assert any("lora_A" in name for name in live) == (peft_config is not None)
    if peft_config is not None:
        assert trainer.model.peft_config["default"].lora_dropout == 0.1
    assert verifier.kind == ("orm" if "train_on_last_step_only" in changes else "prm")
    assert ("labels are taken to say whether a step is right" in capsys.readouterr().err) == (verifier.kind == "prm")
    assert verifier.config.codec.separator == options["separator"]
    assert trainer.evaluate()["eval_loss"] > 0


def test_the_checkpoint_is_a_plain_token_classifier(train, tmp_path):
    train(semantics="value").save_model()
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path / "out").eval()
    verifier = load_verifier(str(tmp_path / "out"))
    ids, ends = verifier._encode(PROMPT, STEPS).input_ids, verifier._encode(PROMPT, STEPS).step_ends
    with torch.inference_mode():
        expected = stock(torch.tensor([ids])).logits[0].softmax(-1)[list(ends), 1].tolist()
    assert verifier.score(PROMPT, STEPS) == pytest.approx(expected, abs=1e-5)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [
        "LlamaForTokenClassification"
    ]
    assert {"score.weight", "score.bias"} <= load_file(tmp_path / "out" / "model.safetensors").keys()


def test_the_loss_does_not_grow_with_accumulation(train):
    whole, split = train(), train(per_device_train_batch_size=1, gradient_accumulation_steps=4)
    assert losses(split)[0] == pytest.approx(losses(whole)[0], abs=1e-5)


def test_labels_of_any_type_that_are_0_or_1(train):
    numbers = [[1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0], [0.0]]
    assert losses(train(dataset=Dataset.from_dict(ROWS | {"labels": numbers}))) == losses(train())


def test_callbacks_and_optimizers_are_used(folder, tmp_path):
    class Watch(TrainerCallback):
        seen = 0

        def on_step_end(self, args, state, control, **more):
            self.seen += 1

    model, watch = load(folder), Watch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    before = model.model.layers[0].mlp.up_proj.weight.clone()
    args = PRMConfig(str(tmp_path / "out"), max_steps=2, report_to="none", use_cpu=True, bf16=False, save_strategy="no")
    rows, tokenizer = Dataset.from_dict(ROWS), AutoTokenizer.from_pretrained(folder)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    PRMTrainer(
        model, args, None, rows, processing_class=tokenizer, callbacks=[watch], optimizers=(optimizer, schedule)
    ).train()
    assert watch.seen == 2
    assert torch.equal(before, model.model.layers[0].mlp.up_proj.weight)


def test_a_tokenizer_that_never_uses_its_bos_is_named(tiny_llama, plain_tokenizer, tmp_path, capsys):
    plain_tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    tiny_llama(len(tokenizer)).save_pretrained(tmp_path)
    args = PRMConfig(str(tmp_path / "out"), report_to="none", use_cpu=True, bf16=False, semantics="value")
    PRMTrainer(load(tmp_path), args, train_dataset=Dataset.from_dict(ROWS), processing_class=tokenizer)
    assert "rows begin without <bos>" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_completion_length": 20}, "max_completion_length 20 would cut a step in the middle"),
        ({"disable_dropout": False}, "packed rows are computed without dropout"),
        ({"semantics": "outcome"}, "is what train_on_last_step_only=True says"),
        ({"data_collator": print}, "data_collator is refused: rows are packed"),
        ({"compute_metrics": print}, "compute_metrics is refused"),
        ({"model_init": print}, "model_init is refused: give the model itself"),
        ({"train_dataset": None}, "PRMTrainer needs train_dataset"),
        ({"train_dataset": {"a": 1}}, "train_dataset is a dict; give one datasets.Dataset"),
        ({"train_dataset": IterableDataset.from_generator(lambda: iter(()))}, "a stream has no length"),
        ({"train_dataset": Dataset.from_dict({"input_ids": [[1]]})}, "and no prompt, completions, labels"),
        (
            {"train_dataset": Dataset.from_dict(ROWS | {"labels": [[0.5, 1], [1, 1, 1], [1, 1], [1]]})},
            r"\[0\]: label 1 is 0.5",
        ),
        ({"max_length": 3}, r"train_dataset\[0\]: no labeled step is left"),
        ({"peft_config": LoraConfig(r=4)}, "task_type of peft_config is None: the new head would stay random"),
        ({"peft_config": LoraConfig(task_type="TOKEN_CLS", target_modules=".*_proj")}, "is the pattern '.*_proj'"),
        ({"peft_config": LoraConfig(task_type="TOKEN_CLS", use_dora=True)}, "use_dora is True"),
        ({"peft_config": LoraConfig(task_type="TOKEN_CLS", modules_to_save=["embed_tokens"])}, "it names embed_tokens"),
        ({"peft_config": LoraConfig(task_type="TOKEN_CLS", init_lora_weights="pissa")}, "may change the base"),
        ({"model": AutoModelForCausalLM}, "model is a .*; give AutoModelForTokenClassification"),
        ({"model": 3}, "labels are .*; load it with num_labels=2"),
    ],
)
def test_what_differs_is_refused_with_the_reason(changes, message, tiny_llama, plain_tokenizer, tmp_path):
    tiny_llama(len(plain_tokenizer)).save_pretrained(tmp_path)
    of_config = ("max_completion_length", "disable_dropout", "semantics", "max_length")
    settings = {name: value for name, value in changes.items() if name in of_config}
    given = {"model": load(tmp_path), "train_dataset": Dataset.from_dict(ROWS), "processing_class": plain_tokenizer}
    given |= {name: value for name, value in changes.items() if name not in of_config}
    if given["model"] == 3:
        given["model"] = AutoModelForTokenClassification.from_pretrained(tmp_path, num_labels=3)

    def make():
        args = PRMConfig(str(tmp_path / "out"), report_to="none", use_cpu=True, bf16=False, **settings)
        return PRMTrainer(args=args, **given)

    with pytest.raises(ValueError, match=message):
        make()


def test_the_config_is_read_from_a_command_line_as_trls_was(tmp_path):
    words = ["--output_dir", str(tmp_path), "--step_separator", "\n\n", "--semantics", "value", "--fp16", "--use_cpu"]
    (args,) = HfArgumentParser(PRMConfig).parse_args_into_dataclasses(words)
    assert (args.step_separator, args.semantics, args.learning_rate, args.logging_steps) == ("\n\n", "value", 1e-5, 10)
    assert (args.bf16, args.activation_checkpointing, args.max_length) == (False, True, 1024)


def test_a_model_in_bf16_stays_so_but_for_its_head(folder, tmp_path):
    """As transformers loads most bases."""
    load(folder).bfloat16().save_pretrained(tmp_path / "bf16")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "bf16")
    assert model.dtype == torch.bfloat16
    args = PRMConfig(str(tmp_path / "out"), max_steps=1, report_to="none", use_cpu=True, save_strategy="no")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trainer = PRMTrainer(model, args, train_dataset=Dataset.from_dict(ROWS), processing_class=tokenizer)
    assert (args.bf16, model.score.weight.dtype) == (True, torch.float32)
    trainer.train()
    trainer.save_model()
    assert {w.dtype for w in load_file(tmp_path / "out" / "model.safetensors").values()} == {
        torch.bfloat16,
        torch.float32,
    }
    assert trainer.check_saved([PROMPT], [STEPS]) < 1e-5
    assert 0 < load_verifier(str(tmp_path / "out")).score_trace(PROMPT, STEPS) < 1


def test_the_names_of_the_room_are_loaded_when_they_are_asked_for():
    assert (prm.training.PRMConfig, prm.training.PRMTrainer) == (PRMConfig, PRMTrainer)
    with pytest.raises(AttributeError, match=r"module 'prm\.training' has no attribute 'PRMTrainr'"):
        prm.training.PRMTrainr  # noqa: B018
