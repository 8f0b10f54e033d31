"""Writes the data of the shipped recipes support-routing and order-lines: problems, and two teachers' traces of them.

    python examples/make_task_data.py             write src/mixdistill/recipes/data/
    python examples/make_task_data.py --check     exit 1 where a file there is not what this script writes

Everything is made up here, by rule and from one seed. A few traces are wrong, cut or in the wrong form on purpose, so
that verification has something to find. The files also show the format: one JSON object a line, `prompt` and `answer`
for problems; `prompt`, `completion` (reasoning inside <think>...</think>) and `finish_reason` for recorded traces.
"""

import json
import random
import sys
from pathlib import Path

DATA = Path(__file__).parent.parent / "src" / "mixdistill" / "recipes" / "data"
TRAIN, EVAL = 200, 60
FLAWS = ["wrong"] * 8 + ["cut"] * 4 + ["form"] * 3 + ["none"] * 85
"""What is the matter with a trace, in per cent."""

DEPARTMENTS = {
    "account": "logins, names and addresses in the customer's profile",
    "billing": "invoices, payments and refunds that have not arrived",
    "returns": "goods that are to go back or to be exchanged",
    "shipping": "parcels on their way, late or lost",
    "technical": "devices and programs that do not work",
}
WISHES = {
    "account": [
        ("I cannot log in with my new password", "to get into the profile again"),
        ("please change my name to {name}", "another name in the profile"),
        ("my e-mail address is now {mail}", "another address in the profile"),
        ("please delete my profile", "the profile removed"),
    ],
    "billing": [
        ("you charged me twice for the {thing}", "one of two payments back"),
        ("the invoice for the {thing} shows the wrong total", "a right invoice"),
        ("the refund for the {thing} is not on my card yet", "money that is owed"),
        ("can I pay for the {thing} by bank transfer", "another way to pay"),
    ],
    "returns": [
        ("the {thing} is too small and I want to send it back", "to give the goods back"),
        ("can I exchange the {thing} for a blue one", "other goods for these"),
        ("I do not need the {thing} any more, where do I send it", "to give the goods back"),
        ("I want a label to return the {thing}", "a label for the way back"),
    ],
    "shipping": [
        ("the {thing} should have come on {day}", "goods that are late"),
        ("the tracking page of my {thing} has not moved since {day}", "news of a parcel"),
        ("the driver left the {thing} at a wrong door", "a parcel that went astray"),
        ("when will the {thing} arrive", "a day of delivery"),
    ],
    "technical": [
        ("the {thing} does not switch on", "a device that works"),
        ("the app crashes whenever I open the page of the {thing}", "a program that works"),
        ("the {thing} loses its connection every evening", "a device that works"),
        ("after the update the {thing} makes no sound", "a device that works"),
    ],
}
ASIDES = {
    "account": "I am logged in as {name}",
    "billing": "I paid the invoice on {day}",
    "returns": "I do not want to send it back",
    "shipping": "the parcel came on {day}",
    "technical": "it works well otherwise",
}
THINGS = ["lamp", "radio", "kettle", "keyboard", "heater", "camera", "toaster", "speaker", "printer", "clock"]
NAMES = ["A. Moreau", "J. Okafor", "L. Lindgren", "M. Rossi", "P. Novak", "S. Tanaka"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]

ORDERS = [
    "Please send {words} {item} to {city}.",
    "{Words} {item} for our shop in {city}, as always.",
    "Order {number}: {item}, {words}, deliver to {city}.",
    "We need {words} {item} in {city} by the {day}th.",
    "Not {other} this time but {city}: {words} {item}.",
    "Instead of {number} we take {words} {item}, to {city}.",
]
PLAIN = 2
"""The first so many of `ORDERS` name no second number and no second city."""
ITEMS = ["green tea", "olive oil", "black pepper", "oat biscuits", "plum jam", "rye flour", "sea salt", "dried figs"]
CITIES = ["Lyon", "Porto", "Gdansk", "Utrecht", "Graz", "Bergen", "Turku", "Ghent", "Leeds", "Brno"]
WORDS = {1: "one crate of", 2: "two crates of", 3: "three crates of", 12: "a dozen", 24: "two dozen", 6: "half a dozen"}


