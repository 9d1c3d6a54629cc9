"""A job of stand-in commands; what a person sees of one is tested in tests/scripts/test_quickstart.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from prm.stages import Stages


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    (tmp_path / "count.py").write_text(
        "import sys\nprint('x', file=sys.stderr)\nopen('count', 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    )
    yield
    signal.signal(signal.SIGTERM, handler)


def test_a_stage_that_a_limit_stopped_is_run_again_and_its_seconds_add_up(tmp_path):
    stages = Stages(tmp_path / "job", "log")
    (tmp_path / "job/.count.seconds").write_text("100")  # of a start that was killed
    first = stages.once("count", "count.py", "count", limit="--max_hours 1", complete=lambda: False)
    assert first > 100
    second = stages.once("count", "count.py", "count", limit="--max_hours 2")
    assert second > first
    assert stages.once("count", "count.py", "count", limit="--max_hours 3") == second
    assert (tmp_path / "count").read_text() == "--max_hours 1\n--max_hours 2\n"


def test_other_settings_are_refused(tmp_path):
    stages = Stages(tmp_path / "job", "log")
    stages.once("count", "count.py 1", "count")
    with pytest.raises(
        ValueError, match=r"job holds a run with other settings \(count changed\); delete .*job to start"
    ):
        stages.once("count", "count.py 2", "count")


JOB = """
import sys
from pathlib import Path
from prm.stages import Stages
Stages(Path("job"), "log").run("sleep", "sleep.py")
"""


def test_no_second_job_beside_a_stage_that_outlived_the_first(tmp_path):
    (tmp_path / "sleep.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nos.rename('pid', 'running')\ntime.sleep(60)\n"
    )
    job = subprocess.Popen([sys.executable, "-c", JOB], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "running").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stage = int((tmp_path / "running").read_text())
    with pytest.raises(ValueError, match="job is in use by a job that still runs; wait for it, or end it"):
        Stages(tmp_path / "job", "log")
    job.kill()
    job.wait()
    with pytest.raises(ValueError, match="still runs"):
        Stages(tmp_path / "job", "log")
    os.kill(stage, signal.SIGTERM)
    while True:
        try:
            Stages(tmp_path / "job", "log")
            break
        except ValueError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
