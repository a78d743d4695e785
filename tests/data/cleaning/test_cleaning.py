"""Cleaning: every rule in both languages, near-duplicates, calibrated thresholds, the whole run."""

import io
import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image, ImageDraw

from zv_jax.cli import main as cli
from zv_jax.data.cleaning import duplicates, report, rules, run, scores
from zv_jax.data.records import record as R
from zv_jax.errors import ConfigError, DataError

RULES = rules.Rules()


@pytest.mark.parametrize(
    ("lang", "text", "fault"),
    [
        ("en", "a dog on the grass", None),
        ("zh", "草地上的一只狗", None),
        ("zh", "戴着 NBA 帽子的男人", None),
        ("en", "草地上的一只狗", "language"),
        ("zh", "a dog on the grass", "language"),
        ("en", "dog", "short"),
        ("zh", "狗狗", "short"),
        ("en", "word " * 101, "long"),
        ("zh", "".join(chr(0x4E00 + k) for k in range(201)), "long"),
        ("en", "a 1234567 8901234567", "letters"),
        ("zh", "型号1234567890123", "letters"),
        ("en", "buy buy buy now", "repeats"),
        ("zh", "哈哈哈哈哈哈哈哈", "repeats"),
    ],
)
def test_what_a_text_may_be(lang, text, fault):
    assert rules.text_fault(text, lang, RULES) == fault


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("<b>Dog</b> &amp; cat\n", "Dog & cat"),
        ("看这里 https://x.example/a?b=1 的狗", "看这里 的狗"),
        ("网址www.x.example里的狗", "网址 里的狗"),
        ("mail me@x.example now", "mail now"),
        ("cute 😀🐶 dog ☀️", "cute dog"),
        ("3 < 5 and 7 > 6", "3 < 5 and 7 > 6"),
    ],
)
def test_markup_addresses_and_emoji_are_removed(text, cleaned):
    assert rules.clean(text) == cleaned


def test_sizes_and_flags():
    assert rules.size_fault(640, 480, RULES) is None
    assert rules.size_fault(199, 400, RULES) == "small"
    assert rules.size_fault(200, 601, RULES) == "aspect"
    assert rules.flag_fault(pair(0, meta={"punsafe": 0.9}), RULES) == "unsafe"
    assert rules.flag_fault(pair(0, meta={"pwatermark": 0.9}), RULES) == "watermark"
    assert rules.flag_fault(pair(0, meta={"punsafe": 0.1}), RULES) is None


def test_limits_can_be_changed_by_name():
    assert rules.parse(["min_side=10", "max_aspect=5.5"]) == rules.Rules(
        min_side=10, max_aspect=5.5
    )
    with pytest.raises(ConfigError, match="did you mean 'min_side'"):
        rules.parse(["min_sied=10"])
    with pytest.raises(ConfigError, match="a int"):
        rules.parse(["min_side=ten"])


def drawing(seed, size=(240, 220)):
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(0, 255, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, w, h = rng.integers(0, 200, 4)
        draw.ellipse((x, y, x + w, y + h), fill=tuple(rng.integers(0, 255, 3)))
    return image


def test_the_hash_of_an_image_survives_resizing_and_compression():
    codes = []
    for seed in range(20):
        image, out = drawing(seed), io.BytesIO()
        image.resize((300, 275)).save(out, "JPEG", quality=60)
        codes.append((duplicates.image_hash(image), duplicates.image_hash(Image.open(out))))
    assert all((a ^ b).bit_count() <= duplicates.MAX_DISTANCE for a, b in codes)
    originals = [a for a, _ in codes]
    apart = [(a ^ b).bit_count() for i, a in enumerate(originals) for b in originals[:i]]
    assert min(apart) > duplicates.MAX_DISTANCE


DOG = "A brown dog is running over the green grass in the park on a sunny day"
CODE = 0x0123456789ABCDEF


@pytest.mark.parametrize(
    ("code", "text", "known"),
    [
        (CODE, DOG, True),
        (CODE ^ 0b1, DOG.upper() + " ", True),
        (CODE ^ (1 << 20 | 1 << 40 | 1 << 60), DOG + "!", True),
        (CODE ^ (1 | 1 << 20 | 1 << 40 | 1 << 60), DOG, False),
        (CODE, "一只棕色的狗在公园里奔跑", False),
        (CODE, "Two people at a table", False),
    ],
)
def test_a_pair_repeats_another_within_three_bits_and_with_most_of_its_characters(
    code, text, known
):
    pairs = duplicates.Pairs()
    assert not pairs.repeats(duplicates.look(CODE, DOG))
    assert pairs.repeats(duplicates.look(code, text)) == known


def test_image_and_text_must_be_those_of_one_pair():
    pairs = duplicates.Pairs()
    other = "Two people at a table with a cloth on it"
    assert not pairs.repeats(duplicates.look(CODE, DOG))
    assert not pairs.repeats(duplicates.look(~CODE & 2**64 - 1, other))
    assert not pairs.repeats(duplicates.look(CODE, other))


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from([DOG, DOG + "!", "x y"]))))
def test_looking_through_each_key_alone_finds_the_same_repeats(rows):
    # Images of few bits: chains in which neighbours are alike and ends are not.
    looks = [duplicates.look(2**bits - 1, text) for bits, text in rows]
    pairs = duplicates.Pairs()
    expected = {place for place, pair in enumerate(looks) if pairs.repeats(pair)}
    keys = {key for pair in looks for key in pair.keys}
    found = set()
    for key in keys:
        own = [(place, pair.code) for place, pair in enumerate(looks) if key in pair.keys]
        found |= set(duplicates.repeated(reversed(own)))
    assert found == expected


