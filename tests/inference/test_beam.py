"""Beam search on a language model small enough to score every continuation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ten_words import CFG, EOS, IDS, IMAGE, MASK, PAD, STOP, WORDS, random_variables

from zv_jax.inference import trie
from zv_jax.inference.beam import beam_search
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.sample import generate
from zv_jax.models.ziya_visual import ZiyaVisual


@pytest.fixture(scope="module")
def variables():
    return random_variables()


@pytest.fixture(scope="module")
def every(variables):
    """(tokens, sum of log-probabilities) of all continuations of up to three tokens, per row."""
    words = [w for w in range(WORDS) if w != IMAGE]
    ends = [()] + [
        head for n in (1, 2) for head in itertools.product(words, repeat=n) if EOS not in head
    ]
    tails = [(*head, EOS) for head in ends]
    tails += [t for t in itertools.product(words, repeat=3) if EOS not in t]
    padded = np.array([list(t) + [PAD] * (3 - len(t)) for t in tails], np.int32)
    sizes = np.array([len(t) for t in tails])
    rows = []
    run = jax.jit(lambda ids, mask: ZiyaVisual(CFG).apply(variables, None, ids, mask))
    for ids, mask in zip(IDS, MASK, strict=True):
        whole = np.concatenate([np.repeat(ids[None], len(tails), 0), padded], 1)
        seen = np.concatenate(
            [np.repeat(mask[None], len(tails), 0), np.arange(3)[None] < sizes[:, None]], 1
        )
        logp = np.asarray(jax.nn.log_softmax(run(whole, seen)[:, 3:6]))
        each = np.take_along_axis(logp, padded[..., None], 2)[..., 0]
        rows.append((each * (np.arange(3)[None] < sizes[:, None])).sum(1))
    return padded, sizes, rows


def search(variables, beams, **options):
    found = beam_search(
        variables, Inputs(None, jnp.asarray(IDS), jnp.asarray(MASK)), cfg=CFG,
        max_new_tokens=3, num_beams=beams, stop=STOP, pad_id=PAD, **options,
    )  # fmt: skip
    return found.tokens[:, 0], found.scores[:, 0]


@pytest.mark.parametrize("penalty,least", [(0.0, 0), (1.0, 0), (-1.0, 2)])
def test_beams_without_number_find_the_best_continuation(variables, every, penalty, least):
    padded, sizes, rows = every
    tokens, scores = search(variables, 64, length_penalty=penalty, min_new_tokens=least)
    for got, value, sums in zip(tokens, scores, rows, strict=True):
        allowed = (sizes > least) | ~(padded == EOS).any(1)
        total = np.where(allowed, sums / sizes**penalty, -np.inf)
        assert value == pytest.approx(total.max(), abs=1e-4)
        assert got.tolist() == padded[total.argmax()].tolist()


def test_a_tree_of_answers_finds_the_most_probable_of_them(variables, every):
    padded, sizes, rows = every
    answers = [[3], [3, 4], [5, 6], [7], [8, 1], [4, 4]]
    tree = trie.build(answers, EOS)
    wide, scores = search(variables, len(answers), edges=tree.edges, length_penalty=0.0)
    index = {tuple(p[:n]): i for i, (p, n) in enumerate(zip(padded.tolist(), sizes, strict=True))}
    for got, value, sums in zip(wide.tolist(), scores, rows, strict=True):
        each = [sums[index[*answer, EOS]] for answer in answers]
        assert value == pytest.approx(max(each), abs=1e-4)
        assert [t for t in got if t not in (PAD, EOS)] == answers[int(np.argmax(each))]
    narrow, _ = search(variables, 1, edges=tree.edges)
    for got in narrow.tolist():
        assert [t for t in got if t not in (PAD, EOS)] in answers


@pytest.fixture(scope="module")
def prompts():
    """What `generate` and `beam_search` take of 24 rows, and what else, for six tokens."""
    ids = jnp.asarray(np.random.default_rng(0).integers(3, IMAGE, (24, 4)), jnp.int32)
    given = Inputs(None, ids, jnp.ones_like(ids, bool))
    return given, dict(cfg=CFG, max_new_tokens=6, stop=STOP, pad_id=PAD)


def test_a_score_is_that_of_the_tokens_that_are_returned(variables, prompts):
    """A few beams may miss the best continuation; what they return is scored as it stands."""
    given, common = prompts
    found = beam_search(variables, given, num_beams=3, length_penalty=0.0, **common)
    tokens, scores = found.tokens[:, 0], found.scores[:, 0]
    counted = np.cumsum(tokens == EOS, 1) - (tokens == EOS) == 0  # up to the end and with it
    whole = jnp.concatenate([given.input_ids, tokens], 1)
    logits = jax.jit(ZiyaVisual(CFG).apply)(variables, None, whole, jnp.ones_like(whole, bool))
    logp = np.take_along_axis(jax.nn.log_softmax(logits[:, 3:-1]), tokens[..., None], 2)[..., 0]
    np.testing.assert_allclose(scores, (logp * counted).sum(1), atol=1e-4)


def test_an_end_behind_the_beams_is_not_kept(variables, prompts):
    """One beam is greedy decoding: an end that is only second best ends nothing."""
    given, common = prompts
    greedy = generate(variables, given, jnp.zeros((24, 1), jnp.uint32), **common).tokens
    one = beam_search(variables, given, num_beams=1, length_penalty=0.0, **common).tokens
    np.testing.assert_array_equal(one, greedy)
    assert (greedy == EOS).any() and (greedy != EOS).any()
