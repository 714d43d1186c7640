"""The Chinese notebooks and README.zh.md: whole, not older than the English ones, and saying the same.

As with the English ones, what is committed counts: a reader may work in a Chinese notebook and save it.
"""

import copy
import re

import nbformat
import pytest

from tools import passages as rules
from tools import translations
from tools.notebook_rules import NOTEBOOKS, ROOT, committed
from tools.passages import SETTING, differences, glossary, numbers, setting_problems
from tools.repository_address import README, README_ZH
from tools.translations import (
    FOLDER,
    MADE,
    anchor,
    mark,
    markdown_cells,
    problems,
    read_passages,
    readme_pairs,
    rule_problems,
    translated,
    written,
)

TERMS = glossary()
NAMES = [path.stem for path in NOTEBOOKS]
HAN = re.compile("[\u4e00-\u9fff]")


def english(name):
    return nbformat.reads(committed(ROOT / "notebooks" / f"{name}.ipynb"), as_version=4)


def chinese(name):
    return nbformat.reads(committed(MADE / f"{name}.ipynb"), as_version=4)


def passages_of(name):
    return read_passages(committed(FOLDER / f"{name}.md"))


def readmes():
    return readme_pairs(committed(README), committed(README_ZH))


@pytest.mark.parametrize("name", NAMES)
def test_every_passage_is_there_up_to_date_and_says_the_same(name):
    texts, passages = markdown_cells(english(name)), passages_of(name)
    assert problems(texts, passages) == [] == rule_problems(texts, passages, TERMS)


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_the_english_one_with_the_passages(name):
    same = committed(MADE / f"{name}.ipynb") == written(translated(english(name), name, passages_of(name)))
    assert same, "not what `make translations` makes: run it, and commit notebooks/zh/"


@pytest.mark.parametrize("name", NAMES)
def test_code_outputs_and_metadata_are_the_english_ones(name):
    ours, theirs = english(name), chinese(name)
    assert ours.metadata == theirs.metadata and len(ours.cells) == len(theirs.cells)
    for here, there in zip(ours.cells, theirs.cells, strict=True):
        if here.cell_type == "code":
            assert here == there
        else:
            assert there.cell_type == "markdown" and {**here, "source": ""} == {**there, "source": ""}
            assert there.source != here.source and HAN.search(there.source)


def test_the_readme_is_up_to_date_and_says_the_same():
    texts, linked, passages = readmes()
    assert problems(texts, passages) == [] == rule_problems(linked, passages, TERMS)
    assert setting_problems(committed(README_ZH)) == []


@pytest.mark.parametrize("name", [*NAMES, "README"])
def test_links_lead_to_files_and_headings(name):
    path = README_ZH if name == "README" else MADE / f"{name}.ipynb"
    text = committed(path) if name == "README" else "\n".join(cell.source for cell in chinese(name).cells)
    targets = [target for target in translations.LINK.findall(text) if not target.startswith("https:")]
    assert targets
    for target in targets:
        file, _, place = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), f"{path.name} links to {target}, which is missing"
        if place:
            headings = re.findall(r"^## .*", committed(found), re.MULTILINE)
            assert place in [anchor(heading) for heading in headings], f"{path.name} links to {target}"


def test_each_notebook_links_to_the_other_language():
    for name in NAMES:
        assert f"[中文版](zh/{name}.ipynb)" in english(name).cells[0].source
        assert f"[English](../{name}.ipynb)" in chinese(name).cells[0].source


def test_the_errata_name_sections_that_exist():
    cited = re.findall(r"\| (0\d)，“([^”]+)” \|$", committed(README_ZH), re.MULTILINE)
    assert len(cited) == len(re.findall(r"\| 0\d, \*", committed(README))) == 8
    for number, heading in cited:
        (name,) = [name for name in NAMES if name.startswith(number)]
        assert any(f"## {heading}\n" in f"{cell.source}\n" for cell in chinese(name).cells), heading


# --------------------------------------------------------------------------- what the tests above would notice


def test_a_changed_english_sentence_makes_its_passage_old():
    for name in NAMES:
        texts, passages = markdown_cells(english(name)), passages_of(name)
        for cell in texts:
            (problem,) = problems(texts | {cell: texts[cell] + " More."}, passages)
            assert problem.startswith(f"{cell}: made from an older English text")
            assert f"<!-- {cell} {mark(texts[cell] + ' More.')} -->" in problem


def test_an_address_makes_no_passage_old():
    notebook = english("03_data")
    before = markdown_cells(notebook)
    cell = notebook.cells[0]
    cell.source = translations.BADGE.sub("[![Open in Colab](https://a)](https://b)", cell.source)
    assert markdown_cells(notebook) == before


