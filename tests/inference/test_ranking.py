"""Ranking given answers, and decoding that can say nothing else."""

import jax
import numpy as np
import pytest

from zv_jax.data.text.dialogue import mask_of, pad_right
from zv_jax.errors import ConfigError, DataError
from zv_jax.inference import prompts, ranking, trie
from zv_jax.models import vit
from zv_jax.models.ziya_visual import ZiyaVisual

ASK = ["What is in the picture?", "图里有什么？", "two"]
LONGEST = 32  # tokens of a candidate
CHOICES = [
    ["a red square", "a blue circle", "a", "two", "是"],
    ["一个红色的方块", "红", "blue"],
    ["a red", "a red square", "a red square and a blue circle", "left", "right", "above", "it"],
]


@pytest.fixture(params=["base", "chat"])
def talker(request, model):
    return model("stage2", request.param)


def brute_force(talker, shown):
    """Sums for every candidate of every question: the whole model anew, without a cache.

    One row for each pair, so that one program serves all of them.
    """
    tokens, pairs = (
        talker.tokenizer,
        [(q, c) for q, cs in zip(ASK, CHOICES, strict=True) for c in cs],
    )
    questions, shown = [q for q, _ in pairs], [shown[:1]] * len(pairs)
    given = talker.processor(questions, shown, max_new_tokens=LONGEST)
    answers = [[*tokens.encode(c), tokens.eos_id] for _, c in pairs]
    padded = pad_right(answers, tokens.pad_id, LONGEST)
    mask = mask_of(answers, LONGEST)
    ids = np.concatenate([given.input_ids, padded], 1)
    seen = np.concatenate([given.attention_mask, mask], 1)
    logits = jax.jit(ZiyaVisual(talker.config.model).apply)(
        talker.variables, *given._replace(input_ids=ids, attention_mask=seen)
    )
    logp = np.asarray(jax.nn.log_softmax(logits[:, -LONGEST - 1 : -1]))
    sums = (np.take_along_axis(logp, padded[..., None], 2)[..., 0] * mask).sum(1)
    return np.split(sums, np.cumsum([len(c) for c in CHOICES])[:-1])


def test_ranking_is_scoring_each_candidate_by_itself(talker, shown):
    images = [shown[:1]] * 3
    ranked = talker.rank(ASK, CHOICES, images)
    for got, expected in zip(ranked, brute_force(talker, shown), strict=True):
        np.testing.assert_allclose(got.scores, expected, atol=1e-4)
        assert got.best == expected.argmax()
        first, second = np.sort(expected)[::-1][:2]
        assert got.margin == pytest.approx(first - second, abs=2e-4)
        assert got.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_rows_candidates_and_chunks_do_not_touch_each_other(model, shown, monkeypatch):
    talker = model("stage2", "chat")
    images = [shown[:1]] * 3
    whole = talker.rank(ASK, CHOICES, images)
    turned = talker.rank(ASK[::-1], [c[::-1] for c in CHOICES[::-1]], images)[::-1]
    monkeypatch.setattr(ranking, "CHUNK", 1)
    chunked = talker.rank(ASK, CHOICES, images)
    exact = 2 * np.finfo(np.float32).eps  # of a float32 sum, whatever its size
    for a, b, c in zip(whole, turned, chunked, strict=True):
        np.testing.assert_allclose(b.scores[::-1], a.scores, rtol=exact, atol=1e-5)
        np.testing.assert_allclose(c.scores, a.scores, rtol=exact, atol=1e-5)


def test_norms(model, shown):
    talker = model("stage2", "chat")
    rank = lambda norm, shown=shown[:1]: talker.rank(ASK, CHOICES, [shown] * 3, norm=norm)[0]
    total = rank("sum").scores
    lengths = [len(talker.tokenizer.encode(c)) + 1 for c in CHOICES[0]]
    np.testing.assert_allclose(rank("token_mean").scores, total / lengths, rtol=1e-6)
    np.testing.assert_allclose(rank("char").scores, total / [len(c) for c in CHOICES[0]], rtol=1e-6)
    asked = talker.processor.question(ASK[0], shown[:1], max_new_tokens=9)
    grey = ranking.blinded([asked], 28)[0].images
    assert abs(vit.normalise(prompts.pixels([grey], 28)[0])).max() < 0.01
    without = rank("sum", list(grey)).scores
    np.testing.assert_allclose(rank("pmi").scores, total - without, atol=1e-4)
    with pytest.raises(ConfigError, match="did you mean 'token_mean'"):
        rank("token_means")
    with pytest.raises(ConfigError, match="pmi"):
        rank("pmi", [])


def test_equal_candidates_go_to_the_first_and_one_has_no_rival(model, shown):
    talker = model("stage2", "chat")
    twins = [["two"] * len(c) for c in CHOICES]
    for found in talker.rank(ASK, [*twins[:2], CHOICES[2]], [shown[:1]] * 3)[:2]:
        assert found.best == 0 and found.margin == pytest.approx(0, abs=1e-5)
    assert ranking.ranking(np.array([-1.0, -1.0 + 1e-6, -2.0])).best == 0
    assert ranking.ranking(np.array([-1.0, -0.9])).best == 1
    lonely = ranking.ranking(np.array([-3.0]))
    assert lonely.margin == float("inf") and lonely.probabilities.tolist() == [1.0]


def test_what_cannot_be_ranked_is_explained(model, shown):
    talker = model("stage2", "base")
    for choices, words in (([[]], "no list of candidates"), (["yes"], "choices is one str"),
                           ([["a", " "]], "not empty")):  # fmt: skip
        with pytest.raises(DataError, match=words):
            talker.rank(ASK[:1], choices, [shown[:1]])
    with pytest.raises(DataError, match="1 prompts and 2 lists"):
        talker.rank(ASK[:1], [["a"], ["b"]], [shown[:1]])
    with pytest.raises(ConfigError, match="stage0 gives no answers"):
        model("stage0", "base").rank(["two"], [["a"]], [shown[:1]])


def test_a_trie_holds_every_answer_once_and_beginnings_end_inside():
    tree = trie.build([[5, 6], [5], [5, 6, 7], [8], [5, 6]], eos_id=2)
    assert (tree.answers, tree.depth) == (4, 4)
    steps = zip(*(array.tolist() for array in tree.edges), strict=True)
    edges = {(parent, token): child for parent, token, child in steps}

    def accepts(ids):
        at = trie.ROOT
        for token in [*ids, 2]:
            at = edges.get((at, token))
            if at is None:
                return False
        return at == trie.LEAF

    for ids in ([5], [5, 6], [5, 6, 7], [8]):
        assert accepts(ids)
    for ids in ([], [6], [5, 7], [8, 8]):
        assert not accepts(ids)
    with pytest.raises(DataError, match="no answers"):
        trie.build([[5], []], eos_id=2)


def test_beams_as_wide_as_the_answers_find_what_ranking_finds(model, shown):
    talker, choices = model("stage2", "chat"), CHOICES[2]
    images = [shown[:1], shown[1:2], shown[2:3]]
    best = [choices[r.best] for r in talker.rank(ASK, [choices] * 3, images)]
    wide = dict(num_beams=len(choices), length_penalty=0.0)
    assert talker.answer(ASK, images, choices=choices, **wide) == best
    # Fewer beams may miss the best answer, and still say nothing else.
    many = [f"{a} {b}" for a in ("two", "left", "it", "above") for b in ("red", "blue", "circle")]
    assert set(talker.answer(ASK, images, choices=many)) <= set(many)
