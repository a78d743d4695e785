"""`chat_template.jinja`: messages become the rows of training in any server that renders it.

The template follows `zv_jax/serving/messages.py`: images of a message precede its text, texts of
several messages of the user are lines of one question, and a system's text is a line above the next
question, or in the words that the format has for it. Each image is one `<image>`, which a server
replaces by as many as the model has queries. The rendered text begins with `<s>` where ours does,
so it is to be tokenised without more of them.
"""

from __future__ import annotations

import json

from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.models.prompt import PromptConfig

FILE = "chat_template.jinja"


def chat_template(prompt: PromptConfig, tokenizer: Tokenizer, image: str = "") -> str:
    """The template of a model that is asked in the format `prompt`.

    Args:
        image: stands for one image; empty for a language model, which refuses images.

    Training tokenises a prompt and its answer apart, a server the two as one text. Where the
    tokenizer begins each text with a blank (LLaMA's SentencePiece does), a blank between the two
    gives the same ids. Without such a blank (byte-level BPE) they are the same unless pieces of
    the vocabulary join the end of the prompt's format to a word.
    """
    words = prompt.words
    bos = {(True, True): "true", (True, False): "first", (False, True): "not first"}
    known = {
        "OPENING": words.opening,
        "BETWEEN": words.between,
        "SYSTEM_BEFORE": words.system_before,
        "SYSTEM_AFTER": words.system_after,
        "SYSTEM": prompt.system,
        "BEFORE": words.before,
        "AFTER": words.after,
        "CLOSING": words.closing,
        "JOINT": " " if begins_with_blank(tokenizer) else "",
        "IMAGE": image,
    }
    text = _TEMPLATE if image else _TEMPLATE.replace(_IMAGES, "")
    text = text.replace("@TOLD@", _SYSTEM if words.system_before else _ABOVE)
    text = text.replace("@BOS@", bos.get((words.first_bos, words.every_bos), "false"))
    for name, value in known.items():
        text = text.replace(f"@{name}@", _literal(value))
    return text


def begins_with_blank(tokenizer: Tokenizer) -> bool:
    """Whether a word at the start of a text has the ids it has behind a blank."""
    ids = tokenizer.encode("a a")
    return ids[: len(ids) // 2] == ids[len(ids) // 2 :]


def _literal(text: str) -> str:
    """`text` as a string of Jinja, which has the escapes of JSON."""
    return json.dumps(text, ensure_ascii=False)


_IMAGES = """
{%- elif part['type'] in ('image', 'image_url') -%}
{%- set here.images = here.images + @IMAGE@ -%}"""

_ABOVE = """
{%- set lines = system + lines -%}"""

_SYSTEM = """
{%- set told = (system | select | join("\\n")) or (@SYSTEM@ if first else "") -%}
{%- if told -%}{{- @SYSTEM_BEFORE@ + told + @SYSTEM_AFTER@ -}}{%- endif -%}"""

_TEMPLATE = """{%- macro turn(images, system, lines, first) -%}
{{- images -}}
{%- if @BOS@ -%}{{- bos_token -}}{%- endif -%}
{{- @OPENING@ if first else @BETWEEN@ -}}@TOLD@
{{- @BEFORE@ + (lines | select | join("\\n") | trim) + @AFTER@ -}}
{%- endmacro -%}
{%- set talk = namespace(system=[], asked=[], images="", first=true) -%}
{%- for message in messages -%}
{%- set here = namespace(texts=[], images="") -%}
{%- if message['content'] is string -%}
{%- set here.texts = [message['content']] -%}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'text' -%}
{%- set here.texts = here.texts + [part['text']] -%}
{%- elif part['type'] in ('image', 'image_url') -%}
{%- set here.images = here.images + @IMAGE@ -%}
{%- else -%}
{{- raise_exception("this model cannot read a part of type " + part['type']) -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- set text = here.texts | join("\\n") | replace("<image>", "") | trim -%}
{%- if message['role'] == 'user' -%}
{%- if not text and not here.images -%}
{{- raise_exception("a message of the user is empty: leave it out") -}}
{%- endif -%}
{%- set talk.asked = talk.asked + [text] -%}
{%- set talk.images = talk.images + here.images -%}
{%- elif here.images -%}
{{- raise_exception("an image in a message of the " + message['role'] + ": only a user's may") -}}
{%- elif message['role'] == 'assistant' -%}
{%- if not talk.asked -%}
{{- raise_exception("an answer without a question: send user, assistant, ..., user") -}}
{%- endif -%}
{{- turn(talk.images, talk.system, talk.asked, talk.first) -}}
{%- if text -%}{{- @JOINT@ + text -}}{%- endif -%}
{{- @CLOSING@ + eos_token -}}
{%- set talk.system = [] -%}
{%- set talk.asked = [] -%}
{%- set talk.images = "" -%}
{%- set talk.first = false -%}
{%- else -%}
{%- set talk.system = talk.system + [text] -%}
{%- endif -%}
{%- endfor -%}
{%- if not talk.asked or messages[-1]['role'] != 'user' -%}
{{- raise_exception("there is no question to answer: the last message must be the user's") -}}
{%- endif -%}
{{- turn(talk.images, talk.system, talk.asked, talk.first) -}}
"""