@pytest.mark.parametrize(
    ("doctor", "expected"),
    [
        (lambda passages: passages.pop(3), "no passage for"),
        (lambda passages: passages.append(("0123abcd", "0" * 12, "多余")), "a passage without an English text"),
        (lambda passages: passages.append(passages[3]), "there 2 times"),
        (lambda passages: passages.insert(2, passages.pop(3)), "do not stand in the order"),
        (lambda passages: passages.__setitem__(3, (*passages[3][:2], "")), "empty"),
    ],
)
def test_a_passage_missing_or_out_of_place_is_noticed(doctor, expected):
    for name in NAMES:
        passages = passages_of(name)
        doctor(passages)
        (problem,) = problems(markdown_cells(english(name)), passages)
        assert expected in problem


def test_a_changed_number_is_noticed_wherever_it_stands():
    count = 0
    for name in NAMES:
        texts = markdown_cells(english(name))
        for cell, _, text in passages_of(name):
            for numeral in re.finditer(r"(?<![A-Za-z0-9_.,`$^{-])\d[\d,.]*\d", text):
                last = numeral.end() - 1
                changed = text[:last] + str((int(text[last]) + 1) % 10) + text[last + 1 :]
                assert differences(texts[cell], changed, []), f"{name} {cell}: {numeral[0]}"
                count += 1
    assert count > 800


ENGLISH = """\
## Count the stops

**Predict:** C1 has `6` maps of 28 × 28, 1.6 million in August 2026, 3 and 4 % of them $n - k_\\text{old}$; see
[03](03_data.ipynb). A stride of two.

- one
- two

| a | 1,516 |
|---|---|

$$\\text{output size} = 5$$

<details><summary>Solution</summary>

```python
answer = 1
```

</details>"""
CHINESE = """\
## 数一数停几次

**预测**：C1 有 `6` 个图，28 × 28，2026 年 8 月 160 万，3% 和 4% 是 $n - k_\\text{旧}$；见 [03](03_data.ipynb)。步幅二。

- 一
- 二

| 甲 | 1,516 |
|---|---|

$$\\text{输出大小} = 5$$

<details><summary>参考答案</summary>

```python
answer = 1
```

</details>"""


def test_a_right_passage_has_no_problem():
    assert differences(ENGLISH, CHINESE, TERMS) == [] == setting_problems(CHINESE)


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("28 × 28", "28 × 26", "numbers"),
        ("160 万", "16 万", "numbers"),
        ("1,516", "1,561", "numbers"),
        ("4%", "4", "per cents"),
        ("160 万", "160 万%", "per cents"),
        ("8 月", "9 月", "numbers"),
        ("`6`", "`5`", "code spans"),
        ("$n - k", "$n + k", "formulas"),
        ("= 5$$", "= 6$$", "blocks"),
        ("(03_data.ipynb)", "(04_training.ipynb)", "links"),
        ("## 数", "### 数", "blocks"),
        ("- 二\n", "", "blocks"),
        ("| 甲 | 1,516 |\n|---|---|", "1,516", "blocks"),
        ("answer = 1", "answer = 2", "blocks"),
        ("<details>", "", "blocks"),
        ("C1 有", "C3 有", "layers"),
        ("- 一\n- 二", "1. 一\n2. 二", "blocks"),
        ("- 二\n", "- 二\n\n多一段。\n", "blocks"),
        ("```python", "```", "blocks"),
        ("输出大小", "输出大小 7", "numbers"),
        ("旧", "旧 7", "numbers"),
        ("_\\text{旧}", "", "formulas"),
        ("28 × 28", "28 + 28", "signs"),
        ("28 × 28", "28 × 28 {badge}", "placeholders"),
        ("[03](03_data.ipynb)", "![](03_data.ipynb)", "links"),
        ("- 一\n- 二\n\n| 甲 | 1,516 |", "- 一\n- 1,516\n\n| 甲 | 二 |", "numbers"),
        ("步幅", "步长", "stride is 步幅"),
        ("个图", "个特征映射", "特征映射 should be 特征图"),
    ],
)
def test_a_passage_that_says_other_is_noticed(right, wrong, problem):
    assert right in CHINESE
    assert any(found.startswith(problem) for found in differences(ENGLISH, CHINESE.replace(right, wrong), TERMS))


