"""The notebooks in Chinese: each is the English one with other prose. And whether README.zh.md is up to date.

python -m tools.translations     makes notebooks/zh/*.ipynb of notebooks/*.ipynb and translations/zh/*.md

A file of translations/zh/ holds one passage for each Markdown cell, after a mark: the cell's id, and the start of the
SHA-256 of the English text that the passage was made from. Code cells, outputs and metadata are the English notebook's.
README.zh.md has such a mark before each section of README.md. Nothing is written while a passage is missing, was made
from an older English text, or breaks a rule of tools/passages.py; each of these is listed.

Why not gettext: a .po file doubles each backslash of a formula and puts each line into quotes. These files are the
Markdown that a reader will see, and a translator can look at them rendered.
"""

import copy
import hashlib
import re
import sys

import nbformat

from tools.notebook_rules import NOTEBOOKS, ROOT
from tools.passages import differences, glossary, setting_problems, utf8_text
from tools.repository_address import BADGE, NO_BADGE, NO_BADGE_ZH, PAGE, README, README_ZH, write_whole

FOLDER = ROOT / "translations" / "zh"
MADE = ROOT / "notebooks" / "zh"
MARK = re.compile(r"^<!-- (\S+) ([0-9a-f]{12}) -->\n", re.MULTILINE)
# The line of badge and language in an English notebook: no part of the text to translate.
HEAD = re.compile(rf"(?:{BADGE.pattern}) · \[中文版\]\([^)]*\)")
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
ONLY_CHINESE = "<!-- 以下只有中文 -->\n"  # in README.zh.md, as far as the next mark


def mark(text):
    """Return the start of the SHA-256 of an English text, 12 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def markdown_cells(notebook):
    """Return the English texts by cell id; {badge} stands for what depends on the repository's address."""
    return {
        cell.id: HEAD.sub("{badge}", cell.source).strip()
        for cell in notebook.cells
        if cell.cell_type == "markdown" and cell.source.strip()
    }


def sections(readme):
    """Return a README's sections by their anchors, "top" for what stands before the first heading."""
    texts = re.split(r"^(?=## )", PAGE.sub("{page}", BADGE.sub("{badge}", readme)), flags=re.MULTILINE)
    return {"top": texts[0].strip()} | {anchor(text): text.strip() for text in texts[1:]}


def anchor(section):
    """Return the anchor that GitHub gives to a section's heading."""
    heading = section.splitlines()[0].removeprefix("## ").lower()
    return re.sub(r"[^\w -]", "", heading).replace(" ", "-")


def read_passages(text):
    """Return a translation's passages in order: (the cell's id or the section's anchor, the mark, the passage)."""
    start, *parts = MARK.split(text)
    if start.strip():
        raise ValueError(f"text stands before the first mark: {start.strip().splitlines()[0]}")
    return [(*parts[i : i + 2], parts[i + 2].strip()) for i in range(0, len(parts), 3)]


def problems(english, passages):
    """Return a sentence for each passage that is missing, out of date, empty, in another place, or of no English text.

    english: the texts by name, in order. passages: as read_passages returns them.
    """
    found, names = [], [name for name, _, _ in passages]
    marks = {name: old for name, old, _ in passages}
    for name, text in english.items():
        first = text.partition("\n")[0]
        if name not in marks:
            found.append(f"{name}: no passage for “{first}”; its mark is <!-- {name} {mark(text)} -->")
        elif marks[name] != mark(text):
            found.append(
                f"{name}: made from an older English text than “{first}”; look it through, then write "
                f"<!-- {name} {mark(text)} -->"
            )
    found += [f"{name}: a passage without an English text" for name in marks if name not in english]
    found += [f"{name}: there {names.count(name)} times" for name in marks if names.count(name) > 1]
    found += [f"{name}: empty" for name, _, text in passages if not text]
    if not found and names != list(english):
        found.append("The passages do not stand in the order of the English text.")
    return found


def rule_problems(english, passages, terms):
    """Return a sentence for each place where a passage says other than its English text, or is set wrongly."""
    return [
        f"{name}: {problem}"
        for name, _, text in passages
        for problem in differences(english[name], text, terms) + setting_problems(text)
    ]


def notebook_link(target):
    """Return where a link of an English notebook leads from notebooks/zh/."""
    if target == "../README.md":
        return "../../README.zh.md"
    return f"../{target}" if target.startswith("../") else target


