"""A vendor's published specification (OpenAPI or Swagger) of tests/specs: what is wrong with a call, and with its answer.

`Vendor` asks it for each call; tests/e2e/prism_sources.py and asana.py take its schemas. Needs jsonschema.
"""
import functools
import json
import re
from pathlib import Path

import jsonschema

SPECS = Path(__file__).resolve().parents[1] / "specs"


@functools.lru_cache(maxsize=None)
def specification(name):
    """The specification of a source."""
    return Specification(json.loads((SPECS / f"{name}.json").read_text(encoding="utf-8")))


class Specification:
    """A document, its nullable values as JSON Schema has them."""

    def __init__(self, document):
        self.document = as_json_schema(document)
        self.parts = {key: self.document[key] for key in ("components", "definitions") if key in self.document}
        self.operations = {(method.upper(), nameless(path)): {**one, "path": path, "parameters": [*item.get("parameters", ()), *one.get("parameters", ())]}
                           for path, item in self.document["paths"].items() for method, one in item.items() if method != "parameters"}
        self.validators = {}

    def find(self, method, path):
        """The operation of a path, with names or values for its parameters; None where there is none."""
        if (method, nameless(path)) in self.operations:
            return self.operations[method, nameless(path)]
        fits = [(at.count("{}"), at) for way, at in self.operations
                if way == method and re.fullmatch(re.escape(at).replace(r"\{\}", "[^/]+"), path)]
        return self.operations[method, min(fits)[1]] if fits else None

    def wrong_call(self, method, path, many, body, headers):
        """What is wrong with a call, in words; `many` has all values of each query parameter."""
        operation = self.find(method, path)
        if operation is None:
            return [f"{method} {path} is not in the specification"]
        where = f"{method} {operation['path']}"
        parameters = [self.target(one) for one in operation["parameters"]]
        declared = {one["name"]: one for one in parameters if one["in"] == "query"}
        found = [f"{where}: no parameter {name}" for name in many if name.removesuffix("[]") not in declared]
        for one in parameters:
            name, given = one["name"], one["in"]
            if one.get("required") and (given == "query" and name not in many or given == "header" and name not in headers):
                found.append(f"{where}: {name} is required")
        for name, values in many.items():
            if name in declared:
                schema = declared[name].get("schema", declared[name])
                value = [item for text in values for item in text.split(",")] if schema.get("type") == "array" else values[-1]
                found += [f"{where}: {name} {words}" for words in self.unfit((where, name), schema, typed(value, schema))]
        for schema in self.bodies(operation, parameters):
            found += [f"{where}: {words}" for words in self.unfit((where, "body"), schema, body)]
        return found

    def wrong_answer(self, method, path, status, body):
        """What is wrong with an answer, in words."""
        answers = (self.find(method, path) or {}).get("responses", {})
        if str(status) not in answers:
            return [f"{method} {path}: no answer {status}"]
        answer = self.target(answers[str(status)])
        schema = answer.get("schema") or next((one["schema"] for one in answer.get("content", {}).values() if "schema" in one), {})
        return [f"{method} {path}: {words}" for words in self.unfit((method, path, status), schema, body)[:3]]

    def bodies(self, operation, parameters):
        """The schema of the body, if there is one."""
        yield from (one["schema"] for one in parameters if one["in"] == "body")
        yield from (one["schema"] for one in self.target(operation.get("requestBody", {})).get("content", {}).values())

    def target(self, node):
        """Follows references."""
        while "$ref" in node:
            at = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                at = at[part.replace("~1", "/").replace("~0", "~")]
            node = at
        return node

    def unfit(self, key, schema, value):
        """What of a value does not fit a schema, in words; `key` names the schema."""
        if key not in self.validators:
            self.validators[key] = jsonschema.Draft7Validator({"allOf": [schema], **self.parts})
        return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in self.validators[key].iter_errors(value)]


def nameless(path):
    """A path without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


def typed(value, schema):
    """A query's text as the type that the schema has."""
    if isinstance(value, list):
        return [typed(item, schema.get("items", {})) for item in value]
    kind = schema.get("type")
    if kind == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    return value


def as_json_schema(node):
    """OpenAPI's `nullable` and `x-nullable` as a type of null."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: as_json_schema(value) for key, value in node.items()}
    if node.get("nullable") is True or node.get("x-nullable") is True:
        node.pop("nullable", None)
        node.pop("x-nullable", None)
        if isinstance(node.get("enum"), list):
            node["enum"] = [*node["enum"], None]
        if isinstance(node.get("type"), str):
            node["type"] = [node["type"], "null"]
        elif "type" not in node:
            return {"anyOf": [node, {"type": "null"}]}
    return node
