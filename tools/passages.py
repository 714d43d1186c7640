"""What a passage of a translation keeps of the English one, and how its Chinese is set."""

import csv
import re
from collections import Counter
from decimal import Decimal

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from tools.notebook_rules import ROOT

GLOSSARY = ROOT / "translations" / "zh" / "glossary.csv"
MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, double_inline=True)
HAN = "[\u4e00-\u9fff]"
FULL = "，。；：？！（）、“”《》…"
OBJECT = "\ue000"  # stands for a code span or a formula in a line of prose
MONTHS = "January February March April May June July August September October November December".split()
SCALES = {"million": 6, "billion": 9, "万": 4, "亿": 8}
NUMBER = re.compile(rf"(?<![A-Za-z0-9_.-])(\d+(?:,\d{{3}})*(?:\.\d+)?)(?: ?({'|'.join(SCALES)}))?( ?%)?")
WORDS = "zero one two three four five six seven eight nine ten".split()
LAYER = re.compile(r"(?<![A-Za-z0-9])[CSF][1-6](?![A-Za-z0-9])")


class Passage:
    """A passage taken apart: its prose as lines, and what a translation leaves as it is."""

    def __init__(self, text):
        self.lines, self.kept, self.broken = [], {}, False
        for token in MARKDOWN.parse(text):
            if token.type == "inline":
                self.lines.append("".join(self.read(child) for child in token.children))
            elif token.type == "fence":
                self.keep("fenced code", token.content)
            elif token.type in ("math_block", "math_block_label"):
                self.keep("formulas", formula(token.content))
            elif token.type == "html_block":
                self.take_html(token.content)
            elif token.type == "heading_open":
                self.keep("headings", token.tag)
            elif token.type in ("list_item_open", "tr_open", "td_open", "th_open"):
                self.keep("list items and cells of tables", token.tag)
        self.prose = "\n".join(self.lines)
        self.kept["numbers"], self.kept["per cents"] = numbers(self.prose)
        self.kept["names of layers"] = sorted(set(LAYER.findall(self.prose)))

    def keep(self, kind, content):
        self.kept.setdefault(kind, []).append(content)

    def take_html(self, content):
        for tag in re.findall(r"</?\w+[^>]*>", content):
            self.keep("HTML tags", tag)
        self.lines.append(re.sub(r"</?\w+[^>]*>", "", content).strip())

    def read(self, token):
        """Return what an inline token adds to its line of prose."""
        if token.type == "code_inline":
            self.keep("code spans", token.content)
            return OBJECT
        if token.type in ("math_inline", "math_inline_double"):
            self.keep("formulas", formula(token.content))
            return OBJECT
        if token.type == "html_inline":
            self.keep("HTML tags", token.content)
        elif token.type == "link_open":
            self.keep("links", token.attrGet("href"))
        elif token.type == "image":
            self.keep("links", token.attrGet("src"))
            return "".join(self.read(child) for child in token.children)
        elif token.type in ("softbreak", "hardbreak"):
            self.broken = True
            return " "
        return token.content if token.type == "text" else ""


def formula(content):
    """Return a formula on one line without the words in it."""
    return " ".join(re.sub(r"\\text\{[^}]*\}", r"\\text{}", content).split())


def numbers(prose):
    """Return the numbers of a text, and those of per cents, sorted: 1.6 million as 160 万, May 2026 as 2026 年 5 月."""
    for number, month in enumerate(MONTHS, 1):
        prose = re.sub(rf"\b{month} (?=\d{{4}}\b)", f"{number} ", prose)
    found = [(plain(digits, scale), sign) for digits, scale, sign in NUMBER.findall(prose)]
    return sorted(number for number, _ in found), sorted(number for number, sign in found if sign)


def plain(digits, scale=""):
    """Return a number without commas and zeros at its end after the point: "1600000" of 1.6 million."""
    value = f"{Decimal(digits.replace(',', '')).scaleb(SCALES.get(scale, 0)):f}"
    return value.rstrip("0").rstrip(".") if scale and "." in value else value


def said_in_words(prose):
    """Return the digits that an English text says in words: “a seven”, the image, is 一个 7."""
    return [str(digit) for digit, word in enumerate(WORDS) if re.search(rf"\b{word}s?\b", prose, re.IGNORECASE)]


def joined(prose):
    """Return the numbers that share a later number's sign: 3 and 4 of “3, 4 and 5 %”; Chinese gives each its own."""
    found = re.findall(r"((?:\d[\d.,]*(?:, | and | to | or | against | of which | – ))+)\d[\d.,]* ?%", prose)
    return {plain(digits.rstrip(".,")) for run in found for digits in re.findall(r"\d[\d.,]*", run)}


def glossary():
    """Return the rows of the glossary."""
    with GLOSSARY.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def differences(english, chinese, terms):
    """Return a sentence for each thing that a passage should have kept of the English one, and has not."""
    before, after, found = Passage(english), Passage(chinese), []
    for kind in dict.fromkeys([*before.kept, *after.kept]):
        ours, theirs = before.kept.get(kind, []), after.kept.get(kind, [])
        if kind in ("fenced code", "headings", "list items and cells of tables", "HTML tags"):
            if ours != theirs:
                found.append(f"{kind}: {ours} in English, {theirs} in Chinese")
        else:
            ours, theirs = Counter(ours), Counter(theirs)
            free = {"numbers": said_in_words, "per cents": joined}.get(kind)
            for number in free(before.prose) if free else ():  # Chinese may say these in digits, or with a sign
                theirs[number] = min(theirs[number], ours[number])
            if +ours != +theirs:
                found.append(f"{kind}: only in English {[*(ours - theirs)]}, only in Chinese {[*(theirs - ours)]}")
    for term in terms:
        first, rest = term["english"][0], term["english"][1:]
        words = rf"(?<![\w-])[{first}{first.upper()}]{rest}(?:s|es)?(?![\w-])"
        allowed = [term["chinese"], *filter(None, term["also"].split("|"))]
        if re.search(words, before.prose) and not any(one in after.prose for one in allowed):
            found.append(f"{term['english']} is {' or '.join(allowed)}")
        never = filter(None, term["never"].split("|"))
        found += [f"{one} should be {allowed[0]}" for one in never if one in after.prose]
    return found


# What sets Chinese wrongly, and what to do.
SETTING = {
    rf"{HAN}[A-Za-z0-9{OBJECT}]|[A-Za-z0-9%{OBJECT}]{HAN}": "a space is missing between Chinese and Latin",
    rf"{HAN} ?[,;:!?()\"']|[,;:!?()\"'] ?{HAN}|{HAN}\.(?!\.)": "punctuation beside Chinese is full-width",
    rf"[{FULL}] | [{FULL}]": "there is no space beside full-width punctuation",
    r"\d %": "there is no space before %",
    rf"{HAN} {HAN}": "there is no space between Chinese characters",
    r"\*\*|__": "bold that is not shown: punctuation stands inside its end",
}


def setting_problems(chinese):
    """Return a sentence for each place where a passage is not set as Chinese is."""
    passage = Passage(chinese)
    found = ["a paragraph or list item is one line"] if passage.broken else []
    for line in passage.lines:
        for pattern, problem in SETTING.items():
            for place in re.finditer(pattern, line):
                around = line[max(0, place.start() - 8) : place.end() + 8].replace(OBJECT, "`…`")
                found.append(f"{problem}: {around}")
    return found
