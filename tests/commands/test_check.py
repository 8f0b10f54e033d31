"""`check` says what a run would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Notes, Watching
from mixdistill import pipeline
from mixdistill.backends.recorded import Recorded
from mixdistill.commands import check, estimates, faults, memory
from mixdistill.commands.check import plan
from mixdistill.commands.plan_text import text
from mixdistill.commands.plans import Plan
from mixdistill.errors import RecipeError
from mixdistill.recipe import build
from mixdistill.store import Store


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Paths are from here; two cores, 50 GiB of disk and 8 of memory, whatever this machine has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimates.executor, "gpus", list)
    monkeypatch.setattr(estimates.executor, "cores", lambda: 2)
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: Usage(50 * 2**30))
    monkeypatch.setattr(memory, "room", lambda devices: 8 * 2**30)
    return tmp_path


SERVED = {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def planned(raw: dict[str, Any], limit: int | None = None) -> Plan:
    return plan(build(raw), out=Path("run"), limit=limit)


def written(raw: dict[str, Any], **more: Any) -> str:
    return text(planned(raw, **more)).plain


def test_the_whole_plan_reads_like_this(raw):
    raw["description"] = "Which?"
    raw["arms"]["mix"] = {"long": 0.2, "short": 0.8}
    raw["contrasts"]["mix_gain"] = ["mix", "each_pure"]
    raw["students"]["s"]["seeds"] = 5
    raw["evaluate"] = {"sampling": {"max_tokens": 64}, "caps": [32], "k": 2}
    assert written(raw) == (
        "study       tiny: Which?\n"
        "problems    train  12  lab:signs\n"
        "            signs   4  lab:signs\n"
        "teachers    long   scripted  long   12 traces  77 tokens each (mean of 12)\n"
        "            short  scripted  short  12 traces  20 tokens each (mean of 12)\n"
        "verifier    signs  mixdistill.lab.domain:verify\n"
        "students    s  lab:s  103k weights  3 arms x 5 seeds = 15 trainings\n"
        "              at most 6 updates of 4 examples each\n"
        "arms               by examples             by loss tokens\n"
        "            long   100 % long              100 % long\n"
        "            short  100 % short             100 % short\n"
        "            mix    20 % long + 80 % short  49.5 % long + 50.5 % short\n"
        "contrasts   long_cot_gap  long - short     primary, on signs\n"
        "            mix_gain      mix - each_pure\n"
        "evaluation  128 traces: 16 models x (8 of signs), at most 64 tokens each, also cut at 32\n"
        "              signs: 4 problems are fewer than 100: it is shown and decides nothing\n"
        "time        training    about 1 s on 2 cores\n"
        "            evaluation  about 1 s where students write as long as their teachers\n"
        "                        at most 1 s at the limit of tokens\n"
        "            (6 operations a weight and token, 2e+10 a second and core)\n"
        "            (2 operations a weight and token, 4e+09 a second and core)\n"
        "cost        tokens bought  no teacher is asked\n"
        "            GPU-hours      less than 0.01\n"
        "memory      s  about 592 MiB a training, 2 at once, of 8 GiB\n"
        "              (weights 443 KiB, gradients 443 KiB, optimizer 886 KiB, copy 443 KiB, activations 16\n"
        "                MiB, logits 1.52 MiB, libraries 572 MiB)\n"
        "disk        run (new), 50 GiB free\n"
        "            models kept     about 5.9 MiB (4 bytes a weight, 15 models)\n"
        "            while training  about 4.72 MiB (two a training with the optimizer's state, 2 at once)\n"
        "            tables          about 139 KiB (before compression, every student's trace at the limit)"
    )
    assert not Path("run").exists(), "a plan leaves nothing behind"


def test_no_line_is_wider_than_asked_for(raw):
    raw["description"] = "What do they learn from long traces, and what from short ones, and from both? " * 3
    for width in (60, 100):
        lines = text(planned(raw), width).plain.splitlines()
        assert max(map(len, lines)) <= width


def test_the_plan_is_the_same_as_data(raw):
    made = planned(raw)
    assert Plan.model_validate_json(made.model_dump_json()) == made
    assert json.loads(made.model_dump_json())["arms"][0] == {
        "name": "long",
        "examples": {"long": 1.0},
        "loss_tokens": {"long": 1.0},
    }


def test_the_first_problem_is_shown_as_each_teacher_is_asked_it(raw, monkeypatch):
    Path("few.jsonl").write_text('{"prompt": "Q 2 1 T 1 :", "completion": "A + -"}\n', encoding="utf-8")
    Path("long.jinja").write_text("{{ problem }}\n" + "Think. " * 60 + "Answer:", encoding="utf-8")
    raw["teachers"]["long"] = {**SERVED, "prompt": "long.jinja", "examples": "few.jsonl", "system": "Be brief."}
    made = planned(raw)
    first = check.faults.find(build(raw), Store(Path("r"))).problems["train"][0].prompt
    long, short = made.teachers
    assert short.asked is None, "the problem as it stands"
    assert not isinstance(long.asked, str) and long.asked is not None
    assert [m.role for m in long.asked] == ["system", "user", "assistant", "user"]
    assert long.asked[-1].content.startswith(f"{first}\nThink. ") and long.asked[-1].content.endswith("Answer:")
    shown = text(made, 400).plain.splitlines()
    at = shown.index("asked       long")
    assert shown[at + 1].strip() == "system: 'Be brief.'"
    assert shown[at + 3].strip() == "assistant: 'A + -'"
    last = shown[at + 4].strip()
    assert last.startswith(f"user: '{first}")
    assert "\\nThink. Think." in last and " ... " in last and last.endswith("Think. Answer:'") and len(last) < 350


def test_a_teacher_that_is_shown_answers_of_what_is_asked_or_examined_is_warned_of(raw):
    problems = check.faults.find(build(raw), Store(Path("r"))).problems
    told = [problems["train"][3], problems["signs"][0], problems["signs"][1]]
    rows = [{"prompt": p.prompt, "completion": p.answer} for p in told] + [{"prompt": "else", "completion": "x"}]
    Path("few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    raw["teachers"]["long"] = {**SERVED, "examples": "few.jsonl"}
    assert [w for w in planned(raw).warnings if "examples" in w] == [
        "teachers.long.examples: 1 of its 4 examples are problems of train, whose answers it is so shown; take others",
        "teachers.long.examples: 2 of its 4 examples are problems of signs, whose answers it is so shown; take others",
    ]


def test_a_template_that_fails_for_a_later_problem_is_found_before_anything_is_bought(raw):
    problems = check.faults.find(build(raw), Store(Path("r"))).problems["train"]
    Path("a.jinja").write_text(f"{{{{ problem }}}}{{{{ 1 // (problem != '{problems[7].prompt}') }}}}", encoding="utf-8")
    raw["teachers"]["long"] = {**SERVED, "prompt": "a.jinja"}
    with pytest.raises(RecipeError) as e:
        planned(raw)
    assert e.value.findings == [
        f"recipe: teachers.long.prompt: a.jinja:1: cannot be rendered for '{problems[7].prompt}' "
        "(ZeroDivisionError: integer division or modulo by zero); mend it"
    ]


def test_a_prompt_or_file_of_examples_behind_a_variable_that_is_not_set_is_one_fault(raw, monkeypatch):
    monkeypatch.delenv("MY_FEW", raising=False)
    raw["teachers"]["long"] = {
        "backend": "openai",
        "model": "m",
        "prompt": "${MY_FEW}/a.txt",
        "examples": "${MY_FEW}/b",
    }
    with pytest.raises(RecipeError) as e:
        planned(raw)
    assert e.value.findings == [
        "recipe: teachers.long.prompt: environment variable MY_FEW is not set (got '${MY_FEW}/a.txt'; 1 other key "
        "names it too); export MY_FEW=..."
    ]


def test_unused_rows_are_counted_by_reason_with_three_of_them(raw, here):
    rows = "Q 8 4 7 9 T 10 :,A + + -\n" * 6 + "Q 1 2 3 T 6 :,A + +\n"
    Path("mine.csv").write_text("prompt,answer\n" + rows)
    raw["problems"]["train"] = {"source": "mine.csv"}
    (unused,) = planned(raw).unused
    assert (unused.name, unused.reason, unused.rows, len(unused.examples)) == ("train", "duplicate", 5, 3)
    shown = written(raw)
    assert "unused      train  duplicate  5\n" in shown
    assert shown.count("'Q 8 4 7 9 T 10 :' (of row 1)\n") == 3
    assert "              and 2 more\n" in shown


def test_the_plan_obeys_the_limit(raw):
    assert [p.problems for p in planned(raw, limit=3).problems] == [3, 3]


def test_a_join_is_a_rate_with_what_did_not_join(raw, monkeypatch):
    prompts = [p.prompt for p in check.faults.find(build(raw), Store(Path("r"))).problems["train"]]
    rows = [{"prompt": p, "completion": "A + +"} for p in [*prompts[:9], "else?"]]
    Path("traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw["teachers"]["long"] = {"backend": "recorded", "model": "traces.jsonl", "complete": True}
    report = Recorded.join_report
    more = {"rows_bad": {"no_prompt": 2}, "examples": {"unmatched": prompts[9:], "rows_unused": ["else?"]}}
    monkeypatch.setattr(Recorded, "join_report", lambda *args: {**report(*args), **more})
    (join,) = [t.join for t in planned(raw).teachers if t.join]
    assert (join.problems, join.joined, join.rows, join.rows_unused) == (12, 9, 10, 1)
    assert (
        "              reads prompt from 'prompt', completion from 'completion'\n"
        "              joins 9 of 12 problems (75.0 %); 1 of its 10 rows are for none\n"
        "              2 rows are no trace (2 no_prompt)\n"
        f"              not joined: {prompts[9]!r}\n"
    ) in written(raw)


def test_generations_of_a_row_are_counted_with_what_is_left_out_of_them(raw):
    prompts = [p.prompt for p in check.faults.find(build(raw), Store(Path("r"))).problems["train"]]
    rows = [{"problem": p, "generations": ["A + +", "A + +", ""], "right": [True, True, True]} for p in prompts]
    rows[0]["right"] = [False, True, None]
    Path("traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw["teachers"]["long"] = {"backend": "recorded", "model": "traces.jsonl", "correct_column": "right"}
    (join,) = [t.join for t in planned(raw).teachers if t.join]
    assert (join.rows, join.traces, join.repeated) == (12, 23, 11)
    assert join.dropped == {"marked_incorrect": 1, "empty": 12}
    assert (
        "reads prompt from 'problem', completion from 'generations', only what 'right' marks as correct "
        "joins all 12 problems 23 traces in its 12 rows, of which 11 stand twice in a row "
        "13 generations are no trace (1 marked_incorrect, 12 empty)"
    ) in " ".join(written(raw).split())


def test_prompts_that_only_their_spelling_tells_apart_are_said_not_to_join(raw):
    prompts = [p.prompt for p in check.faults.find(build(raw), Store(Path("r"))).problems["train"]]
    spelled = [*prompts[:11], f"{prompts[11]}\u200b", prompts[11].replace(" ", "  ")]
    rows = [{"prompt": p, "completion": "A + +"} for p in spelled]
    Path("traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw["teachers"]["long"] = {"backend": "recorded", "model": "traces.jsonl", "complete": True}
    (join,) = [t.join for t in planned(raw).teachers if t.join]
    assert (join.problems, join.joined, join.ambiguous, join.rows_unused) == (12, 11, 1, 2)
    assert (
        "              joins 11 of 12 problems (91.7 %); 2 of its 13 rows are for none\n"
        "              1 may be one of several prompts that only their spelling tells apart: no trace\n"
        f"              not joined: {prompts[11]!r}\n"
    ) in written(raw)


def test_benchmarks_that_share_problems_are_a_warning_and_keep_them(raw):
    raw["problems"]["eval"]["twin"] = dict(raw["problems"]["eval"]["signs"])
    raw["primary"] = {"contrast": "long_cot_gap", "benchmark": "signs"}
    plan = planned(raw)
    same = {p.name: p.problems for p in plan.problems}
    assert same["twin"] == same["signs"]
    (line,) = plan.warnings
    example = check.faults.find(build(raw), Store(Path("r"))).problems["twin"][0].prompt
    assert line == (
        f"problems.eval.twin: also in signs: {same['twin']:,} problems, such as {example!r}; kept in both, so the two "
        "are not independent"
    )


def test_the_plan_asks_no_teacher_that_costs_money(raw, notes: Notes):
    assert "  12 traces\n                tokens not known before its first traces\n" in written(raw)
    assert notes.calls() == 0


def test_of_a_long_path_the_end_is_shown(raw, notes: Notes):
    (line,) = [line for line in written(raw).splitlines() if "own.py" in line]
    backend = raw["teachers"]["short"]["backend"]
    assert line.startswith(f"            short  ...{backend[-21:]}  short  12 traces")


def test_the_plan_counts_what_is_there(raw, notes: Notes, inline):
    pipeline.run(build(raw), Store(Path("run")), stages=("generate", "analyze"), watcher=Watching())
    shown = written(raw)
    assert "run (there: the run goes on in it), 50 GiB free" in shown
    assert shown.count("12 traces, 12 there") == 2
    assert shown.count(" (their median)") == 2
    raw["problems"]["train"]["limit"] = 14
    assert [(t.traces, t.there) for t in planned(raw).teachers] == [(14, 12), (14, 12)]


def test_a_model_that_is_not_there_is_said_to_be_built_or_fetched(raw, monkeypatch):
    monkeypatch.setenv("MIXDISTILL_CACHE", "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    raw["students"] = {"l": {"model": "lab:l"}, "s": {"model": "lab:s"}, "q": {"model": "own/er-1.5B"}}
    raw["teachers"]["large"] = {"backend": "transformers", "model": "lab:teacher-large"}
    shown = written(raw)
    assert not Path("cache").exists()
    assert "              lab:l is built on first use\n" in shown
    assert "              lab:teacher-large is built on first use\n" in shown
    assert "              own/er-1.5B is fetched on first use\n" in shown
    assert "lab:s is" not in shown
    assert "q  own/er-1.5B  1.5B weights" in shown


def test_too_little_disk_for_all_is_a_warning_and_for_models_and_a_checkpoint_each_a_refusal(raw, monkeypatch):
    raw["evaluate"] = {"sampling": {"max_tokens": 64}}
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: Usage(4 * 2**20))
    (line,) = planned(raw).warnings
    assert line == (
        "run: about 5.53 MiB will be written and 4 MiB are free; "
        "free space, choose another --out, or fewer seeds or arms"
    )
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: Usage(2 * 2**20))
    with pytest.raises(RecipeError) as e:
        planned(raw)
    assert e.value.findings == [
        "run: about 806 KiB of trained models will be written, and at least 2.36 MiB while they are trained, and 2 MiB "
        "are free; free space, choose another --out, or fewer seeds or arms"
    ]


def test_a_training_that_cannot_fit_is_refused_with_what_would(raw, monkeypatch):
    monkeypatch.setattr(memory, "room", lambda devices: 1.2e9)
    with pytest.raises(RecipeError) as e:
        planned(raw)
    (line,) = e.value.findings
    assert line.startswith("recipe: students.s: a training takes about ")
    assert line.endswith("and 2 run at once, and there are 1.12 GiB; what would fit: --workers 1")


def test_what_a_run_would_refuse_for_want_of_gpus_is_said_before_it(raw, monkeypatch):
    monkeypatch.setattr(memory.executor, "gpus", lambda: ["0"])
    raw["students"]["s"] |= {"backend": "vllm", "backend_options": {"tensor_parallel_size": 2}}
    with pytest.raises(RecipeError) as e:
        planned(raw)
    assert e.value.findings == [
        "recipe: students.s.backend_options.tensor_parallel_size: needs a GPU for each process (got 2, and 1 here); "
        "lower it"
    ]
    raw["students"]["s"]["backend_options"] = {"tensor_parallel_size": "${GPUS_OF_S}"}
    with pytest.raises(RecipeError) as e:
        planned(raw)
    assert e.value.findings == [
        "recipe: students.s.backend_options.tensor_parallel_size: environment variable GPUS_OF_S is not set "
        "(got '${GPUS_OF_S}'); export GPUS_OF_S=..."
    ]


def test_a_second_budget_and_trials_are_counted_and_said(raw):
    raw["problems"]["dev"] = {"source": "lab:signs", "split": "search", "limit": 5}
    raw["budget"] = {"per_update": 4, "also": ["loss_tokens"]}
    raw["tune"] = {"learning_rate": [1e-3, 3e-3]}
    raw["train"] = {"dev_checkpoints": 2}
    shown = written(raw)
    assert "2 arms x 2 budgets x 1 seed = 4 trainings, and 8 trials" in shown
    assert f"{5 * (4 * 2 + 8):,} traces of dev problems while it trains" in shown
    said = " ".join(shown.split())
    assert "every arm once more by loss tokens: 2 trainings, about 1 s (budget.also: [] leaves it out)" in said
    assert "of it for tune: about 1 s" in said
    raw["budget"]["also"] = []
    assert "once more" not in written(raw)


def test_own_answers_are_offered_where_they_are_cheap_and_no_arm_has_them(raw, monkeypatch):
    line = (
        "an arm of the student's own right answers: at most 1 s (teachers.self: {samples: 4, sampling: {max_tokens: "
        "64}}, and self: {self: 1} among the arms where the recipe lists them)"
    )
    raw["evaluate"] = {"sampling": {"max_tokens": 64}}
    monkeypatch.setattr(estimates, "SELF_AT_MOST", 10.0)
    assert line in " ".join(written(raw).split())
    assert planned(raw | {"teachers": {**raw["teachers"], "self": {"samples": 1}}}).time.own_answers is None
    monkeypatch.setattr(estimates, "SELF_AT_MOST", 1e-9)
    assert planned(raw).time.own_answers is None


def test_shares_of_a_route_are_not_known_before_the_student_has_answered(raw):
    raw["teachers"]["self"] = {"samples": 1}
    raw["arms"]["routed"] = {"weights": {"long": 0.5, "short": 0.5}, "mixture": "route"}
    arm = next(a for a in planned(raw).arms if a.name == "routed")
    assert (arm.examples, arm.loss_tokens) == (None, None)


def test_a_teacher_with_a_price_costs_so_much_at_the_most(raw):
    raw["teachers"]["long"] |= {"price": {"completion": 100}, "sampling": {"max_tokens": 5000}}
    assert "\n              at most $6.00 (every trace at the limit of tokens)\n" in written(raw)
    assert planned(raw).teachers[1].cost_at_most.value is None


def test_a_library_that_is_not_installed_is_a_warning(raw, monkeypatch):
    monkeypatch.setattr(check, "find_spec", lambda name: None if name in ("trl", "scipy") else name)
    assert planned(raw).warnings == [
        "trl: not installed, and training and evaluation need it; run: pip install 'mixdistill[train]'",
        "scipy: not installed, and the report needs it; run: pip install 'mixdistill[report]'",
    ]


def test_traces_longer_than_a_student_may_be_trained_on_are_a_warning(raw):
    raw["train"] = {"max_length": 40}
    (line,) = planned(raw).warnings
    assert line == (
        "students.s: 10 of the first 12 traces of long are longer than max_length=40 (longest 225); "
        "the run would stop there"
    )
    raw["train"]["overlong"] = "drop"
    assert planned(raw).warnings[0].endswith("; they will be dropped from every arm")


def test_traces_with_more_loss_tokens_than_an_update_are_a_warning(raw):
    raw["budget"] = {"unit": "loss_tokens", "per_update": 40}
    (line,) = planned(raw).warnings
    assert line == (
        "students.s: 8 of the first 12 traces of long have more loss tokens than an update, budget.per_update=40 "
        "(longest 216); the run would stop there"
    )


def test_faults_are_raised_all_at_once_with_the_name_of_the_recipe(raw):
    raw["problems"]["train"] = {"source": "nowhere.jsonl"}
    raw["teachers"]["long"]["model"] = "lng"
    Path("run").touch()
    with pytest.raises(RecipeError) as e:
        plan(build(raw), out=Path("run/here"), where="my.yaml")
    assert [line.partition(": ")[0] for line in e.value.findings] == ["my.yaml", "my.yaml", "run/here"]


def test_limits_that_cannot_be_kept_to_the_letter_are_said(raw: dict[str, Any]):
    raw["teachers"]["long"] = {"backend": "openai", "model": "m", "base_url": "http://localhost:1/v1"}
    raw["spend"] = {"cost": 5}
    assert faults.vague_limits(build(raw)) == [
        "teachers.long.price: missing, and spend.cost is set; the run stops after its first requests, unless the "
        "server says what they cost",
        "teachers.long.sampling.max_tokens: missing, and spend is set; what a request may take is only guessed from "
        "those before it",
    ]
    raw["teachers"]["long"] |= {"price": {"completion": 1}, "sampling": {"max_tokens": 9}}
    assert faults.vague_limits(build(raw)) == []


# -- verifiers that ask a model ---------------------------------------------------------------------------------------

JUDGE = {"model": "org/judge", "base_url": "http://127.0.0.1:1/v1", "prompt": "own.txt"}


@pytest.fixture
def judged(raw):
    Path("own.txt").write_text("{answer}?", encoding="utf-8")

    def study(**judge: Any) -> dict[str, Any]:
        raw["verify"] = {"verifier": ["signs", "judge"], "audit": 0.1, "judge": {**JUDGE, **judge}}
        raw["evaluate"] = {"sampling": {"max_tokens": 64}, "caps": [32], "k": 2}
        return raw

    return study


def test_a_judge_stands_in_the_plan_with_what_it_may_be_asked_and_cost(judged):
    cells = len(build(judged()).cells()) + 1
    most = 12 * 2 + 4 * 2 * cells * 2
    lines = [line.rstrip() for line in written(judged()).splitlines()]
    at = lines.index("verifier    signs+judge  mixdistill.lab.domain:verify")
    about = "asked about what none before it accepts, and 10.0 % of what they do"
    assert lines[at + 1] == "            judge        openai org/judge"
    assert " ".join(" ".join(lines[at + 2 : at + 4]).split()) == (
        f"{about}: at most {most:,} requests, how many follows from the grading"
    )
    (found,) = planned(judged(price={"prompt": 1, "completion": 2})).judges
    assert found.cost_at_most.value == pytest.approx(most * (2001 * 1 + 20 * 2) / 1e6)
    assert planned(judged()).judges[0].cost_at_most.basis == "no price"
    assert planned(judged(votes=3, sampling={"temperature": 1.0})).judges[0].requests_at_most == 3 * most


@pytest.mark.parametrize(
    ("judge", "line"),
    [
        (
            {"base_url": None},
            "recipe: verify.judge: org/judge: environment variable OPENAI_API_KEY is not set; export it, or give "
            "base_url",
        ),
        (
            {"model": "${NOT_SET_HERE}"},
            "recipe: verify.judge.model: environment variable NOT_SET_HERE is not set (got '${NOT_SET_HERE}'); export "
            "NOT_SET_HERE=...",
        ),
        (
            {"backend": "transformers", "base_url": None, "model": "./gone"},
            "recipe: verify.judge.model: no such folder, and not a hub id (got './gone'); give a model folder or "
            "owner/name",
        ),
    ],
)
def test_a_judge_that_cannot_be_asked_is_a_fault(judged, monkeypatch, judge, line):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    raw = judged(**judge)
    raw["verify"]["judge"] = {k: v for k, v in raw["verify"]["judge"].items() if v is not None}
    with pytest.raises(RecipeError) as e:
        planned(raw)
    assert e.value.findings == [line]


def test_a_limit_that_a_judge_cannot_keep_to_the_letter_is_warned_of(judged):
    assert (
        "verify.judge.price: missing, and spend.cost is set; the run stops after its first requests, unless the server "
        "says what they cost"
    ) in planned(judged(spend={"cost": 3})).warnings


def test_what_a_benchmark_has_of_its_own_is_said_and_counted(raw):
    lab = raw["problems"]["eval"]["signs"]
    own = {"k": 3, "sampling": {"temperature": 0.6, "max_tokens": 32}, "verify": {"verifier": "exact"}, "ask": "boxed"}
    raw["problems"]["eval"]["mine"] = {**lab, "skip": 4, **own, "guard": True}
    raw["evaluate"] = {"sampling": {"max_tokens": 64}}
    found = planned(raw)
    assert found.evaluation.traces == {"signs": 4, "mine": 12}
    assert found.evaluation.own == [
        "signs: 4 problems are fewer than 100: it is shown and decides nothing",
        "mine: verified by exact, asked as 'boxed', 3 samples a problem, temperature 0.6, max_tokens 32, a guard: "
        "nothing is decided on it",
    ]
    assert "mine: verified by exact" in text(found).plain
    longer = planned(raw | {"evaluate": {"sampling": {"max_tokens": 640}}})
    assert (found.time.evaluation_at_most.value or 0) < (longer.time.evaluation_at_most.value or 0)


def test_a_benchmark_that_a_studys_judge_never_sees_is_named(judged):
    raw = judged()
    raw["problems"]["eval"]["mine"] = {**raw["problems"]["eval"]["signs"], "skip": 4, "verify": {"verifier": "exact"}}
    (line,) = [line for line in planned(raw).evaluation.own if line.startswith("mine: ")]
    assert line.startswith("mine: verified by exact alone, never seen by judge, ")


def test_a_benchmark_of_the_studys_own_verifiers_is_said_to_have_what_it_has_otherwise(judged):
    raw = judged()
    signs = raw["problems"]["eval"]["signs"]
    raw["verify"] |= {"verifier": ["math", "judge"], "deadline": 77}
    for name, own in {"options": {"lists": True}, "time": {"deadline": 20}, "same": {"timeout": 5}}.items():
        raw["problems"]["eval"][name] = {**signs, "skip": 4, "verify": {"verifier": "math", **own}}
    raw["verify"]["timeout"] = 5
    lines = {line.partition(":")[0]: line.partition(", 4 problems")[0] for line in planned(raw).evaluation.own}
    assert lines["options"] == "options: verified with lists=True"
    assert lines["time"] == "time: verify.deadline 20"
    assert lines["same"].startswith("same: 4 problems are fewer")


def test_students_that_are_examined_in_other_words_than_they_were_trained_on_are_a_warning(raw):
    raw["problems"]["eval"]["signs"]["ask"] = "boxed"
    line = (
        "problems.train: sets no ask, and signs asks 'boxed': students are examined in other words than they were "
        "trained on; set problems.train.ask to the same, where that is meant"
    )
    assert line in planned(raw).warnings
    raw["problems"]["eval"]["signs"]["ask"] = "plain"
    assert not [w for w in planned(raw).warnings if "other words" in w], "that is the problem alone, too"
    raw["problems"]["eval"]["signs"]["ask"] = raw["problems"]["train"]["ask"] = "boxed"
    assert not [w for w in planned(raw).warnings if "other words" in w]
    raw["problems"]["eval"]["guarded"] = {**raw["problems"]["eval"]["signs"], "ask": "choice", "skip": 4, "guard": True}
    assert not [w for w in planned(raw).warnings if "other words" in w], "a guard is asked as it always was"