def support(rng):
    """(problem, reasoning, answer part, answer part of a mistake) of a message to be routed."""
    department, other = rng.sample(sorted(DEPARTMENTS), 2)
    text, wish = rng.choice(WISHES[department])
    name, day, thing = rng.choice(NAMES), rng.choice(DAYS), rng.choice(THINGS)
    slots = {"thing": thing, "name": name, "day": day, "mail": f"{name[3:].lower()}{rng.randint(1, 99)}@example.org"}
    misleading = rng.random() < 0.5
    message = text.format(**slots)
    aside = ASIDES[other].format(**slots)
    message = f"Hello, {aside}, but {message}." if misleading else f"Hello, {message}."
    prompt = f"Which department is this for: {', '.join(DEPARTMENTS)}?\n\n{message}"
    thoughts = [f"The customer wants {wish}."]
    if misleading:
        thoughts.append(f'"{aside}" sounds like {other} ({DEPARTMENTS[other]}), but nothing is asked about that.')
    thoughts.append(f"{department} deals with {DEPARTMENTS[department]}. That is it.")
    problem = {"prompt": prompt, "answer": department, "kind": "misleading" if misleading else "plain"}
    return problem, "\n".join(thoughts), f"Department: {department}", f"Department: {other}", department


def orders(rng):
    """The same of an order line: its fields as JSON."""
    template = rng.randrange(len(ORDERS))
    quantity = rng.choice([*WORDS, *range(4, 100, 7)])
    words = WORDS.get(quantity, f"{quantity} boxes of")
    item, (city, other) = rng.choice(ITEMS), rng.sample(CITIES, 2)
    number, day = rng.randint(100, 999), rng.randint(11, 19)
    slots = {"words": words, "Words": words.capitalize(), "item": item, "city": city, "other": other}
    line = ORDERS[template].format(**slots, number=number, day=day)
    fields = {"item": item, "quantity": quantity, "city": city}
    slip = {**fields, **rng.choice([{"quantity": number}, {"city": other}, {"quantity": str(quantity)}])}
    thoughts = [f'"{words}" is a quantity of {quantity}.', f"What is ordered is {item}."]
    for value, what in ((number, "another number"), (day, "a date")):
        if str(value) in line:
            thoughts.append(f"{value} is {what}, no quantity.")
    thoughts.append(f"{other} is where it does not go; it goes to {city}." if other in line else f"It goes to {city}.")
    prompt = f"Give item, quantity and city of this order as a JSON object.\n\n{line}"
    problem = {"prompt": prompt, "answer": json.dumps(fields), "kind": "plain" if template < PLAIN else "misleading"}
    return problem, "\n".join(thoughts), json.dumps(fields), json.dumps(slip), f"{words} {item}, {city}"


def trace(rng, prompt, reasoning, right, mistake, formless, *, long):
    """One recorded row, with a flaw now and then."""
    flaw = rng.choice(FLAWS)
    content = {"wrong": mistake, "form": formless}.get(flaw, right)
    if long and content.startswith("{"):
        content = f"```json\n{content}\n```"
    text = f"<think>\n{reasoning}\n</think>\n\n{content}" if long else content
    if flaw == "cut":
        text = text[: len(text) // 2]
    return {"prompt": prompt, "completion": text, "finish_reason": "length" if flaw == "cut" else "stop"}


def files(name, make, seed):
    """File name -> rows, for one task."""
    rng, made = random.Random(seed), {}
    while len(made) < TRAIN + EVAL:
        row = make(rng)
        made.setdefault(row[0]["prompt"], row)
    rows = list(made.values())
    traces = {"long": [], "short": []}
    for problem, *texts in rows[:TRAIN]:
        for teacher, found in traces.items():
            found.append(trace(rng, problem["prompt"], *texts, long=teacher == "long"))
    return {f"{name}.jsonl": [row[0] for row in rows], **{f"{name}-{t}.jsonl": found for t, found in traces.items()}}


if __name__ == "__main__":
    stale = False
    for name, rows in {**files("support", support, 1), **files("orders", orders, 2)}.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        file = DATA / name
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            stale = True
            print(f"{file}: not what this script writes; run it")
    sys.exit(stale)
