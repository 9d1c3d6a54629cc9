"""A soak: the whole chain at tiny size, disturbed at random for minutes, must end as it does undisturbed.

    problems -> traces -> labels -> PRM -> search

One run in peace gives what is compared. Then, round after round in a folder of its own, each stage is killed, given a disk
that is full, stopped for a while, started twice, or finds damaged bytes in what it has written, and is started again until
it ends. Each line of the log says what was tried and what held:

    round 3  label   full disk at 5,120 bytes   exit code 1   error: labeled.jsonl.rollouts/rollouts-0.jsonl: File ...
    round 3  label   byte 812 of store.json     exit code 1   error: store.json is not JSON ...
    round 3  label   in peace                   exit code 0

What must hold: no traceback; an error is one line; nothing half written is left; traces, labels, the rows of the search, and
every rollout of the stores, are equal to those of the undisturbed run; weights and scores to 1e-6, since a search that goes
on reads other prefixes together, which rounds otherwise (by 3e-8). Seconds are not compared.
Left out: damage to finished files, which the next stage reads as they are, and to weights.

The folder of a round that failed is kept. The seed decides what is tried and where; how far a run has come by then, the
machine.

    python tests/soak.py --minutes 15 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from conftest import Finished, Scripts, words

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-6
SAMPLING = {"generator": "arithmetic", "max_new_tokens": 80}
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "sample": (
        "data/sample_traces.py",
        SAMPLING | {"problems": "arithmetic", "limit": 16, "samples": 3, "chunk": 2, "output": "traces.jsonl"},
    ),
    "label": (
        "data/label_steps.py",
        {"traces": "traces.jsonl", "rollouts": 3, "chunk": 2, "output": "labeled.jsonl"},
    ),
    "train": (
        "recipes/train_prm.py",
        {
            "model": "base",
            "data": "labeled.jsonl",
            "max_length": 128,
            "max_steps": 24,
            "per_device_train_batch_size": 4,
            "save_steps": 4,
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "resume_from_checkpoint": "auto",
            "output_dir": "prm",
        },
    ),
    "search": (
        "eval/run_search.py",
        SAMPLING
        | {
            "problems": "arithmetic",
            "split": "validation",
            "limit": 8,
            "samples": 4,
            "chunk": 2,
            "verifiers": ["prm=prm"],
            "output_dir": "search",
        },
    ),
}
DAMAGED = ("rollouts-*.jsonl", "rollouts-*.index", "store.json", "*.journal")
"""Files whose damage is found; those beside an output say only what it was made of."""


class Soak:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.scripts = Scripts(ROOT, folder)
        self.seconds: dict[str, float] = {}
        self.tried: Counter[str] = Counter()
        self.failed: list[str] = []
        self.round = 0

    def undisturbed(self) -> None:
        make_base(self.folder / "base")
        self.whole = self.new_folder("whole")
        for stage in STAGES:
            started = time.monotonic()
            done = self.scripts.wait(self.start(stage, self.whole))
            if done.code:
                sys.exit(f"{stage} fails undisturbed:\n{done.stderr[-2000:]}")
            self.seconds[stage] = time.monotonic() - started
        self.expected = contents(self.whole)

    def new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        (folder / "base").symlink_to(self.folder / "base")
        return folder

    def start(self, stage: str, folder: Path) -> int:
        script, flags = STAGES[stage]
        # Without progress bars what is printed is short: it goes to files, which a full disk stops, too.
        environment = {"TQDM_DISABLE": "1"}
        return self.scripts.start_words([str(ROOT / script), *words(**flags)], environment, folder)

    def disturbed(self, until: float) -> None:
        """One round: every stage with up to three disturbances, then in peace."""
        self.round += 1
        folder = self.new_folder(f"round-{self.round}")
        failed_before = len(self.failed)
        for stage in STAGES:
            for _ in range(self.rng.randint(1, 3)):
                if time.monotonic() < until:
                    self.rng.choice((self.kill, self.fill, self.stop, self.twice, self.damage))(stage, folder)
            done = self.scripts.wait(self.start(stage, folder))
            self.judge(stage, "in peace", done, folder)
            if done.code:
                self.fail(stage, f"it does not end in peace: {done.stderr[-500:]}")
                return
        found = contents(folder)
        for name in sorted(self.expected.keys() | found.keys()):
            if not equal(self.expected.get(name), found.get(name)):
                self.fail("chain", f"{name} is not that of the undisturbed run")
        if left := [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]:
            self.fail("chain", f"left behind: {left}")
        if len(self.failed) == failed_before:
            print(f"round {self.round}  everything is equal to the undisturbed run", flush=True)
            shutil.rmtree(folder)

    def kill(self, stage: str, folder: Path) -> None:
        pid = self.start(stage, folder)
        seconds = self.rng.uniform(0, self.seconds[stage])
        time.sleep(seconds)
        send(pid, signal.SIGKILL)
        self.judge(stage, f"killed after {seconds:.2f} s", self.scripts.wait(pid), folder)

    def fill(self, stage: str, folder: Path) -> None:
        """No file may be larger than so many bytes."""
        sizes = [path.stat().st_size for path in self.whole.rglob("*") if path.is_file()]
        size = 4096 + int(self.rng.choice(sizes) * self.rng.random())
        pid = self.start(stage, folder)
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        self.judge(stage, f"full disk at {size:,} bytes", self.scripts.wait(pid), folder)

    def stop(self, stage: str, folder: Path) -> None:
        pid = self.start(stage, folder)
        time.sleep(self.rng.uniform(0, self.seconds[stage]))
        send(pid, signal.SIGSTOP)
        seconds = self.rng.uniform(0, 3)
        time.sleep(seconds)
        send(pid, signal.SIGCONT)
        self.judge(stage, f"stopped for {seconds:.1f} s", self.scripts.wait(pid), folder)

    def twice(self, stage: str, folder: Path) -> None:
        if stage == "train":  # does not say that it can
            return
        first = self.start(stage, folder)
        time.sleep(self.rng.uniform(0, self.seconds[stage] / 2))
        second = self.start(stage, folder)
        for which, pid in (("first", first), ("second", second)):
            self.judge(stage, f"two at once, the {which}", self.scripts.wait(pid), folder)

    def damage(self, stage: str, folder: Path) -> None:
        """Another byte, or a lost end, in a file of a run that was killed."""
        self.kill(stage, folder)
        files = sorted(path for pattern in DAMAGED for path in folder.rglob(pattern) if path.stat().st_size)
        if not files:
            return
        path = self.rng.choice(files)
        before = path.read_bytes()
        place = self.rng.randrange(len(before))
        after = before[:place] + bytes([before[place] ^ 1 << self.rng.randrange(8)]) + before[place + 1 :]
        what = f"byte {place} of {path.name}"
        if self.rng.random() < 0.3:
            after, what = before[:place], f"{path.name} cut at {place}"
        path.write_bytes(after)
        done = self.scripts.wait(self.start(stage, folder))
        self.judge(stage, what, done, folder)
        if path.read_bytes() == after:  # nobody has repaired it: put it back, as the message says
            path.write_bytes(before)

    def judge(self, stage: str, what: str, done: Finished, folder: Path) -> None:
        """Log what was tried, and whether it ended as it may."""
        self.tried[what.split()[0]] += 1
        said = done.last_line if done.stderr.strip() and done.code else ""
        line = f"round {self.round}  {stage:7} {what:34} exit code {done.code:3}  {said[:200]}"
        print(line.rstrip(), flush=True)
        if "Traceback" in done.stderr:
            self.fail(stage, f"{what}: a traceback:\n{done.stderr[-1500:]}")
        elif done.code not in (0, -signal.SIGKILL) and not said.startswith("error: "):
            self.fail(stage, f"{what}: exit code {done.code} without an error of one line: {done.stderr[-500:]!r}")

    def fail(self, stage: str, what: str) -> None:
        self.failed.append(f"round {self.round}, {stage}: {what}")
        print(f"FAILED  {self.failed[-1]}", flush=True)


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it was faster, and has ended
        os.kill(pid, number)


def make_base(folder: Path) -> None:
    """A random model of two layers with the tokenizer of the arithmetic set."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from prm.datasets import arithmetic

    tokenizer = arithmetic.build_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **sizes, **ids)
    LlamaForCausalLM(config).save_pretrained(folder)


