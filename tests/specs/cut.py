#!/usr/bin/env python3
"""Cuts vendors' published specifications down to what the built-in sources call, and writes them beside this script.

Of an OpenAPI or Swagger file stay the calls in CALLS with their good answers, the schemas that are named there with a #, and all
that these refer to. Texts go, but for those of Asana's schemas (tests/e2e/asana_schemas.py reads them), and so do extensions, and examples of
answers that do not fit their own schema; those that are JSON in a string become JSON. Of Linear's GraphQL schema stay the types that
catalog/linear.yaml selects from, with their plain fields and the fields that lead from one of them to another; of the filters
stay comparators and what the manifest names. Nothing is added. The same input gives the same bytes. README.md beside this tells
where the files come from.

usage: cut.py FOLDER [NAME...]      (FOLDER holds the published files, by the names in CALLS; needs PyYAML, jsonschema, graphql-core)
"""
import json
import re
import sys
from pathlib import Path

import graphql
import jsonschema
import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from vendors.specification import as_json_schema  # noqa: E402

CALLS = {
    "asana": ("asana_oas.yaml", """
        /attachments /goals /portfolios /portfolios/{portfolio_gid}/items /projects /projects/{project_gid}/project_memberships
        /projects/{project_gid}/sections /status_updates /tags /tasks /tasks/{task_gid}/stories /tasks/{task_gid}/subtasks
        /tasks/{task_gid}/time_tracking_entries /team_memberships /users /workspaces /workspaces/{workspace_gid}/custom_fields
        /workspaces/{workspace_gid}/teams /workspaces/{workspace_gid}/workspace_memberships
        #AttachmentResponse #CustomFieldResponse #GoalResponse #PortfolioResponse #ProjectMembershipNormalResponse #ProjectResponse
        #SectionResponse #StatusUpdateResponse #StoryResponse #TagResponse #TaskResponse #TeamMembershipResponse #TeamResponse
        #TimeTrackingEntryBase #UserResponse #WorkspaceMembershipResponse #WorkspaceResponse"""),
    "github": ("api.github.com.json", """
        /orgs/{org} /orgs/{org}/members /orgs/{org}/projectsV2 /orgs/{org}/projectsV2/{project_number}/fields
        /orgs/{org}/projectsV2/{project_number}/items /orgs/{org}/repos /orgs/{org}/teams /orgs/{org}/teams/{team_slug}/members
        /repos/{owner}/{repo} /repos/{owner}/{repo}/assignees /repos/{owner}/{repo}/collaborators /repos/{owner}/{repo}/issues
        /repos/{owner}/{repo}/issues/comments /repos/{owner}/{repo}/issues/events /repos/{owner}/{repo}/labels
        /repos/{owner}/{repo}/milestones /repos/{owner}/{repo}/pulls /repos/{owner}/{repo}/pulls/comments /user/orgs /user/repos"""),
    "jira": ("jira_platform_v3.json", """
        /rest/api/3/field /rest/api/3/issue/{issueIdOrKey}/changelog /rest/api/3/issue/{issueIdOrKey}/comment
        /rest/api/3/issue/{issueIdOrKey}/worklog /rest/api/3/issuetype /rest/api/3/label /rest/api/3/myself /rest/api/3/priority
        /rest/api/3/project/search /rest/api/3/project/{projectIdOrKey}/component /rest/api/3/project/{projectIdOrKey}/role/{id}
        /rest/api/3/project/{projectIdOrKey}/roledetails /rest/api/3/project/{projectIdOrKey}/version /rest/api/3/resolution
        /rest/api/3/search/jql /rest/api/3/status /rest/api/3/users/search"""),
    "notion": ("notion_openapi.json", """
        /v1/blocks/{block_id}/children /v1/comments /v1/data_sources/{data_source_id}/query:post /v1/databases/{database_id}
        /v1/search:post /v1/users"""),
    "shortcut": ("shortcut_v3_swagger.json", """
        /api/v3/categories /api/v3/custom-fields /api/v3/epic-workflow /api/v3/epics /api/v3/epics/{epic-public-id}/comments
        /api/v3/files /api/v3/groups /api/v3/iterations /api/v3/labels /api/v3/linked-files /api/v3/members /api/v3/objectives
        /api/v3/projects /api/v3/stories/search:post /api/v3/stories/{story-public-id} /api/v3/stories/{story-public-id}/comments
        /api/v3/stories/{story-public-id}/history /api/v3/workflows"""),
    "linear": ("linear_schema.graphql", ""),
}
WITH_TEXTS = {"asana": ("description", "deprecated")}
PARTS = ("components", "definitions", "parameters", "responses")
TEXTS = {"description", "summary", "externalDocs", "tags", "operationId", "deprecated", "title", "xml"}
# Under these keys stand names, and under those values.
NAMES = {"properties", "patternProperties", "definitions", "schemas", "parameters", "responses", "examples", "headers", "paths"}
VALUES = {"example", "value", "default", "enum", "x-nullable"}


