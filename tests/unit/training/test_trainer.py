"""VerifierTrainer: one step against autograd by hand however the batch is split, metrics, checkpoints, resuming."""

import math
import random
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, Trainer, TrainingArguments

from prm.datasets import arithmetic
from prm.datasets.splits import hold_out
from prm.encoding.codec import StepCodec
from prm.encoding.revisions import revision_prompt
from prm.evaluation.step_metrics import step_report
from prm.models.fingerprints import hash_of_base
from prm.models.loading import from_base
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import LabeledRow, labeled_to_row, read_labeled
from prm.training.arguments import VerifierArguments
from prm.training.batches import StepCollator
from prm.training.examples import orm_examples, pair_examples, prm_examples
from prm.training.input import look_at
from prm.training.losses import beta_binomial, bradley_terry, cross_entropy, ranking, squared_error, weigh_bad
from prm.training.run import fit, load_model, read_rows
from prm.training.trainer import VerifierTrainer, add_lora
from prm.types import LabeledTrace, Trace
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.step_verifier import StepVerifier

CODEC = StepCodec(max_length=128)
CONFIG = VerifierConfig("prm", CODEC, "value", "last", "base", "hash")
RATE = 0.5
CUTS = [(8, 1), (2, 4), (1, 8)]  # micro-batch x accumulation


@pytest.fixture(scope="module")
def tokenizer():
    return arithmetic.build_tokenizer()


@pytest.fixture(scope="module")
def bases(tmp_path_factory, tokenizer, tiny_llama, tiny_qwen2):
    folders = {}
    for name, make in (("llama", tiny_llama), ("qwen2", tiny_qwen2)):
        folders[name] = str(tmp_path_factory.mktemp(name))
        make(len(tokenizer)).save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def rows():
    """16 traces, two per problem, of 3 to 9 steps; values are random, and every third step has no label."""
    rng = random.Random(0)
    rows = []
    for problem in arithmetic.load("train", 8):
        for index in range(2):
            steps = arithmetic.student_trace(problem.prompt, rng)
            labels = [
                None if (i + index) % 3 == 2 else good
                for i, good in enumerate(arithmetic.check_steps(problem.prompt, steps))
            ]
            values = tuple(None if label is None else rng.random() for label in labels)
            trace = Trace(problem.id, steps, steps[-1], labels[-1], index=index)
            rows.append(LabeledRow(problem, LabeledTrace(trace, tuple(labels), values, None, "test", "value")))
    return rows


@pytest.fixture(scope="module")
def examples(rows, tokenizer):
    return {targets: prm_examples(rows, CODEC, tokenizer, targets).examples for targets in ("soft", "hard")}


@pytest.fixture
def files_of_rows(tmp_path, rows):
    write_jsonl(tmp_path / "rows.jsonl", [labeled_to_row(row.problem, row.labeled) for row in rows])
    return str(tmp_path / "rows.jsonl")


