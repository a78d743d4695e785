import pytest

from zv_jax.data.text.dialogue import Exchange, dialogue_row
from zv_jax.errors import DataError
from zv_jax.inference import answers
from zv_jax.inference.chat import Chat
from zv_jax.inference.decoding import Beam, Greedy, Sample
from zv_jax.inference.prompts import Processor


@pytest.fixture
def said(model, monkeypatch):
    """(Chat of a model, every prompt it was given)."""
    talker, prompts = model("stage2", "chat"), []
    question = Processor.question

    def record(*arguments, **settings):
        prompts.append(question(*arguments, **settings))
        return prompts[-1]

    monkeypatch.setattr(Processor, "question", record)
    return Chat(talker, max_new_tokens=5), prompts


def test_every_prompt_is_the_start_of_the_training_row(said, shown):
    chat, prompts = said
    chat.ask("What is in the picture?", images=shown[:1])
    chat.ask(" two ")
    last = chat.ask("图里有什么？", images=[shown[2], shown[1]])
    assert [turn.images for turn in chat.history] == [(0,), (), (1, 2)]
    assert chat.history[1].question == "two" and chat.history[2].answer == last
    model = chat.model.config.model
    for n, prompt in enumerate(prompts):
        row = dialogue_row(
            chat.history[: n + 1],
            chat.model.tokenizer,
            num_queries=model.qformer.num_queries,
            image_token_id=model.image_token_id,
            max_length=200,
            where="test",
            only_last=True,
        )
        asked = row.labels.index(next(label for label in row.labels if label != -100))
        assert prompt.input_ids == row.input_ids[:asked]
    tokens = chat.model.qformer_tokenizer
    assert prompts[2].qformer_ids == [
        tokens.cls_id,
        *tokens.encode("<human>:图里有什么？\n<bot>:"),
        tokens.sep_id,
    ]


def test_images_stay_in_the_order_shown(said, shown):
    chat, prompts = said
    chat.ask("two", images=shown[:2])
    chat.ask("Where is it?", images=shown[2:])
    assert [prompt.images for prompt in prompts] == [tuple(shown[:2]), tuple(shown)]


def test_a_long_conversation_forgets_texts_and_no_images(said, shown):
    chat, prompts = said
    chat.ask("two", images=shown[:1])
    for _ in range(3):
        chat.ask(9 * "图里有什么？")
    cfg = chat.model.config.model
    ids = prompts[-1].input_ids
    assert len(ids) <= cfg.llm.max_positions - 5
    assert ids[: cfg.qformer.num_queries] == [cfg.image_token_id] * cfg.qformer.num_queries
    assert ids.count(cfg.image_token_id) == cfg.qformer.num_queries
    assert ids[cfg.qformer.num_queries] == chat.model.tokenizer.bos_id


def test_reset_and_mistakes(said, shown, tmp_path):
    chat, prompts = said
    first = chat.ask("two", images=shown[:1])
    with pytest.raises(DataError, match="not found"):
        chat.ask("three", images=[tmp_path / "no.png"])
    assert chat.history == (Exchange("two", first, (0,)),)
    chat.reset()
    assert chat.history == ()
    assert chat.ask("two", images=shown[:1]) == first
    assert prompts[0].input_ids == prompts[-1].input_ids


@pytest.mark.parametrize("decoding", [Greedy(), Sample(1.2, seed=4), Beam(2)])
def test_a_stream_gives_the_answer_in_pieces(model, shown, decoding):
    talker = model("stage2", "chat")
    asked, streamed = (Chat(talker, decoding, max_new_tokens=8) for _ in range(2))
    for text, images in (("What is in the picture?", shown[:1]), ("图里还有什么？", ())):
        pieces = list(streamed.stream(text, images))
        assert "".join(pieces) == asked.ask(text, images)
        assert all(pieces)
    assert streamed.history == asked.history


def test_a_stream_that_is_not_read_to_its_end_leaves_the_conversation(model, shown):
    chat = Chat(model("stage2", "chat"), max_new_tokens=8)
    pieces = chat.stream("What is in the picture?", shown[:1])
    next(pieces, None)
    pieces.close()
    assert chat.history == () or len(chat.history) == 1


def test_what_may_begin_another_turn_is_held_back(model):
    prompt = model("stage2", "chat").config.model.prompt
    assert prompt.words.stop == "<human>:"
    for text, known in (("red <hum", "red"), ("red <", "red"), ("red <human>: two", "red"),
                        ("a < b", "a < b"), ("红\ufffd", "红")):  # fmt: skip
        assert answers.settled(text, prompt, ()) == known
