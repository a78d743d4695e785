"""YAML of strangers: plain values, or one ValueError, in time that its length bounds."""

import pytest

from zv_jax import yaml_input

SOUND = {
    "": None,
    "a: 1\nb: [图, 0x1F, 1.5e+3, 1:30:00]": {"a": 1, "b": ["图", 31, 1500.0, 5400]},
    "text: |\n  two\n  lines": {"text": "two\nlines"},
    "[" * 100 + "]" * 100: None,
    "a: '" + "9" * 5000 + "'": {"a": "9" * 5000},  # a text, as its quotes say
    "a: " + "word " * 1000 + "end": {"a": "word " * 1000 + "end"},
    "- " + "{a: 1}\n- " * 5000 + "b": [{"a": 1}] * 5000 + ["b"],  # many, and none in another
}
HOSTILE = {
    "an alias": ("a: &x [1]\nb: *x", "line 2: an alias"),
    "aliases of aliases": ("a: &a [x]\n" + "b: &b [*a, *a]\nc: [*b, *b]", "alias"),
    "nested lists": ("[" * 10_000, "nested deeper than 100"),
    "nested mappings": ("{a: " * 10_000, "nested deeper than 100"),
    "nested blocks": ("- " * 10_000 + "x", "nested deeper than 100"),
    "nested keys": ("? " * 10_000 + "x", "nested deeper than 100"),
    "one level too many": ("[" * 101 + "]" * 101, "line 1: nested deeper than 100"),
    "a number to the base of 60": ("a: " + ":".join(["1"] * 450_000), "more than 4,300"),
    "a fraction to the base of 60": (":".join(["1"] * 450_000) + ".5", "more than 4,300"),
    "a number in quotes with its type": ('!!int "' + "1:" * 50_000 + '1"', "more than 4,300"),
    "a number of many digits": ("9" * 5000, "more than 4,300"),
    "a number of many hexadecimal digits": ("0x" + "F" * 5000, "more than 4,300"),
    "two documents": ("--- 1\n--- 2", "single document"),
    "a tag of Python": ("!!python/object/apply:os.system [ls]", "constructor"),
    "no number": ("!!int ''", "IndexError"),
    "a lone quote": ("'", "end of stream"),
    "bytes of no text": (b"\xff\xfe\xff", "Error"),
    "a zero byte": ("a\0b", "ReaderError"),
    "too long": ("#" * (yaml_input.LARGEST + 1), "1,048,576 bytes"),
}


@pytest.mark.parametrize("text", SOUND, ids=range(len(SOUND)))
def test_plain_values_are_read(text):
    found = yaml_input.loads(text.encode())
    assert found == SOUND[text] or text.startswith("[[")


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_is_wrong_is_one_error(kind):
    text, said = HOSTILE[kind]
    with pytest.raises(ValueError, match=said):
        yaml_input.loads(text if isinstance(text, bytes) else text.encode())
