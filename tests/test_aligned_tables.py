"""Aligned text tables."""

from zv_jax import tables


def test_names_left_numbers_right_and_no_spaces_at_the_end():
    rows = [("", "items", "note"), ("okvqa", "5,046", ""), ("vqa", "7", "part")]
    assert tables.align(rows, "lrl") == [
        "       items  note",
        "okvqa  5,046",
        "vqa        7  part",
    ]


def test_the_last_side_serves_all_columns_that_follow():
    assert tables.align([("a", "bb", "ccc"), ("aaa", "b", "c")], "lr") == [
        "a    bb  ccc",
        "aaa   b    c",
    ]


def test_columns_can_be_wider_than_their_cells():
    assert tables.align([("a", "b"), ("aa", "c")], "l", (4,)) == ["a     b", "aa    c"]
    assert tables.align([("aaaaaa", "b")], "l", (4,)) == ["aaaaaa  b"]


def test_wide_characters_take_two_cells_and_marks_none():
    assert tables.display_width("猫ab") == 4
    assert tables.display_width("e\u0301") == 1  # an accent that combines
    assert tables.display_width("，") == 2  # full width
    assert tables.align([("狗", "1"), ("cat", "2")], "lr") == ["狗   1", "cat  2"]
    assert tables.rule(["狗狗", "cat"]) == "----"


def test_a_table_without_rows_has_no_lines():
    assert tables.align([]) == []