def readme_link(target, anchors):
    """Return what README.zh.md links to where README.md links to `target`; anchors: English to Chinese ones."""
    if target.startswith("README.zh.md"):
        chinese = {there: here for here, there in anchors.items()}
        file, _, place = target.partition("#")
        return f"README.md#{chinese.get(place, place)}" if place else "README.md"
    if target.startswith("#"):
        return f"#{anchors.get(target[1:], target[1:])}"
    return re.sub(r"^notebooks/(?=\d)", "notebooks/zh/", target).replace("https://d2l.ai", "https://zh.d2l.ai")


def readme_pairs(readme, chinese):
    """Return README.md's sections, with the links that README.zh.md has, and that file's passages."""
    passages = [
        (name, its_mark, text.partition(ONLY_CHINESE)[0].strip())
        for name, its_mark, text in read_passages(PAGE.sub("{page}", BADGE.sub("{badge}", chinese)))
    ]
    anchors = {name: anchor(text) for name, _, text in passages if text}
    texts = sections(readme)
    linked = {
        name: LINK.sub(lambda found: readme_link(found[0], anchors), text) if name in anchors else text
        for name, text in texts.items()
    }
    return texts, linked, passages


def chinese_badge(badge):
    """Return the badge of the Chinese notebook from that of the English one."""
    return NO_BADGE_ZH if badge == NO_BADGE else badge.replace("/blob/main/notebooks/", "/blob/main/notebooks/zh/")


def translated(notebook, name, passages):
    """Return the notebook with the passages in place of its Markdown cells; code and outputs as they are."""
    texts = {cell: text for cell, _, text in passages}
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        if cell.id in texts:
            text = LINK.sub(lambda found: notebook_link(found[0]), texts[cell.id])
            if "{badge}" in text:
                badge = chinese_badge(BADGE.search(cell.source)[0])
                text = text.replace("{badge}", f"{badge} · [English](../{name}.ipynb)")
            cell.source = text
    return made


def written(notebook):
    """Return a notebook as the text of its file."""
    return nbformat.writes(notebook) + "\n"


def notebook_problems(notebook):
    """Return a sentence for each cell of an English notebook that has no Chinese form."""
    found = [f"{cell.id}: a raw cell has no translation" for cell in notebook.cells if cell.cell_type == "raw"]
    prose = "\n".join(markdown_cells(notebook).values())
    relative = re.findall(r"""(?:(?:src|href)=["']|^\[[^]]+\]: *)(?!https?:|#)([^"'\s>]+)""", prose, re.MULTILINE)
    return found + [f"{target}: write such a link as [words](address), or it leads nowhere" for target in relative]


def main():
    texts, found = {}, []
    try:
        terms = glossary()
    except ValueError as error:
        sys.exit(f"{error}\nNo notebook was made.")
    for path in NOTEBOOKS:
        notebook, source = nbformat.read(path, as_version=4), FOLDER / f"{path.stem}.md"
        english, wrong = markdown_cells(notebook), notebook_problems(notebook)
        try:
            passages = read_passages(utf8_text(source)) if source.exists() else []
            wrong += problems(english, passages) or rule_problems(english, passages, terms)
        except ValueError as error:
            wrong.append(str(error))
        found += [f"{path.stem}, {problem}" for problem in wrong]
        if not wrong:
            texts[MADE / path.name] = written(translated(notebook, path.stem, passages))
    try:
        english, linked, passages = readme_pairs(utf8_text(README), utf8_text(README_ZH))
        wrong = problems(english, passages) or rule_problems(linked, passages, terms)
    except ValueError as error:
        wrong = [str(error)]
    found += [f"{README_ZH.name}, {problem}" for problem in wrong]
    names = {path.stem for path in NOTEBOOKS}
    old = [path for path in [*FOLDER.glob("*.md"), *MADE.glob("*.ipynb")] if path.stem not in names]
    found += [f"{path.relative_to(ROOT).as_posix()}, there is no English notebook of this name" for path in old]
    if found:
        sys.exit("\n".join([*found, "No notebook was made."]))
    MADE.mkdir(exist_ok=True)
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)
    print(f"{len(texts)} notebooks in {MADE.relative_to(ROOT).as_posix()}/ and {README_ZH.name} are up to date.")


if __name__ == "__main__":
    main()
