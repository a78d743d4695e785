"""A small bilingual record file with images, and configurations that read it."""

import json

import numpy as np
import pytest
from PIL import Image

from zv_jax.config import recipe, validate
from zv_jax.data.text import tokenizers

COLOURS = ["red", "blue", "green", "black", "white", "grey", "pink", "brown"]
COLOURS_ZH = ["红色", "蓝色", "绿色", "黑色", "白色", "灰色", "粉色", "棕色"]


def make_records() -> list[dict]:
    records = []
    for i, (en, zh) in enumerate(zip(COLOURS, COLOURS_ZH, strict=True)):
        for lang, word in (("en", en), ("zh", zh)):

            def record(task, turns, lang=lang, i=i, **more):
                return {
                    "id": f"toy/train/{i}#{task}-{lang}",
                    "source": "toy",
                    "split": "train",
                    "task": task,
                    "lang": lang,
                    "images": [{"path": f"images/{i}.png"}],
                    "turns": [{"role": r, "text": t} for r, t in turns],
                    **more,
                }

            says = [f"a {word} square", f"the picture is {word}"]
            says = [f"一个{word}的方块", f"图片是{word}的"] if lang == "zh" else says
            asks = "这是什么颜色？" if lang == "zh" else "What colour is this?"
            records += [
                record("caption", [], answers=says),
                record("vqa", [("user", "<image>" + asks), ("assistant", word)]),
                record(
                    "ref_ground",
                    [("assistant", "<obj_0>")],
                    objects=[{"box": [0.125, 0.25, 0.5, 1], "label": word}],
                ),
                record(
                    "conversation",
                    [
                        ("user", asks),
                        ("assistant", word),
                        ("user", asks),
                        ("assistant", word + word),
                    ],
                ),
            ]
    return records


@pytest.fixture
def toy(tmp_path):
    """The path of the record file; images lie beside it."""
    (tmp_path / "images").mkdir()
    for i in range(len(COLOURS)):
        pixels = np.full((20, 30, 3), 30 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    path = tmp_path / "train.jsonl"
    lines = [json.dumps(r, ensure_ascii=False) for r in make_records()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def make_config(toy):
    """`make_config("stage1", batch=4, ...)`: a tiny model and this data."""

    def make(stage, variant="chat", batch=4, seed=0, sources=None, **data):
        given = {
            "sources": sources or ({"path": str(toy)},),
            "max_length": 64,
            "max_text": 16,
            "max_qformer_text": 16,
            "box_decimals": 2,
            **data,
        }
        given["sources"] = tuple({"name": "jsonl", "path": str(toy), **s} for s in given["sources"])
        model = {
            "llm": {"vocab_size": 1024},
            "qformer": {"vocab_size": 1024},
            "image_token_id": 1023,
        }
        return validate(
            recipe(
                f"tiny_{variant}",
                stage={"name": stage, "variant": variant},
                data=given,
                model=model,
                train={"batch_size": batch},
                seed=seed,
            )
        )

    return make


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """Trained on the toy records; serves both towers."""
    texts = [t["text"] for r in make_records() for t in r["turns"]]
    texts += [a for r in make_records() for a in r.get("answers", [])]
    texts.append("<human>:\n<bot>: Where is it? Describe the image. 请描述这张图片。[0.12,0.25]")
    return tokenizers.train_sentencepiece(texts, 600, tmp_path_factory.mktemp("tokenizer"))
