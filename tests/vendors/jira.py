"""A Jira Cloud site, by Jira's OpenAPI file (platform v3), which each answer is checked against; boards and sprints by the
reference of the Agile API 1.0, which is not at hand as a file.

What no primary source says, and this vendor assumes: a page token goes on behind the sort values of the last issue; a search in a
project that is gone is a 400 that names the field; a wrong token gets anonymous answers from some lists, with a header that says so.
"""
import base64
import datetime
import re
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from vendors.core import Refused, Reply, Stream, Vendor, main, route, stamp  # noqa: E402

API = "/rest/api/3"
PROJECTS = [("ENG", "software"), ("OPS", "software"), ("HELP", "service_desk"), ("WEB", "software"), ("HR", "business"), ("EMPTY", "business")]
STATUSES = [("1", "Open", "new", 2, "blue-gray"), ("3", "In Progress", "indeterminate", 4, "yellow"), ("10001", "Done", "done", 3, "green")]
TYPES = [("10001", "Story", 0), ("10002", "Task", 0), ("10003", "Bug", 0), ("10004", "Sub-task", -1), ("10000", "Epic", 1)]
PRIORITIES = [("1", "Highest"), ("3", "Medium"), ("5", "Lowest")]
SYSTEM = {"summary": "string", "status": "status", "assignee": "user", "reporter": "user", "updated": "datetime", "created": "datetime",
          "project": "project", "issuetype": "issuetype", "labels": "array", "timespent": "number", "duedate": "date"}
PREFIX = "com.atlassian.jira.plugin.system.customfieldtypes:"
CUSTOM = {  # id: name, type, items, kind
    10016: ("Story Points", "number", None, PREFIX + "float"),
    10020: ("Sprint", "array", "json", "com.pyxis.greenhopper.jira:gh-sprint"),
    10030: ("Größe", "option", None, PREFIX + "select"),
    10031: ("Areas", "array", "option", PREFIX + "multiselect"),
    10032: ("Where", "option-with-child", None, PREFIX + "cascadingselect"),
    10033: ("Note's \"text\"", "string", None, PREFIX + "textfield"),
    10034: ("Details", "string", None, PREFIX + "textarea"),
    10035: ("Reviewer", "user", None, PREFIX + "userpicker"),
    10036: ("Crew", "array", "user", PREFIX + "multiuserpicker"),
    10037: ("Starts", "date", None, PREFIX + "datepicker"),
    10038: ("Seen", "datetime", None, PREFIX + "datetime"),
    10039: ("Words", "array", "string", PREFIX + "labels"),
    10040: ("Link", "string", None, PREFIX + "url"),
    10041: ("Target", "array", "version", PREFIX + "multiversion"),
    10042: ("Never set", "string", None, PREFIX + "textfield"),
}


def jira_time(moment):
    """A time as Jira writes it."""
    return stamp(moment)[:-1] + "+0000"


def words(*texts, status=400):
    """An error in Jira's form."""
    return Refused(status, {"errorMessages": list(texts), "errors": {}})


