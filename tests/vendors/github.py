#!/usr/bin/env python3
"""A GitHub-shaped vendor, made from its OpenAPI file and its documentation of paging, limits and errors.

Its base is that of GitHub Enterprise Server (`/api/v3`), so that a base with a path is covered. Lists have numbered pages, and
links that name repositories by their id. Every answer is checked against GitHub's OpenAPI file. What the file leaves open is marked [open].
"""
import sys
import time
from urllib.parse import urlencode

if __name__ == "__main__":
    sys.path[0] = sys.path[0].rsplit("/", 1)[0]

from vendors.core import Refused, Reply, Stream, Vendor, main, moment_of, route, stamp

BASE = "/api/v3"
DOCS = "https://docs.github.com/rest"
PER_REPOSITORY = {"per": lambda record: record["repository_full_name"]}
ITEM_FIELDS = [(101, "Notes", "text"), (102, "Points", "number"), (103, "Due", "date"), (104, "Status", "single_select"),
               (105, "Sprint", "iteration"), (106, "Title", "title"), (107, "Assignees", "assignees")]
CUSTOM = ("text", "number", "date", "single_select", "iteration")
TEMPLATES = {
    "archive": "{/archive_format}{/ref}", "assignees": "{/user}", "blobs": "{/sha}", "branches": "{/branch}", "collaborators":
    "{/collaborator}", "comments": "{/number}", "commits": "{/sha}", "compare": "{/base}...{head}", "contents": "/{+path}",
    "contributors": "", "deployments": "", "downloads": "", "events": "", "forks": "", "git_commits": "{/sha}", "git_refs": "{/sha}",
    "git_tags": "{/sha}", "issue_comment": "{/number}", "issue_events": "{/number}", "issues": "{/number}", "keys": "{/key_id}",
    "labels": "{/name}", "languages": "", "merges": "", "milestones": "{/number}", "notifications": "{?since}", "pulls": "{/number}",
    "releases": "{/id}", "stargazers": "", "statuses": "{/sha}", "subscribers": "", "subscription": "", "tags": "", "teams": "",
    "trees": "{/sha}", "hooks": ""}


def refusal(status, message, headers=None):
    """An error as GitHub words them."""
    return Refused(status, {"message": message, "documentation_url": DOCS, "status": str(status)}, headers)


