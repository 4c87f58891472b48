"""A vendor that speaks GraphQL: its schema as SDL text, its rows, and graphql-core between them.

A vendor derives from `GraphQL`, names its `sdl`, and has

- `query_FIELD(self, info, **arguments)` for each field of `Query` that it serves,
- `TYPE_FIELD(self, row, info, **arguments)` for each other field whose value is not the row's own,

both with the schema's names (`query_issues`, `Issue_assignee`). All other fields are read from the rows, which are dicts.
Only what a query asks for comes back, and a query that the schema does not allow is refused, as the vendor would.
"""

import json

import graphql
from graphql import GraphQLError
from graphql.language import ast

from vendors.core import Refused, Reply, Vendor


class GraphQL(Vendor):
    """Executes the queries that are posted to it."""

    sdl = ""
    """The schema, in the vendor's shape."""

    def execute(self, call):
        """Answers a posted query: parsed, validated, priced, executed, in this order. For the handler of the POST."""
        body = call.json
        if not isinstance(body, dict) or not isinstance(body.get("query"), str):
            raise self.refusal("BAD_REQUEST", [GraphQLError("POST body missing, invalid, or has no query.")])
        variables = body.get("variables") or {}
        try:
            document = graphql.parse(body["query"])
        except GraphQLError as error:
            raise self.refusal("GRAPHQL_PARSE_FAILED", [error]) from None
        if errors := graphql.validate(self.schema(), document):
            raise self.refusal("GRAPHQL_VALIDATION_FAILED", errors)
        self.checked(document, variables, body.get("operationName"))
        points = self.cost(document, variables)
        headers = self.priced(call, points) or {}
        answer = graphql.execute(self.schema(), document, self, call, variables, body.get("operationName"),
                                 field_resolver=self.resolve)
        for error in answer.errors or []:
            # A fault of the vendor's own code is none of the vendor's answers.
            if error.original_error and not isinstance(error.original_error, (GraphQLError, Refused)):
                raise error.original_error
            if isinstance(error.original_error, Refused):
                raise error.original_error
        reply = {}
        if answer.errors:
            reply["errors"] = [self.error(error) for error in answer.errors]
        reply["data"] = answer.data
        return Reply(self.finished(reply, points), headers=headers)

    def path_of(self, route):
        """Queries have no paths."""

    # ------------------------------------------------------------ what a vendor may have in its own way

    def cost(self, document, variables):
        """What a query costs in points; see `walk`. Without this: nothing."""
        return 0

    def priced(self, call, points):
        """Refuses a query that costs too much (raise `Refused`), or gives the headers that tell of its cost."""

    def finished(self, reply, points):
        """The body of an answer, before it goes."""
        return reply

    def error(self, error, code=None):
        """An error in GraphQL's form."""
        form = {"message": error.message}
        if error.locations:
            form["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
        if error.path:
            form["path"] = list(error.path)
        extensions = {**({"code": code} if code else {}), **(error.extensions or {})}
        if extensions:
            form["extensions"] = extensions
        return form

    def refusal(self, code, errors, status=400):
        """The refusal of a whole query: nothing was executed."""
        return Refused(status, {"errors": [self.error(error, code) for error in errors]})

    # ------------------------------------------------------------ schema and execution

    @classmethod
    def schema(cls):
        """The schema, built once for each vendor."""
        if "_schema" not in cls.__dict__:
            cls._schema = graphql.build_schema(cls.sdl)
        return cls._schema

    def checked(self, document, variables, name):
        """Refuses variables that do not fit their types, as a server does before it executes."""
        operation = self.operation(document, name)
        values = graphql.execution.values.get_variable_values(
            self.schema(), operation.variable_definitions or (), variables)
        if isinstance(values, list):
            raise self.refusal("INVALID_INPUT", values)

    @staticmethod
    def operation(document, name=None):
        """The operation that is to be executed."""
        operations = [node for node in document.definitions if isinstance(node, ast.OperationDefinitionNode)]
        return next((one for one in operations if name and one.name and one.name.value == name), operations[0])

    def resolve(self, row, info, **arguments):
        """The value of a field: a method of that name, else what the row has."""
        kind, field = info.parent_type.name, info.field_name
        if row is self:
            return getattr(self, f"query_{field}")(info, **arguments)
        if method := getattr(self, f"{kind}_{field}", None):
            return method(row, info, **arguments)
        return row[field]

    # ------------------------------------------------------------ help for costs

    def walk(self, document, variables, name=None):
        """The fields that a query selects, as a tree: `(field, type, parent, arguments, [children])` each, where type
        and parent are names of the schema's types, and arguments are values. Fragments are followed."""
        operation = self.operation(document, name)
        kind = self.schema().get_root_type(operation.operation)
        fragments = {node.name.value: node for node in document.definitions if isinstance(node, ast.FragmentDefinitionNode)}
        defaults = {node.variable.name.value: node.default_value and graphql.value_from_ast_untyped(node.default_value)
                    for node in operation.variable_definitions or ()}

        def value(node):
            if isinstance(node, ast.VariableNode):
                return variables.get(node.name.value, defaults.get(node.name.value))
            return graphql.value_from_ast_untyped(node, variables)

        def fields(selections, of):
            for node in selections.selections if selections else ():
                if isinstance(node, ast.FieldNode):
                    named = node.name.value
                    if named.startswith("__"):
                        yield named, "String", of.name, {}, []
                        continue
                    to = graphql.get_named_type(of.fields[named].type)
                    arguments = {one.name.value: value(one.value) for one in node.arguments or ()}
                    yield named, to.name, of.name, arguments, list(fields(node.selection_set, to))
                elif isinstance(node, ast.InlineFragmentNode):
                    to = self.schema().type_map[node.type_condition.name.value] if node.type_condition else of
                    yield from fields(node.selection_set, to)
                else:
                    fragment = fragments[node.name.value]
                    yield from fields(fragment.selection_set, self.schema().type_map[fragment.type_condition.name.value])

        return list(fields(operation.selection_set, kind))

    def is_leaf(self, name):
        """Is it a scalar or an enum?"""
        return graphql.is_leaf_type(self.schema().type_map[name])


def connection(rows, first=None, after=None, default=50, most=250, place=lambda row: row["id"], cursor=None):
    """One page of a Relay connection of rows that are in order. The cursor is the place of the page's last row; a page
    begins behind it, also where that row has gone. `cursor` turns places into the vendor's cursors and is called with
    the place (`to`) or the text (`back`); without it a place is its own cursor, as it is in JSON."""
    to, back = cursor or (lambda it: json.dumps(it), lambda text: json.loads(text))
    first = default if first is None else first
    if not isinstance(first, int) or not 0 <= first <= most:
        raise GraphQLError(f"Argument Validation Error: first must be between 0 and {most}",
                           extensions={"code": "INVALID_INPUT"})
    places = [place(row) for row in rows]
    start = 0
    if after is not None:
        try:
            at = back(after)
        except ValueError:
            raise GraphQLError("Invalid cursor.", extensions={"code": "INVALID_INPUT"}) from None
        at = tuple(at) if isinstance(at, list) else at
        # Where it stands, or where it stood.
        start = places.index(at) + 1 if at in places else sum(1 for one in places if behind(one, at, places))
    page, marks = rows[start:start + first], [to(one) for one in places[start:start + first]]
    return {
        "nodes": page,
        "edges": [{"node": row, "cursor": mark} for row, mark in zip(page, marks)],
        "pageInfo": {
            "hasNextPage": start + first < len(rows),
            "hasPreviousPage": start > 0,
            "startCursor": marks[0] if marks else None,
            "endCursor": marks[-1] if marks else None,
        },
        "totalCount": len(rows),
    }


def behind(one, at, places):
    """Does a place come before another one, in the order in which they are?"""
    descending = len(places) > 1 and places[0] > places[-1]
    return one > at if descending else one < at
