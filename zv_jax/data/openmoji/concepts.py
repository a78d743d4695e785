"""The concepts that can be drawn, and the names of categories, colours, places and sizes."""

from __future__ import annotations

import functools

from zv_jax.data.openmoji.files import data_file
from zv_jax.data.openmoji.scene import Concept
from zv_jax.errors import unknown_name

CATEGORIES: dict[str, tuple[str, str]] = {
    "animal": ("animals", "动物"),
    "food": ("food", "食物"),
    "drink": ("drinks", "饮料"),
    "vehicle": ("vehicles", "交通工具"),
    "plant": ("plants", "植物"),
    "sky": ("things in the sky", "天上的东西"),
    "thing": ("everyday objects", "日常用品"),
    "clothes": ("things to wear", "穿戴的东西"),
    "person": ("people", "人"),
    "face": ("faces", "表情"),
    "body": ("hands and parts of the body", "手势和身体部位"),
    "place": ("buildings and places", "建筑和地点"),
    "flag": ("flags", "旗帜"),
    "symbol": ("symbols", "符号"),
}
"""Category key to what several of them are called, ``(en, zh)``."""

COLOURS: dict[str, tuple[tuple[int, int, int], str, str]] = {
    "red": ((229, 96, 92), "red", "红色"),
    "orange": ((247, 164, 80), "orange", "橙色"),
    "yellow": ((250, 228, 105), "yellow", "黄色"),
    "green": ((132, 200, 122), "green", "绿色"),
    "blue": ((112, 164, 232), "blue", "蓝色"),
    "purple": ((168, 128, 212), "purple", "紫色"),
    "pink": ((252, 190, 212), "pink", "粉色"),
    "white": ((253, 253, 253), "white", "白色"),
    "grey": ((168, 172, 176), "grey", "灰色"),
    "brown": ((156, 114, 84), "brown", "棕色"),
}
"""Canvas key to ``(rgb, en, zh)``."""

PLACES: dict[str, tuple[str, str]] = {
    "top left": ("top left", "左上角"),
    "top": ("top", "上方"),
    "top right": ("top right", "右上角"),
    "left": ("left", "左边"),
    "centre": ("centre", "中间"),
    "right": ("right", "右边"),
    "bottom left": ("bottom left", "左下角"),
    "bottom": ("bottom", "下方"),
    "bottom right": ("bottom right", "右下角"),
}
"""Place key to ``(en, zh)``."""

SIZES: dict[str, tuple[str, str]] = {"small": ("small", "小"), "large": ("large", "大")}
"""Size key to ``(en, zh)``."""


@functools.cache
def load_concepts(which: str = "everyday") -> tuple[Concept, ...]:
    """Returns the concepts, in a fixed order, with unique keys and unique names in both languages.

    Args:
      which: ``"everyday"`` is the list in ``concepts.yaml``; ``"all"`` adds every emoji without a
        skin tone, named by the `emoji` package.

    Raises:
      ConfigError: any other value of ``which``.
      SetupError: the `emoji` package is missing (for ``"all"``).
    """
    if which not in ("everyday", "all"):
        raise unknown_name("concept list", which, ("everyday", "all"), "load_concepts")
    everyday = tuple(
        Concept(key, *fields, category=category, is_food=category == "food")
        for category, concepts in data_file("concepts.yaml").items()
        for key, fields in concepts.items()
    )
    if which == "everyday":
        return everyday
    from zv_jax.data.openmoji.emoji_names import emoji_concepts

    return everyday + emoji_concepts(everyday)
