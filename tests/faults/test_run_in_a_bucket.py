"""A training whose workdir is in a bucket: logs, metrics and TensorBoard are there, and it goes on.

fsspec's memory:// stands for the bucket. Orbax reaches gs:// by itself and knows no memory://, so
checkpoints are in a folder here.
"""

import json
import uuid

import fsspec
import pytest
from toy_run import Stop, at, finished_steps, stop, toy_config, watched

from zv_jax.training import trainer


def test_a_run_in_a_bucket_leaves_all_there_and_continues(compiled, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"memory://{uuid.uuid4().hex}/run"
    files, root = fsspec.core.url_to_fs(url)
    folder = str(tmp_path / "saved" / "checkpoints")
    config = toy_config(corpus, "stage1", train={"steps": 6}, checkpoint={"folder": folder})
    with pytest.raises(Stop), watched(at(5, stop)):
        trainer.run(config, url)
    assert finished_steps(tmp_path / "saved") == [3]
    assert trainer.run(config, url) == 6
    names = {path.removeprefix(f"{root}/") for path in files.find(root)}
    assert {"config.json", "events.jsonl", "metrics.jsonl", "results.json", "run.log"} <= names
    assert any(name.startswith("tensorboard/") for name in names)
    assert any(name.startswith("tokenizer/") for name in names)
    rows = [json.loads(line) for line in files.cat_file(f"{root}/metrics.jsonl").splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    log = files.cat_file(f"{root}/run.log").decode()
    assert f"resumed {url} at step 3" in log
    assert trainer.run(config, url) == 6, "a finished run returns at once"
    assert [path.name for path in tmp_path.iterdir()] == ["saved"], "no folder memory:"
