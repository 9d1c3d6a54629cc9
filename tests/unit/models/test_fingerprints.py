"""What decides the fingerprint of a model and of its tokenizer, and what does not."""

from types import SimpleNamespace

import pytest
import torch

from prm.models.fingerprints import fingerprint, tokenizer_text


def slow(vocab, template=None, **special):
    return SimpleNamespace(get_vocab=lambda: vocab, special_tokens_map=special, chat_template=template)


def test_who_wrote_a_config_and_what_is_overridden_do_not_matter_and_all_else_does(tiny_llama, plain_tokenizer):
    model = tiny_llama(len(plain_tokenizer))
    before = fingerprint(model, plain_tokenizer)
    model.config.use_cache, model.config.architectures, model.config._name_or_path = False, ["Other"], "elsewhere"
    model.config._of_a_library = 1
    assert fingerprint(model, plain_tokenizer) == before
    assert len(before) == 8

    def weight():
        with torch.no_grad():
            model.lm_head.weight[0, 0] += 1

    def words():
        plain_tokenizer.chat_template = "{{ messages }}"

    def config():
        model.config.rms_norm_eps *= 2

    def generation():
        model.generation_config.top_k = 3

    template = plain_tokenizer.chat_template
    try:
        for change in (weight, words, config, generation):
            change()
            assert fingerprint(model, plain_tokenizer) != before
            before = fingerprint(model, plain_tokenizer)
    finally:
        plain_tokenizer.chat_template = template


def test_names_shapes_and_kinds_of_weights_matter_and_the_order_of_a_config_does_not():
    def name(weights, **values):
        config = SimpleNamespace(to_diff_dict=lambda: values)
        return fingerprint(
            SimpleNamespace(state_dict=lambda: weights, config=config, can_generate=lambda: False), slow({})
        )

    one = {"a": torch.zeros(2, 3)}
    others = {"b": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)}, {"a": torch.zeros(2, 3, dtype=torch.int32)}
    assert len({name(weights) for weights in (one, *others)}) == 4
    assert name(one, x=torch.float32, y=1) == name(one, y=1, x=torch.float32) != name(one, x=1, y=1)


def test_the_order_of_a_vocabulary_does_not_matter_and_all_else_does():
    text = tokenizer_text(slow({"a": 0, "b": 1}, "x", eos_token="a", pad_token="b"))
    assert tokenizer_text(slow({"b": 1, "a": 0}, "x", pad_token="b", eos_token="a")) == text
    for other in (
        slow({"a": 1, "b": 0}, "x", eos_token="a", pad_token="b"),
        slow({"a": 0, "b": 1}, "y", eos_token="a", pad_token="b"),
        slow({"a": 0, "b": 1}, "x", eos_token="b", pad_token="b"),
    ):
        assert tokenizer_text(other) != text


@pytest.mark.parametrize("call", [{"truncation": True, "max_length": 2}, {"padding": "max_length", "max_length": 9}])
def test_what_the_last_call_asked_for_is_no_part_of_a_tokenizer(call, plain_tokenizer):
    before = tokenizer_text(plain_tokenizer)
    plain_tokenizer("4 + 4 = 8", **call)
    assert tokenizer_text(plain_tokenizer) == before
    assert '"truncation"' not in before
