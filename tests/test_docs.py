"""What README and the pages of the site say: commands, examples, tables, links and pictures."""

import functools
import os
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import columns
import commands
import names
import pages
import pandas as pd
import pytest

from benchmark import ablation, leaderboard, load_ledger
from benchmark.analysis.formats import to_markdown
from benchmark.analysis.presentation import ablation_sections, leaderboard_sections
from benchmark.analysis.published import compare_published
from benchmark.ledger import COLUMNS
from benchmark.recipes import read_recipe
from benchmark.registry import load_registry

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "results" / "README.md"])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
Program = Callable[..., SimpleNamespace]


def blocks(language: str) -> list[tuple[str, str]]:
    """The blocks of code in one language, each with the name of its page."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [(name, found) for name, text in TEXTS.items() for found in pattern.findall(text)]


def command_lines(markdown: str) -> list[list[str]]:
    """The arguments of every call of the program in the shell blocks of a Markdown text."""
    blocks = re.findall(r"^```(?:sh|bash|shell|console)\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        part: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                found += [part[index + 1 :] for index in _calls(part)]
                part = []
            else:
                part.append(word)
    return found


def _calls(words: list[str]) -> list[int]:
    """Where the program's name stands among the words of one command, if it is called at all."""
    first = next((index for index, word in enumerate(words) if "=" not in word), None)
    if first is None:
        return []
    if Path(words[first]).name == "benchmark":
        return [first]
    return [first + 2] if words[first + 1 : first + 3] == ["-m", "benchmark"] else []


def test_command_lines_are_found_in_any_dress():
    text = (
        "Run `benchmark nothing`.\n```sh\npython -m venv .venv && .venv/bin/benchmark run demo  # first\n"
        "benchmark list backbones | head -1\nKERAS_HOME=x python -m benchmark \\\n  status\npip install benchmark\n"
        "```\n```console\n$ benchmark plot results --out 'my plots' > log\n1 plot\n```\n```python\nbenchmark = 1\n```\n"
    )

    assert command_lines(text) == [
        ["run", "demo"], ["list", "backbones"], ["status"], ["plot", "results", "--out", "my plots"],
    ]  # fmt: skip


known_commands = functools.cache(lambda: dict(commands.all_commands()))
LINES = {" ".join(words): words for text in TEXTS.values() for words in command_lines(text)}


@pytest.mark.parametrize("line", sorted(LINES))
def test_every_command_is_one_that_the_program_takes(line: str):
    """What the commands do is tested in test_docs_commands.py."""
    found, words = known_commands(), LINES[line]
    name = next(name for name in found if f"benchmark {line} ".startswith(f"{name} "))

    found[name].make_context(name, words[len(name.split()) - 1 :])  # raises what the program would answer


def test_the_script_of_the_tutorial_takes_the_options_of_the_pages(monkeypatch: pytest.MonkeyPatch):
    script = runpy.run_path(str(ROOT / "examples" / "emoji.py"))
    lines = [line for _, text in blocks("bash") for line in text.splitlines() if "examples/emoji.py" in line]
    for line in lines:
        monkeypatch.setattr(sys, "argv", shlex.split(line)[1:])

        script["read_options"]()  # exits where an option is unknown

    assert lines


@pytest.mark.slow
def test_the_output_in_a_page_is_that_of_its_command(program: Program, tmp_path: Path):
    shown = [(name, *text.split("\n", 1)) for name, text in blocks("console")]

    for name, line, output in shown:
        ended = program(tmp_path, *shlex.split(line.removeprefix("$ benchmark ")))
        missing = set(output.split()) - set(ended.stdout.split())
        assert not missing, f"{name}: {line}"
    assert shown


def test_python_examples_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    found: dict[str, object] = {}
    for _, example in blocks("python"):
        exec(example, found)

    assert found["best"]["backbone"] == "MobileNetV2-dogs"
    assert found["harm"][["backbone", "mode", "verdict"]].tolist() == ["VGG16-hed", "unit", "harmful"]


