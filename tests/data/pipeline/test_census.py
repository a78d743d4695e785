"""What a run leaves out of its data and what its vocabularies do not know, counted first."""

import io
import json

import pytest
import sentencepiece

from zv_jax.data.pipeline import census, pipeline
from zv_jax.data.pipeline.assembler import Assembler
from zv_jax.data.pipeline.mixing import SampleRef
from zv_jax.data.text import tokenizers
from zv_jax.data.text.dialogue import TooLong
from zv_jax.errors import ConfigError


def row(number, **changes):
    plain = {
        "id": f"s/train/{number}",
        "source": "s",
        "split": "train",
        "task": "conversation",
        "lang": "en",
        "images": [{"path": "images/0.png"}],
        "turns": [{"role": "user", "text": "What?"}, {"role": "assistant", "text": "red"}],
    }
    return plain | changes


def images(count):
    return [{"path": f"images/{n}.png"} for n in range(count)]


def said(*answers):
    turns = []
    for answer in answers:
        turns += [{"role": "user", "text": "What?"}, {"role": "assistant", "text": answer}]
    return turns


LONG = "red " * 60


@pytest.fixture
def write(toy):
    """`write([row, ...])` replaces the record file."""

    def go(rows):
        lines = (json.dumps(r, ensure_ascii=False) if isinstance(r, dict) else r for r in rows)
        toy.write_text("".join(line + "\n" for line in lines), "utf-8")

    return go


@pytest.fixture
def counted(make_config, tokenizer):
    """`counted("stage2", ...)`: the one source's census."""

    def go(stage, variant="chat", words=None, **data):
        config = make_config(stage, variant, **data)
        return census.take(config, words or (tokenizer, tokenizer))[0]

    return go


def test_every_record_left_out_has_a_reason(write, counted):
    """More images than the row has places, other tasks and languages: never drawn, once silent."""
    write(
        [row(n) for n in range(4)]
        + [row(n, images=images(2)) for n in range(4, 9)]
        + [row(9, task="vqa"), row(10, task="caption", lang="zh")]
        + [row(11, lang="zh"), row(12, lang="en-zh")]
        + [row(13, turns=[{"role": "user", "text": "What?"}])]
        + ["no record"]
    )
    found = counted("stage2", sources=({"tasks": ("conversation",), "langs": ("en",)},))
    assert (found.records, found.samples) == (15, 4)
    assert found.left_out == {"unreadable": 1, "task": 2, "language": 2, "images": 5, "empty": 1}
    shown = "\n".join(census.lines([found]))
    assert "15 records, 4 samples" in shown and "1 unreadable, 2 task, 2 language" in shown


def test_records_of_other_splits_and_captions_of_no_image_are_counted(write, counted):
    write(
        [row(n) for n in range(4)]
        + [row(4, split="val"), row(5, id="s/val/6", split="val")]
        + [row(7, task="caption", images=[], turns=[], answers=["a red square"])]
    )
    found = counted("stage2", sources=({"split": "train", "tasks": ("conversation", "caption")},))
    assert (found.records, found.samples) == (7, 4)
    assert found.left_out == {"split": 2, "images": 1}


@pytest.mark.parametrize(
    "stage, variant, out",
    [("stage0", "base", 3), ("stage1", "chat", 3), ("stage2", "base", 3), ("language", "base", 0)],
)
def test_a_stage_leaves_out_images_by_its_own_rule(write, counted, stage, variant, out):
    caption = {"task": "caption", "turns": [], "answers": ["red"]}
    write([row(n, images=images(n), **caption) for n in range(4)])
    assert counted(stage, variant).left_out.get("images", 0) == out


def test_length_is_counted_apart_from_images_and_tasks(write, counted):
    write([row(0), row(1, turns=said(LONG)), row(2, turns=said("red", "blue", LONG))])
    found = counted("stage2", "base")
    assert (found.samples, found.too_long, found.exchanges, found.cut) == (3, 1, 1, 0)
    assert "all samples: 1 too long, 1 exchanges left out" in "\n".join(census.lines([found]))
    found = counted("stage2", "base", long_answers="cut")
    assert (found.too_long, found.exchanges) == (0, 0) and found.cut >= 2


def test_the_texts_of_a_large_source_are_sampled_and_the_census_says_so(
    write, counted, monkeypatch
):
    write([row(n, turns=said(LONG if n % 2 else "red")) for n in range(60)])
    exact = counted("stage2")
    assert (exact.samples, exact.looked_at, exact.too_long) == (60, 60, 30)
    monkeypatch.setattr(census, "MOST", 20)
    found = counted("stage2")
    assert (found.samples, found.looked_at) == (60, 20) and 0 < found.too_long < 20
    assert "of a sample of 20 samples" in "\n".join(census.lines([found]))
    assert counted("stage2") == found, "the same again"


def test_a_source_of_which_nothing_can_be_drawn_is_refused(write, counted):
    write([row(n, images=images(2)) for n in range(3)] + [row(3, task="retrieval")])
    with pytest.raises(ConfigError, match=r"sources\[0\] jsonl .* 4 records .*: 1 task, 3 images"):
        counted("stage2")
    write([row(n, turns=said(LONG)) for n in range(3)])
    with pytest.raises(ConfigError, match=r"nothing of sources\[0\] jsonl .* fits") as error:
        counted("stage2")
    assert error.value.where == "data.sources[0]" and "max_" in error.value.fix


