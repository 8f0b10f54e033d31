"""The gap under each budget, and what blends are made of: on the page, in Markdown, in the headline, in words."""

from __future__ import annotations

from typing import Any

from mixdistill.evidence.rows import ArmFacts, Evidence
from mixdistill.page import budgets, figures, render
from mixdistill.types import Gap
from study import changed, example, gaps

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
SPACE = "\N{NO-BREAK SPACE}"


def other(gap: Gap, by: str = "loss_tokens", shift: float = 0.0, **fields: Any) -> Gap:
    """A gap as it is under another budget."""
    arms = (f"{gap.arms[0]}@{by}", f"{gap.arms[1]}@{by}")
    return gap.model_copy(update={"variant": by, "arms": arms, "delta": gap.delta + shift, "primary": False, **fields})


def both(shift: float = 0.0, *, depends: bool = False, by: str = "loss_tokens") -> Evidence:
    """The study with a second budget, under which m's primary gap is another by `shift`."""
    s, m, *rest = gaps()
    if depends:
        m = m.model_copy(update={"verdict": "can't tell (depends on the budget)", "depends_on": [by]})
    others = [other(s, by), other(m, by, shift), *(other(g, by) for g in rest)]
    return changed(gaps=[s, m, *rest], gaps_by_variant=others, variants=[by], confounds=[])


def test_nothing_is_said_of_budgets_where_there_is_one() -> None:
    assert budgets.budgets_words(example()) == []
    assert budgets.gap_budgets(example(), primary=True) == []
    assert "The gap under each budget" not in render.html(example()) + render.markdown(example())
    assert "; by" not in render.headline(example())


def test_headline_has_the_gap_under_the_other_unit_beside_the_declared_one() -> None:
    assert "long beats short for m (by 20.2 points; by loss tokens 15.2)" in render.headline(both(-0.05))
    assert "by loss tokens" not in render.headline(both(by="each")), "other problems are no other unit"


def test_one_sentence_says_that_the_sign_is_the_same() -> None:
    line = "The sign is the same by examples and by loss tokens."
    assert budgets.budgets_words(both()) == [line]
    assert line in render.html(both()) and line in render.markdown(both())


def test_withdrawn_verdict_is_explained_with_both_numbers_in_every_form() -> None:
    evidence = both(-0.3, depends=True)
    line = f"The gap of m is +20.2 points, and {MINUS}9.8 by loss tokens, so there is no verdict."
    assert budgets.budgets_words(evidence) == [line]
    assert line in render.html(evidence) and line in render.markdown(evidence)
    headline = render.headline(evidence)
    assert f"m (+20.2 points, but {MINUS}9.8 by loss tokens)" in headline
    assert "beats" not in headline
    assert 'viewBox="0 0 900 ' in render.gap_svg(evidence)


def test_larger_gap_under_another_budget_is_told_by_its_size() -> None:
    evidence = both(0.1, depends=True)
    assert budgets.budgets_words(evidence) == [
        "The gap of m is +20.2 points, and +30.2 by loss tokens, so there is no verdict."
    ]
    assert "m (+20.2 points, but +30.2 by loss tokens)" in render.headline(evidence)


def test_sign_that_turns_where_there_was_no_verdict_is_told_as_such() -> None:
    evidence = both(-0.3)
    s, m, *rest = evidence.gaps
    open_ = m.model_copy(update={"verdict": "can't tell"})
    (line,) = budgets.budgets_words(evidence.model_copy(update={"gaps": [s, open_, *rest]}))
    assert line.endswith("by loss tokens; there was no verdict to withdraw.")


def test_blend_that_another_pure_arm_is_nearest_to_is_told_by_the_arms() -> None:
    evidence = both(depends=True)
    s, m, *rest = evidence.gaps_by_variant
    turned = m.model_copy(update={"arms": ("long@loss_tokens", "mix-20@loss_tokens")})
    (line,) = budgets.budgets_words(evidence.model_copy(update={"gaps_by_variant": [s, turned, *rest]}))
    assert line == "By loss tokens it is mix-20, not short, that m learns most from, so there is no verdict."


