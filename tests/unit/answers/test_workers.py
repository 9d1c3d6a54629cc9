"""What the process of a worker may take; how workers are asked and what they outlive: test_answers.py."""

import subprocess
import sys

import pytest

from prm.answers import workers

TAKE = """
from prm.answers import workers
workers._limit_memory()
bytearray(workers.MEMORY_BYTES // 2)
try:
    bytearray(workers.MEMORY_BYTES + (1 << 20))
except MemoryError:
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there is it known what a process has already")
def test_a_worker_may_take_so_much_memory_and_no_more():
    done = subprocess.run([sys.executable, "-c", TAKE], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("refused\n", 0), done.stderr


def test_a_worker_that_does_not_start_says_so(monkeypatch):
    monkeypatch.setattr(workers, "_CHILD", "raise SystemExit(3)")
    with pytest.raises(
        RuntimeError, match=r"the answer worker did not start \(exit code (3|-9)\); `.*import mpmath'` shows why"
    ):
        workers.Worker()
