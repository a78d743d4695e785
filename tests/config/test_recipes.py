"""Recipes from the command line: every one is valid, overrides work, mistakes are explained."""

import importlib
from pathlib import Path

import ml_collections
import pytest
from absl import flags

from zv_jax.cli import main as cli
from zv_jax.config import Config, recipe, validate
from zv_jax.config import flags as recipes
from zv_jax.data.text import chinese_pieces
from zv_jax.errors import ConfigError

QUICKSTART = importlib.import_module("zv_jax.configs.quickstart")
ALL = [("quickstart", arg) for arg in QUICKSTART.RECIPES] + [
    (f"stage{n}", variant) for n in (0, 1, 2) for variant in ("base", "chat")
]


def load(*arguments: str) -> ml_collections.ConfigDict:
    values = flags.FlagValues()
    recipes.parse(values, list(arguments), "config", "zv test")
    return values.config


@pytest.mark.parametrize("name, arg", ALL)
def test_every_recipe_is_valid(name, arg):
    config = validate(load(f"--config=configs/{name}.py:{arg}"))
    assert isinstance(config, Config)
    if name == "quickstart":
        assert config.model.preset == f"quickstart_{config.stage.variant}"
    else:
        assert (config.stage.name, config.stage.variant) == (name, arg)
        assert config.model.preset == f"ziya_visual_{arg}_13b"
    assert config.data.max_qformer_text + config.model.qformer.num_queries <= 512
    assert config.data.max_length <= config.model.llm.max_positions
    assert config.optimizer.warmup_steps < config.train.steps


@pytest.mark.parametrize("name", ["quickstart", "stage0", "stage1", "stage2"])
def test_recipes_have_a_default_a_runbook_and_refuse_other_arguments(name):
    module = importlib.import_module(f"zv_jax.configs.{name}")
    validate(module.get_config())
    assert "zv train --config configs/" in module.__doc__
    with pytest.raises(ConfigError, match="nothing"):
        module.get_config("nothing")


def test_stage_0_has_the_numbers_of_the_paper():
    config = validate(load("--config=configs/stage0.py:base"))
    o = config.optimizer
    assert (o.lr, o.b1, o.b2, o.eps) == (1e-5, 0.9, 0.9, 1e-8)
    assert (o.weight_decay, o.clip_norm) == (0.05, 2.0)
    assert (config.train.batch_size, config.train.steps) == (2048, 90_000)


# All that bert-base-uncased's vocab.txt has of Chinese: ids 1740 to 1983.
BERT_KNOWS = """
一三上下不世中主久之也事二五井京人亻仁介代仮伊会佐侍保信健元光八公内出分前劉力加勝北区十千南博原
口古史司合吉同名和囗四国國土地坂城堂場士夏外大天太夫奈女子学宀宇安宗定宣宮家宿寺將小尚山岡島崎川
州巿帝平年幸广弘張彳後御德心忄志忠愛成我戦戸手扌政文新方日明星春昭智曲書月有朝木本李村東松林森楊
樹橋歌止正武比氏民水氵氷永江沢河治法海清漢瀬火版犬王生田男疒発白的皇目相省真石示社神福禾秀秋空立
章竹糹美義耳良艹花英華葉藤行街西見訁語谷貝貴車軍辶道郎郡部都里野金鈴镇長門間阝阿陳陽雄青面風食香
馬高龍龸
"""


def test_the_qformers_table_has_a_row_for_each_piece_of_the_union():
    known = "".join(BERT_KNOWS.split())
    assert len(set(known)) == 244
    characters = [*chinese_pieces.characters("gb2312"), *chinese_pieces.characters("big5")]
    rows = 30_522 + 1 + len(set(characters) - set(known))  # [DEC] is the one
    for stage in ("stage0:chat", "stage1:chat", "stage2:chat", "stage0:base"):
        config = validate(load(f"--config=configs/{stage}"))
        assert config.model.qformer.vocab_size == config.data.qformer_tokenizer.vocab_size == rows
    english = validate(load("--config=configs/stage0:chat,english"))
    assert english.model.qformer.vocab_size == english.data.qformer_tokenizer.vocab_size == 30_523
    assert (config.data.max_text, english.data.max_text) == (64, 32)


