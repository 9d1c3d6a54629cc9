import pytest

from prm.training import throughput


@pytest.fixture(autouse=True)
def few_matrix_products(monkeypatch):
    """What a processor can do at best is measured when training begins: in bf16, some ten seconds on most CPUs."""
    monkeypatch.setattr(throughput, "PRODUCTS", 1)
