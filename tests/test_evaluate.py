"""Students as authors: caps are prefixes, outcomes add up, and nothing is sampled twice."""

from collections import Counter
from pathlib import Path

import pytest

import templates
import tiny
from mixdistill import chain, evaluate, pipeline, students, units
from mixdistill.lab import domain
from mixdistill.store import Store
from mixdistill.students import cut
from mixdistill.tokens import Template
from mixdistill.types import Completion, Looped, Outcome, Problem, Score, Trace, Usage, Verdict

ONE = {"seeds": 1, "arms": {"short": {"short": 1}}, "contrasts": {"over": ["short", "base"]}}
LIMIT, CAP = 40, 20
VERIFIER = """
from mixdistill.types import Outcome, Verdict
VERSION = "1"

def verify(problem, trace, *, right="A"):
    if trace.author.startswith("teacher/"):
        return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT)
    if "x x x" in trace.content:
        raise RuntimeError("cannot read this")
    if trace.content.startswith(right):
        return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT, answer=trace.content)
    cut = trace.finish_reason == "length"
    return Verdict(trace_id=trace.id, outcome=Outcome.TRUNCATED if cut else Outcome.INCORRECT)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def template(model) -> Template:
    return Template.load(model)


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory) -> Path:
    """A run folder up to training, to be copied."""
    return tiny.run(
        tiny.study(model, **ONE), tmp_path_factory.mktemp("run"), "generate", "verify", "analyze", "mix", "train"
    )[0].root


@pytest.fixture
def root(trained, tmp_path) -> Path:
    import shutil

    return Path(shutil.copytree(trained, tmp_path / "run"))


def _study(model: str, **sections):
    decoding = {"sampling": {"temperature": 0, "max_tokens": LIMIT}, "caps": [CAP], **sections.pop("evaluate", {})}
    return tiny.study(model, **{**ONE, **sections}, evaluate=decoding)


def _read(store: Store, row_type, table: str, *cell: str):
    return store.read(store.folder("evaluate", "t", *cell, "signs"), row_type, table)


def _scores(store: Store, *cell: str) -> dict[tuple[str, int | None], Score]:
    return {(s.group, s.max_tokens): s for s in _read(store, Score, "scores", *cell)}


class Actor:
    """A backend that plays a student: right, right after a long search, wrong, silent, looping, failed; in turn."""

    def __init__(self, template: Template):
        self.template, self.asked = template, 0

    def generate(self, requests):
        for position, request in enumerate(requests):
            self.asked += 1
            yield position, self._play(position % 6, domain.parse(request.prompt))

    def _play(self, part: int, chain: domain.Chain) -> Completion:
        thought, right = domain.short_trace(chain, 0)
        wrong = next(r for r in domain.sign_rows(len(chain.numbers)) if r not in chain.solutions)
        match part:
            case 0:
                return self._written("", right)
            case 1:
                return self._written(f"{thought} {thought}", right)
            case 2:
                return self._written("", domain.answer(wrong))
            case 3:
                return self._written("", "ok ok")
            case 4:
                return self._written("8 + " * LIMIT, "")
            case _:
                return Completion(error="the connection broke")

    def _written(self, reasoning: str, content: str) -> Completion:
        ids = self.template.encode(self.template.completion_text(reasoning, content))
        reasoning, content = self.template.split(ids[:LIMIT])
        reason = "stop" if len(ids) <= LIMIT else "length"
        usage = Usage(completion_tokens=len(ids[:LIMIT]))
        return Completion(
            reasoning=reasoning, content=content, finish_reason=reason, token_ids=ids[:LIMIT], usage=usage
        )


@pytest.fixture
def actor(template, monkeypatch) -> Actor:
    actor = Actor(template)
    monkeypatch.setattr(students, "make_backend", lambda *_: actor)
    return actor


def test_cap_gives_the_prefix_of_the_same_tokens(template):
    ids = template.encode(template.completion_text("8 + 4 12 - 7 5 T 5 ok", "A + -"))
    usage = Usage(completion_tokens=len(ids))
    whole = tiny.trace(tiny.problem("Q 8 4 7 T 5 :"), token_ids=ids, usage=usage)
    for cap in range(1, len(ids) + 3):
        seen = cut(whole, cap, template)
        if cap >= len(ids):
            assert seen == whole
        else:
            assert seen.token_ids == ids[:cap]
            assert (seen.reasoning, seen.content) == template.split(ids[:cap])
            assert (seen.finish_reason, seen.usage.completion_tokens) == ("length", cap)
    assert cut(whole, None, template) == whole


def test_trace_without_token_ids_is_cut_where_the_template_would(template):
    of = tiny.problem("Q 8 4 7 T 5 :")
    ids = template.encode(template.completion_text("8 + 4 12", "A + -"))
    for cap in range(1, len(ids)):
        with_ids = cut(tiny.trace(of, reasoning="8 + 4 12", content="A + -", token_ids=ids), cap, template)
        assert cut(tiny.trace(of, reasoning="8 + 4 12", content="A + -"), cap, template) == with_ids


def test_failed_request_is_not_cut(template):
    failed = tiny.trace(tiny.problem("Q 8 4 7 T 5 :"), error="broke", finish_reason="unknown")
    assert cut(failed, 1, template) is failed


def test_caps_of_a_real_student_are_prefixes_of_one_generation(model, root, monkeypatch, template):
    calls = tiny.Calls(monkeypatch)
    store, _ = tiny.run(_study(model, evaluate={"caps": [4, 12]}), root, "evaluate")
    assert calls.take() == 2 * 10, "one generation per problem of base and cell, whatever the caps"
    for cell in (("base",), ("short", "0")):
        traces = _read(store, Trace, "traces", *cell)
        verdicts = Counter(v.max_tokens for v in _read(store, Verdict, "verdicts", *cell))
        assert verdicts == {None: 10, 4: 10, 12: 10}
        for cap in (4, 12):
            mean = sum(min(len(t.token_ids or []), cap) for t in traces) / 10
            assert _scores(store, *cell)["all", cap].mean_completion_tokens == pytest.approx(mean)
        for t in traces:
            assert t.token_ids and (t.reasoning, t.content) == template.split(t.token_ids)
            assert t.usage.completion_tokens == len(t.token_ids) <= LIMIT


def test_five_outcomes_are_what_was_played_and_add_up(model, root, actor):
    store, _ = tiny.run(_study(model, problems=tiny.problem_sets(24, 12), error_rate=0.4), root, "evaluate")
    for cell in (("base",), ("short", "0")):
        scores = _scores(store, *cell)
        whole, capped = scores["all", None], scores["all", CAP]
        assert _outcomes(whole) == {"correct": 4, "incorrect": 2, "no_answer": 2, "truncated": 2, "error": 2}
        assert whole.accuracy == 4 / 12
        assert whole.finished == 8
        assert _outcomes(capped) == {"correct": 2, "incorrect": 2, "no_answer": 2, "truncated": 4, "error": 2}
        assert capped.finished == 6
        for s in scores.values():
            assert sum(_outcomes(s).values()) == s.examples
        levels = [s for (group, cap), s in scores.items() if group != "all" and cap is None]
        assert {s.group for s in levels} == {"k=3", "k=4", "k=5"}
        for field in ("examples", "finished", *(o.value for o in Outcome)):
            assert sum(getattr(s, field) for s in levels) == getattr(whole, field)


def _outcomes(score: Score) -> dict[str, int]:
    return {o.value: getattr(score, o.value) for o in Outcome}


def test_failed_request_has_no_verdict_at_any_cap(model, root, actor):
    store, _ = tiny.run(_study(model, problems=tiny.problem_sets(24, 12), error_rate=0.4), root, "evaluate")
    failed = {t.id for t in _read(store, Trace, "traces", "base") if t.error}
    assert len(failed) == 2
    assert not failed & {v.trace_id for v in _read(store, Verdict, "verdicts", "base")}


def test_trace_that_the_cap_does_not_cut_keeps_its_verdict(model, root, actor, monkeypatch):
    graded: list[list[Trace]] = []
    grade = chain.grade

    def watched(recipe, items, link):
        graded.append([t for _, t in items])
        return grade(recipe, items, link)

    monkeypatch.setattr(chain, "grade", watched)
    store, _ = tiny.run(_study(model, problems=tiny.problem_sets(24, 12), error_rate=0.4), root, "evaluate")
    ids = {t.id for t in _read(store, Trace, "traces", "base") if t.error is None}
    (base,) = [traces for traces in graded if {t.id for t in traces} == ids]
    whole, capped = base[:10], base[10:]
    assert {t.id for t in whole} == ids
    assert {t.usage.completion_tokens for t in capped} == {CAP}
    assert {t.finish_reason for t in capped} == {"length"}
    verdicts = _read(store, Verdict, "verdicts", "base")
    by_cap = {cap: {v.trace_id: v for v in verdicts if v.max_tokens == cap} for cap in (None, CAP)}
    for trace in {t.id for t in whole} - {t.id for t in capped}:
        assert by_cap[CAP][trace] == by_cap[None][trace].model_copy(update={"max_tokens": CAP})


def test_verifier_that_fails_gives_error_not_a_wrong_answer(model, root, template, monkeypatch, tmp_path):
    (tmp_path / "own.py").write_text(VERIFIER)
    actor = Actor(template)
    actor._play = lambda part, chain: actor._written("", "x x x" if part % 2 else "A +")
    monkeypatch.setattr(students, "make_backend", lambda *_: actor)
    sections = {"verify": {"verifier": f"{tmp_path / 'own.py'}:verify"}}
    failures = tiny.failures(_study(model, **sections), root, "verify", "evaluate")
    assert failures[0].startswith("evaluate/t/base/signs: 5 of 10 verdicts are errors, more than error_rate=0.05; ")
    store, _ = tiny.run(_study(model, **sections, error_rate=0.5), root, "verify", "evaluate")
    score = _scores(store, "base")["all", None]
    assert (score.correct, score.error, score.examples) == (5, 5, 10)


def test_base_is_always_evaluated(model, root):
    study = _study(model, contrasts={})
    units = evaluate.units(study, Store(root))
    assert [u.key for u in units] == [("t", "base", "signs"), ("t", "short", "0", "signs")]
    store, _ = tiny.run(study, root, "evaluate")
    (base, *_) = _read(store, Score, "scores", "base")
    assert (base.arm, base.seed, base.examples) == ("base", None, 10)


def test_other_verifier_option_grades_again_without_sampling_again(model, root, monkeypatch, tmp_path):
    (tmp_path / "own.py").write_text(VERIFIER)
    calls = tiny.Calls(monkeypatch)

    def study(right: str):
        return _study(model, verify={"verifier": f"{tmp_path / 'own.py'}:verify", "right": right})

    store, _ = tiny.run(study("nothing"), root, "verify", "evaluate")
    before = _read(store, Trace, "traces", "short", "0")
    assert calls.take() == 20
    assert _scores(store, "short", "0")["all", None].correct == 0
    store, ran = tiny.run(study(""), root, "verify", "analyze", "mix", "train", "evaluate")
    assert calls.take() == 0
    assert [label for label in ran if label.startswith(("mix", "train"))] == [], "same outcomes, so nothing to redo"
    assert len([label for label in ran if label.startswith("evaluate")]) == 2
    assert _scores(store, "short", "0")["all", None].correct == 10
    assert _read(store, Trace, "traces", "short", "0") == before


def test_other_caps_grade_again_without_sampling_again(model, root, monkeypatch):
    calls = tiny.Calls(monkeypatch)
    tiny.run(_study(model), root, "evaluate")
    calls.take()
    store, _ = tiny.run(_study(model, evaluate={"caps": [5, 9]}), root, "evaluate")
    assert calls.take() == 0
    assert {cap for _, cap in _scores(store, "base")} == {None, 5, 9}


def test_other_decoding_samples_again(model, root, monkeypatch):
    calls = tiny.Calls(monkeypatch)
    tiny.run(_study(model), root, "evaluate")
    calls.take()
    sampling = {"temperature": 0, "max_tokens": 12}
    store, _ = tiny.run(_study(model, evaluate={"caps": [5], "sampling": sampling}), root, "evaluate")
    assert calls.take() == 20
    assert all((t.usage.completion_tokens or 0) <= 12 for t in _read(store, Trace, "traces", "base"))
    assert len(_read(store, Trace, "traces", "base")) == 10


def test_other_levels_count_again_without_sampling_again(model, root, monkeypatch):
    tiny.run(_study(model), root, "evaluate")
    calls, store = tiny.Calls(monkeypatch), Store(root)
    folder = store.folder("problems")
    marker = store.marker(folder)
    assert marker is not None
    easy = [p.model_copy(update={"level": "easy"}) for p in store.read(folder, Problem, "signs")]
    store.mark(folder, {**marker, "tables": {**marker["tables"], "signs": store.seal(folder, Problem, easy, "signs")}})
    tiny.run(_study(model), root, "evaluate")
    assert calls.take() == 0
    assert {group for group, _ in _scores(store, "base")} == {"all", "easy"}


def test_a_level_called_all_counts_no_problem_twice(model, root):
    store, _ = tiny.run(_study(model), root, "evaluate")
    plain = _scores(store, "base")["all", None]
    folder = store.folder("problems")
    marker = store.marker(folder)
    assert marker is not None
    names = ["all", "level all", None]
    named = [p.model_copy(update={"level": names[n % 3]}) for n, p in enumerate(store.read(folder, Problem, "signs"))]
    store.mark(folder, {**marker, "tables": {**marker["tables"], "signs": store.seal(folder, Problem, named, "signs")}})
    tiny.run(_study(model), root, "evaluate")
    scores = {group: s for (group, cap), s in _scores(store, "base").items() if cap is None}
    assert scores["all"] == plain
    assert {group: s.examples for group, s in scores.items()} == {
        "all": 10,
        "level all": 4,
        "level level all": 3,
    }


def test_grading_again_elsewhere_does_not_change_where_it_was_sampled(model, root, monkeypatch):
    store, _ = tiny.run(_study(model), root, "evaluate")
    monkeypatch.setattr(students, "device_name", lambda: "another GPU")

    def devices() -> list[str]:
        marker = store.marker(store.folder("evaluate", "t", "short", "0", "signs"))
        assert marker is not None
        return [s["device"] for s in marker["facts"]["sampled"]]

    (here,) = devices()
    tiny.run(_study(model, evaluate={"caps": [5]}), root, "evaluate")
    assert devices() == [here]
    tiny.run(_study(model, problems=tiny.problem_sets(24, 12), error_rate=0.4), root, "evaluate")
    assert devices() == [here, "another GPU"]


def test_decoding_in_the_facts_is_what_was_in_force(model, root):
    store, _ = tiny.run(_study(model), root, "evaluate")
    marker = store.marker(store.folder("evaluate", "t", "base", "signs"))
    assert marker is not None
    eos = Template.load(model).stop_ids
    assert marker["facts"]["decoding"] == {
        "temperature": 0, "max_tokens": LIMIT, "context": 1024, "stop_tokens": sorted(eos)
    }  # fmt: skip


def test_nothing_changed_does_nothing(model, root, monkeypatch):
    tiny.run(_study(model), root, "evaluate")
    calls = tiny.Calls(monkeypatch)
    assert tiny.run(_study(model), root, "evaluate")[1] == []
    assert calls.take() == 0


def test_more_problems_keep_the_old_traces(model, root, monkeypatch):
    calls = tiny.Calls(monkeypatch)
    store, _ = tiny.run(_study(model), root, "evaluate")
    before = _read(store, Trace, "traces", "short", "0")
    calls.take()
    store, _ = tiny.run(_study(model, problems=tiny.problem_sets(24, 15)), root, "evaluate")
    assert calls.take() == 2 * 5
    after = _read(store, Trace, "traces", "short", "0")
    assert after[:10] == before
    assert _scores(store, "short", "0")["all", None].examples == 15


def test_fewer_problems_or_samples_count_only_those(model, root, monkeypatch):
    sampling = {"temperature": 1.0, "max_tokens": 12}
    tiny.run(_study(model, evaluate={"caps": [5], "sampling": sampling, "k": 2}), root, "evaluate")
    calls = tiny.Calls(monkeypatch)
    fewer = _study(model, problems=tiny.problem_sets(24, 6), evaluate={"caps": [5], "sampling": sampling, "k": 1})
    store, _ = tiny.run(fewer, root, "evaluate")
    assert calls.take() == 0
    assert _scores(store, "base")["all", None].examples == 6
    assert len(_read(store, Verdict, "verdicts", "base")) == 2 * 6


def test_samples_of_a_problem_differ_at_a_temperature_and_are_drawn_the_same_again(model, root, tmp_path):
    study = _study(model, evaluate={"caps": [5], "sampling": {"temperature": 1.0, "max_tokens": 12}, "k": 2})
    store, _ = tiny.run(study, root, "evaluate")
    traces = _read(store, Trace, "traces", "base")
    texts = {(t.problem_id, t.sample): t.token_ids for t in traces}
    assert len(texts) == 20
    assert sum(texts[p, 0] != texts[p, 1] for p, sample in texts if sample == 0) >= 8
    score = _scores(store, "base")["all", None]
    assert (score.k, score.examples) == (2, 20)
    other, _ = tiny.run(study, tmp_path / "again", "generate", "verify", "analyze", "mix", "train", "evaluate")
    again = {(t.problem_id, t.sample): t.token_ids for t in _read(other, Trace, "traces", "base")}
    assert again == texts


def test_levels_and_order_follow_the_problems(model, root):
    store, _ = tiny.run(_study(model), root, "evaluate")
    problems = store.read(store.folder("problems"), Problem, "signs")
    assert [t.problem_id for t in _read(store, Trace, "traces", "base")] == [p.id for p in problems]
    for group in ("k=3", "k=4", "k=5"):
        assert _scores(store, "base")[group, None].examples == sum(p.level == group for p in problems)


# -- the ways of asking a hybrid's base -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory) -> str:
    return tiny.save_student(tmp_path_factory.mktemp("hybrid"), tiny.word_tokenizer(templates.HYBRID_WORDS))


def _hybrid_study(model: str, **kwargs):
    return _study(model, students={"t": {"model": model, "chat_template_kwargs": kwargs}})


def test_a_hybrid_base_is_asked_with_thinking_on_and_off(hybrid, tmp_path):
    study = _hybrid_study(hybrid)
    failures = tiny.failures(study, tmp_path, "evaluate")
    assert [line.partition(":")[0] for line in failures] == ["evaluate/t/short/0/signs"]  # not trained
    store = Store(tmp_path)
    scores = {arm: _scores(store, arm) for arm in ("base", "base+no-thinking")}
    assert {s.arm for by in scores.values() for s in by.values()} == set(scores)
    assert {s.seed for by in scores.values() for s in by.values()} == {None}
    asked = {arm: _prompt_tokens(store, arm) for arm in scores}
    assert {b - a for a, b in zip(asked["base"], asked["base+no-thinking"], strict=True)} == {2}  # <think> </think>
    assert tiny.failures(study, tmp_path, "evaluate") == failures
    assert {s.value for u, s in units.plan(study, store, "evaluate") if "base" in u.label} == {"done"}


def _prompt_tokens(store: Store, arm: str) -> list[int | None]:
    return [t.usage.prompt_tokens for t in _read(store, Trace, "traces", arm)]


def test_the_way_that_is_not_the_students_own_is_the_further_one(hybrid, tmp_path):
    store = Store(tmp_path)
    for kwargs, bases in {
        (): ["base", "base+no-thinking"],
        (("enable_thinking", True),): ["base", "base+no-thinking"],
        (("enable_thinking", False),): ["base", "base+thinking"],
    }.items():
        study = _hybrid_study(hybrid, **dict(kwargs))
        assert evaluate.bases(study, store, "t") == bases
        other = {u.key[1]: u for u in evaluate.units(study, store)}[bases[1]]
        assert other.options["sampling"]["chat_template_kwargs"] == {"enable_thinking": bases[1] == "base+thinking"}


def test_a_student_without_the_switch_is_asked_in_one_way_without_loading_its_tokenizer(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Template, "load", None)
    assert evaluate.bases(_study(model), Store(tmp_path), "t") == ["base"]
    assert evaluate.bases(_study("lab:s"), Store(tmp_path), "t") == ["base"]


def test_a_hybrid_that_is_not_here_is_asked_as_the_run_folder_says(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path / "empty"))
    store = Store(tmp_path / "run")
    for model in ("owner/hybrid", "lab:l"):
        assert evaluate.bases(_study(model), store, "t") == ["base"]
    store.folder("evaluate", "t", "base+thinking", "signs").mkdir(parents=True)
    assert evaluate.bases(_study("owner/hybrid"), store, "t") == ["base", "base+thinking"]


def test_a_template_that_only_names_the_switch_knows_none(tmp_path):
    named = tiny.PLAIN_TEMPLATE + "{% if enable_thinking is defined %}{% endif %}"
    study = _study(tiny.save_student(tmp_path / "student", tiny.word_tokenizer(named)))
    assert evaluate.bases(study, Store(tmp_path / "run"), "t") == ["base"]


def test_a_student_is_not_asked_with_another_template_than_it_was_trained_with(model, root):
    saved = root / "train/t/short/0/model/chat_template.jinja"
    assert saved.read_text() == tiny.PLAIN_TEMPLATE
    trained = Store(root).marker(root / "train/t/short/0")["facts"]["template"]
    saved.write_text("x" + tiny.PLAIN_TEMPLATE)
    now = Template.load(str(saved.parent)).fingerprint
    assert tiny.failures(_study(model), root, "evaluate") == [
        f"evaluate/t/short/0/signs: same_template: its template writes other tokens than it was trained with "
        f"(fingerprint {trained}, now {now}); give its folder the chat template and tokenizer back, or train it again"
    ]


def test_the_other_way_of_asking_a_base_is_no_confound(hybrid, tmp_path):
    from mixdistill.evidence.gather import gather

    study = _hybrid_study(hybrid)
    store, _ = tiny.run(study, tmp_path, *pipeline.STAGES[:-1])
    evidence = gather(study, store)
    assert {a.arm for a in evidence.accuracies} == {"base", "base+no-thinking", "short"}
    assert [c.text for c in evidence.confounds if "evaluated with" in c.text] == []


# -- benchmarks of their own ------------------------------------------------------------------------------------------

LAB = {"source": "lab:signs", "split": "eval"}


def _with_other(model: str, **own):
    sets = tiny.problem_sets(24, 10)
    sets["eval"]["other"] = {**LAB, "skip": 10, "limit": 6, **own}
    return _study(model, problems=sets)


def test_a_benchmark_is_asked_and_judged_by_its_own_settings(model, root, actor, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text('from mixdistill.types import Outcome, Verdict\n\n\ndef verify(problem, trace):\n'
                                     '    return Verdict(trace_id=trace.id, outcome=Outcome.CORRECT)\n')  # fmt: skip
    (tmp_path / "ask.txt").write_text("{problem}\n")
    asked, generate = [], actor.generate
    monkeypatch.setattr(actor, "generate", lambda requests: generate(asked.extend(requests) or requests))
    own = {
        "k": 2,
        "sampling": {"temperature": 0.7, "max_tokens": LIMIT},
        "verify": {"verifier": f"{tmp_path}/own.py:verify"},
        "ask": str(tmp_path / "ask.txt"),
    }
    store, _ = tiny.run(_with_other(model, **own).model_copy(update={"error_rate": 0.4}), root, "evaluate")
    (other,) = [s for s in store.read(store.folder("evaluate", "t", "base", "other"), Score, "scores")
                if (s.group, s.max_tokens) == ("all", None)]  # fmt: skip
    assert (other.k, other.examples, other.verifier) == (2, 12, f"{tmp_path}/own.py:verify")
    assert other.correct == 10, "whatever is no failed request"
    signs = _scores(store, "base")["all", None]
    assert (signs.k, signs.examples, signs.verifier) == (1, 10, "signs")
    sampled = Counter((r.sampling.temperature, str(r.prompt).endswith("\n")) for r in asked)
    assert sampled == {(0, False): 20, (0.7, True): 24}


def test_only_a_benchmarks_own_settings_are_in_its_identity(model, root):
    def identities(study):
        return {u.key: u.identity for u in evaluate.units(study, Store(root))}

    tiny.run(_with_other(model), root, "verify")
    before = identities(_with_other(model))
    for own in ({"k": 2}, {"sampling": {"temperature": 0.5}}, {"ask": "boxed"}, {"verify": {"verifier": "exact"}}):
        after = identities(_with_other(model, **own))
        changed = {key for key in before if before[key] != after[key]}
        assert changed == {key for key in before if key[-1] == "other"}, own
    for nothing in ({"guard": True}, {"weight": 2}, {"verify": {"verifier": "signs"}}, {"ask": "plain"}):
        assert identities(_with_other(model, **nothing)) == before, nothing


def test_subjects_are_groups_beside_levels():
    def of(level, subject):
        return Problem(id="p", prompt="?", answer="1", level=level, subject=subject)

    assert evaluate.groups_of(of(None, None)) == ["all"]
    assert evaluate.groups_of(of("5", "Algebra")) == ["all", "5", "subject Algebra"]
    assert evaluate.groups_of(of("all", "all")) == ["all", "level all", "subject all"]
    assert evaluate.groups_of(of("subject Algebra", "Algebra")) == ["all", "level subject Algebra", "subject Algebra"]


# -- how often a problem is asked -------------------------------------------------------------------------------------


def test_a_problem_is_asked_four_times_where_chance_decides_and_once_where_it_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXDISTILL_CACHE", str(tmp_path / "empty"))
    greedy = tiny.student(tmp_path / "greedy")
    drawing = tiny.student(tmp_path / "drawing")
    (tmp_path / "drawing" / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.7}')
    silent = tiny.student(tmp_path / "silent", generation_config=False)
    open_, warm = {"sampling": {"max_tokens": LIMIT}}, {"sampling": {"temperature": 0.5, "max_tokens": LIMIT}}

    def k(model: str, evaluate: dict) -> int:
        return students.samples(_study(model, evaluate=evaluate), "t")

    assert [k(m, open_) for m in (greedy, drawing, silent, "owner/elsewhere", "lab:l")] == [1, 4, 1, 4, 1]
    assert [k(greedy, warm), k(drawing, {}), k(drawing, warm | {"k": 2}), k(greedy, {"k": 3})] == [4, 1, 2, 3]


def test_more_samples_extend_what_was_asked_once(model, root, monkeypatch):
    warm = {"temperature": 1.0, "max_tokens": 12}
    store, _ = tiny.run(_study(model, evaluate={"sampling": warm, "caps": [], "k": 1}), root, "evaluate")
    calls = tiny.Calls(monkeypatch)
    tiny.run(_study(model, evaluate={"sampling": warm, "caps": []}), root, "evaluate")
    assert calls.take() == 2 * 10 * 3
    assert _scores(store, "base")["all", None].k == 4


def test_scores_count_the_answers_that_end_in_a_loop_at_every_cap(model, root, template, monkeypatch):
    class Stuck:
        def generate(self, requests):
            for position, _ in enumerate(requests):
                ids = template.encode("<think> " + "ok x " * 20)[:LIMIT]
                reasoning, content = template.split(ids)
                usage = Usage(completion_tokens=LIMIT)
                yield (
                    position,
                    Completion(
                        reasoning=reasoning, content=content, finish_reason="length", token_ids=ids, usage=usage
                    ),
                )

    monkeypatch.setattr(students, "make_backend", lambda *a: Stuck())
    store, _ = tiny.run(_study(model), root, "evaluate")
    scores = _scores(store, "base")
    assert (scores["all", None].looped, scores["all", CAP].looped) == (10, 0), "twenty words are none yet"
    assert {(row.unit, row.times) for row in _read(store, Looped, "loops", "base")} == {("x ok", 19.5)}
