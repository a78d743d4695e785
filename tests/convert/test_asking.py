"""A model of others is asked as it was trained, and the conversion says how."""

import json
from dataclasses import replace

import pytest

from zv_jax.cli import main as cli
from zv_jax.config import recipe, validate
from zv_jax.convert import architectures, asking, export, hf, own_checkpoint, reader
from zv_jax.convert.formats import open_any
from zv_jax.errors import ConversionError
from zv_jax.models.prompt import ZIYA, PromptConfig

CONFIG = validate(recipe("tiny_chat", stage={"name": "stage2"}, data={"max_qformer_text": 64}))
TEMPLATES = {
    "llama2": "{{ '<s>[INST] ' + message['content'] + ' [/INST]' }}",
    "vicuna": "{{ 'USER: ' + message['content'] + ' ASSISTANT:' }}",
    "ziya": "{{ '<human>:' + message['content'] + '\n<bot>:' }}",
}


@pytest.mark.parametrize("kind", ["instructblip", "blip2"])
def test_models_of_lavis_are_asked_without_roles(directory, tmp_path, kind):
    """LAVIS gives the bare prompt to the language model, and InstructBLIP's Q-Former the same."""
    opened = hf.open_hf(directory(tmp_path / kind, kind))
    assert opened.config.model.prompt == PromptConfig("plain", "turn")
    assert "prompts: plain, as LAVIS asks its models" in opened.coverage.text()


def test_the_flag_has_the_last_word_and_the_report_says_so(directory, tmp_path, capsys):
    src, dst = str(directory(tmp_path / "src", "instructblip")), str(tmp_path / "dst")
    assert cli.main(["convert", "from-hf", src, dst, "--prompt_format=vicuna"]) == 0
    assert "prompts: vicuna, as --prompt_format says" in capsys.readouterr().out
    assert open_any(dst).config.model.prompt == PromptConfig("vicuna", "turn")
    with pytest.raises(ConversionError, match="unknown format 'vicunna'.*vicuna"):
        hf.open_hf(src, reader.Options(prompt_format="vicunna"))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("place", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_language_model_is_asked_as_its_chat_template_says(directory, tmp_path, name, place):
    folder = directory(tmp_path / "some-model", "llama")
    text = TEMPLATES[name]
    whole = json.dumps({"chat_template": text}) if place.endswith("json") else text
    (folder / place).write_text(whole, "utf-8")
    opened = hf.open_hf(folder)
    assert opened.config.model.prompt == PromptConfig(name, "turn")
    assert opened.coverage.notes == (f"prompts: {name}, as its chat template says",)


@pytest.mark.parametrize(
    "name, template, format, why",
    [
        ("vicuna-7b-v1.5", "", "vicuna", "as the name 'vicuna-7b-v1.5' says"),
        ("Llama-2-7b-chat-hf", "", "llama2", "as the name 'Llama-2-7b-chat-hf' says"),
        ("Ziya-LLaMA-13B-v1", "", "ziya", "as the name 'Ziya-LLaMA-13B-v1' says"),
        ("Llama-2-7b-hf", "", "ziya", "since nothing says another"),
        ("x", "<|im_start|>", "ziya", "since its chat template is none that is known here"),
    ],
)
def test_or_as_its_name_says(name, template, format, why):
    config, notes = asking.of_language_model(CONFIG, (name,), template)
    assert config.model.prompt == PromptConfig(format, "turn")
    assert notes == (f"prompts: {format}, {why}",)


@pytest.mark.parametrize("line", ["\n", "\\n"])
def test_the_system_message_of_a_chat_template_is_part_of_the_prompts(line):
    """Whether the template breaks its lines or spells the breaks."""
    template = (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system@You are small.<|im_end|>@'"
        " }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '@' + m['content'] "
        "+ '<|im_end|>@' }}{% endfor %}{{ '<|im_start|>assistant@' }}"
    ).replace("@", line)
    config, (note,) = asking.of_language_model(CONFIG, (), template)
    assert config.model.prompt == PromptConfig("chatml", "turn", system="You are small.")
    assert note == ("prompts: chatml, as its chat template says; the system says 'You are small.'")
    without = "{{ '<|im_start|>system\n' + text + '<|im_end|>\n' }}"
    assert asking.of_language_model(CONFIG, (), without)[0].model.prompt.system == ""


def test_the_release_of_ziya_visual_and_a_model_that_is_never_asked(tmp_path):
    config, (note,) = asking.of_directory(CONFIG, {}, architectures.ZIYA_BASE, tmp_path)
    assert config.model.prompt == ZIYA and note == "prompts: ziya, as Ziya-Visual is asked"
    silent = replace(CONFIG, stage=replace(CONFIG.stage, name="stage0"))
    assert asking.of_directory(silent, {}, architectures.RETRIEVAL, tmp_path)[1] == ()


def test_an_export_is_read_back_as_it_was(workdir, tmp_path):
    """Also one made before prompts had a format, whose Q-Former read the bare question."""
    out = tmp_path / "out"
    export.to_hf(own_checkpoint.open_checkpoint(workdir("stage1")), out)
    back = open_any(out).config
    assert back.model.prompt == ZIYA
    assert (back.data.max_qformer_text, back.data.transparency) == (32, "white")
    raw = json.loads((out / "config.json").read_text())
    stated = raw.pop("zv_jax")
    (out / "config.json").write_text(json.dumps(raw))
    assert open_any(out).config.model.prompt == PromptConfig("ziya", "question")
    for wrong, where in (
        ({**stated, "prompt": {"format": "x"}}, "model.prompt.format"),
        ({"prompt": stated["prompt"]}, "zv_jax"),
        ("ziya", "zv_jax"),
    ):
        (out / "config.json").write_text(json.dumps({**raw, "zv_jax": wrong}))
        with pytest.raises(ConversionError) as caught:
            open_any(out)
        assert where in caught.value.where


def test_the_card_of_an_older_checkpoint_gives_the_qformer_the_bare_question(workdir, tmp_path):
    model = own_checkpoint.open_checkpoint(workdir("stage1"))
    old = replace(
        model.config, model=replace(model.config.model, prompt=PromptConfig("ziya", "question"))
    )
    export.to_hf(replace(model, config=old), tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert card.count('inputs["qformer_input_ids"] = ') == 4  # two blocks in two languages
    assert card.count("[words(turns[-1][0])] * len(images)") == 2
    assert card.count("    read = words(question)\n") == 2
    assert "A text that spells a special token" in card and "文本中写出的特殊词元" in card


@pytest.mark.parametrize("command", ["from-peft", "to-hf", "to-lavis", "to-peft", "verify"])
def test_a_format_is_refused_where_the_checkpoint_says_it(tmp_path, command, capsys):
    words = [command, str(tmp_path / "a"), str(tmp_path / "b"), "--prompt_format=vicuna"]
    assert cli.main(["convert", *words]) == 2
    assert "--prompt_format" in capsys.readouterr().err