def test_a_source_that_is_mostly_too_long_is_a_warning(write, make_config, tokenizer):
    write([row(n, turns=said("red" if n % 5 else LONG)) for n in range(20)])
    found = census.take(make_config("stage2"), (tokenizer, tokenizer))
    (warning,) = census.warnings(found)
    assert "20% OF THE SAMPLES OF sources[0]" in warning and "data.max_length" in warning
    write([row(n, turns=said("red" if n else LONG)) for n in range(20)])
    assert not list(census.warnings(census.take(make_config("stage2"), (tokenizer, tokenizer))))


def test_a_run_that_could_not_find_its_samples_does_not_begin(write, make_config, tokenizer):
    """One in 100 fits: of three draws one finds 100 in a row that do not."""
    write([row(n, turns=said(LONG if n else "red")) for n in range(100)])
    with pytest.raises(ConfigError, match="99 of 100 samples of .* are too long") as caught:
        census.take(make_config("stage2"), (tokenizer, tokenizer))
    assert caught.value.where == "data.sources[0]" and "max_length" in caught.value.fix


@pytest.mark.parametrize("question, cut", [("What?", 0), ("Is it " + "red or blue or " * 20, 3)])
def test_instructions_of_which_the_qformer_reads_only_the_end_are_counted(
    write, counted, question, cut
):
    turns = [{"role": "user", "text": question}, {"role": "assistant", "text": "red"}]
    write([row(n, turns=turns) for n in range(3)])
    found = counted("stage2", max_length=400, max_qformer_text=32)
    assert found.unread == cut
    assert ("3 instructions cut" in "\n".join(census.lines([found]))) == bool(cut)
    assert counted("stage2", "base", max_length=400).unread == 0, "its Q-Former reads none"


@pytest.mark.parametrize(
    "bad, what", [(1, "of 100 samples of .* in a row are too long"), (0, "100 samples of")]
)
def test_what_is_too_long_is_not_blamed_on_a_bad_record_among_it(
    write, make_config, tokenizer, bad, what
):
    rows = [row(n, turns=said(LONG)) for n in range(198)]
    write([*rows, *(row(198, images=[{"path": "no.png"}]) for _ in range(3 * bad))])
    config = make_config("stage2", max_bad=0.9)
    assembler = Assembler(pipeline.drawn_from(config), tokenizer, tokenizer, cache_images=False)
    with pytest.raises(TooLong, match=what) as caught:
        assembler([SampleRef(0, n, 0) for n in range(8)])
    assert "data.max_length" in caught.value.fix


@pytest.fixture(scope="module")
def english():
    """A vocabulary of English only, which cannot spell what it does not know, as that of BERT."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a red square", "What is it?"] * 20),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        control_symbols=list(tokenizers.CONTROL_PIECES),
        minloglevel=2,
    )
    return tokenizers.Tokenizer("sentencepiece", model.getvalue())


def test_a_vocabulary_that_does_not_know_a_language_is_loud(write, counted, tokenizer, english):
    caption = {"task": "caption", "turns": []}
    write(
        [row(n, answers=["a red"], **caption) for n in range(4)]
        + [row(n, answers=["红色的方块"], lang="zh", **caption) for n in range(4, 6)]
    )
    found = counted("stage0", words=(tokenizer, english))
    assert found.unknown == {"qformer": {"en": 0.0, "zh": 0.5}}
    (loud,) = census.warnings([found])
    assert "50.0% of the zh tokens" in loud and found.source in loud
    for command in ("zv tokenizer union", "zv tokenizer grow", "--config.init_from"):
        assert command in loud
    assert not list(census.warnings([counted("stage0")])), "its pieces spell every character"
    asked = [{"role": "user", "text": "什么？"}, {"role": "assistant", "text": "red"}]
    write([row(0, turns=asked, lang="zh")])
    assert counted("stage1", words=(tokenizer, english)).unknown["qformer"]["zh"] > census.LOUD
    assert "qformer" not in counted("stage1", "base", words=(tokenizer, english)).unknown


def test_a_token_that_stands_for_more_than_the_unknown_is_not_counted(english):
    assert english.unknown_id == english.unk_id == 0
    end = tokenizers.Tokenizer("sentencepiece", english.data)
    end._model.special["unk"] = end.eos_id  # as in Llama 3, which knows every byte
    assert end.unknown_id is None


def test_what_length_does_is_counted_while_drawing_and_is_no_fault(
    write, make_config, tokenizer, toy
):
    """A third of the samples is too long: replaced, counted, and far above `max_bad`."""
    write([row(n, turns=said(LONG if n % 3 == 0 else "red")) for n in range(60)])
    config = make_config("stage2", batch=6, max_bad=0.01)

    def drawn(**options):
        faults, counts = [], []
        stream = pipeline.make_pipeline(
            config,
            tokenizers=(tokenizer, tokenizer),
            report=lambda step, fault: faults.append(fault),
            shorten=lambda step, found: counts.append((step, dict(found))),
            **options,
        )
        index = [next(stream)["index"].tolist() for _ in range(10)]
        stream.close()
        return index, faults, counts

    index, faults, counts = drawn()
    name = f"sources[0] jsonl {toy} train"
    total = sum(found[name, "too_long"] for _, found in counts)
    assert not faults and total >= 20, "each of the twenty is drawn once, and some again"
    assert not {place for batch in index for place in batch if place % 3 == 0}
    parts = [drawn(rows=rows) for rows in ([0, 1, 2, 3], [4, 5])]
    for step, batch in enumerate(index):
        assert parts[0][0][step] + parts[1][0][step] == batch
    assert total == sum(n for _, _, part in parts for _, found in part for n in found.values())
    later = drawn(start_step=4)
    assert later[0][:6] == index[4:] and later[2][: len(counts)][0] in counts