@pytest.mark.parametrize(
    "wrong",
    [
        "C1有 6 个图", "有6 个图", "有 6个图", "用`x`表示", "取 $k$个", "占 5%的",
        "图,单元", "预测: 图", "图(单元)", "图 (单元) 图", "是什么?", "他说\"图\"", "结束.",
        "图， 单元", "图 ，单元", "占 5 %", "图 单元", "**预测：**下一层", "一行 C1\n又一行", "一行\n又一行",
        "有\u00a06 个图", "有 ８ 个图", "这里 a sentence was left in English。",
    ],
)  # fmt: skip
def test_chinese_that_is_set_wrongly_is_noticed(wrong):
    assert setting_problems(wrong)


@pytest.mark.parametrize(
    "right",
    [
        "C1 有 6 个图。",
        "论文“Gradient-based learning applied to document recognition”，《Dive into Deep Learning and so on》",
        "用 `x` 表示（见 $k$）。",
        "**预测**：下一层是“图”……",
        "占 5% 的图；3.5 和 1,516",
        "`a, b`，图",
        "![](a.png)",
    ],
)
def test_chinese_that_is_set_well_is_left_alone(right):
    assert setting_problems(right) == []


def test_numbers_in_both_languages():
    assert numbers("1.6 million of 60,000, 0.95 % in May 1998") == numbers("1998 年 5 月，60,000 中的 160 万，0.95%")
    assert numbers("C1 and LeNet-5, python3.12, 2.0") == (["2.0"], [])


# ------------------------------------------------------------------------------------------ the glossary, the pad


def test_the_glossary_is_one_for_all():
    names = [term["english"] for term in TERMS]
    assert names == sorted(set(names)) and len(names) > 90
    for term in TERMS:
        assert term["chinese"] and term["chinese"] not in term["never"].split("|"), term["english"]
        assert not set(term["also"].split("|")) & set(filter(None, term["never"].split("|"))), term["english"]
    assert {"feature map", "stride", "padding", "pooling", "full connection", "learning rate", "receptive field"} <= {
        *names
    }


def test_the_pad_speaks_the_same_chinese():
    words = committed(ROOT / "pad" / "words.js").partition("\n  zh: {")[2] + committed(ROOT / "pad" / "page.html")
    texts = [text for text in re.findall(r'"[^"\n]*"|`[^`\n]*`|>[^<\n]*<', words) if HAN.search(text)]
    assert len(texts) > 40
    for text in texts:
        plain = re.sub(r"\$\{[^{}]*\}|\w+\(\)", "7", text[1:-1])
        assert not any(one in plain for term in TERMS for one in filter(None, term["never"].split("|"))), text
        for pattern, problem in SETTING.items():
            if "space is missing" not in problem:  # a value that is put in may be Chinese
                assert not re.search(pattern, plain), f"{problem}: {text}"


# ---------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the texts of two notebooks, of the README files and of the glossary; it is what `main` sees."""
    for name in ("FOLDER", "MADE"):
        monkeypatch.setattr(translations, name, tmp_path / getattr(translations, name).relative_to(ROOT))
    monkeypatch.setattr(translations, "ROOT", tmp_path)
    monkeypatch.setattr(translations, "NOTEBOOKS", [tmp_path / "notebooks" / f"{name}.ipynb" for name in NAMES[:2]])
    for readme in ("README", "README_ZH"):
        monkeypatch.setattr(translations, readme, tmp_path / getattr(translations, readme).name)
    monkeypatch.setattr(rules, "GLOSSARY", tmp_path / rules.GLOSSARY.relative_to(ROOT))
    files = [README, README_ZH, FOLDER / "glossary.csv", *NOTEBOOKS[:2], *(FOLDER / f"{name}.md" for name in NAMES[:2])]
    for file in files:
        place = tmp_path / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(committed(file), encoding="utf-8", newline="\n")
    return tmp_path


def test_the_command_makes_the_notebooks(project, capsys):
    translations.main()
    assert "2 notebooks in notebooks/zh/ and README.zh.md are up to date." in capsys.readouterr().out
    for name in NAMES[:2]:
        made = project / "notebooks" / "zh" / f"{name}.ipynb"
        assert made.read_text(encoding="utf-8") == committed(MADE / f"{name}.ipynb")
        nbformat.validate(nbformat.read(made, as_version=4))


