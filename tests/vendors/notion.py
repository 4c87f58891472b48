"""A Notion-shaped vendor in a box (version 2025-09-03), made from Notion's OpenAPI file and the response types of its SDK.

The OpenAPI file describes requests alone: calls are checked against it, answers are not. Times are in whole minutes; a query gives `most`
rows at most. Assumed, as no source says it: a comment leaves its page's `last_edited_time` as it is, search finds everything.
"""
import datetime
import json
import sys
import uuid

if __name__ == "__main__":
    sys.path[0] = str(__import__("pathlib").Path(__file__).resolve().parents[1])
from vendors.core import Refused, Reply, Stream, Vendor, main, moment_of, route, stamp

API = "/v1"
TOKEN = "ntn_1234567890abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"
OPTIONS = [{"id": f"o{n}", "name": name, "color": color} for n, (name, color) in enumerate([("Low", "gray"), ("Hoch, sehr", "red"), ("Fertig", "green")])]
KINDS = ("title rich_text number select multi_select status date people files checkbox url email phone_number formula relation rollup created_time "
         "created_by last_edited_by unique_id verification place button").split()


def minute(moment):
    """A time as Notion writes it."""
    return f"{moment:%Y-%m-%dT%H:%M}:00.000Z"


def text(value):
    """A JSON text as Jinja's `tojson` writes it."""
    out = json.dumps(value, sort_keys=True)
    for mark, code in (("<", "u003c"), (">", "u003e"), ("&", "u0026"), ("'", "u0027")):
        out = out.replace(mark, "\\" + code)
    return out


def rich(words):
    """A rich text of two pieces."""
    style = {"bold": False, "italic": False, "strikethrough": False, "underline": False, "code": False, "color": "default"}
    return [{"type": "text", "text": {"content": piece, "link": None}, "annotations": style, "plain_text": piece, "href": None} for piece in (words, "!")]


