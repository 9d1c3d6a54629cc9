import hashlib
from collections import Counter

import pytest

from prm.datasets.splits import SPLITS, split_of


@pytest.mark.parametrize(
    ("text", "split"),
    [("Start with 47, add 38.", "train"), ("j", "test"), ("k", "validation"), ("l", "test"), ("", "train")],
)
def test_known_texts_never_move(text, split):
    """If one of these changes, every problem set ever cut has moved, and old test problems are among new train rows."""
    assert split_of(text) == split


def test_the_split_is_the_first_eight_bytes_of_sha256_modulo_100():
    for text in map(str, range(300)):
        bucket = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) % 100
        assert split_of(text) == ("test" if bucket < 10 else "validation" if bucket < 20 else "train")


def test_white_space_does_not_count():
    assert {split_of(text) for text in ("Is 2 + 2 = 4?", " Is 2 +\n2 = 4? ", "Is\t2 + 2 =  4?")} == {
        split_of("Is 2 + 2 = 4?")
    }
    texts = [f"j {i}" for i in range(50)]
    assert [split_of(text) for text in texts] == [split_of(f"\n{text.replace(' ', '   ')} ") for text in texts]


def test_shares_of_the_splits():
    counts = Counter(split_of(f"problem {i}") for i in range(20_000))
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["validation"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.01)


def test_every_bucket_belongs_to_exactly_one_split():
    assert sorted(bucket for buckets in SPLITS.values() for bucket in buckets) == list(range(100))
