"""Computes the values that tests of metrics compare with, by the programs everybody uses.

    python -m venv reference && reference/bin/pip install pycocoevalcap==1.2 jieba==0.42.1
    apt-get install --yes default-jre-headless            # PTBTokenizer is Java
    git clone https://github.com/GT-Vision-Lab/VQA VQA
    reference/bin/python tests/reference/compute.py --vqa VQA

It writes tests/reference/values/. Everything is seeded: a second run writes the same files.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import random
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VALUES = HERE / "values"
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import captions as captions_lib  # noqa: E402

IMAGES = 120
QUESTIONS = 200

ZH = """一只棕色的狗坐在草地上|一条小狗在公园的草坪上玩耍|草地上有只狗，旁边放着红色的球。
两个小孩在沙滩上放风筝|海边有两个孩子正在放风筝！|孩子们在海滩玩耍，天空中飞着风筝
一辆红色的公共汽车停在路边|红色巴士停靠在车站旁|城市街道上有一辆双层巴士
厨房里有冰箱、微波炉和一张木桌|一间整洁的厨房|白色橱柜的厨房，有一台冰箱
一个男人骑着自行车穿过街道|骑车的男子|街上，一位戴头盔的男士正骑自行车
桌上有一杯咖啡和3块饼干|一杯咖啡放在木桌上|咖啡杯旁有三块饼干
一群大象在河边喝水|几头大象站在水里|大象们正在喝水。
一位女士打着伞走在雨中|下雨天，女人撑着一把蓝色的雨伞|打伞的女人
猫躺在笔记本电脑上|一只黑猫睡在Apple笔记本上|笔记本电脑旁边有只猫
火车驶过铁轨|一列绿皮火车进站|火车站里停着一列火车
球员正准备击球|棒球比赛中，击球手举起球棒|棒球场上的一名运动员
一盘披萨上有西红柿和奶酪|刚出炉的PIZZA|盘子里的披萨饼
老人坐在公园的长椅上看报纸|一位老人在读报|长椅上坐着一个人
飞机从跑道上起飞|一架白色飞机在蓝天中飞行|客机起飞了
卧室里有一张双人床和两盏台灯|床上铺着白色床单|一间卧室""".split("\n")

AWKWARD_ANSWERS = """yes|Yes.|yes!|YES|no|No|none|2|two|Two.|2 dogs|two dogs|a dog|the dog|dog|dogs|
dog's|a-b|x-y|N/A|n/a|half-eaten|half eaten|1,000|1000|x-y 1,000|.5|0.5|3.5|$5.00|5.00|5 o'clock|
oclock|o'clock|dont know|don't know|i don't know|Im fine|I'm fine|somebody'd|it's|its|men's|mens|
can't|cant|couldnt've|black and white|black & white|black/white|black, white|red,white|red, white|
red white|top-left|left|to the left|on the left.|(left)|[left]|"left"|'left'|left;right|left; right|
10:30|10.30|10.30.|a.m.|8 a.m.|8am|st. louis|St Louis|u.s.|U.S|us|hello@x.com|what?|what ?|? what|
100%|100 %|50-50|one|1|an apple|the an a|A|a|the|zero|0|ten|10|eleven|11|tennis|skate board|
skateboard|wii|Wii|t-shirt|tshirt|t shirt|  spaces  |tab	tab|new
line|new line|tab tab||  |-|.|..|...|1.|1. 2.|a_b|a b|c++|c|<b>|b|{x}|x|=|a = b|a=b|back\\slash|
unanswerable|Unanswerable|not sure|cell phone|cellphone|é|café|cafe|红色|红色。|5,000.00|5000.00|
1,2,3|1 2 3|1, 2, 3|lots . of . points|lots of points|no.1|no 1|ms. smith|ms smith""".replace(
    "|\n", "|"
).split("|")


def java_tokens(texts: list[str]) -> list[list[str]]:
    """PTBTokenizer of pycocoevalcap and its punctuation list, one text a line.

    The Java program looks beyond the end of a line: "says no." keeps its period where the *next*
    caption begins with a digit. A neutral line after every caption takes the chance out of it.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    if shutil.which("java") is None:
        sys.exit("java is missing: apt-get install --yes default-jre-headless")
    apart = [line for text in texts for line in (text, "and")]
    with contextlib.redirect_stderr(io.StringIO()):
        cut = PTBTokenizer().tokenize({i: [{"caption": t}] for i, t in enumerate(apart)})
    return [[w for w in cut[2 * i][0].split(" ") if w] for i in range(len(texts))]


