"""Filter 3: refusals, and talk about oneself, captions, boxes, prompts or translating."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zv_jax.bmmic.filters import words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.pair import Pair


@dataclass(frozen=True)
class Settings:
    """Which groups of `PATTERNS` to look for."""

    groups: tuple[str, ...] = ("refusal", "source", "prompt", "translator")


_SOURCE_EN = (
    r"(?:captions?|bounding box(?:es)?|annotations?|coordinates|object labels?|"
    r"tags|descriptions?|metadata|symbolic \w+)"
)
_SOURCE_ZH = (
    r"(?:描述|标题|标注|标注框|边界框|检测框|坐标|标签|字幕|文字说明|文本|提示|信息|上下文|图注)"
)
PATTERNS = {
    "refusal": (
        r"\bas an? (?:ai|artificial|language|large|text|visual assistant)|\bi(?:'m| am) "
        r"(?:an? )?(?:ai|"
        r"language model|unable|not able|sorry|afraid i)|\bsorry,? (?:but )?i\b|\bi "
        r"apologi[sz]e|\bmy apologies"
        r"|\bi (?:cannot|can't|can not|could not|couldn't|do not|don't) (?:actually "
        r")?(?:see|view|access|"
        r"assist|help|answer|provide|fulfil|comply|determine|analy[sz]e|have (?:the ability|"
        r"access|enough))"
        r"|\bmy training\b|\bopenai\b|\bchatgpt\b|\bno image (?:was|is|has been) "
        r"(?:provided|attached|given)"
        r"|\bplease (?:provide|upload|share) (?:an?|the|your|more) (?:image|photo|picture|"
        r"information|details)"
        r"|\bwithout (?:seeing|being able to see|access to) the image|\bagainst my "
        r"(?:guidelines|policy)",
        r"作为一[个名款位]?.{0,6}(?:人工智能|AI|ai|语言模型|助手|模型)|"
        r"我是一?[个名款]?(?:人工智能|AI|语言模型)"
        r"|(?:抱歉|对不起|不好意思|很遗憾)[，,。]?.{0,4}(?:我|无法|不能|这|图片)|我?(?:无法|"
        r"不能|没办法|没法)"
        r"(?:直接)?(?:查看|看到|看见|访问|识别|回答|提供|处理|分析|打开|获取|协助|满足|完成|"
        r"判断您|确认您)"
        r"|请(?:您|你)?(?:提供|上传|发送)(?:一张|更多|图片|图像|相关|清晰|具体)|"
        r"我没有(?:能力|权限|办法|看到|收到)"
        r"|没有(?:收到|看到)(?:任何)?(?:图片|图像)|很抱歉|我的训练",
    ),
    "source": (
        rf"\b(?:based on|according to|from|given|per|as|using|judging by) (?:the |these |those |"
        rf"your |all )?(?:\w+ ){{0,2}}{_SOURCE_EN}\b"
        rf"|\bthe (?:\w+ )?(?:captions?|annotations?|bounding box(?:es)?|descriptions?|coord"
        rf"inates|metadata) "
        r"(?:also |do |does |only |all |explicitly |clearly )*(?:mention|say|state|describe|"
        r"indicate|suggest|show|tell|note|provide|list|give|not)"
        r"|\b(?:mentioned|stated|described|given|listed|provided|indicated|specified) (?:in|"
        r"by) the (?:\w+ )?"
        r"(?:captions?|annotations?|descriptions?|boxes|bounding|text|context|information|data)"
        r"|\b(?:provided|given|available|supplied) (?:captions?|information|descriptions?|"
        r"context|text|annotations?|data|details|coordinates)\b"
        r"|\bbounding box(?:es)?\b|\bobject detect(?:ion|or)|\bconfidence score|\bthe captions?\b",
        rf"(?:根据|依据|按照|从|基于|由|结合|依照)(?:所|已|上述|以上|给出|提供|给定|这些|图"
        rf"片|图像|题目|前面)*的?{_SOURCE_ZH}"
        rf"(?!牌|墙)|(?:标注|描述|标题|字幕|说明|图注)(?:中|里|内容|文字|信息)*(?:还|也|均|"
        rf"都|只|并|并未|没有)?(?:提到|写到|写着|指出|说明|显示|表明|提及|说到)"
        r"|(?:标注框|边界框|检测框|包围框)|(?:所给|给定|给出|提供|已知)的?(?:描述|信息|标注|"
        r"文字|文本|坐标|标题|上下文)|物体检测|目标检测|置信度",
    ),
    "prompt": (
        r"\b(?:given|original|rewritten|new|system|above|following) (?:prompt|instruction|"
        r"question-answer)s?\b|"
        r"\brewritten\b|\bin-context|\bhere (?:is|are) (?:the|a|an|your|some|my) (?:\w+ "
        r"){0,3}(?:question|conversation|pair|"
        r"answer|response|description|rewrite|version|instruction)s?\b|\bcertainly!|"
        r"^\s*sure[!,.]|\bof course!|"
        r"\bi(?:'ll| will) (?:now )?(?:generate|create|rewrite|translate|describe)|\bas "
        r"requested|\bas an assistant"
        r"|\bi hope this helps|\blet me know if|\bfeel free to ask",
        r"(?:给定|原始|改写后?|重写后?|上述|系统|以上)的?(?:提示|指令|问答|问题对|提示词)|"
        r"(?:以下|下面)(?:是|为)(?:.{0,12})"
        r"(?:问答|对话|问题|回答|描述|改写|指令|版本)|^(?:当然[！!，,。]|好的[！!，,。]|"
        r"没问题[！!，,。])|按(?:照)?您的要求|希望(?:这|以上).{0,6}"
        r"(?:帮助|有用)|如有.{0,6}(?:问题|需要).{0,6}(?:随时|告诉)|示例[一二三\d]|我(?:将|"
        r"会)(?:生成|改写|翻译|描述)",
    ),
    "translator": (
        r"\btranslat(?:ion|ed|or)(?:'s)?(?: note)?s?\s*[:：]|\bnote\s*[:：]|\(\s*(?:note|"
        r"literally|translator)|"
        r"\bhere (?:is|'s) (?:the|my) (?:\w+ )?translation|\btranslated (?:text|version|as|"
        r"into|from)|\bin chinese\s*[:：]",
        r"(?:译文|翻译|中文翻译|翻译结果|中文|译者注|译注|注释|备注|原文|注)\s*[:：]|"
        r"[（(]\s*(?:注|译注|译者|此处|直译|意译|原文)"
        r"|(?:以下|下面|这)是.{0,10}(?:翻译|译文)|翻译(?:如下|为中文|成中文|完毕|完成)|译者|"
        r"直译为|原文(?:为|是|中)|英文原",
    ),
}
_COMPILED = {
    group: {"en": re.compile(en, re.I | re.M), "zh": re.compile(zh, re.I | re.M)}
    for group, (en, zh) in PATTERNS.items()
}


class MetaTalk(Filter):
    """Texts that show where they come from. What a sign in the image says may be anything."""

    name = "meta_talk"

    def complaint(self, pair: Pair) -> str | None:
        for turn in pair.turns:
            text = words.unquoted(words.normal(turn.text))
            for group in self.settings.groups:
                for pattern in _COMPILED[group].values():
                    found = pattern.search(text)
                    if found and not self._asked(pair, found[0], turn.role):
                        return f"{group}: {found[0].strip()[:60]!r}"
        return None

    @staticmethod
    def _asked(pair: Pair, found: str, role: str) -> bool:
        """A box may be spoken of where a box is answered; the user may speak of descriptions."""
        boxes = any(words.BOX.search(words.normal(a)) or "<obj_" in a for a in pair.answers)
        spoken = re.search(r"bounding|coordinates|框|坐标", found, re.I)
        return boxes and role == "user" and bool(spoken)
