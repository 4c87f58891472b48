"""A monday.com-shaped vendor, made from monday's own schema (the parts of API version 2026-10 that its users ask for) and documentation.

It answers what a query asks for and nothing else, gives fewer rows a page than it is asked for, forgets cursors, hides boards, and
reports limits in the ways monday does: beside a 200 and as a 429, with `retry_in_seconds`. Where the documentation is silent (the
error of an expired cursor, what a board that is out of reach answers), the form is an assumption and marked so.

usage: python tests/vendors/monday.py [--port N]        (the token is monday-test-token)
"""
import datetime
import hashlib
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from graphql import GraphQLError  # noqa: E402

from vendors.core import Refused, Stream, main, route  # noqa: E402
from vendors.graphql import GraphQL  # noqa: E402

TOKEN = "monday-test-token"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
# Columns of each kind: type, GraphQL type, a text and a raw value of a number.
KINDS = {
    "status": ("StatusValue", lambda n: (["Working on it", "Done", "Stück"][n % 3], {"index": n % 3, "changed_at": "2024-01-02T03:04:05.678Z"})),
    "people": ("PeopleValue", lambda n: (f"User {n % 7}", {"personsAndTeams": [{"id": n % 7, "kind": "person"}]})),
    "date": ("DateValue", lambda n: (f"2024-0{n % 9 + 1}-11", {"date": f"2024-0{n % 9 + 1}-11", "time": None})),
    "numbers": ("NumbersValue", lambda n: (str(n / 4), str(n / 4))),
    "text": ("TextValue", lambda n: (f"naïve — 報告 {n}", f"naïve — 報告 {n}")),
    "long_text": ("LongTextValue", lambda n: (f"line\n{n}", {"text": f"line\n{n}"})),
    "checkbox": ("CheckboxValue", lambda n: ("v" if n % 2 else "", {"checked": "true"} if n % 2 else None)),
    "timeline": ("TimelineValue", lambda n: ("2024-01-01 - 2024-02-01", {"from": "2024-01-01", "to": "2024-02-01"})),
    "dropdown": ("DropdownValue", lambda n: ("a, b", {"ids": [1, 2]})),
    "tags": ("TagsValue", lambda n: ("urgent", {"tag_ids": [n % 5]})),
    "mirror": ("MirrorValue", lambda n: (None, None)),
    "board_relation": ("BoardRelationValue", lambda n: (None, {"linkedPulseIds": [{"linkedPulseId": n}]})),
    "dependency": ("DependencyValue", lambda n: (None, None)),
    "formula": ("FormulaValue", lambda n: ("", None)),
}
DISPLAYED = {"MirrorValue", "BoardRelationValue", "DependencyValue"}

