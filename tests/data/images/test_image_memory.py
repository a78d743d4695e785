"""Decoding takes little more than the image: at most six bytes a pixel beside what comes out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 2000
KINDS = {
    "rgb.jpg": lambda: Image.new("RGB", (SIDE, SIDE), "red"),
    "rgb.png": lambda: Image.new("RGB", (SIDE, SIDE), "red"),
    "cmyk.jpg": lambda: Image.new("CMYK", (SIDE, SIDE), 5),
    "clear.png": lambda: Image.new("RGBA", (SIDE, SIDE), (1, 2, 3, 4)),
    "grey_clear.png": lambda: Image.new("LA", (SIDE, SIDE), (1, 2)),
    "palette.gif": lambda: Image.new("P", (SIDE, SIDE), 5),
    "bits16.png": lambda: Image.fromarray(np.full((SIDE, SIDE), 300, np.uint16)),
    "bits32.tiff": lambda: Image.fromarray(np.full((SIDE, SIDE), 300, np.int32)),
}

MEASURE = """
import json, sys
from pathlib import Path
from zv_jax.data.images import decode

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024

taken = {}
decode.decode(sys.argv[1])
for name in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident()
    image = decode.decode(name)
    taken[Path(name).name] = (peak() - before) / (image.width * image.height)
    del image
print(json.dumps(taken))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_the_peak_of_memory_is_bounded_by_the_pixels(tmp_path):
    turned = Image.Exif()
    turned[0x112] = 6
    files = []
    for name, make in KINDS.items():
        image = make()
        image.save(tmp_path / name)
        files.append(str(tmp_path / name))
        if name.endswith((".jpg", ".png")):
            image.save(tmp_path / f"turned_{name}", exif=turned)
            files.append(str(tmp_path / f"turned_{name}"))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True
    )
    output = 4  # Pillow stores RGB in four bytes
    taken = {name: most for name, most in json.loads(done.stdout).items() if most > 6 + output}
    assert not taken, "bytes a pixel"