@pytest.mark.parametrize(
    ("file", "right", "wrong", "problem"),
    [
        ("translations/zh/01_output_sizes.md", "340,908", "340,980", "01_output_sizes, 097fc07a: numbers"),
        ("translations/zh/02_c3_connection_table.md", "掩码", "蒙版", "蒙版 should be 掩码"),
        ("notebooks/02_c3_connection_table.ipynb", "ordinary convolution", "common convolution", "older English text"),
        ("README.md", "Nothing leaves your device.", "Nothing is sent.", "README.zh.md, top: made from an older"),
        ("README.zh.md", "0.84%", "0.48%", "README.zh.md, top: numbers"),
    ],
)
def test_the_command_writes_nothing_while_something_is_wrong(project, file, right, wrong, problem):
    translations.main()
    before = {path: path.read_bytes() for path in (project / "notebooks" / "zh").iterdir()}
    text = (project / file).read_text(encoding="utf-8")
    assert right in text
    (project / file).write_text(text.replace(right, wrong), encoding="utf-8", newline="\n")
    with pytest.raises(SystemExit) as refusal:
        translations.main()
    assert problem in refusal.value.code and refusal.value.code.endswith("No notebook was made.")
    assert {path: path.read_bytes() for path in (project / "notebooks" / "zh").iterdir()} == before


def test_a_missing_translation_is_listed_passage_by_passage(project):
    (project / "translations/zh/02_c3_connection_table.md").unlink()
    with pytest.raises(SystemExit) as refusal:
        translations.main()
    assert refusal.value.code.count("no passage for") == len(markdown_cells(english(NAMES[1])))


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("translations/zh/01_output_sizes.md", "序\n{}", "01_output_sizes, text stands before the first mark: 序"),
        ("translations/zh/01_output_sizes.md", "\udcff{}", "01_output_sizes, 01_output_sizes.md is not in UTF-8"),
        ("README.zh.md", "\udcff{}", "README.zh.md is not in UTF-8"),
        ("translations/zh/glossary.csv", "\udcff{}", "glossary.csv is not in UTF-8"),
        ("translations/zh/glossary.csv", "{}\nunit", "glossary.csv: a row needs english,chinese,also,never,note"),
        ("translations/zh/glossary.csv", "{}\nunit,,,,", "not unit,,,,"),
        ("translations/zh/glossary.csv", "a,b\n1,2", "glossary.csv: a row needs"),
        ("translations/zh/09_old.md", "", "translations/zh/09_old.md, there is no English notebook of this name"),
        ("notebooks/zh/09_old.ipynb", "", "notebooks/zh/09_old.ipynb, there is no English notebook of this name"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(project, file, content, problem):
    translations.main()
    path = project / file
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_bytes(content.replace("{}", before).encode(errors="surrogateescape"))
    with pytest.raises(SystemExit) as refusal:
        translations.main()
    assert problem in refusal.value.code and refusal.value.code.endswith("No notebook was made.")


def test_a_byte_order_mark_does_no_harm(project):
    for file in ("translations/zh/glossary.csv", "translations/zh/01_output_sizes.md", "README.zh.md"):
        path = project / file
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    translations.main()


def test_an_english_cell_that_has_no_chinese_form_is_named(project):
    path = project / "notebooks" / "01_output_sizes.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [nbformat.v4.new_raw_cell("x", id="raw-cell"), nbformat.v4.new_markdown_cell(" ", id="empty")]
    notebook.cells[4].source += '\n<img src="../images/pad.png">\n\n[d]: ../draw.html'
    nbformat.write(notebook, path)
    with pytest.raises(SystemExit) as refusal:
        translations.main()
    assert "01_output_sizes, raw-cell: a raw cell has no translation" in refusal.value.code
    for target in ("../images/pad.png", "../draw.html"):
        assert f"01_output_sizes, {target}: write such a link as [words](address)" in refusal.value.code
    assert "empty" not in refusal.value.code


def test_a_section_that_is_missing_in_chinese_is_named_though_others_link_to_it(project):
    text = (project / "README.zh.md").read_text(encoding="utf-8")
    (project / "README.zh.md").write_text(text.replace("<!-- other-ways-to-set-up ", "<!-- others "), encoding="utf-8")
    with pytest.raises(SystemExit) as refusal:
        translations.main()
    assert "README.zh.md, other-ways-to-set-up: no passage for “## Other ways to set up”" in refusal.value.code


def test_text_before_the_first_mark_is_refused():
    with pytest.raises(ValueError, match="before the first mark: 序"):
        read_passages("序\n\n<!-- a 0123456789ab -->\n一\n")


def test_a_changed_output_makes_the_chinese_notebook_old():
    notebook = english("01_output_sizes")
    changed = copy.deepcopy(notebook)
    output = next(cell for cell in changed.cells if cell.get("outputs")).outputs[0]
    output["text"] = "something else"
    passages = passages_of("01_output_sizes")
    texts = [written(translated(one, "01_output_sizes", passages)) for one in (notebook, changed)]
    assert texts[0] == committed(MADE / "01_output_sizes.ipynb") != texts[1]
