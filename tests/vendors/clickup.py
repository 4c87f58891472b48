"""A ClickUp-shaped vendor in a box (API v2), made from ClickUp's OpenAPI file and its documentation pages alone.

The file contradicts itself (folders as an object, numbers in its examples that are texts in its schemas), so answers are not
checked against it. Assumed, as no source says it: lists of tasks are newest first, a new comment changes its task's
`date_updated`, whoever may not read a list is told `OAUTH_027`.
"""
import json
import sys
import time

if __name__ == "__main__":
    sys.path[0] = str(__import__("pathlib").Path(__file__).resolve().parents[1])
from vendors.core import Refused, Stream, Vendor, main, route

API = "/api/v2"
TOKEN = "pk_1234567_ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
COLORS = ["#e50000", "#40BC86", None]
PAGE, COMMENTS = 100, 25
TASKS = ("archived include_markdown_description page order_by reverse subtasks include_closed include_timl date_updated_gt date_updated_lt "
         "date_created_gt date_created_lt date_done_gt date_done_lt due_date_gt due_date_lt").split()
KINDS = ("short_text text number currency drop_down labels date checkbox users emoji manual_progress location url email phone tasks "
         "automatic_progress").split()


def ms(moment):
    """A time as ClickUp writes it."""
    return str(int(moment.timestamp() * 1000))


def shown(field):
    """A custom field of a task as the tap gives it."""
    value, kind, options = field.get("value"), field["type"], field["type_config"].get("options", [])
    text = value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)
    for mark, code in (("<", "u003c"), (">", "u003e"), ("&", "u0026"), ("'", "u0027")):
        text = text if text is None or isinstance(value, str) else text.replace(mark, "\\" + code)
    display = text if not isinstance(value, (list, dict)) else None
    if value is not None and kind == "drop_down":
        display = options[value]["name"]
    elif value is not None and kind in ("labels", "users", "tasks"):
        names = [one["label"] for one in options if one["id"] in value] if kind == "labels" else [one["username" if kind == "users" else "name"] for one in value]
        display = ", ".join(names)
    elif value is not None and kind == "location":
        display = value["formatted_address"]
    return {"id": field["id"], "name": field["name"], "type": kind, "value": text, "display_value": display}


