"""A toy data set of one-colour images, and a model that sees only colours."""

import types

import numpy as np
import pytest
from PIL import Image

from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Object, Record, Turn
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import run as run_lib

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
ZH = {"red": "红色", "green": "绿色", "blue": "蓝色", "white": "白色"}
BOX = (0.1, 0.2, 0.5, 0.6)
ASK = {
    "caption": ("caption?", "描述？"),
    "colour": ("colour?", "颜色？"),
    "red": ("red?", "是红色吗？"),
    "where": ("where?", "在哪里？"),
    "which": ("which?", "哪个？"),
    "then": ("and this one?", "这张呢？"),
}


def _records(split, number, colour, lang):
    """All records of one image in one language."""
    at = 0 if lang == "en" else 1
    names = dict(zip(COLOURS, COLOURS, strict=True)) if lang == "en" else ZH
    name = names[colour]
    other = "red" if colour != "red" else "blue"

    def ref(which):
        return ImageRef(path=f"{split}/{which}.png")

    def make(task, kind, turns, answers, images=(colour,), **fields):
        turns = [
            Turn(role, text) for q, a in turns for role, text in (("user", q), ("assistant", a))
        ]
        return Record(
            id=f"toy/{split}/{number}#{lang}-{task}-{kind}",
            source="toy",
            split=split,
            task=task,
            lang=lang,
            images=tuple(ref(i) for i in images),
            turns=tuple(turns),
            answers=tuple(answers),
            meta={"question_type": kind},
            **fields,
        )

    sentence = f"a {name} picture" if lang == "en" else f"一张{name}的图"
    yield make("caption", "caption", [(ASK["caption"][at], sentence)], [sentence, name])
    yield make("vqa", "colour", [(ASK["colour"][at], name)], [name])
    verdict = (("yes", "是"), ("no", "不是"))[colour != "red"][at]
    yield make("vqa", "yes_no", [(ASK["red"][at], verdict)], [verdict])
    thing = (Object(BOX, name),)
    yield make("ref_ground", "ground", [(ASK["where"][at], "<obj_0>")], ["<obj_0>"], objects=thing)
    yield make(
        "ref_caption", "region", [(f"{ASK['colour'][at]} <obj_0>", name)], [name], objects=thing
    )
    options = tuple(names.values())
    lettered = " ".join(f"({x}) {o}" for x, o in zip("abcd", options, strict=True))
    yield make(
        "mc_vqa",
        "mc_colour",
        [(f"{ASK['which'][at]} {lettered}", name)],
        [name],
        choices=options,
        answer_index=list(COLOURS).index(colour),
    )
    dialogue = [
        ("<image>" + ASK["colour"][at], name),
        ("<image>" + ASK["then"][at], names[other]),
    ]
    yield make("conversation", "in_turn", dialogue, [names[other]], images=(colour, other))


class Colours:
    """Names the colour of the last image; a `blind` one takes every image for red."""

    has_heads = True

    def __init__(self, blind=False, stage="stage2"):
        self.blind, self.shapes, self.dialogues = blind, set(), []
        self.config = types.SimpleNamespace(
            stage=types.SimpleNamespace(name=stage, variant="chat"),
            model=types.SimpleNamespace(preset="toy"),
            data=types.SimpleNamespace(box_decimals=2),
        )

    def sees(self, image):
        pixel = image.getpixel((0, 0))
        return "red" if self.blind else next(c for c, rgb in COLOURS.items() if rgb == pixel)

    def answer(self, prompts, images, max_new_tokens, instructions=None):
        self.shapes.add((len(prompts), len(images[0]), max_new_tokens))
        return [self._one(*row) for row in zip(prompts, images, instructions, strict=True)]

    def _one(self, prompt, images, instruction):
        if not isinstance(prompt, str):
            self.dialogues.append(prompt)
            assert prompt[-1].answer is None
            prompt = prompt[-1].question
        assert prompt == instruction
        colour = self.sees(images[-1])
        kind, lang = next(
            (k, lang)
            for k, asked in ASK.items()
            for lang in (0, 1)
            if prompt.startswith(asked[lang])
        )
        word = (colour, ZH[colour])[lang]
        if kind == "caption":
            return (f"a {word} picture", f"一张{word}的图")[lang]
        if kind == "red":
            return (("Yes.", "是。"), ("No.", "不是。"))[colour != "red"][lang]
        if kind == "where":
            return "somewhere" if colour == "white" else "[0.10, 0.20, 0.50, 0.60]"
        return (word.upper(), word + "。")[lang]

    def embed_images(self, images):
        eye = np.eye(4, dtype=np.float32)
        rows = [eye[list(COLOURS).index(self.sees(image))] for image in images]
        return np.stack([np.stack([row * 0.5, row]) for row in rows])

    def embed_texts(self, texts):
        found = [next(i for i, c in enumerate(COLOURS) if c in t or ZH[c] in t) for t in texts]
        return np.eye(4, dtype=np.float32)[found]

    def match(self, images, texts):
        return np.array(
            [
                2.0 * any(w in t for w in (self.sees(i), ZH[self.sees(i)]))
                for i, t in zip(images, texts, strict=True)
            ]
        )


@pytest.fixture(scope="session")
def colours():
    """The class of the toy model."""
    return Colours


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Folder with test images of four colours; training is green, green, blue."""
    folder = tmp_path_factory.mktemp("toy")
    for split, colours in (("test", list(COLOURS)), ("train", ["green", "green", "blue"])):
        (folder / split).mkdir()
        for colour, rgb in COLOURS.items():
            Image.new("RGB", (8, 8), rgb).save(folder / split / f"{colour}.png")
        lines = [
            records_lib.dumps(record)
            for number, colour in enumerate(colours)
            for lang in ("en", "zh")
            for record in _records(split, number, colour, lang)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture
def evaluate(toy, tmp_path):
    """Runs a suite on a toy model; returns results.json's contents and the folder."""

    def go(model=None, **fields):
        model = model or Colours()
        config = config_lib.suite(**{"source": {"name": "jsonl", "path": str(toy)}} | fields)

        def load(path, untrained=False):
            return Colours(blind=True) if untrained else model

        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        return run_lib.run("some/checkpoint", config, out, progress=False, load=load), out

    return go
