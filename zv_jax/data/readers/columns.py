"""Which column of an own table holds what: their usual names, `--columns`, and what is unused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from zv_jax.data.readers import cells
from zv_jax.data.readers.cells import Entry
from zv_jax.data.readers.intake import BadRow
from zv_jax.data.records.record import Record
from zv_jax.errors import DataError, nearest

USUAL: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "image": (
        (
            *("image", "images", "image_path", "image_paths", "img", "imgs", "img_path"),
            *("photo", "photos", "picture", "pictures", "jpg", "jpeg", "png"),
            *("图片", "图像", "照片", "图", "圖片", "圖像", "影像"),
        ),
        ("image_file", "image_name", "image_url", "file_name", "filename", "file", "path"),
    ),
    "url": (("url",), ()),
    "caption": (
        ("caption", "captions", "text", "txt", "描述", "文本", "图注", "圖註", "說明", "说明"),
        ("title", "description", "标题", "標題"),
    ),
    "instruction": (("instruction", "指令"), ()),
    "question": (
        ("question", "questions", "text_input", "query", "prompt")
        + ("问题", "問題", "提问", "提問"),
        (),
    ),
    "input": (("input", "inputs", "输入", "輸入"), ()),
    "answer": (
        (
            *("answer", "answers", "text_output", "output", "outputs", "response", "completion"),
            *("reply", "回答", "答案", "答复", "答復", "答覆", "输出", "輸出"),
        ),
        ("label", "target"),
    ),
    "options": (("options", "choices", "选项", "選項"), ()),
    "answer_index": (("answer_index", "answer_idx", "correct_choice_idx"), ()),
    "conversations": (
        ("conversations", "conversation", "messages", "texts", "qa_pairs", "对话", "對話"),
        (),
    ),
    "history": (("history", "历史", "歷史"), ()),
    "system": (("system", "system_prompt"), ()),
    "objects": (("objects",), ()),
    "weights": (("weights",), ()),
    "id": (("id", "uid", "question_id"), ()),
    "lang": (("lang", "language", "语言", "語言"), ()),
    "task": (("task",), ()),
    "split": (("split",), ()),
}
"""What a column may be called when `--columns` does not name it; the second list is taken only
where no column of the first has a value."""

SPLITS = {
    "train": ("train", "training", "训练", "訓練", "训练集", "訓練集"),
    "val": ("val", "valid", "validation", "dev", "eval", "验证", "驗證", "验证集", "驗證集"),
    "test": ("test", "testing", "测试", "測試", "测试集", "測試集"),
}
_JOINED = ("image", "caption", "instruction", "question", "input", "answer")
_NUMBERED = re.compile(r"(image|img|photo|picture|图片|圖片|图|圖)[ _-]?\d+", re.IGNORECASE)
_MEDIA = re.compile(r"video|audio|image|img|photo|picture|图片|图像|圖|照片|视频|音频")
CONTENT = ("instruction", "question", "input", "answer", "options", "conversations", "history")
"""Roles whose columns are never left out unseen."""
_SAYS = re.compile(
    r"context|hint|passage|system\w*|上下文|语境|語境|提示|(options?|choices?|选项|選項)[ _-]?\w",
)
"""Names of what changes the answer to a question, for which there is no role."""
_NAME_OF_AN_IMAGE = re.compile(
    r"(images?|imgs?|photo|picture|pic|coco|flickr|图片|图像|照片|图|圖片|圖像|圖)[ _-]?"
    r"(ids?|names?|key|index|idx|no|number|hash|u?uid|md5|sha1|sha256|编号|編號|号|號|名|名称|名稱)"
)
_ASKS = re.compile(r"ask|quest|query|prompt|instruct|问|問")


class Columns:
    """Finds the columns of the roles in each row."""

    def __init__(self, named: Mapping[str, Any], ignored: Collection[str], where: str):
        """`named`: {role: column or columns} of `--columns`; `ignored`: columns of `--ignore`.

        Raises:
          DataError: there is no such role, or it cannot have several columns.
        """
        for role in named:
            if role not in USUAL:
                raise DataError(
                    f"--columns names {role!r}{nearest(role, USUAL)}",
                    where=where,
                    expected="ROLE=COLUMN with a role of " + ", ".join(USUAL),
                    fix="correct --columns",
                )
            if role not in _JOINED and not isinstance(named[role], str) and len(named[role]) > 1:
                raise DataError(
                    f"--columns names {role!r} twice",
                    where=where,
                    expected="one column for it; several only for " + ", ".join(_JOINED),
                    fix="name one of them",
                )
        self.named = {r: [c] if isinstance(c, str) else list(c) for r, c in named.items()}
        self.ignored = set(ignored)
        self._cache: dict[tuple[str, ...], dict[str, list[list[str]]]] = {}
        self._where = where
        self._seen: set[str] = set()

    def of(self, names: Iterable[str]) -> dict[str, list[list[str]]]:
        """{role: [columns], [columns to take instead]} among the columns there are."""
        key = tuple(names)
        if key not in self._cache:
            self._seen.update(key)
            self._cache[key] = self._find(key)
        return self._cache[key]

    def _find(self, names: tuple[str, ...]) -> dict[str, list[list[str]]]:
        taken = {c for columns in self.named.values() for c in columns} | self.ignored
        free = [name for name in names if name not in taken]
        found: dict[str, list[list[str]]] = {}
        for role, groups in USUAL.items():
            if role in self.named:
                found[role] = [[c for c in self.named[role] if c in names], []]
                continue
            strong, weak = (
                [c for u in group for c in free if c.strip().lower() == u] for group in groups
            )
            found[role] = [strong, weak]
        if "image" not in self.named and not found["image"][0]:
            numbered = [name for name in free if _NUMBERED.fullmatch(name)]
            found["image"][0] = sorted(numbered, key=natural)
        return found

    def leaves_out(self, name: str) -> bool:
        """Whether `--ignore` names it, a column or what stands within one."""
        if name in self.ignored:
            self._seen.add(name)
        return name in self.ignored

    def check(self) -> None:
        """To be called when all columns have been seen.

        Raises:
          DataError: `--columns` or `--ignore` names a column that there is not.
        """
        named = [column for columns in self.named.values() for column in columns]
        for flag, wanted in (("--columns", named), ("--ignore", self.ignored - {"system"})):
            for column in wanted:
                if self._seen and column not in self._seen:
                    raise DataError(
                        f"{flag} names {column!r}{nearest(column, self._seen)}",
                        where=self._where,
                        expected="a column of " + ", ".join(sorted(self._seen)),
                        fix=f"correct {flag}",
                    )


def unread(
    entry: Entry, column: str, role: str | None, shown: Sequence[str], record: Record
) -> None:
    """Refuses a column that was not used but that is content all the same.

    Args:
      role: that its name stands for, if any.
      shown: the columns with the images of the row.
      record: what the row became without it.

    Raises:
      DataError: it holds images or other media, or belongs to what is asked or answered.
      BadRow: it names an image, and the row has none.
    """
    value, name = entry.fields[column], column.strip().lower()
    if not record.images and _NAME_OF_AN_IMAGE.fullmatch(name):
        raise _an_image_is_meant(entry, column)
    if entry.images is not None and isinstance(value, str) and cells.looks_like_image(value):
        return  # what the image beside the row is called
    named = _MEDIA.fullmatch(re.sub(r"[^a-z一-鿿]|s$", "", name))
    like = cells.looks_like_image(value)
    encoded = like and isinstance(value, bytes | Mapping | list)
    another = like and (not record.images or (role is None and _MEDIA.search(name)))
    if encoded or (named and role not in ("image", "url")) or another:
        raise not_an_image(entry, column, "is used for nothing", shown)
    texts = [turn.text for turn in record.turns] + list(record.answers or ())
    if value in texts:
        return  # said already
    words = says_something(value)
    number_of_a_class = role == "answer" and name in USUAL["answer"][1] and not words
    content = role in CONTENT and not number_of_a_class
    asked = bool(record.turns)
    if role is None and words:
        content = bool(asked and _SAYS.fullmatch(name))
        content |= not asked and bool(_ASKS.search(name) or says_something(value, asking=True))
    if content:
        raise DataError(
            f"Column {column!r} is used for nothing, but belongs to what is "
            f"{'asked' if asked else 'asked or answered'}: {cells.described(value)}",
            where=entry.where,
            expected="a question in one column and its answer in another, or a caption",
            fix="say what is what, as --columns=question=...,answer=..., or leave it out on "
            "purpose: " + cells.flag(f"--ignore={column}"),
        )


def says_something(value: Any, asking: bool = False) -> bool:
    """Whether there is a text in it that is no address: words, or a question."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return any(says_something(item, asking) for item in value)
    if not isinstance(value, str) or cells.looks_like_image(value) or "://" in value:
        return False
    return value.rstrip().endswith(("?", "？")) if asking else any(map(str.isalpha, value))