class Notion(Vendor):
    """Notion: one workspace with data sources, pages in and outside of them, blocks and comments."""

    source, specified = "notion", True
    mistaken = "sorts/0: 'property' is a required property"  # a timestamp will do, as Notion's page about sorting has it
    most = 10_000
    streams = {
        "users": Stream(key=["id"]), "data_sources": Stream(key=["id"]), "databases": Stream(key=["id"]),
        # The bookmark's minute is read again, and the one that lies before it where the bookmark waits for things to settle.
        "pages": Stream(key=["id"], cursor="last_edited_time", per=lambda page: page["data_source_id"], overlap=60),
        "standalone_pages": Stream(key=["id"], cursor="last_edited_time", overlap=60),
        # All top blocks of a page that changed come again.
        "blocks": Stream(key=["id"], cursor="last_edited_time", loose=True),
        "comments": Stream(key=["id"]),
    }

    # ------------------------------------------------------------ the account

    def fill(self, random, size):
        rows, self.hidden, self.below = self.rows, set(), {}
        for n in range(5):
            key = self.uuid()
            rows["users"][key] = {"object": "user", "id": key, "name": self.name(), "avatar_url": None} | (
                {"type": "bot", "bot": {"owner": {"type": "workspace", "workspace": True}, "workspace_id": "w", "workspace_name": "Acme",
                                        "workspace_limits": {"max_file_upload_size_in_bytes": 5242880}}}
                if n == 4 else {"type": "person", "person": {"email": f"user{n}@example.com"}})
        for n in range(3):
            base = self.uuid()
            rows["databases"][base] = {
                "object": "database", **self.about(base), "title": rich(f"base {n}"), "description": [], "parent": {"type": "workspace", "workspace": True},
                "is_inline": False, "is_locked": False, "data_sources": []}
            del rows["databases"][base]["created_by"], rows["databases"][base]["last_edited_by"]
            for _ in range(2 if n == 1 else 1):
                self.data_source(base)
        homes = list(rows["data_sources"])
        weights = [8 if n == 1 else 1 for n in range(len(homes))]
        for _ in range(size):
            self.page(random.choices(homes, weights)[0], self.past(), trash=random.random() < 0.03)
        for _ in range(max(3, size // 8)):
            self.page(None, self.past())
        for n, page in enumerate(list(rows["pages"].values())):
            for _ in range(130 if n == 2 else random.choice([0, 0, 1, 3])):
                self.block(page, moment_of(page["last_edited_time"]))
            for _ in range(random.choice([0, 0, 0, 1, 2])):
                self.comment(page, self.past())

    def uuid(self):
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def who(self):
        return {"object": "user", "id": self.random.choice(list(self.rows["users"]))}

    def about(self, key, at=None):
        """What databases, data sources and pages have in common."""
        at = minute(at or self.past())
        return {"id": key, "created_time": at, "last_edited_time": at, "created_by": self.who(), "last_edited_by": self.who(), "in_trash": False, "archived": False,
                "icon": self.random.choice([None, {"type": "emoji", "emoji": "🚀"}]), "cover": None, "url": f"https://www.notion.so/{key.replace('-', '')}",
                "public_url": None}

    def data_source(self, base):
        key = self.uuid()
        set_up = {"select": {"options": OPTIONS}, "multi_select": {"options": OPTIONS}, "number": {"format": "euro"}, "formula": {"expression": "1 < 2"}}
        self.rows["data_sources"][key] = {
            "object": "data_source", **self.about(key), "title": rich(self.name()), "description": rich("über"), "is_inline": False,
            "parent": {"type": "database_id", "database_id": base}, "database_parent": {"type": "workspace", "workspace": True},
            "properties": {f"{kind} it's": {"id": f"{n:02}%3A", "name": f"{kind} it's", "description": None, "type": kind, kind: set_up.get(kind, {})}
                           for n, kind in enumerate(KINDS)}}
        self.rows["databases"][base]["data_sources"].append({"id": key, "name": "rows"})

    def value(self, kind, dice):
        """A property's value, as its type has it."""
        some, users = dice.choice, list(self.rows["users"].values())
        return {
            "title": lambda: rich(self.name(dice)), "rich_text": lambda: some([[], rich(self.name(dice))]), "number": lambda: some([None, 3, -1.5, 0]),
            "select": lambda: some([None, *OPTIONS]), "multi_select": lambda: dice.sample(OPTIONS, dice.randrange(3)), "status": lambda: some(OPTIONS),
            "date": lambda: some([None, {"start": "2024-02-03", "end": None, "time_zone": None},
                                  {"start": "2024-02-03T10:00:00.000+01:00", "end": "2024-02-04T10:00:00.000+01:00", "time_zone": None}]),
            "people": lambda: dice.sample(users, dice.randrange(3)),
            "files": lambda: some([[], [{"name": "x & y.png", "type": "external", "external": {"url": "https://files.example.com/x"}}]]),
            "checkbox": lambda: some([True, False]), "url": lambda: some([None, "https://example.com/?a=1&b=2"]), "email": lambda: None,
            "phone_number": lambda: "007", "formula": lambda: some([{"type": "string", "string": self.name(dice)}, {"type": "number", "number": 12.5},
                                                                    {"type": "boolean", "boolean": True}, {"type": "date", "date": None}]),
            "relation": lambda: [{"id": f"r{n}"} for n in range(dice.randrange(3))],
            "rollup": lambda: some([{"type": "number", "number": 7, "function": "count"}, {"type": "array", "array": [], "function": "show_original"}]),
            "created_time": lambda: "2024-02-03T10:00:00.000Z", "created_by": lambda: users[0], "last_edited_by": self.who,
            "unique_id": lambda: some([{"prefix": "ACME", "number": 12}, {"prefix": None, "number": 13}]), "verification": lambda: {"state": "unverified", "verified_by": None, "date": None},
            "place": lambda: None, "button": lambda: {}}[kind]()

    def page(self, home, at, trash=False):
        key, dice = self.uuid(), self.random
        kinds = KINDS if home else ["title"]
        self.rows["pages"][key] = made = {
            "object": "page", **self.about(key, at), "in_trash": trash, "archived": trash, "is_locked": False,
            "parent": {"type": "data_source_id", "data_source_id": home, "database_id": self.rows["data_sources"][home]["parent"]["database_id"]} if home
            else {"type": "workspace", "workspace": True},
            "properties": {f"{kind} it's" if home else "title": {"id": "title" if kind == "title" else f"{n:02}%3A", "type": kind, kind: self.value(kind, dice)}
                           for n, kind in enumerate(kinds)}}
        return made

    def block(self, page, at):
        key, dice = self.uuid(), self.random
        kind = dice.choice(["paragraph", "to_do", "heading_1", "image", "divider", "child_page"])
        content = {"paragraph": {"rich_text": rich(self.name()), "color": "default"}, "to_do": {"rich_text": rich("do"), "checked": False, "color": "default"},
                   "heading_1": {"rich_text": rich("head"), "color": "default", "is_toggleable": False}, "divider": {}, "child_page": {"title": "below"},
                   "image": {"type": "external", "external": {"url": "https://files.example.com/x"}, "caption": rich("a picture")}}[kind]
        at = page["last_edited_time"] if isinstance(at, float) else minute(at)
        self.rows["blocks"][key] = (page["id"], {
            "object": "block", "id": key, "parent": {"type": "page_id", "page_id": page["id"]}, "created_time": at, "last_edited_time": at, "created_by": self.who(),
            "last_edited_by": self.who(), "has_children": False, "in_trash": False, "archived": False, "type": kind, kind: content})
        self.below.setdefault(("blocks", page["id"]), []).append(self.rows["blocks"][key][1])
        return key

    def comment(self, page, at):
        key = self.uuid()
        self.rows["comments"][key] = (page["id"], {
            "object": "comment", "id": key, "parent": {"type": "page_id", "page_id": page["id"]}, "discussion_id": self.uuid(), "created_time": minute(at),
            "last_edited_time": minute(at), "created_by": self.who(), "rich_text": rich(self.name()), "display_name": {"type": "user", "resolved_name": "Ü"}})
        self.below.setdefault(("comments", page["id"]), []).append(self.rows["comments"][key][1])
        return key

    # ------------------------------------------------------------ for the driver

    def config(self, **more):
        return {"access_token": TOKEN, "api_url": self.url + API, **({"requests_per_second": 200} if self.size > 5000 else {}), **more}

    def bad_config(self):
        return self.config(access_token="ntn_wrong")

    def throttle(self):
        return Refused(429, self.fault(429, "rate_limited", "You have been rate limited. Please try again in a few minutes."), {"Retry-After": "1"})

    @staticmethod
    def fault(status, code, message):
        return {"object": "error", "status": status, "code": code, "message": message, "request_id": "r"}

    def shown(self, row):
        """A page as the tap gives it."""
        properties = []
        for name, one in row["properties"].items():
            kind = one["type"]
            value = one[kind]
            inner = value.get(value.get("type")) if isinstance(value, dict) else None
            if value is None or isinstance(value, str):
                display = value
            elif isinstance(value, (bool, int, float)):
                display = text(value)
            elif kind in ("title", "rich_text"):
                display = "".join(piece["plain_text"] for piece in value)
            elif kind in ("multi_select", "people", "files"):
                display = ", ".join(item["name"] for item in value)
            elif kind == "relation":
                display = ", ".join(item["id"] for item in value)
            elif kind in ("select", "status", "created_by", "last_edited_by"):
                display = value.get("name")
            elif kind == "date":
                display = value["start"] + (f"/{value['end']}" if value["end"] else "")
            elif kind == "unique_id":
                display = (f"{value['prefix']}-" if value["prefix"] else "") + str(value["number"])
            else:
                display = value["state"] if kind == "verification" else inner if isinstance(inner, str) else text(inner) if isinstance(inner, (bool, int, float)) else None
            properties.append({"id": one["id"], "name": name, "type": kind, "value": value if value is None or isinstance(value, str) else text(value),
                               "display_value": display})
        home = row["parent"].get("data_source_id")
        return {**row, "properties": properties, "title": next(one["display_value"] for one in properties if one["type"] == "title"),
                **({"data_source_id": home} if home else {})}

    def visible(self, page):
        return not page["in_trash"] and page["id"] not in self.hidden and page["parent"].get("data_source_id") not in self.hidden

    def truth(self, stream):
        rows = self.rows
        plain = lambda pieces: "".join(piece["plain_text"] for piece in pieces)
        if stream in ("pages", "standalone_pages"):
            return {key: self.shown(row) for key, row in rows["pages"].items()
                    if self.visible(row) and ("data_source_id" in row["parent"]) == (stream == "pages")}
        if stream == "data_sources":
            return {key: {**row, "name": plain(row["title"]), "properties": [
                {"id": one["id"], "name": name, "type": one["type"], "description": None, "set_up": text(one[one["type"]])}
                for name, one in row["properties"].items()]} for key, row in rows[stream].items()}
        if stream == "databases":
            return {key: {**row, "name": plain(row["title"])} for key, row in rows[stream].items()}
        if stream == "comments":
            return {key: {**row, "page_id": page, "plain_text": plain(row["rich_text"])} for key, (page, row) in rows[stream].items() if self.visible(rows["pages"][page])}
        if stream == "blocks":
            found = {}
            for key, (page, row) in rows["blocks"].items():
                if self.visible(rows["pages"][page]):
                    content = row[row["type"]]
                    found[key] = {**{k: v for k, v in row.items() if k not in (row["type"], "archived")}, "page_id": page, "content": text(content),
                                  "plain_text": plain(content.get("rich_text") or content.get("caption") or [])}
            return found
        return dict(rows[stream])

    def edit(self, random):
        """Pages change and come, blocks and comments too."""
        rows, changed = self.rows, set()
        kind_of = lambda page: "pages" if "data_source_id" in page["parent"] else "standalone_pages"
        for page in random.sample([page for page in rows["pages"].values() if self.visible(page)], 4):
            name, one = random.choice(list(page["properties"].items()))
            at = self.now()
            page |= {"last_edited_time": minute(at), "properties": {**page["properties"], name: {**one, one["type"]: self.value(one["type"], random)}}}
            changed |= {(kind_of(page), page["id"]), ("blocks", self.block(page, at)), ("comments", self.comment(page, at))}
        homes = [home for home in rows["data_sources"] if home not in self.hidden]
        for home in (random.choice(homes), random.choice(homes), None):
            page = self.page(home, self.now())
            changed.add((kind_of(page), page["id"]))
        return changed

    def forbid(self):
        """A data source that is no longer shared after search found it."""
        home = min(self.rows["data_sources"], key=lambda key: sum(page["parent"].get("data_source_id") == key for page in self.rows["pages"].values()))
        before = {stream: set(self.truth(stream)) for stream in ("pages", "blocks", "comments")}
        self.hidden.add(home)
        return {stream: sorted(keys - set(self.truth(stream))) for stream, keys in before.items()}

    def expire_page_token(self):
        self.token_expires = True

    def archive(self):
        page = next(page for page in self.rows["pages"].values() if self.visible(page) and "data_source_id" in page["parent"])
        page |= {"in_trash": True, "archived": True, "last_edited_time": minute(self.now())}
        return {"include_trash": True}, "pages", page["id"]

    # ------------------------------------------------------------ answers

    def path_of(self, route):
        """OAuth is in no file."""
        return None if "/oauth/" in route else route

    def authorized(self, call, query=(), body=()):
        if call.headers.get("Authorization") not in (f"Bearer {TOKEN}", "Bearer renewed"):
            raise Refused(401, self.fault(401, "unauthorized", "API token is invalid."))
        if call.headers.get("Notion-Version") != "2025-09-03":
            raise Refused(400, self.fault(400, "missing_version", "Notion-Version header failed validation: it should be defined, instead was undefined."))
        unknown = {*call.query} - {*query} | ({*(call.json or {})} - {*body})
        if unknown:
            raise Refused(400, self.fault(400, "validation_error", f"failed validation: {sorted(unknown)} should be not present"))

    def paged_list(self, call, kind, found, name=None):
        """A page of a list."""
        asked = call.json or call.query
        size, first = int(asked.get("page_size", 100)), 0
        if size > 100:
            raise Refused(400, self.fault(400, "validation_error", "page_size should be ≤ 100"))
        self.paged(call, name)
        if asked.get("start_cursor"):
            first = self.take_token(asked["start_cursor"])
            if first is None:
                raise Refused(400, self.fault(400, "validation_error", f"The start_cursor provided is invalid: {asked['start_cursor']}."))
            first = next((n for n, row in enumerate(found) if row["id"] == first[0]), first[1])
        capped, end = len(found) > self.most, min(len(found), self.most, first + size)
        more = end < min(len(found), self.most)
        return {"object": "list", "results": found[first:end], "has_more": more, "type": kind, kind: {}, "request_id": "r",
                "next_cursor": self.give_token((found[end]["id"], end)) if more else None,
                **({"request_status": {"type": "incomplete", "incomplete_reason": "query_result_limit_reached"}} if capped else {})}

    def shared(self, key):
        if key in self.hidden or key not in self.rows["pages"] and key not in self.rows["data_sources"] and key not in self.rows["databases"]:
            raise Refused(404, self.fault(404, "object_not_found", f"Could not find it with ID: {key}. Make sure the relevant pages and databases are shared with your integration."))

    @route("GET", API + "/users")
    def users(self, call):
        self.authorized(call, ("start_cursor", "page_size"))
        return self.paged_list(call, "user", list(self.rows["users"].values()))

    @route("POST", API + "/search")
    def search(self, call):
        self.authorized(call, body=("query", "sort", "filter", "start_cursor", "page_size"))
        kind = call.json["filter"]["value"]
        found = [row for row in self.rows["pages" if kind == "page" else "data_sources"].values() if not row["in_trash"] and (kind != "page" or self.visible(row))]
        found.sort(key=lambda row: (row["last_edited_time"], row["id"]), reverse=call.json["sort"]["direction"] == "descending")
        return self.paged_list(call, "page_or_data_source", found, name=f"search {kind}")

    @route("GET", API + "/databases/{base}")
    def database(self, call):
        self.authorized(call)
        self.shared(call.params["base"])
        return {**self.rows["databases"][call.params["base"]], "request_id": "r"}

    @route("POST", API + "/data_sources/{home}/query")
    def query(self, call):
        self.authorized(call, ("filter_properties",), ("filter", "sorts", "start_cursor", "page_size", "in_trash", "archived"))
        home, asked = call.params["home"], call.json
        self.shared(home)
        since = moment_of(asked["filter"]["last_edited_time"]["on_or_after"]) if "filter" in asked else 0
        since = stamp(datetime.datetime.fromtimestamp(since, datetime.timezone.utc))  # written as the rows' times are
        found = [row for row in self.rows["pages"].values() if row["parent"].get("data_source_id") == home and row["in_trash"] is asked.get("in_trash", False)
                 and row["last_edited_time"] >= since and row["id"] not in self.hidden]
        for sort in asked.get("sorts", []):
            found.sort(key=lambda row: (row[sort["timestamp"]], row["id"]), reverse=sort["direction"] == "descending")
        return self.paged_list(call, "page_or_data_source", found, name=f"{call.path} {asked.get('in_trash')}")

    @route("GET", API + "/blocks/{page}/children")
    def blocks(self, call):
        self.authorized(call, ("start_cursor", "page_size"))
        self.shared(call.params["page"])
        return self.paged_list(call, "block", self.below.get(("blocks", call.params["page"]), []))

    @route("GET", API + "/comments")
    def comments(self, call):
        self.authorized(call, ("block_id", "start_cursor", "page_size"))
        self.shared(call.query.get("block_id"))
        return self.paged_list(call, "comment", self.below.get(("comments", call.query["block_id"]), []), name=f"comments {call.query['block_id']}")

    @route("POST", API + "/oauth/token")
    def token(self, call):
        asked = call.json or call.form
        if not (call.headers.get("Authorization") or "").startswith("Basic ") or asked.get("refresh_token") != "first":
            return Reply({"error": "invalid_grant"}, status=400)
        return {"access_token": "renewed", "token_type": "bearer", "refresh_token": "second", "bot_id": "b", "workspace_id": "w"}


if __name__ == "__main__":
    main(Notion)
