#!/usr/bin/env python3
"""Proves: what the built-in source `asana` asks for, and the baselines of its streams, are what Asana's OpenAPI file gives.

(a) Each of a stream's `opt_fields` stands in the list of its operation. (b) What is asked for and what the baseline describes are
the same, down to the leaves; a gid comes unasked, and the manifest adds some fields. (c) Each property of a baseline is one of the vendor's, with its type and date
format, and is not deprecated. (d) Enums are the vendor's, plus null. (e) Each property and item has a description, a sentence
of our own. (f) All but the key may be null, nothing is a choice of schemas, and the files look like the others.

The file is tests/specs/asana.json. Needs PyYAML.
"""
import json
import re
import sys

import yaml

from support import ROOT, Checks

# What the vendor says may get new values: its text advises reading `display_value`, which new kinds of custom field have as well.
OPEN_ENUMS = {"custom_fields.resource_subtype", "custom_fields.representation_type",
              "custom_field_settings.custom_field.resource_subtype", "custom_field.representation_type",
              "resource_subtype of custom_fields", "representation_type of custom_fields"}
# The whole object, where its name does not follow from the compact one's.
WHOLE = {"ProjectMembershipCompact": "ProjectMembershipNormalResponse", "TimeTrackingEntryCompact": "TimeTrackingEntryBase",
         "CustomFieldResponse": "CustomFieldResponse"}
# The words in which the vendor's text names a form that its schema does not.
FORMAT_WORDS = {"date": "YYYY-MM-DD", "date-time": "ISO 8601"}
KEYWORDS = {"type", "format", "description", "enum", "properties", "items"}


class Vendor:
    """The vendor's OpenAPI file."""

    def __init__(self):
        self.spec = json.loads((ROOT / "tests" / "specs" / "asana.json").read_text(encoding="utf-8"))

    def target(self, node):
        """Follows references."""
        while "$ref" in node:
            pointer, node = node["$ref"], self.spec
            for key in pointer.removeprefix("#/").split("/"):
                node = node[key]
        return node

    def merged(self, node):
        """A schema as one: references and `allOf` resolved, later parts win, all the texts in one."""
        node = self.target(node)
        one = {"properties": {}, "text": ""}
        for part in [*map(self.merged, node.get("allOf", [])), node]:
            one["properties"].update(part.get("properties", {}))
            one["text"] += " " + part.get("text", part.get("description", ""))
            one.update((key, part[key]) for key in ("type", "format", "enum", "items", "deprecated") if key in part)
        return one

    def operation(self, path):
        """What `opt_fields` of a list allows, and the whole object's schema; holes in paths have any name."""
        holes = re.sub(r"\{+[^}]*\}+", "{}", "/" + path.strip("/"))
        listing = next(ways["get"] for way, ways in self.spec["paths"].items() if re.sub(r"\{[^}]*\}", "{}", way) == holes)
        parameters = {p["name"]: p for p in map(self.target, listing["parameters"])}
        answer = next(one for code, one in listing["responses"].items() if str(code) == "200")
        compact = answer["content"]["application/json"]["schema"]["properties"]["data"]["items"]["$ref"]
        at, _, name = compact.rpartition("/")
        whole = WHOLE.get(name, name.removesuffix("Compact") + "Response")
        return set(parameters["opt_fields"]["schema"]["items"]["enum"]), {"$ref": f"{at}/{whole}"}


def resolved(manifest, node):
    """A node of the manifest with its references followed, as the manifest's readers do."""
    if isinstance(node, str) and node.startswith("#/"):
        target = manifest
        for key in node.removeprefix("#/").split("/"):
            target = target[key]
        return resolved(manifest, target)
    if not isinstance(node, dict):
        return node
    base = resolved(manifest, node["$ref"]) if "$ref" in node else {}
    # Parents are streams of their own.
    return {**base, **{key: resolved(manifest, value) for key, value in node.items() if key not in ("$ref", "partition_router")}}


def added(stream):
    """The fields that the manifest adds."""
    return {field["path"][0] for change in stream.get("transformations", []) for field in change.get("fields", [])}


def children(schema):
    """The properties of an object, or of an array's objects."""
    return schema.get("properties") or schema.get("items", {}).get("properties", {})


def leaves(schema, prefix=""):
    """What has to be asked for to get this: a gid always comes, so an object of nothing else is asked for by its name."""
    found = []
    for name, child in children(schema).items():
        if name != "gid":
            found += leaves(child, f"{prefix}{name}.") or [prefix + name]
    return found


def walk(schema, prefix=""):
    """Every property and item, with its path."""
    for name, child in schema.get("properties", {}).items():
        yield prefix + name, child
        yield from walk(child, f"{prefix}{name}.")
    if "items" in schema:
        yield prefix + "[]", schema["items"]
        yield from walk(schema["items"], prefix)


def pairs(vendor, ours, theirs, prefix=""):
    """Every property and item with the vendor's schema of it, or None."""
    theirs = vendor.merged(theirs)
    for name, child in ours.get("properties", {}).items():
        found = theirs["properties"].get(name)
        yield prefix + name, child, found and vendor.merged(found)
        if found:
            yield from pairs(vendor, child, found, f"{prefix}{name}.")
    if "items" in ours:
        found = theirs.get("items")
        yield prefix + "[]", ours["items"], found and vendor.merged(found)
        if found:
            yield from pairs(vendor, ours["items"], found, prefix)


def kind(schema):
    """The type beside null."""
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else [k for k in kinds or [] if k != "null"]
    return kinds[0] if len(kinds) == 1 else None


