"""What the README shows is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from mixdistill.recipe import build, parse_yaml

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_recipe_in_the_readme_is_valid_and_implies_what_the_readme_says():
    block, buying = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    recipe = build(parse_yaml(block, "README.md"), where="README.md")
    more = parse_yaml(buying, "README.md")["teachers"]
    long = {**parse_yaml(block, "README.md")["teachers"]["long"], **more["long"]}
    assert build({**parse_yaml(block, "README.md"), "teachers": {"long": long}}).teachers["long"].most_samples == 8
    assert list(recipe.arms) == ["long", "short", "mix-long", "mix-long-50"]
    assert {"long_cot_gap", "mix_gain"} <= set(recipe.contrasts)


def test_the_file_tree_in_the_readme_names_every_module_and_nothing_else():
    tree = README.partition("## Where things are")[2]
    named = set(re.findall(r"\b([a-z_]+)\.py\b", tree.partition("commands/")[0]))
    there = {p.stem for p in (ROOT / "src" / "mixdistill").glob("*.py")} - {"__init__", "__main__"}
    assert named - {"file"} == there  # "path/file.py:name" is no module


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_makefile_has_the_verbs_that_the_documents_name():
    makefile = (ROOT / "Makefile").read_text()
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for verb in re.findall(r"^make ([a-z]+)", text, re.MULTILINE):
            assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb
