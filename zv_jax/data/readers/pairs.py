"""Web-scale pairs of an image and its alternative text: url lists, and img2dataset's tars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.data.readers import files, tars, wording
from zv_jax.data.readers.base import Request, each, reader, texts
from zv_jax.data.readers.columnar import PARQUET, table_rows, whole
from zv_jax.data.readers.custom import addresses
from zv_jax.data.readers.files import Row
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.storage import parquet

LANGS = {"cc3m": "en", "cc12m": "en", "sbu": "en", "wukong": "zh", "laion_zh": "zh"}
# Per split the files of urls and texts; tars of downloaded images are taken instead where found.
LISTS = {
    "cc3m": {
        "train": ("Train_GCC-training.tsv", "Train%2FGCC-training.tsv"),
        "val": ("Validation_GCC-1.1.0-Validation.tsv", "*Validation.tsv"),
    },
    "cc12m": {"train": ("cc12m.tsv",)},
    "wukong": {"train": ("wukong_release/wukong_100m_*.csv", "wukong_100m_*.csv")},
}
_FACTS = ("similarity", "punsafe", "pwatermark")  # columns that a later filter may use


def _pair(request: Request, native: object, text: Any, image: ImageRef, **meta: Any) -> Record:
    text = str(text or "")
    text = wording.closed_up(text) if request.name == "cc3m" else wording.without_masks(text)
    answers = texts([text])
    return request.record(
        native, "caption", LANGS[request.name], [image], answers=answers, meta=meta
    )


def _downloaded(request: Request) -> Iterator[Record] | None:
    """Records of the tars of img2dataset, if there are any."""
    root = request.root
    shards = sorted(root.glob(f"{request.split}/*.tar")) or sorted(root.glob("*.tar"))
    if not shards:
        return None
    request.refuse_others(shards)
    return (record for shard in shards for record in _shard(request, shard))


def _shard(request: Request, shard: Path) -> Iterator[Record]:
    for sample in tars.samples(shard):
        facts = _facts(sample)
        # LAION-High is several languages in one release.
        other = request.name == "laion_zh" and facts.get("LANGUAGE", "zh") != "zh"
        text = str(sample.texts.get("txt") or facts.get("caption") or "")
        if other or not sample.images or not wording.without_masks(text):
            continue
        (image, *_) = addresses(request, shard, sample)
        meta = {k: facts.get(k) for k in ("url", *_FACTS)}
        yield _pair(request, f"{shard.stem}/{sample.key}", text, image, **meta)


def _facts(sample: tars.Sample) -> dict[str, Any]:
    """What img2dataset writes about a pair."""
    where = f"{sample.where}.json"
    facts = json_input.parse(sample.texts["json"], where) if "json" in sample.texts else {}
    if not isinstance(facts, dict):
        raise files.not_as_published(where, "it is no JSON object")
    return facts


@reader("cc3m", "cc12m", "wukong")
def url_lists(request: Request) -> Iterator[Record]:
    """Tables of two columns, a url and a text, in either order and with or without a header."""
    lists = LISTS[request.name]
    request.one_of(lists)
    found = _downloaded(request)
    if found is not None:
        yield from found
        return
    number = 0
    for path in files.find_all(request.root, *lists[request.split]):
        delimiter = "," if path.suffix == ".csv" else "\t"
        for row in files.table(path, delimiter, ("a", "b"), quoted=delimiter == ","):
            url, text = _url_first(row)
            if url is None:
                if row.number == 0:
                    continue  # the header
                raise files.not_as_published(row.where, "no column holds a url")
            if wording.without_masks(text):
                yield _pair(request, number, text, ImageRef(url=url))
                number += 1


def _url_first(row: Row) -> tuple[str | None, str]:
    """(url, text): Conceptual 3M has the text first, 12M the url; headers are not to be trusted."""
    a, b = row["a"].strip(), row["b"].strip()
    if a.startswith(("http://", "https://")):
        return a, b
    return (b, a) if b.startswith(("http://", "https://")) else (None, "")


@reader("sbu")
def sbu(request: Request) -> Iterator[Record]:
    """Two text files, line by line, or one JSON with two lists."""
    request.one_of(["train"])
    found = _downloaded(request)
    if found is not None:
        yield from found
        return
    name = "SBU_captioned_photo_dataset_{}.txt"
    urls_file = request.root / name.format("urls")
    if urls_file.is_file():
        captions = files.find(request.root, name.format("captions"))
        urls = [text for _, text in files.text_lines(urls_file)]
        said = [text for _, text in files.text_lines(captions)]
        where = str(captions)
    else:
        path = files.find(request.root, name.format("urls"), "sbu-captions-all.json")
        both = files.json_file(path)
        urls, said = both.of("image_urls", list), both.of("captions", list)
        where = str(path)
        if not all(isinstance(text, str) for text in (*urls, *said)):
            raise files.not_as_published(where, "a url or a caption is no text")
    if len(urls) != len(said):
        raise files.not_as_published(where, f"{len(said)} texts for {len(urls)} urls")
    for number, (url, text) in enumerate(zip(urls, said, strict=True)):
        if text.strip():
            yield _pair(request, number, text, ImageRef(url=url.strip()))


@reader("laion_zh")
def laion_zh(request: Request) -> Iterator[Record]:
    """The Chinese rows of (Re)LAION-High-Resolution: Parquet of urls, or img2dataset's tars."""
    request.one_of(["train"])
    found = _downloaded(request)
    if found is not None:
        yield from found
        return
    for path in files.find_all(request.root, "*.parquet", "**/*.parquet"):
        with whole(path, PARQUET):
            table = parquet.Table(path)
            have = set(table.schema.names)
            wanted = ("URL", "TEXT", "WIDTH", "HEIGHT", "LANGUAGE", *_FACTS)
            batches = table.batches([name for name in wanted if name in have])
        rows = (
            Row(row, f"{path} row {number}", number)
            for number, row in enumerate(table_rows(path, batches))
        )
        yield from each(rows, lambda row, stem=path.stem: _laion(request, stem, row))


def _laion(request: Request, stem: str, row: Row) -> Iterator[Record]:
    if row["LANGUAGE"] == "zh" and str(row["TEXT"] or "").strip():
        sides = (int(row[k]) if row.get(k) else None for k in ("WIDTH", "HEIGHT"))
        width, height = sides
        image = ImageRef(url=row["URL"], width=width or None, height=height or None)
        facts = {k: row.get(k) for k in _FACTS}
        yield _pair(request, f"{stem}/{row.number}", row["TEXT"], image, **facts)