def test_a_quantile_keeps_the_share_it_is_asked_for():
    values = np.random.default_rng(0).normal(size=1000)
    for keep in (0.12, 0.75, 0.8, 1.0):
        assert (values >= scores.by_quantile(values, keep)).mean() == pytest.approx(keep, abs=1e-3)
    with pytest.raises(ConfigError, match="--keep"):
        scores.by_quantile(values, 0.0)


def test_precision_is_calibrated_by_shuffled_pairs():
    rng = np.random.default_rng(0)
    matched, shuffled = rng.normal(0.4, 0.1, 4000), rng.normal(0.2, 0.1, 4000)
    threshold = scores.by_precision(matched, shuffled, 0.95)
    real, false = (matched >= threshold).mean(), (shuffled >= threshold).mean()
    assert real / (real + false) == pytest.approx(0.95, abs=1e-3) and 0.45 < real < 0.55
    with pytest.raises(ConfigError, match="no threshold"):
        scores.by_precision(shuffled, matched, 0.99)


def test_scores_are_remembered(tmp_path):
    calls = []

    def scorer(images, texts):
        calls.append(list(texts))
        return np.arange(len(texts)) + 0.5

    images, texts = [drawing(0), drawing(1)], ["a", "b"]
    first = scores.Cached(scorer, "m", tmp_path / "c.sqlite")(images, texts)
    again = scores.Cached(scorer, "m", tmp_path / "c.sqlite")
    np.testing.assert_array_equal(again(images[::-1], texts[::-1]), first[::-1])
    assert calls == [["a", "b"]]
    again([images[0]], ["b"])
    scores.Cached(scorer, "other", tmp_path / "c.sqlite")([images[0]], ["a"])
    assert calls == [["a", "b"], ["b"], ["a"]], "another pair, another model"


def test_scores_of_another_way_to_score_are_not_mixed_in(tmp_path, monkeypatch):
    calls = []

    def scorer(images, texts):
        calls.append(list(texts))
        return np.zeros(len(texts))

    for version in (1, 2, 2):
        monkeypatch.setattr(scores, "_VERSION", version)
        scores.Cached(scorer, "m", tmp_path / "c.sqlite")([drawing(0)], ["a"])
    assert calls == [["a"], ["a"]]


def pair(number, text="a nice small picture", lang="en", source="web", **other):
    return R.Record(
        id=f"{source}/train/{number}",
        source=source,
        split="train",
        task="caption",
        lang=lang,
        images=(R.ImageRef(path=f"{number}.png"),),
        turns=(),
        answers=(text,),
        **other,
    )


@pytest.fixture
def web(tmp_path):
    """Forty pairs that fit and forty that do not, in two languages, and some that break rules."""
    records = []
    for k in range(80):
        drawing(k).save(tmp_path / f"{k}.png")
        fits = k % 4 < 2
        text = (
            f"a picture of thing {k} that is {'right' if fits else 'wrong'}"
            if k % 2
            else f"第{k}件东西的图片是{'对' if fits else '错'}的"
        )
        records.append(pair(k, text, "en" if k % 2 else "zh"))
    drawing(0).resize((480, 440)).save(tmp_path / "80.png")
    records.append(pair(80, "第0件东西的图片是对的", "zh"))
    drawing(81, (100, 90)).save(tmp_path / "81.png")
    (tmp_path / "82.png").write_bytes(b"no picture")
    records += [pair(81), pair(82), pair(83, "dog"), pair(84, "<a href=x>two words</a> 😀")]
    drawing(84).save(tmp_path / "84.png")
    return tmp_path, records


