"""Named checks of a student's chat template and tokenizer.

Each check is one function, and its name is what messages, `mixdistill doctor` and the docs call it. Its first line says
what holds where it finds nothing. What it finds is `Failed`, which stops a training before it begins, or `Noted`:
handled here, and worth knowing. Those of rows are in row_checks.py.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mixdistill.errors import DataError
from mixdistill.tokens import CLOSE, LOSES, NO_SYSTEM, OPEN, PROBE, REFUSES, Template
from mixdistill.types import Message, Row

THINK, UNTHINK = OPEN.strip(), CLOSE.strip()
SMALL = 0.9
"""A tokenizer with fewer tokens than this share of the embedding's rows is noted: models pad theirs by a few percent.
"""
UNTRAINED = "a model does not train the embedding of what it pads with; "
CLOCK = "strftime_now"
"""The function by which a chat template reads the date."""
DAYS = datetime(2024, 7, 26), datetime(2031, 11, 5, 13, 14, 15, 161718)
"""Two moments that every part of a date tells apart."""


class Failed(str):
    """What is wrong, and what to do."""


class Noted(str):
    """What is handled and worth knowing."""


class Finding(Row):
    """What one check says."""

    check: str
    """Its name."""
    state: Literal["ok", "note", "failed"]
    """`failed` stops a training before it begins."""
    text: str
    """What was found and what to do about it; of `ok`, what holds."""
    rows: int = 0
    """Rows that it was found in; the text is about the first. 0: it is about the template."""


Said = Failed | Noted | None


@dataclass
class Subject:
    """A template, and what is known of the model that it belongs to."""

    template: Template
    embeddings: int | None = None
    """Rows of the model's embedding; None where that is not known."""
    stops: frozenset[int] | None = None
    """What the model's own generation settings stop at; None where that is not known."""
    roles: dict[str, frozenset[int]] = field(default_factory=dict)
    """eos, bos, pad -> the tokens that the model's configuration and generation settings name as such."""

    @classmethod
    def of(cls, template: Template, model: str) -> Subject:
        """That of a model folder or hub id; its weights are not loaded."""
        from transformers import AutoConfig

        from mixdistill.backends.transformers import generation_config, own_stop_ids

        try:
            config = AutoConfig.from_pretrained(model).get_text_config(decoder=True)
            own = generation_config(model)
        except (OSError, ValueError):
            return cls(template)
        roles = {r: _ids(config, f"{r}_token_id") | _ids(own, f"{r}_token_id") for r in ("eos", "bos", "pad")}
        return cls(template, getattr(config, "vocab_size", None), frozenset(own_stop_ids(own)), roles)


def _ids(settings: Any, name: str) -> frozenset[int]:
    """The tokens of a role: it may have several, none, or -1, which old models write for none."""
    value = getattr(settings, name, None)
    return frozenset(i for i in (value if isinstance(value, list | tuple) else [value]) if i is not None and i >= 0)


def vocabulary_fits(subject: Subject) -> Said:
    """Tokenizer and model have one vocabulary."""
    vocabulary = subject.template.tokenizer.get_vocab()
    token, largest = max(vocabulary.items(), key=lambda entry: entry[1])
    rows = subject.embeddings
    beyond = rows is not None and largest >= rows
    what = f"its tokenizer has token {largest} ({token!r}) and the model's embedding {rows} rows; "
    if beyond and _may_come(subject.template, {i for i in vocabulary.values() if i >= rows}):
        return Failed(what + "give both from one model, or resize the embedding")
    if said := _roles_differ(subject):
        return said
    if beyond:
        return Noted(what + "it is special, and no row may hold it")
    if rows is None:
        return Noted("the model's configuration does not say how many rows its embedding has")
    if len(vocabulary) < SMALL * rows:
        return Noted(
            f"its tokenizer has {len(vocabulary):,} tokens, and the model's embedding {rows:,} rows: "
            f"{rows - len(vocabulary):,} are never used; give both from one model, if they are not"
        )
    return None


def _may_come(template: Template, ids: set[int]) -> bool:
    """Whether a row can hold one of these tokens: no text may hold a special one, and this template writes others."""
    return not ids <= template.special_ids or any(ids.intersection(part) for part in template.render(*3 * [PROBE]))