@pytest.mark.parametrize("variant", ["base", "chat"])
def test_the_papers_shapes_are_a_word(variant):
    model = validate(load(f"--config=configs/stage1.py:{variant},7b,256x768")).model
    assert model.vision.tokens == 256 and model.qformer.pre_proj_dim == 768
    assert model.qformer.num_queries == 64 and model.llm.width == 4096


def test_quickstart_stages_start_from_each_other():
    assert load("--config=configs/quickstart.py:stage2_chat").init_from == (
        "runs/quickstart/stage1_chat",
    )


def test_overrides():
    config = load(
        "--config.train.steps=7",  # before the recipe: order does not matter
        "--config",
        "configs/quickstart.py:stage0",
        "--config.optimizer.lr=1",
        "--config.init_from=a,b",
        "--config.data.sources[0].tasks=vqa,caption",
        "--noconfig.data.cache_images",
        "--config.stage.variant",
        "chat",
    )
    c = validate(config)
    assert c.train.steps == 7 and c.optimizer.lr == 1.0
    assert c.init_from == ("a", "b")
    assert c.data.sources[0].tasks == ("vqa", "caption")
    assert c.data.cache_images is False and c.stage.variant == "chat"
    assert validate(load("--config=configs/stage1.py", "--config.init_from=")).init_from == ()


def test_sources_of_ones_own():
    sources = "({'name': 'jsonl', 'path': 'mine.jsonl', 'langs': ('zh',)},)"
    config = validate(load("--config=configs/stage1.py:chat", f"--config.data.sources={sources}"))
    assert config.data.sources[0].path == "mine.jsonl"
    assert config.data.sources[0].langs == ("zh",)


@pytest.mark.parametrize(
    "override, where, words",
    [
        ("--config.train.stps=3", "train.stps", "did you mean 'train.steps'"),
        ("--config.trin.steps=3", "trin.steps", "did you mean 'train.steps'"),
        ("--config.train.steps.more=3", "train.steps.more", "unknown"),
        ("--config.data.sources[4].path=x", "data.sources[4].path", "unknown"),
        ("--config.data.sources[0].pth=x", "data.sources[0].pth", "sources[0].path"),
        ("--config.train.steps=1e3", "train.steps", "a whole number"),
        ("--config.optimizer.lr=fast", "optimizer.lr", "a number"),
        ("--config.data.cache_images=maybe", "data.cache_images", "true or false"),
        ("--config.train=3", "train", "dictionary"),
        ("--config.train.steps", "train.steps", "missing"),
    ],
)
def test_mistakes_name_the_field_and_what_was_expected(override, where, words):
    with pytest.raises(ConfigError) as caught:
        load("--config=configs/quickstart.py:stage0", override)
    assert caught.value.where == where
    assert words in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    "fields, where, words",
    [
        (dict(heads=5), "model.llm.heads", "not divisible"),
        (dict(kv_heads=3), "model.llm.kv_heads", "cannot share"),
        (dict(head_dim=15), "model.llm.head_dim", "even"),
        (dict(rope_scaling=dict(kind="lama3")), "model.llm.rope_scaling.kind", "llama3"),
        (dict(rope_scaling=dict(kind="linear", factor=0.0)), "rope_scaling.factor", "above 0"),
        (
            dict(rope_scaling=dict(kind="llama3", low_freq_factor=4.0)),
            "model.llm.rope_scaling",
            "low_freq_factor < high_freq_factor",
        ),
    ],
)
def test_a_language_model_that_cannot_be_built_is_refused(fields, where, words):
    with pytest.raises(ConfigError, match=words) as caught:
        validate(recipe("tiny_base", model=dict(llm=fields)))
    assert caught.value.where.endswith(where)
    # Heads of their own width need not divide the model's.
    validate(recipe("tiny_base", model=dict(llm=dict(heads=5, kv_heads=5, head_dim=16))))


