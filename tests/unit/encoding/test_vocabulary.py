import warnings

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from prm.encoding.vocabulary import UnknownWords
from prm.generators import load_generator


@pytest.fixture
def tokenizer():
    """Knows "add" and "1"; every other word is <unk> (id 0)."""
    words = Tokenizer(models.WordLevel({"<unk>": 0, "add": 1, "1": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")


def watch(words, tokenizer, *texts):
    for text in texts:
        words.watch(text, tokenizer(text)["input_ids"])


def test_many_unknown_tokens_are_said_once(tokenizer):
    words = UnknownWords(tokenizer, "generator")
    message = (
        "of the tokens of the first 2 texts, 40% are unknown to the generator's tokenizer, e.g. in 'add two apples';"
        " what it makes of them means nothing. Use a generator whose vocabulary has these words"
    )
    with pytest.warns(UserWarning, match="unknown") as caught:
        watch(words, tokenizer, "add 1", "add two apples", "three more pears", "add two apples")
    assert [str(warning.message) for warning in caught] == [message]


def test_few_unknown_tokens_are_fine(tokenizer):
    words = UnknownWords(tokenizer, "generator")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch(words, tokenizer, "add 1 " * 10 + "apples")
        watch(words, tokenizer, *(f"{'add ' * i}1" for i in range(49)))
        watch(words, tokenizer, "two apples")  # text 51 is not looked at
        watch(UnknownWords(tokenizer, "generator"), tokenizer, "add " * 9 + "apples")  # a tenth
    with pytest.warns(UserWarning, match="11% are unknown"):
        watch(UnknownWords(tokenizer, "generator"), tokenizer, "add " * 8 + "apples")


def test_the_fiftieth_text_is_looked_at(tokenizer):
    words = UnknownWords(tokenizer, "verifier")
    watch(words, tokenizer, *("add " * i for i in range(1, 50)))
    with pytest.warns(UserWarning, match=r"first 50 texts, 50% are unknown to the verifier's"):
        watch(words, tokenizer, "apples " * sum(range(1, 50)))


def test_a_tokenizer_of_bytes_knows_every_word(plain_tokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch(UnknownWords(plain_tokenizer, "verifier"), plain_tokenizer, "Überraschung: ∑ 数学")


def test_a_generator_says_that_it_cannot_read_a_problem():
    generator = load_generator("arithmetic")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator.encode("Start with 47, add 38.", ["47 + 38 = 85"])
    with pytest.warns(UserWarning, match=r"unknown to the generator's tokenizer, e.g. in 'Natalia sold clips to 48"):
        generator.encode("Natalia sold clips to 48 of her friends.")