SDL = """
scalar Date
scalar ISO8601DateTime
scalar JSON
scalar CompareValue
enum State { active all archived deleted }
enum BoardKind { private public share }
enum BoardHierarchy { classic multi_level }
enum BoardObjectType { board custom_object document sub_items_board }
enum BoardsOrderBy { created_at used_at }
enum WorkspacesOrderBy { created_at }
enum WorkspaceKind { closed open template }
enum WorkspaceMembershipKind { all member }
enum UserStatus { ACTIVE INACTIVE PENDING }
enum ItemsOrderByDirection { asc desc }
enum ColumnCapability { CALCULATED VISIBILITY }
enum ItemsQueryOperator { and or }
enum ItemsQueryRuleOperator { any_of not_any_of greater_than greater_than_or_equals lower_than }
enum ColumnType { """ + " ".join([*KINDS, "name", "subtasks"]) + """ }
input ItemsQueryOrderBy { column_id: String! direction: ItemsOrderByDirection }
input ItemsQueryRule { column_id: ID! compare_attribute: String compare_value: CompareValue! operator: ItemsQueryRuleOperator }
input ItemsQuery { ids: [ID!] operator: ItemsQueryOperator order_by: [ItemsQueryOrderBy!] rules: [ItemsQueryRule!] }
type Complexity { after: Int! before: Int! query: Int! reset_in_x_seconds: Int! }
type AccountProduct { id: ID kind: String tier: String default_workspace_id: ID }
type PhotoUrl { original: String small: String thumb: String thumb_small: String tiny: String }
type OutOfOffice { active: Boolean disable_notifications: Boolean end_date: Date start_date: Date type: String }
type CustomFieldValue { custom_field_meta_id: String value: String }
type User {
  id: ID! name: String! email: String! kind: String! status: UserStatus! title: String! location: String phone: String mobile_phone: String
  birthday: String country_code: String time_zone_identifier: String utc_hours_diff: Float current_language: String
  created_at: ISO8601DateTime! became_active_at: ISO8601DateTime last_activity: Date is_deleted: Boolean! is_email_confirmed: Boolean!
  invitation_method: String! url: String! account_id: ID! photo_url: PhotoUrl out_of_office: OutOfOffice
  custom_field_values: [CustomFieldValue]
}
type Team { id: ID! name: String! is_guest: Boolean picture_url: String created_at: String owners: [User!]! users: [User] }
type Tag { id: ID! name: String! color: String! }
type Workspace {
  id: ID name: String! description: String kind: WorkspaceKind state: State is_default_workspace: Boolean created_at: Date
  account_product: AccountProduct owners_subscribers: [User] team_owners_subscribers: [Team!]
}
type Group { id: ID! title: String! color: String! position: String! archived: Boolean deleted: Boolean }
type Column { id: ID! title: String! type: ColumnType! description: String archived: Boolean! width: Int settings: JSON }
type BatteryValueItem { count: Int! key: ID! }
interface ColumnValue { id: ID! type: ColumnType! text: String value: JSON column: Column! is_leaf: Boolean! }
""" + "\n".join(f"type {name} implements ColumnValue {{ id: ID! type: ColumnType! text: String value: JSON column: Column! is_leaf: Boolean! "
                + ("display_value: String! " if name in {*DISPLAYED, "FormulaValue"} else "")
                + ("battery_value: [BatteryValueItem!]! " if name == "BatteryValue" else "") + "}"
                for name in [*(name for name, _ in KINDS.values()), "BatteryValue"]) + """
type Item {
  id: ID! name: String! state: State created_at: Date updated_at: Date creator_id: String! email: String! url: String! relative_link: String
  board: Board group: Group parent_item: Item subitems: [Item]
  column_values(capabilities: [ColumnCapability!], ids: [String!], types: [ColumnType!]): [ColumnValue!]!
}
type ItemsResponse { cursor: String items: [Item!]! }
type Asset { id: ID! name: String! file_extension: String! file_size: Int! created_at: Date }
type Like { id: ID! creator_id: String reaction_type: String created_at: Date }
type Reply { id: ID! creator_id: String body: String! text_body: String created_at: Date updated_at: Date edited_at: Date! }
type Update {
  id: ID! item_id: String creator_id: String body: String! text_body: String created_at: Date updated_at: Date edited_at: Date!
  replies: [Reply!] likes: [Like!]! assets: [Asset]
}
type ActivityLogType { id: String! event: String! entity: String! user_id: String! account_id: String! created_at: String! data: String! }
type Board {
  id: ID! name: String! description: String state: State! type: BoardObjectType board_kind: BoardKind! hierarchy_type: BoardHierarchy
  permissions: String! item_terminology: String items_count: Int url: String! created_at: ISO8601DateTime updated_at: ISO8601DateTime
  workspace_id: ID board_folder_id: ID creator: User! owners: [User]! team_owners: [Team!] top_group: Group!
  groups(ids: [String]): [Group] columns(ids: [String], types: [ColumnType!]): [Column]
  items_page(cursor: String, hierarchy_scope_config: String, limit: Int! = 25, query_params: ItemsQuery): ItemsResponse!
  updates(board_updates_only: Boolean, from_date: ISO8601DateTime, ids: [ID!], limit: Int = 25, page: Int = 1, to_date: ISO8601DateTime): [Update!]
  activity_logs(column_ids: [String], from: ISO8601DateTime, group_ids: [String], item_ids: [ID!], limit: Int = 25, page: Int = 1,
                to: ISO8601DateTime, user_ids: [ID!]): [ActivityLogType]
}
type Query {
  complexity: Complexity
  boards(board_kind: BoardKind, hierarchy_types: [BoardHierarchy!], ids: [ID!], latest: Boolean, limit: Int = 25, order_by: BoardsOrderBy,
         page: Int = 1, state: State = active, workspace_ids: [ID]): [Board]
  next_items_page(cursor: String!, limit: Int! = 25): ItemsResponse!
  workspaces(ids: [ID!], kind: WorkspaceKind, limit: Int = 25, membership_kind: WorkspaceMembershipKind, order_by: WorkspacesOrderBy,
             page: Int = 1, state: State = active): [Workspace]
  users(emails: [String!], ids: [ID!], limit: Int = 200, name: String, page: Int = 1, status: [UserStatus!]): [User]
  teams(ids: [ID!]): [Team]
  tags(ids: [ID!]): [Tag]
}
"""