@pytest.mark.parametrize(
    "stage, variant, field, used",
    [
        ("stage0", "base", "max_text", True),
        ("stage0", "chat", "max_text", True),
        ("stage0", "chat", "max_qformer_text", False),
        ("stage1", "chat", "max_qformer_text", True),
        ("stage2", "chat", "max_qformer_text", True),
        ("stage2", "chat", "max_text", False),
        ("stage2", "base", "max_qformer_text", False),  # its Q-Former reads no instruction
        ("language", "chat", "max_qformer_text", False),
        ("vision", "chat", "max_text", False),
    ],
)
def test_texts_that_the_qformer_has_no_positions_for_are_refused(stage, variant, field, used):
    def given(length: int) -> ml_collections.ConfigDict:
        data = {"max_text": 1, "max_qformer_text": 1, field: length}
        stages = {"name": stage, "variant": variant}
        return recipe(f"tiny_{variant}", stage=stages, data=data)

    positions = validate(given(1)).model.qformer.max_positions
    validate(given(positions))  # queries take none of them
    if not used:
        validate(given(positions + 1))
        return
    with pytest.raises(ConfigError, match=f"the {positions} positions of the Q-Former") as caught:
        validate(given(positions + 1))
    assert caught.value.where == f"data.{field}"
    assert f"--config.data.{field}={positions}" in str(caught.value)


def test_recipes_that_do_not_exist_or_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'configs/quickstart.py'"):
        load("--config=configs/quikstart.py:stage0")
    with pytest.raises(ConfigError, match="did you mean 'stage0'"):
        load("--config=configs/quickstart.py:stage00")
    Path("empty.py").write_text("")
    with pytest.raises(ConfigError, match="get_config"):
        load("--config=empty.py")
    Path("broken.py").write_text("def get_config():\n    return 1 / 0 + int('x')\n")
    with pytest.raises(Exception, match="division"):
        load("--config=broken.py")
    Path("wrong.py").write_text("def get_config():\n    return int('x')\n")
    with pytest.raises(ConfigError, match="invalid literal") as caught:
        load("--config=wrong.py")
    assert caught.value.where.endswith("wrong.py:2")
    with pytest.raises(ConfigError, match="no recipe is given"):
        load("--config.train.steps=3")


def test_recipes_are_found_from_any_folder_and_ones_own_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("--config=configs/stage1.py:base").stage.name == "stage1"
    own = tmp_path / "configs" / "stage1.py"
    own.parent.mkdir()
    own.write_text(
        "from zv_jax.config import recipe\n"
        "def get_config():\n    return recipe('tiny_base', train={'steps': 3})\n"
    )
    assert load("--config=configs/stage1.py").train.steps == 3


def test_show_marks_what_differs(capsys):
    line = ["config", "show", "--config=configs/quickstart.py:stage0", "--config.train.steps=7"]
    assert cli.main(line) == 0
    rows = {row[2:].split()[0]: row for row in capsys.readouterr().out.splitlines()}
    assert rows["train.steps"].startswith("> ") and rows["train.steps"].endswith("(default 1000)")
    assert rows["train.batch_size"].startswith("* ")
    assert rows["optimizer.b1"].startswith("  ")
    assert cli.main([*line, "--json"]) == 0
    assert '"steps": 7' in capsys.readouterr().out


def test_show_refuses_values_out_of_range(capsys):
    assert cli.main(["config", "show", "--config=configs/stage1.py", "--config.train.steps=0"]) == 2
    assert "train.steps" in capsys.readouterr().err


def test_an_evaluation_suite_may_be_any_config(tmp_path, capsys):
    suite = tmp_path / "suite.py"
    suite.write_text(
        "import ml_collections\n"
        "def get_config():\n    return ml_collections.ConfigDict({'limit': 0, 'tasks': ('vqa',)})\n"
    )
    values = flags.FlagValues()
    recipes.parse(values, [f"--suite={suite}", "--suite.limit=5"], "suite", "zv eval")
    assert values.config.limit == 5
    assert cli.main(["config", "show", f"--config={suite}"]) == 0
    assert "limit" in capsys.readouterr().out