def test_recipes_and_registry_entries_are_valid(tmp_path: Path):
    recipes, entries = [], []
    for name, text in blocks("toml"):
        path = tmp_path / "example.toml"
        path.write_text(text, encoding="utf-8")
        if "name" in tomllib.loads(text):
            recipes.append(read_recipe(path).name)
        else:
            known = load_registry([path])
            entries += [known[key].name for key in tomllib.loads(text)]
        assert recipes or entries, name

    assert {"pets", "pets-unit"} <= set(recipes)
    assert {"PetNet", "MyResNet", "MobileNetV2-035"} <= set(entries)


def test_tables_are_those_of_the_results(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    runs = load_ledger("results/fashion_mnist")
    board, harm = leaderboard(runs), ablation(runs)
    made = to_markdown([*leaderboard_sections(board, compare_published(board, [])), *ablation_sections(harm)])

    lines = [line for text in TEXTS.values() for line in text.splitlines()]
    rows = [line for line in lines if line.startswith("| ") and line.count("|") > 10 and line[2] in "–0123456789"]

    assert len(rows) > 10
    assert [row for row in rows if row not in made] == []


# --- what is made from the code --------------------------------------------------------------------------------------


def test_every_part_of_a_page_can_be_made_and_is_used():
    asked = {name for text in TEXTS.values() for name in pages.PART.findall(text)}

    assert asked == set(pages.MADE)
    assert [name for name, make in pages.MADE.items() if make().count("\n") < 3] == []


def test_every_column_is_explained_once_in_the_order_of_the_file():
    explained = columns.meanings()

    assert {name: tuple(explained[name]) for name in COLUMNS} == COLUMNS
    for name in ("leaderboard.csv", "ablation.csv"):
        header = pd.read_csv(ROOT / "results" / name, nrows=0).columns
        assert set(explained[name]) <= set(header)
        # `variant` is explained in words above the table.
        assert set(header) - {*explained[name], *explained["runs.csv"], "variant"} == set()


def test_the_columns_of_the_results_are_those_of_the_table():
    text = TEXTS["results/README.md"]

    assert columns.filled(text) == text, "run python docs/hooks/columns.py"
    assert columns.filled(text).count("<!-- columns of") == len(columns.meanings())


def test_every_kind_of_failure_is_explained():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmark").rglob("*.py")]
    kinds = {kind for source in sources for kind in re.findall(r'^    error_type = "(\w+)"', source, re.MULTILINE)}

    explained = set(re.findall(r"^\| `(\w+)` \|", names.error_types(), re.MULTILINE))

    assert explained == kinds | names.failures_without_a_class()


def test_every_exit_code_is_explained():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmark" / "cli").glob("*.py")]
    constant = re.compile(r"^EXIT_(?!BY_SIGNAL)\w+ = (\d+)", re.MULTILINE)
    codes = {int(code) for source in sources for code in constant.findall(source)}

    explained = re.findall(r"^\| ([\d, ]+) \|", TEXTS["docs/reference/failures.md"], re.MULTILINE)

    assert codes < {int(code) for cell in explained for code in cell.split(",")}


# --- links and pictures ----------------------------------------------------------------------------------------------


def targets(text: str) -> Iterator[str]:
    """The files that links and pictures of a page lead to."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose):
        if "://" not in target:
            yield target


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_files(name: str):
    found = [(ROOT / name).parent / target for target in targets(TEXTS[name])]

    assert [path for path in found if not path.exists()] == []


@pytest.mark.parametrize("name", [name for name in TEXTS if name.startswith("docs/")])
def test_links_of_a_page_stay_in_the_site(name: str):
    page = Path(name).parent
    found = [os.path.normpath(page / target) for target in targets(pages.on_page_markdown(TEXTS[name]))]

    assert [path for path in found if not path.startswith("docs/")] == []


@pytest.mark.parametrize("name", TEXTS)
def test_beside_each_picture_stands_the_command_that_makes_it(name: str):
    text = " ".join(TEXTS[name].split())
    kinds = {kind for found in re.findall(r"benchmark plot [^`]*?--only ([\w,-]+)", text) for kind in found.split(",")}

    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        stem = Path(picture).stem
        is_plot = any(stem.startswith(f"{kind}-") for kind in kinds)
        is_other = any(f"{option}docs/pictures/{stem}.png" in text for option in ("--screenshot=", "--picture "))
        assert is_plot or is_other, picture
