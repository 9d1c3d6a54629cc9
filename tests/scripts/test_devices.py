"""DDP and FSDP2 with two CPU processes end with the weights and scores of one process, full and LoRA, and FSDP2 resumes.
After DDP no thread of the process group is left that could abort a finished run at exit (PyTorch's caches of sharded
tensors keep a gloo group alive; on GPUs, where FSDP2 runs, NCCL's threads end when the group is closed).

accelerate shards on GPUs only (on CPUs it would run DDP and not say so), so for FSDP2 it is told that the two gloo processes
are GPUs. Several trainings share one launch.
"""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prm import load_verifier
from prm.datasets import arithmetic
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row
from prm.types import LabeledTrace, Trace

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "recipes" / "train_prm.py")
VARIANTS = {"full": {}, "lora": {"lora_r": 4}}

_JOBS = """
import json, os, pathlib, runpy, sys
from prm.training import distributed, throughput

throughput.PRODUCTS = 1  # in bf16 most CPUs take seconds for all of them

_, script, fsdp, jobs = sys.argv
if fsdp == "fsdp":
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType
    import transformers.training_args
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True
    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)
close, jobs = distributed.close_process_group, json.loads(jobs)
for left, arguments in zip(reversed(range(len(jobs))), jobs):
    distributed.close_process_group = (lambda: None) if left else close  # the next training needs it
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
if fsdp == "fsdp":
    sys.stdout.flush()
    os._exit(0)  # past the end of Python, where the threads that are left might abort
threads = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in thread for thread in threads), threads
"""


def words(**flags):
    return [word for name, value in flags.items() for word in (f"--{name}", str(value))]


def launch(scripts, folder, config, kind, jobs):
    """Run `jobs` (argument lists of train_prm.py) one after the other in two processes."""
    (folder / "jobs.py").write_text(_JOBS)
    accelerate = ["accelerate.commands.launch", "--num_processes", "2"]
    accelerate += ["--config_file", f"recipes/accelerate/{config}.yaml"]
    done = scripts.launch(accelerate, str(folder / "jobs.py"), [SCRIPT, kind, json.dumps(jobs)])
    assert done.code == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def flags(tmp_path_factory, tiny_llama):
    """Flags of four steps over 16 rows, eight at a time: a second epoch in another order."""
    folder = tmp_path_factory.mktemp("data")
    tokenizer = arithmetic.build_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    tiny_llama(len(tokenizer)).save_pretrained(folder / "base")
    rows = []
    for i, problem in enumerate(arithmetic.load("train", 24)):
        steps = tuple(f"{i} + {j} = {i + j}" for j in range(2 + i % 5))
        labels, values = tuple((i + j) % 2 == 0 for j in range(len(steps))), tuple(j / 7 for j in range(len(steps)))
        trace = Trace(problem.id, steps, steps[-1], None)
        rows.append(labeled_to_row(problem, LabeledTrace(trace, labels, values, None, "made up", "value")))
    write_jsonl(folder / "train.jsonl", rows[:16])
    write_jsonl(folder / "validation.jsonl", rows[16:])
    return {
        "model": folder / "base",
        "data": folder / "train.jsonl",
        "eval_data": folder / "validation.jsonl",
        "max_length": 128,
        "max_steps": 4,
        "learning_rate": 1e-2,
        "optim": "sgd",
        "optim_args": "momentum=0.9",
        "logging_steps": 1,
        "save_steps": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }


@pytest.fixture(scope="module")
def one(flags, tmp_path_factory):
    """Folder of each variant, trained by one process."""
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        for name, changes in VARIANTS.items():
            settings = flags | changes | {"output_dir": folder / name, "per_device_train_batch_size": 8}
            patch.setattr(sys, "argv", [SCRIPT, *words(**settings, use_cpu=True)])
            runpy.run_path(SCRIPT, run_name="__main__")
    return folder


def weights(folder):
    (path,) = [*folder.glob("model.safetensors"), *folder.glob("adapter_model.safetensors")]
    return load_file(path)


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def losses(folder):
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


def assert_same(two, one):
    """The same weights, head in fp32 included, loss of every step, and scores from the folder."""
    assert any(name.endswith("score.weight") and w.dtype == torch.float32 for name, w in weights(two).items())
    assert largest_difference(weights(two), weights(one)) < 1e-5
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    prompts, steps_N = ["Start with 47, add 38."] * 2, [("47 + 38 = 75", "#### 75"), ("47 + 38 = 85",)]
    for scores, expected in zip(
        load_verifier(str(two)).score_batch(prompts, steps_N),
        load_verifier(str(one)).score_batch(prompts, steps_N),
        strict=True,
    ):
        assert scores.steps == pytest.approx(expected.steps, abs=1e-5)


def test_ddp(scripts, flags, one, tmp_path):
    two = {"per_device_train_batch_size": 4, "use_cpu": True}
    jobs = [words(**flags | changes | two, output_dir=tmp_path / name) for name, changes in VARIANTS.items()]
    launch(scripts, tmp_path, "ddp", "ddp", jobs)
    for name in VARIANTS:
        assert_same(tmp_path / name, one / name)
        assert_same(tmp_path / name / "checkpoint-4", one / name)


def test_fsdp2(scripts, flags, one, tmp_path):
    """Also with accumulation, from a checkpoint and then with rows by tokens, of which the processes have different numbers,
    and in bf16, where the head and what is saved stay fp32."""
    two = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    jobs = []
    for name, changes in VARIANTS.items():
        jobs.append(words(**flags | changes | two, output_dir=tmp_path / name))
        resume = {
            "resume_from_checkpoint": tmp_path / name / "checkpoint-2",
            "output_dir": tmp_path / f"{name}-resumed",
            "tokens_per_row": 90,
        }
        jobs.append(words(**flags | changes | two | resume))
    jobs.append(words(**flags | two, bf16=True, output_dir=tmp_path / "bf16"))
    output = launch(scripts, tmp_path, "fsdp2", "fsdp", jobs)
    assert output.count("loaded again, scores agree") == 5
    for name in VARIANTS:
        assert_same(tmp_path / name, one / name)
        assert_same(tmp_path / name / "checkpoint-4", one / name)
        assert_same(tmp_path / f"{name}-resumed", one / name)
        assert largest_difference(weights(tmp_path / name / "checkpoint-2"), weights(one / name)) > 1e-4
    assert {weight.dtype for weight in weights(tmp_path / "bf16").values()} == {torch.float32}
    assert losses(tmp_path / "bf16") == pytest.approx(losses(one / "full"), rel=0.02)
    assert losses(tmp_path / "bf16") != losses(one / "full")
