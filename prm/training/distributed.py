"""Several processes: settings that are refused before a run starts, and how its processes end.

Refused is what would end without a complete checkpoint, or compute something else than was asked for:

    ValueError: FSDP with state dict type SHARDED_STATE_DICT saves no complete checkpoint; set fsdp_state_dict_type: ...

The configs in `recipes/accelerate/` pass; `recipes/README.md` says what each of them was run on.
"""

from __future__ import annotations

import gc
import time

import torch.distributed
from accelerate import Accelerator
from accelerate.utils import DistributedType, parse_flag_from_env
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import TrainingArguments


def check_devices(args: TrainingArguments, accelerator: Accelerator, lora: bool) -> None:
    """Refuse what is known to fail; under FSDP2, leave mixed precision to autocast.

    accelerate's own policy for FSDP2 casts all parameters and the output, and thus the head and its logits.

    Raises:
        ValueError: see the messages.
    """
    if parse_flag_from_env("ACCELERATE_USE_FSDP") and accelerator.distributed_type != DistributedType.FSDP:
        raise ValueError(
            f"FSDP was asked for, but accelerate would silently run {accelerator.distributed_type.value}: it shards on"
            " GPUs only; leave FSDP out on CPUs"
        )
    if accelerator.distributed_type == DistributedType.FSDP:
        plugin = accelerator.state.fsdp_plugin
        if plugin.fsdp_version != 2:
            raise ValueError("FSDP1 has not been tested here and is deprecated; set fsdp_version: 2")
        if plugin.state_dict_type.name != "FULL_STATE_DICT":
            raise ValueError(
                f"FSDP with state dict type {plugin.state_dict_type.name} saves no complete checkpoint; set"
                " fsdp_state_dict_type: FULL_STATE_DICT"
            )
        if plugin.cpu_ram_efficient_loading:
            raise ValueError(
                "FSDP with cpu_ram_efficient_loading does not train the new head on any process but the first (its"
                " optimizer loses it); set fsdp_cpu_ram_efficient_loading: false"
            )
        if plugin.activation_checkpointing and lora:
            raise ValueError(
                "LoRA under FSDP's own activation checkpointing saves an adapter without its weights; set"
                " fsdp_activation_checkpointing: false and pass --gradient_checkpointing"
            )
        plugin.mixed_precision_policy = MixedPrecisionPolicy()
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        if args.bf16 or args.fp16 or accelerator.mixed_precision != "no":
            raise ValueError(
                "DeepSpeed's mixed precision casts the whole model, the fp32 head too; set mixed_precision: 'no'"
                " (FSDP2 and DDP take --bf16)"
            )
        zero = accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
        if zero["stage"] == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
            raise ValueError("ZeRO-3 saves no complete checkpoint without zero3_save_16bit_model: true; set it")


def fills_rows(args: TrainingArguments, tokens_per_row: int | None) -> bool:
    """Whether the traces of an optimizer step are cut into rows by their tokens, and not into micro-batches of traces.

    Raises:
        ValueError: `tokens_per_row` with something that counts micro-batches itself.
    """
    deepspeed = args.deepspeed is not None or parse_flag_from_env("ACCELERATE_USE_DEEPSPEED")
    if tokens_per_row is None:
        return args.device.type == "cuda" and not deepspeed and not args.auto_find_batch_size
    if deepspeed:
        raise ValueError(
            "DeepSpeed counts micro-batches itself; leave --tokens_per_row out, or train with FSDP2 or DDP"
        )
    if args.auto_find_batch_size:
        raise ValueError(
            "--auto_find_batch_size changes the traces of a step; leave it out, --tokens_per_row fits memory"
        )
    return True


def close_process_group() -> None:
    """End the threads of the process group. Call it last in a training script, when nothing refers to the trainer any more.

    A process that exits while its process group has threads is sometimes aborted, after a run that succeeded: a thread
    that frees a tensor takes Python's lock when Python is already gone (pytorch issue 190489). The threads end with the
    group, and the group ends with the last model wrapped for it, so `accelerator.end_training()` is not enough. Under
    FSDP2, PyTorch's own caches keep the group's object: it is closed, but a gloo group (tests only) keeps its threads.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        # A thread that has just ended a collective takes Python's lock to free its tensors. The end of the group would wait
        # for that thread with the lock in its hands, forever; so the thread goes first.
        time.sleep(0.1)
        gc.collect()  # a trainer is part of reference cycles
