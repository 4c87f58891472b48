#!/usr/bin/env python3
"""Makes a vendor's OpenAPI file usable with `prism mock`.

Asana: the example of NextPage becomes null, else `next_page` never ends. Jira: examples that are JSON in a string become real
objects, else Prism answers with a quoted string.

usage: prism_fix.py IN.(yaml|json) OUT.json      (YAML needs PyYAML)
"""
import json
import sys
from pathlib import Path


def load(path):
    """The file as Python has it; dates stay text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        """Knows no timestamps."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()}
    return yaml.load(text, Loader)


def unquote(node):
    """Parses examples that are JSON in a string, in place."""
    if isinstance(node, list):
        for item in node:
            unquote(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("example", "value") and isinstance(value, str) and value[:1] in ("[", "{"):
                try:
                    node[key] = json.loads(value)
                except ValueError:
                    pass
            else:
                unquote(value)


def main():
    source, served = map(Path, sys.argv[1:3])
    vendor = load(source)
    unquote(vendor.get("paths", {}))
    unquote(vendor.get("components", {}))
    if page := vendor.get("components", {}).get("schemas", {}).get("NextPage"):
        page.update(example=None, nullable=True)
    served.write_text(json.dumps(vendor, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
