"""The sections of a recipe, each with its keys, their defaults and what they mean. recipe.py puts them together."""

from mixdistill.sections.base import OpenSection, Section
from mixdistill.sections.problems import HELD_OUT, Benchmark, Decontaminate, Problems, Source
from mixdistill.sections.study import Arm, Evaluate, Primary, Published, Student
from mixdistill.sections.teachers import Price, Serve, Served, Spend, Teacher
from mixdistill.sections.training import LEARNING_RATES, Budget, Lora, Schedule, Train, Tune, Variant
from mixdistill.sections.verify import Analyze, Link, Verify

__all__ = [
    "HELD_OUT",
    "LEARNING_RATES",
    "Analyze",
    "Arm",
    "Benchmark",
    "Budget",
    "Decontaminate",
    "Evaluate",
    "Link",
    "Lora",
    "OpenSection",
    "Price",
    "Primary",
    "Problems",
    "Published",
    "Schedule",
    "Section",
    "Serve",
    "Served",
    "Source",
    "Spend",
    "Student",
    "Teacher",
    "Train",
    "Tune",
    "Variant",
    "Verify",
]
