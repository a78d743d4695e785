"""Decoding beside transformers' `generate`: Base and Chat, no, one and two images, left padding."""

import numpy as np
import pytest
from parity_models import IMAGE, QUERIES, blip2_config, instructblip_config
from test_conversion import batch, their_inputs

from zv_jax.inference.beam import beam_search
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.sample import generate

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

NEW, EOS, PAD = 12, 2, 0
CASES = {
    "greedy": {},
    "greedy, penalty": {"repetition_penalty": 1.5},
    "greedy, least length": {"min_new_tokens": 6},
    "beams": {"num_beams": 5},
    "beams, penalty, least length": {
        "num_beams": 3, "repetition_penalty": 1.18, "min_new_tokens": 4, "length_penalty": -1.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=["chat", "base"])
def both(request, convert):
    """Their model, our variables and configuration, the inputs of each; an end is likely."""
    chat = request.param == "chat"
    if chat:
        model = hf.InstructBlipForConditionalGeneration(instructblip_config())
    else:
        model = hf.Blip2ForConditionalGeneration(blip2_config())
    converted = convert(model)
    head = np.array(converted.params["llm"]["lm_head"]["kernel"])
    head[:, EOS] *= 3
    converted.params["llm"]["lm_head"]["kernel"] = head
    with torch.no_grad():
        model.language_model.lm_head.weight[EOS] *= 3
    given = batch(IMAGE, QUERIES, 96, 70, 28)
    text = (given["text"], given["seen"]) if chat else (None, None)
    ours = Inputs(given["images"], given["ids"], given["mask"], *text)
    variables, cfg = {"params": converted.params}, converted.config.model
    return model, their_inputs(given, chat), variables, cfg, ours


def theirs(model, given, n=1, repetition_penalty=None, **settings):
    """Ids int [B, n, NEW], and the scores of a search; the prompt is not penalised."""
    length = given["input_ids"].shape[1]
    processors = hf.LogitsProcessorList()
    if repetition_penalty is not None:
        penalty = hf.RepetitionPenaltyLogitsProcessor(repetition_penalty, length)
        processors.append(penalty)
    with torch.no_grad():
        found = model.generate(
            **given, **settings, do_sample=False, max_new_tokens=NEW, num_return_sequences=n,
            suppress_tokens=[IMAGE], pad_token_id=PAD, eos_token_id=EOS,
            logits_processor=processors, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    said = found.sequences[:, length:].numpy()
    said = np.pad(said, ((0, 0), (0, NEW - said.shape[1])))
    behind = np.cumsum(said == EOS, 1) - (said == EOS) > 0  # theirs may repeat the end
    return np.where(behind, PAD, said).reshape(-1, n, NEW), found.get("sequences_scores")


@pytest.mark.parametrize("case", CASES)
def test_the_same_tokens(both, case):
    model, their_given, variables, cfg, given = both
    settings = CASES[case]
    expected, scores = theirs(model, their_given, **settings)
    common = dict(cfg=cfg, max_new_tokens=NEW, stop=np.array([EOS]), pad_id=PAD) | settings
    if "num_beams" in settings:
        found = beam_search(variables, given, **common)
        np.testing.assert_allclose(found.scores[:, 0], scores, atol=1e-4)
    else:
        found = generate(variables, given, np.zeros((3, 1), np.uint32), **common)
    np.testing.assert_array_equal(found.tokens[:, 0], expected[:, 0])


def test_the_same_best_three(both):
    model, their_given, variables, cfg, given = both
    expected, scores = theirs(model, their_given, n=3, num_beams=5)
    found = beam_search(
        variables, given, cfg=cfg, max_new_tokens=NEW, num_beams=5, stop=np.array([EOS]), pad_id=PAD
    )
    np.testing.assert_array_equal(found.tokens[:, :3], expected)
    np.testing.assert_allclose(found.scores[:, :3].reshape(-1), scores, atol=1e-4)
