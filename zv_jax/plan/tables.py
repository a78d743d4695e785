"""Plans of all full-size recipes, and their tables in docs/scale.md: `make plans`.

Each plan is kept in docs/plans/*.json; one that is there already is not made again, so that the
hours of compilation can be spread: remove a file to renew its plan.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from zv_jax.parallel.hardware import GIB

ROOT = Path(__file__).resolve().parents[2]
PLANS = ROOT / "docs" / "plans"
# name, recipe, topology, further arguments
CASES = (
    *(
        (f"{stage}_{variant}_v5e-256", f"configs/{stage}.py:{variant},v5e-256", "v5e-256", ())
        for stage in ("stage0", "stage1", "stage2")
        for variant in ("base", "chat")
    ),
    (
        "stage2_chat_v5e-256_names",
        "configs/stage2.py:chat,v5e-256",
        "v5e-256",
        ("--config.model.remat=names", "--config.train.batch_size=256"),
    ),
    (
        "stage2_chat_576_v5e-256",
        "configs/stage2.py:chat,v5e-256",
        "v5e-256",
        (
            "--config.data.max_length=576",
            "--config.data.max_images=1",
            "--config.train.loss_chunks=1",
        ),
    ),
    (
        "stage2_chat_256x768_v5e-256",
        "configs/stage2.py:chat,256x768,v5e-256",
        "v5e-256",
        (),
    ),
    ("stage2_chat_v5e-16", "configs/stage2.py:chat,v5e-16", "v5e-16", ()),
    ("stage2_chat_v5p-128", "configs/stage2.py:chat,v5p-128", "v5p-128", ()),
    ("stage2_chat_v4-128", "configs/stage2.py:chat,v4-128", "v4-128", ()),
)
HEADS = {
    "docs/scale.md": "| recipe | topology | batch | tokens, images | remat | arguments GiB "
    "| temporaries GiB | of GiB | hardware / model FLOPs | sent by a chip, GB | step s | rows/s "
    "| MFU | chip hours |",
    "docs/zh/scale.md": "| 配方 | 拓扑 | 批次 | 词元、图片 | 重新计算 | 参数 GiB | 临时 GiB "
    "| 上限 GiB | 硬件 / 模型 FLOPs | 每芯片发送 GB | 每步秒数 | 行/秒 | MFU | 芯片小时 |",
}
BEGIN, END = "<!-- plan tables -->", "<!-- end of plan tables -->"


def make(name: str, recipe: str, topology: str, more: tuple[str, ...]) -> bool:
    """Makes one plan in a process of its own; whether it is there afterwards."""
    out = PLANS / f"{name}.json"
    if out.exists():
        return True
    print(f"plan: {name}", flush=True)
    command = [sys.executable, "-m", "zv_jax", "plan", f"--config={recipe}"]
    command += [f"--topology={topology}", f"--out={out}", *more]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def row(found: dict) -> str:
    """One line of the table."""
    recipe, topology, memory = found["recipe"], found["topology"], found["memory"]
    step = found["step"]
    cells = [
        f"{recipe['stage']} {recipe['variant']}",
        topology["name"],
        str(recipe["batch_size"]),
        f"{recipe['length']}, {recipe['images']}",
        recipe["remat"],
        f"{memory['arguments'] / GIB:.2f}",
        f"{memory['temporaries'] / GIB:.2f}",
        f"{memory['capacity'] / GIB:.2f}",
        f"{found['flops']['ratio']:.3f}",
        f"{sum(one['wire'] for one in found['traffic']) / 1e9:.1f}",
        f"{step['seconds']:.3f}",
        f"{step['rows_per_second']:.0f}",
        f"{step['mfu']:.1%}",
        f"{found['run']['chip_hours']:,.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def write() -> None:
    """Puts the plans that are there into both pages."""
    found = [json.loads((PLANS / f"{name}.json").read_text()) for name, *_ in CASES
             if (PLANS / f"{name}.json").exists()]  # fmt: skip
    if any(one["source"] != "compiled" for one in found):
        raise SystemExit(f"{PLANS} holds a plan that was not compiled")
    for page, head in HEADS.items():
        text = (ROOT / page).read_text("utf-8")
        rule = "|---" * (head.count("|") - 1) + "|"
        table = "\n".join([BEGIN, "", head, rule, *map(row, found), "", END])
        text = re.sub(f"{BEGIN}(.*?{END})?", lambda _, t=table: t, text, count=1, flags=re.DOTALL)
        (ROOT / page).write_text(text, "utf-8")


def main() -> None:
    """Every case, one after the other."""
    PLANS.mkdir(parents=True, exist_ok=True)
    failed = [case[0] for case in CASES if not make(*case)]
    write()
    if failed:
        raise SystemExit("not made: " + ", ".join(failed))


if __name__ == "__main__":
    main()