def test_budget_that_is_missing_is_said_in_words_and_in_the_headline() -> None:
    evidence = both()
    rest = [gap for gap in evidence.gaps_by_variant if gap.student != "m"]
    lacking = evidence.model_copy(update={"gaps_by_variant": rest})
    assert budgets.budgets_words(lacking) == [
        "Not measured by loss tokens: m; a verdict there rests on one budget alone."
    ]
    assert "long beats short for m (by 20.2 points; by loss tokens not measured)" in render.headline(lacking)


def test_primary_contrast_is_drawn_by_student_and_budget_the_declared_one_first() -> None:
    figure = figures.budget_figure(both())
    assert [panel.title for panel in figure.panels] == ["s", "m"]
    assert [[gap.variant for gap in panel.rows] for panel in figure.panels] == [["", "loss_tokens"]] * 2
    page = render.html(both())
    part = page[page.index("<h3>The gap under each budget") :].partition('<section id="')[0]
    assert part.count("<b>by examples</b> <small>counts</small>") == 2
    assert part.count("<b>by loss tokens</b>") == 2
    assert "@" not in part, "a budget is said in words"
    assert "<summary>All contrasts under each budget</summary>" in part
    assert "| by loss tokens | long − short |" in render.markdown(both())


def test_figures_of_arms_show_the_declared_budget_and_the_table_all() -> None:
    rows = [r.model_copy(update={"arm": f"{r.arm}@loss_tokens"}) for r in example().accuracies if r.arm != "base"]
    arms = [ArmFacts(name=f"{a}@loss_tokens", weights={a: 1}) for a in ("long", "short")]
    evidence = changed(accuracies=[*example().accuracies, *rows], arms=[*example().arms, *arms])
    assert figures.accuracy_figures(evidence) == figures.accuracy_figures(example())
    assert figures.outcome_figures(evidence) == figures.outcome_figures(example())
    assert "| s | long (by loss tokens) | signs |" in render.markdown(evidence)
    assert "| long (by loss tokens) | 100 % long |" in render.markdown(evidence)


def test_blend_is_told_in_both_units_with_problems_and_epochs() -> None:
    cells = [
        cell.model_copy(update={
            "share_examples": {"long": 0.2, "short": 0.8},
            "share_loss_tokens": {"long": 0.49 + 0.02 * (cell.seed == 1), "short": 0.5},
            "distinct_problems": 5_000,
            "epochs": 2.0,
        })
        for cell in example().cells
    ]  # fmt: skip
    (line,) = budgets.blend_words(changed(cells=cells))
    expected = f"20{SPACE}% long by examples = 49{DASH}51{SPACE}% by loss tokens"
    assert line == f"mix-20: {expected}; 5,000 distinct problems, 2 epochs"
    assert line in render.html(changed(cells=cells))
    assert f"- {line}" in render.markdown(changed(cells=cells))


def test_own_answers_of_each_student_are_one_teacher_in_a_blend() -> None:
    cells = [
        cell.model_copy(update={"arm": "own", "share_examples": {f"self@{cell.student}": 0.5, "short": 0.5},
                                "share_loss_tokens": {f"self@{cell.student}": 0.7, "short": 0.3}})
        for cell in example().cells
    ]  # fmt: skip
    evidence = changed(cells=cells, arms=[ArmFacts(name="own", weights={"self": 0.5, "short": 0.5})])
    (line,) = budgets.blend_words(evidence)
    assert line.startswith(f"own: 50{SPACE}% self by examples = 70{SPACE}% by loss tokens; ")


def test_base_in_its_best_prompt_is_the_headline_where_it_is_above_every_arm() -> None:
    rows = example().accuracies
    best = [r.model_copy(update={"arm": "base+on", "mean": 0.9}) for r in rows if r.arm == "base"]
    line = render.headline(changed(accuracies=[*rows, *best], confounds=[]))
    assert f"base+on scores 90.0{SPACE}%, the best trained arm (long) 83.5{SPACE}%" in line
    above = [r.model_copy(update={"mean": 0.95, "arm": "long@loss_tokens"}) for r in rows if r.arm == "long"]
    line = render.headline(changed(accuracies=[*rows, *best, *above], confounds=[]))
    assert "base+on" not in line, "an arm under another budget is above it"
