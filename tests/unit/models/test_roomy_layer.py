"""Keys and values of a layer that grow in place."""

import torch

from prm.models.roomy_layer import RoomyLayer


def token(value):
    return torch.full((1, 2, 1, 3), float(value)), torch.full((1, 2, 1, 3), -float(value))


def test_what_it_has_is_copied_once_in_33_tokens_and_comes_back_whole():
    layer, buffers = RoomyLayer(), []
    for number in range(67):
        keys, values = layer.update(*token(number))
        assert keys[0, 0, :, 0].tolist() == [float(i) for i in range(number + 1)]
        assert torch.equal(keys, -values)
        if not any(buffer is layer._buffers[0] for buffer in buffers):
            buffers.append(layer._buffers[0])
    assert [buffer.shape[-2] for buffer in buffers] == [33, 66, 99]


def test_rows_and_tokens_are_picked_and_it_grows_on():
    layer = RoomyLayer()
    for number in range(3):
        layer.update(*token(number))
    layer.batch_select_indices(torch.tensor([0, 0]))
    layer.select_tokens(torch.tensor([0, 2]))
    keys, _ = layer.update(*(part.expand(2, -1, -1, -1) for part in token(7)))
    assert keys[:, 0, :, 0].tolist() == [[0.0, 2.0, 7.0]] * 2
