"""draw.html: what `make page` makes is what is stored, holds the stored networks to the bit, and asks for nothing."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from digit_pad import LIMITS, PAD, javascript
from tools.notebook_rules import ROOT
from tools.page import NETWORKS, PAGE, packed, page

TEXT = PAGE.read_text(encoding="utf-8")


class Parts(HTMLParser):
    """The texts of a page's elements by tag, and every attribute."""

    def __init__(self):
        super().__init__()
        self.texts, self.attributes, self.open = {}, [], []

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, text):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(text)


@pytest.fixture(scope="module")
def parts():
    parts = Parts()
    parts.feed(TEXT)
    assert parts.open == []
    return parts


def without_weights(text):
    """The page but for the packed weights, which another zlib may pack otherwise."""
    return re.sub(r'"packed": "[A-Za-z0-9+/=]+"', "", text)


def unpack(text, length):
    planes = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8)
    return planes.reshape(4, -1).T.tobytes()[:length]


def test_what_is_stored_is_what_make_page_makes():
    assert without_weights(TEXT) == without_weights(page()), "run `make page`"


def test_it_is_smaller_than_a_megabyte():
    assert PAGE.stat().st_size < 1_000_000


def test_it_holds_the_stored_networks_to_the_bit(parts):
    held = json.loads(next(text for text in parts.texts["script"] if text.startswith("{")))
    assert held["limits"] == LIMITS
    assert [file["name"] for file in held["files"]] == list(NETWORKS)
    for file in held["files"]:
        stored = (ROOT / "weights" / f"{NETWORKS[file['name']]}.safetensors").read_bytes()
        assert unpack(file["packed"], file["length"]) == stored


@pytest.mark.parametrize("length", [0, 1, 4, 5, 1003])
def test_packing_loses_nothing(length):
    weights = np.random.default_rng(0).bytes(length)
    assert unpack(packed(weights), length) == weights


def test_it_asks_for_nothing_and_may_not(parts):
    """Whoever opens it in a browser sees the same (tests/test_browser.py); here the text alone."""
    policy = next(value for name, value in parts.attributes if name == "content" and "default-src" in value)
    assert policy.split("; ")[0] == "default-src 'none'" and "http" not in policy and "connect-src" not in policy
    for name, value in parts.attributes:
        if name in ("src", "href", "action", "data", "poster", "srcset"):
            assert value == "data:,", f"{name}={value}"
    assert "http:" not in without_weights(TEXT) and "https:" not in without_weights(TEXT)
    assert "url(" not in (PAD / "pad.css").read_text(encoding="utf-8") and "@import" not in TEXT


def test_it_says_what_it_needs_and_speaks_two_languages(parts):
    assert "needs JavaScript" in " ".join(parts.texts["strong"]) and "too old" in " ".join(parts.texts["strong"])
    assert {value for name, value in parts.attributes if name == "lang-of"} == {"en", "zh"}


def test_every_word_of_the_pad_is_there_in_both_languages():
    text = (PAD / "words.js").read_text(encoding="utf-8")
    english, chinese = (re.findall(r"^    (\w+):", part, re.MULTILINE) for part in text.split("\n  zh: {"))
    assert english == chinese and len(english) > 30
    used = re.findall(r"\bwords\.(\w+)", javascript())
    assert set(used) - {"js"} <= set(english)


def test_the_workflow_publishes_this_page():
    workflow = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8"))
    assert workflow[True]["push"] == {"branches": ["main"], "paths": ["draw.html", ".github/workflows/pages.yml"]}
    steps = workflow["jobs"]["publish"]["steps"]
    assert steps[1]["run"] == "mkdir page && cp draw.html page/index.html" and steps[2]["with"] == {"path": "page"}
    assert workflow["permissions"] == {"contents": "read"}
    for step in steps:
        assert "uses" not in step or re.search(r"@[0-9a-f]{40}$", step["uses"])