def scores(references: dict[str, list[str]], predictions: dict[str, str]) -> dict:
    """pycocoevalcap's scorers on texts that are cut already."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said = {i: [text] for i, text in predictions.items()}
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, bleus = Bleu(4).compute_score(references, said)
        cider, ciders = Cider().compute_score(references, said)
        rouge, rouges = Rouge().compute_score(references, said)
    names = ("cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l")
    rows = zip(ciders, *bleus, rouges, strict=True)
    return {
        **dict(zip(names, map(float, (cider, *bleu, rouge)), strict=True)),
        "per_item": {
            i: dict(zip(names, map(float, row), strict=True))
            for i, row in zip(references, rows, strict=True)
        },
    }


def caption_set(pool: list[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """References and predictions of images: near copies, other images' captions, nothing."""
    rng = random.Random(7)
    references, predictions = {}, {}
    for image in range(IMAGES):
        refs = [rng.choice(pool) for _ in range(rng.randint(1, 5))]
        if image % 17 == 0:
            refs.append(refs[0])
        words = rng.choice(refs).split()
        kind = image % 6
        if kind < 3:
            words = [w for w in words if rng.random() > 0.25]
        elif kind == 3:
            words += rng.choice(pool).split()[:4]
        elif kind == 4:
            words = rng.choice(pool).split()
        references[f"img{image}"] = refs
        predictions[f"img{image}"] = "" if image == 5 else " ".join(words)
    return references, predictions


def chinese() -> dict:
    from zv_jax.evaluation.metrics.tokens import tokenizer

    rows = [line.split("|") for line in ZH]
    references = {str(i): row[:2] for i, row in enumerate(rows)}
    predictions = {str(i): row[2] for i, row in enumerate(rows)}
    out: dict = {"references": references, "predictions": predictions}
    for name in ("zh_char", "zh_jieba"):
        cut = tokenizer(name)
        join = lambda text, cut=cut: " ".join(cut(text))
        out[name] = scores(
            {i: [join(t) for t in refs] for i, refs in references.items()},
            {i: join(t) for i, t in predictions.items()},
        )
    return out


def vqa(root: Path) -> list[dict]:
    """The official accuracy of awkward answers, one question after the other."""
    file = root / "PythonEvaluationTools/vqaEvaluation/vqaEval.py"
    spec = importlib.util.spec_from_file_location("vqaEval", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rng = random.Random(11)
    rows = []
    for number in range(QUESTIONS):
        common = rng.choice(AWKWARD_ANSWERS)
        share = rng.choice((10, 10, 8, 5, 4, 3, 2, 1))
        answers = [common] * share + [rng.choice(AWKWARD_ANSWERS) for _ in range(10 - share)]
        rng.shuffle(answers)
        near = [a for a in AWKWARD_ANSWERS if a.lower()[:2] == common.lower()[:2]]
        prediction = rng.choice([common, rng.choice(near), rng.choice(near), rng.choice(answers)])
        if number % 40 == 0:
            prediction = "so . many . points " + ". " * 40
        rows.append({"prediction": prediction, "answers": answers})

    class Entries:
        def __init__(self, qa: dict):
            self.qa = qa

        def getQuesIds(self) -> list[int]:  # noqa: N802 (a name of the official code)
            return list(self.qa)

    truth = {
        number: {
            "answers": [{"answer": a, "answer_id": k} for k, a in enumerate(row["answers"], 1)],
            "question_type": "what",
            "answer_type": "other",
        }
        for number, row in enumerate(rows)
    }
    said = {number: {"answer": row["prediction"]} for number, row in enumerate(rows)}
    for number, row in enumerate(rows):
        one = module.VQAEval(
            Entries({number: truth[number]}), Entries({number: said[number]}), n=12
        )
        with contextlib.redirect_stdout(io.StringIO()):
            one.evaluate()
        row["official"] = one.accuracy["overall"]
    return rows


def write(name: str, rows: list[dict]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (VALUES / name).write_text("".join(lines), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vqa", type=Path, required=True, help="checkout of GT-Vision-Lab/VQA")
    options = parser.parse_args()
    VALUES.mkdir(exist_ok=True)
    pool = captions_lib.captions()
    tokens = java_tokens(pool)
    rows = [{"caption": c, "tokens": t} for c, t in zip(pool, tokens, strict=True)]
    write("ptb.jsonl", rows)
    references, predictions = caption_set(pool)
    flat = [text for refs in references.values() for text in refs] + list(predictions.values())
    cut = dict(zip(flat, map(" ".join, java_tokens(flat)), strict=True))
    cut_refs = {i: [cut[t] for t in refs] for i, refs in references.items()}
    cut_said = {i: cut[t] for i, t in predictions.items()}
    english = {
        "references": references,
        "predictions": predictions,
        "cut_references": cut_refs,
        "cut_predictions": cut_said,
        "scores": scores(cut_refs, cut_said),
    }
    for name, value in (("captions_en.json", english), ("captions_zh.json", chinese())):
        (VALUES / name).write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", "utf-8")
    write("vqa.jsonl", vqa(options.vqa))
    print(f"written: {VALUES}")


if __name__ == "__main__":
    main()
