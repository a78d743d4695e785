"""A certificate on disk: `certificate.json` beside the weights, and a line of the model card."""

from __future__ import annotations

from pathlib import Path

from zv_jax.convert import card
from zv_jax.errors import ConversionError
from zv_jax.files import write_atomic, write_json, writing
from zv_jax.inference.certificate.certify import (
    CARD,
    DIFFERS,
    FILE,
    NOT_RUN,
    OURS,
    PASSED,
    TRANSFORMERS,
    VLLM,
    Certificate,
    Side,
)

_NAMES = {OURS: "zv_jax", TRANSFORMERS: "transformers", VLLM: "vLLM"}
_WORDS = {
    "en": {
        "line": "({dtype}, {of}, {count} questions in two languages with 0, 1 and 3 images): "
        "{sides}. Every layer: `{file}`.",
        "checkpoint": "compared with checkpoint {name}",
        "step": ", step {step}",
        "export": "compared with the export as zv_jax reads it",
        PASSED: "{name} passed",
        DIFFERS: "{name} DIFFERENT from `{layer}` on",
        NOT_RUN: "{name} not run",
        "between": "; ",
    },
    "zh": {
        "line": "（{dtype}，{of}，中英文问题共 {count} 个，含 0、1、3 张图像）：{sides}。"
        "各层结果见 `{file}`。",
        "checkpoint": "与检查点 {name} 比较",
        "step": "（第 {step} 步）",
        "export": "与 zv_jax 读入的导出结果比较",
        PASSED: "{name} 通过",
        DIFFERS: "{name} 自 `{layer}` 起不一致",
        NOT_RUN: "{name} 未运行",
        "between": "；",
    },
}


def write(found: Certificate, out: str | Path) -> None:
    """Writes both into the export `out`; without a model card only the first.

    Raises:
        ConversionError: the folder cannot be written.
    """
    out = Path(out)
    with writing("the certificate", out, "copy the export to such a folder", ConversionError):
        write_json(out / FILE, found.to_dict())
        if (out / CARD).is_file():
            lines = {lang: line(found, lang) for lang in _WORDS}
            text = card.with_certificate((out / CARD).read_text("utf-8"), lines)
            write_atomic(out / CARD, text.encode())


def line(found: Certificate, lang: str) -> str:
    """What the model card says of a certificate."""
    words, reference = _WORDS[lang], found.about["reference"]
    of = words["export"]
    if "name" in reference:
        step = words["step"] if reference["step"] is not None else ""
        of = (words["checkpoint"] + step).format(**reference)
    return words["line"].format(
        dtype=found.about["dtype"],
        of=of,
        count=len(found.about["questions"]),
        sides=words["between"].join(_said(side, words) for side in found.sides),
        file=FILE,
    )


def _said(side: Side, words: dict[str, str]) -> str:
    version = side.versions.get(side.name if side.name != OURS else "zv_jax")
    name = " ".join(filter(None, (_NAMES[side.name], version)))
    return words[side.status].format(name=name, layer=side.first and side.first.place.name)