def type_fits(ours, theirs):
    """Does our type take the vendor's values, no more narrow and, numbers aside, no wider?"""
    return kind(ours) == theirs.get("type") or (kind(ours), theirs.get("type")) == ("number", "integer")


def format_fits(ours, theirs):
    """A date is a date where the vendor's schema or, without a format there, its text says so."""
    ours, given = ours.get("format"), theirs.get("format")
    if ours and not given:
        return FORMAT_WORDS.get(ours, "?") in theirs["text"]
    return ours == (given if given in FORMAT_WORDS else None)


def enum_fits(path, ours, theirs):
    """The vendor's values and null; none where the vendor may add some."""
    if path in OPEN_ENUMS:
        return "enum" not in ours and "enum" in theirs
    values, given = ours.get("enum"), theirs.get("enum")
    if not values or not given:
        return values == given
    return set(values) == {*given, None} and len(values) == len(set(values))


def words(text):
    """A text without case, marks and spacing."""
    return " ".join(re.findall(r"\w+", text.lower()))


def sentence(text):
    """A capital first, one full stop last."""
    return isinstance(text, str) and text[:1].isupper() and text.endswith(".") and not text.endswith("..")


def copied(ours, theirs):
    """Is our description a sentence of the vendor's?"""
    return theirs and words(ours.get("description", "")) in map(words, re.split(r"(?<=\.)\s", theirs["text"]))


def stream_holds(checks, vendor, name, stream, text):
    """One stream and its baseline."""
    def all_of(what, bad):
        checks.ok(f"{name}: {what}", not bad, ", ".join(map(str, bad)))

    baseline = json.loads(text)
    path = stream["retriever"]["requester"]["path"]
    path = stream["$parameters"]["path"] if "parameters[" in path else path
    ours = added(stream)
    asked = stream["$parameters"]["fields"].split(",")
    described = [leaf for leaf in leaves(baseline) if leaf.split(".")[0] not in ours]
    allowed, theirs = vendor.operation(path)
    properties = list(pairs(vendor, baseline, theirs))
    known = [(path, ours, its) for path, ours, its in properties if its]

    all_of("(a) the vendor allows each of opt_fields", [f for f in asked if f not in allowed])
    all_of("(b) each is asked for once", sorted({f for f in asked if asked.count(f) > 1}))
    all_of("(b) what is described is asked for", [f for f in described if f not in asked])
    all_of("(b) what is asked for is described", [f for f in asked if f not in described])
    all_of("(c) each property is one of the vendor's", [p for p, _, its in properties if not its and p not in ours])
    all_of("(c) the types are the vendor's", [p for p, ours, its in known if not type_fits(ours, its)])
    all_of("(c) the date formats are the vendor's", [p for p, ours, its in known if not format_fits(ours, its)])
    all_of("(c) none is deprecated", [p for p, _, its in known if "Deprecated" in its["text"] or its.get("deprecated")])
    all_of("(d) the enums are the vendor's, plus null", [
        p for p, ours, its in known if not enum_fits(p if "." in p or name != "custom_fields" else f"{p} of {name}", ours, its)])
    all_of("(e) each has a description, a sentence",
           [p for p, ours in [("", baseline), *walk(baseline)] if not sentence(ours.get("description"))])
    all_of("(e) none is a sentence of the vendor's", [p for p, ours, its in known if copied(ours, its)])

    keys = stream["primary_key"]
    cursor = stream.get("incremental_sync", {}).get("cursor_field")
    all_of("(f) the keys, and nothing else, are never null", [
        p for p, ours in walk(baseline) if ours.get("type") != ("string" if p in keys else ["null", kind(ours)])])
    all_of("(f) keys and cursor are described", [
        f for f in [*keys, *([cursor] if cursor else [])] if f not in baseline["properties"]])
    all_of("(f) nothing but the plain keywords", [p for p, ours in walk(baseline) if not set(ours) <= KEYWORDS])
    all_of("(f) objects have properties, arrays have items", [
        p for p, ours in walk(baseline)
        if (kind(ours) == "object") != ("properties" in ours) or (kind(ours) == "array") != ("items" in ours)])
    whole = {key: value for key, value in baseline.items() if key not in ("description", "properties")}
    checks.ok(f"{name}: (f) it is an open object of draft-07", whole == {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": True})
    checks.ok(f"{name}: (f) it is written as the others", text == json.dumps(baseline, indent=2, ensure_ascii=False) + "\n")
    checks.fact(f"{len(asked)} fields asked for, {sum(1 for _ in walk(baseline))} properties and items")


def main():
    vendor = Vendor()
    checks = Checks()
    manifest = yaml.safe_load((ROOT / "catalog" / "asana.yaml").read_text(encoding="utf-8"))
    names = [stream["$ref"].rpartition("/")[2] for stream in manifest["streams"]]
    files = {path.stem: path for path in (ROOT / "schemas" / "asana").glob("*.json")}
    checks.ok("each stream has a baseline, and none is left over", set(names) == set(files), ", ".join(set(names) ^ set(files)))
    cursors = sum("incremental_sync" in resolved(manifest, manifest["definitions"][name]) for name in names)
    checks.ok("the docs' comparison has the counts of streams and incremental ones", f"(asana.md) | {len(names)} ({cursors}) |"
              in (ROOT / "docs" / "src" / "sources" / "README.md").read_text(), f"{len(names)} ({cursors})")
    for name in names:
        if name in files:
            stream = resolved(manifest, manifest["definitions"][name])
            stream_holds(checks, vendor, name, stream, files[name].read_text(encoding="utf-8"))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