def rich(text):
    """A text as an Atlassian document."""
    return {"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [{"type": "text", "text": text}]}]}


class Jira(Vendor):
    source, specified = "jira", True
    # Each project has a bookmark. What belongs to an issue comes again with it.
    streams = {
        "issues": Stream(["id"], "updated", per=lambda record: record["project"]["id"], overlap=180),
        "comments": Stream(["id"], "updated", loose=True),
        "worklogs": Stream(["id"], "updated", loose=True),
        "changelogs": Stream(["id"], "created", loose=True),
        **{name: Stream(["id"]) for name in ("projects", "components", "versions", "boards", "sprints", "fields", "statuses", "issue_types",
                                             "priorities", "resolutions")},
        "project_roles": Stream(["projectId", "id"]), "users": Stream(["accountId"]), "myself": Stream(["accountId"]),
        "labels": Stream(["label"]),
    }
    email, token = "jo@acme.example", "jira-test-token"

    def config(self, **more):
        return {"api_url": self.url, "email": self.email, "api_token": self.token, **more}

    def bad_config(self):
        return self.config(api_token="wrong")

    # ------------------------------------------------------------ the account

    def fill(self, random, size):
        self.hidden, self.archived, self.next, self.refresh, self.access = set(), set(), 20000, "refresh-0", None
        self.me = None
        for number in range(18):
            self.user(number)
        self.me = self.rows["users"]["5b10a0000"]
        for number, (key, kind) in enumerate(PROJECTS):
            self.project(number, key, kind)
        self.labels = ["backend", "1e3", "None", "über", "2024"] + [f"label-{n}" for n in range(5)]
        keys = list(self.rows["projects"])
        for number in range(size):
            self.issue(random, random.choices(keys, (12, 5, 3, 2, 1, 0))[0], self.past(random))

    def id(self):
        """A new id."""
        self.next += 1
        return str(self.next)

    def link(self, path):
        return f"{self.url}{path}"

    def user(self, number):
        account = f"5b10a{number:04}"
        self.rows["users"][account] = {
            "self": self.link(f"{API}/user?accountId={account}"), "accountId": account, "accountType": ("atlassian", "atlassian", "app", "customer")[number % 4],
            "emailAddress": f"user{number}@acme.example" if number % 3 else "", "displayName": f"{self.name()} {number}", "active": number % 5 != 4,
            "avatarUrls": {"48x48": self.link(f"/avatar/{number}")}, "timeZone": "Europe/Berlin", "locale": "de_DE"}

    def short(self, user):
        """A user within another object."""
        return user and {key: user[key] for key in ("self", "accountId", "emailAddress", "avatarUrls", "displayName", "active", "timeZone", "accountType")}

    def project(self, number, key, kind):
        project = str(10000 + number)
        lead = self.rows["users"][f"5b10a{number % 5:04}"]
        self.rows["projects"][project] = {
            "self": self.link(f"{API}/project/{project}"), "id": project, "key": key, "description": "Ziele\nund mehr" if number % 2 else "", "lead": self.short(lead),
            "name": f"{self.name()} {number}", "avatarUrls": {"48x48": self.link(f"/p/{number}")}, "projectTypeKey": kind, "simplified": number % 2 == 0,
            "style": "next-gen" if number % 2 == 0 else "classic", "isPrivate": False, "properties": {}, "url": "https://acme.example",
            "insight": {"totalIssueCount": 0, "lastIssueUpdateTime": jira_time(self.past())}}
        for n in range(2):
            component = self.id()
            self.rows["components"][component] = {
                "self": self.link(f"{API}/component/{component}"), "id": component, "name": self.name(), "description": "", "lead": self.short(lead),
                "assigneeType": "PROJECT_LEAD", "assignee": self.short(lead), "realAssigneeType": "PROJECT_LEAD", "realAssignee": self.short(lead),
                "isAssigneeTypeValid": True, "project": key, "projectId": int(project), "issueCount": n}
            version = self.id()
            self.rows["versions"][version] = {
                "self": self.link(f"{API}/version/{version}"), "id": version, "name": f"v{n}.0", "archived": False, "released": n == 0, "projectId": int(project),
                **({"startDate": "2024-01-01", "releaseDate": "2024-02-01", "userReleaseDate": "1/Feb/24", "overdue": False, "description": "erste"} if n == 0 else {})}
        for role in (10002, 10003):
            self.rows["roles"][project, role] = {
                "self": self.link(f"{API}/project/{project}/role/{role}"), "name": {10002: "Administrators", 10003: "Members"}[role], "id": role,
                "description": "a role", "actors": [
                    {"id": int(self.id()), "displayName": lead["displayName"], "type": "atlassian-user-role-actor", "actorUser": {"accountId": lead["accountId"]}},
                    {"id": int(self.id()), "displayName": "everyone", "type": "atlassian-group-role-actor", "name": "everyone",
                     "actorGroup": {"name": "everyone", "displayName": "everyone", "groupId": "952d12c3-5b5b-4d04-bb32-44d383afc4b2"}}]}
        if kind == "software":
            board = 1 + number
            self.rows["boards"][board] = {
                "id": board, "self": self.link(f"/rest/agile/1.0/board/{board}"), "name": self.name(), "type": ("scrum", "kanban", "x", "simple")[number],
                "location": {"projectId": int(project), "displayName": f"{key} board", "projectName": self.name(), "projectKey": key,
                             "projectTypeKey": kind, "name": key}, "isPrivate": False}
            for n in range(3 if number == 0 else 0):
                sprint = 100 + n
                self.rows["sprints"][sprint] = {
                    "id": sprint, "self": self.link(f"/rest/agile/1.0/sprint/{sprint}"), "state": ("closed", "active", "future")[n], "name": f"Sprint {n}",
                    "createdDate": stamp(self.past()), "originBoardId": board, "goal": "" if n else "fertig werden",
                    **({"startDate": stamp(self.past()), "endDate": stamp(self.past())} if n < 2 else {}), **({"completeDate": stamp(self.past())} if n == 0 else {})}

    def option(self, text, child=None):
        number = str(sum(map(ord, text)))
        return {"self": self.link(f"{API}/customFieldOption/{number}"), "value": text, "id": number, **({"child": child} if child else {})}

    def custom(self, random, n, people):
        """Values of custom fields; every issue has each of them, most without a value."""
        values = {
            10016: (3.0, 5.5, 1e-7, None, 12345678901234.0)[n % 5], 10020: [{"id": 100, "name": "Sprint 0", "state": "closed", "boardId": 1}] if n % 3 == 0 else None,
            10030: self.option("Groß, sehr"), 10031: [self.option("eins"), self.option("zwei's")], 10032: self.option("EU", self.option("Köln")),
            10033: random.choice(["1e3", "None", "True", "007", "[1, 2]", "{'a': 1}", "it's \"quoted\"", "a\nb\\c", "", "{{ x }}", "🧑‍🚀"]),
            10034: rich("lang"), 10035: people[0], 10036: people, 10037: "2024-02-29", 10038: jira_time(self.past(random)), 10039: ["x", "1"],
            10040: "https://acme.example/?a=1&b='2'", 10041: [{"id": "1", "name": "v1", "self": self.link("/v/1"), "archived": False, "released": True}], 10042: None}
        return {f"customfield_{key}": value if key in (10016, 10020) or random.random() < 0.4 else None for key, value in values.items()}

    def issue(self, random, project, moment, parent=None):
        number, n = self.id(), len(self.rows["issues"])
        about, people = self.rows["projects"][project], [self.short(user) for user in random.sample(list(self.rows["users"].values()), 2)]
        status, kind = random.choice(STATUSES), random.choice(TYPES[:3]) if parent is None else TYPES[3]
        made = jira_time(min(moment, self.past(random)))
        fields = {
            "summary": self.name(random), "description": rich(self.name(random)) if n % 3 else None, "environment": None, "issuetype": self.type(kind),
            "project": {key: about[key] for key in ("self", "id", "key", "name", "projectTypeKey", "simplified", "avatarUrls")},
            "status": self.status(status), "priority": self.priority(random.choice(PRIORITIES)), "resolution": self.resolution() if status[2] == "done" else None,
            "resolutiondate": made if status[2] == "done" else None, "assignee": people[0] if n % 4 else None, "reporter": people[1], "creator": people[1],
            "created": made, "updated": jira_time(moment), "statuscategorychangedate": made, "lastViewed": jira_time(self.past(random)),
            "duedate": "2024-12-24" if n % 5 == 0 else None, "labels": random.sample(self.labels, n % 3), "components": [], "fixVersions": [], "versions": [],
            "timespent": None, "timeoriginalestimate": 3600 if n % 4 == 0 else None, "timeestimate": None, "aggregatetimespent": None,
            "aggregatetimeoriginalestimate": None, "aggregatetimeestimate": None, "workratio": -1, "timetracking": {},
            "progress": {"progress": 0, "total": 0}, "aggregateprogress": {"progress": 0, "total": 0}, "security": None, "issuelinks": [], "subtasks": [],
            "attachment": [{"self": self.link("/a/1"), "id": number, "filename": "plan.pdf", "author": people[0], "created": made, "size": 12, "mimeType": "application/pdf",
                            "content": self.link("/a/1/content")}] if n % 10 == 0 else [],
            "votes": {"self": self.link("/votes"), "votes": 0, "hasVoted": False}, "watches": {"self": self.link("/w"), "watchCount": 1, "isWatching": True},
            "parent": {"id": parent["id"], "key": parent["key"], "self": parent["self"], "fields": {"summary": parent["fields"]["summary"]}} if parent else None,
            **self.custom(random, n, people)}
        about["insight"]["totalIssueCount"] += 1
        issue = self.rows["issues"][number] = {"expand": "operations,names", "id": number, "self": self.link(f"{API}/issue/{number}"),
                                               "key": f"{about['key']}-{number}", "fields": {k: v for k, v in fields.items() if k != "parent" or v}}
        self.change(issue, moment, people[0])
        for _ in range(n % 3 % 2 + (n == 7) * 120):
            self.comment(issue, moment, people[0])
        if n % 6 == 0:
            self.worklog(issue, moment, people[1])
        return issue

    def status(self, one):
        number, name, key, category, color = one
        return {"self": self.link(f"{API}/status/{number}"), "description": "", "iconUrl": self.link("/s.png"), "name": name, "id": number,
                "statusCategory": {"self": self.link(f"{API}/statuscategory/{category}"), "id": category, "key": key, "colorName": color, "name": name}}

    def type(self, one):
        number, name, level = one
        return {"self": self.link(f"{API}/issuetype/{number}"), "id": number, "description": "", "iconUrl": self.link("/t.png"), "name": name,
                "subtask": level < 0, "avatarId": 10315, "hierarchyLevel": level}

    def priority(self, one):
        return {"self": self.link(f"{API}/priority/{one[0]}"), "iconUrl": self.link("/p.png"), "name": one[1], "id": one[0]}

    def resolution(self):
        return {"self": self.link(f"{API}/resolution/10000"), "id": "10000", "description": "Work is done.", "name": "Done"}

    def comment(self, issue, moment, author):
        number = self.id()
        self.rows["comments"][number] = issue["id"], {
            "self": self.link(f"{API}/issue/{issue['id']}/comment/{number}"), "id": number, "author": author, "body": rich(self.name()), "updateAuthor": author,
            "created": jira_time(moment), "updated": jira_time(moment), "jsdPublic": True}
        return number

    def worklog(self, issue, moment, author):
        number = self.id()
        issue["fields"]["timespent"] = (issue["fields"]["timespent"] or 0) + 3600
        self.rows["worklogs"][number] = issue["id"], {
            "self": self.link(f"{API}/issue/{issue['id']}/worklog/{number}"), "author": author, "updateAuthor": author, "comment": rich("getan"),
            "created": jira_time(moment), "updated": jira_time(moment), "started": jira_time(moment), "timeSpent": "1h", "timeSpentSeconds": 3600,
            "id": number, "issueId": issue["id"]}
        return number

    def change(self, issue, moment, author):
        number = self.id()
        self.rows["changelogs"][number] = issue["id"], {
            "id": number, "author": author, "created": jira_time(moment),
            "items": [{"field": "summary", "fieldtype": "jira", "fieldId": "summary", "fromString": "alt", "toString": "neu"}]}
        return number

    # ------------------------------------------------------------ what others do

    def edit(self, random):
        changed = set()
        seen = [issue for issue in self.rows["issues"].values() if self.readable(issue["fields"]["project"]["id"])]
        for n, issue in enumerate(random.sample(seen, min(6, len(seen)))):
            moment, author = self.now(), self.short(self.me)
            issue["fields"]["updated"], issue["fields"]["summary"] = jira_time(moment), f"{self.name(random)} (edited)"
            changed |= {("issues", issue["id"]), ("changelogs", self.change(issue, moment, author))}
            if n == 0:
                changed.add(("comments", self.comment(issue, moment, author)))
            if n == 1:
                changed.add(("worklogs", self.worklog(issue, moment, author)))
            if n == 2:  # to another project, under another key
                other = random.choice([p for p in self.rows["projects"] if self.readable(p)])
                about = self.rows["projects"][other]
                issue["key"] = f"{about['key']}-{issue['id']}"
                issue["fields"]["project"] = {key: about[key] for key in issue["fields"]["project"]}
            if n == 3:
                self.change(issue, moment, author)
        made = self.issue(random, random.choice([p for p in self.rows["projects"] if self.readable(p)]), self.now(), seen[0])
        return changed | {("issues", made["id"])}

    def readable(self, project):
        """Whether a project's issues can be read."""
        return project not in self.hidden and project not in self.archived

    def forbid(self):
        project = "10001"
        gone = {"issues": [i for i, issue in self.rows["issues"].items() if issue["fields"]["project"]["id"] == project]}
        for stream in ("comments", "worklogs", "changelogs"):
            gone[stream] = [number for number, (issue, _) in self.rows[stream].items() if issue in gone["issues"]]
        for stream in ("components", "versions"):
            gone[stream] = [number for number, row in self.rows[stream].items() if row["projectId"] == int(project)]
        self.hidden.add(project)
        return gone

    def archive(self):
        self.archived.add("10003")
        return {"archived_projects": True}, "projects", "10003"

    def expire_page_token(self):
        self.token_expires = True

    def throttle(self):
        reset = stamp(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1), ms=False)
        return Refused(429, {"errorMessages": ["Rate limit exceeded."], "errors": {}}, {
            "Retry-After": "1", "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset, "RateLimit-Reason": "jira-burst-based"})

    # ------------------------------------------------------------ what the tap must bring

    def truth(self, stream):
        rows = self.rows[stream]
        if stream == "issues":
            return {number: self.flat(issue) for number, issue in rows.items() if self.readable(issue["fields"]["project"]["id"])}
        if stream in ("comments", "worklogs", "changelogs"):
            issues = self.truth("issues")
            return {number: {**row, "issueId": issue} for number, (issue, row) in rows.items() if issue in issues}
        if stream == "projects":
            return {number: row for number, row in rows.items() if number not in self.archived}
        if stream in ("components", "versions"):
            return {number: row for number, row in rows.items() if self.readable(str(row["projectId"]))}
        if stream == "project_roles":
            return {key: {**row, "projectId": key[0]} for key, row in self.rows["roles"].items() if self.readable(key[0])}
        lists = {"myself": [self.me], "statuses": map(self.status, STATUSES), "issue_types": map(self.type, TYPES), "fields": self.all_fields(),
                 "priorities": map(self.priority, PRIORITIES), "resolutions": [self.resolution()], "labels": [{"label": text} for text in self.labels]}
        if stream in lists:
            key = self.streams[stream].key[0]
            return {row[key]: row for row in lists[stream]}
        return rows

    def flat(self, issue):
        """An issue with its fields at the top, and its custom fields as a list."""
        custom, fields = [], dict(issue["fields"])
        for name in [name for name in fields if name.startswith("customfield_")]:
            value, (label, kind, _, key) = fields.pop(name), CUSTOM[int(name.split("_")[1])]
            if value is None:
                continue
            texts = []
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    text = one.get("value") or one.get("displayName") or one.get("name")
                    texts += [text + (" - " + one["child"]["value"] if "child" in one else "")] if text else []
                else:
                    texts.append(str(one))
            custom.append({"id": name, "name": label, "type": kind, "kind": key.split(":")[-1], "value": value, "display_value": ", ".join(texts) if texts else None})
        del fields["lastViewed"]
        return {"id": issue["id"], "key": issue["key"], "self": issue["self"], **fields, "custom_fields": custom}

    # ------------------------------------------------------------ answers

    def path_of(self, route):
        """Boards and sprints are in another file."""
        return route if route.startswith(API) else None

    def authorized(self, call, empty=None):
        """Refuses a wrong token. Some lists answer as to an anonymous visitor (`empty`), and a header tells."""
        kind, _, what = (call.headers.get("Authorization") or "").partition(" ")
        good = base64.b64encode(f"{self.email}:{self.token}".encode()).decode()
        if (kind, what) == ("Basic", good) or kind == "Bearer" and self.access and what == self.access:
            return
        if empty is not None and kind == "Basic":
            raise Refused(200, empty, {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED"})
        raise words("Client must be authenticated to access this resource.", status=401)

    @route("POST", "/oauth/token")
    def oauth(self, call):
        asked = call.form or call.json or {}
        if asked.get("refresh_token") != self.refresh or asked.get("client_id") != "app" or asked.get("client_secret") != "secret":
            raise Refused(403, {"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."})
        number = int(self.refresh.split("-")[1]) + 1
        self.refresh, self.access = f"refresh-{number}", f"access-{number}"
        return {"access_token": self.access, "refresh_token": self.refresh, "expires_in": 3600, "scope": "read:jira-work", "token_type": "Bearer"}

    def page(self, call, rows, name="values", most=100, whole=True):
        """A page by offset."""
        rows, start = list(rows), call.number("startAt", 0)
        limit = min(call.number("maxResults", 50, 1), most)
        page = {"self": self.link(call.path), "maxResults": limit, "startAt": start, "total": len(rows), "isLast": start + limit >= len(rows), name: rows[start:start + limit]}
        if not whole:
            del page["self"], page["isLast"]
        self.paged(call)
        return page

    @route("GET", f"{API}/myself")
    def myself(self, call):
        call.only("expand")
        self.authorized(call)
        return {**self.me, "expand": "groups,applicationRoles"}

    @route("GET", f"{API}/users/search")
    def users(self, call):
        self.authorized(call)
        call.only("startAt", "maxResults")
        start = call.number("startAt", 0)
        return list(self.rows["users"].values())[start:start + 7]  # fewer than what was asked for

    @route("GET", f"{API}/project/search")
    def project_search(self, call):
        self.authorized(call, {"self": call.path, "maxResults": 50, "startAt": 0, "total": 0, "isLast": True, "values": []})
        call.only("startAt", "maxResults", "orderBy", "expand", "status")
        if call.number("maxResults", 50) > 100:
            raise words("maxResults is too large")
        wanted = call.many.get("status", ["live"])
        expand = (call.query.get("expand") or "").split(",")
        rows = [{**{k: v for k, v in row.items() if k not in ("description", "lead", "url", "insight") or k in expand},
                 "expand": "description", **({"archived": True, "archivedDate": jira_time(self.past())} if number in self.archived else {})}
                for number, row in self.rows["projects"].items() if ("archived" if number in self.archived else "live") in wanted]
        return self.page(call, sorted(rows, key=lambda row: row["key"]))

    def one_project(self, call):
        self.authorized(call)
        project = call.params["project"]
        if project not in self.rows["projects"] or not self.readable(project):
            raise words(f"No project could be found with id '{project}'.", status=404)
        return project

    @route("GET", API + "/project/{project}/component")
    def components(self, call):
        project = self.one_project(call)
        call.only("startAt", "maxResults", "orderBy", "query", "componentSource")
        return self.page(call, (row for row in self.rows["components"].values() if row["projectId"] == int(project)))

    @route("GET", API + "/project/{project}/version")
    def versions(self, call):
        project = self.one_project(call)
        call.only("startAt", "maxResults", "orderBy", "query", "status", "expand")
        return self.page(call, (row for row in self.rows["versions"].values() if row["projectId"] == int(project)))

    @route("GET", API + "/project/{project}/roledetails")
    def roles(self, call):
        project = self.one_project(call)
        call.only("currentMember", "excludeConnectAddons", "excludeOtherServiceRoles")
        return [{key: row[key] for key in ("self", "name", "id", "description")} for (of, _), row in self.rows["roles"].items() if of == project]

    @route("GET", API + "/project/{project}/role/{role}")
    def role(self, call):
        project = self.one_project(call)
        call.only("excludeInactiveUsers")
        return self.rows["roles"][project, int(call.params["role"])]

    @route("GET", f"{API}/search/jql")
    def search(self, call):
        self.authorized(call, {"issues": [], "isLast": True})
        call.only("jql", "nextPageToken", "maxResults", "fields", "expand", "properties", "fieldsByKeys", "failFast", "reconcileIssues")
        jql = re.fullmatch(r"project = (\d+) AND updated >= (\d+) ORDER BY updated (ASC|DESC), key (ASC|DESC)", call.query.get("jql", ""))
        if not jql:
            raise words("Error in the JQL Query: Expecting operator.")
        project, since, order = jql[1], int(jql[2]), jql[3]
        if project not in self.rows["projects"] or not self.readable(project):
            raise words(f"The value '{project}' does not exist for the field 'project'.")
        fields = ",".join(call.many.get("fields", ["id"])).split(",")
        limit = min(call.number("maxResults", 50, 1, 5000), 40 if "*all" in fields else 1000)
        place = lambda issue: (issue["fields"]["updated"], int(issue["id"]))
        bound = jira_time(datetime.datetime.fromtimestamp(since / 1000, datetime.timezone.utc))
        self.paged(call, (jql[0], "*all" in fields))
        rows = sorted((issue for issue in self.rows["issues"].values() if issue["fields"]["project"]["id"] == project and issue["fields"]["updated"] >= bound),
                      key=place, reverse=order == "DESC")
        if "nextPageToken" in call.query:
            at = self.take_token(call.query["nextPageToken"])
            if at is None or at[0] != jql[0]:
                raise words("The provided next page token is invalid or expired.")
            rows = [issue for issue in rows if (place(issue) < at[1] if order == "DESC" else place(issue) > at[1])]
        page, answer = rows[:limit], {}
        if len(rows) > limit:
            answer["nextPageToken"] = self.give_token((jql[0], place(page[-1])))
        answer = {"issues": [self.rendered(issue, fields) for issue in page], **answer, "isLast": len(rows) <= limit}
        expand = (call.query.get("expand") or "").split(",")
        if "names" in expand:
            answer["names"] = {**{name: name.title() for name in SYSTEM}, **{f"customfield_{number}": about[0] for number, about in CUSTOM.items()}}
        if "schema" in expand:
            answer["schema"] = {row["id"]: row["schema"] for row in self.all_fields()}
        return answer

    def rendered(self, issue, fields):
        """An issue with these fields."""
        whole = {**issue["fields"], "comment": {"comments": [], "total": 0}, "worklog": {"worklogs": [], "total": 0}}
        left = {field[1:] for field in fields if field.startswith("-")}
        return {"expand": issue["expand"], "id": issue["id"], "self": issue["self"], "key": issue["key"],
                "fields": {name: value for name, value in whole.items() if name not in left and ("*all" in fields or name in fields)}}

    def of_issue(self, call, stream, name, most, whole=True):
        self.authorized(call)
        call.only("startAt", "maxResults", "orderBy", "expand", "startedAfter", "startedBefore")
        issue = self.rows["issues"].get(call.params["issue"])
        if issue is None or not self.readable(issue["fields"]["project"]["id"]):
            raise words("Issue does not exist or you do not have permission to see it.", status=404)
        return self.page(call, (row for of, row in self.rows[stream].values() if of == issue["id"]), name, most, whole)

    @route("GET", API + "/issue/{issue}/comment")
    def comments(self, call):
        return self.of_issue(call, "comments", "comments", 100, whole=False)

    @route("GET", API + "/issue/{issue}/worklog")
    def worklogs(self, call):
        return self.of_issue(call, "worklogs", "worklogs", 5000, whole=False)

    @route("GET", API + "/issue/{issue}/changelog")
    def changelogs(self, call):
        return self.of_issue(call, "changelogs", "values", 100)

    def all_fields(self):
        system = [{"id": name, "key": name, "name": name.title(), "custom": False, "orderable": True, "navigable": True, "searchable": True, "clauseNames": [name],
                   "schema": {"type": kind, "system": name}} for name, kind in SYSTEM.items()]
        custom = [{"id": f"customfield_{number}", "key": f"customfield_{number}", "name": label, "custom": True, "orderable": True, "navigable": True, "searchable": True,
                   "clauseNames": [f"cf[{number}]", label], "schema": {"type": kind, "custom": key, "customId": number, **({"items": items} if items else {})}}
                  for number, (label, kind, items, key) in CUSTOM.items()]
        return [*system, *custom]

    @route("GET", f"{API}/field")
    def fields(self, call):
        self.authorized(call, [])
        call.only()
        return self.all_fields()

    @route("GET", f"{API}/status")
    def statuses(self, call):
        self.authorized(call)
        call.only()
        return [self.status(one) for one in STATUSES]

    @route("GET", f"{API}/issuetype")
    def issue_types(self, call):
        self.authorized(call, [])
        call.only()
        return [self.type(one) for one in TYPES]

    @route("GET", f"{API}/priority")
    def priorities(self, call):
        self.authorized(call)
        call.only()
        return [self.priority(one) for one in PRIORITIES]

    @route("GET", f"{API}/resolution")
    def resolutions(self, call):
        self.authorized(call)
        call.only()
        return [self.resolution()]

    @route("GET", f"{API}/label")
    def label(self, call):
        self.authorized(call)
        call.only("startAt", "maxResults")
        return self.page(call, self.labels, most=1000)

    @route("GET", "/rest/agile/1.0/board")
    def boards(self, call):
        self.authorized(call)
        call.only("startAt", "maxResults", "type", "name", "projectKeyOrId", "includePrivate")
        return self.page(call, self.rows["boards"].values(), most=50)

    @route("GET", "/rest/agile/1.0/board/{board}/sprint")
    def sprints(self, call):
        self.authorized(call)
        call.only("startAt", "maxResults", "state")
        board = int(call.params["board"])
        if board not in self.rows["boards"]:
            raise words("Board does not exist or you do not have permission to see it.", status=404)
        if not any(row["originBoardId"] == board for row in self.rows["sprints"].values()):
            raise words("The board does not support sprints")
        return self.page(call, (row for row in self.rows["sprints"].values() if row["originBoardId"] == board), most=50)


if __name__ == "__main__":
    main(Jira)
