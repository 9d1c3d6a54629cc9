"""Runs that would end without a complete checkpoint, or without training the head, are refused before they start."""

import gc
import types
import weakref

import pytest
import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from prm.training.distributed import check_devices, close_process_group

FSDP = {"fsdp_version": 2, "state_dict_type": "FULL_STATE_DICT", "cpu_ram_efficient_loading": False}
FSDP |= {"activation_checkpointing": False}
ZERO = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What accelerate's plugin and launcher read and write; put back afterwards."""
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "false")
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)


def check(kind, plugins, lora=False, bf16=False):
    args = types.SimpleNamespace(bf16=bf16, fp16=False)
    state = types.SimpleNamespace(**plugins)
    check_devices(args, types.SimpleNamespace(distributed_type=kind, state=state, mixed_precision="no"), lora)


@pytest.mark.parametrize(
    ("changes", "lora", "message"),
    [
        ({"state_dict_type": "SHARDED_STATE_DICT"}, False, "SHARDED_STATE_DICT saves no complete checkpoint; set"),
        ({"fsdp_version": 1}, False, "set fsdp_version: 2"),
        ({"cpu_ram_efficient_loading": True}, False, "set fsdp_cpu_ram_efficient_loading: false"),
        ({"activation_checkpointing": True}, True, "saves an adapter without its weights; set"),
    ],
)
def test_fsdp_that_loses_weights_is_refused(changes, lora, message):
    with pytest.raises(ValueError, match=message):
        check(DistributedType.FSDP, {"fsdp_plugin": FullyShardedDataParallelPlugin(**FSDP | changes)}, lora)


@pytest.mark.parametrize(("changes", "lora"), [({}, True), ({"activation_checkpointing": True}, False)])
def test_fsdp2_with_full_checkpoints_passes_and_casts_nothing(changes, lora):
    plugin = FullyShardedDataParallelPlugin(**FSDP | changes, mixed_precision_policy="bf16")
    check(DistributedType.FSDP, {"fsdp_plugin": plugin}, lora, bf16=True)
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (None, None, None)


def test_fsdp_that_accelerate_leaves_out_is_refused(monkeypatch):
    check(DistributedType.MULTI_CPU, {})
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="FSDP was asked for, but accelerate would silently run MULTI_CPU"):
        check(DistributedType.MULTI_CPU, {})


def test_zero3_needs_fp32_and_whole_weights():
    def zero(**changes):
        plugin = types.SimpleNamespace(deepspeed_config={"zero_optimization": ZERO | changes})
        return {"deepspeed_plugin": plugin}

    check(DistributedType.DEEPSPEED, zero())
    check(DistributedType.DEEPSPEED, zero(stage=2, stage3_gather_16bit_weights_on_model_save=False))
    with pytest.raises(ValueError, match="zero3_save_16bit_model: true"):
        check(DistributedType.DEEPSPEED, zero(stage3_gather_16bit_weights_on_model_save=False))
    with pytest.raises(ValueError, match="the fp32 head too"):
        check(DistributedType.DEEPSPEED, zero(), bf16=True)


def test_closing_the_process_group_frees_what_only_refers_to_itself(tmp_path):
    """A trainer is such a thing, and its model would keep the threads of the group alive."""

    class Trainer:
        pass

    trainer = Trainer()
    trainer.model = trainer
    alive = weakref.ref(trainer)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    gc.disable()
    try:
        del trainer
        close_process_group()
        assert alive() is None
    finally:
        gc.enable()
    assert not torch.distributed.is_initialized()
    close_process_group()  # nothing is left to close