def seconds(moment):
    """A time as monday writes it."""
    return f"{moment.astimezone(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def asked_time(text):
    """A time from a query."""
    try:
        return datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise GraphQLError(f"invalid ISO8601DateTime: {text}", extensions={"code": "InvalidArgumentException", "status_code": 200}) from None


class Monday(GraphQL):
    """The account. Switches beside those of every vendor: `at_most`, how many rows a page has at most, whatever is asked for; `most`,
    the points that one query may cost."""

    source, sdl = "monday", SDL
    streams = {
        "workspaces": Stream(key=["id"]),
        "boards": Stream(key=["id"]),
        "groups": Stream(key=["board_id", "id"]),
        "columns": Stream(key=["board_id", "id"]),
        "items": Stream(key=["id"], cursor="updated_at", per=lambda record: record["board"]["id"]),
        "subitems": Stream(key=["id"], cursor="updated_at", per=lambda record: record["board"]["id"]),
        "updates": Stream(key=["id"], cursor="changed_at", per=lambda record: record["board_id"]),
        "activity_logs": Stream(key=["id"], cursor="logged_at", per=lambda record: record["board_id"], overlap=1),
        "users": Stream(key=["id"]),
        "teams": Stream(key=["id"]),
        "tags": Stream(key=["id"]),
    }
    at_most = {"boards": 3, "items": 15, "updates": 10, "activity_logs": 25, "users": 5, "workspaces": 2}
    most = 5_000_000

    # ------------------------------------------------------------ the data

    def new_id(self):
        """An id that is none's."""
        self.next_id += self.random.randrange(1, 90)
        return str(self.next_id)

    def fill(self, random, size):
        """The account. Most objects are the same for any size; there are `size` items and subitems."""
        self.next_id, self.unreachable, self.mute, self.throttled, self.points = 1_000_000_000 + self.seed * 10**6, set(), set(), 0, 0
        if size > 1000:  # a large account has the page sizes that are asked for
            self.at_most = dict.fromkeys(self.at_most, 1000)
        rows = self.rows
        for n in range(7):
            made = self.new_id()
            rows["users"][made] = {
                "id": made, "name": f"{self.name()} {n}", "email": f"user{n}@acme.example", "kind": ["admin", "member", "guest"][n % 3],
                "status": ["ACTIVE", "ACTIVE", "INACTIVE", "PENDING"][n % 4], "title": "", "location": "Ulm" if n % 2 else None, "phone": None,
                "mobile_phone": None, "birthday": "1990-02-03" if n == 1 else None, "country_code": "DE", "time_zone_identifier": "Europe/Berlin",
                "utc_hours_diff": 5.5 if n == 2 else 1.0, "current_language": "en", "created_at": seconds(self.past()),
                "became_active_at": seconds(self.past()) if n % 4 != 3 else None, "last_activity": seconds(self.past()) if n else None,
                "is_deleted": False, "is_email_confirmed": n % 4 != 3, "invitation_method": "USER", "url": f"https://acme.monday.com/users/{made}",
                "account_id": "77", "photo_url": {"original": f"https://files.example/{n}.png", "thumb": f"https://files.example/{n}t.png"} if n % 2 else None,
                "out_of_office": {"active": True, "type": "on_break", "start_date": "2024-01-01", "end_date": "2024-01-07",
                                  "disable_notifications": False} if n == 4 else None,
                "custom_field_values": [{"custom_field_meta_id": "cf1", "value": f"room {n}"}] if n == 1 else []}
        users = list(rows["users"])
        for n in range(3):
            made = self.new_id()
            rows["teams"][made] = {"id": made, "name": f"Team {self.name()}", "is_guest": n == 2, "picture_url": None, "created_at": seconds(self.past()),
                                   "owners": [rows["users"][users[n]]], "users": [rows["users"][user] for user in users[n:n + 3]]}
        for n in range(5):
            made = self.new_id()
            rows["tags"][made] = {"id": made, "name": f"#{self.name()}", "color": "#00c875"}
        for n in range(3):
            made = self.new_id()
            rows["workspaces"][made] = {
                "id": made, "name": f"{self.name()} {n}", "description": "über alles" if n else None, "kind": ["open", "closed"][n % 2],
                "state": "active", "is_default_workspace": n == 0, "created_at": seconds(self.past()), "account_product": {"id": "5", "kind": "core", "tier": "pro"},
                "owners_subscribers": [rows["users"][users[n]]], "team_owners_subscribers": []}
        places = list(rows["workspaces"])
        plain = [self.board(n, "board", "classic", [places[0], places[1], None][n % 3]) for n in range(6)]
        deep = self.board(6, "board", "multi_level", places[0])
        below = [self.board(7 + n, "sub_items_board", "classic", places[n]) for n in range(2)]
        self.board(9, "document", "classic", places[1])
        rows["boards"][self.board(10, "board", "classic", places[2])]["state"] = "deleted"
        tops = []
        for n in range(size):
            # One board has no items, a few times are shared by many.
            at = self.shared[n % 5] if n % 4 == 0 else self.past()
            kind = random.random()
            if kind < 0.65 or len(tops) < 8:
                board = plain[min(int(random.expovariate(0.7)), 4)] if n != 3 else deep
                tops.append(self.item(board, at))
            elif kind < 0.8:
                self.item(deep, at)
            elif kind < 0.9:
                parent = random.choice([item for item in tops if item["board"] in plain[:2]])
                self.item(below[plain.index(parent["board"])], at, parent)
            else:
                self.item(deep, at, random.choice([item for item in rows["items"].values() if item["board"] == deep]))
        for item in random.sample(sorted(rows["items"]), min(len(rows["items"]), size // 3)):
            if rows["boards"][rows["items"][item]["board"]]["type"] == "board":
                self.update(rows["items"][item], self.past())

    @property
    def shared(self):
        """Moments at which many items changed at once."""
        return [datetime.datetime(2024, 3, day, 9, 30, tzinfo=datetime.timezone.utc) for day in range(1, 6)]

    def board(self, n, kind, hierarchy, workspace):
        """Adds a board with its groups and columns."""
        made, user = self.new_id(), self.rows["users"][self.random.choice(list(self.rows["users"]))]
        self.rows["boards"][made] = {
            "id": made, "name": f"{self.name()} {n}", "description": None if n % 2 else "Ein Brett\nfür alles", "state": "active", "type": kind,
            "board_kind": ["public", "private", "share"][n % 3], "hierarchy_type": hierarchy, "permissions": "everyone", "item_terminology": "Item",
            "url": f"https://acme.monday.com/boards/{made}", "created_at": seconds(self.past()), "updated_at": seconds(self.past()) if n else None,
            "workspace_id": workspace, "board_folder_id": None, "creator": user, "owners": [user], "team_owners": []}
        for m in range(0 if kind == "document" else 1 + n % 3):
            group = "topics" if m == 0 else f"group_{self.seed}{m}"
            self.rows["groups"][made, group] = {"id": group, "title": f"Gruppe {m}", "color": "#037f4c", "position": f"{65536 * (m + 1)}.0",
                                                "archived": False, "deleted": False}
        kinds = list(KINDS)[:5] if kind == "sub_items_board" else list(KINDS)
        for m, column in enumerate(kinds if kind != "document" else []):
            self.rows["columns"][made, f"{column}{m}"] = {
                "id": f"{column}{m}", "title": f"{column.title()} {n}", "type": column, "description": None, "archived": False, "width": None if m else 140,
                "settings": {"labels": [{"id": 0, "label": "Working on it"}]} if column == "status" else {}}
        return made

    def value(self, board, column, n):
        """A column's value in an item."""
        about = self.rows["columns"][board, column]
        name, make = KINDS[about["type"]]
        text, value = make(n)
        made = {"__typename": name, "id": column, "type": about["type"], "text": text, "value": None if value is None else json.dumps(value),
                "column": about, "is_leaf": True}
        if name in {*DISPLAYED, "FormulaValue"}:
            made["display_value"] = "" if n % 3 == 0 else f"shown {n}, 報告"
        if name == "StatusValue" and self.rows["boards"][board]["hierarchy_type"] == "multi_level":
            made |= {"__typename": "BatteryValue", "battery_value": [{"key": "1", "count": n % 4}, {"key": "5", "count": 2}]}
        return made

    def columns_of(self, board):
        """The ids of a board's columns."""
        return [column for owner, column in self.rows["columns"] if owner == board]

    def item(self, board, at, parent=None):
        """Adds an item, or a subitem."""
        made, dice = self.new_id(), self.random
        groups = [group for owner, group in self.rows["groups"] if owner == board]
        item = self.rows["items"][made] = {
            "id": made, "name": f"{self.name()} {made[-3:]}", "state": "active", "created_at": seconds(at - datetime.timedelta(hours=dice.randrange(99))),
            "updated_at": seconds(at), "creator_id": dice.choice(list(self.rows["users"])), "email": f"pulse-{made}@acme.example",
            "url": f"https://acme.monday.com/boards/{board}/pulses/{made}", "relative_link": f"/boards/{board}/pulses/{made}", "board": board,
            "group": dice.choice(groups), "parent_item": parent and parent["id"], "values": {}}
        item["values"] = {column: self.value(board, column, dice.randrange(40)) for column in self.columns_of(board)}
        self.log(board, "create_pulse", "pulse", {"pulse_id": int(made), "pulse_name": item["name"]}, at)
        return item

    def log(self, board, event, entity, data, at):
        """Adds an entry to a board's log. Nobody reads those of hidden boards."""
        made = f"{self.seed:08x}-{len(self.rows['logs']):04x}-4000-8000-{int(board):012x}"
        ticks = (at - EPOCH) // datetime.timedelta(microseconds=1) * 10 + len(self.rows["logs"]) % 10
        self.rows["logs"][made] = {"board": board, "at": at, "id": made, "event": event, "entity": entity, "user_id": "7", "account_id": "77",
                                   "created_at": str(ticks), "data": json.dumps(data, ensure_ascii=False)}

    def update(self, item, at):
        """Adds an update to an item."""
        made, dice = self.new_id(), self.random
        self.rows["updates"][made] = {
            "board": item["board"], "id": made, "item_id": item["id"], "creator_id": item["creator_id"], "body": "<p>Schön &amp; gut</p>", "text_body": "Schön & gut",
            "created_at": seconds(at), "updated_at": seconds(at), "edited_at": seconds(at), "replies": [], "likes": [], "assets": []}
        if dice.random() < 0.3:
            self.reply(self.rows["updates"][made], at + datetime.timedelta(minutes=dice.randrange(1, 500)))
        if dice.random() < 0.2:
            self.rows["updates"][made]["likes"] = [{"id": self.new_id(), "creator_id": item["creator_id"], "reaction_type": "Like", "created_at": seconds(at)}]
            self.rows["updates"][made]["assets"] = [{"id": self.new_id(), "name": "plan.pdf", "file_extension": ".pdf", "file_size": 12345, "created_at": seconds(at)}]

    def reply(self, update, at):
        """Adds a reply; the update itself keeps its times."""
        update["replies"].append({"id": self.new_id(), "creator_id": update["creator_id"], "body": "<p>ja</p>", "text_body": "ja", "created_at": seconds(at),
                                  "updated_at": seconds(at), "edited_at": seconds(at)})

    # ------------------------------------------------------------ what others do

    def edit(self, random):
        """Changes, adds and moves items, comments, and answers comments."""
        changed, at = set(), self.now()
        logged = len(self.rows["logs"])
        there = [item for item in self.rows["items"].values() if self.visible(item["board"])]
        for item in random.sample(there, min(4, len(there))):
            board = item["board"]
            column = random.choice(self.columns_of(board))
            item["values"][column], item["updated_at"] = self.value(board, column, random.randrange(40, 99)), seconds(at)
            self.log(board, "update_column_value", "pulse", {"pulse_id": int(item["id"]), "column_id": column}, at)
            changed.add((self.stream_of(item), item["id"]))
        tops = [item for item in there if self.stream_of(item) == "items"]
        boards = [board["id"] for board in self.rows["boards"].values() if board["type"] == "board" and self.visible(board["id"])]
        made = self.item(random.choice(boards), at)
        changed.add(("items", made["id"]))
        moved = random.choice([item for item in tops if not any(other["parent_item"] == item["id"] for other in self.rows["items"].values())])
        target = random.choice(boards)
        moved |= {"board": target, "group": next(group for owner, group in self.rows["groups"] if owner == target), "updated_at": seconds(at),
                  "values": {column: self.value(target, column, random.randrange(40)) for column in self.columns_of(target)}}
        for update in self.rows["updates"].values():
            if update["item_id"] == moved["id"]:
                update["board"] = target
        self.log(target, "move_pulse_into_board", "pulse", {"pulse_id": int(moved["id"])}, at)
        changed.add(("items", moved["id"]))
        self.update(made, at)
        updates = [update for update in self.rows["updates"].values() if self.visible(update["board"])]
        edited, answered = random.choice(updates), random.choice(updates)
        edited |= {"text_body": "anders", "updated_at": seconds(at), "edited_at": seconds(at)}
        self.reply(answered, at)
        changed |= {("updates", list(self.rows["updates"])[-1]), ("updates", edited["id"]), ("updates", answered["id"])}
        changed |= {("activity_logs", key) for key in list(self.rows["logs"])[logged:] if self.logs_of(self.rows["logs"][key]["board"])}
        return changed

    def visible(self, board):
        """Does a board come, and what is on it?"""
        return self.rows["boards"][board]["state"] == "active" and board not in self.unreachable

    def logs_of(self, board):
        """Is a board's log read?"""
        return self.visible(board) and board not in self.mute and self.rows["boards"][board]["type"] == "board"

    def stream_of(self, item):
        """Which stream an item is in."""
        return "subitems" if item["parent_item"] else "items"

    def forbid(self):
        """One board is out of reach, of another one the log."""
        plain = [board["id"] for board in self.rows["boards"].values() if board["type"] == "board" and board["hierarchy_type"] == "classic" and self.visible(board["id"])]
        there = self.keys()
        self.unreachable, self.mute = {plain[2]}, {plain[3]}
        now = self.keys()
        return {stream: sorted(keys - now[stream]) for stream, keys in there.items() if keys - now[stream]}

    def keys(self):
        """The keys of each stream."""
        return {stream: set(self.truth(stream)) for stream in self.streams}

    def archive(self):
        """A board is archived."""
        board = next(board for board in self.rows["boards"].values() if board["type"] == "board" and board["hierarchy_type"] == "classic")
        board["state"] = "archived"
        return {"include_archived": True}, "boards", board["id"]

    def expire_page_token(self):
        """The next cursor that is used has expired."""
        self.token_expires = True

    def throttle(self):
        """In turns: a complexity budget beside a 200, a minute's limit and the concurrency as a 429."""
        self.throttled += 1
        status, code, words = [(200, "COMPLEXITY_BUDGET_EXHAUSTED", "Complexity budget exhausted"),
                               (429, "RATE_LIMIT_EXCEEDED", "Minute limit rate exceeded"),
                               (429, "maxConcurrencyExceeded", "Concurrency limit exceeded")][self.throttled % 3 - 1]
        return Refused(status, {"errors": [{"message": words, "extensions": {"code": code, "retry_in_seconds": 1}}], "account_id": 77}, {"Retry-After": "1"})

    def daily_limit(self):
        """The answer once the day's calls are used up. monday documents the code, and that each limit names its wait."""
        left = 86400 - int((self.now() - EPOCH).total_seconds()) % 86400
        return Refused(429, {"errors": [{"message": "Daily limit exceeded", "extensions": {"code": "DAILY_LIMIT_EXCEEDED", "retry_in_seconds": left}}]}, {"Retry-After": str(left)})

    # ------------------------------------------------------------ what the tap must bring

    def config(self, **more):
        """A good config."""
        return {"api_token": TOKEN, "api_url": f"{self.url}/v2", "start_date": "2022-12-01T00:00:00Z", **more}

    def bad_config(self):
        """A token of nobody's."""
        return {"api_token": "wrong", "api_url": f"{self.url}/v2"}

    def truth(self, stream):
        """Key to record."""
        rows = self.rows
        listed = {key: board for key, board in rows["boards"].items() if board["state"] == "active"}
        only_id = lambda those: [{"id": one["id"]} for one in those]
        if stream in ("users", "tags"):
            return dict(rows[stream])
        if stream == "teams":
            return {key: {**team, "owners": only_id(team["owners"]), "users": only_id(team["users"])} for key, team in rows["teams"].items()}
        if stream == "workspaces":
            return {key: {**place, "owners_subscribers": only_id(place["owners_subscribers"])} for key, place in rows["workspaces"].items()}
        if stream == "boards":
            return {key: {**board, "creator": {"id": board["creator"]["id"]}, "owners": only_id(board["owners"]), "items_count": self.Board_items_count(board, None),
                          "top_group": {"id": self.Board_top_group(board, None)["id"]}} for key, board in listed.items()}
        if stream in ("groups", "columns"):
            return {key: {**row, "board_id": key[0]} for key, row in rows[stream].items() if key[0] in listed}
        if stream in ("items", "subitems"):
            return {key: self.as_read(item) for key, item in rows["items"].items() if self.visible(item["board"]) and self.stream_of(item) == stream}
        if stream == "updates":
            return {key: {**{name: value for name, value in update.items() if name != "board"}, "board_id": update["board"],
                          "replies": [{name: value for name, value in reply.items() if name != "edited_at"} for reply in update["replies"]],
                          "likes": [{name: value for name, value in like.items() if name != "created_at"} for like in update["likes"]],
                          "changed_at": max([update["updated_at"], *(reply["updated_at"] for reply in update["replies"])])}
                    for key, update in rows["updates"].items() if self.visible(update["board"])}
        return {key: {**{name: value for name, value in log.items() if name not in ("board", "at")}, "board_id": log["board"],
                      "logged_at": f"{log['at']:%Y-%m-%dT%H:%M:%S.%fZ}"} for key, log in rows["logs"].items() if self.logs_of(log["board"])}

    def as_read(self, item):
        """An item as the tap emits it."""
        parent = self.rows["items"].get(item["parent_item"])
        return {**{name: value for name, value in item.items() if name != "values"}, "board": {"id": item["board"]},
                "group": {"id": item["group"], "title": self.rows["groups"][item["board"], item["group"]]["title"]},
                "parent_item": parent and {"id": parent["id"], "board": {"id": parent["board"]}},
                "column_values": [{**{name: one for name, one in value.items() if name in ("id", "type", "text", "value", "battery_value")
                                      or name == "display_value" and value["__typename"] in DISPLAYED},
                                   "column": {"title": value["column"]["title"]}} for value in item["values"].values()]}

    # ------------------------------------------------------------ answers

    @route("POST", "/v2")
    def v2(self, call):
        """The one endpoint."""
        if call.headers.get("Authorization") not in (TOKEN, f"Bearer {TOKEN}"):
            raise Refused(401, {"errors": ["Not Authenticated"]})
        if call.headers.get("API-Version") != "2026-10":
            raise self.refusal("InvalidVersionException", [GraphQLError("The requested API version is invalid")], 200)
        call.only()
        return self.execute(call)

    def execute(self, call):
        """monday refuses a query beside a 200, with codes of its own."""
        try:
            return super().execute(call)
        except Refused as refused:
            for error in (refused.body or {}).get("errors", ()):
                if isinstance(error, dict) and error.get("extensions", {}).get("code") == "GRAPHQL_VALIDATION_FAILED":
                    error["extensions"]["code"], refused.status = "undefinedField", 200
            raise

    def cost(self, document, variables):
        """Points: one for each field, as often as its lists may be long."""
        def points(fields):
            return sum(1 + points(below) * min(arguments.get("limit") or (25 if kind in ("Board", "User", "Update", "ActivityLogType") else 1), 1000)
                       for _, kind, _, arguments, below in fields)
        self.points = points(self.walk(document, variables))
        return self.points

    def priced(self, call, points):
        """One query's limit, and the headers of every answer."""
        if points > self.most:
            raise Refused(200, {"errors": [{"message": f"Query has complexity of {points}, which exceeds max complexity of {self.most}",
                                            "extensions": {"code": "maxComplexityExceeded", "status_code": 200}}], "account_id": 77})
        return {"RateLimit-Policy": '"minuteRate";q=1000;w=60, "concurrency";q=40;qu="concurrent-requests", "complexityMinute";q=10000000;w=60;qu="content-bytes"',
                "RateLimit": '"minuteRate";r=990, "concurrency";r=35, "complexityMinute";r=9800000;t=45'}

    def finished(self, reply, points):
        """The account's id and a request's stand in every answer."""
        return {**reply, "account_id": 77, "extensions": {"request_id": "00000000-0000-4000-8000-000000000000"}}

    def give_token(self, value):
        """A cursor: the same for the same place, so that twins give the same."""
        token = hashlib.sha256(f"{self.seed} {value!r}".encode()).hexdigest()[:40]
        self.tokens[token] = value
        return token

    def query_complexity(self, info):
        """What the query costs."""
        return {"before": 9_800_000 + self.points, "query": self.points, "after": 9_800_000, "reset_in_x_seconds": 45}

    def numbered(self, info, rows, page, limit, name):
        """A numbered page."""
        if page < 1 or limit < 1:
            raise GraphQLError("page and limit begin at 1", extensions={"code": "InvalidArgumentException"})
        self.paged(info.context, f"{name} {info.path.prev and info.path.as_list()}")
        many = min(limit, self.at_most[name])
        return rows[(page - 1) * many:page * many]

    def query_boards(self, info, ids=None, limit=25, page=1, state="active", **_):
        """Boards, the newest first."""
        if ids is not None:
            return [self.rows["boards"][board] for board in ids if board in self.rows["boards"] and board not in self.unreachable]
        rows = [board for board in self.rows["boards"].values() if state == "all" or board["state"] == state]
        return self.numbered(info, sorted(rows, key=lambda board: (board["created_at"], board["id"]), reverse=True), page, limit, "boards")

    def query_workspaces(self, info, limit=25, page=1, state="active", **_):
        """Workspaces."""
        rows = [place for place in self.rows["workspaces"].values() if state == "all" or place["state"] == state]
        return self.numbered(info, sorted(rows, key=lambda place: (place["created_at"], place["id"]), reverse=True), page, limit, "workspaces")

    def query_users(self, info, limit=200, page=1, status=("ACTIVE", "PENDING"), **_):
        """Users."""
        return self.numbered(info, [user for user in self.rows["users"].values() if user["status"] in status], page, limit, "users")

    def query_teams(self, info, **_):
        """Teams."""
        return list(self.rows["teams"].values())

    def query_tags(self, info, **_):
        """Tags."""
        return list(self.rows["tags"].values())

    def Board_groups(self, board, info, **_):
        """A board's groups."""
        return [group for (owner, _), group in self.rows["groups"].items() if owner == board["id"]]

    def Board_top_group(self, board, info):
        """The first of them. A document has one that nobody sees."""
        return next(iter(self.Board_groups(board, info)), {"id": "topics", "title": "", "color": "", "position": "", "archived": False, "deleted": False})

    def Board_columns(self, board, info, **_):
        """A board's columns."""
        return [column for (owner, _), column in self.rows["columns"].items() if owner == board["id"]]

    def Board_items_count(self, board, info):
        """How many items a board has."""
        return sum(1 for item in self.rows["items"].values() if item["board"] == board["id"])

    def Board_items_page(self, board, info, cursor=None, limit=25, query_params=None, hierarchy_scope_config=None):
        """A page of a board's items; the cursor holds order and place."""
        if not 1 <= limit <= 500:
            raise GraphQLError("limit must be between 1 and 500", extensions={"code": "InvalidArgumentException"})
        order, after = "position", None
        if cursor is not None:
            if query_params:
                raise GraphQLError("query_params and cursor cannot go together", extensions={"code": "InvalidArgumentException"})
            place = self.take_token(cursor)
            if place is None:  # the text is an assumption
                raise GraphQLError("The cursor provided for pagination has expired. Please refresh your query and obtain a new cursor",
                                   extensions={"code": "CursorExpiredError", "status_code": 200})
            _, order, hierarchy_scope_config, after = place
        elif query_params and query_params.get("order_by"):
            rule = query_params["order_by"][0]
            order = f"{rule['column_id']} {rule.get('direction') or 'asc'}"
        self.paged(info.context, f"items {board['id']}")
        rows = [item for item in self.rows["items"].values() if item["board"] == board["id"] and item["state"] == "active"]
        if board["hierarchy_type"] == "multi_level" and hierarchy_scope_config != "allItems":
            rows = [item for item in rows if item["parent_item"] is None]
        down = order.endswith(" desc")
        key = (lambda item: (item["updated_at"], item["id"])) if order.startswith("__last_updated__") else (lambda item: ("", item["id"]))
        rows.sort(key=key, reverse=down)
        if after is not None:
            rows = [item for item in rows if (key(item) < tuple(after) if down else key(item) > tuple(after))]
        page = rows[:min(limit, self.at_most["items"])]
        return {"cursor": self.give_token((board["id"], order, hierarchy_scope_config, key(page[-1]))) if len(rows) > len(page) else None, "items": page}

    def Board_updates(self, board, info, limit=25, page=1, from_date=None, to_date=None, **_):
        """A board's updates and those of its items, the newest first; the dates are those of posting."""
        if (from_date is None) != (to_date is None):
            raise GraphQLError("from_date and to_date go together", extensions={"code": "InvalidArgumentException"})
        rows = [update for update in self.rows["updates"].values() if update["board"] == board["id"]]
        if from_date is not None:
            rows = [update for update in rows if asked_time(from_date) <= asked_time(update["created_at"]) <= asked_time(to_date)]
        return self.numbered(info, sorted(rows, key=lambda update: (update["created_at"], update["id"]), reverse=True), page, min(limit, 100), "updates")

    def Board_activity_logs(self, board, info, limit=25, page=1, to=None, **more):
        """A board's log, the newest first."""
        if board["id"] in self.mute:
            raise GraphQLError("User unauthorized to perform action", extensions={"code": "UserUnauthorizedException", "error_data": {}, "status_code": 403})
        rows = [log for log in self.rows["logs"].values() if log["board"] == board["id"]
                and (more.get("from") is None or asked_time(more["from"]) <= log["at"]) and (to is None or log["at"] <= asked_time(to))]
        return self.numbered(info, sorted(rows, key=lambda log: log["created_at"], reverse=True), page, limit, "activity_logs")

    def Item_board(self, item, info):
        """An item's board."""
        return self.rows["boards"][item["board"]]

    def Item_group(self, item, info):
        """An item's group."""
        return self.rows["groups"][item["board"], item["group"]]

    def Item_parent_item(self, item, info):
        """A subitem's item."""
        return self.rows["items"].get(item["parent_item"])

    def Item_column_values(self, item, info, capabilities=None, **_):
        """An item's values. Those of rollup columns come by a capability only."""
        rollup = "CALCULATED" in (capabilities or ())
        return [value for value in item["values"].values() if rollup or value["__typename"] != "BatteryValue"]


if __name__ == "__main__":
    main(Monday)
