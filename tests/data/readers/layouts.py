"""Writes small files in the exact layouts of public data sets; every text and image is made up.

Each function takes the folder to write to, which then is the root of the data set.
"""

import base64
import io
import json
import pickle
import tarfile
from pathlib import Path

from PIL import Image


def dump(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def lines(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    path.write_text(text, encoding="utf-8")
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def jpeg(colour="red", size=(8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG")
    return out.getvalue()


def one_image(path: Path, colour="red", size=(8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def tar(path: Path, members) -> Path:
    """A tar of (name, bytes), in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members:
            data = data if isinstance(data, bytes) else data.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def coco_caption(root):
    def image(cocoid, split, folder):
        return {
            "filepath": folder,
            "sentids": [cocoid * 10, cocoid * 10 + 1],
            "filename": f"COCO_{folder}_{cocoid:012d}.jpg",
            "imgid": cocoid,
            "split": split,
            "sentences": [
                {"tokens": ["a", "dog"], "raw": "A dog.", "imgid": cocoid, "sentid": cocoid * 10},
                {"tokens": ["it"], "raw": f"Picture {cocoid}. ", "imgid": cocoid, "sentid": 7},
            ],
            "cocoid": cocoid,
        }

    images = [
        image(9, "train", "train2014"),
        image(42, "restval", "val2014"),
        image(73, "val", "val2014"),
        image(391895, "test", "val2014"),
    ]
    dump(root / "dataset_coco.json", {"images": images, "dataset": "coco"})


def ai_challenger(root):
    rows = [
        {
            "url": "http://img.example/1.jpg",
            "image_id": f"8f00f3d0f1008e085ab660e70dffced16a8259f{i}.jpg",
            "caption": [f"第{k}句" for k in range(5)],
        }
        for i in range(2)
    ]
    folder = root / "ai_challenger_caption_train_20170902"
    dump(folder / "caption_train_annotations_20170902.json", rows)


def coco_cn(root):
    folder = root / "coco-cn-version1805v1.1"
    text(folder / "coco-cn_train.txt", "COCO_train2014_000000000009\n")
    text(folder / "coco-cn_test.txt", "COCO_val2014_000000000042\n")
    text(
        folder / "imageid.human-written-caption.txt",
        "COCO_train2014_000000000009#0\t一只狗\nCOCO_val2014_000000000042#0 两只猫\n",
    )
    text(
        folder / "imageid.manually-translated-caption.txt",
        "".join(f"COCO_val2014_000000000042#{k}\t猫 {k}\n" for k in range(5)),
    )


def flickr30k(root):
    images = [
        {
            "sentids": [0],
            "imgid": i,
            "sentences": [{"tokens": [], "raw": f"Man {k}.", "sentid": k} for k in range(5)],
            "split": split,
            "filename": f"100{i}.jpg",
        }
        for i, split in enumerate(["train", "train", "val", "test"])
    ]
    dump(root / "dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})
    text(
        root / "results_20130124.token",
        "".join(f"100{i}.jpg#{k}\tMan {k} .\n" for i in range(4) for k in range(5)),
    )


def flickr30k_cna(root):
    rows = "".join(f"100{i}#{k}\t男人{k}\n" for i in range(2) for k in range(5))
    text(root / "flickr30k_cna_test.txt", rows)


def flickr30k_cn(root):
    text(root / "flickr30k_cn_test.txt", "1000#0\t一/m 个/q 男人/n\n1000#1\t他 在 1/2 处\n")


def textcaps(root):
    def row(image, caption):
        return {
            "image_id": image,
            "image_name": image,
            "image_path": f"train/{image}.jpg",
            "caption_id": 1,
            "caption_str": caption,
            "reference_strs": [caption],
            "caption_tokens": [],
            "set_name": "val",
        }

    rows = [row("0a1b", "A sign reads stop."), row("2c3d", "A can."), row("0a1b", "Stop sign.")]
    dump(root / "TextCaps_0.1_val.json", {"dataset_type": "val", "data": rows})


def nocaps(root):
    images = [
        {
            "id": i,
            "license": 0,
            "coco_url": f"https://img.example/{i}.jpg",
            "height": 480,
            "width": 640,
            "date_captured": "2018",
            "file_name": f"00{i}f.jpg",
            "open_images_id": f"00{i}f",
            "domain": domain,
        }
        for i, domain in enumerate(["in-domain", "out-domain"])
    ]
    annotations = [
        {"id": 10 * i + k, "image_id": i, "caption": f"caption {k}"}
        for k in range(10)
        for i in range(2)
    ]
    dump(
        root / "nocaps_val_4500_captions.json",
        {"licenses": [], "info": {}, "images": images, "annotations": annotations},
    )


def zero(root, name, label=True):
    rows = [
        {"text": "黑色皮鞋", "image_path": "images/1.jpg"},
        {"text": "红色雨伞", "image_path": "images/2.jpg"},
    ]
    if label:
        rows = [row | {"label": k} for row, k in zip(rows, (1, 0), strict=True)]
    lines(root / f"{name.upper()}_train.jsonl", rows)


def vqav2(root, prefix="v2_", answers=("yes", "no")):
    questions = [
        {"image_id": 9, "question": "Is it a dog?", "question_id": 9000},
        {"image_id": 42, "question": "What  colour?", "question_id": 42001},
    ]
    annotations = [
        {
            "question_type": "is it",
            "multiple_choice_answer": "yes",
            "answers": [
                {
                    "answer": answers[k > 6],
                    "raw_answer": answers[k > 6] + "!",
                    "answer_confidence": "yes",
                    "answer_id": k + 1,
                }
                for k in range(10)
            ],
            "image_id": q["image_id"],
            "answer_type": "yes/no",
            "question_id": q["question_id"],
        }
        for q in reversed(questions)
    ]
    for split in ("train2014", "val2014"):
        name = f"{prefix}OpenEnded_mscoco_{split}_questions.json"
        dump(root / name, {"info": {}, "license": {}, "questions": questions})
        name = f"{prefix}mscoco_{split}_annotations.json"
        dump(root / name, {"info": {}, "annotations": annotations})
    name = f"{prefix}OpenEnded_mscoco_test-dev2015_questions.json"
    dump(root / name, {"questions": questions})


def vizwiz(root):
    rows = [
        {
            "image": "VizWiz_train_00000000.jpg",
            "question": "What's this?",
            "answers": [
                {"answer_confidence": "yes", "answer": "unanswerable" if k < 3 else "soup"}
                for k in range(10)
            ],
            "answer_type": "other",
            "answerable": 1,
        }
    ]
    dump(root / "Annotations" / "train.json", rows)
    dump(root / "Annotations" / "test.json", [{"image": "VizWiz_test_1.jpg", "question": "What?"}])


def gqa(root):
    entry = {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "dog (1)"}],
        "entailed": [],
        "equivalent": ["02930152"],
        "question": "Is the sky dark?",
        "imageId": "2354786",
        "isBalanced": True,
        "groups": {"global": None, "local": "06-sky_dark"},
        "answer": "yes",
        "semanticStr": "select: sky (2486325)",
        "annotations": {"answer": {}, "question": {"2": "2486325"}, "fullAnswer": {}},
        "types": {"detailed": "verify", "semantic": "attr", "structural": "verify"},
        "fullAnswer": "Yes, the sky is dark.",
    }
    old = {k: v for k, v in entry.items() if k not in ("groups", "types", "fullAnswer")}
    dump(root / "train_balanced_questions.json", {"02930152": entry, "07333408": old})
    dump(root / "testdev_balanced_questions.json", {"1": entry | {"imageId": "n161313"}})
    for part in range(2):
        dump(root / f"train_all_questions/train_all_questions_{part}.json", {f"{part}": entry})


def ocr_vqa(root):
    def book(split, suffix="jpg"):
        return {
            "imageURL": f"http://img.example/51UWQ.{suffix}",
            "questions": ["Who wrote this book?", "Is this a comics book?"],
            "answers": ["A. Nobody", "No"],
            "title": "T",
            "authorName": "A. Nobody",
            "genre": "Travel",
            "split": split,
        }

    books = {"0001": book(1), "0002": book(2), "0003": book(3, "gif")}
    dump(root / "dataset.json", books)


def textvqa(root):
    row = {
        "question": "what is the brand?",
        "image_id": "0054c91397f2fe05",
        "image_classes": ["Camera"],
        "flickr_original_url": "https://img.example/o.jpg",
        "flickr_300k_url": "https://img.example/o.jpg",
        "image_width": 1024,
        "image_height": 730,
        "answers": ["nokia"] * 9 + ["toshiba"],
        "question_tokens": ["what"],
        "question_id": 0,
        "set_name": "val",
    }
    dump(root / "TextVQA_0.5.1_val.json", {"dataset_name": "textvqa", "data": [row]})
    ocr = {"image_id": "0054c91397f2fe05", "ocr_tokens": ["NOKIA"], "ocr_info": []}
    dump(root / "TextVQA_Rosetta_OCR_v0.2_val.json", {"data": [ocr]})


def clevr(root):
    row = {
        "image_index": 0,
        "program": [
            {"inputs": [], "function": "scene", "value_inputs": []},
            {"inputs": [0], "function": "count", "value_inputs": []},
        ],
        "question_index": 0,
        "image_filename": "CLEVR_train_000000.png",
        "question_family_index": 2,
        "split": "train",
        "answer": "3",
        "question": "How many cubes are there?",
    }
    folder = root / "CLEVR_v1.0" / "questions"
    dump(folder / "CLEVR_train_questions.json", {"info": {}, "questions": [row]})
    hidden = {k: v for k, v in row.items() if k not in ("answer", "program")}
    dump(folder / "CLEVR_test_questions.json", {"questions": [hidden | {"split": "test"}]})


def scienceqa(root):
    row = {
        "question": "Which is north?",
        "choices": ["Texas", "Maine"],
        "answer": 1,
        "hint": "Look at the map.",
        "image": "image.png",
        "task": "closed choice",
        "grade": "grade2",
        "subject": "social science",
        "topic": "geography",
        "category": "Geography",
        "skill": "Read a map",
        "lecture": "Maps have four directions.",
        "solution": "Maine is the farthest.",
        "split": "train",
    }
    problems = {"1": row, "2": row | {"image": None}, "3": row | {"split": "test", "hint": ""}}
    dump(root / "problems.json", problems)


def visual_genome(root):
    url = "https://cs.example/rak248/VG_100K{}/{}.jpg"
    images = [
        {"width": 800, "url": url.format("_2", 1), "height": 600, "image_id": 1, "coco_id": 42},
        {"width": 400, "url": url.format("", 5), "height": 400, "image_id": 5, "coco_id": None},
    ]
    dump(root / "image_data.json", [image | {"flickr_id": None} for image in images])

    def region(number, image, x, y, width, height, phrase):
        return {
            "region_id": number,
            "width": width,
            "height": height,
            "image_id": image,
            "phrase": phrase,
            "y": y,
            "x": x,
        }

    dump(
        root / "region_descriptions.json",
        [
            {
                "regions": [
                    region(1382, 1, 400, 300, 200, 150, "the clock is green"),
                    region(1383, 1, 700, 500, 300, 300, "beyond the edge"),
                    region(1384, 1, 10, 10, 0, 5, "no area"),
                ],
                "id": 1,
            },
            {"regions": [region(9, 5, 0, 0, 400, 400, " a wall ")], "id": 5},
        ],
    )
    dump(
        root / "objects.json",
        [
            {
                "image_id": 1,
                "objects": [
                    {
                        "synsets": ["tree.n.01"],
                        "h": 300,
                        "object_id": 1058549,
                        "merged_object_ids": [],
                        "names": ["trees", "tree"],
                        "w": 400,
                        "y": 0,
                        "x": 0,
                    }
                ],
                "image_url": url.format("_2", 1),
            }
        ],
    )


def refcoco(root, folder="refcoco", by="unc", splits=("train", "val", "testA", "testB")):
    refs = [
        {
            "sent_ids": [2 * i, 2 * i + 1],
            "file_name": f"COCO_train2014_{100 + i:012d}_{i}.jpg",
            "ann_id": 7000 + i,
            "ref_id": i,
            "image_id": 100 + i,
            "split": split,
            "sentences": [
                {"tokens": [], "raw": "Man LEFT!", "sent_id": 2 * i, "sent": "man left"},
                {"tokens": [], "raw": "guy", "sent_id": 2 * i + 1, "sent": "guy"},
            ],
            "category_id": 1,
        }
        for i, split in enumerate(splits)
    ]
    target = root / folder
    target.mkdir(parents=True)
    # The published files were pickled by Python 2.
    (target / f"refs({by}).p").write_bytes(pickle.dumps(refs, protocol=0))
    images = [
        {
            "license": 1,
            "file_name": f"COCO_train2014_{100 + i:012d}.jpg",
            "height": 100,
            "width": 200,
            "id": 100 + i,
        }
        for i in range(len(splits))
    ]
    annotations = [
        {
            "segmentation": [[0.0, 1.0]],
            "area": 5.0,
            "iscrowd": 0,
            "image_id": 100 + i,
            "bbox": [20.0, 10.0, 100.0, 50.0],
            "category_id": 1,
            "id": 7000 + i,
        }
        for i in range(len(splits))
    ]
    dump(
        target / "instances.json",
        {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]},
    )


def vcr(root):
    meta = {
        "boxes": [[0, 0, 50, 100, 0.99], [50, 20, 100, 100, 0.9], [5, 5, 5, 9, 0.8]],
        "segms": [],
        "names": ["person", "person", "bottle"],
        "width": 100,
        "height": 200,
    }
    dump(root / "vcr1images" / "movie" / "1@0.json", meta)
    row = {
        "movie": "M",
        "objects": ["person", "person", "bottle"],
        "img_fn": "movie/1@0.jpg",
        "metadata_fn": "movie/1@0.json",
        "question": ["Why", "is", [1], "pointing", "at", [0], "?"],
        "answer_choices": [
            ["He", "is", "tired", "."],
            [[1], "is", "telling", [0, 2], "'s", "name", "."],
            [[2], "fell", "."],
            ["No", "one", "."],
        ],
        "answer_label": 1,
        "rationale_choices": [["A"], ["B"], ["C"], ["D"]],
        "rationale_label": 0,
        "annot_id": "train-0",
        "question_number": 0,
        "img_id": "train-0",
    }
    lines(root / "train.jsonl", [row])
    hidden = {k: v for k, v in row.items() if "label" not in k}
    lines(root / "test.jsonl", [hidden | {"annot_id": "test-0"}])


def llava(root):
    rows = [
        {
            "id": "000000000042",
            "image": "000000000042.jpg",
            "conversations": [
                {"from": "human", "value": "What is it?\n<image>"},
                {"from": "gpt", "value": "A dog."},
                {"from": "human", "value": "Where?"},
                {"from": "gpt", "value": "On the grass."},
            ],
        },
        {
            "id": "000000000042",
            "image": "000000000042.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nWhy?"},
                {"from": "gpt", "value": "Because."},
                {"from": "human", "value": "And then?"},
            ],
        },
    ]
    names = ("conversation_58k", "detail_23k", "complex_reasoning_77k", "llava_instruct_150k")
    for name in names:
        dump(root / f"{name}.json", rows)
    dump(
        root / "chat.json",
        [
            {
                "id": "GCC_train_002582585",
                "image": "GCC_train_002582585.jpg",
                "conversations": [
                    {"from": "human", "value": "Provide a brief description.\n<image>"},
                    {"from": "gpt", "value": "olive oil is a healthy ingredient"},
                ],
            }
        ],
    )


def llava_zh(root):
    turns = [{"from": "human", "value": "图中有什么？\n<image>"}, {"from": "gpt", "value": "狗。"}]
    row = {"id": "000000000042", "image": "000000000042.jpg", "conversations": turns}
    dump(root / "llava_instruct_150k_zh.json", [row])


def svit(root):
    content = [
        {"from": "user", "value": "Who is it?"},
        {
            "from": "gpt",
            "value": "It is <st>man<ed> [0.1, 0.2, 0.5, 0.9] near <st>x<ed> [1, 1, 1, 1]",
        },
    ]
    rows = [{"image_id": 1, "conversations": [{"content": content}, {"content": content}]}]
    dump(root / "referring_qa.json", rows)
    visual_genome(root)


def m3it(root):
    def row(output, shown=1, instruction="Answer the question."):
        encoded = [base64.b64encode(jpeg("blue", (4 + k, 4))).decode() for k in range(shown)]
        return {
            "instruction": instruction,
            "inputs": "What colour?",
            "outputs": output,
            "image_base64_str": encoded,
        }

    lines(root / "data/vqa/shapes/train.jsonl", [row("blue"), row("two", 2)])
    lines(root / "data/vqa/fm-iqa/train.jsonl", [row("蓝色", instruction="请回答问题。")])
    lines(root / "data/captioning/coco/train.jsonl", [row("a dog")])
    lines(root / "data/vqa/shapes/val.jsonl", [row("blue")])


def llava_bench(root, tail="", words=("What?", "A dog.", "dog")):
    asked, answer, label = words
    image = "000000441147.jpg"
    questions = [
        {"question_id": k, "image": image, "text": asked, "category": kind}
        for k, kind in enumerate(["conv", "detail", "complex"])
    ]
    lines(root / f"qa90_questions{tail}.jsonl", questions)
    lines(
        root / f"qa90_gpt4_answer{tail}.jsonl",
        [
            {
                "question_id": k,
                "text": answer,
                "answer_id": str(k),
                "model_id": "gpt4",
                "metadata": {},
            }
            for k in range(3)
        ],
    )
    boxes = [{"category": label, "bbox": [0.1, 0.2, 0.3, 0.4]}]
    shown = {"id": "000000441147", "image": image, "captions": ["c"] * 5, "instances": boxes}
    lines(root / f"caps_boxes_coco2014_val_80{tail}.jsonl", [shown])


def own_records(root, name, translated=True):
    row = {
        "id": f"{name}/train/1",
        "source": name,
        "split": "train",
        "task": "vqa",
        "lang": "zh",
        "images": [{"path": "train2014/COCO_train2014_000000000009.jpg"}],
        "turns": [{"role": "user", "text": "这是狗吗？"}],
        "answers": ["是"] * 7 + ["不是"] * 3,
        "meta": {"template": "vqa"},
    }
    if translated:
        row["translated_from"] = "en"
    lines(root / "train.jsonl", [row])