class Github(Vendor):
    """GitHub: one user, two organizations, repositories of all of them."""

    source, specified, base = "github", True, BASE
    streams = {
        "repositories": Stream(key=["id"]),
        "organizations": Stream(key=["id"]),
        "issues": Stream(key=["id"], cursor="updated_at", **PER_REPOSITORY),
        "issue_comments": Stream(key=["id"], cursor="updated_at", **PER_REPOSITORY),
        "issue_events": Stream(key=["id"], cursor="created_at", **PER_REPOSITORY),
        "pull_requests": Stream(key=["id"], cursor="updated_at", **PER_REPOSITORY),
        "review_comments": Stream(key=["id"], cursor="updated_at", **PER_REPOSITORY),
        "labels": Stream(key=["id"]),
        "milestones": Stream(key=["id"]),
        "assignees": Stream(key=["repository_full_name", "id"]),
        "collaborators": Stream(key=["repository_full_name", "id"]),
        "members": Stream(key=["organization_login", "id"]),
        "teams": Stream(key=["id"]),
        "team_members": Stream(key=["organization_login", "team_slug", "id"]),
        "projects": Stream(key=["id"]),
        "project_fields": Stream(key=["id"]),
        "project_items": Stream(key=["id"]),
        "project_item_values": Stream(key=["id", "project_field_id"]),
    }

    def fill(self, random, size):
        self.token, self.next, self.gone, self.refresh_token = "ghp_test", 1000, set(), "ghr_first"
        self.site, self.api = "https://github.test", f"{self.url}{BASE}"
        self.people = [self.user(n) for n in range(9)]
        for login in ("acme", "globex"):
            self.rows["organizations"][login] = {
                **self.ids(), "login": login, "url": f"{self.api}/orgs/{login}", "description": None,
                **{f"{what}_url": f"{self.api}/orgs/{login}/{what}" for what in ("repos", "events", "hooks", "issues")},
                "members_url": f"{self.api}/orgs/{login}/members{{/member}}", "avatar_url": f"{self.site}/{login}.png",
                "public_members_url": f"{self.api}/orgs/{login}/public_members{{/member}}"}
            for n in range(3 if login == "acme" else 1):
                self.team(login, n)
            for n in range(2 if login == "acme" else 0):
                self.project(login, n + 1)
        names = ["acme/website", "acme/api", "acme/Old.Stuff", "acme/empty", "globex/tools", "mona/dotfiles"]
        for name in names:
            self.repository(name)
        full = [name for name in names if name != "acme/empty"]
        shared = [stamp(self.past(), ms=False) for _ in range(3)]
        for n in range(size):
            at = random.choice(shared) if n % 5 == 0 else stamp(self.past(), ms=False)
            issue = self.issue(random.choices(full, (65, 15, 8, 8, 4))[0], at, pull=n % 5 == 3)
            if n % 2:
                self.comment(issue, at)
            if n % 3 == 0:
                self.event(issue, random.choice(("closed", "labeled", "assigned", "renamed")), at)
            if n % 5 == 3 and n % 2:
                self.review_comment(issue, at)
        for n in range(min(size, 40)):
            self.item("acme", n % 2 + 1)

    # ------------------------------------------------------------ the account

    def ids(self):
        """An id, never the same twice."""
        self.next += self.random.randrange(1, 9)
        return {"id": self.next, "node_id": f"N_{self.next:x}"}

    def user(self, n):
        """Somebody, as they stand in other records."""
        login = ("mona", "hubot")[n] if n < 2 else f"user{n}"
        api = f"{self.api}/users/{login}"
        lists = {name: f"{api}/{name}" for name in ("followers", "subscriptions", "repos", "received_events")}
        return {"login": login, **self.ids(), "avatar_url": f"{self.site}/u/{n}.png", "gravatar_id": "", "url": api,
                "html_url": f"{self.site}/{login}", **{f"{name}_url": url for name, url in lists.items()},
                "organizations_url": f"{api}/orgs", "following_url": f"{api}/following{{/other_user}}",
                "gists_url": f"{api}/gists{{/gist_id}}", "starred_url": f"{api}/starred{{/owner}}{{/repo}}",
                "events_url": f"{api}/events{{/privacy}}", "type": "User", "site_admin": False, "user_view_type": "public"}

    def someone(self):
        """Somebody."""
        return self.random.choice(self.people)

    def repository(self, name):
        """Adds a repository with its labels and milestones."""
        owner, short = name.split("/")
        api, made, dice = f"{self.api}/repos/{name}", stamp(self.past(), ms=False), self.random
        row = {
            **self.ids(), "name": short, "full_name": name, "private": dice.random() < 0.5, "owner": self.someone(), "license": None,
            "html_url": f"{self.site}/{name}", "description": None if dice.random() < 0.3 else self.name(), "fork": False, "url": api,
            **{f"{what}_url": f"{api}/{what}{rest}" for what, rest in TEMPLATES.items()},
            **{f"{kind}_url": f"{kind}:{name}.git" for kind in ("git", "ssh", "clone", "svn")}, "mirror_url": None, "homepage": None,
            "language": None, "forks_count": 0, "forks": 0, "stargazers_count": 3, "watchers_count": 3, "watchers": 3, "size": 108,
            "default_branch": "main", "open_issues_count": 1, "open_issues": 1, "is_template": False, "topics": ["one", "two"],
            "has_issues": True, "has_projects": True, "has_wiki": False, "has_pages": False, "has_downloads": True,
            "has_discussions": False, "archived": False, "disabled": False, "visibility": "public", "pushed_at": made,
            "created_at": made, "updated_at": made, "allow_forking": True, "web_commit_signoff_required": False,
            "permissions": {"admin": False, "push": True, "pull": True}}
        self.rows["repositories"][name] = row
        for n in range(dice.randrange(2, 5)):
            label = {**self.ids(), "url": f"{api}/labels/l{n}", "name": f"l{n} {self.name()}", "description": None, "color": "f29513",
                     "default": n == 0, "repository_full_name": name}
            self.rows["labels"][label["id"]] = label
        for n in range(1, dice.randrange(2, 4)):
            stone = {"url": f"{api}/milestones/{n}", "html_url": f"{self.site}/{name}/milestone/{n}", "creator": self.someone(),
                     "labels_url": f"{api}/milestones/{n}/labels", **self.ids(), "number": n, "state": dice.choice(("open", "closed")),
                     "title": f"v{n}.0", "description": None, "open_issues": 1, "closed_issues": 0, "created_at": made,
                     "updated_at": made, "closed_at": None, "due_on": None if n % 2 else made, "repository_full_name": name}
            self.rows["milestones"][stone["id"]] = stone

    def of(self, stream, name):
        """Rows of a repository."""
        return [row for row in self.rows[stream].values() if row["repository_full_name"] == name]

    @staticmethod
    def bare(row, *more):
        """A row as the API gives it: what tells its place is the tap's."""
        mine = ("repository_full_name", "organization_login", "project_number", "team_slug", "is_pull_request", *more)
        return {key: value for key, value in row.items() if key not in mine}

    def issue(self, name, at, pull=False):
        """Adds an issue, with the pull request that it stands for if it does."""
        dice, numbers = self.random, [row["number"] for row in self.of("issues", name)]
        number, api = max(numbers, default=0) + 1, f"{self.api}/repos/{name}"
        url, page = f"{api}/issues/{number}", f"{self.site}/{name}/{'pull' if pull else 'issues'}/{number}"
        closed, labels = dice.random() < 0.4, dice.sample(self.of("labels", name), dice.randrange(3) % 2 + 0)
        stones, people = self.of("milestones", name), dice.sample(self.people, dice.randrange(3))
        row = {
            **self.ids(), "url": url, "repository_url": api, "labels_url": f"{url}/labels{{/name}}", "comments_url": f"{url}/comments",
            "events_url": f"{url}/events", "html_url": page, "number": number, "state": "closed" if closed else "open",
            "state_reason": "completed" if closed else None, "title": self.name(), "body": None if dice.random() < 0.2 else self.name(),
            "user": self.someone(), "labels": [self.bare(label) for label in labels], "assignee": people[0] if people else None,
            "assignees": people, "milestone": self.bare(dice.choice(stones)) if stones and dice.random() < 0.4 else None,
            "locked": False, "active_lock_reason": None, "comments": 0, "closed_at": at if closed else None, "created_at": at,
            "updated_at": at, "closed_by": None, "author_association": "MEMBER", "timeline_url": f"{url}/timeline",
            "performed_via_github_app": None, "type": None, "parent_issue_url": None, "pinned_comment": None,
            "reactions": {"url": f"{url}/reactions", "total_count": 1, "+1": 1, "-1": 0, "laugh": 0, "hooray": 0, "confused": 0,
                          "heart": 0, "rocket": 0, "eyes": 0},
            "sub_issues_summary": {"total": 0, "completed": 0, "percent_completed": 0},
            "issue_dependencies_summary": {"blocked_by": 0, "total_blocked_by": 0, "blocking": 0, "total_blocking": 0},
            "issue_field_values": self.field_values(), "repository_full_name": name, "is_pull_request": pull}
        self.rows["issues"][row["id"]] = row
        if pull:
            row["draft"] = False
            row["pull_request"] = {"merged_at": None, "diff_url": f"{page}.diff", "html_url": page, "patch_url": f"{page}.patch",
                                   "url": f"{api}/pulls/{number}"}
            self.pull(row)
        return row

    def field_values(self):
        """Custom fields of an issue, of every kind."""
        dice, high = self.random, {"id": 1, "name": "High", "color": "red"}
        kinds = {"text": "DRI 報", "number": 42, "date": "2025-12-25", "single_select": 1, "multi_select": "Frontend,Backend"}
        out = []
        for n, (kind, value) in enumerate(kinds.items()):
            if dice.random() < 0.5:
                out.append({"issue_field_id": 50 + n, "issue_field_name": kind.title(), "node_id": f"IF_{n}", "data_type": kind,
                            "value": value, **({"single_select_option": high} if kind == "single_select" else {}),
                            **({"multi_select_options": [high]} if kind == "multi_select" else {})})
        return out

    def pull(self, issue):
        """Adds the pull request of an issue."""
        name, number = issue["repository_full_name"], issue["number"]
        api, url = f"{self.api}/repos/{name}", issue["pull_request"]["url"]
        same = ("html_url", "number", "state", "locked", "title", "user", "body", "milestone", "active_lock_reason", "created_at",
                "updated_at", "closed_at", "assignee", "assignees", "author_association", "repository_full_name")
        links = {"self": url, "html": issue["html_url"], "issue": issue["url"], "comments": issue["comments_url"],
                 "review_comments": f"{url}/comments", "review_comment": f"{api}/pulls/comments{{/number}}", "commits": f"{url}/commits",
                 "statuses": f"{api}/statuses/{number:040x}"}
        row = {"url": url, **self.ids(), "diff_url": issue["pull_request"]["diff_url"], "patch_url": issue["pull_request"]["patch_url"],
               "issue_url": issue["url"], "commits_url": links["commits"], "review_comments_url": links["review_comments"],
               "review_comment_url": links["review_comment"], "comments_url": links["comments"], "statuses_url": links["statuses"],
               **{key: issue[key] for key in same}, "labels": [{**label, "description": "about it"} for label in issue["labels"]],
               "merged_at": None, "merge_commit_sha": None, "requested_reviewers": [], "requested_teams": [],
               "head": {"label": "mona:topic", "ref": "topic", "sha": f"{number:040x}", "user": self.someone(),
                        "repository_full_name": name},
               "base": {"label": "acme:main", "ref": "main", "sha": "0" * 40, "user": self.someone()},
               "_links": {key: {"href": link} for key, link in links.items()}, "auto_merge": None, "draft": False,
               "issue_id": issue["id"]}
        self.rows["pull_requests"][row["id"]] = row

    def comment(self, issue, at):
        """Adds a comment."""
        made = self.ids()
        url = f"{issue['repository_url']}/issues/comments/{made['id']}"
        self.rows["issue_comments"][made["id"]] = {
            **made, "url": url, "html_url": f"{issue['html_url']}#c{made['id']}", "body": self.name(), "user": self.someone(),
            "created_at": at, "updated_at": at, "issue_url": issue["url"], "author_association": "NONE",
            "performed_via_github_app": None, "repository_full_name": issue["repository_full_name"]}

    def event(self, issue, what, at):
        """Adds an event."""
        made, someone = self.ids(), self.someone()
        more = {"labeled": {"label": {"name": "bug", "color": "f29513"}}, "assigned": {"assignee": someone, "assigner": someone},
                "renamed": {"rename": {"from": "a", "to": "b"}}}
        self.rows["issue_events"][made["id"]] = {
            **made, "url": f"{issue['repository_url']}/issues/events/{made['id']}", "actor": someone, "event": what, "commit_id": None,
            "commit_url": None, "created_at": at, **more.get(what, {}), "performed_via_github_app": None, "issue_id": issue["id"],
            "issue_number": issue["number"], "repository_full_name": issue["repository_full_name"]}

    def review_comment(self, issue, at):
        """Adds a comment on a pull request's changes."""
        made, pull = self.ids(), issue["pull_request"]["url"]
        url = f"{issue['repository_url']}/pulls/comments/{made['id']}"
        self.rows["review_comments"][made["id"]] = {
            "url": url, "pull_request_review_id": None, **made, "diff_hunk": "@@ -1 +1 @@", "path": "README.md", "commit_id": "0" * 40,
            "original_commit_id": "0" * 40, "user": self.someone(), "body": self.name(), "created_at": at, "updated_at": at,
            "html_url": f"{issue['html_url']}#d{made['id']}", "pull_request_url": pull, "author_association": "NONE",
            "_links": {"self": {"href": url}, "html": {"href": issue["html_url"]}, "pull_request": {"href": pull}},
            "start_line": None, "line": 2, "side": "RIGHT", "repository_full_name": issue["repository_full_name"]}

    def team(self, login, n):
        """Adds a team."""
        made = self.ids()
        api = f"{self.api}/organizations/1/team/{made['id']}"
        self.rows["teams"][made["id"]] = {
            **made, "name": f"Team {n}", "slug": f"team-{n}", "description": None if n else self.name(), "privacy": "closed",
            "notification_setting": "notifications_enabled", "permission": "pull", "url": api, "html_url": f"{self.site}/t/{n}",
            "members_url": f"{api}/members{{/member}}", "repositories_url": f"{api}/repos", "type": "organization", "parent": None,
            "organization_login": login}
        for someone in self.people[n::2]:
            self.rows["team_members"][login, f"team-{n}", someone["id"]] = {
                **someone, "organization_login": login, "team_slug": f"team-{n}"}

    def project(self, login, number):
        """Adds a project with its fields."""
        made, at = self.ids(), stamp(self.past(), ms=False)
        self.rows["projects"][made["id"]] = {
            **made, "owner": self.someone(), "creator": self.someone(), "title": self.name(), "description": None, "public": False,
            "closed_at": None, "created_at": at, "updated_at": at, "number": number, "short_description": None, "deleted_at": None,
            "deleted_by": None, "state": "open", "is_template": False, "organization_login": login}
        text = lambda words: {"raw": words, "html": f"<p>{words}</p>"}
        for field, name, kind in ITEM_FIELDS[:7 if number == 1 else 3]:
            row = {"id": field + 1000 * number, "node_id": f"F_{field}", "name": name, "data_type": kind, "created_at": at,
                   "updated_at": at, "project_url": f"{self.api}/orgs/{login}/projectsV2/{number}", "organization_login": login,
                   "project_number": number}
            if kind == "single_select":
                row["options"] = [{"id": "98236657", "name": text("Done"), "description": text("over"), "color": "PURPLE"}]
            if kind == "iteration":
                row["configuration"] = {"start_day": 1, "duration": 14, "iterations": [
                    {"id": "a1", "start_date": "2025-01-06", "duration": 14, "title": text("Sprint 1"), "completed": False}]}
            self.rows["project_fields"][row["id"]] = row

    def item(self, login, number):
        """Adds an item: an issue, or a draft."""
        made, at = self.ids(), stamp(self.past(), ms=False)
        api = f"{self.api}/orgs/{login}/projectsV2/{number}"
        self.rows["project_items"][made["id"]] = {
            **made, "project_url": api, "content_type": "DraftIssue", "creator": self.someone(), "created_at": at, "updated_at": at,
            "archived_at": None, "item_url": f"{api}/items/{made['id']}", "organization_login": login, "project_number": number,
            "content": {**self.ids(), "title": self.name(), "body": None, "created_at": at, "updated_at": at}}

    def value(self, item, field):
        """An item's value of a field [open: known from an example]."""
        text = lambda words: {"raw": words, "html": words}
        return {"title": text(item["content"]["title"]), "text": text("née"), "number": 3.5, "date": "2025-03-01", "assignees": [],
                "single_select": {"id": "98236657", "name": text("Done"), "color": "PURPLE", "description": text("over")},
                "iteration": {"id": "a1", "title": text("Sprint 1"), "start_date": "2025-01-06", "duration": 14}}[field["data_type"]]

    def with_fields(self, item, fields):
        """An item with these of its fields."""
        told = [{"id": field["id"], "name": field["name"], "data_type": field["data_type"], "value": self.value(item, field)}
                for field in fields]
        return {**item, "fields": told}

    def fields_of(self, item):
        """Fields of an item's project."""
        place = (item["organization_login"], item["project_number"])
        return [field for field in self.rows["project_fields"].values() if (field["organization_login"], field["project_number"]) == place]

    # ------------------------------------------------------------ what the driver asks

    def config(self, **more):
        return {"access_token": self.token, "api_url": self.api, **more}

    def bad_config(self):
        return self.config(access_token="ghp_wrong")

    def truth(self, stream):
        rows = self.rows[stream]
        if stream in ("repositories", "organizations"):
            return {(row["id"],): row for row in rows.values()}
        if stream == "issue_events":
            rows = {key: row for key, row in rows.items() if "issues" not in self.off(row["repository_full_name"])}
        if stream in ("assignees", "collaborators"):
            some = {"assignees": self.people, "collaborators": [self.collaborator(user) for user in self.people[:4]]}[stream]
            return {(name, user["id"]): {**user, "repository_full_name": name}
                    for name in self.rows["repositories"] if name not in self.gone for user in some}
        if stream == "members":
            return {(login, user["id"]): {**user, "organization_login": login}
                    for login in self.rows["organizations"] for user in self.people[:6]}
        if stream == "team_members":
            return dict(rows)
        if stream == "project_item_values":
            return {(item["id"], field["id"]): {
                **{k: v for k, v in item.items() if k != "content"}, "project_field_id": field["id"], "field": {
                    "id": field["id"], "name": field["name"], "type": field["data_type"], **self.plain(self.value(item, field))}}
                for item in self.rows["project_items"].values() for field in self.fields_of(item) if field["data_type"] in CUSTOM}
        hidden = {"pull_requests": "issue_id", "issues": "issue_field_values"}.get(stream)
        own = {(row["id"],): {k: v for k, v in row.items() if k != hidden} for row in rows.values()
               if row.get("repository_full_name") not in self.gone}
        if stream == "issues":
            for (key,), row in own.items():
                row["custom_fields"] = [self.custom_field(one) for one in rows[key]["issue_field_values"]]
        return own

    @staticmethod
    def custom_field(one):
        """An issue's custom field as the tap gives it."""
        text = one["value"] if isinstance(one["value"], str) else str(one["value"])
        return {"id": one["issue_field_id"], "name": one["issue_field_name"], "type": one["data_type"], "value": text,
                "display_value": one.get("single_select_option", {}).get("name", text)}

    @staticmethod
    def plain(value):
        """An item's value and display value as the tap gives them."""
        if not isinstance(value, dict):
            return {"value": str(value), "display_value": str(value)}
        name = value.get("name") or value.get("title") or value
        return {"value": value.get("id", value.get("raw")), "display_value": name["raw"]}

    def off(self, name):
        """What a repository has switched off."""
        return () if self.rows["repositories"][name]["has_issues"] else ("issues",)

    def edit(self, random):
        changed, at = set(), stamp(self.now(), ms=False)
        open_ones = [row for row in self.rows["issues"].values() if row["repository_full_name"] not in self.gone]
        for issue in random.sample(open_ones, min(4, len(open_ones))):
            issue["title"], issue["updated_at"] = self.name(), at
            changed.add(("issues", (issue["id"],)))
            for pull in self.rows["pull_requests"].values():
                if pull["issue_id"] == issue["id"]:
                    pull["title"], pull["updated_at"] = issue["title"], at
                    changed.add(("pull_requests", (pull["id"],)))
        for stream in ("issue_comments", "review_comments"):
            rows = [row for row in self.rows[stream].values() if row["repository_full_name"] not in self.gone]
            if rows:
                row = random.choice(rows)
                row["body"], row["updated_at"] = self.name(), at
                changed.add((stream, (row["id"],)))
        before = {stream: set(self.rows[stream]) for stream in ("issues", "issue_events", "issue_comments")}
        new = self.issue(random.choice(open_ones)["repository_full_name"], at)
        self.comment(new, at)
        self.event(new, "labeled", at)
        return changed | {(stream, (key,)) for stream, keys in before.items() for key in set(self.rows[stream]) - keys}

    def throttle(self):
        return refusal(403, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
                       {"Retry-After": "1"})

    def forbid(self):
        lists = ("issues", "issue_comments", "issue_events", "pull_requests", "review_comments", "labels", "milestones", "assignees",
                 "collaborators")
        before = {stream: set(self.truth(stream)) for stream in lists}
        self.gone.add("acme/api")
        return {stream: sorted(keys - set(self.truth(stream))) for stream, keys in before.items()}

    # ------------------------------------------------------------ answers

    def path_of(self, route):
        """The links between pages name repositories by their ids."""
        path = route.removeprefix(BASE).replace("/repositories/{id}", "/repos/{owner}/{repo}")
        return path if route.startswith(BASE) else None

    def authorized(self, call):
        """Refuses a call without a good token, or without a version that there is."""
        if call.headers.get("Authorization") not in (f"Bearer {self.token}", f"token {self.token}"):
            raise refusal(401, "Bad credentials")
        if call.headers.get("X-GitHub-Api-Version") != "2022-11-28":
            raise refusal(400, "Unsupported 'X-GitHub-Api-Version' header")

    def page(self, call, rows, path, *names):
        """One page, and the link to the next."""
        call.only("per_page", "page", *names, status=422)
        size, number = call.number("per_page", 30, 1, 100), call.number("page", 1, 1)
        self.paged(call, f"{path} {call.query.get('fields')}")
        last = max(1, -(-len(rows) // size))
        link = lambda n, rel: f"<{self.api}{path}?{urlencode({**call.query, 'page': n})}>; rel=\"{rel}\""
        links = [link(number - 1, "prev")] if number > 1 else []
        links += [link(number + 1, "next"), link(last, "last")] if number < last else []
        links += [link(1, "first")] if number > 1 else []
        headers = {"Link": ", ".join(links)} if links else {}
        headers.update({"X-RateLimit-Limit": 5000, "X-RateLimit-Remaining": 4999, "X-RateLimit-Used": 1, "X-RateLimit-Resource": "core",
                        "X-RateLimit-Reset": int(time.time()) + 3600, "X-GitHub-Media-Type": "github.v3; format=json"})
        return Reply(rows[(number - 1) * size:number * size], headers)

    def place(self, call):
        """The repository of a call, by name or by id, and its path by id."""
        self.authorized(call)
        if "id" in call.params:
            name = next((name for name, row in self.rows["repositories"].items() if str(row["id"]) == call.params["id"]), None)
        else:
            wanted = f"{call.params['owner']}/{call.params['repo']}".lower()
            name = next((name for name in self.rows["repositories"] if name.lower() == wanted), None)
        if name is None or name in self.gone:
            raise refusal(404, "Not Found")
        return name, f"/repositories/{self.rows['repositories'][name]['id']}"

    def updated(self, call, stream, rows=None):
        """Rows of a repository by `sort`, `direction` and `since`."""
        name, path = self.place(call)
        rows = self.of(stream, name) if rows is None else rows
        for key, allowed in (("sort", ("created", "updated", "comments")), ("direction", ("asc", "desc"))):
            if call.query.get(key, allowed[0]) not in allowed:
                raise refusal(422, f"{key} is not valid")
        if since := call.query.get("since"):
            if (bound := moment_of(since)) is None:
                raise refusal(422, "since is not valid")
            rows = [row for row in rows if moment_of(row["updated_at"]) >= bound]
        by = f"{call.query.get('sort', 'created')}_at"
        rows = sorted(rows, key=lambda row: (row[by], row["id"]), reverse=call.query.get("direction", "desc") == "desc")
        return name, path, rows

    def with_issues(self, call):
        """Refuses what needs issues where there are none."""
        if "issues" in self.off(self.place(call)[0]):
            raise refusal(410, "Issues has been disabled in this repository.")

    @route("GET", BASE + "/user/repos")
    def user_repos(self, call):
        self.authorized(call)
        return self.page(call, list(self.rows["repositories"].values()), "/user/repos", "sort", "direction", "type", "affiliation")

    @route("GET", BASE + "/orgs/{org}/repos")
    def org_repos(self, call):
        rows = [row for name, row in self.rows["repositories"].items() if name.split("/")[0] == self.org(call)]
        return self.page(call, rows, f"/orgs/{call.params['org']}/repos", "sort", "direction", "type")

    @route("GET", BASE + "/repos/{owner}/{repo}")
    def one_repository(self, call):
        return self.rows["repositories"][self.place(call)[0]]

    @route("GET", BASE + "/user/orgs")
    def user_orgs(self, call):
        self.authorized(call)
        return self.page(call, list(self.rows["organizations"].values()), "/user/orgs")

    def org(self, call):
        """The organization of a call."""
        self.authorized(call)
        if call.params["org"] not in self.rows["organizations"]:
            raise refusal(404, "Not Found")
        return call.params["org"]

    @route("GET", BASE + "/orgs/{org}")
    def one_org(self, call):
        return self.rows["organizations"][self.org(call)]

    @route("GET", BASE + "/repos/{owner}/{repo}/issues")
    @route("GET", BASE + "/repositories/{id}/issues")
    def issues(self, call):
        self.with_issues(call)
        name, path, rows = self.updated(call, "issues")
        state = call.query.get("state", "open")
        if state not in ("open", "closed", "all"):
            raise refusal(422, "state is not valid")
        rows = [self.bare(row) for row in rows if state in ("all", row["state"])]
        return self.page(call, rows, f"{path}/issues", "state", "sort", "direction", "since")

    @route("GET", BASE + "/repos/{owner}/{repo}/issues/comments")
    @route("GET", BASE + "/repositories/{id}/issues/comments")
    def comments(self, call):
        self.with_issues(call)
        _, path, rows = self.updated(call, "issue_comments")
        return self.page(call, [self.bare(row) for row in rows], f"{path}/issues/comments", "sort", "direction", "since")

    @route("GET", BASE + "/repos/{owner}/{repo}/issues/events")
    @route("GET", BASE + "/repositories/{id}/issues/events")
    def events(self, call):
        self.with_issues(call)
        name, path = self.place(call)
        rows = sorted(self.of("issue_events", name), key=lambda row: (row["created_at"], row["id"]), reverse=True)
        rows = [{**self.bare(row, "issue_id", "issue_number"), "issue": self.bare(self.rows["issues"][row["issue_id"]])} for row in rows]
        return self.page(call, rows, f"{path}/issues/events")

    @route("GET", BASE + "/repos/{owner}/{repo}/pulls")
    @route("GET", BASE + "/repositories/{id}/pulls")
    def pulls(self, call):
        name, path, rows = self.updated(call, "pull_requests")
        rows = [row for row in rows if call.query.get("state", "open") in ("all", row["state"])]
        whole = self.rows["repositories"]
        rows = [{**self.bare(row, "issue_id"), "base": {**row["base"], "repo": whole[name]}, "head": {
            **{k: v for k, v in row["head"].items() if k != "repository_full_name"},
            "repo": whole[name]}} for row in rows]
        return self.page(call, rows, f"{path}/pulls", "state", "sort", "direction")

    @route("GET", BASE + "/repos/{owner}/{repo}/pulls/comments")
    @route("GET", BASE + "/repositories/{id}/pulls/comments")
    def pull_comments(self, call):
        _, path, rows = self.updated(call, "review_comments")
        return self.page(call, [self.bare(row) for row in rows], f"{path}/pulls/comments", "sort", "direction", "since")

    @route("GET", BASE + "/repos/{owner}/{repo}/labels")
    @route("GET", BASE + "/repositories/{id}/labels")
    def labels(self, call):
        name, path = self.place(call)
        return self.page(call, [self.bare(row) for row in self.of("labels", name)], f"{path}/labels")

    @route("GET", BASE + "/repos/{owner}/{repo}/milestones")
    @route("GET", BASE + "/repositories/{id}/milestones")
    def milestones(self, call):
        name, path = self.place(call)
        rows = [self.bare(row) for row in self.of("milestones", name) if call.query.get("state", "open") in ("all", row["state"])]
        return self.page(call, rows, f"{path}/milestones", "state", "sort", "direction")

    @route("GET", BASE + "/repos/{owner}/{repo}/assignees")
    @route("GET", BASE + "/repositories/{id}/assignees")
    def assignees(self, call):
        _, path = self.place(call)
        return self.page(call, self.people, f"{path}/assignees")

    @staticmethod
    def collaborator(user):
        """Somebody with access."""
        return {**user, "permissions": {"pull": True, "triage": True, "push": True, "maintain": False, "admin": False},
                "role_name": "write"}

    @route("GET", BASE + "/repos/{owner}/{repo}/collaborators")
    @route("GET", BASE + "/repositories/{id}/collaborators")
    def collaborators(self, call):
        _, path = self.place(call)
        return self.page(call, [self.collaborator(user) for user in self.people[:4]], f"{path}/collaborators")

    @route("GET", BASE + "/orgs/{org}/members")
    def members(self, call):
        return self.page(call, self.people[:6], f"/orgs/{self.org(call)}/members", "role", "filter")

    @route("GET", BASE + "/orgs/{org}/teams")
    def teams(self, call):
        rows = [self.bare(row) for row in self.rows["teams"].values() if row["organization_login"] == self.org(call)]
        return self.page(call, rows, f"/orgs/{call.params['org']}/teams")

    @route("GET", BASE + "/orgs/{org}/teams/{team}/members")
    def team_members(self, call):
        place = (self.org(call), call.params["team"])
        rows = [self.bare(row) for row in self.rows["team_members"].values() if (row["organization_login"], row["team_slug"]) == place]
        return self.page(call, rows, f"/orgs/{place[0]}/teams/{place[1]}/members", "role")

    def in_project(self, call, stream):
        """Rows of a project, and its path."""
        place = (self.org(call), int(call.params["project"]))
        rows = [row for row in self.rows[stream].values() if (row["organization_login"], row["project_number"]) == place]
        return rows, f"/orgs/{place[0]}/projectsV2/{place[1]}"

    @route("GET", BASE + "/orgs/{org}/projectsV2")
    def projects(self, call):
        rows = [self.bare(row) for row in self.rows["projects"].values() if row["organization_login"] == self.org(call)]
        return self.page(call, rows, f"/orgs/{call.params['org']}/projectsV2", "q")

    @route("GET", BASE + "/orgs/{org}/projectsV2/{project}/fields")
    def project_fields(self, call):
        rows, path = self.in_project(call, "project_fields")
        return self.page(call, [self.bare(row) for row in rows], f"{path}/fields")

    @route("GET", BASE + "/orgs/{org}/projectsV2/{project}/items")
    def project_items(self, call):
        rows, path = self.in_project(call, "project_items")
        fields, _ = self.in_project(call, "project_fields")
        wanted = call.query["fields"].split(",") if "fields" in call.query else None
        some = [f for f in fields if (str(f["id"]) in wanted if wanted else f["data_type"] == "title")]
        return self.page(call, [self.bare(self.with_fields(row, some)) for row in rows], f"{path}/items", "q", "fields")

    @route("POST", "/login/oauth/access_token")
    def login(self, call):
        good = call.form.get("grant_type") == "refresh_token" and call.form.get("refresh_token") == self.refresh_token
        if not good:  # as GitHub does: with a 200
            return {"error": "bad_refresh_token", "error_description": "The refresh token passed is incorrect or expired.",
                    "error_uri": DOCS}
        self.next += 1
        self.token, self.refresh_token = f"ghu_{self.next}", f"ghr_{self.next}"
        return {"access_token": self.token, "expires_in": 28800, "refresh_token": self.refresh_token, "scope": "",
                "refresh_token_expires_in": 15897600, "token_type": "bearer"}


if __name__ == "__main__":
    main(Github)