def _roles_differ(subject: Subject) -> Said:
    """What the model names as eos, bos or pad is a special token of its tokenizer, whichever: a chat model may stop at
    other tokens than its tokenizer's `eos_token`, and some name another's role. Only where one stops matters here."""
    template = subject.template
    special = template.special_ids | {template.tokenizer.unk_token_id}
    for role, ids in subject.roles.items():
        if not ids or ids & special:
            continue
        text = (
            f"{role}_token_id of the model is {sorted(ids)}, which is no special token of its tokenizer "
            f"({role}_token {getattr(template.tokenizer, f'{role}_token')!r}); "
        )
        if role == "eos":
            return Failed(text + "give both from one model, or mend it in config.json and generation_config.json")
        return Noted(text + UNTRAINED * (role == "pad") + "mend it in config.json")
    return None


def pad_is_not_stop(subject: Subject) -> Said:
    """Padding and the stop token are two tokens."""
    pad, template = subject.template.tokenizer.pad_token_id, subject.template
    how = "padding is masked by its place here, so the stop token still carries loss; other trainers may mask it"
    if pad is None:
        return Noted(f"there is no pad token, and the stop token fills up rows; {how}")
    return Noted(f"{template.decode([pad])!r} is both; {how}") if pad in template.stop_ids else None


def generation_stops(subject: Subject) -> Said:
    """The model's own settings stop at the stop token."""
    stop = subject.template.stop_ids
    if not subject.stops or stop & subject.stops:
        return None
    return Noted(
        f"eos_token_id of its generation_config is {sorted(subject.stops)}, and the chat template ends a turn in "
        f"{sorted(stop)} ({subject.template.stop_text.strip()!r}); both end a completion here, and a trained student's "
        "own settings name both"
    )


def turn_end(subject: Subject) -> Said:
    """The template ends a turn in the stop token."""
    template = subject.template
    stop = template.stop_text
    if template.turn_end.startswith(stop):
        return None
    return Noted(
        f"it ends an assistant's turn in {brief(template.turn_end)}, which is no special token; rows end in its "
        f"eos_token {stop!r} instead"
    )


def generation_prompt(subject: Subject) -> Said:
    """The template has a generation prompt."""
    template = subject.template
    turns = [{"role": "user", "content": PROBE}]
    with_, without = (template.chat(turns, add_generation_prompt=add) for add in (True, False))
    return None if with_ != without else Noted("it has none: a completion follows the user's turn at once")


def bos_once(subject: Subject) -> Said:
    """A row has one beginning, and no token is added."""
    template, tokenizer = subject.template, subject.template.tokenizer
    ids = template.prompt_ids(PROBE)
    if (extra := template.encode("")) or len(template.encode(PROBE)) > len(template.encode(PROBE + PROBE)):
        return Failed(f"its tokenizer adds {template.decode(extra)!r} to every text by itself; turn that off in it")
    if ids.count(tokenizer.bos_token_id) > 1 and tokenizer.bos_token_id != tokenizer.eos_token_id:
        return Failed(f"its chat template writes {tokenizer.bos_token!r} twice; take one out")
    adds = list(tokenizer(PROBE)["input_ids"])[:1] == [tokenizer.bos_token_id] != [None]
    if adds and ids[:1] == [tokenizer.bos_token_id]:
        return Noted(f"its tokenizer would add {tokenizer.bos_token!r} once more; rows have the template's alone")
    return None


def empty_think(subject: Subject) -> Said:
    """The template writes no thinking part of its own."""
    template = subject.template
    prompt = template.prompt_text("?")
    if re.search(rf"{THINK}\s*{UNTHINK}\s*\Z", prompt):
        return Noted("its prompt ends in an empty thinking part, also where reasoning follows it")
    if template.opens_thinking:
        return Noted(f"its prompt opens {THINK}: a row without reasoning closes it at once")
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": PROBE}]
    if re.search(rf"{THINK}\s*{UNTHINK}\s*{PROBE}", template.chat(turns, add_generation_prompt=False)):
        return Noted("it writes an empty thinking part before an answer without reasoning; rows here have none")
    return None


def takes_system_role(subject: Subject) -> Said:
    """The template says a system prompt."""
    turns = [{"role": "system", "content": PROBE}, {"role": "user", "content": "?"}]
    try:
        text = subject.template.chat(turns, add_generation_prompt=True)
    except DataError:
        return Noted(f"{REFUSES}: problems that have one cannot be asked")
    return None if PROBE in text else Noted(f"{LOSES}: problems that have one cannot be asked")