def a_caption(entry: Entry, answer: str, others: Iterable[str]) -> None:
    """Refuses an answer alone as a caption where another column holds a text, maybe its question.

    Raises:
      DataError: one does.
    """
    for column in others:
        if says_something(entry.fields[column]):
            raise DataError(
                f"Column {answer!r} is an answer, and nothing says to what: column {column!r} is "
                "not understood",
                where=entry.where,
                expected="a question in a column called " + ", ".join(USUAL["question"][0][:4]),
                fix=f"say so with {cells.flag(f'--columns=question={column}')}, leave it out with "
                f"{cells.flag(f'--ignore={column}')}, or learn the answer as a caption: "
                + cells.flag(f"--columns=caption={answer}"),
            )


def not_an_image(entry: Entry, column: str, but: str, shown: Sequence[str] = ()) -> DataError:
    """The error for a column that looks like images but is taken for something else; `shown` are
    the columns with the images that the row has."""
    mend = ",".join(f"image={name}" for name in (*shown, column))
    return DataError(
        f"Column {column!r} looks like images or other media but {but}: "
        f"{cells.described(entry.fields[column])}",
        where=entry.where,
        expected="images in a column called " + ", ".join(USUAL["image"][0][:6]) + "...",
        fix=f"say so with {cells.flag(f'--columns={mend}')}, or leave it out with "
        + cells.flag(f"--ignore={column}"),
    )


def _an_image_is_meant(entry: Entry, column: str) -> BadRow:
    """The error for a row that names an image it does not have: a question about nothing."""
    return BadRow(
        f"Column {column!r} names an image, {cells.described(entry.fields[column])}, and the row "
        "has none",
        where=entry.where,
        expected="the path of the image in a column called " + ", ".join(USUAL["image"][0][:4]),
        fix="write its path there, or learn the texts alone: " + cells.flag(f"--ignore={column}"),
    )


def usual_split(name: str) -> str:
    """`val` for `validation`, `Dev`...; another name in small letters."""
    name = name.lower()
    return next((split for split, names in SPLITS.items() if name in names), name)


def natural(name: object) -> list[Any]:
    """A key that sorts names as people do: 2 before 10."""
    parts: list[Any] = re.split(r"(\d+)", str(name))
    digits = (part.lstrip("0") for part in parts[1::2])
    parts[1::2] = [(len(part), part) for part in digits]  # no int: there may be thousands
    return parts
