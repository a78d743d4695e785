"""Who influences whom in the Q-Former, asked of the gradients (paper Figure 2).

Sources are the rows of `query_tokens` and of the position table: row t of the table belongs to text
position t alone. Destinations are output positions, each read through a fixed random vector (a
plain sum of a normalised output would be constant).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax import trees
from zv_jax.models.qformer import bidirectional_mask, causal_mask, unimodal_mask

Q, T, PADS = 4, 5, 2
REAL = T - PADS
QUERY_TOKENS, POSITIONS = "params/qformer/query_tokens", "params/qformer/position/embedding"
IDS = jnp.array([[3, 14, 15, 92, 65]])
MASK = jnp.arange(T)[None] < REAL


@pytest.fixture(scope="module")
def features():
    return jnp.asarray(np.random.default_rng(3).standard_normal((1, 5, 32)), jnp.float32)


def influence(tiny, function) -> np.ndarray:
    """bool [destinations, Q + T]: whether source s has any gradient on destination d.

    `function(model)` returns a list of arrays [1, positions, width].
    """
    flat = trees.flatten(tiny.variables)

    def read(chosen):
        variables = trees.unflatten({**flat, **chosen})
        outputs = tiny.model.apply(variables, method=function)
        vectors = np.random.default_rng(9).standard_normal(256)
        return jnp.concatenate([out[0] @ vectors[: out.shape[-1]] for out in outputs])

    chosen = {name: flat[name] for name in (QUERY_TOKENS, POSITIONS)}
    jacobian = jax.jit(jax.jacrev(read))(chosen)
    queries, positions = jacobian[QUERY_TOKENS][:, 0], jacobian[POSITIONS]
    sizes = jnp.abs(jnp.concatenate([queries, positions], 1)).max(-1)
    assert np.isfinite(sizes).all()
    assert not np.asarray(sizes[:, Q + T :]).any()  # rows of the table that no token uses
    sizes = np.asarray(sizes[:, : Q + T])
    assert not ((sizes > 0) & (sizes < 1e-7)).any()  # influence is none or plain
    return sizes > 0


def blocks(seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """query <- query, query <- text, text <- query, text <- text; text rows that are real."""
    rows = slice(Q, Q + REAL)
    return seen[:Q, :Q], seen[:Q, Q:], seen[rows, :Q], seen[rows, Q:]


def both(mask_of, features):
    """One pass over queries and text with the mask `mask_of(Q, text_mask)`."""

    def run(model):
        return model.qformer(features, IDS, mask_of(Q, MASK))

    return run


def test_itg_text_never_reaches_queries_nor_earlier_text(tiny_base, features):
    """Through `caption`, whose queries serve ITC as well."""

    def run(model):
        queries, logits = model.caption(features, IDS, MASK)
        return [queries, logits]

    qq, qt, tq, tt = blocks(influence(tiny_base, run))
    assert qq.all() and tq.all()
    assert not qt.any()
    np.testing.assert_array_equal(tt, np.tril(np.ones((T, T), bool))[:REAL])


def test_itc_halves_do_not_meet(tiny_base, features):
    qq, qt, tq, tt = blocks(influence(tiny_base, both(unimodal_mask, features)))
    assert qq.all() and not qt.any() and not tq.any()
    assert tt[:, :REAL].all() and not tt[:, REAL:].any()


def test_itc_image_and_text_embeddings_come_from_their_own_side(tiny_base, features):
    def run(model):
        image = model.project_queries(model.query(features))
        return [image, model.text_embed(IDS, MASK)[:, None]]

    seen = influence(tiny_base, run)
    assert seen[:Q, :Q].all() and not seen[:Q, Q:].any()
    text = seen[Q]
    assert not text[:Q].any() and text[Q : Q + REAL].all() and not text[Q + REAL :].any()


def test_itm_everything_meets_except_padding(tiny_base, features):
    def run(model):
        queries, text = both(bidirectional_mask, features)(model)
        return [queries, text, model.match(features, IDS, MASK)[:, None]]

    seen = influence(tiny_base, run)
    qq, qt, tq, tt = blocks(seen[: Q + T])
    assert qq.all() and qt[:, :REAL].all() and tq.all() and tt[:, :REAL].all()
    assert not qt[:, REAL:].any() and not tt[:, REAL:].any()
    logit = seen[-1]
    assert logit[: Q + REAL].all() and not logit[Q + REAL :].any()


def test_mask_tables():
    """Figure 2 written out: two queries, a text of two tokens and one pad."""
    text = jnp.array([[True, True, False]])
    rows = {
        bidirectional_mask: ["11110"] * 5,
        unimodal_mask: ["11000", "11000", "00110", "00110", "00110"],
        causal_mask: ["11000", "11000", "11100", "11110", "11110"],
    }
    for function, expected in rows.items():
        table = np.array([[c == "1" for c in row] for row in expected])
        np.testing.assert_array_equal(function(2, text)[0], table, err_msg=function.__name__)


def test_one_causal_pass_gives_the_queries_of_the_query_only_pass(tiny_base, features):
    alone = tiny_base("query", features)
    queries, _ = tiny_base("caption", features, IDS, MASK)
    np.testing.assert_allclose(queries, alone, atol=2e-5)


def test_one_unimodal_pass_gives_both_single_passes(tiny_base, features):
    def run(model):
        together = both(unimodal_mask, features)(model)
        text = model.qformer(None, IDS, bidirectional_mask(0, MASK))[1]
        return together, (model.query(features), text)

    together, apart = jax.jit(lambda v: tiny_base.model.apply(v, method=run))(tiny_base.variables)
    for one, two in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)


def test_what_padding_holds_changes_nothing(tiny_base, features):
    other = IDS.at[:, REAL:].set(77)
    match, embedded = (
        [tiny_base(method, *arguments, ids, MASK) for ids in (IDS, other)]
        for method, arguments in (("match", (features,)), ("text_embed", ()))
    )
    np.testing.assert_array_equal(*match)
    np.testing.assert_array_equal(*embedded)
    logits, changed = (tiny_base("caption", features, ids, MASK)[1] for ids in (IDS, other))
    np.testing.assert_array_equal(logits[:, :REAL], changed[:, :REAL])
    shorter = tiny_base("match", features, IDS[:, :REAL], MASK[:, :REAL])
    np.testing.assert_allclose(shorter, match[0], atol=2e-5)


def test_image_reaches_every_query(tiny_base, features):
    def loss(image):
        queries = tiny_base.model.apply(tiny_base.variables, image, method="query")
        return queries[0] @ np.random.default_rng(9).standard_normal(queries.shape[-1])

    jacobian = jax.jit(jax.jacrev(loss))(features)[:, 0]
    assert (np.abs(np.asarray(jacobian)).max(-1) > 1e-7).all()  # [queries, image tokens]
