from prm.costs import forward_flops


def test_flops_by_hand():
    """An 8B model that reads 1000 tokens: 16 TFLOPs."""
    assert forward_flops(8_000_000_000, 1000) == 1.6e13
    assert forward_flops(0, 1000) == forward_flops(8, 0) == 0.0