def scorer(images, texts):
    """Pairs that fit score higher, English ones higher still, no two the same."""

    def score(text):
        number = int("".join(c for c in text if c.isdigit()) or 0)
        return 0.9 - 0.1 * ("wrong" in text or "错" in text) + 0.1 * ("a" in text) + 1e-4 * number

    return np.array([score(text) for text in texts])


def test_the_whole_run_keeps_what_fits_and_says_why_not_the_rest(web):
    root, records = web
    outcome = run.clean(records, root, root / "clean.jsonl", scorer=scorer, keep=0.5)
    kept = list(R.read_jsonl(root / "clean.jsonl"))
    assert all("wrong" not in r.answers[0] and "错" not in r.answers[0] for r in kept)
    assert [r.id for r in kept] == [r.id for r in records if r.id in {k.id for k in kept}]
    why = {reason: n for (_, _, reason), n in outcome.reasons.items()}
    assert {k: why[k] for k in ("duplicate", "small", "picture", "short")} == {
        "duplicate": 1,
        "small": 1,
        "picture": 1,
        "short": 1,
    }
    # Each language has a threshold of its own, at half of its scored pairs.
    for lang in ("en", "zh"):
        values = outcome.scored["web", lang]
        assert outcome.kept["web", lang] == pytest.approx(len(values) / 2, abs=1)
    assert outcome.thresholds["web", "en"] != outcome.thresholds["web", "zh"]
    assert sum(outcome.seen.values()) == len(records)
    assert sum(outcome.kept.values()) + sum(outcome.reasons.values()) == len(records)


def test_it_is_deterministic_and_cleans_texts(web):
    root, records = web
    for name in ("a", "b"):
        run.clean(records, root, root / f"{name}.jsonl")
    assert (root / "a.jsonl").read_bytes() == (root / "b.jsonl").read_bytes()
    last = list(R.read_jsonl(root / "a.jsonl"))[-1]
    assert last.answers == ("two words",)


def test_the_keep_rates_of_table_1_are_the_default(web):
    root, records = web
    wukong = [R.from_json(R.to_json(r) | {"source": "wukong"}) for r in records[:80:2]]
    outcome = run.clean(wukong, root, root / "clean.jsonl", scorer=scorer)
    assert outcome.kept["wukong", "zh"] == round(0.12 * 40) == 5
    assert scores.KEEP["cc3m"] == 1 and scores.KEEP["sbu"] == 0.8


def test_precision_instead_of_a_share(web):
    root, records = web

    def own(images, texts):
        """Fits only the text that was made for the image."""
        return np.array(
            [
                float(duplicates.image_hash(i) in FITS.get(t, ()))
                for i, t in zip(images, texts, strict=True)
            ]
        )

    FITS = {
        r.answers[0]: {duplicates.image_hash(Image.open(root / r.images[0].path))}
        for r in records[:40]
    }  # half of the pairs are given a wrong image
    outcome = run.clean(records[:80], root, root / "c.jsonl", scorer=own, precision=0.99)
    assert sum(outcome.kept.values()) == 40


def test_nothing_half_written_when_nothing_passes(web):
    root, records = web
    before = sorted(p.name for p in root.iterdir())
    with pytest.raises(DataError, match="no record"):
        run.clean([records[83]], root, root / "clean.jsonl")
    assert sorted(p.name for p in root.iterdir()) == before


def test_the_report_shows_counts_histograms_and_examples_in_both_languages(web):
    root, records = web
    outcome = run.clean(records, root, root / "clean.jsonl", scorer=scorer, keep=0.5)
    report.write(outcome, root, root / "report.html")
    page = (root / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and "data:image/jpeg" in page
    for reason in ("duplicate", "small", "picture", "short", "score"):
        assert all(words in page for words in report.REASONS[reason])
    assert "cannot be decoded" in page


def test_the_command(web, capsys):
    root, records = web
    path = root / "web.jsonl"
    path.write_text("".join(R.dumps(r) + "\n" for r in records), encoding="utf-8")
    out = root / "clean.jsonl"
    assert cli.main(["data", "filter", str(path), f"--out={out}", "--rules=min_side=50"]) == 0
    assert "82 of 85 records kept" in capsys.readouterr().out
    assert out.with_suffix(".html").is_file()
    assert cli.main(["data", "filter", str(path), f"--out={out}", "--rules=x=1"]) == 2
    assert "unknown rule 'x'" in capsys.readouterr().err
    assert json.loads(out.read_text(encoding="utf-8").splitlines()[0])["id"] == "web/train/0"