def same_every_day(subject: Subject) -> Said:
    """The template writes the same on every day."""
    template = subject.template
    if CLOCK not in _source(template) or not _dated(template):
        return None
    what = "it writes the date of the day, so that rows of tomorrow have other tokens than those of today; "
    wanted = re.search(rf"{CLOCK}\(\s*['\"](.+?)['\"]", _source(template))
    day = DAYS[0].strftime(wanted[1] if wanted else "%d %b %Y")
    if (name := _name_of_date(template, day)) is None:
        return Failed(f"{what}write a date that stays into its chat template, in place of {CLOCK}")
    return Failed(f'{what}set chat_template_kwargs: {{{name}: "{day}"}}')


def _source(template: Template) -> str:
    """The chat template as it is written."""
    given = template.chat_template_kwargs.get("chat_template")
    return str(template.tokenizer.get_chat_template(given))


def _dated(template: Template) -> bool:
    first, second = (_on(day, template).written for day in DAYS)
    return first != second


def _on(day: datetime, template: Template) -> Template:
    """The same template as it writes on that day. A macro takes the place of the clock, which transformers gives out
    itself: what is passed to a template is stripped of its functions."""
    parts = ((f"%{letter}", day.strftime(f"%{letter}")) for letter in string.ascii_letters)
    filters = "".join(f" | replace({json.dumps(part)}, {json.dumps(said)})" for part, said in parts)
    macro = f"{{%- macro {CLOCK}(format) -%}}{{{{ format | replace('%-', '%'){filters} }}}}{{%- endmacro -%}}"
    given = {**template.chat_template_kwargs, "chat_template": macro + _source(template)}
    return Template(template.tokenizer, given)


def _name_of_date(template: Template, day: str) -> str | None:
    """The variable by which a template can be told the date, so that it does not look at the clock."""
    for name in dict.fromkeys(re.findall(r"\b\w*(?:date|day)\w*\b", _source(template))):
        told = Template(template.tokenizer, {**template.chat_template_kwargs, name: day})
        if not _dated(told):
            return name
    return None


CHECKS: dict[str, Callable[[Subject], Said]] = {
    "vocabulary_fits": vocabulary_fits,
    "bos_once": bos_once,
    "turn_end": turn_end,
    "generation_stops": generation_stops,
    "pad_is_not_stop": pad_is_not_stop,
    "generation_prompt": generation_prompt,
    "empty_think": empty_think,
    "takes_system_role": takes_system_role,
    "same_every_day": same_every_day,
}


def of_template(subject: Subject) -> list[Finding]:
    """What every check of the template says."""
    return [finding(name, check, check(subject)) for name, check in CHECKS.items()]


def unfit(subject: Subject, prompts: Iterable[str | list[Message]] = ()) -> list[str]:
    """One line for every check that failed, a system prompt that one of `prompts` has and that cannot be said among
    them."""
    found = of_template(subject)
    lines = [f"{f.check}: {f.text}" for f in found if f.state == "failed"]
    lost = next((f.text.partition(":")[0] for f in found if f.check == "takes_system_role" and f.state == "note"), None)
    if lost and any(not isinstance(p, str) and p[0].role == "system" for p in prompts):
        lines.append(f"system_role: {lost}, and problems have one; {NO_SYSTEM}")
    return lines


def same_template(trained: str, now: str) -> Said:
    """A student is evaluated with the template that it was trained with; both are fingerprints."""
    if trained == now:
        return None
    return Failed(
        f"its template writes other tokens than it was trained with (fingerprint {trained}, now {now}); give its "
        "folder the chat template and tokenizer back, or train it again"
    )


def holds(check: Callable[..., Said]) -> str:
    """What holds where a check finds nothing."""
    return (check.__doc__ or "").strip().splitlines()[0]


def finding(name: str, check: Callable[..., Any], said: Said, rows: int = 0) -> Finding:
    state: Literal["ok", "note", "failed"] = "ok" if said is None else "failed" if isinstance(said, Failed) else "note"
    return Finding(check=name, state=state, text=str(said or holds(check)), rows=rows)


def brief(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")
