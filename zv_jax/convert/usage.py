"""The lines of a model card that use the model in transformers, with the answers of `zv generate`.

A question about an image goes through the processor, which tokenises one text for the language
model and the Q-Former. It asks one row at a time: with several of unequal length the processor puts
padding between the image and the text, and InstructBLIP answers otherwise. More turns or images are
put together from the same parts, since the processor puts one image in front of one text.
"""

from __future__ import annotations

from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.models.prompt import PromptConfig

_EXAMPLES = {
    "en": ("What is in the image?", "a red square", "And what is in this one?"),
    "zh": ("图里有什么？", "一个红色的方块", "这张图里呢？"),
}
_TITLES = {
    "en": {
        "one": "A question about an image:",
        "turns": "Several turns and images (below the lines above):",
        "text": "Questions:",
        "scores": "How well a text fits an image (larger is better):",
        "float": 'zv generate computes in dtype="float32"',
        "open": "question, answer, images of the turn",
        "special": "A text that spells a special token, as `</s>`, `<s>` or `[SEP]`, is that token "
        "in transformers; zv_jax reads it as plain text.",
    },
    "zh": {
        "one": "就一张图像提问：",
        "turns": "多轮对话与多张图像（接在上面的代码之后）：",
        "text": "提问：",
        "scores": "文本与图像的匹配程度（越大越好）：",
        "float": 'zv generate 以 dtype="float32" 计算',
        "open": "问题、回答、该轮的图像",
        "special": "文本中写出的特殊词元（如 `</s>`、`<s>`、`[SEP]`）在 transformers 中即为该词元；"
        "zv_jax 则按普通文本读入。",
    },
}


def usage(model: OwnCheckpoint, name: str, lang: str) -> str:
    """Markdown for the class `name`, its blocks of Python to be run one after the other."""
    titles, (question, answer, more) = _TITLES[lang], _EXAMPLES[lang]
    load = _LOAD.format(name=name, float=titles["float"])
    shown = _OPEN[model.config.data.transparency]
    if name == "Blip2ForImageTextRetrieval":
        return _block(titles["scores"], load + shown + _SCORES.format(text=answer))
    prompt = model.config.model.prompt
    talk = _prompt(prompt) + _answers(prompt)
    if name == "LlamaForCausalLM":
        load = _LOAD_TEXT.format(float=titles["float"])
        block = _block(titles["text"], load + talk + _TEXT.format(question=question))
        return f"{block}\n\n{titles['special']}"
    sees = name == "InstructBlipForConditionalGeneration"
    one = _ONE.format(
        bare=_BARE if sees and prompt.qformer_text == "question" else "",
        truncation="truncation=True, " if sees else "",
    )
    example = shown + f'print(answers(ask("{question}", image)))'
    turns = _TURNS.format(
        bos=_bos(prompt),
        mark="bos" if prompt.words.first_bos else "eos",
        closing=f" + {prompt.words.closing!r}" if prompt.words.closing else "",
        asked=_ASKED.format(text=_instruction(prompt, "turns[-1][0]")) if sees else "",
    )
    talked = _TALKED.format(question=question, answer=answer, more=more, open=titles["open"])
    return "\n\n".join(
        (
            _block(titles["one"], load + talk + one + example),
            _block(titles["turns"], turns + talked),
            titles["special"],
        )
    )


def _block(title: str, code: str) -> str:
    return f"{title}\n\n```python\n{code}\n```"


def _prompt(prompt: PromptConfig) -> str:
    words = prompt.words
    text = " + ".join(
        filter(None, (_quoted(words.before), "words(question)", _quoted(words.after)))
    )
    opening = words.opening
    if prompt.system:
        opening += words.system_before + prompt.system + words.system_after
    if opening or words.between:
        text = f"({opening!r} if first else {words.between!r}) + {text}"
    return f"{_WORDS}\n\ndef prompt(question, first=True):\n    return {text}\n"


def _bos(prompt: PromptConfig) -> str:
    """The line that begins a turn with `<s>`, where one is begun so."""
    words = prompt.words
    if words.every_bos:
        when = "" if words.first_bos else " * (not first)"
    elif words.first_bos:
        when = " * first"
    else:
        return ""
    return f"        row += [tokenizer.bos_token_id]{when}\n"


def _quoted(text: str) -> str:
    return repr(text) if text else ""


def _answers(prompt: PromptConfig) -> str:
    stop = f".split({prompt.words.stop!r})[0]" if prompt.words.stop else ""
    return _ANSWERS.format(stop=stop)


def _instruction(prompt: PromptConfig, question: str) -> str:
    return f"{'prompt' if prompt.qformer_text == 'turn' else 'words'}({question})"


_LOAD = """from PIL import Image, ImageOps
from transformers import AutoProcessor, {name}

path = "."
processor = AutoProcessor.from_pretrained(path)
model = {name}.from_pretrained(path, dtype="auto").eval()  # {float}
"""
_LOAD_TEXT = """from transformers import AutoModelForCausalLM, AutoTokenizer

path = "."
processor = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, dtype="auto").eval()  # {float}
"""
_OPEN = {
    "black": """

image = ImageOps.exif_transpose(Image.open("image.png")).convert("RGB")
""",
    "white": """

image = ImageOps.exif_transpose(Image.open("image.png")).convert("RGBA")
image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
""",
}
_SCORES = """inputs = processor(images=image, text="{text}", truncation=True, return_tensors="pt")
print(model(**inputs).logits_per_image)"""
_WORDS = """

def words(question):
    return question.replace("<image>", "").strip()
"""
_ANSWERS = """

def answers(inputs, max_new_tokens=64):
    ids = model.generate(**inputs, max_new_tokens=max_new_tokens)
    texts = processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text{stop}.strip() for text in texts]
"""
_TEXT = """

texts = [prompt("{question}")]
print(answers(processor(texts, padding=True, return_tensors="pt")))"""
_ONE = """

def ask(question, image):
    inputs = processor(images=image, text=prompt(question), {truncation}return_tensors="pt")
{bare}    return inputs
"""
_BARE = """    read = words(question)
    read = processor.qformer_tokenizer(read, truncation=True, return_tensors="pt")
    inputs["qformer_input_ids"] = read["input_ids"]
    inputs["qformer_attention_mask"] = read["attention_mask"]
"""
_TURNS = """import torch


def talk(turns):
    tokenizer, row, images = processor.tokenizer, [], []
    for question, answer, new in turns:
        first = tokenizer.{mark}_token_id not in row
        images += new
        row += [model.config.image_token_id] * (processor.num_query_tokens * len(new))
{bos}        row += tokenizer(prompt(question, first), add_special_tokens=False)["input_ids"]
        if answer is not None:
            row += tokenizer(answer.strip(){closing}, add_special_tokens=False)["input_ids"]
            row += [tokenizer.eos_token_id]
    inputs = processor.image_processor(images, return_tensors="pt")
    inputs["input_ids"] = torch.tensor([row])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
{asked}    return inputs
"""
_ASKED = """    read = processor.qformer_tokenizer(
        [{text}] * len(images), truncation=True, return_tensors="pt"
    )
    inputs["qformer_input_ids"] = read["input_ids"]
    inputs["qformer_attention_mask"] = read["attention_mask"]
"""
_TALKED = """

turns = [  # {open}
    ("{question}", "{answer}", [image]),
    ("{more}", None, [image]),
]
print(answers(talk(turns)))"""