def load(path):
    """A file as Python has it; dates stay text."""
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        return json.loads(text)
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        """Knows no timestamps."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()}
    return yaml.load(text, Loader)


def references(node):
    """Every reference in a node, those of discriminators too."""
    if isinstance(node, list):
        for item in node:
            yield from references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            elif key == "mapping" and isinstance(value, dict):
                yield from (one for one in value.values() if isinstance(one, str) and one.startswith("#/"))
            else:
                yield from references(value)


def bare(node, texts=(), names=False):
    """A node without extensions and without texts, but for these."""
    if isinstance(node, list):
        return [bare(item, texts) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: value if key in VALUES and not names else bare(value, texts, not names and key in NAMES)
            for key, value in node.items()
            if names or key in VALUES or key in texts or key not in TEXTS and not key.startswith("x-")}


def fitting(document, answer):
    """Takes the examples out of an answer that do not fit its schema."""
    for body in answer.get("content", {}).values():
        examples = {**body.pop("examples", {}), **({"example": body.pop("example")} if "example" in body else {})}
        for name, example in examples.items():
            value = example if name == "example" else (named(document, example["$ref"])[0] if "$ref" in example else example)["value"]
            if isinstance(value, str) and value[:1] in ("[", "{"):
                example = value = json.loads(value)
            schema = as_json_schema({"allOf": [body.get("schema", {})], "components": document.get("components", {})})
            if jsonschema.Draft7Validator(schema).is_valid(value):
                (body if name == "example" else body.setdefault("examples", {}))[name] = example


def named(document, pointer):
    """What a reference names; and the keys that lead there."""
    keys = [key.replace("~1", "/").replace("~0", "~") for key in pointer.removeprefix("#/").split("/")]
    for key in keys:
        document = document[key]
    return document, keys


def cut(document, calls, texts):
    """The calls of a file and what they refer to."""
    kept = {key: bare(value) for key, value in document.items() if key not in ("paths", "tags", *PARTS) and not key.startswith("x-")}
    kept["paths"], waiting = {}, [f"#/components/schemas/{call[1:]}" for call in calls if call[0] == "#"]
    for path, _, method in sorted(call.partition(":") for call in calls if call[0] == "/"):
        found = {key: document["paths"][path][key] for key in ("parameters", method or "get") if key in document["paths"][path]}
        call = found[method or "get"]
        good = {code: answer for code, answer in call["responses"].items() if str(code)[0] == "2"}
        kept["paths"][path] = bare({**found, method or "get": {**call, "responses": good}})
        for answer in kept["paths"][path][method or "get"]["responses"].values():
            fitting(document, answer)
    if "securitySchemes" in document.get("components", {}):
        kept["components"] = {"securitySchemes": bare(document["components"]["securitySchemes"])}
    waiting += references(kept)
    seen = set()
    while waiting:
        pointer = waiting.pop()
        if pointer in seen:
            continue
        seen.add(pointer)
        node, (*keys, last) = named(document, pointer)
        at = kept
        for key in keys:
            at = at.setdefault(key, {})
        at[last] = bare(node, texts)
        waiting += references(at[last])
    return kept


def lines(node, depth):
    """JSON, a line for each entry down to a depth; keys in order."""
    if depth and isinstance(node, dict) and node:
        return "{\n" + ",\n".join(f"{json.dumps(key)}:{lines(node[key], depth - 1)}" for key in sorted(node, key=str)) + "\n}"
    return json.dumps(node, ensure_ascii=False, separators=(",", ":"))


def selections(node):
    """The lists that a manifest's streams ask for, with what they select of each."""
    if isinstance(node, dict):
        about = node.get("$parameters")
        if isinstance(about, dict) and "selection" in about:
            yield about["list"], about["selection"]
        for child in node.values():
            yield from selections(child)


