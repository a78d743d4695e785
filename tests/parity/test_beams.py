"""Beam search beside that of transformers, on a tiny LLaMA with the same random weights."""

import jax.numpy as jnp
import numpy as np
import pytest
from test_transformers import IMAGE, LLM, llama_config, ours, t

from zv_jax.inference.beam import beam_search
from zv_jax.inference.inputs import Inputs

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

NEW, EOS, PAD = 9, 2, 0


@pytest.fixture(scope="module")
def both(convert):
    model = hf.LlamaForCausalLM(llama_config())
    params = convert(model).params
    # An end that is likely enough to come early in some beams and not in others.
    head = np.array(params["llm"]["lm_head"]["kernel"])
    with torch.no_grad():
        model.lm_head.weight[EOS] *= 3
    head[:, EOS] *= 3
    params["llm"]["lm_head"]["kernel"] = head
    return model, {"params": params}


@pytest.mark.parametrize("beams,penalty,least", [(3, 1.0, 0), (5, -1.0, 0), (4, 0.0, 4)])
def test_the_same_tokens_and_scores(both, beams, penalty, least):
    model, variables = both
    rng = np.random.default_rng(5)
    ids = rng.integers(3, IMAGE, (6, 12)).astype(np.int32)
    mask = np.ones(ids.shape, bool)
    mask[2, :5] = mask[4, :2] = False
    ids[~mask] = PAD
    with torch.no_grad():
        expected = model.generate(
            t(ids).long(), attention_mask=t(mask.astype(int)), num_beams=beams, do_sample=False,
            length_penalty=penalty, min_new_tokens=least or None, max_new_tokens=NEW,
            suppress_tokens=[IMAGE], pad_token_id=PAD, eos_token_id=EOS,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    cfg = ours().cfg
    assert cfg.llm == LLM
    found = beam_search(
        variables, Inputs(None, jnp.asarray(ids), jnp.asarray(mask)),
        cfg=cfg, max_new_tokens=NEW, min_new_tokens=least, num_beams=beams,
        length_penalty=penalty, stop=np.array([EOS]), pad_id=PAD,
    )  # fmt: skip
    got, scores = found.tokens[:, 0], found.scores[:, 0]
    said = expected.sequences[:, ids.shape[1] :].numpy()
    said = np.pad(said, ((0, 0), (0, NEW - said.shape[1])))
    ended = np.cumsum(said == EOS, 1)
    said[(ended > 1) | ((ended == 1) & (said != EOS))] = PAD  # theirs repeats the end
    lengths = {int((row != PAD).sum()) for row in said}
    assert len(lengths) > 1  # some ended early
    np.testing.assert_array_equal(got, said)
    np.testing.assert_allclose(scores, expected.sequences_scores, atol=1e-4)
