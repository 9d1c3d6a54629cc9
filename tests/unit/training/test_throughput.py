"""Tokens, FLOPs and seconds of training, counted by hand."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from transformers import TrainingArguments

from prm.models.loading import from_base
from prm.training import throughput
from prm.training.throughput import Throughput, count_tokens, matrix_product_flops, training_flops_per_token
from prm.training.trainer import add_lora

ROW = {  # traces of 5, 6 and 4 tokens; the first two share four tokens, the last is alone
    "input_ids": torch.zeros(1, 11),
    "position_ids": torch.tensor([[0, 1, 2, 3, 4, 4, 5, 0, 1, 2, 3]]),
    "step_index": torch.tensor([2, 4, 2, 6, 10]),
    "step_trace": torch.tensor([0, 0, 1, 1, 2]),
    "sequence_tokens": torch.tensor(15),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("base")
    tiny_llama(48).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a test says so."""
    now = [100.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_tokens_of_a_packed_row_and_of_its_traces_alone():
    assert count_tokens(ROW).tolist() == [11, 15]


def test_flops_per_token(base):
    """A layer: q, o 32 x 32, k, v 32 x 16, three of 32 x 64, two norms: 9280. Two of them, a norm, the head's 66: 18658. The
    adapters of a layer: 4 x (64 + 48 + 48 + 64 + 3 x 96) = 2048; PEFT keeps the old head beside the new."""
    model = from_base(base)
    assert training_flops_per_token(model) == 6 * 18658
    model.get_decoder().requires_grad_(False)
    assert training_flops_per_token(model) == 2 * 18658 + 2 * 66
    lora = add_lora(from_base(base), 4)
    assert training_flops_per_token(lora) == 4 * (18658 + 4096 + 66) + 2 * (4096 + 66)


def test_numbers_of_the_log_leave_out_evaluation_and_saving(base, clock, monkeypatch, tmp_path):
    monkeypatch.setattr(throughput, "matrix_product_flops", lambda device, dtype: 6 * 18658 * 8.0)
    args = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    counter = Throughput(from_base(base))
    counter.on_train_begin(args, None, None)
    for _ in range(3):
        counter.add(ROW)
        clock(2)
        counter.on_step_end(args, None, None)
        clock(50)
        counter.on_evaluate(args, None, None)
        clock(70)
        counter.on_save(args, None, None)
    clock(1.5)
    assert counter.since_last_log(Accelerator(cpu=True)) == {
        "tokens_per_second": pytest.approx(33 / 7.5),
        "useful_token_share": pytest.approx(15 / 11),
        "tokens_saved_by_sharing": pytest.approx(4 / 15),
        "flop_utilization": pytest.approx(0.55),
    }
    counter.add(ROW)
    clock(1)
    assert counter.since_last_log(Accelerator(cpu=True))["tokens_per_second"] == 11


def test_measuring_the_device_draws_no_random_numbers_and_happens_once():
    torch.manual_seed(0)
    speed = matrix_product_flops(torch.device("cpu"), torch.float32)
    assert 1e7 < speed < 1e14
    assert matrix_product_flops(torch.device("cpu"), torch.float32) == speed
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))


def test_the_speed_is_that_of_the_fastest_of_four_rounds(monkeypatch):
    ends = iter([0.0, 4.0, 4.0, 6.0, 6.0, 6.5, 7.0, 10.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(ends))
    monkeypatch.setattr(throughput, "PRODUCTS", 3)
    assert matrix_product_flops.__wrapped__(torch.device("cpu"), torch.float32) == 2 * 512**3 * 3 / 0.5
    assert list(ends) == []


def test_a_byte_holds_two_quantized_weights():
    bytes_ = torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.uint8), requires_grad=False)
    assert throughput._count([bytes_, torch.nn.Parameter(torch.zeros(5))]) == 17


@pytest.mark.parametrize(
    ("bf16", "fp16", "dtype"),
    [(True, False, torch.bfloat16), (False, True, torch.float16), (False, False, torch.float32)],
)
def test_the_peak_is_that_of_the_numbers_of_the_training(bf16, fp16, dtype, monkeypatch, tiny_llama):
    monkeypatch.setattr(throughput, "matrix_product_flops", lambda device, its: 10.0 if its is dtype else 0.0)
    counter = throughput.Throughput(tiny_llama(64))
    counter.on_train_begin(SimpleNamespace(device="cpu", bf16=bf16, fp16=fp16, world_size=3), None, None)
    assert counter.peak == 30.0
