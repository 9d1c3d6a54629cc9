"""The search of the benchmarks is as deep as it says, and costs the same whether its verifier computes or not."""

from prm.search.workloads import deep_beam_search


def test_a_deep_beam_search_writes_so_many_steps_and_the_answer():
    (computed,), (blank,) = deep_beam_search(3, beams=4)(), deep_beam_search(3, False, beams=4)()
    for result in (computed, blank):
        assert {(len(trace.steps), trace.answer) for trace in result.candidates} == {(4, "1")}
        assert result.cost.generated_tokens == 4 * (3 * 20 + 3)
    assert computed.cost.verifier_calls == blank.cost.verifier_calls > 4
