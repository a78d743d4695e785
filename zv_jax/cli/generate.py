"""`zv generate`: an answer about given images, several, or the answers to a file of questions."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from zv_jax.buckets import place
from zv_jax.cli import answering, question_file
from zv_jax.cli.arguments import existing_file, required
from zv_jax.cli.language import say
from zv_jax.cli.question_file import Answers, Asked
from zv_jax.errors import ConfigError, DataError
from zv_jax.inference.decoding import Sample
from zv_jax.parallel import runtime

if TYPE_CHECKING:
    from zv_jax.inference.answers import Answer
    from zv_jax.inference.model import Model

USAGE = (
    """
usage: zv generate --checkpoint PATH --image A.png [--image B.png] --prompt "..."
       zv generate --checkpoint PATH --prompts FILE [--output FILE]

  zv generate --checkpoint runs/quickstart/stage2_chat --image a.png --prompt "What is here?"
  zv generate --checkpoint runs/quickstart/stage2_chat --image a.png --prompt "图里有什么？"
  zv generate --checkpoint runs/quickstart/stage2_chat --image a.png --prompt "图里有什么？" \\
    --num_beams 5 --n 3 --logprobs
  zv generate --checkpoint runs/quickstart/stage2_chat --prompts questions.jsonl \\
    --output answers.jsonl

--image may be a folder: all its images, by name. A file of questions has one JSON object a line
(or is a .json list of them, or -: standard input):
  {"id": "7", "prompt": "What is here?", "images": ["a.png"]}
Answers are appended to --output as lines {"id": "7", "prediction": "..."}; the same command again
answers only what is missing. Rows that cannot be asked are listed at the end.
"""
    + answering.HELP
    + """
  --choice red --choice blue     allow nothing else
  --n 3        that many answers, a line each: the best of a search, or draws
  --logprobs   before each answer the sum of the log-probabilities of its tokens
"""
)
_AT_ONCE = 64  # questions between two writes
_LISTED = 10  # bad rows


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "workdir or checkpoint", flag_values=values)
    flags.DEFINE_multi_string("image", [], "an image or a folder; repeatable", flag_values=values)
    flags.DEFINE_string("prompt", None, "what to ask", flag_values=values)
    flags.DEFINE_string("prompts", None, "a file of questions", flag_values=values)
    flags.DEFINE_string("output", None, "the file of their answers", flag_values=values)
    flags.DEFINE_multi_string("choice", [], "an answer that is allowed", flag_values=values)
    flags.DEFINE_integer("n", None, "how many answers", 1, flag_values=values)
    flags.DEFINE_bool("logprobs", False, "print log-probabilities too", flag_values=values)
    answering.define(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint = place(required(values, "checkpoint", "runs/quickstart/stage2_chat"))
    if values.prompts is not None:
        _check_alone(values)
        _answer_file(values, checkpoint)
        return
    if values.output is not None:
        raise ConfigError("--output without --prompts", "--output", "a file of questions")
    prompt = required(values, "prompt", '"What is in the image?"')
    settings = _settings(values)
    images = [read_image(path) for name in values.image for path in image_files(name)]
    model = _loaded(checkpoint)
    if values.n is None and not values.logprobs:
        print(model.answer([prompt], [images], **settings)[0])
        return
    for answer in model.candidates([prompt], [images], **settings)[0]:
        sum_ = f"{answer.logprobs.sum():.4f}\t" if values.logprobs else ""
        print(f"{sum_}{answer.text}")


def _settings(values: flags.FlagValues) -> dict[str, Any]:
    """How the model is asked."""
    return dict(
        max_new_tokens=answering.longest(values),
        decoding=answering.decoding_of(values, bool(values.choice)),
        choices=values.choice or None,
        stop=values.stop,
    )


def _loaded(checkpoint: Path | str) -> Model:
    if sys.stderr.isatty():
        print(say("loading", path=checkpoint), file=sys.stderr)
    runtime.prepare()
    from zv_jax.inference.model import from_pretrained

    return from_pretrained(checkpoint)


def image_files(name: str) -> list[Path]:
    """The image, or all images of a folder by their names; `~` is the home directory.

    Raises:
        DataError: the folder has none.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        return [path]
    from zv_jax.data.images import decode as images

    found = sorted(file for file in path.iterdir() if images.is_named_so(file))
    if not found:
        raise DataError(
            "no image in the folder", str(path), f"files of {', '.join(images.FORMATS)}"
        )
    return found


