"""What commands say to people, in English or Chinese: one catalogue, one way to choose.

`ZV_LANG` (en or zh) decides, else the locale; English is the default. Answers of a model are in
whatever language it was asked.
"""

from __future__ import annotations

import os

from zv_jax.errors import ConfigError

LANGUAGES = ("en", "zh")

_WORDS: dict[str, tuple[str, str]] = {
    "loading": ("loading {path} ...", "正在载入 {path} ……"),
    "greeting": (
        "Ask in English or Chinese. /image FILE adds an image, /help lists the commands, "
        "Ctrl-D leaves.",
        "请用中文或英文提问。/image 文件 添加图像，/help 列出命令，Ctrl-D 退出。",
    ),
    "help": (
        """\
/image FILE  show an image with the next question; repeat it for several
/retry       answer the last question again
/edit TEXT   ask TEXT in place of the last question; without TEXT, edit it here
/save FILE   write the conversation to a file
/load FILE   go on with a conversation from a file
/clear       forget the conversation
/help        this list
/quit        leave (so does Ctrl-D)
Ctrl-C       stop an answer""",
        """\
/image 文件  随下一个问题展示一幅图像；多幅图像重复此命令
/retry       重新回答上一个问题
/edit 文字   用“文字”代替上一个问题；不写文字则在此修改原问题
/save 文件   把对话写入文件
/load 文件   继续文件中的对话
/clear       忘掉对话
/help        显示本列表
/quit        退出（Ctrl-D 亦可）
Ctrl-C       停止回答""",
    ),
    "image": ("image {number}: {path}", "图像 {number}：{path}"),
    "stopped": (
        "(stopped; the conversation is as before; /retry asks again)",
        "（已停止；对话保持原样；/retry 重新提问）",
    ),
    "cleared": ("(the conversation is forgotten)", "（对话已清除）"),
    "saved": ("({turns} turns in {path})", "（{turns} 轮对话已存入 {path}）"),
    "loaded": ("({turns} turns from {path})", "（已从 {path} 载入 {turns} 轮对话）"),
    "nothing_asked": ("no question has been asked yet", "还没有提过问题"),
    "no_edit": ("write the new question after /edit", "请在 /edit 之后写出新问题"),
    "needs_file": ("write a file after {command}", "请在 {command} 之后写出文件"),
    "unknown": (
        "unknown command {command}; /help lists the commands",
        "没有命令 {command}；/help 列出所有命令",
    ),
}


def language() -> str:
    """One of `LANGUAGES`.

    Raises:
        ConfigError: `ZV_LANG` is none of them.
    """
    chosen = os.environ.get("ZV_LANG", "")
    if chosen and chosen not in LANGUAGES:
        raise ConfigError(
            f"ZV_LANG is {chosen!r}",
            where="the environment",
            expected="one of " + ", ".join(LANGUAGES),
            fix="unset ZV_LANG, or set it to one of these",
        )
    # The first of these that is set decides, as setlocale(3) says.
    names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next(filter(None, names), "")
    return chosen or ("zh" if locale.startswith("zh") else "en")


def say(key: str, **values: object) -> str:
    """The words of the catalogue under `key`."""
    return _WORDS[key][LANGUAGES.index(language())].format(**values)
