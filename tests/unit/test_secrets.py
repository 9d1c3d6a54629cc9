"""Keys are read once, and shown to nobody."""

import pytest

from prm.secrets import KEY, KEYS, api_key, check_url, hide


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("value", "key"), [(None, None), ("", None), (" \n", None), (" sk-1234\n", "sk-1234"), ("!~", "!~")]
)
def test_a_key_is_read_without_the_blanks_around_it(value, key, monkeypatch):
    if value is not None:
        monkeypatch.setenv(KEY, value)
    assert api_key() == key


@pytest.mark.parametrize("value", ["sk-1 234", "sk-1\n234", "sk-ü", "sk-\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(value, monkeypatch):
    monkeypatch.setenv(KEY, value)
    with pytest.raises(ValueError, match=f"^{KEY} holds a blank, a line end or a letter that no key has") as error:
        api_key()
    assert "sk-" not in str(error.value)


@pytest.mark.parametrize("url", ["http://h", "https://h.example:8000/v1", "http://[::1]:8000"])
def test_an_address_is_taken_without_its_last_slash(url):
    assert check_url(url) == check_url(url + "/") == url


@pytest.mark.parametrize(
    "url",
    ["", "h:8000/v1", "ftp://h", "http://", "http://:80", "http://h:0", "http://h:99999", "http://[h", "http://h /v1"],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match=f"is no URL of a server; give one such as .*, and a key in {KEY}"):
        check_url(url)


def test_of_a_long_text_the_message_has_the_begin():
    with pytest.raises(ValueError, match=f"^'{'x' * 99} is no URL"):
        check_url("x" * 500)


@pytest.mark.parametrize("url", ["http://me:secret@h/v1", "http://h/v1?key=secret", "http://h/v1#secret"])
def test_an_address_with_a_password_is_refused_and_not_shown(url):
    with pytest.raises(ValueError, match="holds more than an address, which would be written into files") as error:
        check_url(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize(
    ("key", "message", "shown"),
    [
        ("sk-1234", "Incorrect API key: sk-1234.", "Incorrect API key: ***."),
        (" sk-1234\n", "key sk-1234", "key ***"),
        ("a/b+c", "key a%2Fb%2Bc, a/b+c", "key ***, ***"),
        ("sk\\1234", r"'sk\\1234'", "'***'"),
        ("abcd", "abcd", "***"),
        ("abc", "abc", "abc"),  # too short for a secret
        ("0123456789abcdef", "key 01234567... or '01234567**cdef' \"012345678\"", "key *** or '***' \"***\""),
        ("0123456789abcdef", "0123456", "0123456"),
        ("0123456789abcde", "key 01234567...", "key 01234567..."),
    ],
)  # fmt: skip
def test_a_key_is_hidden_in_all_its_forms(name, key, message, shown, monkeypatch):
    monkeypatch.setenv(name, key)
    assert hide(message) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("at http://me:secret@h/v1 and https://you@h", "at http://***@h/v1 and https://***@h"),
        ("http://h/v1@2 a@b", "http://h/v1@2 a@b"),
    ],
)
def test_a_password_in_a_url_is_hidden(message, shown):
    assert hide(message) == shown
