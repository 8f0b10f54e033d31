"""YAML as recipes use it: plain values alone, every mistake one line with its place."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from mixdistill.errors import RecipeError, one_line

MERGE = "tag:yaml.org,2002:merge"
MOST_VALUES = 100_000
"""Values of a file once its aliases are written out."""


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-5 is a number and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key must be a single word", key_node.start_mark)
            if key_node.tag == MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ConstructorError(None, None, f"the key '{key}' stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
for _first in "-+0123456789.":
    _Loader.yaml_implicit_resolvers.setdefault(_first, []).insert(
        0, ("tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+\Z"))
    )


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would take for numbers."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def parse_yaml(text: str, where: str) -> Any:
    """YAML text -> plain objects. Raises RecipeError with file, line and problem."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise RecipeError(f"{where}: its aliases stand for more than {MOST_VALUES:,} values; write it plainly")
        return loader.construct_document(node)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        why = getattr(e, "problem", None) or str(e).partition("\n")[0]
        raise RecipeError(f"{where}{line}: not YAML: {one_line(why)}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as e:  # what PyYAML lets through: !!int x, 2020-13-45
        raise RecipeError(f"{where}: not YAML: {one_line(str(e))}; put texts in quotes") from None
    except RecursionError:
        raise RecipeError(f"{where}: nested too deeply; write it plainly") from None


def write_yaml(value: Any) -> str:
    """Plain objects -> YAML text that `parse_yaml` reads back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, aliases written out; a node within itself never ends."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # until it is known: met again within itself
        parts = [n for pair in node.value for n in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values(n, known) for n in parts)
    return known[id(node)]