def read_image(path: str | Path) -> bytes:
    """The file of the image at `path`, which can be decoded.

    The model decodes it once more, in its own way (`data.transparency`); but a bad file is told
    before a large model is loaded.

    Raises:
        DataError: there is no file, or it is no image that can be read.
    """
    from zv_jax.data.images import decode as images

    images.decode(existing_file(path, "image"))
    return Path(path).read_bytes()


# --- a file of questions ------------------------------------------------------------------------


def _check_alone(values: flags.FlagValues) -> None:
    for name in ("prompt", "image"):
        if values[name].value:
            raise ConfigError(
                f"--{name} beside --prompts",
                where=f"--{name}",
                expected="questions and images in the file, or one question of the command line",
                fix=f"leave --{name} out, or write it into the file",
            )


def _answer_file(values: flags.FlagValues, checkpoint: Path) -> None:
    settings = _settings(values)
    questions, bad = question_file.read(values.prompts)
    from zv_jax.checkpoints.identity import identity, pinned

    step = pinned(checkpoint)
    several = values.n is not None or values.logprobs
    output = None
    if values.output is not None:
        decoding = settings["decoding"]
        recorded = settings | {
            "decoding": {"method": type(decoding).__name__, **dataclasses.asdict(decoding)},
            "candidates": several,
            "checkpoint": identity(step),
        }
        output = Answers(Path(values.output).expanduser(), recorded, questions)
        questions = [asked for asked in questions if asked.id not in output.done]
    if questions:
        for rows in _answered(_loaded(step), questions, settings, several, bad):
            if output is not None:
                output.add(rows)
            else:
                for row in rows:
                    print(json.dumps(row, ensure_ascii=False), flush=True)
    if bad:
        raise _left_out(bad)


def _answered(
    model: Model,
    questions: Sequence[Asked],
    settings: dict[str, Any],
    several: bool,
    bad: list[DataError],
) -> Iterator[list[dict[str, Any]]]:
    """Rows of answers, batch by batch; what cannot be asked joins `bad`.

    A question draws by its place in the file, whatever was answered before.
    """
    decoding = settings["decoding"]
    for start in range(0, len(questions), _AT_ONCE):
        part, images = [], []
        for asked in questions[start : start + _AT_ONCE]:
            try:
                images.append(_seen(model, asked, settings))
                part.append(asked)
            except DataError as error:
                bad.append(DataError(error.what, f"id {asked.id}: {error.where}", error.expected))
        if not part:
            continue
        method = decoding
        if isinstance(method, Sample):
            seeds = method.seeds(max(asked.number for asked in part) + 1)
            seed = tuple(int(seeds[asked.number]) for asked in part)
            method = dataclasses.replace(method, seed=seed)
        prompts, how = [asked.prompt for asked in part], settings | {"decoding": method}
        if several:
            found = model.candidates(prompts, images, **how)
            yield [_row(asked, answers) for asked, answers in zip(part, found, strict=True)]
        else:
            texts = model.answer(prompts, images, **how)
            yield [
                {"id": asked.id, "prediction": text}
                for asked, text in zip(part, texts, strict=True)
            ]


def _seen(model: Model, asked: Asked, settings: dict[str, Any]) -> list[Any]:
    """The images of a question as the model sees them.

    Raises:
        DataError: one cannot be read, or the question does not fit.
    """
    images = list(model.processor.images([existing_file(path, "image") for path in asked.images]))
    if settings["choices"] is None:  # else the longest of them decides
        new = settings["max_new_tokens"]
        model.processor.question(asked.prompt, images, max_new_tokens=new)
    return images


def _row(asked: Asked, answers: Sequence[Answer]) -> dict[str, Any]:
    candidates = [
        {"text": a.text, "logprob": round(float(a.logprobs.sum()), 4)}
        for a in answers
        if a.logprobs is not None
    ]
    return {"id": asked.id, "prediction": answers[0].text, "candidates": candidates}


def _left_out(bad: Sequence[DataError]) -> DataError:
    shown = [f"{error.where}: {error.what}" for error in bad[:_LISTED]]
    if len(bad) > _LISTED:
        shown.append(f"and {len(bad) - _LISTED} more")
    return DataError(
        f"{len(bad)} rows were left out; all others are answered",
        where="\n".join(shown),
        expected='{"id": "7", "prompt": "What is here?", "images": ["a.png"]}',
        fix="mend these rows, and run the same command again: it answers what is missing",
    )
