"""Make draw.html: the drawing pad as one file that opens by a double click, networks and all.

    python -m tools.page        (`make page`)

The page is pad/page.html with the modules of pad/ and the weights of three networks inside. It asks nothing of any
other address.
"""

import base64
import gzip
import json

import numpy as np

from digit_pad import LIMITS, PAD, javascript
from experiments.record import ROOT
from lenet_data import write_whole

PAGE = ROOT / "draw.html"
NETWORKS = {
    "1998": "original_1998/60000_seed0",
    "modern": "modern_lenet/60_epochs_seed0",
    "tutorial": "tutorial_lenet/seed0",
}


def packed(weights):
    """Return bytes of float32 weights as text: first bytes, then second, third and fourth ones, gzipped, in base64.

    The last bytes of a float hold its sign and most of its exponent, and pack well once they lie side by side.
    """
    weights += bytes(-len(weights) % 4)
    planes = np.frombuffer(weights, np.uint8).reshape(-1, 4).T.tobytes()
    return base64.b64encode(gzip.compress(planes, 9, mtime=0)).decode()


def page():
    """Return the page, text."""
    files = []
    for name, place in NETWORKS.items():
        weights = (ROOT / "weights" / f"{place}.safetensors").read_bytes()
        files.append({"name": name, "length": len(weights), "packed": packed(weights)})
    parts = {
        "/*CSS*/": (PAD / "pad.css").read_text(encoding="utf-8"),
        "/*NETWORKS*/": json.dumps({"limits": LIMITS, "files": files}),
        "/*JAVASCRIPT*/": javascript(),
    }
    text = (PAD / "page.html").read_text(encoding="utf-8")
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


if __name__ == "__main__":
    write_whole(PAGE, page().encode())
    print(f"{PAGE.name}: {PAGE.stat().st_size:,} bytes")
