"""Chromium without a window, driven by the DevTools protocol over a pipe: no package and no port is needed.

    with Browser() as page:
        page.open(path)                     # of an HTML file
        page.run("document.title")          # the value of an expression
        page.press("ArrowDown")
        assert page.problems == []          # what the page has complained of, and whom it has asked

Left out: everything that the tests of pages do not need.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60
KEYS = {"ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Enter": 13, "Tab": 9, "Home": 36, "End": 35}


class Browser:
    def __init__(self, width: int = 1280, height: int = 900) -> None:
        assert CHROMIUM is not None, "chromium is not installed"
        # Its children may write for a moment after it was killed.
        self.folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        command_read, self.commands = os.pipe()
        self.answers, answer_write = os.pipe()

        def place_pipes() -> None:  # Chromium reads file descriptor 3 and writes 4
            # First out of the way, lest one of the two be overwritten before it is placed.
            ends = os.dup(command_read), os.dup(answer_write)
            high = [os.dup2(end, 100 + i) for i, end in enumerate(ends)]
            for i, end in enumerate(high):
                os.dup2(end, 3 + i)

        self.process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
                f"--user-data-dir={self.folder.name}",
                f"--window-size={width},{height}",
            ],
            preexec_fn=place_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(answer_write)
        self.rest, self.number, self.session = b"", 0, None
        self.problems: list[str] = []
        """Errors and warnings of the console, exceptions, and every request but that for the opened file."""
        self.loaded = False

    def __enter__(self) -> Browser:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.commands)
        os.close(self.answers)
        self.folder.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data) :]
        while (answer := self._read()).get("id") != self.number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            assert select.select([self.answers], [], [], PATIENCE)[0], (
                f"chromium has said nothing for {PATIENCE} seconds"
            )
            piece = os.read(self.answers, 1 << 20)
            assert piece, "chromium has ended"
            self.rest += piece
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, its = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {its['exceptionDetails']}")
        elif method == "Runtime.consoleAPICalled" and its["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console: {its['args']}")
        elif method == "Log.entryAdded":
            self.problems.append(f"log: {its['entry']['text']} {its['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            url = its["request"]["url"]
            if not url.startswith("data:") and url != self.url:
                self.problems.append(f"request: {url}")

    def open(self, path: Path) -> None:
        """Wait until the page has loaded."""
        self.url, self.loaded = path.absolute().as_uri(), False
        self.send("Page.navigate", url=self.url)
        while not self.loaded:
            self._note(self._read())

    def run(self, expression: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until it is true: some events come a little after what they speak of."""
        end = time.monotonic() + PATIENCE
        while not self.run(expression):
            assert time.monotonic() < end, expression

    def click(self, selector: str) -> None:
        """With the mouse, at the middle of an element that is scrolled into sight."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        code = {"windowsVirtualKeyCode": KEYS[key], "key": key, "code": key}
        self.send("Input.dispatchKeyEvent", type="rawKeyDown", **code)
        self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    def choose(self, name: str, value: str) -> None:
        """An option of a select, by the element's id."""
        self.run(
            f"(() => {{ const e = document.getElementById({json.dumps(name)}); e.value = {json.dumps(value)};"
            " if (e.value === '') throw Error('no such option'); e.dispatchEvent(new Event('change')); })()"
        )

    def look(self, width: int, dark: bool) -> None:
        """As wide as a phone or a screen; in the light or in the dark."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, height: int | None = None) -> None:
        """Of the whole page, or of its first so many pixels."""
        whole = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": whole["width"], "height": height or whole["height"], "scale": 1}
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))
