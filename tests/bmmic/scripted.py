"""A small world for whole runs: scenes of the labelled set as annotated images, their labelled
pairs as what the model says, and faults planted in it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from zv_jax.data.records import record as R

LABELLED = Path(__file__).parent / "labelled"
SCENES = ("kitchen", "street", "park", "beach", "lunch", "zoo", "office", "noodles", "living")
KINDS = ("conversation", "detail", "reason")
# (scene, kind, language) -> the filter that a planted pair of the labelled set belongs to.
PLANTED = {
    ("kitchen", "conversation", "en"): "schema",
    ("park", "conversation", "zh"): "length",
    ("zoo", "detail", "zh"): "meta_talk",
    ("kitchen", "conversation", "zh"): "language",
    ("lunch", "conversation", "zh"): "boxes",
    ("noodles", "detail", "en"): "objects",
    ("park", "detail", "zh"): "counts",
    ("living", "detail", "en"): "spatial",
    ("park", "conversation", "en"): "safety",
}
# (scene, kind, language) -> what comes instead of JSON, and how the row is dropped.
BROKEN = {
    ("street", "reason", "en"): ("I would rather talk about cats.", "schema"),
    ("office", "reason", "zh"): (('{"turns": [{"question": "这张', "length"), "schema"),
    ("zoo", "reason", "zh"): (
        ('{"turns": [{"question": "为什么？", "answer": "因为它们"}]}', "length"),
        "length",
    ),
}
QUESTIONS = [
    # question, its ten answers, translated question, {answer: translated}
    ("What color is the bus?", ["red"] * 9 + ["bright red"], "公交车是什么颜色的？",
     {"red": "红色", "bright red": "鲜红色"}),
    # Planted: bilingual.
    ("How many cars are there?", ["3"] * 10, "有几辆汽车？", {"3": "4"}),
    ("Is it raining?", ["no"] * 8 + ["yes"] * 2, "在下雨吗？",
     {"no": "没有", "yes": "是的"}),
    # Planted: does not come back.
    ("What are the people doing?", ["waiting"] * 10, None, {}),
    # Planted: language.
    ("Is the light red?", ["yes"] * 10, "灯是红色的吗？", {"yes": "yes"}),
]  # fmt: skip
TRANSLATION_FAULTS = {1: "bilingual", 3: "schema", 4: "language"}


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (LABELLED / f"{name}.jsonl").read_text().splitlines()]


def scenes() -> dict[str, dict]:
    found = {row["id"].split("/")[1]: row for row in rows("scenes")}
    return {name: found[name] for name in SCENES}


def write_images(folder: Path) -> Path:
    """Captions and boxes of the scenes as records, each image a file of its own colour."""
    folder.mkdir(parents=True)
    records = []
    for number, (name, scene) in enumerate(scenes().items()):
        Image.new("RGB", (64, 48), (20 * number, 90, 200)).save(folder / f"{name}.png")
        image = (R.ImageRef(path=f"{name}.png", width=640, height=480),)
        for lang, captions in scene["captions"].items():
            records.append(R.Record(f"scenes/train/{name}#{lang}", "scenes", "train", "caption",
                                    lang, image, (), answers=tuple(captions)))  # fmt: skip
        for k, thing in enumerate(scene["objects"]):
            box = R.Object(tuple(thing["box"]), thing["label"], tag_zh=thing["tag_zh"])
            turn = (R.Turn("assistant", "<obj_0>"),)
            records.append(R.Record(f"scenes/train/{name}#{k}", "scenes", "train", "ref_ground",
                                    "en", image, turn, objects=(box,)))  # fmt: skip
    return write(folder / "scenes.jsonl", records)


def write_questions(folder: Path) -> Path:
    image = (R.ImageRef(path="street.png", width=640, height=480),)
    records = [
        R.Record(f"vqav2/train/{n}", "vqav2", "train", "vqa", "en", image,
                 (R.Turn("user", question),), answers=tuple(answers), meta={"template": "vqa"})
        for n, (question, answers, _, _) in enumerate(QUESTIONS)
    ]  # fmt: skip
    return write(folder / "vqav2.jsonl", records)


def write(path: Path, records) -> Path:
    path.write_text("".join(R.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


class Script:
    """What the model says. `seen` are the (scene, kind, language) it was asked for."""

    def __init__(self):
        self.said = {}
        pool = rows("tuned")
        for key in ((s, k, lang) for s in SCENES for k in KINDS for lang in ("en", "zh")):
            wanted = PLANTED.get(key, "good")
            found = [r for r in pool if (r["scene"], r["kind"], r["lang"]) == key
                     and r["label"] == wanted and "source" not in r and "rewriting" not in r
                     and "finish_reason" not in r]  # fmt: skip
            assert found or wanted == "good", key
            self.said[key] = found[0]["turns"] if found else self.filler(*key)

    @staticmethod
    def filler(scene: str, kind: str, lang: str) -> list[str]:
        """A good pair where the labelled set has none of this kind: the captions, said again."""
        captions = scenes()[scene]["captions"][lang]
        asked = {
            "en": f"What is there to say about the {scene}?",
            "zh": f"关于画面{scene.upper()}有什么可说的？",
        }
        joined = " ".join(captions) if lang == "en" else "".join(captions)
        return [asked[lang], joined]

    def __call__(self, messages):
        system, last = messages[0]["content"], messages[-1]["content"]
        if '"rows"' in system:
            return self.translated(json.loads(last)["rows"])
        scene = next(n for n, s in scenes().items() for c in s["captions"].values() if c[0] in last)
        lang = "zh" if re.search("[一-鿿]", system) else "en"
        if "Pair:" in last or "问答：" in last:
            return self.rewritten(last, lang)
        kind = {"3 to 5": "conversation", "3 到 5": "conversation", "60 to 150": "detail",
                "80 到 250": "detail"}  # fmt: skip
        found = next((k for mark, k in kind.items() if mark in system), "reason")
        key = (scene, found, lang)
        return BROKEN[key][0] if key in BROKEN else turns_json(self.said[key])

    @staticmethod
    def rewritten(last: str, lang: str) -> str:
        """Every rewriting is the pair as it was: nothing changed, so all are dropped."""
        return last.rpartition("\n")[2]

    @staticmethod
    def translated(asked: list[dict]) -> str:
        known = {question: (zh, answers) for question, _, zh, answers in QUESTIONS}
        out = []
        for row in asked:
            question, answers = known[row["q"]]
            if question is not None:
                out.append({"i": row["i"], "q": question, "a": answers[row["a"]]})
        return json.dumps({"rows": out}, ensure_ascii=False)


def turns_json(texts: list[str]) -> str:
    pairs = [texts[i : i + 2] for i in range(0, len(texts), 2)]
    found = [{"question": p[0], "answer": p[1] if len(p) > 1 else ""} for p in pairs]
    return json.dumps({"turns": found}, ensure_ascii=False)


def dropped(workdir: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """(id, filter, reason) of the dropped pairs of a step."""
    for file in sorted((workdir / "dropped" / name).glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            yield row["pair"]["id"], row["filter"], row["why"]
