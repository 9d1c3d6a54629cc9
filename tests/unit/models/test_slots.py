"""Slots: every row is read as if it were alone, and a step can be recorded once and run again, as a CUDA graph is."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from prm.models import slots
from prm.models.growing_rows import GrowingRows, read_prefixes
from prm.models.slots import Slots, can_have_slots, enough

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item", "unique")
"""Kernels whose result Python waits for, which no graph can hold."""


class Recorder(TorchDispatchMode):
    """What a CUDA graph holds: kernels with the tensors, and the numbers, that they had at the first time."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        out = kernel(*args, **(kwargs or {}))
        self.calls.append((kernel, args, kwargs or {}, out))
        return out

    def replay(self):
        for kernel, args, kwargs, out in self.calls:
            again = kernel(*args, **kwargs)
            for old, new in zip(*((x,) if torch.is_tensor(x) else x for x in (out, again)), strict=True):
                if torch.is_tensor(old) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def recorded(recorders):
    """In place of `capture`."""

    def capture(step, device, pool):
        step()
        recorder = Recorder()
        with recorder:
            step()
        recorders.append(recorder)
        return recorder.replay

    return capture


@pytest.fixture
def recorders(monkeypatch):
    """Steps are recorded from now on, on the CPU."""
    made = []
    monkeypatch.setattr(slots, "capture", recorded(made))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    return made


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_qwen2"])
def test_a_recorded_step_reads_on_by_itself(kind, request, recorders):
    """30 tokens of rows that come and go, against the batch whose rows grow, which starts again where rows come."""
    model, numbers = request.getfixturevalue(kind)(300), torch.Generator().manual_seed(0)
    ids = [torch.randint(5, 300, (n,), generator=numbers).tolist() for n in (3, 17, 40, 9, 62)]
    batch = Slots(model, 512)
    batch.captures = True
    rows = []  # what each has read

    def check(logits):
        alone = GrowingRows(model, 512)
        expected = alone.add(read_prefixes(model, [tuple(row) for row in rows]), range(len(rows)))
        assert (logits - expected).abs().max() < 1e-5

    def read(turns):
        for _ in range(turns):
            tokens = torch.randint(5, 300, (len(rows),), generator=numbers)
            for row, token in zip(rows, tokens.tolist(), strict=True):
                row.append(token)
            check(batch.read(tokens))

    first = read_prefixes(model, [tuple(row) for row in ids[:3]])
    rows += [list(ids[i]) for i in (0, 1, 1, 2)]
    check(batch.add(first, [0, 1, 1, 2]))
    read(10)
    assert len(recorders) == 1  # 4 rows of up to 50 tokens, so in 64 columns
    assert batch.columns(3, 45) == list(range(45))
    batch.keep([1, 3])
    rows = [rows[1], rows[3]]
    read(2)
    assert len(recorders) == 2  # 2 rows
    rows += [list(ids[i]) for i in (4, 3)]
    logits = batch.add(read_prefixes(model, [tuple(row) for row in ids[3:]]), [1, 0])
    assert logits.shape == (2, 300)
    read(2)
    assert len(recorders) == 2  # 4 rows in 64 columns again, and all of them are full
    read(15)  # slots have to grow, and the old steps are void
    assert [layer.keys.shape[::2] for layer in batch.layers] == [(4, 128)] * len(batch.layers)
    assert (len(recorders), len(batch._steps)) == (3, 1)
    names = {kernel.__name__.split(".")[0] for recorder in recorders for kernel, *_ in recorder.calls}
    assert "scaled_dot_product_attention" in " ".join(names)
    assert not names & set(WAITS)


@torch.inference_mode()
def test_what_a_slot_held_before_changes_nothing(tiny_llama):
    """A short row after a long one, in the same slot."""
    model, batch = tiny_llama(300), Slots(tiny_llama(300), 512)
    for prefix in (tuple(range(5, 55)), (9, 8)):
        batch.keep([])
        batch.add(read_prefixes(model, [prefix]), [0])
        logits = batch.read(torch.tensor([7]))
        assert (logits - model(torch.tensor([[*prefix, 7]])).logits[:, -1]).abs().max() < 1e-5
    assert len(batch.layers[0].keys) == 1


@torch.inference_mode()
def test_a_row_that_is_longer_than_what_is_read_spoils_no_other(tiny_llama):
    """What has ended may write on; a slot without a row is as long as its last one was."""
    model = tiny_llama(300)
    batch = Slots(model, 512)
    batch.add(read_prefixes(model, [(5, 6), (7, 8), tuple(range(100))]), [0, 1, 2])
    batch.keep([0, 1])
    batch.add(read_prefixes(model, [(9,)]), [0])
    for token in (11, 12):
        logits = batch.read(torch.tensor([token] * 3))
    expected = model(torch.tensor([[7, 8, 11, 12]])).logits[:, -1]
    assert (logits[1] - expected).abs().max() < 1e-5


@torch.inference_mode()
def test_slots_stay_for_the_next_call_if_they_fit(tiny_llama):
    model = tiny_llama(300)
    batch = Slots(model, 512)
    batch.add(read_prefixes(model, [(5, 6)]), [0])
    size = sum(layer.keys.nbytes + layer.values.nbytes for layer in batch.layers)
    batch.read(torch.tensor([7]))
    batch.release(size)
    assert len(batch._steps) == len(batch.layers[0].keys) == 1
    batch.release(size - 1)
    assert (batch.layers, batch._steps) == ([], {})
    batch.add(read_prefixes(model, [(5, 6)]), [0])
    assert (batch.read(torch.tensor([7])) - model(torch.tensor([[5, 6, 7]])).logits[:, -1]).abs().max() < 1e-5


@torch.inference_mode()
def test_a_model_that_no_graph_can_hold_is_read_without(tiny_llama, recorders, monkeypatch):
    def capture(step, device, pool):
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might ...")

    monkeypatch.setattr(slots, "capture", capture)
    model = tiny_llama(300)
    batch = Slots(model, 512)
    batch.captures = True
    batch.add(read_prefixes(model, [(5, 6)]), [0])
    with pytest.warns(UserWarning, match="in no CUDA graph: operation not permitted when stream is capturing$"):
        logits = batch.read(torch.tensor([7]))
    assert (logits - model(torch.tensor([[5, 6, 7]])).logits[:, -1]).abs().max() < 1e-5
    batch.add(read_prefixes(model, [(5, 6)]), [0])
    batch.read(torch.tensor([8, 9]))  # not tried again: no second warning


def test_few_sizes():
    assert sorted({enough(n) for n in range(1, 1000)}) == [
        1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024
    ]  # fmt: skip
    assert all(n <= enough(n) < 1.5 * n for n in range(1, 1000))


def test_models_that_have_slots(tiny_llama, tiny_qwen2):
    assert can_have_slots(tiny_llama(300).config)
    assert can_have_slots(tiny_qwen2(300).config)
    eager = tiny_llama(300)
    eager.set_attn_implementation("eager")  # adds its mask to scores; ours says yes or no
    assert not can_have_slots(eager.config)