class Clickup(Vendor):
    """ClickUp: two workspaces, of which one person is in both."""

    source = "clickup"
    streams = {
        "teams": Stream(key=["id"]), "users": Stream(key=["id"]), "members": Stream(key=["team_id", "user_id"]),
        "groups": Stream(key=["id"]), "spaces": Stream(key=["id"]), "folders": Stream(key=["id"]), "lists": Stream(key=["id"]),
        "tags": Stream(key=["space_id", "name"]), "custom_items": Stream(key=["team_id", "id"]),
        "custom_fields": Stream(key=["list_id", "id"]),
        # A minute is read again.
        "tasks": Stream(key=["id"], cursor="date_updated", per=lambda task: task["list"]["id"], overlap=60),
        # All comments of a task that changed come again.
        "comments": Stream(key=["id"], cursor="date", loose=True),
        # Thirty days are read again, and what is in the window in which they begin.
        "time_entries": Stream(key=["id"], cursor="start", overlap=30 * 86400 + 60, per=lambda entry: entry["team_id"]),
        "goals": Stream(key=["id"]),
    }

    conformance_skips = {"users": "someone who is in two workspaces comes once for each of them"}
    overlap_asks_more = "each numbered page of tasks is compared with the one before, which is asked for again"

    # ------------------------------------------------------------ the account

    def fill(self, random, size):
        rows, self.ids, self.forbidden, some, self.of_task = self.rows, 90_000_000, set(), random.choice, {}
        for n in range(7):
            rows["users"][700 + n] = {"id": 700 + n, "username": self.name(), "email": f"user{n}@example.com", "color": some(COLORS),
                                      "profilePicture": None, "initials": "AB"}
        people = list(rows["users"].values())
        for n in range(2):
            key = self.number()
            rows["teams"][key] = {"id": key, "name": self.name(), "color": "#000000", "avatar": None,
                                  "members": [{"user": user} for user in (people[:5] if n == 0 else people[4:])]}
            for _ in range(2):
                group = f"{self.number()}-4f2a"
                rows["groups"][group] = {
                    "id": group, "team_id": key, "userid": 700, "name": self.name(), "handle": f"g{group}", "date_created": ms(self.past()),
                    "initials": "GR", "members": [{**people[4], "profilePicture": None}],
                    "avatar": {"attachment_id": None, "color": None, "source": None, "icon": None}}
            for item in (1, 1300):
                rows["custom_items"][key, item] = {"id": item, "name": some(["Bug", "Milestone"]), "name_plural": "Bugs", "description": self.name()}
            for place in (None, None, "folder"):
                self.goal(key, place)
        for n in range(5):
            self.space(list(rows["teams"])[n == 4], archived=n == 3)
        for n, space in enumerate(list(rows["spaces"])):
            for name in ("urgent", "später", f"tag {n}"):
                rows["tags"][space, name] = {"name": name, "tag_fg": "#ffffff", "tag_bg": some(COLORS) or "#000000", "creator": 700}
            for m in range(2):
                folder = self.folder(space, archived=n == 1 and m == 1)
                for _ in range(random.randrange(1, 3)):
                    self.list(space, folder)
            self.list(space, None, archived=n == 0)
            self.list(space, None)
        for number, kind in enumerate(KINDS):
            self.field(number, kind)
        homes, total = list(rows["lists"]), 0
        weights = [60 if n == 1 else 1 for n in range(len(homes))]  # one list has several pages
        while total < size:
            home = random.choices(homes, weights)[0]
            parent = some([task for task in rows["tasks"].values() if task["list"]["id"] == home] or [None]) if random.random() < 0.2 else None
            self.task(home, self.past(), parent, archived=random.random() < 0.04)
            total += 1
        for n, task in enumerate(list(rows["tasks"].values())):
            for _ in range(60 if n == 3 else some([0, 0, 0, 1, 2, 3])):
                self.comment(task, self.past())
        for _ in range(size // 3):
            self.entry(some(list(rows["teams"])), self.past())

    def number(self):
        self.ids += self.random.randrange(1, 900)
        return str(self.ids)

    def goal(self, team, folder):
        key, at = f"{self.number()}-900e-462d", ms(self.past())
        self.rows["goals"][key] = {
            "id": key, "pretty_id": "6", "name": self.name(), "team_id": team, "creator": 700, "owner": None, "color": "#32a852", "date_created": at,
            "start_date": None, "due_date": at, "description": self.name(), "private": False, "archived": False, "multiple_owners": True,
            "editor_token": f"goal:{key}", "date_updated": at, "last_update": at, "folder_id": folder and f"{team}-folder", "pinned": False,
            "owners": [], "key_result_count": 1, "members": [], "group_members": [], "percent_completed": 0}

    def space(self, team, archived=False):
        key = self.number()
        on = {"enabled": True}
        self.rows["spaces"][key] = {
            "id": key, "name": self.name(), "private": False, "color": None, "avatar": None, "admin_can_manage": True, "archived": archived,
            "statuses": self.statuses(), "multiple_assignees": True, "team_id": team,
            "features": {"due_dates": {**on, "start_date": True, "remap_due_dates": False, "remap_closed_due_date": False}, "time_tracking": on,
                         "tags": on, "time_estimates": on, "checklists": on, "custom_fields": on}}
        return key

    @staticmethod
    def statuses():
        return [{"id": f"p{n}", "status": name, "type": kind, "orderindex": n, "color": "#d3d3d3"}
                for n, (name, kind) in enumerate([("to do", "open"), ("in arbeit", "custom"), ("complete", "closed")])]

    def folder(self, space, archived=False):
        key = self.number()
        self.rows["folders"][key] = {
            "id": key, "name": self.name(), "orderindex": len(self.rows["folders"]), "override_statuses": False, "hidden": False,
            "space": {"id": space, "name": self.rows["spaces"][space]["name"], "access": True}, "task_count": "3", "archived": archived,
            "statuses": [], "lists": [{"id": "1", "name": "a list"}], "permission_level": "create"}
        return key

    def list(self, space, folder, archived=False):
        key, rows = self.number(), self.rows
        home = {"id": folder, "name": rows["folders"][folder]["name"], "hidden": False, "access": True} if folder else \
            {"id": self.number(), "name": "hidden", "hidden": True, "access": True}
        rows["lists"][key] = {
            "id": key, "name": self.name(), "orderindex": len(rows["lists"]), "content": "", "status": self.random.choice([None, {"status": "red", "color": "#e50000", "hide_label": True}]),
            "priority": None, "assignee": None, "task_count": self.random.choice([None, 10]), "due_date": None, "start_date": None, "folder": home,
            "space": {"id": space, "name": rows["spaces"][space]["name"], "access": True}, "archived": archived, "override_statuses": False,
            "permission_level": "create"}
        return key

    def field(self, number, kind):
        options = [{"id": f"opt-{number}-{n}", "name": name, "color": None, "orderindex": n} for n, name in enumerate(["low", "mittel", "höchst"])]
        config = {"drop_down": {"default": 0, "placeholder": None, "options": options},
                  "labels": {"options": [{"id": one["id"], "label": one["name"], "color": "#ffffff"} for one in options]},
                  "currency": {"precision": 2, "currency_type": "EUR", "default": None}, "emoji": {"code_point": "2b50", "count": 5},
                  "manual_progress": {"start": 0, "end": 100},
                  "automatic_progress": {"tracking": {"subtasks": True, "checklists": True, "assigned_comments": False}, "complete_on": 3}}.get(kind, {})
        key = f"{number:08}-098d-4bb0-87d6-cf28e43812e7"
        self.rows["fields"][key] = {"id": key, "name": f"{kind} {self.name()}", "type": kind, "type_config": config, "date_created": ms(self.past()),
                                    "hide_from_guests": False, **({"applied_objects": [{"object_type": 19, "object_id": 1300}]} if number == 1 else {})}

    def value(self, kind, number, dice):
        """A value of a custom field, as its type has it."""
        person = self.rows["users"][700]
        return {"number": str(dice.randrange(99)), "currency": "12.50", "drop_down": dice.randrange(3), "labels": [f"opt-{number}-1"],
                "date": ms(self.past(dice)), "checkbox": "true", "users": [person], "emoji": 4, "manual_progress": {"current": "20", "percent_complete": 20},
                "location": {"location": {"lat": 48.1, "lng": 11.5}, "formatted_address": "München"}, "url": "https://example.com/x",
                "email": "a@example.com", "phone": "+49 89 1", "tasks": [{"id": "86a", "name": "another", "status": "to do"}],
                "automatic_progress": {"percent_complete": 50.5}}.get(kind, self.name(dice))

    def task(self, home, at, parent=None, archived=False):
        dice, rows = self.random, self.rows
        key, place = f"86{self.number()}", rows["lists"][home]
        person = {k: v for k, v in rows["users"][dice.randrange(700, 707)].items() if k != "initials"}
        status = dice.choice(self.statuses())
        folder = {k: place["folder"][k] for k in ("id", "name", "hidden", "access")}
        fields = [{k: v for k, v in field.items() if k != "applied_objects"} | {"required": False}
                  | ({"value": self.value(field["type"], n, dice)} if dice.random() < 0.6 else {})
                  for n, field in sorted(dice.sample(list(enumerate(rows["fields"].values())), 6), key=lambda one: one[0])]
        description = dice.choice(["", self.name()])
        rows["tasks"][key] = made = {
            "id": key, "custom_id": dice.choice([None, f"ACME-{len(rows['tasks'])}"]), "custom_item_id": dice.choice([0, None, 1300]),
            "name": self.name(), "text_content": description, "description": description, "markdown_description": description, "status": status,
            "orderindex": f"{len(rows['tasks'])}.00000000000000000000000000000000", "date_created": ms(at), "date_updated": ms(at),
            "date_closed": ms(at) if status["type"] == "closed" else None, "date_done": ms(at) if status["type"] == "closed" else None,
            "archived": archived, "creator": person, "assignees": dice.choice([[], [rows["users"][701]]]), "group_assignees": [],
            "watchers": [rows["users"][702]],
            "checklists": dice.choice([[], [{"id": f"c{key}", "task_id": key, "name": "checks", "orderindex": 0, "resolved": 0, "unresolved": 1, "items": [
                {"id": f"i{key}", "name": self.name(), "orderindex": 0, "resolved": False, "parent": None, "date_created": ms(at)}]}]]),
            "tags": dice.choice([[], [{"name": "urgent", "tag_fg": "#ffffff", "tag_bg": "#000000", "creator": 700}]]),
            "parent": parent and parent["id"], "top_level_parent": parent and (parent["top_level_parent"] or parent["id"]),
            "priority": dice.choice([None, {"id": "1", "priority": "urgent", "color": "#f50000", "orderindex": "1"}]),
            "due_date": dice.choice([None, ms(at)]), "start_date": None, "points": dice.choice([None, 3, 0.5]),
            "time_estimate": dice.choice([None, 8640000, "8640000"]), **dice.choice([{}, {"time_spent": 60000}]), "custom_fields": fields,
            "dependencies": [], "linked_tasks": [], "locations": dice.choice([[], [{"id": "1", "name": "another list"}]]),
            "team_id": rows["spaces"][place["space"]["id"]]["team_id"], "url": f"https://app.clickup.com/t/{key}",
            "sharing": {"public": False, "public_share_expires_on": None, "public_fields": ["assignees"], "token": None, "seo_optimized": False},
            "permission_level": "create", "list": {"id": home, "name": place["name"], "access": True}, "project": folder, "folder": folder,
            "space": {"id": place["space"]["id"]}}
        return made

    def comment(self, task, at):
        key, person = self.number(), self.rows["users"][self.random.randrange(700, 707)]
        text = self.name()
        made = {"id": key, "comment": [{"text": text}, {"text": "\n"}], "comment_text": f"{text}\n", "user": person, "resolved": False,
                "assignee": None, "assigned_by": None, "reactions": [], "date": ms(at), "reply_count": "0"}
        self.rows["comments"][key] = (task["id"], made)
        self.of_task.setdefault(task["id"], []).append(made)
        return made

    def entry(self, team, at):
        key, task = self.number(), self.random.choice(list(self.rows["tasks"].values()))
        length = self.random.randrange(60_000, 9_000_000)
        running = self.random.random() < 0.03
        made = {"id": key, "task": self.random.choice([None, {k: task[k] for k in ("id", "custom_id", "name", "status")} | {"custom_type": None}]),
                "wid": team, "user": self.random.choice(self.rows["teams"][team]["members"])["user"], "billable": False, "start": ms(at),
                **({} if running else {"end": str(int(ms(at)) + length)}), "duration": str(-int(ms(at)) if running else length),
                "description": "", "tags": [], "source": "clickup", "at": ms(at),
                "task_location": {"list_id": 1, "folder_id": 2, "space_id": 3, "list_name": "l", "folder_name": "f", "space_name": "s"},
                "task_tags": [], "task_url": f"https://app.clickup.com/t/{task['id']}"}
        self.rows["entries"][key] = (team, made)
        return made

    # ------------------------------------------------------------ for the driver

    def config(self, **more):
        return {"api_token": TOKEN, "api_url": self.url + API, **({"plan": "enterprise"} if self.size > 5000 else {}), **more}

    def bad_config(self):
        return self.config(api_token="pk_0_WRONG")

    def throttle(self):
        """The whole second after the next one."""
        return Refused(429, {"err": "Rate limit reached", "ECODE": "APP_002"}, {
            "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 2)})

    def visible(self, kind, row):
        """Whether a space, folder, list or task comes without `archived`."""
        rows = self.rows
        if row["archived"]:
            return False
        if kind == "tasks":
            return row["list"]["id"] not in self.forbidden and self.visible("lists", rows["lists"][row["list"]["id"]])
        if kind == "lists" and row["folder"]["id"] in rows["folders"]:
            return self.visible("folders", rows["folders"][row["folder"]["id"]])
        return kind == "spaces" or self.visible("spaces", rows["spaces"][row["space"]["id"]])

    def truth(self, stream):
        rows = self.rows
        if stream == "members":
            return {(team, one["user"]["id"]): {**one, "team_id": team, "user_id": one["user"]["id"]}
                    for team, row in rows["teams"].items() for one in row["members"]}
        if stream in ("spaces", "folders", "lists"):
            return {key: {k: v for k, v in row.items() if (stream, k) != ("folders", "lists")} for key, row in rows[stream].items() if self.visible(stream, row)}
        if stream == "tags":
            return {key: {**row, "space_id": key[0]} for key, row in rows[stream].items() if self.visible("spaces", rows["spaces"][key[0]])}
        if stream == "custom_items":
            return {key: {**row, "team_id": key[0]} for key, row in rows[stream].items()}
        if stream == "custom_fields":
            fields = {key: {**field, "type_config": {**config, "default": str(config["default"])}} if (config := field["type_config"]).get("default") is not None
                      else field for key, field in rows["fields"].items()}
            return {(home, key): {**field, "list_id": home} for home, row in rows["lists"].items() for key, field in fields.items()
                    if self.visible("lists", row) and home not in self.forbidden}
        if stream == "tasks":
            return {key: {**row, "time_estimate": row["time_estimate"] and int(row["time_estimate"]), "custom_fields": list(map(shown, row["custom_fields"]))}
                    for key, row in rows["tasks"].items() if self.visible("tasks", row)}
        if stream == "comments":
            return {key: {**row, "task_id": task} for key, (task, row) in rows["comments"].items() if self.visible("tasks", rows["tasks"][task])}
        if stream == "time_entries":
            return {key: {**row, "team_id": team} for key, (team, row) in rows["entries"].items()}
        return dict(rows[stream])

    def edit(self, random):
        """Tasks change, come and move to other lists; comments and time entries come."""
        rows, changed = self.rows, set()
        open_lists = [key for key, row in rows["lists"].items() if self.visible("lists", row) and key not in self.forbidden]
        for task in random.sample([task for task in rows["tasks"].values() if self.visible("tasks", task)], 4):
            status = random.choice(self.statuses())
            task |= {"name": self.name(random), "status": status, "date_updated": ms(self.now())}
            field = task["custom_fields"][0]
            task["custom_fields"] = [{**field, "value": self.value(field["type"], int(field["id"][:8]), random)}, *task["custom_fields"][1:]]
            changed.add(("tasks", task["id"]))
        if task["parent"] is None and not any(other["parent"] == task["id"] for other in rows["tasks"].values()):
            home = rows["lists"][random.choice(open_lists)]
            task |= {"list": {"id": home["id"], "name": home["name"], "access": True}, "folder": home["folder"], "project": home["folder"],
                     "space": {"id": home["space"]["id"]}, "date_updated": ms(self.now())}
        made = self.comment(task, self.now())
        task["date_updated"] = made["date"]
        changed.add(("comments", made["id"]))
        for parent in (None, task):
            task = self.task(parent["list"]["id"] if parent else random.choice(open_lists), self.now(), parent)
            changed.add(("tasks", task["id"]))
        changed.add(("time_entries", self.entry(random.choice(list(rows["teams"])), self.now())["id"]))
        return changed

    def forbid(self):
        """A list that still stands in its folder, and may not be read."""
        home = next(key for key, row in self.rows["lists"].items() if self.visible("lists", row))
        lost = {stream: [key for key, row in self.truth(stream).items() if self.list_of(stream, key) == home] for stream in ("tasks", "comments", "custom_fields")}
        self.forbidden.add(home)
        return lost

    def list_of(self, stream, key):
        """The list of a task, comment or field."""
        if stream == "custom_fields":
            return key[0]
        return self.rows["tasks"][self.rows["comments"][key][0] if stream == "comments" else key]["list"]["id"]

    def archive(self):
        task = next(task for task in self.rows["tasks"].values() if self.visible("tasks", task))
        task |= {"archived": True, "date_updated": ms(self.now())}
        return {"include_archived": True}, "tasks", task["id"]

    # ------------------------------------------------------------ answers

    def authorized(self, call, *parameters):
        token = call.headers.get("Authorization")
        if token is None:
            raise Refused(401, {"err": "Authorization header required", "ECODE": "OAUTH_017"})
        if token not in (TOKEN, "Bearer oauth-token"):
            raise Refused(401, {"err": "Token not found", "ECODE": "OAUTH_025"})
        call.only(*parameters, body={"err": "Invalid query", "ECODE": "INPUT_001"})

    def one(self, stream, key):
        if key not in self.rows[stream]:
            raise Refused(404, {"err": f"{stream} not found", "ECODE": "ITEM_015"})
        if key in self.forbidden:
            raise Refused(401, {"err": "Team not authorized", "ECODE": "OAUTH_027"})
        return self.rows[stream][key]

    @route("GET", API + "/team")
    def teams(self, call):
        self.authorized(call)
        return {"teams": list(self.rows["teams"].values())}

    @route("GET", API + "/group")
    def groups(self, call):
        self.authorized(call, "team_id", "group_ids")
        return {"groups": [row for row in self.rows["groups"].values() if row["team_id"] == call.query.get("team_id")]}

    @route("GET", API + "/team/{team}/custom_item")
    def custom_items(self, call):
        self.authorized(call)
        return {"custom_items": [row for (team, _), row in self.rows["custom_items"].items() if team == call.params["team"]]}

    @route("GET", API + "/team/{team}/goal")
    def goals(self, call):
        self.authorized(call, "include_completed")
        goals = [row for row in self.rows["goals"].values() if row["team_id"] == call.params["team"]]
        within = [row for row in goals if row["folder_id"]]
        folder = {"id": f"{call.params['team']}-folder", "name": "Quarterly", "team_id": call.params["team"], "private": True,
                  "date_created": "1548802674671", "creator": 700, "goal_count": len(within), "members": [], "goals": within}
        return {"goals": [row for row in goals if not row["folder_id"]], "folders": [folder]}

    @route("GET", API + "/team/{team}/space")
    def spaces(self, call):
        self.authorized(call, "archived")
        return {"spaces": [{k: v for k, v in row.items() if k != "team_id"} for row in self.rows["spaces"].values()
                           if row["team_id"] == call.params["team"] and row["archived"] == (call.query.get("archived") == "true")]}

    @route("GET", API + "/space/{space}/folder")
    def folders(self, call):
        self.authorized(call, "archived")
        return {"folders": [row for row in self.rows["folders"].values()
                            if row["space"]["id"] == call.params["space"] and row["archived"] == (call.query.get("archived") == "true")]}

    @route("GET", API + "/space/{space}/list")
    @route("GET", API + "/folder/{folder}/list")
    def lists(self, call):
        self.authorized(call, "archived")
        space, folder = call.params.get("space"), call.params.get("folder")
        self.one("spaces" if space else "folders", space or folder)
        return {"lists": [row for row in self.rows["lists"].values() if row["archived"] == (call.query.get("archived") == "true")
                          and (row["folder"]["id"] == folder if folder else row["space"]["id"] == space and row["folder"]["hidden"])]}

    @route("GET", API + "/space/{space}/tag")
    def tags(self, call):
        self.authorized(call)
        return {"tags": [row for (space, _), row in self.rows["tags"].items() if space == call.params["space"]]}

    @route("GET", API + "/list/{list}/field")
    def fields(self, call):
        self.authorized(call, "include_applied_objects")
        self.one("lists", call.params["list"])
        return {"fields": list(self.rows["fields"].values())}

    @route("GET", API + "/list/{list}/task")
    def tasks(self, call):
        self.authorized(call, *TASKS)
        self.one("lists", call.params["list"])
        self.paged(call, name=f"{call.path} {call.query.get('archived')}")
        asked = {name: call.query.get(name) == "true" for name in ("archived", "subtasks", "include_closed", "include_markdown_description", "reverse")}
        found = [task for task in self.rows["tasks"].values() if task["list"]["id"] == call.params["list"] and task["archived"] == asked["archived"]
                 and (asked["subtasks"] or not task["parent"]) and (asked["include_closed"] or task["status"]["type"] != "closed")
                 and int(task["date_updated"]) > call.number("date_updated_gt", -1)]
        by = {"created": "date_created", "updated": "date_updated", "id": "id", "due_date": "due_date"}[call.query.get("order_by", "created")]
        found.sort(key=lambda task: (task[by] or "", task["id"]), reverse=not asked["reverse"])
        first = PAGE * call.number("page", 0)
        if not asked["include_markdown_description"]:
            found = [{k: v for k, v in task.items() if k != "markdown_description"} for task in found]
        return {"tasks": found[first:first + PAGE], "last_page": first + PAGE >= len(found)}

    @route("GET", API + "/task/{task}/comment")
    def comments(self, call):
        self.authorized(call, "custom_task_ids", "team_id", "start", "start_id")
        task = self.one("tasks", call.params["task"])
        self.one("lists", task["list"]["id"])
        found = sorted(self.of_task.get(task["id"], []), key=lambda row: (row["date"], row["id"]), reverse=True)
        if ("start" in call.query) != ("start_id" in call.query):
            raise Refused(400, {"err": "start and start_id belong together", "ECODE": "COMM_001"})
        if "start" in call.query:
            found = [row for row in found if (row["date"], row["id"]) < (call.query["start"], call.query["start_id"])]
        return {"comments": found[:COMMENTS]}

    @route("GET", API + "/team/{team}/time_entries")
    def entries(self, call):
        self.authorized(call, "start_date", "end_date", "assignee", "include_task_tags", "include_location_names")
        people = {int(one) for one in call.query.get("assignee", "700").split(",")}
        first, last = call.number("start_date", 0), call.number("end_date", 1 << 60)
        return {"data": [row for team, row in self.rows["entries"].values() if team == call.params["team"]
                         and first <= int(row["start"]) <= last and row["user"]["id"] in people]}


if __name__ == "__main__":
    main(Clickup)