def contents(folder: Path) -> dict[str, Any]:
    """What must be equal: files as bytes, rollouts whatever their order, rows of a search without seconds, weights."""
    from safetensors.torch import load_file

    from prm.storage.rollout_store import RolloutStore

    found: dict[str, Any] = {name: (folder / name).read_bytes() for name in ("traces.jsonl", "labeled.jsonl")}
    for name in ("traces.jsonl.rollouts", "labeled.jsonl.rollouts"):
        header = json.loads((folder / name / "store.json").read_text())
        store = RolloutStore(folder / name, {k: v for k, v in header.items() if k != "settings"}, header["settings"])
        with warnings.catch_warnings(action="ignore"):  # of damage that was sampled again
            found[name] = sorted(set(map(repr, store.read(sorted(store.problems())))))
        store.close()
    rows = [json.loads(line) for line in (folder / "search" / "results.jsonl").read_text().splitlines()]
    for result in (result for row in rows for result in row["results"]):
        result["cost"].pop("seconds")
    found["search/results.jsonl"] = rows
    found["prm/model.safetensors"] = load_file(folder / "prm" / "model.safetensors")
    return found


def equal(a: Any, b: Any) -> bool:
    """Of the same form, and every number within the tolerance."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and bool((a - b).abs().max() <= TOLERANCE)
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= TOLERANCE
    return a == b


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Disturb the whole chain at random for minutes; it must end as undisturbed."
    )
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    folder = Path(tempfile.mkdtemp(prefix="prm-soak-"))
    soak = Soak(folder, args.seed)
    try:
        soak.undisturbed()
        started = time.monotonic()
        print(f"undisturbed: {', '.join(f'{stage} {its:.1f} s' for stage, its in soak.seconds.items())}", flush=True)
        while time.monotonic() < started + 60 * args.minutes:
            soak.disturbed(started + 60 * args.minutes)
    finally:
        soak.scripts.close()
    tried = ", ".join(f"{count} {name}" for name, count in soak.tried.most_common())
    print(
        f"\nseed {args.seed}, {soak.round} rounds in {(time.monotonic() - started) / 60:.1f} minutes; ends by kind: {tried}"
    )
    if soak.failed:
        sys.exit("\n".join([f"{len(soak.failed)} did not hold; see {folder}", *soak.failed]))
    shutil.rmtree(folder)
    print("everything held")


if __name__ == "__main__":
    main()