@pytest.fixture
def settings(tmp_path):
    """`settings(**changes)`: training arguments of one step on eight rows."""

    def make(**changes):
        values = {
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 8,
            "max_steps": 1,
            "logging_steps": 1,
            "learning_rate": RATE,
            "lr_scheduler_type": "constant",
            "optim": "sgd",
            "max_grad_norm": 1e9,  # logs the norm and clips nothing
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        return TrainingArguments(**values | changes)

    return make


@pytest.fixture
def make_trainer(settings, bases, tokenizer, examples):
    """`make_trainer(targets, base, lora_r, **training_arguments)`: trains on 8 rows, validates on the other 8."""

    def make(targets="soft", base="llama", lora_r=0, **changes):
        torch.manual_seed(1)
        model = from_base(bases[base])
        if lora_r:
            model = add_lora(model, lora_r)
        examples_N = examples[targets]
        return VerifierTrainer(model, settings(**changes), CONFIG, tokenizer, examples_N[:8], examples_N[8:])

    return make


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("targets", ["soft", "hard"])
def test_step_is_the_same_however_the_batch_is_split_and_equals_autograd_by_hand(targets, make_trainer, examples):
    batch = examples[targets][:8]
    counts = [len(example.targets) for example in batch]
    assert len(set(counts)) > 2  # uneven rows, or the mean of means would be right by luck

    model = make_trainer(targets).model.train()
    total = torch.zeros(())
    for example in batch:  # one row at a time, no padding, all logits
        logits = model(torch.tensor([example.input_ids])).logits[0, list(example.step_ends)]
        p = torch.softmax(logits, -1)
        target = torch.tensor(example.targets)
        total = total - (target * p[:, 1].log() + (1 - target) * p[:, 0].log()).sum()
    loss = total / sum(counts)
    loss.backward()
    gradient = {name: p.grad for name, p in model.named_parameters()}
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradient.values()))
    expected = {name: p - RATE * gradient[name] for name, p in parameters(model).items()}
    assert norm > 0.1

    for size, accumulation in CUTS:
        trainer = make_trainer(targets, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
        trainer.train()
        (log,) = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert log["loss"] == pytest.approx(loss.item(), abs=1e-5), (size, accumulation)
        assert log["grad_norm"] == pytest.approx(norm, abs=1e-5), (size, accumulation)
        assert largest_difference(parameters(trainer.model), expected) < 1e-5, (size, accumulation)


@pytest.fixture(scope="module")
def outcomes(tokenizer):
    """Eight pairs of a right and a wrong trace, and eight traces with their outcome as target of every token."""
    rng = random.Random(1)
    rows = []
    for problem in arithmetic.load("train", 8):
        gold = arithmetic.solution(problem.prompt)
        for index, steps in enumerate((gold, (*gold[: rng.randrange(len(gold))], "#### 0"))):
            labels = (index == 0,) * len(steps)
            trace = Trace(problem.id, steps, steps[-1], index == 0, index=index)
            rows.append(LabeledRow(problem, LabeledTrace(trace, labels, None, None, "outcome", "outcome")))
    pairs = pair_examples(orm_examples(rows, CODEC, tokenizer).examples)
    assert len(pairs) == 8
    return {"pairs": pairs, "tokens": orm_examples(rows[4:12], CODEC, tokenizer, "all").examples}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "data"),
    [
        (squared_error, "soft"),
        (ranking, "hard"),
        (beta_binomial, "soft"),
        (weigh_bad(cross_entropy, 3.0), "hard"),
        (bradley_terry, "pairs"),
        (cross_entropy, "tokens"),
    ],
)
def test_every_objective_takes_the_same_step_however_the_batch_is_split(
    objective, data, make_trainer, examples, outcomes
):
    results = []
    batch = (examples | outcomes)[data][:8]
    for size, accumulation, tokens in [*((*cut, None) for cut in CUTS), (2, 4, 60), (8, 1, 200), (1, 8, 10_000)]:
        trainer = make_trainer(per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
        trainer = VerifierTrainer(
            trainer.model, trainer.args, CONFIG, trainer.tokenizer, batch, objective=objective, tokens_per_row=tokens
        )
        start = parameters(trainer.model)
        trainer.train()
        (log,) = [entry for entry in trainer.state.log_history if "loss" in entry]
        results.append((parameters(trainer.model), log["loss"], log["grad_norm"]))
        assert largest_difference(start, results[-1][0]) > 1e-3
    for weights, loss, norm in results[1:]:
        assert largest_difference(results[0][0], weights) < 1e-5
        assert (loss, norm) == pytest.approx(results[0][1:], rel=1e-5)


@pytest.mark.slow
def test_rows_by_tokens_leave_the_traces_of_a_step_as_they_were_asked_for(make_trainer, examples):
    """Two epochs of eight traces, four a step, in rows that hold one, some or all of them."""
    rows = {}
    for tokens in (None, 1, 80, 10_000):
        trainer = make_trainer(per_device_train_batch_size=2, gradient_accumulation_steps=2, max_steps=4)
        trainer = VerifierTrainer(
            trainer.model, trainer.args, CONFIG, trainer.tokenizer, examples["soft"][:8], tokens_per_row=tokens
        )
        seen = []
        trainer.model.register_forward_pre_hook(
            lambda module, args, kwargs, seen=seen: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
        )
        trainer.train()
        assert (trainer.state.global_step, trainer.state.epoch) == (4, 2.0)
        rows[tokens] = seen
    assert [len(seen) for seen in rows.values()][::3] == [8, 4]
    assert len(rows[1]) == 16
    assert 4 < len(rows[80]) < 16
    assert max(rows[80]) <= 80
    arguments = make_trainer(auto_find_batch_size=True).args
    with pytest.raises(ValueError, match="--auto_find_batch_size changes the traces of a step"):
        VerifierTrainer(trainer.model, arguments, CONFIG, trainer.tokenizer, examples["soft"], tokens_per_row=150)


def test_loss_of_pairs_is_that_of_separate_sequences(make_trainer, outcomes):
    trainer = make_trainer()
    trainer = VerifierTrainer(
        trainer.model, trainer.args, CONFIG, trainer.tokenizer, outcomes["pairs"], objective=bradley_terry
    )
    model = trainer.model.eval()
    expected = []
    for pair in outcomes["pairs"]:
        z = []
        for trace in (pair.right, pair.wrong):
            bad, good = model(torch.tensor([trace.input_ids])).logits[0, -1].tolist()
            z.append(good - bad)
        expected.append(math.log1p(math.exp(z[1] - z[0])))
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(sum(expected) / 8, rel=1e-4)


def test_body_may_stay_frozen(bases, files_of_rows):
    script = VerifierArguments(model=bases["llama"], data=files_of_rows, head="mlp", freeze_backbone=True)
    assert {name for name, p in load_model(script).named_parameters() if p.requires_grad} == {
        "score.0.weight",
        "score.0.bias",
        "score.2.weight",
        "score.2.bias",
    }
    config = script.verifier_config("prm", "value", [])
    assert (config.head, config.quantization, config.aggregation) == ("mlp", None, "last")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_backbone": True, "lora_r": 4}, "--freeze_backbone trains the head only, --lora_r 4 asks for more"),
        ({"load_in_4bit": True}, "4-bit weights cannot be trained; add --lora_r 16"),
        ({"objective": "ranking", "bad_weight": 2.0}, "--objective ranking compares steps with each other"),
        ({"objective": "bradley_terry", "bad_weight": 2.0}, "--objective bradley_terry compares steps with each other"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        VerifierArguments(model="base", data="rows.jsonl", **changes)


def test_rows_are_those_of_both_files_or_a_tenth_of_the_problems_is_held_out(rows, tmp_path, capsys):
    def write(name, some, **changes):
        write_jsonl(tmp_path / name, [labeled_to_row(row.problem, row.labeled) | changes for row in some])
        return str(tmp_path / name)

    def read(data, **options):
        train, validation = read_rows(VerifierArguments(model="base", data=data, **options), read_labeled)
        return [row.labeled.trace.id for row in train], [row.labeled.trace.id for row in validation]

    many = [
        LabeledRow(problem, LabeledTrace(Trace(problem.id, ("#### 1",), "1", True), (True,), None, None, "", "value"))
        for problem in arithmetic.load("train", 60)
    ]
    ids, all_rows, others = [row.labeled.trace.id for row in many], write("all.jsonl", many), write("8.jsonl", rows[:8])
    assert read(all_rows, eval_data=others) == (ids, [row.labeled.trace.id for row in rows[:8]])
    assert read(all_rows, eval_data=others, limit=3)[0] == ids[:3]
    train, validation = read(all_rows)
    assert 1 <= len(validation) <= 15
    assert sorted(train + validation) == sorted(ids)

    failed = write("failed.jsonl", many, status="no_steps")
    for data, eval_data in ((failed, others), (failed, None), (others, failed)):
        with pytest.raises(ValueError, match=r"failed\.jsonl has no row to use: a PRM needs rows with status ok"):
            read(data, eval_data=eval_data)
    assert "unlabeled   60 of 60 rows of failed.jsonl (no_steps 60)\n" in capsys.readouterr().out


@pytest.mark.slow
def test_lora_step_is_the_same_however_the_batch_is_split(make_trainer):
    results = []
    for size, accumulation in CUTS:
        trainer = make_trainer(lora_r=4, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
        before = parameters(trainer.model)
        trainer.train()
        results.append(parameters(trainer.model))
        changed = {name for name in before if not torch.equal(before[name], results[-1][name])}
        assert all(".lora_B." in name or ".score.modules_to_save." in name for name in changed)  # A waits for B
        assert len(changed) == 2 * 7 + 2  # two layers of seven linears, and the head's weight and bias
    assert max(largest_difference(results[0], result) for result in results[1:]) < 1e-5


@pytest.mark.slow
def test_stock_trainer_is_off_by_the_number_of_accumulation_steps(bases, examples, tmp_path):
    """Why the loss is ours (transformers#47688). If this fails, the stock Trainer was mended and ours may shrink."""
    example = examples["hard"][0]
    labels = torch.full((len(example.input_ids),), -100)
    labels[list(example.step_ends)] = torch.tensor(example.targets).long()
    row = {"input_ids": torch.tensor(example.input_ids), "labels": labels}

    def losses(size, accumulation):
        model = AutoModelForTokenClassification.from_pretrained(bases["qwen2"], num_labels=2)
        with torch.no_grad():
            model.score.weight.fill_(0.1)
            model.score.bias.zero_()
        args = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            max_steps=1,
            logging_steps=1,
            learning_rate=0.0,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(model, args, train_dataset=[row] * 8)
        trainer.train()
        return trainer.state.log_history[0]["loss"]

    whole = losses(8, 1)
    assert whole == pytest.approx(math.log(2), abs=1e-3)  # both logits are equal
    assert losses(2, 4) == pytest.approx(4 * whole, rel=1e-3)


def test_evaluation_does_not_depend_on_batches_and_equals_the_scores_of_the_verifier(
    make_trainer, examples, rows, tokenizer
):
    held_out, held_rows = examples["soft"][8:], rows[8:]
    model = make_trainer().model
    verifier = StepVerifier(model, tokenizer, CONFIG)
    all_scores_N = [verifier.score(row.problem.prompt, row.labeled.trace.steps) for row in held_rows]
    scores_N, losses = [], []
    for row, scores in zip(held_rows, all_scores_N, strict=True):
        labeled = [i for i, label in enumerate(row.labeled.labels) if label is not None]
        scores_N.append([scores[i] for i in labeled])
        losses += [
            -row.labeled.values[i] * math.log(scores[i]) - (1 - row.labeled.values[i]) * math.log(1 - scores[i])
            for i in labeled
        ]
    expected = {"loss": sum(losses) / len(losses)} | step_report(
        scores_N,
        [example.hard for example in held_out],
        [example.problem for example in held_out],
        targets_N=[example.targets for example in held_out],
        aggregation="last",
    )
    assert {"auc", "trace_auc_within_problem", "calibration_error"} <= expected.keys()
    for size in (1, 3, 8):
        metrics = make_trainer(per_device_eval_batch_size=size).evaluate()
        for name, value in expected.items():
            if not math.isnan(value):
                assert metrics[f"eval_{name}"] == pytest.approx(value, abs=1e-5), (name, size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "lora_r", "changes"),
    [("llama", 0, {}), ("qwen2", 4, {}), ("llama", 0, {"bf16": True}), ("llama", 4, {"bf16": True})],
)
def test_checkpoint_holds_what_was_trained(base, lora_r, changes, bases, settings, rows, tokenizer, files_of_rows):
    script = VerifierArguments(model=bases[base], data=files_of_rows, lora_r=lora_r)
    train, validation = (prm_examples(some, CODEC, tokenizer, "soft") for some in (rows[:8], rows[8:]))
    args = settings(max_steps=3, optim="adamw_torch", learning_rate=1e-2, **changes)
    trainer = fit(script, args, look_at(files_of_rows, CONFIG, train, validation, tokenizer), tokenizer)
    assert trainer.last_metrics["n_traces"] == 8
    live = StepVerifier(trainer.model, trainer.tokenizer, CONFIG)
    saved = load_verifier(trainer.args.output_dir)
    added = {"base_weights": hash_of_base(bases[base]) if lora_r else None}
    assert saved.config == replace(CONFIG, training_data=f"{train.report}; labeled by test", **added)
    for row in rows[8:]:
        steps = row.labeled.trace.steps
        assert saved.score(row.problem.prompt, steps) == pytest.approx(live.score(row.problem.prompt, steps), abs=1e-5)


def test_what_is_new_in_a_model_follows_the_seed(bases, settings, rows, tokenizer, files_of_rows, monkeypatch):
    """The weights of a head and of a LoRA are drawn when the model is loaded."""

    class LoadedError(Exception):
        pass

    def load(arguments):
        raise LoadedError(torch.initial_seed())

    monkeypatch.setattr("prm.training.run.load_model", load)
    train, validation = (prm_examples(some, CODEC, tokenizer, "soft") for some in (rows[:8], rows[8:]))
    script = VerifierArguments(model=bases["llama"], data=files_of_rows)
    for seed in (7, 8):
        with pytest.raises(LoadedError, match=f"^{seed}$"):
            fit(script, settings(seed=seed), look_at(files_of_rows, CONFIG, train, validation, tokenizer), tokenizer)


def test_order_of_training_follows_the_seed_and_the_seed_of_the_data_where_there_is_one(make_trainer):
    def order(**seeds):
        batches = make_trainer(per_device_train_batch_size=1, **seeds).get_train_dataloader()
        return [tuple(batch["input_ids"][0].tolist()) for batch in batches]

    first = order(seed=1)
    assert len(set(first)) == 8
    assert order(seed=1) == first
    assert order(seed=2) != first
    assert order(seed=2, data_seed=1) == first
    assert order(seed=1, data_seed=2) == order(seed=2)


def test_checkpoint_that_differs_from_the_model_is_reported(make_trainer, rows, tmp_path):
    trainer = make_trainer()
    trainer.save_model()
    prompts, steps_N = [rows[0].problem.prompt], [rows[0].labeled.trace.steps]
    assert trainer.check_saved(prompts, steps_N) < 1e-6
    weights = load_file(tmp_path / "out" / "model.safetensors")
    weights["score.bias"] = weights["score.bias"] + torch.tensor([0.0, 0.1])
    save_file(weights, tmp_path / "out" / "model.safetensors", {"format": "pt"})
    trainer.verifier_config.save(tmp_path / "out")  # with the checksums of what is there now
    with pytest.raises(RuntimeError, match=r"its scores differ from those of the trained model by 0\.02"):
        trainer.check_saved(prompts, steps_N)


@pytest.mark.slow
@pytest.mark.parametrize("lora_r", [0, 4])
def test_resumed_run_ends_with_the_weights_of_one_that_was_never_stopped(lora_r, make_trainer, tmp_path):
    settings = {"lora_r": lora_r, "per_device_train_batch_size": 2, "max_steps": 6, "optim": "adamw_torch"}
    settings |= {"learning_rate": 1e-2, "lr_scheduler_type": "linear", "save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(**settings)
    start = parameters(whole.model)
    whole.train()

    shutil.copytree(tmp_path / "out" / "checkpoint-2", tmp_path / "checkpoint-2")
    assert (tmp_path / "checkpoint-2" / "prm_config.json").is_file()  # every checkpoint can be scored with
    shutil.rmtree(tmp_path / "out")
    resumed = make_trainer(**settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == 6
    assert largest_difference(parameters(resumed.model), parameters(whole.model)) < 1e-5
    assert largest_difference(parameters(whole.model), start) > 1e-2


@pytest.mark.parametrize(
    "flag",
    [
        {"average_tokens_across_devices": False},
        {"label_smoothing_factor": 0.1},
        {"train_sampling_strategy": "group_by_length"},
        {"bf16_full_eval": True},
    ],
)
def test_flags_that_would_silently_change_the_result_are_refused(flag, make_trainer):
    with pytest.raises(ValueError, match=f"--{next(iter(flag))} .* is refused"):
        make_trainer(**flag)


def test_fsdp_casts_weights_anew_in_every_forward_pass():
    """What it would cache is a cast of a weight that is gathered for one layer at a time."""
    sharded = SimpleNamespace(is_fsdp_enabled=True, accelerator=SimpleNamespace(autocast=lambda its: its))
    assert VerifierTrainer.autocast_smart_context_manager(sharded).cache_enabled is False


def test_several_gpus_in_one_process_are_refused(make_trainer, monkeypatch):
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    with pytest.raises(ValueError, match="2 GPUs in one process; start with `accelerate launch`"):
        make_trainer()


def test_collator_keeps_the_steps_of_each_trace_apart(examples):
    batch = StepCollator()(examples["soft"][:3])
    counts = torch.bincount(batch["step_trace"]).tolist()
    assert counts == [len(example.targets) for example in examples["soft"][:3]]
    assert len(batch["labels"]) == len(batch["step_index"]) == sum(counts)


def test_problems_held_out_are_whole_and_the_same_in_every_order(rows):
    many = [
        LabeledRow(
            problem, LabeledTrace(Trace(problem.id, ("#### 1",), "1", True, index=i), (True,), None, None, "", "value")
        )
        for problem in arithmetic.load("train", 60)
        for i in range(2)
    ]
    train, held_out = hold_out(many)
    assert len(train) + len(held_out) == 120
    assert not {row.problem.id for row in train} & {row.problem.id for row in held_out}
    assert 2 <= len(held_out) <= 30
    assert {row.problem.id for row in hold_out(many[::-1])[1]} == {row.problem.id for row in held_out}
    with pytest.raises(ValueError, match="2 rows are too few to hold out a tenth of their problems; give --eval_data"):
        hold_out(rows[:2])
    # A prompt that shows an earlier attempt is no other problem, and puts no problem on the other side.
    prompts = {row.problem.id: revision_prompt(row.problem.prompt, [row.labeled.trace]) for row in many[::2]}
    longer = [replace(row, problem=replace(row.problem, prompt=prompts[row.problem.id])) for row in many[::2]]
    for mixed in (longer + many[1::2], many[1::2] + longer):
        assert {row.problem.id for row in hold_out(mixed)[1]} == {row.problem.id for row in held_out}
        assert len(hold_out(mixed)[1]) == len(held_out)


def test_lora_is_scaled_by_two_and_the_head_is_saved_with_it(tiny_llama, tmp_path):
    tiny_llama(50).save_pretrained(tmp_path)
    config = add_lora(from_base(str(tmp_path)), 4).peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 8, 0.0)
    assert "score" in config.modules_to_save
