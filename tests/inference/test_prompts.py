from zv_jax.config import recipe, validate
from zv_jax.data.text.dialogue import Exchange
from zv_jax.inference import prompts


def test_images_of_a_question_keep_their_order(tokenizer):
    """The first image is the first of the list; those of earlier exchanges are not shown again."""
    config = validate(
        recipe(
            "tiny_base",
            stage={"name": "stage2", "variant": "base"},
            model={"llm": {"vocab_size": 512}, "image_token_id": 511},
        )
    )
    past = (Exchange("two", "three", (0,)),)
    assert prompts.turns_of("two", 3)[-1].images == (0, 1, 2)
    assert prompts.turns_of("two", 3, past)[-1].images == (1, 2)
    processor = prompts.Processor(config, tokenizer, tokenizer)
    shown = processor.question("two", ["a", "b", "c"], max_new_tokens=5, history=past)
    assert shown.images == ("a", "b", "c")
