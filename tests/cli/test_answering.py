"""Flags of `zv generate` and `zv chat` become ways to decode."""

import pytest
from absl import flags

from zv_jax import Beam, Greedy, Sample
from zv_jax.cli import answering, generate
from zv_jax.errors import ConfigError


def given(*words, command=answering):
    values = flags.FlagValues()
    command.define(values)
    values(["zv", *words])
    return values


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ([], Greedy()),
        (["--min_new_tokens=3", "--repetition_penalty=1.2"], Greedy(3, 1.2)),
        (
            ["--temperature=0.7", "--top_p=0.9", "--top_k=5", "--min_p=0.1", "--seed=4"],
            Sample(0.7, 0.9, 5, 4, 0.1),
        ),
        (["--num_beams=4", "--length_penalty=-1"], Beam(4, -1.0)),
        (["--preset=instructblip"], Beam(5, min_new_tokens=1, repetition_penalty=1.5)),
        (["--preset=ziya", "--seed=2"], Sample(0.7, 0.1, seed=2, repetition_penalty=1.18)),
    ],
)
def test_flags_name_a_method(words, method):
    assert answering.decoding_of(given(*words)) == method


def test_a_number_of_answers_takes_a_search_or_draws():
    flags_ = given("--num_beams=4", "--n=3", command=generate)
    assert answering.decoding_of(flags_) == Beam(4, n=3)
    assert answering.decoding_of(given("--n=2", "--temperature=1", command=generate)).n == 2
    with pytest.raises(ConfigError, match="only one is the most probable"):
        answering.decoding_of(given("--n=2", command=generate))
    with pytest.raises(ConfigError, match="3 answers for each row by 2 beams"):
        answering.decoding_of(given("--n=3", "--num_beams=2", command=generate))


def test_what_does_not_go_together_is_refused():
    for words in (["--num_beams=3", "--temperature=1"], ["--preset=ziya", "--num_beams=3"]):
        with pytest.raises(ConfigError, match="3 beams with temperature"):
            answering.decoding_of(given(*words))
    for word in ("--min_p=2", "--repetition_penalty=0"):
        with pytest.raises(ConfigError, match=word[2:].partition("=")[0]):
            answering.decoding_of(given(word))
