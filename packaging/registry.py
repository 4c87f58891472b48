#!/usr/bin/env python3
"""Writes what registries hold of each built-in source: a Meltano Hub definition and Airbyte's metadata.yaml.

In: what `dripfeed sources` and `tap-NAME --about` say. Out: packaging/hub/tap-NAME.yml and packaging/airbyte/source-NAME/metadata.yaml.
With --check it writes nothing, compares, and validates every file: the definitions against the schema in Meltano's own wheel, the
metadata against that of airbyte-connector-models.

usage: registry.py [--check]      (needs PyYAML; --check needs jsonschema, meltano and airbyte-connector-models too)

Environment: DRIPFEED names the binary, else target/release/dripfeed.
"""
import json
import os
import subprocess
import sys
import tempfile
import uuid
from importlib import resources
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/dripfeed/dripfeed"
REGISTRY = "ghcr.io/dripfeed"
DRIPFEED = Path(os.environ.get("DRIPFEED") or ROOT / "target/release/dripfeed").resolve()
KINDS = {"integer": "integer", "number": "decimal", "boolean": "boolean", "array": "array", "object": "object"}
# What the Hub holds of a plugin and a project does not.
HUB_ALONE = ("maintenance_status", "quality", "keywords", "supported_python_versions", "logo_url")
HEAD = "# Written by packaging/registry.py; `registry.py --check` tells when it is stale.\n"


def about(source):
    """What the tap says of itself."""
    with tempfile.TemporaryDirectory() as at:
        tap = Path(at) / f"tap-{source}"
        tap.symlink_to(DRIPFEED)
        return json.loads(subprocess.run([tap, "--about", "--format", "json"], check=True, stdout=subprocess.PIPE).stdout)


def kind_of(schema):
    """Meltano's kind of a setting."""
    types = schema.get("type", "string")
    name = next((t for t in ([types] if isinstance(types, str) else types) if t != "null"), "string")
    if schema.get("enum") or schema.get("options"):
        return "options"
    if schema.get("format") in ("date", "date-time"):
        return "date_iso8601"
    return KINDS.get(name, "string")


def settings(schema, before=""):
    """The settings of a schema. Those of an object with alternatives are joined, with dots."""
    found = {}
    for name, property_schema in schema.get("properties", {}).items():
        path = before + name
        variants = [property_schema, *property_schema.get("oneOf", []), *property_schema.get("anyOf", [])]
        if path != "dripfeed" and any("properties" in variant for variant in variants):
            constants = {}
            for variant in variants:
                for setting in settings(variant, f"{path}."):
                    found.setdefault(setting["name"], setting)
                for key, inner in variant.get("properties", {}).items():
                    if "const" in inner:
                        constants.setdefault(key, []).append({"label": variant.get("title", inner["const"]), "value": str(inner["const"])})
            for key, options in constants.items():
                found[f"{path}.{key}"].update(kind="options", options=options, description=property_schema.get("description", ""))
            continue
        setting = {"name": path, "label": property_schema.get("title", name), "kind": kind_of(property_schema)}
        if setting["kind"] == "options":
            setting["options"] = [{"label": str(value), "value": str(value)} for value in property_schema["enum"] if value is not None]
        if property_schema.get("airbyte_secret"):
            setting["sensitive"] = True
        if "description" in property_schema:
            setting["description"] = property_schema["description"]
        if "default" in property_schema and "const" not in property_schema:
            setting["value"] = property_schema["default"]
        found[path] = setting
    return list(found.values())


def groups(schema):
    """The sets of settings that are enough: Meltano asks for one of them."""
    always = schema.get("required", [])
    sets = []
    for variant in schema.get("anyOf") or schema.get("oneOf") or [{}]:
        for name in [[*always, *variant.get("required", [])]]:
            inner = variant.get("properties", {})
            sets.append([path for key in name for path in
                         ([f"{key}.{below}" for below in inner[key]["required"]] if "required" in inner.get(key, {}) else [key])])
    return [list(dict.fromkeys(names)) for names in sets]


