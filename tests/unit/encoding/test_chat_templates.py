"""Chat templates are rendered by a process of their own; when it ends, another one takes its place."""

import signal

import pytest

from prm.encoding import chat_templates
from prm.encoding.chat_templates import render


def test_a_process_that_ended_is_said_so_and_replaced():
    assert render("{{ a }}!", {"a": 4}) == "4!"
    first = chat_templates._renderers[0]
    first._process.kill()
    first._process.wait()
    with pytest.raises(ValueError, match=r"^ended the process that renders it \(exit code -9\)"):
        render("{{ a }}", {"a": 5})
    assert (render("{{ a }}", {"a": 6}), render("{{ a }}", {"a": 7})) == ("6", "7")
    assert len(chat_templates._renderers) == 1
    assert chat_templates._renderers[0] is not first


@pytest.mark.slow
def test_a_template_takes_so_much_memory_and_no_more():
    most = chat_templates.MEMORY_BYTES
    with pytest.raises(ValueError, match=f"^takes more than {most >> 20} MiB$"):
        render("{{ 'x' * n }}", {"n": most})
    with pytest.raises(ValueError, match=r"^makes a text of 20,000,001 characters$"):
        render("{{ 'x' * n }}", {"n": chat_templates.LONGEST + 1})


def test_a_process_that_was_stopped_for_its_time_is_said_so():
    render("", {})
    chat_templates._renderers[0]._process.send_signal(signal.SIGPROF)
    chat_templates._renderers[0]._process.wait()
    with pytest.raises(ValueError, match=r"^takes more than \d+ s of processor time$"):
        render("", {})
