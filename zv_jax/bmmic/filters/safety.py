"""Filter 11: no private facts, no names for faces, nothing harmful, no image without a licence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zv_jax.bmmic.filters import words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.pair import Pair


@dataclass(frozen=True)
class Settings:
    """What `Safety` asks for."""

    licence: bool = True  # of every view


_PRIVATE = {
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "a telephone number": re.compile(
        r"(?<![\d.])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d|\.\d)"
        r"|(?<![\d.])(?:\+?1[- .]?)?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?!\d|\.\d)"
        r"|(?<![\d.])0\d{2,3}[- ]\d{7,8}(?!\d|\.\d)|(?<!\d)\+\d{1,3}[- ]?(?:\d[- ]?){8,12}(?!\d)"
    ),
    "a postal address": re.compile(
        rf"[{words.HAN}]{{1,8}}[市区县镇][{words.HAN}]{{1,12}}(?:路|街|巷|道|弄|胡同)\s*\d+\s*号"
        r"|(?<!\w)\d{1,5} (?:[A-Z][a-z]+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive|"
        r"Boulevard|Blvd)\b\.?,? (?:Apt|Apartment|Flat|Unit|[A-Z][a-z]+)"
    ),
    "an identity number": re.compile(
        r"(?<!\d)[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)"
        r"|(?<![\d-])(?!000|666)\d{3}-\d{2}-\d{4}(?![\d-])"
        r"|(?:passport|护照)\D{0,12}[A-Z]{1,2}\d{7,8}"
    ),
}
_CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
_HARM = re.compile(
    r"\b(?:porn\w*|nudes?|naked|how to (?:make|build) (?:a |an )?(?:bomb|explosive|weapon)s?|"
    r"kill (?:your|him|her|them)sel(?:f|ves)|commit suicide|genitals?|erotic\w*|sexual acts?|"
    r"subhuman|inferior race)\b|色情|裸体|裸照|自杀方法|制作炸弹|制造炸弹|性行为|割腕|"
    r"劣等民族|低等种族",
    re.I,
)
_NAME = r"[A-Z][a-z]+(?:[ -](?:[A-Z]\.|[A-Z][a-z]+|de|van|von|bin))*[ -][A-Z][a-zA-Z]+"
_CUE = (
    r"(?:(?:man|woman|person|boy|girl|lady|gentleman|player|singer|actor|actress|politician|"
    r"athlete|"
    r"celebrity|president|individual|he|she|they|these|those|this|guy|musician|"
    r"star|face|people)(?: \w+){0,6}? "
    r"(?:is|was|looks like|appears to be|seems to be|must be|named|called|known as|"
    r"recogni[sz]ed as|"
    r"identified as|resembles|are)(?: (?:clearly|definitely|probably|likely|actually|none "
    r"other than|"
    r"the|a|an|famous|former|well-known|legendary|american|british|chinese|french|actor|"
    r"actress|singer|"
    r"player|basketball|football|tennis|soccer|president|politician|businessman|star|"
    r"celebrity|pop|film|"
    r"movie|rock|us|u\.s\.|entrepreneur|director|musician|rapper|professional|chef|cook|"
    r"painter|artist|author|writer|scientist|astronaut|king|queen|prince|princess|coach|"
    r"swimmer|skier|surfer|dancer|model|host|comedian|boxer|golfer|racer|driver|pianist|"
    r"champion|leader|chairman|ceo|founder)){0,6}"
    r"|(?:actor|actress|singer|president|prime minister|celebrity|politician|football(?:er)?|star|"
    r"billionaire|rapper|named|called))"
)
_EN_PERSON = re.compile(rf"\b(?i:{_CUE}),? (?P<name>{_NAME})")
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶"
    "程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟"
    "熊秦邱江尹薛闫段章葛佟关苗凌霍齐梅盛林倪柳骆岳庞樊兰殷施洪翟安颜温舒屈项祝阮季纪舒鲁裴"
    "陶管路牛蓝辛游耿焦巩桂席谷鞠冉鹿巫宁靳蔚邢邬刁古楼单鲍俞景雷侯龙史陶黎贺顾毛郝龚邵万钱"
    "严覃武戴莫孔向汤成甘"
)
_ZH_CUE = (
    r"(?:名叫|叫做|名字是|姓名是|名为|就是|认出|看起来像是|应该是|这是|他是|她是|(?:男|"
    r"女)?(?:人|子|士|生|孩|性)是|球员是|歌手是|演员是|"
    r"(?:著名|知名|当红|前|美国|中国|英国|法国|好莱坞)?(?:演员|歌手|明星|球星|总统|主席|"
    r"导演|企业家|政治家|运动员|主持人|影星|巨星|偶像|首相|富豪))"
    r"(?:[:：]|著名|知名|的|是|当红|美国|中国|英国|篮球|足球|网球|电影|流行|演员|歌手|明星|"
    r"球星|总统|主席|导演|企业家|政治家|运动员|主持人|前)*"
)
_ZH_PERSON = re.compile(
    rf"{_ZH_CUE}(?P<name>[{words.HAN}]{{1,6}}[·•][{words.HAN}]{{1,8}}|(?:欧阳|司马|诸葛|上官"
    rf"|[{_SURNAMES}])[{words.HAN}]{{1,2}}"
    r"(?=[，。,.！!？?；;、的在和与正着]|$))"
)
_NO_NAMES = frozenset("高大 高的 高个 高兴 金色 金属 金毛 白色 白天 白鸽 黄色 黄昏 黄牛 "
                      "马上 马匹 马路 石头 石桥 石狮 石雕 方形 方桌 龙舟 "
                      "江边 江面 江水 田野 田地 田园 夏天 夏季 白云 白马 白鹅 黄狗 黄瓜 "
                      "高楼 高铁 高塔 高跟 林中 叶子 金鱼 石板 石阶 熊猫 雷雨 "
                      "毛巾 毛衣 毛笔 毛绒 万里 汤匙 成年 成人 成群 任何 余下 程序 何时 "
                      "向日 钱包 孙子 严肃 白猫 白狗 黄猫 白鹭 白兔 马车 马戏 "
                      "向左 向右 向前 白衣 黄衣 高山 石子 石像 龙虾 甘蔗 汤圆 钟表 钟楼 "
                      "方便 方向 许多 万物 白熊 石墙".split())  # fmt: skip


class Safety(Filter):
    """Looks at the texts of both sides; a name that a caption gives may be kept."""

    name = "safety"

    def complaint(self, pair: Pair) -> str | None:
        if self.settings.licence and not pair.view.licence.strip():
            return "an image without a licence"
        captions = "\n".join(t for lines in pair.view.captions.values() for t in lines)
        for turn in pair.turns:
            text = words.normal(words.BOX.sub(" ", words.normal(turn.text)))
            for what, pattern in _PRIVATE.items():
                found = pattern.search(text)
                if found and found[0] not in captions:  # what a sign says may be read out
                    return f"{what}: {_masked(found[0])}"
            if any(_luhn(found[0]) for found in _CARD.finditer(text)):
                return "a card number"
            if found := _HARM.search(text):
                return f"harmful: {found[0]!r}"
            if name := _name(text, captions):
                return f"names a person: {name}"
        return None


def _name(text: str, captions: str) -> str | None:
    for pattern in (_EN_PERSON, _ZH_PERSON):
        for found in pattern.finditer(text):
            name = found["name"]
            if name not in captions and name[:2] not in _NO_NAMES and name not in _NO_NAMES:
                return name
    return None


def _masked(text: str) -> str:
    return text[:2] + "…"


def _luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
