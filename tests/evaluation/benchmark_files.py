"""The files of every benchmark in their published layouts, about four one-colour images."""

import json

from judge_server import write_bench
from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
ZH = {"red": "红色", "green": "绿色", "blue": "蓝色", "white": "白色"}
IMAGES = list(COLOURS)
EXPECTED = {
    "nocaps": 4, "flickr30k": 4, "vqav2": 8, "vqav2_val": 8, "okvqa": 8, "gqa": 8,
    "scienceqa_img": 4, "vizwiz": 4, "vizwiz_val": 4, "coco_cn": 4, "coco_cn_retrieval": 4,
    "flickr30k_cna": 4, "flickr30k_cna_retrieval": 4, "gqa_t": 8, "vqav2_t": 8,
    "llava_bench": 6, "llava_bench_zh": 6,
}  # fmt: skip


def dump(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def image(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), COLOURS[colour]).save(path, "PNG")


def questions(n, colour):
    """(own number, question, answer): what colour it is, and whether it is red."""
    yield 10 * n, "What colour is it?", colour
    yield 10 * n + 1, "Is it red?", "yes" if colour == "red" else "no"


def captions(root):
    images, annotations = [], []
    for n, colour in enumerate(IMAGES):
        image(root / f"nocaps/val/{n}.jpg", colour)
        domain = ("in-domain", "near-domain", "out-domain")[n % 3]
        images.append(
            {"id": n, "file_name": f"{n}.jpg", "domain": domain, "open_images_id": str(n)}
        )
        for said in (f"a {colour} picture", f"it is all {colour}"):
            annotations.append({"image_id": n, "caption": said})
        image(root / f"flickr30k/flickr30k-images/{n}.jpg", colour)
        image(root / f"flickr30k_cna/flickr30k-images/{n}.jpg", colour)
        image(root / f"coco_cn/val2014/COCO_val2014_{n:012d}.jpg", colour)
    dump(root / "nocaps/nocaps_val_4500_captions.json",
         {"images": images, "annotations": annotations})  # fmt: skip
    flickr = [
        {
            "filename": f"{n}.jpg", "split": "test", "imgid": n,
            "sentences": [{"raw": f"A {c} picture."}, {"raw": f"Only {c}."}],
        }
        for n, c in enumerate(IMAGES)
    ]  # fmt: skip
    dump(root / "flickr30k/dataset_flickr30k.json", {"images": flickr})
    rows = "".join(f"{n}#{k}\t一张{ZH[c]}的图\n" for n, c in enumerate(IMAGES) for k in range(2))
    text(root / "flickr30k_cna/flickr30k_cna_test.txt", rows)
    names = [f"COCO_val2014_{n:012d}" for n in range(4)]
    text(root / "coco_cn/coco-cn_test.txt", "".join(name + "\n" for name in names))
    rows = "".join(f"{n}#0\t{ZH[c]}的图片\n" for n, c in zip(names, IMAGES, strict=True))
    text(root / "coco_cn/imageid.human-written-caption.txt", rows)


def vqa(root):
    for name, prefix in (("vqav2", "v2_"), ("okvqa", "")):
        asked, answered = [], []
        for n, colour in enumerate(IMAGES):
            for folder in ("val2014", "test2015"):
                image(root / f"{name}/{folder}/COCO_{folder}_{n:012d}.jpg", colour)
            for number, question, answer in questions(n, colour):
                asked.append({"question_id": number, "image_id": n, "question": question})
                given = [answer] * 7 + ["something else"] * 3
                answered.append(
                    {
                        "question_id": number, "image_id": n, "question_type": "what",
                        "answer_type": "other",
                        "answers": [{"answer": a, "raw_answer": a, "answer_id": k}
                                    for k, a in enumerate(given, 1)],
                    }
                )  # fmt: skip
        for split in ("val2014", "test-dev2015"):
            file = root / name / f"{prefix}OpenEnded_mscoco_{split}_questions.json"
            dump(file, {"questions": asked})
        dump(root / name / f"{prefix}mscoco_val2014_annotations.json", {"annotations": answered})
    gqa, vizwiz, science = {}, [], {}
    for n, colour in enumerate(IMAGES):
        image(root / f"gqa/images/{n}.jpg", colour)
        for number, question, answer in questions(n, colour):
            kind = "query" if number % 10 == 0 else "verify"
            gqa[str(number)] = {
                "imageId": str(n), "question": question, "answer": answer,
                "types": {"structural": kind}, "isBalanced": True,
            }  # fmt: skip
        for split in ("val", "test"):
            image(root / f"vizwiz/{split}/VizWiz_{split}_{n:08d}.jpg", colour)
        lost = colour == "white"
        answers = ["unanswerable" if lost else colour] * 10
        vizwiz.append(
            {
                "image": f"VizWiz_val_{n:08d}.jpg", "question": "What colour is it?",
                "answers": [{"answer": a, "answer_confidence": "yes"} for a in answers],
                "answer_type": "unanswerable" if lost else "other", "answerable": int(not lost),
            }
        )  # fmt: skip
        image(root / f"scienceqa/test/{n}/image.png", colour)
        science[str(n)] = {
            "question": "Which colour is it?", "choices": IMAGES, "answer": n, "split": "test",
            "hint": "Look at it." if n % 2 else "", "image": "image.png", "subject": "art",
            "topic": "", "lecture": "", "solution": "",
        }  # fmt: skip
    dump(root / "gqa/testdev_balanced_questions.json", gqa)
    dump(root / "vizwiz/Annotations/val.json", vizwiz)
    hidden = [
        {"image": row["image"].replace("val", "test"), "question": row["question"]}
        for row in vizwiz
    ]
    dump(root / "vizwiz/Annotations/test.json", hidden)
    dump(root / "scienceqa/problems.json", science)


def translated(root):
    for name, split in (("gqa_t", "testdev_balanced"), ("vqav2_t", "val")):
        rows = []
        for n, colour in enumerate(IMAGES):
            image(root / f"{name}/images/{n}.jpg", colour)
            for kind, question, answer in (
                (0, "是什么颜色？", ZH[colour]),
                (1, "是红色吗？", "是" if colour == "red" else "不是"),
            ):
                rows.append(
                    {
                        "id": f"{name}/{split}/{10 * n + kind}", "source": name, "split": split,
                        "task": "vqa", "lang": "zh", "images": [{"path": f"images/{n}.jpg"}],
                        "turns": [{"role": "user", "text": question}],
                        "answers": [answer] * (10 if name == "vqav2_t" else 1),
                    }
                )  # fmt: skip
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        text(root / name / f"{split}.jsonl", lines)


def write_all(root):
    """Everything configs/eval/ziya.py asks for."""
    captions(root)
    vqa(root)
    translated(root)
    for lang, name in (("en", "llava_bench"), ("zh", "llava_bench_zh")):
        write_bench(root / name, lang)
        for n in range(2):
            image(root / name / f"val2014/COCO_val2014_{n:012d}.jpg", IMAGES[n])
