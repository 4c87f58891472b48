"""A Todoist-shaped vendor in a box (API v1), made from its documentation and the types of Doist's TypeScript SDK 11.

There is no published OpenAPI file at hand. Not in the documentation, and so assumed: that `until` is exclusive and `since`
inclusive, that `date_from` and `date_to` are whole days in UTC, the order of lists (by id), how an expired cursor is refused, and
that tasks of archived projects are not listed.
"""
import datetime
import hashlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(__import__("pathlib").Path(__file__).resolve().parents[1])
from vendors.core import Refused, Reply, Stream, Vendor, main, moment_of, route

API, TOKEN, PAGE = "/api/v1", "0123456789abcdef0123456789abcdef01234567", 30
LETTERS = "23456789CFGHJMPQRVWXcfghjmpqrvwx"


def micro(moment):
    """A time with microseconds, as Todoist writes it."""
    return f"{moment.astimezone(datetime.timezone.utc):%Y-%m-%dT%H:%M:%S.%f}Z"


class Todoist(Vendor):
    """Todoist, one user with shared projects and a workspace."""

    source = "todoist"
    streams = {
        **{name: Stream(key=["id"]) for name in ("user", "projects", "sections", "tasks", "labels", "comments", "workspaces")},
        "collaborators": Stream(key=["project_id", "id"]),
        "workspace_users": Stream(key=["workspace_id", "user_id"]),
        "completed_tasks": Stream(key=["id", "completed_at"], cursor="completed_at", overlap=7 * 86400),
        # By whole days, the last of them and the one before again.
        "activities": Stream(key=["object_type", "object_id", "event_type", "event_date"], cursor="event_date", overlap=2 * 86400),
    }

    # ------------------------------------------------------------ the account

    def fill(self, random, size):
        self.serial, self.forbidden, self.hides, rows = 0, set(), False, self.rows
        self.access, self.refresh = None, "refresh-0"
        self.people = [str(2671355 + n) for n in range(5)]
        me = self.people[0]
        rows["user"][me] = {
            "id": me, "email": "me@example.com", "full_name": self.name(), "avatar_big": None, "avatar_medium": None, "avatar_s640": None,
            "avatar_small": None, "business_account_id": None, "is_premium": True, "premium_status": "current_personal_plan",
            "premium_until": None, "joined_at": micro(self.past()), "date_format": 0, "time_format": 0, "weekly_goal": 30, "daily_goal": 5,
            "completed_count": 729, "completed_today": 3, "karma": 10108.0, "karma_trend": "up", "lang": "en", "next_week": 1, "start_day": 1,
            "start_page": "today", "days_off": [6, 7], "weekend_start_day": 6, "inbox_project_id": "",
            "tz_info": {"timezone": "Europe/Madrid", "gmt_string": "+02:00", "hours": 2, "minutes": 0, "is_dst": 1},
            "token": TOKEN, "websocket_url": "wss://ws.todoist.com/ws?token=secret"}
        workspace = "424876"
        rows["workspaces"][workspace] = {
            "id": workspace, "name": self.name(), "description": "", "plan": "BUSINESS", "role": "MEMBER", "creator_id": me,
            "created_at": micro(self.past()), "is_deleted": False, "is_collapsed": False, "is_link_sharing_enabled": True,
            "is_guest_allowed": True, "invite_code": "ptoh4SICUu4", "domain_name": None, "domain_discovery": False,
            "restrict_email_domains": False, "logo_big": None, "logo_medium": None, "logo_small": None, "logo_s640": None,
            "limits": {"current": {"max_projects": 5}, "next": None}, "properties": {"region": "EU"}}
        for person in self.people:
            rows["workspace_users"][person] = {
                "user_id": person, "workspace_id": workspace, "user_email": f"{person}@example.com", "full_name": self.name(),
                "timezone": "GMT +3:00", "role": random.choice(["ADMIN", "MEMBER", "GUEST"]), "image_id": None, "is_deleted": False}
        for n in range(8):
            self.project(inbox=n == 0, workspace=workspace if n in (3, 4) else None, archived=n == 7, shared=n in (2, 3, 4))
        rows["user"][me]["inbox_project_id"] = next(iter(rows["projects"]))
        for name in ("errand", "home", "é—📌"):
            id = self.id()
            rows["labels"][id] = {"id": id, "name": name, "color": "lime_green", "order": len(rows["labels"]) or None, "is_favorite": False}
        projects = [id for id, one in rows["projects"].items() if not one["is_archived"]]
        for _ in range(size):
            self.task(random.choice(projects), self.past())
        for task in list(rows["tasks"].values()):
            if random.random() < 0.1:
                self.comment(task, self.past())
            if random.random() < 0.25:
                self.complete(task, max(self.past(), self.added(task)))
        self.comment(rows["projects"][projects[1]], self.past(), "project_id")
        # Two at one moment, and some with whole seconds.
        for task in list(rows["tasks"].values())[:3]:
            self.complete(task, datetime.datetime(2024, 12, 24, 10, tzinfo=datetime.timezone.utc))

    def id(self):
        """An opaque id."""
        self.serial += 1
        number, text = self.serial * 2654435761 % 2**40, ""
        for _ in range(16):
            number, text = (number * 31 + self.serial) % 2**40, text + LETTERS[number % 32]
        return text[:12] + f"{self.serial:04d}"

    @staticmethod
    def added(task):
        """When a task was added."""
        return datetime.datetime.fromisoformat(task["added_at"].replace("Z", "+00:00"))

    def project(self, inbox, workspace, archived, shared):
        """A project with sections."""
        id, random, made = self.id(), self.random, self.past()
        one = {"id": id, "name": "Inbox" if inbox else self.name(), "description": "", "color": "grey", "child_order": self.serial,
               "default_order": self.serial, "is_archived": archived, "is_deleted": False, "is_favorite": False, "is_frozen": False,
               "is_collapsed": False, "is_shared": shared, "can_assign_tasks": shared, "view_style": "list",
               "created_at": f"{made:%Y-%m-%dT%H:%M:%SZ}", "updated_at": f"{made:%Y-%m-%dT%H:%M:%SZ}"}
        if workspace:
            one |= {"workspace_id": workspace, "folder_id": None, "status": "IN_PROGRESS", "role": "READ_WRITE", "is_invite_only": None,
                    "collaborator_role_default": "READ_WRITE", "is_link_sharing_enabled": True, "access": {"visibility": "team"}}
        else:
            one |= {"parent_id": None, **({"inbox_project": True} if inbox else {})}
        self.rows["projects"][id] = one
        self.act("project", id, "added", made, id)
        for _ in range(0 if archived else 2):
            section, at = self.id(), self.past()
            self.rows["sections"][section] = {
                "id": section, "user_id": self.people[0], "project_id": id, "name": self.name(), "section_order": self.serial, "added_at": micro(at),
                "updated_at": micro(at), "archived_at": None, "is_archived": False, "is_deleted": False, "is_collapsed": False}
        if shared:
            for person in random.sample(self.people, 3):
                self.rows["collaborators"][id, person] = {"project_id": id, "id": person, "name": self.name(), "email": f"{person}@example.com"}

    def task(self, project, made):
        """A task."""
        id, random = self.id(), self.random
        sections = [one["id"] for one in self.rows["sections"].values() if one["project_id"] == project]
        parents = [one["id"] for one in self.rows["tasks"].values() if one["project_id"] == project][-3:]
        due = random.choice([None, {"date": f"{self.past():%Y-%m-%d}", "string": "every day", "lang": "en", "is_recurring": True, "timezone": None},
                             {"date": f"{self.past():%Y-%m-%dT%H:%M:%SZ}", "string": "tomorrow at noon", "lang": "en", "is_recurring": False,
                              "timezone": "Europe/Madrid"}])
        self.rows["tasks"][id] = {
            "id": id, "user_id": self.people[0], "project_id": project, "section_id": random.choice([None, *sections]),
            "parent_id": random.choice([None, None, *parents]), "content": self.name(), "description": random.choice(["", "**bold**\n"]),
            "checked": False, "is_deleted": False, "added_at": micro(made), "updated_at": micro(made), "completed_at": None,
            "added_by_uid": random.choice([None, self.people[0]]), "assigned_by_uid": None, "responsible_uid": random.choice([None, self.people[1]]),
            "priority": random.randrange(1, 5), "due": due, "deadline": random.choice([None, {"date": "2024-12-31", "lang": "en"}]),
            "duration": random.choice([None, {"amount": 15, "unit": "minute"}]), "labels": random.sample(["errand", "home", "shared one"], random.randrange(3)),
            "child_order": self.serial, "day_order": -1, "is_collapsed": False, "note_count": 0}
        self.act("item", id, "added", made, project, content=self.rows["tasks"][id]["content"])
        return id

    def comment(self, thing, made, field="item_id"):
        """A comment on a task or a project."""
        id = self.id()
        self.rows["comments"][id] = {
            "id": id, field: thing["id"], "content": self.name(), "posted_at": micro(made), "posted_uid": self.people[0],
            "uids_to_notify": self.random.choice([None, [self.people[1]]]), "is_deleted": False,
            "reactions": self.random.choice([None, {"❤️": [self.people[2]]}]),
            "file_attachment": self.random.choice([None, {"resource_type": "file", "file_name": "a.txt", "file_size": 1234, "file_type": "text/plain",
                                                          "file_url": "https://example.com/a.txt", "upload_state": "completed"}])}
        if field == "item_id":
            thing["note_count"] += 1
        self.act("note", id, "added", made, thing.get("project_id", thing["id"]))
        return id

    def complete(self, task, at):
        """Completes a task: one that recurs stays."""
        done = {**task, "checked": True, "completed_at": micro(at), "updated_at": micro(at), "completed_by_uid": self.people[0]}
        self.rows["completed_tasks"][task["id"], done["completed_at"]] = done
        if not (task["due"] or {}).get("is_recurring"):
            self.rows["tasks"].pop(task["id"], None)
        self.act("item", task["id"], "completed", at, task["project_id"], content=task["content"])
        return task["id"], done["completed_at"]

    def act(self, kind, id, event, at, project, **more):
        """An entry of the activity log."""
        key = kind, id, event, micro(at)
        self.rows["activities"][key] = {
            "object_type": kind, "object_id": id, "event_type": event, "event_date": micro(at), "parent_project_id": project, "parent_item_id": None,
            "initiator_id": self.random.choice([None, self.people[0]]), "extra_data": {"client": "Todoist/1", **more} or None, "extra_data_id": None,
            "source": "clickhouse", "id": 2.140292930587728e+36 + self.serial * 1e21}
        return key

    # ------------------------------------------------------------ what the driver wants

    def config(self, **more):
        hidden = {"include_archived": False} if self.hides else {}
        return {"api_url": self.url + API, "api_token": TOKEN, **hidden, **more}

    def bad_config(self):
        return {**self.config(), "api_token": "wrong"}

    def truth(self, stream):
        without = {"user": ("token", "websocket_url"), "workspaces": ("invite_code",), "activities": ("id",)}.get(stream, ())
        there = {}
        for one in self.rows[stream].values():
            if stream == "collaborators" and one["project_id"] in self.forbidden:
                continue
            if stream == "comments" and self.project_of(one) in self.forbidden:
                continue
            there[tuple(one[name] for name in self.streams[stream].key)] = {k: v for k, v in one.items() if k not in without}
        if stream == "comments":  # of tasks that are still listed
            there = {key: one for key, one in there.items() if one.get("item_id", None) is None or one["item_id"] in self.rows["tasks"]}
        return there

    def project_of(self, comment):
        """The project of a comment."""
        return comment.get("project_id") or self.rows["tasks"].get(comment["item_id"], {}).get("project_id")

    def edit(self, random):
        changed, rows = set(), self.rows
        projects = [id for id, one in rows["projects"].items() if not one["is_archived"] and id not in self.forbidden]
        tasks = [one for one in rows["tasks"].values() if one["project_id"] in projects]
        for task in random.sample(tasks, 4):
            now = self.moment()
            task["content"], task["updated_at"] = self.name(), micro(now)
            changed |= {("tasks", task["id"]), ("activities", self.act("item", task["id"], "updated", now, task["project_id"]))}
        for task in random.sample(tasks, 3):
            if task["id"] in rows["tasks"]:
                changed |= {("completed_tasks", self.complete(task, self.moment()))}
        project = random.choice(projects)
        new = self.task(project, self.moment())
        note = self.comment(rows["tasks"][new], self.moment())
        return {(stream, key) for stream, key in changed | {("tasks", new), ("comments", note)} if stream != "tasks" or key in rows["tasks"]}

    def moment(self):
        """Now, or what the driver says."""
        return self.clock() if hasattr(self, "clock") else self.now()

    @staticmethod
    def error(status, tag, words, **extra):
        """An error in Todoist's form."""
        return {"error": words, "error_code": 478, "error_extra": {"event_id": "9e0f", "retry_after": 1, **extra}, "error_tag": tag, "http_code": status}

    def throttle(self):
        return Refused(429, self.error(429, "LIMITS_REACHED", "Too many requests. Limits reached. Try again later"))

    def forbid(self):
        project = next(id for id, one in self.rows["projects"].items() if one["is_shared"])
        self.forbidden.add(project)
        task = next(one for one in self.rows["tasks"].values() if one["project_id"] == project)
        del task
        return {"collaborators": [key for key in self.rows["collaborators"] if key[0] == project],
                "comments": [id for id, one in self.rows["comments"].items() if self.project_of(one) == project]}

    def archive(self):
        self.hides = True
        return {"include_archived": True}, "projects", next(id for id, one in self.rows["projects"].items() if one["is_archived"])

    def expire_page_token(self):
        self.token_expires = True

    def give_token(self, value):
        """As in core, but the same for every reader who does the same."""
        token = hashlib.sha256(f"{self.seed} {value!r}".encode()).hexdigest()[:40]
        self.tokens[token] = value
        return token

    # ------------------------------------------------------------ the API

    def authorized(self, call, *names):
        """The token, and the documented parameters."""
        if call.headers.get("Authorization") not in (f"Bearer {TOKEN}", f"Bearer {self.access}"):
            raise Refused(401, self.error(401, "AUTH_INVALID_TOKEN", "Forbidden"))
        if names:
            call.only(*names, body=self.error(400, "INVALID_ARGUMENT", "Unknown argument"))

    def page(self, call, things, envelope="results", most=200, more=None):
        """A page: never more than PAGE, whatever `limit` says, so that a short one is not the last."""
        self.paged(call, f"{call.path} {call.query.get('task_id')} {call.query.get('project_id')} {call.query.get('since')} {call.query.get('date_from')}")
        limit = call.query.get("limit", "50")
        if not limit.isdigit() or not 0 < int(limit) <= most:
            raise Refused(400, self.error(400, "INVALID_ARGUMENT_VALUE", "Invalid argument value", argument="limit", expected=f"1 to {most}"))
        same, after = {k: v for k, v in call.query.items() if k not in ("cursor", "limit")}, None
        if "cursor" in call.query:
            token = self.take_token(call.query["cursor"])
            if token is None or token[0] != same:
                raise Refused(400, self.error(400, "INVALID_ARGUMENT_VALUE", "Invalid argument value", argument="cursor"))
            after = token[1]
        things = sorted(((key, thing) for key, thing in things), key=lambda pair: pair[0])
        things = [pair for pair in things if after is None or pair[0] > after]
        page = things[:min(int(limit), PAGE)]
        cursor = self.give_token((same, page[-1][0])) if len(things) > len(page) else None
        return {envelope: [thing for _, thing in page], "next_cursor": cursor, **({} if more is None else {"has_more": cursor is not None})}

    def listed(self, stream, keep=lambda one: True):
        """A stream's rows with their places in a list."""
        return [(str(key), one) for key, one in self.rows[stream].items() if keep(one)]

    @route("POST", "/oauth/access_token")
    def renew(self, call):
        """Each refresh token serves once."""
        wanted = {"grant_type": "refresh_token", "client_id": "client", "client_secret": "secret", "refresh_token": self.refresh}
        if any(call.form.get(name) != value for name, value in wanted.items()):
            raise Refused(400, {"error": "invalid_grant"})
        self.serial += 1
        self.access, self.refresh = f"access-{self.serial}", f"refresh-{self.serial}"
        return {"access_token": self.access, "refresh_token": self.refresh, "token_type": "Bearer", "expires_in": 3600}

    @route("GET", API + "/user")
    def user(self, call):
        self.authorized(call)
        return next(iter(self.rows["user"].values()))

    @route("GET", API + "/projects")
    def projects(self, call):
        self.authorized(call, "cursor", "limit", "folder_id", "workspace_id")
        return self.page(call, self.listed("projects", lambda one: not one["is_archived"]))

    @route("GET", API + "/projects/archived")
    def archived(self, call):
        self.authorized(call, "cursor", "limit")
        return self.page(call, self.listed("projects", lambda one: one["is_archived"]))

    @route("GET", API + "/projects/{id}/collaborators")
    def collaborators(self, call):
        self.authorized(call, "cursor", "limit", "public_key")
        self.readable(call.params["id"])
        people = self.listed("collaborators", lambda one: one["project_id"] == call.params["id"])
        return self.page(call, [(key, {k: v for k, v in one.items() if k != "project_id"}) for key, one in people])

    def readable(self, id):
        """A project that may be read."""
        if id in self.forbidden:
            raise Refused(403, self.error(403, "FORBIDDEN", "Forbidden"))
        if id not in self.rows["projects"]:
            raise Refused(404, self.error(404, "NOT_FOUND", "Project not found"))
        return id

    @route("GET", API + "/sections")
    def sections(self, call):
        self.authorized(call, "cursor", "limit", "project_id")
        return self.page(call, self.listed("sections"))

    @route("GET", API + "/tasks")
    def tasks(self, call):
        self.authorized(call, "cursor", "limit", "project_id", "section_id", "parent_id", "label", "ids")
        return self.page(call, self.listed("tasks"))

    @route("GET", API + "/labels")
    def labels(self, call):
        self.authorized(call, "cursor", "limit")
        return self.page(call, self.listed("labels"))

    @route("GET", API + "/comments")
    def comments(self, call):
        self.authorized(call, "cursor", "limit", "project_id", "task_id", "public_key")
        task, project = call.query.get("task_id"), call.query.get("project_id")
        if (task is None) == (project is None):
            raise Refused(400, self.error(400, "ARGUMENT_MISSING", "Required argument is missing", argument="task_id"))
        if task is not None and task not in self.rows["tasks"]:
            raise Refused(404, self.error(404, "NOT_FOUND", "Task not found"))
        self.readable(project or self.rows["tasks"][task]["project_id"])
        return self.page(call, self.listed("comments", lambda one: one.get("item_id") == task and one.get("project_id") == project))

    @route("GET", API + "/workspaces")
    def workspaces(self, call):
        self.authorized(call)
        return [{**one, "id": int(one["id"]), "creator_id": int(one["creator_id"])} for one in self.rows["workspaces"].values()]

    @route("GET", API + "/workspaces/users")
    def workspace_users(self, call):
        self.authorized(call, "cursor", "limit", "workspace_id")
        return self.page(call, self.listed("workspace_users"), "workspace_users", 100, more=True)

    @route("GET", API + "/tasks/completed/by_completion_date")
    def completed(self, call):
        self.authorized(call, "since", "until", "workspace_id", "project_id", "section_id", "parent_id", "filter_query", "filter_lang",
                        "cursor", "limit", "public_key")
        since, until = moment_of(call.query.get("since")), moment_of(call.query.get("until"))
        if since is None or until is None or until - since > 92 * 86400:
            raise Refused(400, self.error(400, "INVALID_ARGUMENT_VALUE", "Invalid date range", argument="since"))
        there = [(key, one) for key, one in self.listed("completed_tasks") if since <= moment_of(one["completed_at"]) < until]
        return self.page(call, there, "items")

    @route("GET", API + "/activities")
    def activities(self, call):
        self.authorized(call, "object_type", "object_id", "parent_project_id", "parent_item_id", "include_parent_object", "include_child_objects",
                        "initiator_id", "initiator_id_null", "event_type", "ensure_last_state", "annotate_notes", "annotate_parents",
                        "object_event_types", "workspace_id", "date_from", "date_to", "cursor", "limit")
        first, last = call.query.get("date_from", "0000"), call.query.get("date_to", "9999")
        there = [(key, one) for key, one in self.listed("activities") if first <= one["event_date"][:10] <= last]
        return self.page(call, there)


if __name__ == "__main__":
    main(Todoist)
