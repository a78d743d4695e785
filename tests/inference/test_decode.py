import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ten_words import CFG, IDS, IMAGE, MASK, NEVER, PAD, STOP, random_variables

from zv_jax.inference.inputs import Inputs
from zv_jax.inference.logits import Drawing, nucleus
from zv_jax.inference.sample import generate
from zv_jax.models.ziya_visual import ZiyaVisual

NEW = 5


@pytest.fixture(params=["base", "chat"])
def talker(request, model):
    return model("stage2", request.param)


def arrays(talker, shown, *questions, images=1):
    shown = [shown[:images]] * len(questions)
    return talker.processor(questions, shown, max_new_tokens=NEW)


def rerun(talker, given, new):
    """Greedy decoding without a cache: the whole row again for every token."""
    forward = ZiyaVisual(talker.config.model)
    ids, mask = given.input_ids, given.attention_mask
    space = np.full((len(ids), new), 0, np.int32)
    ids = np.concatenate([ids, space], 1)
    mask = np.concatenate([mask, space.astype(bool)], 1)
    run = jax.jit(
        lambda i, m: forward.apply(
            talker.variables,
            *given._replace(input_ids=i, attention_mask=m),
        )
    )
    start, ended = ids.shape[1] - new, np.zeros(len(ids), bool)
    for place in range(start, ids.shape[1]):
        logits = np.array(run(ids, mask)[:, place - 1])
        logits[:, talker.config.model.image_token_id] = -np.inf
        ids[:, place] = np.where(ended, talker.tokenizer.pad_id, logits.argmax(-1))
        ended |= ids[:, place] == talker.tokenizer.eos_id
        mask[:, place] = True
    return ids[:, start:]


def test_the_cache_changes_nothing(talker, shown):
    llm = talker.config.model.llm
    assert llm.kv_heads < llm.heads  # grouped heads are decoded too
    given = arrays(talker, shown, "What is in the picture?", "图里有什么？")
    np.testing.assert_array_equal(
        talker.generate(given, max_new_tokens=NEW), rerun(talker, given, NEW)
    )


def test_left_padding_changes_nothing(talker, shown):
    given = arrays(talker, shown, "What is in the picture?")
    pad = ((0, 0), (9, 0))
    wider = given._replace(
        input_ids=np.pad(given.input_ids, pad, constant_values=7),
        attention_mask=np.pad(given.attention_mask, pad),
    )
    np.testing.assert_array_equal(
        talker.generate(wider, max_new_tokens=NEW), talker.generate(given, max_new_tokens=NEW)
    )


def test_what_follows_the_end_is_padding(model, shown, monkeypatch):
    talker = model("stage2", "base")
    given = arrays(talker, shown, "two", "Where is it?")
    free = talker.generate(given, max_new_tokens=NEW)
    end = int(free[0, 2])
    monkeypatch.setitem(talker.tokenizer._model.special, "eos", end)
    out = talker.generate(given, max_new_tokens=NEW)
    for row, before in zip(out, free, strict=True):
        ends = np.flatnonzero(before == end)
        stop = ends[0] + 1 if len(ends) else NEW
        np.testing.assert_array_equal(row[:stop], before[:stop])
        assert (row[stop:] == talker.tokenizer.pad_id).all()
    assert (out[0] == talker.tokenizer.pad_id).any()


def test_the_nucleus_is_the_smallest_set_with_that_share():
    p = jnp.log(jnp.array([[0.1, 0.5, 0.3, 0.06, 0.04], [0.9, 0.025, 0.025, 0.025, 0.025]]))
    kept = lambda top_p: np.isfinite(np.asarray(nucleus(p, top_p))).tolist()
    assert kept(0.7) == [[False, True, True, False, False], [True, False, False, False, False]]
    assert kept(1e-6)[0] == [False, True, False, False, False]
    assert np.isfinite(nucleus(p, 1.0)).all()


def test_sampling_is_repeatable_and_a_tiny_nucleus_is_greedy(model, shown):
    talker = model("stage2", "base")
    given = arrays(talker, shown, "What is in the picture?")
    draw = lambda **kw: talker.generate(given, max_new_tokens=NEW, temperature=1.5, **kw)
    np.testing.assert_array_equal(draw(seed=1), draw(seed=1))
    assert len({draw(seed=s).tobytes() for s in range(4)}) > 1
    twice = jax.tree.map(lambda array: np.repeat(array, 2, 0), given)
    rows = talker.generate(twice, max_new_tokens=NEW, temperature=1.5, seed=1)
    np.testing.assert_array_equal(rows, np.concatenate([draw(seed=1), draw(seed=2)]))
    np.testing.assert_array_equal(draw(top_p=1e-6), talker.generate(given, max_new_tokens=NEW))


def with_output(kernel):
    """The arguments of `generate` for a model of ten words with this output layer [D, words]."""
    params = random_variables()["params"]
    params = {**params, "llm": {**params["llm"], "lm_head": {"kernel": jnp.asarray(kernel)}}}
    return {"params": params}, Inputs(None, jnp.asarray(IDS), jnp.asarray(MASK))


def test_each_step_draws_anew_from_the_seed_of_its_row():
    """All words are equally likely, so that a draw depends on nothing but seed and step."""
    flat = with_output(np.zeros((CFG.llm.width, CFG.llm.vocab_size), "f4"))
    draw = lambda *seeds: np.asarray(
        generate(
            *flat, jnp.array(seeds, jnp.uint32)[:, None], cfg=CFG, max_new_tokens=16,
            drawing=Drawing(), stop=NEVER, pad_id=PAD,
        ).tokens[:, 0]
    )  # fmt: skip
    first, second = draw(5, 6)
    assert len(set(first.tolist())) > 4 and len(set(second.tolist())) > 4
    assert (first != second).any()
    np.testing.assert_array_equal(draw(6, 5), [second, first])


@pytest.mark.parametrize("drawing", [None, Drawing()])
@pytest.mark.parametrize("towards", [1.0, -1.0])
def test_the_placeholder_is_never_said(drawing, towards):
    """Though the output layer wants nothing else, in one direction or the other."""
    kernel = np.zeros((CFG.llm.width, CFG.llm.vocab_size), "f4")
    kernel[0, IMAGE] = 1000 * towards
    given = with_output(kernel)
    wanted = [
        np.asarray(ZiyaVisual(CFG).apply(with_output(sign * kernel)[0], None, IDS, MASK))[:, -1]
        for sign in (1, -1)
    ]
    assert (np.argmax(wanted, -1) == IMAGE).any()
    out = generate(
        *given, jnp.zeros((2, 1), jnp.uint32), cfg=CFG, max_new_tokens=4, drawing=drawing,
        stop=STOP, pad_id=PAD,
    )  # fmt: skip
    assert not (np.asarray(out.tokens) == IMAGE).any()