def definition(source, said):
    """The Hub's definition of an extractor."""
    label = said["settings"].get("title") or source
    docs = f"{REPOSITORY}/blob/main/docs/src/sources/{source}.md" if (ROOT / f"docs/src/sources/{source}.md").exists() else REPOSITORY
    return {
        "name": f"tap-{source}", "label": label, "namespace": f"tap_{source.replace('-', '_')}", "variant": "dripfeed",
        "description": f"Reads {label} incrementally, at its rate limit", "pip_url": "tap-dripfeed", "executable": f"tap-{source}",
        "repo": REPOSITORY, "docs": docs, "logo_url": None, "maintenance_status": "beta", "quality": "unknown",
        "keywords": ["dripfeed", "incremental", "low-code"], "capabilities": said["capabilities"],
        "settings": settings(said["settings"]), "settings_group_validation": groups(said["settings"]),
        "supported_python_versions": ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"],
    }


def metadata(source, said):
    """Airbyte's metadata of a connector."""
    label = said["settings"].get("title") or source
    docs = f"{REPOSITORY}/blob/main/docs/src/sources/{source}.md" if (ROOT / f"docs/src/sources/{source}.md").exists() else REPOSITORY
    return {"metadataSpecVersion": "1.0", "data": {
        "name": f"{label} (dripfeed)", "definitionId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{REPOSITORY}/source-{source}")),
        "connectorType": "source", "connectorSubtype": "api", "dockerRepository": f"{REGISTRY}/source-{source}",
        "dockerImageTag": said["version"], "documentationUrl": docs, "githubIssueLabel": f"source-{source}", "icon": "icon.svg",
        "license": "MIT", "releaseStage": "custom", "supportLevel": "community", "tags": ["language:rust", "cdk:dripfeed"],
        "remoteRegistries": {"pypi": {"enabled": True, "packageName": "tap-dripfeed"}},
    }}


def files():
    """What each file is to hold."""
    sources = subprocess.run([DRIPFEED, "sources"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    found = {}
    for source in sources:
        said = about(source)
        for path, content in ((f"hub/tap-{source}.yml", definition(source, said)),
                              (f"airbyte/source-{source}/metadata.yaml", metadata(source, said))):
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
            found[ROOT / "packaging" / path] = HEAD + text
    return found


def without_ids(schema):
    """A schema that was put together from files, whose references are all from its root."""
    if isinstance(schema, dict):
        return {key: without_ids(value) for key, value in schema.items() if key != "$id" or not isinstance(value, str)}
    return [without_ids(value) for value in schema] if isinstance(schema, list) else schema


def flaws(path, content):
    """Where a file breaks its schema."""
    import jsonschema
    if path.name == "metadata.yaml":
        file = resources.files("airbyte_connector_models").joinpath("metadata/v0/ConnectorMetadataDefinitionV0.json")
        schema = without_ids(json.loads(file.read_text()))
    else:
        # It describes a project; what only the Hub holds of a plugin is left out.
        schema = json.loads(resources.files("meltano").joinpath("schemas/meltano.schema.json").read_text())
        content = {"plugins": {"extractors": [{key: value for key, value in content.items() if key not in HUB_ALONE}]}}
    return [f"{path}: {flaw.json_path}: {flaw.message}" for flaw in jsonschema.Draft7Validator(schema).iter_errors(content)]


def main():
    wanted = files()
    there = {path for pattern in ("hub/*.yml", "airbyte/*/metadata.yaml") for path in (ROOT / "packaging").glob(pattern)}
    if "--check" not in sys.argv[1:]:
        for path in there - wanted.keys():
            path.unlink()
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        print(f"{len(wanted)} files")
        return
    wrong = [f"{path}: stale; run packaging/registry.py" for path in wanted.keys() | there
             if path not in wanted or path not in there or path.read_text() != wanted[path]]
    wrong += [flaw for path, text in wanted.items() for flaw in flaws(path, yaml.safe_load(text))]
    print("\n".join(wrong))
    print(f"{len(wanted) - len(wrong)} passed, {len(wrong)} failed")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
