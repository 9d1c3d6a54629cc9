"""The size of a row, by hand and on a memory that is pretended: a GPU that needs a known number of bytes for each token."""

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainingArguments

from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.models.loading import from_base
from prm.training import row_size
from prm.training.batches import RowCollator
from prm.training.examples import TraceExample
from prm.training.row_size import probe_rows, tokens_that_fit
from prm.training.trainer import VerifierTrainer
from prm.verifiers.checkpoint import VerifierConfig


def example(i, length):
    return TraceExample((i, *[7] * (length - 1)), (length - 1,), (0.5,), (True,), (0,), "p", False)


def test_a_line_through_two_rows():
    assert tokens_that_fit((1000, 3_000_000), (4000, 9_000_000), 101_000_000) == (42_425, 1e6, 2000.0)
    assert tokens_that_fit((1000, 3_000_000), (4000, 9_000_000), 10**12)[0] == row_size.MOST
    with pytest.raises(ValueError, match=r"a row of 1000 tokens leaves no room on this GPU .*--lora_r 16"):
        tokens_that_fit((1000, 3_000_000), (4000, 9_000_000), 3_000_000)


def test_the_measured_rows_are_the_first_examples():
    examples = [example(i, 500) for i in range(20)]
    assert [len(row) for row in probe_rows(examples)] == [3, 9]
    assert [len(row) for row in probe_rows([example(0, 5000)])] == [1, 1]
    assert probe_rows(examples[:8]) is None


def test_measured_once_at_the_start(tmp_path, tiny_llama, monkeypatch, capsys):
    tokenizer = arithmetic.build_tokenizer()
    tiny_llama(len(tokenizer)).save_pretrained(tmp_path)
    model = from_base(str(tmp_path))
    memory = SimpleNamespace(now=10**6, peak=0)

    model.eval()

    def computes(module, args, kwargs):
        assert module.training  # else what is recomputed, or dropped, would not be measured
        memory.peak = memory.now + 5_000_000 + 10_000 * kwargs["input_ids"].numel()

    model.register_forward_pre_hook(computes, with_kwargs=True)
    for name, value in {
        "reset_peak_memory_stats": lambda device: None,
        "memory_allocated": lambda device: memory.now,
        "memory_reserved": lambda device: memory.now + 2_000_000,
        "max_memory_allocated": lambda device: memory.peak,
        "mem_get_info": lambda device: (98_000_000, 10**9),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    examples = [example(i, 400) for i in range(16)]
    arguments = TrainingArguments(
        str(tmp_path / "out"), per_device_train_batch_size=16, max_steps=2, learning_rate=0.0, save_strategy="no",
        report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    config = VerifierConfig("prm", StepCodec(max_length=512), "value", "last", str(tmp_path), "")
    trainer = VerifierTrainer(model, arguments, config, tokenizer, examples, tokens_per_row=1)
    trainer.rows.tokens_per_row = None  # what it is on a GPU
    measured, backward = [], []
    model.get_input_embeddings().weight.register_hook(lambda gradient: backward.append(len(measured)))
    true = row_size.measure

    def measure(*arguments):
        measured.append(true(*arguments))
        assert not any(p.grad is not None and p.grad.any() for p in model.parameters())
        return measured[-1]

    monkeypatch.setattr(row_size, "measure", measure)
    trainer.train()
    room = 100_000_000 - 8 * sum(p.numel() for p in model.parameters())
    assert measured == [int((0.85 * room - 5_000_000) / 10_000)]
    assert trainer.rows.tokens_per_row == measured[0]
    assert backward.count(0) == 3  # the backward passes are measured, too
    assert f"{measured[0]:,} tokens each" in capsys.readouterr().out
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())  # the measured rows taught nothing
    assert isinstance(trainer.rows, RowCollator)
