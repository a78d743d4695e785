"""What follows a prompt: each step is what the complete row gives, whoever the neighbours are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ten_words import CFG, EOS, IMAGE, NEVER, PAD, STOP, random_variables

from zv_jax import trees
from zv_jax.inference import program
from zv_jax.inference.beam import DEAD, beam_search
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.logits import Drawing
from zv_jax.inference.sample import generate, stream
from zv_jax.models import layout
from zv_jax.models.ziya_visual import ZiyaVisual

NEW = 7


@pytest.fixture(scope="module")
def stacked():
    """Leaves of a usual size: with larger ones a sum in another order moves more than 1e-5."""
    leaves = trees.flatten(random_variables())
    return {path: jnp.asarray(0.4 * leaf) for path, leaf in leaves.items()}


@pytest.fixture(scope="module")
def variables(stacked):
    """Laid out as CPUs read them."""
    return trees.unflatten(layout.for_inference(dict(stacked)))


@pytest.fixture(autouse=True)
def _small_caches(monkeypatch):
    """The cache grows within a few tokens."""
    monkeypatch.setattr(program, "SHORTEST", 3)


@pytest.fixture(scope="module")
def prompts():
    """16 rows, padded on the left by up to three places."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, IMAGE, (16, 6)).astype(np.int32)
    mask = np.arange(6) >= (np.arange(16) % 4)[:, None]
    return Inputs(None, np.where(mask, ids, PAD).astype(np.int32), mask)


def settings(**more):
    return dict(cfg=CFG, max_new_tokens=NEW, stop=NEVER, pad_id=PAD, logprobs=True) | more


def of_the_complete_row(variables, prompts, tokens):
    """float32 [B, C, NEW]: log-probabilities by one pass over prompt and answer."""
    each = tokens.shape[1]
    ids, mask = (np.repeat(x, each, 0) for x in (prompts.input_ids, prompts.attention_mask))
    said = np.asarray(tokens).reshape(-1, NEW)
    whole = np.concatenate([ids, said], 1)
    seen = np.concatenate([mask, np.ones_like(said, bool)], 1)
    logits = jax.jit(ZiyaVisual(CFG).apply)(variables, None, whole, seen)
    logp = np.asarray(jax.nn.log_softmax(logits[:, ids.shape[1] - 1 : -1]))
    return np.take_along_axis(logp, said[..., None], 2)[..., 0].reshape(tokens.shape)


def test_a_cache_grows_to_what_is_needed():
    assert program.capacities(0) == ()
    assert program.capacities(1) == (1,)
    assert program.capacities(20) == (3, 6, 12, 20)


@pytest.mark.parametrize("drawing", [None, Drawing(1.5, 0.9)])
def test_each_step_is_that_of_the_complete_row(variables, prompts, drawing):
    seeds = np.arange(32, dtype=np.uint32).reshape(16, 2)
    found = generate(variables, prompts, seeds, drawing=drawing, **settings())
    assert found.tokens.shape == found.logprobs.shape == (16, 2, NEW)
    expected = of_the_complete_row(variables, prompts, found.tokens)
    np.testing.assert_allclose(found.logprobs, expected, atol=1e-5)
    if drawing is not None:
        assert (found.tokens[:, 0] != found.tokens[:, 1]).any()


@pytest.mark.parametrize("laid_out", [True, False], ids=["one by one", "stacked"])
def test_each_beam_reads_on_in_its_own_past(variables, stacked, prompts, laid_out):
    variables = variables if laid_out else trees.unflatten(stacked)
    found = beam_search(variables, prompts, num_beams=4, length_penalty=0.0, **settings())
    expected = of_the_complete_row(variables, prompts, found.tokens)
    np.testing.assert_allclose(found.logprobs, expected, atol=1e-5)
    np.testing.assert_allclose(found.scores, expected.sum(-1), atol=1e-4)
    assert (np.diff(found.scores) <= 0).all()
    for row in np.asarray(found.tokens):
        assert len({tuple(beam) for beam in row.tolist()}) == 4


def test_a_row_is_the_same_alone_and_among_others(variables, prompts):
    """Bit by bit in float32, where the batch has one size: whatever the other rows are."""
    seeds = np.arange(16, dtype=np.uint32)[:, None]
    more = settings(drawing=Drawing(1.5, 0.9), repetition_penalty=1.3)
    for run in (
        lambda rows, own: generate(variables, rows, own, **more),
        lambda rows, own: beam_search(variables, rows, num_beams=3, **settings(stop=STOP)),
    ):
        together = run(prompts, seeds)
        filled = jax.tree.map(lambda x: np.repeat(x[7:8], 16, 0), (prompts, seeds))
        alone = run(*filled)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[7]), alone, together)
    one = generate(variables, *jax.tree.map(lambda x: x[:1], filled), **more)
    drawn = generate(variables, prompts, seeds, **more)
    np.testing.assert_array_equal(one.tokens[0], drawn.tokens[7])
    np.testing.assert_allclose(one.logprobs[0], drawn.logprobs[7], atol=1e-5)


def test_a_stream_gives_the_columns_while_the_cache_grows(variables, prompts):
    given = settings()
    del given["logprobs"]
    seeds = np.arange(16, dtype=np.uint32)[:, None]
    columns = [np.array(ids) for ids in stream(variables, prompts, seeds, **given)]
    expected = generate(variables, prompts, seeds, **given).tokens[:, 0]
    np.testing.assert_array_equal(np.stack(columns, 1), expected)


def test_a_penalty_keeps_words_from_coming_back(variables, prompts):
    seeds = np.zeros((16, 1), np.uint32)
    free, held = (
        np.asarray(generate(variables, prompts, seeds, repetition_penalty=p, **settings()).tokens)
        for p in (None, 50.0)
    )
    different = lambda rows: np.mean([len(set(row)) for row in rows[:, 0].tolist()])
    assert different(held) > different(free)


def test_min_new_tokens_are_a_least_length(variables, prompts):
    seeds = np.zeros((16, 1), np.uint32)
    more = settings(stop=STOP)
    free, late = (
        np.asarray(generate(variables, prompts, seeds, min_new_tokens=m, **more).tokens)[:, 0]
        for m in (0, 3)
    )
    assert (free[:, :3] == EOS).any() and not (late[:, :3] == EOS).any()
    search = beam_search(variables, prompts, num_beams=2, min_new_tokens=3, **more)
    assert not (np.asarray(search.tokens)[search.scores > DEAD / 2][:, :3] == EOS).any()
