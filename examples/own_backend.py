"""A backend of your own: a teacher that solves one family of problems by rule, in long form or in short.

    teachers:
      long:  {backend: "examples/own_backend.py:Percent", model: long}
      short: {backend: "examples/own_backend.py:Percent", model: short, digits: 1}

Where a program can solve a kind of problem, its traces cost nothing, are right, and differ in their form alone.
"""

import re

from mixdistill.types import Completion, prompt_text

ASKED = re.compile(r"What is (\d+) % of (\d+)\?")


class Percent:
    def __init__(self, model, *, digits=2):
        self.long, self.digits = model == "long", digits

    def generate(self, requests):
        for index, request in enumerate(requests):
            asked = ASKED.fullmatch(prompt_text(request.prompt))
            if asked is None:
                yield index, None  # there is no trace of it and never will be
                continue
            share, whole = int(asked[1]), int(asked[2])
            answer = f"{share * whole / 100:.{self.digits}f}"
            steps = f"1 % of {whole} is {whole / 100}.\n{share} times {whole / 100} is {answer}." if self.long else ""
            yield index, Completion(reasoning=steps, content=f"The answer is {answer}", finish_reason="stop")
