"""What is fuzzed: sound files of every kind, and how each is read. `child` damages them."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from etils import epath
from safetensors.numpy import save_file

from tests.data.readers import layouts
from zv_jax import json_input
from zv_jax.convert import architectures, config_json, sources
from zv_jax.data.images import addresses as image_store
from zv_jax.data.public import catalogue
from zv_jax.data.records import record as records_lib
from zv_jax.data.records import rules, validate
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.sources import open as data_sources
from zv_jax.data.text import tokenizers
from zv_jax.errors import DataError, ZvError
from zv_jax.evaluation import browser, compare, predictions
from zv_jax.evaluation.judge import bench as bench_lib
from zv_jax.evaluation.metrics import (
    choices,
    exact_match,
    gqa,
    grounding,
    judged,
    ptb,
    reply,
    tokens,
    vqa,
    yes_no,
)
from zv_jax.evaluation.report import inputs, page
from zv_jax.files import read_jsonl
from zv_jax.llm import batch_files, receipt
from zv_jax.llm.ledger import Ledger

ROW = {
    "id": "mine/train/0", "source": "mine", "split": "train", "task": "vqa", "lang": "zh",
    "images": [{"path": "a.png", "width": 8, "height": 6}],
    "turns": [{"role": "user", "text": "<image>这是什么？"},
              {"role": "assistant", "text": "一只狗 <obj_0>。", "boxes": [[0]]}],
    "objects": [{"box": [0.1, 0.2, 0.5, 0.6], "label": "dog", "score": 0.5, "tag_zh": "狗"}],
    "answers": ["狗", "a dog"], "weights": [1.0, 2.0], "meta": {"licence": "CC0", "views": []},
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """`make` writes sound files below a folder, `read` reads all of them."""

    make: Callable[[Path], Any]
    read: Callable[[Path], Any]


def groups() -> dict[str, Callable[[], dict[str, Target]]]:
    """Targets by group; a group shares a process and its time."""
    return {
        "published": published,
        "own": own,
        "records": record_files,
        "weights": weights,
        "tokenizers": tokenizer_files,
        "answers": answers,
        "runs": runs,
    }


def forget() -> None:
    """Clears what is kept of files by their names, which are those of the last ones."""
    for kept in (
        image_store.tfds_rows, image_store._arrow_table, image_store._parquet_file,
        image_store._parquet_column, image_store._shard, data_sources._open,
    ):  # fmt: skip
        kept.cache_clear()


# Data sets.


def consumed(records: Iterator[Record], root: Path) -> int:
    """Does with records what `zv data convert` and `prepare` do."""
    count = 0
    for record in records:
        count += 1
        records_lib.dumps(record).encode()
        list(rules.check(record))
        for ref in record.images[:2]:
            try:
                image_store.load(root, ref)
            except DataError:
                pass
    return count


def _published(name: str, make: Callable[[Path], Any]) -> Target:
    def read(root: Path) -> None:
        for split in catalogue.card(name).splits:
            try:
                consumed(catalogue.read(name, root, split), root)
            except ZvError:
                pass

    return Target(make, read)


def _sbu(root: Path) -> None:
    both = {"image_urls": ["http://x/1", "http://x/2"], "captions": ["a dog", "a cat"]}
    layouts.dump(root / "sbu-captions-all.json", both)


def _web_tar(root: Path) -> None:
    facts = json.dumps({"caption": "一只狗", "url": "http://x", "LANGUAGE": "zh"})
    members = [("0.jpg", layouts.jpeg()), ("0.txt", "一只狗"), ("0.json", facts)]
    layouts.tar(root / "train" / "00000.tar", [*members, ("1.jpg", layouts.jpeg()), ("1.txt", "b")])


def _urls(root: Path) -> None:
    columns = {"URL": ["http://x"], "TEXT": ["狗"], "WIDTH": [4], "HEIGHT": [4], "LANGUAGE": ["zh"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), root / "0.parquet", compression=None)


def published() -> dict[str, Target]:
    named = (
        "ai_challenger clevr coco_caption coco_cn flickr30k flickr30k_cn flickr30k_cna gqa "
        "llava_zh m3it nocaps ocr_vqa refcoco scienceqa svit textcaps textvqa vcr visual_genome "
        "vizwiz vqav2 llava_bench"
    )
    made = {name: getattr(layouts, name) for name in named.split()}
    made["llava_instruct"] = made["llava_pretrain"] = layouts.llava
    for name in ("icm", "iqm", "icr", "iqr"):
        made[name] = lambda root, name=name: layouts.zero(root, name, label=name.endswith("m"))
    made["sbu"], made["cc12m"], made["laion_zh"] = _sbu, _web_tar, _urls
    return {name: _published(name, make) for name, make in made.items()}


def _own(name: str, make: Callable[[Path], Any]) -> Target:
    return Target(make, lambda root: consumed(catalogue.read(name, root, "train"), root))


PAIRS = [
    {"image": "1.jpg", "question": "这是什么？", "answer": ["狗", "a dog"], "weights": [1, 2]},
    {"image": {"bytes": None, "path": "2.jpg"}, "caption": "a dog", "objects": [
        {"box": [0.1, 0.1, 0.5, 0.5], "label": "dog"}]},
    {"image": ["1.jpg", "2.jpg"], "question": "A?", "options": ["x", "y"], "answer": "B"},
]  # fmt: skip
TALK = [
    {"id": "a", "image": "1.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A dog."}]},
    {"id": 2, "messages": [{"role": "user", "content": [{"type": "text", "text": "你好"}]},
                           {"role": "assistant", "content": "你好！"}]},
]  # fmt: skip


def _columns(root: Path) -> None:
    cells = [{"bytes": layouts.jpeg(), "path": "x.jpg"}] * 2
    table = pyarrow.table({"image": cells, "text": ["一", "二"], "n": [1, None], "f": [0.5, 1.5]})
    names = {"info": {"features": {"n": {"_type": "ClassLabel", "names": ["a", "b"]}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
    pyarrow.parquet.write_table(table, root / "train.parquet", compression=None)


def _disk(root: Path) -> None:
    table = pyarrow.table({"image": [{"bytes": layouts.jpeg(), "path": "x"}], "text": ["一"]})
    with pyarrow.OSFile(str(root / "data-0.arrow"), "wb") as sink:
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    files = [{"filename": "data-0.arrow"}]
    layouts.dump(root / "state.json", {"_data_files": files, "_split": "train"})
    layouts.dump(root / "dataset_info.json", {"features": {}})


def _tfds(root: Path) -> None:
    import tensorflow_datasets as tfds

    class Small(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        code_path = epath.Path(__file__)

        def _info(self):
            box = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.Text()}
            features = {
                "image": tfds.features.Image(),
                "text": tfds.features.Text(),
                "objects": tfds.features.Sequence(box),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            box = tfds.features.BBox(0.1, 0.1, 0.5, 0.5)
            for number in range(2):
                thing = {"bbox": box, "label": "dog"}
                yield (
                    number,
                    {"image": io.BytesIO(layouts.jpeg()), "text": "a dog", "objects": [thing]},
                )

    builder = Small(data_dir=root / "made", file_format="array_record")
    builder.download_and_prepare()
    for file in Path(builder.data_path).iterdir():
        file.rename(root / file.name)


def _folder(root: Path) -> None:
    layouts.one_image(root / "1.jpg")
    layouts.dump(root / "1.json", {"question": "What?", "answer": "A dog"})
    layouts.one_image(root / "2.png")
    layouts.text(root / "2.txt", "一只狗\n")


def own() -> dict[str, Target]:
    csv = 'image,caption\n1.jpg,"a ""red"" dog"\n2.jpg,一只猫\n'
    return {
        "csv": _own("csv", lambda root: layouts.text(root / "train.csv", csv)),
        "tsv": _own("csv", lambda r: layouts.text(r / "train.tsv", csv.replace(",", "\t"))),
        "pairs_jsonl": _own("pairs_jsonl", lambda r: layouts.lines(r / "train.jsonl", PAIRS)),
        "pairs_json": _own("pairs_jsonl", lambda r: layouts.dump(r / "train.json", PAIRS)),
        "pairs_object": _own("pairs_jsonl", lambda r: layouts.dump(r / "t.json", {"data": PAIRS})),
        "llava_json": _own("llava_json", lambda root: layouts.dump(root / "train.json", TALK)),
        "parquet": _own("parquet", _columns),
        "hf_disk": _own("hf_disk", _disk),
        "tfds": _own("tfds", _tfds),
        "folder": _own("folder", _folder),
        "webdataset": _own("webdataset", lambda root: _web_tar(root.joinpath(""))),
    }


def _record_file(root: Path) -> None:
    layouts.one_image(root / "a.png")
    inside = {"images": [{"shard_key": "0.tar#512:10"}, {"shard_key": "t.parquet#0:image"}]}
    inside["turns"] = []
    layouts.lines(root / "mine.jsonl", [ROW, ROW | {"id": "mine/train/1"} | inside])
    layouts.tar(root / "0.tar", [("a.jpg", layouts.jpeg())])
    cells = [{"bytes": layouts.jpeg(), "path": "x.jpg"}]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells}), root / "t.parquet")


def _read_records(root: Path) -> None:
    path = root / "mine.jsonl"
    list(validate.check_file(path, decode=True))
    source = data_sources.open_source("jsonl", str(path), "train", tolerant=True)
    for index in range(len(source)):
        try:
            record = source.record(index)
            records_lib.dumps(record)
            for ref in record.images:
                source.image(ref)
        except DataError:
            pass


def _addresses(root: Path) -> None:
    for line in (root / "keys.txt").read_bytes().split(b"\n"):
        key = line.decode(errors="surrogateescape")
        for ref in (ImageRef(shard_key=key), ImageRef(path=key)):
            try:
                image_store.load(root, ref)
            except DataError:
                pass


def _keys(root: Path) -> None:
    _record_file(root)
    keys = "0.tar#512:100\nt.parquet#0:image/bytes\nmine.jsonl#0:/images/0/path\na.png\nx/../a.png"
    layouts.text(root / "keys.txt", keys)


def record_files() -> dict[str, Target]:
    return {
        "records": Target(_record_file, _read_records),
        "addresses": Target(_keys, _addresses),
        "json": Target(
            lambda root: layouts.dump(root / "a.json", [ROW]),
            lambda root: json_input.parse((root / "a.json").read_bytes(), "a.json"),
        ),
    }


# Checkpoints and tokenizers.

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
    "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_hidden_layers": 1, "rms_norm_eps": 1e-6, "vocab_size": 16, "rope_theta": 10000.0,
    "max_position_embeddings": 32, "tie_word_embeddings": False, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_act": "silu", "torch_dtype": "float32",
}  # fmt: skip


def _tensors(root: Path) -> None:
    save_file({"a": np.zeros((2, 3), np.float32)}, root / "model-1.safetensors")
    save_file({"b": np.zeros(3, np.float16)}, root / "model-2.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    layouts.dump(root / "model.safetensors.index.json", index)


def _read_tensors(root: Path) -> None:
    source = sources.open_source(root)
    for name in source.specs:
        source.read(name)


def _read_config(root: Path) -> None:
    raw = architectures.read_json(root / "config.json")
    architecture = architectures.read_architecture(raw, str(root))
    config_json.read_config(raw, architecture, str(root))


def _gguf(root: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(root / "model.gguf", "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_context_length(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("llama")
    every_byte = [f"<0x{value:02X}>" for value in range(256)]
    writer.add_token_list(["<unk>", "<s>", "</s>", *every_byte, "a"])
    writer.add_token_scores([0.0] * 260)
    writer.add_token_types([2, 3, 3, *[6] * 256, 1])
    shapes = {"attn_norm": (8,), "ffn_norm": (8,), "ffn_gate": (16, 8), "ffn_up": (16, 8)}
    shapes |= {"ffn_down": (8, 16)}
    shapes |= dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (8, 8))
    shapes = {f"blk.0.{name}": shape for name, shape in shapes.items()}
    shapes |= {"token_embd": (260, 8), "output_norm": (8,), "output": (260, 8)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _read_gguf(root: Path) -> None:
    from zv_jax.convert import gguf

    gguf.open_gguf(root / "model.gguf")


def weights() -> dict[str, Target]:
    found = {
        "safetensors": Target(_tensors, _read_tensors),
        "config.json": Target(lambda r: layouts.dump(r / "config.json", CONFIG), _read_config),
    }
    if importlib.util.find_spec("gguf"):  # of the environment of `make fuzz`
        found["gguf"] = Target(_gguf, _read_gguf)
    return found


def _sentencepiece(root: Path) -> None:
    words = ["a dog runs on the grass", "一只狗在草地上跑", "<human>:\n<bot>: What? 这是什么？"]
    tokenizers.train_sentencepiece(words * 5, 300, root)


BPE = {
    "version": "1.0", "added_tokens": [
        {"id": 0, "content": "<unk>", "special": True, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}],
    "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                                          "trim_offsets": True, "use_regex": True},
    "post_processor": None, "decoder": {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "byte_fallback": False,
              "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
              "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3}, "merges": ["a b"]},
}  # fmt: skip


def _read_tokenizer(path: Path, kind: str = "sentencepiece") -> None:
    tokenizer = tokenizers.load(path, kind)
    tokenizer.decode(tokenizer.encode("a dog 一只狗 ab"))


def tokenizer_files() -> dict[str, Target]:
    return {
        "sentencepiece": Target(
            _sentencepiece, lambda root: _read_tokenizer(next(root.glob("*.model")))
        ),
        "tokenizer.json": Target(
            lambda root: layouts.dump(root / "tokenizer.json", BPE),
            lambda root: _read_tokenizer(root / "tokenizer.json", "hf"),
        ),
    }


# Answers, and what runs leave behind.

REPLIES = """8 7
Score: 8 and 9, since (b) is [0.1, 0.2, 0.5, 0.6].
No, it isn't; the answer is B. yes? 是的，没有。选项(C)正确
<st>dog<ed> [0.1,0.2,0.3,0.4] a man's 1-1 e.g. U.S. 3.5% 😀 don't http://x.y/z?a=b
```json
{"answer": "A", "box": [12, 20, 30, 44]}
```"""


def score_reply(text: str) -> None:
    """All that is done with what a model answered."""
    options = ["a dog", "一只猫", "Yes", "12"]
    for lang in ("en", "zh"):
        exact_match.matches(text, ["a dog", "12"], lang, lenient=True)
        yes_no.parse_yes_no(text, lang=lang)
        choices.parse_choice(text, options, lang=lang)
    grounding.parse_box(text, repair=True)
    gqa.gqa_match(text, "dog")
    vqa.vqa_accuracy(text, ["dog"] * 10)
    judged.parse_judge_scores(text)
    reply.without_questions(reply.plain(text))
    ptb.ptb_tokenize(text)
    tokens.zh_char(text)
    tokens.spaced(text)


def _score_replies(root: Path) -> None:
    score_reply((root / "replies.txt").read_bytes().decode(errors="replace"))


def _predictions(root: Path) -> None:
    row = {"id": "mine/train/0", "prediction": "a dog"}
    layouts.lines(root / "predictions.jsonl", [row])


def _read_predictions(root: Path) -> None:
    record = records_lib.from_json(ROW)
    found = predictions.read(root / "predictions.jsonl", [record])
    rows = [{"id": key, "prediction": value.text} for key, value in found.items()]
    browser.page(rows, []).encode()


def _bench(root: Path) -> None:
    layouts.llava_bench(root, words=("What?", "A dog.", "dog"))
    layouts.lines(root / "answers.jsonl", [{"question_id": "0", "text": "a dog"}])


def _read_bench(root: Path) -> None:
    bench_lib.answers(root / "answers.jsonl", bench_lib.load(root, "en"))


def _ledger(root: Path) -> None:
    """A ledger with a reply and a lost try, and a batch file for two more."""
    body = {
        "choices": [{"message": {"content": "8 9"}}],
        "model": "m",
        "usage": {"prompt_tokens": 3},
    }
    with Ledger(root / "ledger.jsonl", "judge") as ledger:
        ledger.add([
            {"kind": "asked", "key": "a" * 64, "pack": "", "most": 0.5},
            {"kind": "lost", "key": "a" * 64, "pack": "", "reason": "timeout", "most": 0.5},
            {"kind": "answered", "key": "a" * 64, "pack": "", "time": 1, "usd": 0.25, "raw": body},
        ])  # fmt: skip
    entry = {"custom_id": "c" * 64, "response": {"status_code": 200, "body": body}}
    layouts.lines(root / "batch.jsonl", [entry, {**entry, "custom_id": "d" * 64}])


def _read_ledger(root: Path) -> None:
    """Its lines are chained anew, as anybody can: a hash keeps out mistakes, not people."""
    path, chained, chain = root / "ledger.jsonl", b"", "0" * 64
    for line in path.read_bytes().splitlines():
        body = re.sub(rb',"chain":"[^"]*"}$', b"}", line)
        chain = hashlib.sha256(chain.encode() + body).hexdigest()
        chained += body[:-1] + b',"chain":"' + chain.encode() + b'"}\n'
    path.write_bytes(chained)
    with Ledger(path, "judge") as ledger:
        batch_files.read(root / "batch.jsonl", ledger)
        for key in "acd":
            kept = ledger.get(key * 64)
            judged.parse_judge_scores(kept.text if kept else "")
    receipt.table(ledger.receipt.packs)


def answers() -> dict[str, Target]:
    return {
        "replies": Target(lambda r: layouts.text(r / "replies.txt", REPLIES), _score_replies),
        "predictions": Target(_predictions, _read_predictions),
        "bench": Target(_bench, _read_bench),
        "ledger": Target(_ledger, _read_ledger),
    }


SCORE = {
    "task": "caption", "lang": "en", "metric": "CIDEr", "value": 80.5, "n": 2,
    "interval": [70, 90.5], "controls": {"blind": 1.0}, "control_n": {"blind": 2},
    "unreadable": 0, "items": 2, "items_expected": 2, "ids_sha256": "ab", "protocol": "p",
}  # fmt: skip
SAMPLE = {
    "task": "ref_ground", "lang": "zh", "image": "images/a.png", "question": "在哪？", "id": "1",
    "references": ["[0.1,0.2,0.3,0.4]"], "prediction": "[0.1,0.2,0.3,0.4]", "correct": True,
    "box_true": [0.1, 0.2, 0.3, 0.4], "box_pred": [0.1, 0.2, 0.3, 0.4],
    "retrieved": [["images/a.png", 0.5]], "turns": [{"question": "a", "prediction": "b"}],
}  # fmt: skip


def _run(root: Path) -> None:
    rows = [{"step": 10 * i, "loss": 2.0 - i, "itc": 1.0, "steps_per_second": 2.5} for i in (1, 2)]
    layouts.lines(root / "stage1_base" / "metrics.jsonl", rows)
    config = {"train": {"steps": 20, "log_every": 10}, "data": {"sources": [{"name": "a"}]}}
    layouts.dump(root / "stage1_base" / "config.json", config)
    layouts.dump(root / "stage1_base" / "stage_table.json", [{"name": "a", "trained": True}])
    fault = {"step": 1, "source": "a", "record": "r", "what": "w", "where": "x"}
    layouts.lines(root / "stage1_base" / "substitutes.jsonl", [fault])
    layouts.dump(root / "stage1_base" / "census.json", [{"source": "a", "records": 5}])
    folder = root / "eval_stage1_base"
    layouts.dump(folder / "results.json", {"stage": "stage1", "scores": [SCORE]})
    samples = [SAMPLE, SAMPLE | {"task": "caption", "id": "2"}]
    layouts.lines(folder / "samples.jsonl", samples)
    layouts.lines(folder / "items.jsonl", [SCORE | {"id": "1", "values": [0.5]}])
    layouts.dump(folder / "attention.json", [{"image": "images/a.png", "query": 0, "grid": [1, 1],
                                              "weights": [1.0]}])  # fmt: skip
    layouts.one_image(folder / "images" / "a.png")
    layouts.lines(root / "times.jsonl", [{"name": "stage1_base", "seconds": 5}])


def _read_run(root: Path) -> None:
    page.render(inputs.read(root)).encode()
    read_jsonl(root / "stage1_base" / "metrics.jsonl")
    compare._scores(root / "eval_stage1_base")
    compare._items(root / "eval_stage1_base")


def runs() -> dict[str, Target]:
    return {"report": Target(_run, _read_run)}
