"""Errors: names that nobody knows, and texts that quote any file."""

import pickle

from zv_jax.errors import ConfigError, DataError, hub_fix, unknown_name


def test_an_unknown_name_is_shown_with_the_nearest_and_all_valid_ones():
    error = unknown_name("stage", "stgae1", ("stage0", "stage1"), "--config.stage.name")
    assert isinstance(error, ConfigError)
    assert error.what == "unknown stage 'stgae1'; did you mean 'stage1'?"
    assert (error.where, error.expected, error.fix) == (
        "--config.stage.name",
        "one of stage0, stage1",
        None,
    )


def test_the_class_is_free_and_a_long_value_is_cut():
    error = unknown_name("source", "x" * 10_000, iter(["jsonl"]), fix="name it", error=DataError)
    assert isinstance(error, DataError) and error.fix == "name it"
    assert len(str(error)) < 300 and "did you mean" not in error.what
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_every_field_can_be_written_whatever_file_it_quotes():
    error = DataError(*(f"{name} \ud800 {name}" for name in ("what", "where", "expected", "fix")))
    for text in (error.what, error.where, error.expected, error.fix, str(error)):
        assert "\\ud800" in text and text.encode()


def test_the_name_of_a_model_on_a_hub_is_answered_with_how_to_get_it():
    fix = hub_fix("Salesforce/instructblip-vicuna-7b", "copy it.")
    assert "hf download Salesforce/instructblip-vicuna-7b --local-dir instructblip-vicuna-7b" in fix
    for path in ("runs", "/data/model", "runs/a/b", "../model", "gs://b/x"):
        assert hub_fix(path, "copy it.") == "copy it."