def plain(kind):
    """A scalar, an enum, or an input of nothing else, as comparators are?"""
    return graphql.is_leaf_type(kind) or graphql.is_input_object_type(kind) and all(
        graphql.is_leaf_type(graphql.get_named_type(field.type)) for field in kind.fields.values())


def cut_graphql(text, manifest):
    """The types of a GraphQL schema that the queries of a manifest pass."""
    schema, named = graphql.build_schema(text, assume_valid=True), graphql.get_named_type
    root, lists, words = schema.query_type, dict(selections(yaml.safe_load(manifest))), {"and", "or", *re.findall(r"'(\w+)':", manifest)}
    kept = {root}

    def walk(selection, kind):
        kept.add(kind)
        for field in selection.selections if selection else ():
            to = named(kind.fields[field.name.value].type)
            if not graphql.is_leaf_type(to):
                walk(field.selection_set, to)

    for name, selection in lists.items():
        to = named(root.fields[name].type)
        whole = f"{{ nodes {{ {selection} }} pageInfo {{ endCursor }} }}" if "nodes" in to.fields else f"{{ {selection} }}"
        walk(graphql.parse(whole).definitions[0].selection_set, to)
    inputs = [named(argument.type) for name in lists for argument in root.fields[name].args.values()]
    while inputs:
        kind = inputs.pop()
        if graphql.is_input_object_type(kind) and kind not in kept:
            kept.add(kind)
            inputs += [named(field.type) for name, field in kind.fields.items() if plain(named(field.type)) or name in words]

    stays = lambda kind: graphql.is_leaf_type(kind) or kind in kept
    leaves = set()
    for kind in kept:
        if not graphql.is_input_object_type(kind):
            kind.interfaces = ()
        for name, field in list(kind.fields.items()):
            to, entry = named(field.type), graphql.is_input_object_type(kind)
            if not stays(to) or (name not in lists if kind is root else entry and not plain(to) and name not in words):
                del kind.fields[name]
                continue
            for argument, about in list(getattr(field, "args", {}).items()):
                if not stays(named(about.type)):
                    del field.args[argument]
            parts = [field, *getattr(field, "args", {}).values()]
            leaves |= {named(part.type) for part in parts if not graphql.is_specified_scalar_type(named(part.type))} - kept
            for part in parts:
                part.description = part.deprecation_reason = None
    for kind in kept | leaves:
        kind.description = None
        for value in getattr(kind, "values", {}).values():
            value.description = value.deprecation_reason = None
    return "\n\n".join(graphql.print_type(kind) for kind in sorted(kept | leaves, key=lambda kind: kind.name)) + "\n"


def main():
    folder, chosen = Path(sys.argv[1]), sys.argv[2:] or list(CALLS)
    for name in chosen:
        file, calls = CALLS[name]
        if file.endswith(".graphql"):
            manifest = (HERE.parents[1] / "catalog" / f"{name}.yaml").read_text(encoding="utf-8")
            out, text = HERE / f"{name}.graphql", cut_graphql((folder / file).read_text(encoding="utf-8"), manifest)
        else:
            out = HERE / f"{name}.json"
            text = lines(cut(load(folder / file), calls.split(), WITH_TEXTS.get(name, ())), 3) + "\n"
        out.write_text(text, encoding="utf-8")
        print(f"{out.name}: {len(text.encode()):,} bytes of {(folder / file).stat().st_size:,}")


if __name__ == "__main__":
    main()
