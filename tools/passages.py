"""What a passage of a translation keeps of the English one, and how its Chinese is set."""

import csv
import io
import re
from collections import Counter
from decimal import Decimal
from itertools import zip_longest

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
WORDS_IN_FORMULA = re.compile(r"\\text\{([^}]*)\}")
TAG = r"</?\w+[^>]*>|<!--.*?-->"


class Line:
    """A line of a passage: a paragraph, a heading, a list item or a cell of a table; what a translation keeps of it."""

    def __init__(self, tokens=(), words=""):
        self.kept = {kind: [] for kind in ("code spans", "formulas", "links", "images", "HTML tags")}
        self.has_break, self.in_formulas = False, []
        self.prose = words + "".join(map(self.read, tokens))
        self.kept["numbers"], self.kept["per cents"] = numbers(self.prose)
        self.kept["signs"] = re.findall("[−±×÷=→≈≤≥<>]", self.prose)
        self.kept["placeholders"] = re.findall(r"\{\w+\}", self.prose)

    def read(self, token):
        """Return what an inline token adds to the prose."""
        if token.type == "code_inline":
            self.kept["code spans"].append(token.content)
            return OBJECT
        if token.type.startswith("math_inline"):
            self.kept["formulas"].append(formula(token.content))
            self.in_formulas += WORDS_IN_FORMULA.findall(token.content)
            return OBJECT
        if token.type == "html_inline":
            self.kept["HTML tags"].append(token.content)
        elif token.type == "link_open":
            self.kept["links"].append(token.attrGet("href"))
        elif token.type == "image":
            self.kept["images"].append(token.attrGet("src"))
            return "".join(map(self.read, token.children or ()))
        elif token.type in ("softbreak", "hardbreak"):
            self.has_break = True
            return " "
        return token.content if token.type == "text" else ""


class Passage:
    """A passage taken apart: its blocks, with what they hold but for the prose, and its lines of prose."""

    def __init__(self, text):
        self.blocks, self.lines = [], []
        for token in MARKDOWN.parse(text):
            held = ""
            if token.type == "inline":
                line = Line(token.children)
                self.lines += [line, *(Line(words=words) for words in line.in_formulas)]
            elif token.type.startswith("math_block"):
                held = formula(token.content)
                self.lines += [Line(words=words) for words in WORDS_IN_FORMULA.findall(token.content)]
            elif token.type == "html_block":
                held = " ".join(re.findall(TAG, token.content))
                self.lines.append(Line(words=re.sub(TAG, "", token.content).strip()))
            elif token.type in ("fence", "code_block"):
                held = f"{token.info}\n{token.content}"
            if token.nesting >= 0:
                self.blocks.append(f"{token.type} {token.tag} {token.attrGet('start') or ''} {held}".strip())
        self.prose = "\n".join(line.prose for line in self.lines)
        self.layers = sorted(set(LAYER.findall(self.prose)))  # Chinese may name one again where English says "it"


def formula(content):
    """Return a formula on one line without the words in it."""
    return " ".join(WORDS_IN_FORMULA.sub(r"\\text{}", content).split())


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


def utf8_text(path):
    """Return the text of a file, also as Windows' editors save it; raise a ValueError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not in UTF-8") from None


def glossary():
    """Return the rows of the glossary; raise a ValueError with the first row that cannot be used."""
    rows = list(csv.DictReader(io.StringIO(utf8_text(GLOSSARY)), restval=""))
    for row in rows:
        if list(row) != ["english", "chinese", "also", "never", "note"] or not row["english"] or not row["chinese"]:
            raise ValueError(
                f"{GLOSSARY.name}: a row needs english,chinese,also,never,note, of which the first two are not empty, "
                f"not {','.join(map(str, row.values()))}"
            )
    return rows


def differences(english, chinese, terms):
    """Return a sentence for each thing that a passage should have kept of the English one, and has not."""
    before, after = Passage(english), Passage(chinese)
    for ours, theirs in zip_longest(before.blocks, after.blocks, fillvalue="nothing"):
        if ours != theirs:
            return [f"blocks: in English {ours}, in Chinese {theirs}"]
    found = [] if before.layers == after.layers else [f"layers: in English {before.layers}, in Chinese {after.layers}"]
    # The words of a formula are a line of their own: where one is lost, the formula differs, and a line is missing.
    for ours, theirs in zip_longest(before.lines, after.lines, fillvalue=Line()):
        found += line_differences(ours, theirs)
    for term in terms:
        first, rest = term["english"][0], re.escape(term["english"][1:])
        words = rf"(?<![\w-])[{re.escape(first + first.upper())}]{rest}(?:s|es)?(?![\w-])"
        allowed = [term["chinese"], *filter(None, term["also"].split("|"))]
        if re.search(words, before.prose) and not any(one in after.prose for one in allowed):
            found.append(f"{term['english']} is {' or '.join(allowed)}")
        never = filter(None, term["never"].split("|"))
        found += [f"{one} should be {allowed[0]}" for one in never if one in after.prose]
    return found


def line_differences(before, after):
    """Return a sentence for each kind of thing of which a line has other ones than the English line."""
    found = []
    for kind in before.kept:
        ours, theirs = Counter(before.kept[kind]), Counter(after.kept[kind])
        free = {"numbers": said_in_words, "per cents": joined}.get(kind)
        for number in free(before.prose) if free else ():  # Chinese may say these in digits, or with a sign
            theirs[number] = min(theirs[number], ours[number])
        if +ours != +theirs:
            found.append(f"{kind}: only in English {[*(ours - theirs)]}, only in Chinese {[*(theirs - ours)]}")
    return found


# What sets Chinese wrongly, and what to do.
SETTING = {
    rf"{HAN}[A-Za-z0-9{OBJECT}]|[A-Za-z0-9%{OBJECT}]{HAN}": "a space is missing between Chinese and Latin",
    rf"{HAN} ?[,;:!?()\"']|[,;:!?()\"'] ?{HAN}|{HAN}\.(?!\.)": "punctuation beside Chinese is full-width",
    rf"[{FULL}] | [{FULL}]": "there is no space beside full-width punctuation",
    "[\u00a0\u200b-\u200f\u3000\ufeff０-９Ａ-Ｚａ-ｚ％]": "an invisible or full-width character",
    r"(?:[A-Za-z][A-Za-z'-]*,? ){4,}[A-Za-z]+(?![^《“]*[》”])": "English is left",
    r"\d %": "there is no space before %",
    rf"{HAN} {HAN}": "there is no space between Chinese characters",
    r"\*\*|__": "bold that is not shown: punctuation stands inside its end",
}


def setting_problems(chinese):
    """Return a sentence for each place where a passage is not set as Chinese is."""
    found = []
    for line in Passage(chinese).lines:
        if line.has_break:
            found.append(f"a paragraph or list item is one line: {line.prose[:20]}")
        for pattern, problem in SETTING.items():
            for place in re.finditer(pattern, line.prose):
                around = line.prose[max(0, place.start() - 8) : place.end() + 8].replace(OBJECT, "`…`")
                found.append(f"{problem}: {around}")
    return found
