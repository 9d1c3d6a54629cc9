r"""Keys and passwords: read once, sent where they belong, and shown to nobody.

    OPENAI_API_KEY="sk-1234\n"       the line end, which files and Docker secrets add, is cut off
    OPENAI_API_KEY="sk-1 234"        refused at once; the message does not show it
    http://me:secret@host/v1         refused: the command is written into config.yaml, meta.json and journals
    "Incorrect API key: sk-1234"     a server's answer is shown as "Incorrect API key: ***"

Left out: what a model writes. A text that happens to contain a key is kept as it is.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, urlsplit

KEY = "OPENAI_API_KEY"
KEYS = (KEY, "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")
_SHORTEST = 4
"""A shorter key, such as the `-` that some servers want, is no secret, and to hide it would garble every message."""
_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")


def api_key() -> str | None:
    """The key for servers, without the blanks around it; None if there is none.

    Raises:
        ValueError: it cannot be sent as it is.
    """
    key = os.environ.get(KEY, "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ValueError(
            f"{KEY} holds a blank, a line end or a letter that no key has; set it to the key and nothing else"
        )
    return key or None


def check_url(url: str) -> str:
    """The address of a server, without the slash at its end.

    Raises:
        ValueError: it is none, or holds a password, which the message does not show.
    """
    fix = f"give one such as http://127.0.0.1:8000/v1, and a key in {KEY}"
    if "@" in url or "?" in url or "#" in url:
        raise ValueError(f"the URL of the server holds more than an address, which would be written into files; {fix}")
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets, ports
        right = False
    if not right or any(character.isspace() for character in url):
        raise ValueError(f"{url!r:.100} is no URL of a server; {fix}")
    return url.rstrip("/")


def hide(message: str) -> str:
    """A message with `***` in the place of every key and of every password in a URL, also where a key is cut off."""
    for name in KEYS:
        key = os.environ.get(name, "").strip()
        if len(key) >= _SHORTEST:
            for form in (key, quote(key, safe=""), key.encode("unicode_escape").decode()):
                message = message.replace(form, "***")
            if len(key) >= 16:
                message = re.sub(re.escape(key[:8]) + r"[^\s\"']*", "***", message)
    return _IN_URL.sub("***@", message)
