"""Filter 1: the form of a pair: both sides, in turn, with nothing of a prompt left in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.pair import Pair
from zv_jax.data.records.record import mentioned


@dataclass(frozen=True)
class Settings:
    """Thresholds of `Schema`."""

    max_turns: int = 20  # of both sides together


_LEFT_OVER = re.compile(
    r"={3,}|#{3,}|-{5,}|<\|?\w*\|>|</?s>|\[/?INST\]|<st>|<ed>"
    r"|</?(?:question|answer|user|assistant|human|system|instruction|response|output|caption|think|"
    r"turn|问题|回答|答案|用户|助手)s?>"
    r"|[\[【](?:question|answer|user|assistant|instruction|response|问题|问|回答|答案|答|用户|助手)"
    r"\s*\d*[\]】]"
    r"|(?:^|\n)\s*\**(?:question|answer|user|assistant|human|gpt|instruction|response|q|a|system)"
    r"\s*\d*\**\s*[:：]"
    r"|(?:^|\n)\s*\**(?:问题|问|回答|答案|答|用户|助手|指令|回复|系统)\s*\d*\**\s*[:：]"
    r"|[\"']?(?:question|answer|instruction|response)[\"']\s*[:：]"
    r"|\{\{|\}\}|\{(?:caption|captions|image|question|answer|boxes|object|objects)\}"
    r"|\[(?:insert|your|placeholder)[^\]]*\]|```",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"json|list|format|table|letter|列表|格式|表格|信", re.I)
_ASKS = re.compile(
    r"^\s*(?:please\s+)?(?:what|who|whom|whose|where|when|why|which|how|is|are|was|were|do|"
    r"does|did|"
    r"can|could|would|will|should|has|have|describe|explain|tell|list|give|write|name|identify|"
    r"count|find|locate|provide|suggest|compare|summari[sz]e|point|answer|in |based|imagine|look|"
    r"suppose|if |given|considering|using|judging|discuss|from |create|make|pretend|"
    r"show|state|read|translate|estimate|infer|predict|analy[sz]e|help|rank|choose|mark|"
    r"i |i'm|we |my |act |let)",
    re.I,
)
_ASKS_ZH = re.compile(
    r"什么|谁|哪|几|多少|怎|为何|如何|是否|有没有|是不是|能否|能不能|会不会|可否|何|吗|呢|"
    r"请|描述|解释|说明|列出|"
    r"给出|写|指出|数一数|找出|告诉|介绍|概括|总结|比较|推测|分析|判断|用.{0,12}(?:字|句|词|"
    r"话)|想|假如|如果|我|讲|说"
)
_ORDERS = re.compile(
    r"^\s*(?:please\s+)?(?:describe|explain|tell me|list|identify|count|what|who|where|when|why|"
    r"which|how)\b",
    re.I,
)
_ORDERS_ZH = re.compile(r"^\s*请?(?:你)?(?:描述|解释|说明|列出|数一数|告诉我|介绍|指出)")
_FOR_QUESTIONS = re.compile(r"question|quiz|riddle|interview|\bask\b|提问|问题|谜|提出|采访", re.I)


class Schema(Filter):
    """Turns that alternate, from the user to the assistant, with nothing left over."""

    name = "schema"

    def complaint(self, pair: Pair) -> str | None:
        if pair.fault:
            return pair.fault
        roles = [turn.role for turn in pair.turns]
        if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
            return "turns do not alternate from user to assistant"
        if len(roles) > self.settings.max_turns:
            return f"{len(roles)} turns"
        return self._texts(pair) or self._roles(pair)

    def _texts(self, pair: Pair) -> str | None:
        # The translation of a question with several answers asks it once with each of them.
        images = sum(turn.text.count("<image>") for turn in pair.turns)
        given = sum(turn.text.count("<image>") for turn in pair.source)
        if images > max(1, given) or any("<image>" in answer for answer in pair.answers):
            return "<image> in the wrong place"
        for turn in pair.turns:
            if not turn.text.strip():
                return "an empty turn"
            if found := _LEFT_OVER.search(turn.text):
                return f"left over from a prompt: {found[0].strip()!r}"
            beyond = [k for k in mentioned(turn.text) if k >= len(pair.view.objects)]
            if beyond:
                return f"<obj_{beyond[0]}> of {len(pair.view.objects)} objects"
        return None

    def _roles(self, pair: Pair) -> str | None:
        for question, answer in pair.exchanges:
            if _reversed(question, answer):
                return f"the assistant asks: {answer[:60]!r}"
        return None


def _reversed(question: str, answer: str) -> bool:
    """Whether the answer is nothing but a question or an order, which nobody asked for."""
    if _FOR_QUESTIONS.search(question):
        return False
    sentences = [s for s in re.split(r"(?<=[.!?。！？])\s*", answer.strip()) if s]
    if sentences and all(s.endswith(("?", "？")) for s in sentences):
        return True
    asked = question.rstrip().endswith(("?", "？"))
    asked = asked or bool(_ASKS.match(question) or _ASKS_ZH.search(question))
    orders = _ORDERS.match(answer) or _ORDERS_ZH.match(answer)
    return not asked and (bool(orders) or answer.rstrip().endswith(("?", "？")))
