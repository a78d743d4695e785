"""Apache Beam and one process write the same bytes: cleaned pairs, their report, their shards."""

import dataclasses
import json
import re

import numpy as np
import pytest
import web_pairs

from zv_jax.cli import main as cli
from zv_jax.data.cleaning import report, run
from zv_jax.data.records import record as R
from zv_jax.data.sources import prepare
from zv_jax.data.sources.shards import Settings
from zv_jax.data.storage import array_records
from zv_jax.errors import DataError

pytest.importorskip("apache_beam")

from zv_jax.data.cleaning.on_beam import Runner  # noqa: E402
from zv_jax.data.sources import on_beam  # noqa: E402

OPTIONS = on_beam.pipeline_options([], 1)


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def command(web, out, *flags):
    """Cleans the pairs and makes shards of what is left, as a person would; no file but the
    output, its report and the shards is in `out` then."""
    out.mkdir()
    clean = out / "clean.jsonl"
    rules = f"--rules=min_side={web_pairs.RULES.min_side}"
    assert cli.main(["data", "filter", str(web), f"--out={clean}", rules, *flags]) == 0
    shown = [f"--image_root={web.parent}", "--image_size=32", "--shard_size=300"]
    assert cli.main(["data", "prepare", str(clean), f"--out={out / 's'}", *shown, *flags]) == 0
    return contents(out)


@pytest.mark.parametrize(
    ("count", "workers"),
    [(2_000, 0), (2_500, 2), pytest.param(100_000, 2, marks=pytest.mark.slow)],
)
def test_web_pairs_are_filtered_and_sharded_to_the_same_bytes(tmp_path, count, workers, capsys):
    web = web_pairs.write(tmp_path, count)
    local = command(web, tmp_path / "local")
    beam = command(web, tmp_path / "beam", "--runner=beam", f"--workers={workers}")
    assert beam.keys() == local.keys()
    assert [name for name in beam if beam[name] != local[name]] == []
    kept = local["clean.jsonl"].count(b"\n")
    assert 0.5 * count < kept < 0.8 * count, "every second pair is good, a few others are mended"
    assert json.loads(local[array_records.MANIFEST])["records"] == kept
    assert f"{kept:,} of {count:,} records kept" in capsys.readouterr().out


def test_every_rule_has_work_on_these_pairs(tmp_path):
    web = web_pairs.write(tmp_path, 1_000)
    records = list(R.read_jsonl(web))
    outcomes = [
        run.clean(records, tmp_path, tmp_path / "a.jsonl", web_pairs.RULES, runner=runner)
        for runner in (None, Runner(OPTIONS))
    ]
    assert outcomes[0] == outcomes[1]
    assert {reason for _, _, reason in outcomes[0].reasons} == set(report.REASONS) - {"score"}


def make_scorer():
    """The text tells the seed of its image, and so how light that is; every tenth tells of
    another image. A batch's mean is added, so that other batches would give other scores."""

    def score(images, texts):
        light = np.array([np.asarray(image, np.float64).mean() for image in images])
        numbers = [int(re.findall(r"\d+", text)[-1]) for text in texts]
        told = [web_pairs.light((int(number % 10 == 0), number)) for number in numbers]
        return light.mean() / 1000 - abs(light - told)

    return score


@pytest.mark.parametrize("how", [{"keep": 0.3}, {"precision": 0.9}])
def test_scores_and_thresholds_are_those_of_one_process(tmp_path, how):
    web = web_pairs.write(tmp_path, 2_300)
    pages, crossed = [], "precision" in how
    for name in ("local", "beam"):
        way = (
            {"scorer": make_scorer()}
            if name == "local"
            else {"runner": Runner(OPTIONS, make_scorer, crossed)}
        )
        out = tmp_path / f"{name}.jsonl"
        outcome = run.clean(R.read_jsonl(web), tmp_path, out, web_pairs.RULES, **how, **way)
        report.write(outcome, tmp_path, tmp_path / "page.html")
        assert outcome.thresholds and any(r == "score" for _, _, r in outcome.reasons)
        pages.append((out.read_bytes(), (tmp_path / "page.html").read_bytes()))
    assert pages[0] == pages[1]


def shards(toy, out, records, writer=None):
    return prepare.prepare(records, toy.parent, out, Settings(shard_size=5), writer=writer)


def test_beam_goes_on_where_another_run_was_interrupted(toy, tmp_path):
    records = list(R.read_jsonl(toy))
    shards(toy, tmp_path / "whole", records)

    def stopped():
        yield from records[:22]
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        shards(toy, out, stopped())
    finished = {p.name: p.stat().st_mtime_ns for p in out.glob("*.array_record")}
    assert len(finished) == 2 * 4
    with pytest.raises(KeyboardInterrupt):
        shards(toy, out, stopped(), on_beam.shard_writer(OPTIONS))
    shards(toy, out, records, on_beam.shard_writer(OPTIONS))
    assert contents(out) == contents(tmp_path / "whole")
    assert finished == {name: (out / name).stat().st_mtime_ns for name in finished}


def test_the_error_of_a_worker_is_told_and_nothing_half_written(toy, tmp_path):
    records = list(R.read_jsonl(toy))
    outside = dataclasses.replace(records[-1], images=(R.ImageRef(path="../secret.png"),))
    out = tmp_path / "out"
    with pytest.raises(DataError, match="lies outside the image root"):
        shards(toy, out, [*records[:-1], outside], on_beam.shard_writer(OPTIONS))
    assert not (out / array_records.MANIFEST).exists() and not (out / ".chunks").exists()
