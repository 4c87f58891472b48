#!/usr/bin/env python3
"""A GitLab-shaped vendor, made from the documentation of its REST API (docs.gitlab.com/api); GitLab's OpenAPI file was not at hand.

It pages by number with Link and X- headers, and by keyset where asked; it takes undocumented parameters for a fault. [open] marks
what the documentation leaves open.
"""
import sys
import time
from urllib.parse import urlencode

if __name__ == "__main__":
    sys.path[0] = sys.path[0].rsplit("/", 1)[0]

from vendors.core import Refused, Reply, Stream, Vendor, main, moment_of, route, stamp

BASE = "/api/v4"
IN_PROJECT = {"per": lambda record: record["project_id"]}
IN_GROUP = {"per": lambda record: record["group_id"]}
HIDDEN = ("runners_token", "issue", "merge_request")  # what is not the API's, or not the tap's


class Gitlab(Vendor):
    """GitLab: a user, groups with a subgroup, and projects of groups and of the user."""

    source, base = "gitlab", BASE
    streams = {
        "projects": Stream(key=["id"]),
        "groups": Stream(key=["id"]),
        "issues": Stream(key=["id"], cursor="updated_at", **IN_PROJECT),
        "merge_requests": Stream(key=["id"], cursor="updated_at", **IN_PROJECT),
        # All notes of what changed.
        "issue_notes": Stream(key=["id"], cursor="updated_at", loose=True),
        "merge_request_notes": Stream(key=["id"], cursor="updated_at", loose=True),
        "milestones": Stream(key=["id"]),
        "labels": Stream(key=["id"]),
        "boards": Stream(key=["id"]),
        "members": Stream(key=["project_id", "id"]),
        "group_members": Stream(key=["group_id", "id"]),
        "group_milestones": Stream(key=["id"]),
        "group_labels": Stream(key=["id"]),
        "iterations": Stream(key=["id"]),
        "epics": Stream(key=["id"], cursor="updated_at", **IN_GROUP),
    }

    def fill(self, random, size):
        self.token, self.next, self.gone, self.refresh_token = "glpat-test", 100, set(), "first"
        self.api, self.site = f"{self.url}{BASE}", "https://gitlab.test"
        self.people = [self.user(n) for n in range(9)]
        for path, parent in (("acme", None), ("acme/platform", "acme"), ("globex", None)):
            self.group(path, parent)
        for name in ("acme/website", "acme/platform/api", "acme/old", "globex/tools", "eve/notes"):
            self.project(name)
        self.project("acme/archive", archived=True)
        projects = [row["id"] for row in self.rows["projects"].values()]
        shared = [stamp(self.past()) for _ in range(3)]
        for n in range(size):
            at = random.choice(shared) if n % 5 == 0 else stamp(self.past())
            project = self.rows["projects"][random.choices(projects, (62, 15, 9, 8, 4, 2))[0]]
            issue = self.issue(project, at)
            if n % 3 == 0:
                self.note(issue, "issue_notes", at)
            if n % 5 == 0:
                merge = self.merge_request(project, at)
                self.note(merge, "merge_request_notes", at)

    # ------------------------------------------------------------ the account

    def id(self):
        """An id, never the same twice."""
        self.next += self.random.randrange(1, 9)
        return self.next

    def user(self, n):
        """Somebody, as they stand in other records."""
        return {"id": 10 + n, "username": f"user{n}", "public_email": None, "name": f"User {n}", "state": "active", "locked": False,
                "avatar_url": None if n % 2 else f"{self.site}/u/{n}.png", "web_url": f"{self.site}/user{n}"}

    def someone(self):
        """Somebody."""
        return self.random.choice(self.people)

    def group(self, path, parent):
        """Adds a group with what it has."""
        made, number = stamp(self.past()), self.id()
        parents = {row["full_path"]: row["id"] for row in self.rows["groups"].values()}
        self.rows["groups"][number] = {
            "id": number, "web_url": f"{self.site}/groups/{path}", "name": path.split("/")[-1].title(), "path": path.split("/")[-1],
            "description": "", "visibility": "private", "share_with_group_lock": False, "require_two_factor_authentication": False,
            "two_factor_grace_period": 48, "project_creation_level": "developer", "auto_devops_enabled": None,
            "subgroup_creation_level": "owner", "emails_disabled": False, "emails_enabled": True, "mentions_disabled": None,
            "lfs_enabled": True, "default_branch": None, "default_branch_protection": 2, "avatar_url": None,
            "request_access_enabled": True, "full_name": path.replace("/", " / "), "full_path": path, "created_at": made,
            "parent_id": parents.get(parent), "shared_runners_setting": "enabled", "marked_for_deletion_on": None}
        for n in range(3):
            self.label("group_labels", group_id=number)
            self.milestone("group_milestones", n + 1, group_id=number)
            one = self.id()
            self.rows["iterations"][one] = {
                "id": one, "iid": n + 1, "sequence": n + 1, "group_id": number, "title": None if n else self.name(), "description": None,
                "state": n + 1, "created_at": made, "updated_at": made, "start_date": f"2024-0{n + 1}-01",
                "due_date": f"2024-0{n + 1}-28", "web_url": f"{self.site}/groups/{path}/-/iterations/{one}"}
            self.epic(self.rows["groups"][number], n + 1, stamp(self.past()))

    def epic(self, group, iid, at):
        """Adds an epic."""
        number, url = self.id(), f"{self.api}/groups/{group['id']}/epics/{iid}"
        self.rows["epics"][number] = {
            "id": number, "work_item_id": number + 1, "iid": iid, "color": "#1068bf", "text_color": "#FFFFFF", "group_id": group["id"],
            "parent_id": None, "parent_iid": None, "title": self.name(), "description": None, "confidential": False,
            "author": self.someone(), "start_date": None, "start_date_is_fixed": False, "start_date_fixed": None, "due_date": "2025-06-01",
            "due_date_is_fixed": True, "due_date_fixed": "2025-06-01", "state": "opened", "web_url": f"{self.site}/e/{iid}",
            "references": {"short": f"&{iid}", "relative": f"&{iid}", "full": f"{group['full_path']}&{iid}"}, "created_at": at,
            "updated_at": at, "closed_at": None, "labels": ["one"], "upvotes": 0, "downvotes": 0,
            "_links": {"self": url, "epic_issues": f"{url}/issues", "group": f"{self.api}/groups/{group['id']}", "parent": None}}

    def label(self, stream, **home):
        """Adds a label."""
        number = self.id()
        self.rows[stream][number] = {
            "id": number, "name": f"{self.name()} {number}", "description": None, "description_html": "", "text_color": "#FFFFFF",
            "color": "#d9534f", "subscribed": False, **({"priority": None} if "project_id" in home else {}),
            "is_project_label": "project_id" in home, **home}

    def milestone(self, stream, iid, **home):
        """Adds a milestone."""
        number, at = self.id(), stamp(self.past())
        self.rows[stream][number] = {
            "id": number, "iid": iid, **home, "title": f"v{iid}.0", "description": "", "state": self.random.choice(("active", "closed")),
            "created_at": at, "updated_at": at, "due_date": None if iid % 2 else "2024-07-01", "start_date": None, "expired": False,
            "web_url": f"{self.site}/m/{number}"}

    def project(self, path, archived=False):
        """Adds a project with what it has."""
        number, at, short = self.id(), stamp(self.past()), path.split("/")[-1]
        group = next((row for row in self.rows["groups"].values() if row["full_path"] == path.rsplit("/", 1)[0]), None)
        home = {"id": group["id"], "name": group["name"], "path": group["path"], "kind": "group", "full_path": group["full_path"],
                "parent_id": group["parent_id"]} if group else {"id": 1, "name": "Eve", "path": "eve", "kind": "user",
                                                                 "full_path": "eve", "parent_id": None}
        own = f"{self.api}/projects/{number}"
        self.rows["projects"][number] = {
            "id": number, "description": None, "name": short, "name_with_namespace": path.replace("/", " / "), "path": short,
            "path_with_namespace": path, "created_at": at, "updated_at": at, "default_branch": "main", "tag_list": ["one"],
            "topics": ["one"], "ssh_url_to_repo": f"git@gitlab.test:{path}.git", "http_url_to_repo": f"{self.site}/{path}.git",
            "web_url": f"{self.site}/{path}", "readme_url": None, "avatar_url": None, "forks_count": 0, "star_count": 1,
            "last_activity_at": at, "namespace": {**home, "avatar_url": None, "web_url": f"{self.site}/{home['full_path']}"},
            "_links": {"self": own, **{what: f"{own}/{what}" for what in ("issues", "merge_requests", "labels", "events", "members")}},
            "visibility": "private", "archived": archived, "creator_id": 10, "open_issues_count": 1, "empty_repo": False,
            "issues_enabled": True, "issues_access_level": "enabled", "merge_method": "merge", "runners_token": "GR1348941secret",
            "permissions": {"project_access": None, "group_access": {"access_level": 50, "notification_level": 3}},
            "shared_with_groups": []}
        for n in range(3):
            self.label("labels", project_id=number)
            self.milestone("milestones", n + 1, project_id=number)
        labels = [self.bare(row, "project_id") for row in self.rows["labels"].values() if row["project_id"] == number]
        board = self.id()
        lists = [{"id": self.id(), "label": label, "position": n, "max_issue_count": 0, "max_issue_weight": 0, "limit_metric": None}
                 for n, label in enumerate(labels[:2])]
        self.rows["boards"][board] = {"id": board, "name": "Development", "hide_backlog_list": False, "hide_closed_list": False,
                                      "milestone": None, "lists": lists, "group": None, "assignee": None, "labels": [], "weight": None,
                                      "project_id": number}

    @staticmethod
    def bare(row, *more):
        """A row without what is not the API's."""
        return {key: value for key, value in row.items() if key not in (*HIDDEN[1:], *more)}

    def of(self, stream, project):
        """Rows of a project."""
        return [row for row in self.rows[stream].values() if row["project_id"] == project]

    def common(self, project, stream, mark, at):
        """What issues and merge requests have in common."""
        dice, number, iid = self.random, self.id(), len(self.of(stream, project["id"])) + 1
        people, stones = dice.sample(self.people, dice.randrange(3)), self.of("milestones", project["id"])
        short = f"{mark}{iid}"
        return {
            "id": number, "iid": iid, "project_id": project["id"], "title": self.name(), "created_at": at, "updated_at": at,
            "description": None if dice.random() < 0.3 else self.name(), "state": "opened", "closed_at": None, "closed_by": None,
            "labels": [label["name"] for label in dice.sample(self.of("labels", project["id"]), dice.randrange(3))], "upvotes": 0,
            "downvotes": 0, "author": self.someone(), "assignees": people, "assignee": people[0] if people else None,
            "milestone": dice.choice([None, *stones]), "user_notes_count": 0, "discussion_locked": None,
            "web_url": f"{project['web_url']}/-/{stream}/{iid}", "imported": False, "imported_from": "none",
            "time_stats": {"time_estimate": 3600, "total_time_spent": 0, "human_time_estimate": "1h", "human_total_time_spent": None},
            "task_completion_status": {"count": 0, "completed_count": 0},
            "references": {"short": short, "relative": short, "full": f"{project['path_with_namespace']}{short}"}}

    def issue(self, project, at):
        """Adds an issue."""
        row, dice = self.common(project, "issues", "#", at), self.random
        own, closed = f"{self.api}/projects/{project['id']}/issues/{row['iid']}", dice.random() < 0.4
        row.update({
            "type": "ISSUE", "merge_requests_count": 0, "due_date": dice.choice((None, "2024-12-24")), "confidential": False,
            "issue_type": "issue", "weight": dice.choice((None, 3)), "blocking_issues_count": 0, "has_tasks": False, "severity": "UNKNOWN",
            "_links": {"self": own, "notes": f"{own}/notes", "award_emoji": f"{own}/award_emoji",
                       "project": f"{self.api}/projects/{project['id']}", "closed_as_duplicate_of": None},
            "moved_to_id": None, "service_desk_reply_to": None, "epic_iid": None, "epic": None, "iteration": None,
            "health_status": dice.choice((None, "on_track"))})
        if closed:
            row.update({"state": "closed", "closed_at": at, "closed_by": self.someone()})
        self.rows["issues"][row["id"]] = row
        return row

    def merge_request(self, project, at):
        """Adds a merge request."""
        row = self.common(project, "merge_requests", "!", at)
        row.update({
            "merged_by": None, "merge_user": None, "merged_at": None, "target_branch": "main", "source_branch": "topic",
            "reviewers": [], "source_project_id": project["id"], "target_project_id": project["id"], "draft": False,
            "work_in_progress": False, "merge_when_pipeline_succeeds": False, "merge_status": "unchecked",
            "detailed_merge_status": "not_open", "sha": f"{row['id']:040x}", "merge_commit_sha": None, "squash_commit_sha": None,
            "should_remove_source_branch": None, "force_remove_source_branch": True, "prepared_at": at, "merge_after": None,
            "reference": row["references"]["short"], "squash": False, "squash_on_merge": False, "has_conflicts": False,
            "blocking_discussions_resolved": True, "approvals_before_merge": None})
        self.rows["merge_requests"][row["id"]] = row
        return row

    def note(self, on, stream, at):
        """Adds a note."""
        number, kind = self.id(), {"issue_notes": "Issue", "merge_request_notes": "MergeRequest"}[stream]
        self.rows[stream][number] = {
            "id": number, "type": None, "body": self.name(), "author": self.someone(), "created_at": at, "updated_at": at,
            "system": self.random.random() < 0.3, "noteable_id": on["id"], "noteable_type": kind, "project_id": on["project_id"],
            "resolvable": False, "confidential": False, "internal": False, "imported": False, "imported_from": "none",
            "noteable_iid": on["iid"], "commands_changes": {}}

    def member(self, user):
        """A member."""
        return {**user, "access_level": 30, "created_at": "2024-01-01T00:00:00.000Z", "created_by": self.people[0], "expires_at": None,
                "membership_state": "active"}

    # ------------------------------------------------------------ what the driver asks

    def config(self, **more):
        return {"access_token": self.token, "api_url": self.api, **more}

    def bad_config(self):
        return self.config(access_token="glpat-wrong")

    def truth(self, stream):
        if stream == "members":
            return {(project, user["id"]): {**self.member(user), "project_id": project}
                    for project in self.rows["projects"] if project not in self.gone for user in self.people}
        if stream == "group_members":
            return {(group, user["id"]): {**self.member(user), "group_id": group} for group in self.rows["groups"] for user in self.people[:5]}
        rows = self.rows[stream]
        if stream != "projects":
            rows = {key: row for key, row in rows.items() if row.get("project_id") not in self.gone}
        return {(key,): {k: v for k, v in row.items() if k not in HIDDEN} for key, row in rows.items()}

    def edit(self, random):
        changed, at = set(), stamp(self.now())
        for stream, notes in (("issues", "issue_notes"), ("merge_requests", "merge_request_notes")):
            rows = [row for row in self.rows[stream].values() if row["project_id"] not in self.gone]
            for row in random.sample(rows, min(4, len(rows))):
                row["title"], row["updated_at"] = self.name(), at
                changed.add((stream, (row["id"],)))
            if rows:
                before = set(self.rows[notes])
                row["user_notes_count"] += 1
                self.note(row, notes, at)
                changed |= {(notes, (key,)) for key in set(self.rows[notes]) - before}
        open_ones = [row for row in self.rows["projects"].values() if row["id"] not in self.gone]
        changed.add(("issues", (self.issue(random.choice(open_ones), at)["id"],)))
        epic = random.choice(list(self.rows["epics"].values()))
        epic["title"], epic["updated_at"] = self.name(), at
        return changed | {("epics", (epic["id"],))}

    def throttle(self):
        return Refused(429, "Retry later\n", {"Retry-After": "1", "RateLimit-Limit": "2000", "RateLimit-Remaining": "0",
                                              "RateLimit-Reset": str(int(time.time()) + 1), "Content-Type": "text/plain"})

    def forbid(self):
        lists = ("issues", "merge_requests", "issue_notes", "merge_request_notes", "milestones", "labels", "boards", "members")
        before = {stream: set(self.truth(stream)) for stream in lists}
        self.gone.add(next(row["id"] for row in self.rows["projects"].values() if row["path"] == "api"))
        return {stream: sorted(keys - set(self.truth(stream))) for stream, keys in before.items()}

    # ------------------------------------------------------------ answers

    def authorized(self, call):
        """Refuses a call without a good token."""
        if call.headers.get("Authorization") != f"Bearer {self.token}" and call.headers.get("PRIVATE-TOKEN") != self.token:
            raise Refused(401, {"message": "401 Unauthorized"})

    def page(self, call, rows, *names):
        """One page, and the links to others. By keyset a page begins behind the last row of the one before."""
        call.only("per_page", "page", "pagination", "cursor", "id_after", *names, body={"error": "unknown parameters"})
        size, keyset = call.number("per_page", 20, 1, 100), call.query.get("pagination") == "keyset"
        self.paged(call)
        rows = [self.bare(row) for row in rows]
        link = lambda rel, **more: f"<{self.url}{call.path.replace(' ', '%20')}?{urlencode({**call.query, **more})}>; rel=\"{rel}\""
        if keyset:
            start = 0
            if cursor := call.query.get("cursor"):
                wanted = self.tokens.get(cursor)
                start = next((n for n, row in enumerate(rows) if self.behind(call, row) > wanted), len(rows))
            page = rows[start:start + size]
            more = start + size < len(rows)
            return Reply(page, {"Link": link("next", cursor=self.give_token(self.behind(call, page[-1])))} if more else {})
        number = call.number("page", 1, 1)
        last = max(1, -(-len(rows) // size))
        links = [link("prev", page=number - 1)] if number > 1 else []
        links += [link("next", page=number + 1)] if number < last else []
        links += [link("first", page=1), link("last", page=last)]
        headers = {"Link": ", ".join(links), "X-Page": number, "X-Per-Page": size, "X-Total": len(rows), "X-Total-Pages": last,
                   "X-Next-Page": number + 1 if number < last else "", "RateLimit-Limit": 2000, "RateLimit-Remaining": 1999,
                   "RateLimit-Reset": int(time.time()) + 60, "RateLimit-Observed": 1}
        return Reply(rows[(number - 1) * size:number * size], headers)

    @staticmethod
    def behind(call, row):
        """Where a row stands in the order that was asked for."""
        by = moment_of(row["updated_at"]) if call.query.get("order_by") == "updated_at" else row["id"]
        sign = -1 if call.query.get("sort", "desc") == "desc" else 1
        return sign * by, sign * row["id"]

    def ordered(self, call, rows, fields):
        """Rows by `order_by`, `sort`, `updated_after` and `state`."""
        by, sort = call.query.get("order_by", "created_at"), call.query.get("sort", "desc")
        if by not in fields or sort not in ("asc", "desc"):
            raise Refused(400, {"error": "order_by does not have a valid value"})
        if after := call.query.get("updated_after"):
            if (bound := moment_of(after)) is None:
                raise Refused(400, {"error": "updated_after is invalid"})
            rows = [row for row in rows if moment_of(row["updated_at"]) >= bound]
        if call.query.get("state", "all") != "all":
            rows = [row for row in rows if row["state"] == call.query["state"]]
        return sorted(rows, key=lambda row: (row[by], row["id"]), reverse=sort == "desc")

    def place(self, call, what="projects"):
        """The project or group of a call, by id or by path."""
        self.authorized(call)
        wanted = call.params.get("id") or "/".join(call.params[part] for part in sorted(call.params))
        row = next((row for row in self.rows[what].values() if wanted in (
            str(row["id"]), row["path_with_namespace" if what == "projects" else "full_path"])), None)
        if row is None or row["id"] in self.gone:
            raise Refused(404, {"message": f"404 {what[:-1].title()} Not Found"})
        return row

    @route("GET", BASE + "/projects")
    def projects(self, call):
        self.authorized(call)
        if call.query.get("pagination") == "keyset" and call.query.get("order_by") != "id":
            raise Refused(405, {"error": "Keyset pagination is not yet available for this type of request"})
        rows = sorted(self.rows["projects"].values(), key=lambda row: -row["id"])
        return self.page(call, rows, "membership", "order_by", "sort", "archived")

    @route("GET", BASE + "/projects/{a}")
    @route("GET", BASE + "/projects/{a}/{b}")
    @route("GET", BASE + "/projects/{a}/{b}/{c}")
    def one_project(self, call):
        return self.bare(self.place(call))

    @route("GET", BASE + "/groups")
    def groups(self, call):
        self.authorized(call)
        return self.page(call, list(self.rows["groups"].values()), "all_available", "top_level_only")

    @route("GET", BASE + "/groups/{id:path}/projects")
    def group_projects(self, call):
        home = self.place(call, "groups")["full_path"]
        deep = call.query.get("include_subgroups") == "true"
        rows = [row for row in self.rows["projects"].values() if (at := row["namespace"]["full_path"]) == home
                or deep and at.startswith(f"{home}/")]
        return self.page(call, rows, "include_subgroups", "with_shared", "archived")

    @route("GET", BASE + "/groups/{id:path}/descendant_groups")
    def descendants(self, call):
        home = self.place(call, "groups")["full_path"]
        return self.page(call, [row for row in self.rows["groups"].values() if row["full_path"].startswith(f"{home}/")])

    @route("GET", BASE + "/groups/{a}")
    @route("GET", BASE + "/groups/{a}/{b}")
    def one_group(self, call):
        group = self.bare(self.place(call, "groups"))
        return group if call.query.get("with_projects") == "false" else {**group, "projects": []}

    @route("GET", BASE + "/projects/{id}/issues")
    def issues(self, call):
        rows = self.ordered(call, self.of("issues", self.place(call)["id"]), ("created_at", "updated_at"))
        return self.page(call, rows, "scope", "state", "order_by", "sort", "updated_after")

    @route("GET", BASE + "/projects/{id}/merge_requests")
    def merge_requests(self, call):
        rows = self.ordered(call, self.of("merge_requests", self.place(call)["id"]), ("created_at", "updated_at"))
        return self.page(call, rows, "scope", "state", "order_by", "sort", "updated_after")

    def notes(self, call, parents, stream):
        """Notes of one of a project's issues or merge requests."""
        on = next((row for row in self.of(parents, self.place(call)["id"]) if str(row["iid"]) == call.params["iid"]), None)
        if on is None:
            raise Refused(404, {"message": "404 Not found"})
        rows = [row for row in self.rows[stream].values() if row["noteable_id"] == on["id"]]
        return self.page(call, self.ordered(call, rows, ("created_at", "updated_at")), "order_by", "sort")

    @route("GET", BASE + "/projects/{id}/issues/{iid}/notes")
    def issue_notes(self, call):
        return self.notes(call, "issues", "issue_notes")

    @route("GET", BASE + "/projects/{id}/merge_requests/{iid}/notes")
    def merge_request_notes(self, call):
        return self.notes(call, "merge_requests", "merge_request_notes")

    @route("GET", BASE + "/projects/{id}/milestones")
    def milestones(self, call):
        return self.page(call, self.of("milestones", self.place(call)["id"]), "state")

    @route("GET", BASE + "/projects/{id}/labels")
    def labels(self, call):
        rows = self.of("labels", self.place(call)["id"])
        if call.query.get("include_ancestor_groups", "true") == "true":
            rows = [*rows, *self.rows["group_labels"].values()]
        return self.page(call, [self.bare(row, "project_id") for row in rows], "include_ancestor_groups", "with_counts")

    @route("GET", BASE + "/projects/{id}/boards")
    def boards(self, call):
        project = self.place(call)
        rows = [{**self.bare(row, "project_id"), "project": self.bare(project)} for row in self.of("boards", project["id"])]
        return self.page(call, rows)

    @route("GET", BASE + "/projects/{id}/members/all")
    def members(self, call):
        self.place(call)
        return self.page(call, [self.member(user) for user in self.people], "state")

    @route("GET", BASE + "/groups/{id}/members/all")
    def group_members(self, call):
        self.place(call, "groups")
        return self.page(call, [self.member(user) for user in self.people[:5]], "state")

    def in_group(self, call, stream):
        """Rows of a group."""
        group = self.place(call, "groups")["id"]
        return [row for row in self.rows[stream].values() if row["group_id"] == group]

    @route("GET", BASE + "/groups/{id}/milestones")
    def group_milestones(self, call):
        return self.page(call, self.in_group(call, "group_milestones"), "state")

    @route("GET", BASE + "/groups/{id}/labels")
    def group_labels(self, call):
        rows = [self.bare(row, "group_id") for row in self.in_group(call, "group_labels")]
        return self.page(call, rows, "include_ancestor_groups", "include_descendant_groups")

    @route("GET", BASE + "/groups/{id}/iterations")
    def iterations(self, call):
        rows = self.in_group(call, "iterations")
        if call.query.get("include_ancestors", "true") == "true":
            rows = list(self.rows["iterations"].values())
        return self.page(call, rows, "state", "include_ancestors")

    @route("GET", BASE + "/groups/{id}/epics")
    def epics(self, call):
        rows = self.in_group(call, "epics")
        if call.query.get("include_descendant_groups", "true") == "true":
            rows = list(self.rows["epics"].values())
        rows = self.ordered(call, rows, ("created_at", "updated_at"))
        return self.page(call, rows, "state", "order_by", "sort", "updated_after", "include_ancestor_groups", "include_descendant_groups")

    @route("POST", "/oauth/token")
    def login(self, call):
        if call.form.get("grant_type") != "refresh_token" or call.form.get("refresh_token") != self.refresh_token:
            raise Refused(400, {"error": "invalid_grant", "error_description": "The provided authorization grant is invalid."})
        self.token, self.refresh_token = f"access-{self.id()}", f"refresh-{self.id()}"
        return {"access_token": self.token, "token_type": "Bearer", "expires_in": 7200, "refresh_token": self.refresh_token,
                "created_at": int(time.time())}


if __name__ == "__main__":
    main(Gitlab)
