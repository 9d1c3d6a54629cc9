"""Numbers of known tokens, by hand."""

from prm.models.token_tree import TokenTree


def test_beginnings_are_numbered_once():
    tree = TokenTree()
    assert tree.find([7, 8]) == []
    assert tree.add([7, 8, 1]) == [0, 1, 2]
    assert tree.add([7, 8, 2, 3]) == [0, 1, 3, 4]
    assert tree.add([8]) == [5]  # the same token elsewhere is another one
    assert tree.find([7, 8, 2, 9, 3]) == [0, 1, 3]
    assert tree.find([9]) == tree.find([]) == tree.add([]) == []
    assert len(tree) == 6


def test_what_is_forgotten_is_unknown_and_the_rest_is_numbered_anew():
    tree = TokenTree()
    for ids in ([7, 8, 1], [7, 8, 2, 3], [8]):
        tree.add(ids)
    assert tree.keep([0, 1, 3]) == {0: 0, 1: 1, 3: 2}
    assert tree.find([7, 8, 1]) == [0, 1]
    assert tree.find([7, 8, 2, 3]) == [0, 1, 2]
    assert tree.find([8]) == []
    assert tree.add([7, 8, 1]) == [0, 1, 3]


def test_numbers_may_be_given():
    tree = TokenTree()
    tree.put([7, 8, 1], [4, 2, 9])
    assert tree.find([7, 8, 1]) == [4, 2, 9]
