"""An Azure DevOps-shaped vendor in a box (REST 7.1), made from Microsoft's Swagger files, their examples and learn.microsoft.com.

The reporting API gives batches in the order of a watermark, which is that of the commits; `startDateTime` is taken strictly ("after
this date/time") and refused beside a `continuationToken`. Times are written as .NET does, without trailing zeros. Not in the
documentation, and so assumed: the texts of errors beyond those that it shows, the page of 203 to a wrong token.
"""
import base64
import sys
import uuid

if __name__ == "__main__":
    sys.path[0] = str(__import__("pathlib").Path(__file__).resolve().parents[1])
from vendors.core import Refused, Reply, Stream, Vendor, main, moment_of, route

ORG = "/acme"
TOKEN = "a2c4exampleexampleexampleexampleexampleexampleexample"
SIGN_IN = "<!DOCTYPE html><html><head><title>Azure DevOps Services | Sign In</title></head><body></body></html>"
OF_REPORT = ("api-version", "fields", "types", "continuationToken", "startDateTime", "includeIdentityRef", "includeDeleted", "includeTagRef",
             "includeLatestOnly", "$expand", "includeDiscussionChangesOnly", "$maxPageSize")
STANDARD = ("System.", "Microsoft.")


def net(moment):
    """A time as .NET writes it: milliseconds without trailing zeros."""
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}".rstrip("0").rstrip(".")
    return text + "Z"


class AzureDevops(Vendor):
    """Azure DevOps, one organization."""

    source = "azure-devops"
    streams = {
        "projects": Stream(key=["id"]), "teams": Stream(key=["id"]), "team_members": Stream(key=["teamId", "id"]),
        "team_iterations": Stream(key=["teamId", "id"]), "boards": Stream(key=["teamId", "id"]),
        "board_columns": Stream(key=["teamId", "boardId", "id"]), "users": Stream(key=["descriptor"]),
        "areas": Stream(key=["projectId", "id"]), "iterations": Stream(key=["projectId", "id"]),
        "work_item_types": Stream(key=["projectId", "referenceName"]), "fields": Stream(key=["referenceName"]),
        "tags": Stream(key=["projectId", "id"]),
        "work_items": Stream(key=["id"], cursor="changedDate", per=lambda row: row["projectId"]),
        "work_item_revisions": Stream(key=["id", "rev"], cursor="changedDate", per=lambda row: row["projectId"]),
        "work_item_links": Stream(key=["sourceId", "targetId", "rel"], cursor="changedDate", per=lambda row: row["projectId"]),
        # All of an item that changed comes again.
        "work_item_comments": Stream(key=["workItemId", "id"], cursor="modifiedDate", loose=True),
    }

    # ------------------------------------------------------------ the account

    def fill(self, random, size):
        self.forbidden, self.seq, self.ids = set(), 0, 0
        self.access, self.refresh = set(), "refresh-0"  # Microsoft Entra
        self.revisions, self.links = [], []  # (watermark, project, row)
        for number in range(130):  # two pages of the Graph API
            self.user(number)
        for name in ("Fabrikam", "Überprüfung", "Web Shop"):
            self.project(name)
        for reference, kind in (("System.Title", "string"), ("System.State", "string"), ("System.ChangedDate", "dateTime"),
                                ("Custom.Customer", "string"), ("Custom.Effort", "double"), ("Custom.Approved", "boolean"),
                                ("Custom.Reviewer", "string"), ("Custom.Due", "dateTime")):
            self.rows["fields"][reference] = {
                "name": reference.split(".")[-1], "referenceName": reference, "description": None, "type": kind, "usage": "workItem",
                "readOnly": False, "canSortBy": True, "isQueryable": True, "supportedOperations": [
                    {"referenceName": "SupportedOperations.Equals", "name": "="}], "isIdentity": reference == "Custom.Reviewer",
                "isPicklist": False, "isPicklistSuggested": False, "url": self.at(f"_apis/wit/fields/{reference}")}
        for _ in range(size):
            self.item(self.past())
        # Commits are in the order of time, as an account that grew has them.
        self.revisions.sort(key=lambda one: (moment_of(one[2]["fields"]["System.ChangedDate"]), one[2]["id"], one[2]["rev"]))
        self.revisions = [(place, project, row) for place, (_, project, row) in enumerate(self.revisions, 1)]
        self.links.sort(key=lambda one: moment_of(one[2]["changedDate"]))
        self.links = [(place, project, row) for place, (_, project, row) in enumerate(self.links, 1)]
        self.seq = len(self.revisions) + len(self.links)

    def uuid(self):
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def at(self, path):
        return f"{self.url}{ORG}/{path}"

    def user(self, number):
        key = self.uuid()
        descriptor = "aad." + base64.b64encode(key.encode()).decode().rstrip("=")
        self.rows["users"][descriptor] = {
            "subjectKind": "user", "metaType": "member", "domain": "45aa3d2d-7442-473d-b4d3-3c670da9dd96",
            "principalName": f"u{number}@example.com", "mailAddress": f"u{number}@example.com", "origin": "aad", "originId": key,
            "displayName": self.name(), "_links": {"self": {"href": self.at(f"_apis/Graph/Users/{descriptor}")}},
            "url": self.at(f"_apis/Graph/Users/{descriptor}"), "descriptor": descriptor}

    def identity(self):
        """Somebody, as other objects name them."""
        user = self.random.choice(list(self.rows["users"].values()))
        return {"displayName": user["displayName"], "url": self.at("_apis/Identities/" + user["originId"]), "_links": {
            "avatar": {"href": self.at("_apis/GraphProfile/MemberAvatars/" + user["descriptor"])}}, "id": user["originId"],
            "uniqueName": user["principalName"], "imageUrl": self.at("_api/_common/identityImage"), "descriptor": user["descriptor"]}

    def project(self, name):
        random, rows, key = self.random, self.rows, self.uuid()
        rows["projects"][key] = {"id": key, "name": name, "description": self.name(), "url": self.at(f"_apis/projects/{key}"),
                                 "state": "wellFormed", "revision": 7, "visibility": "private", "lastUpdateTime": net(self.past())}
        for number in range(104 if name == "Fabrikam" else 1):  # two pages of teams
            team = self.uuid()
            rows["teams"][team] = {"id": team, "name": f"{name} Team {number}", "url": self.at("_apis/teams"), "description": "",
                                   "identityUrl": self.at("_apis/Identities/x"), "projectName": name, "projectId": key}
            if number > 1:
                continue
            for _ in range(101 if name == "Fabrikam" and number == 0 else 2):
                who = self.identity()
                rows["team_members"][team, who["id"]] = {"isTeamAdmin": random.random() < 0.5, "identity": who, "projectId": key,
                                                         "teamId": team, "id": who["id"]}
            sprint = self.uuid()
            rows["team_iterations"][team, sprint] = {
                "id": sprint, "name": "Sprint 1", "path": f"{name}\\Sprint 1", "attributes": {
                    "startDate": "2024-01-15T00:00:00Z", "finishDate": "2024-01-28T00:00:00Z", "timeFrame": "past"},
                "url": self.at("x"), "projectId": key, "teamId": team}
            board = self.uuid()
            rows["boards"][team, board] = {"id": board, "url": self.at(f"x/_apis/work/boards/{board}"), "name": "Stories", "projectId": key,
                                           "teamId": team}
            for column, kind in (("New", "incoming"), ("Doing", "inProgress"), ("Done", "outgoing")):
                made = self.uuid()
                rows["board_columns"][team, board, made] = {
                    "id": made, "name": column, "itemLimit": 5, "stateMappings": {"Bug": "Active", "User Story": "Active"},
                    "columnType": kind, **({"isSplit": False, "description": ""} if kind == "inProgress" else {}),
                    "projectId": key, "teamId": team, "boardId": board}
        self.tree(key, name, "area", [("Back end", [("Database", [])]), ("Front end", [])])
        self.tree(key, name, "iteration", [("Release 1", [("Sprint 1", []), ("Sprint 2", [("Part A", [])])]), ("Release 2", [])])
        for kind in ("Bug", "User Story", "Task"):
            reference = f"Microsoft.VSTS.WorkItemTypes.{kind.replace(' ', '')}"
            rows["work_item_types"][key, reference] = {
                "name": kind, "referenceName": reference, "description": "", "color": "CC293D", "isDisabled": False,
                "icon": {"id": "icon_insect", "url": self.at("_apis/wit/workItemIcons/icon_insect")},
                "fields": [{"defaultValue": None, "helpText": None, "alwaysRequired": True, "referenceName": "System.Title",
                            "name": "Title", "url": self.at("x")}],
                "states": [{"name": "New", "color": "b2b2b2", "category": "Proposed"}, {"name": "Closed", "color": "339933",
                                                                                         "category": "Completed"}],
                "_links": {"self": {"href": self.at("x")}}, "url": self.at("x"), "projectId": key}
        for tag in ("urgent", "später"):
            made = self.uuid()
            rows["tags"][key, made] = {"id": made, "name": tag, "url": self.at("x"), "lastUpdated": net(self.past()), "projectId": key}

    def tree(self, project, name, kind, children, path=""):
        """A node and those below it; gives the node as a tree."""
        self.ids += 1
        path = f"{path}\\{name}" if path else f"\\{name}\\{kind.title()}"
        node = {"id": self.ids, "identifier": self.uuid(), "name": name, "structureType": kind, "hasChildren": bool(children), "path": path,
                "_links": {"self": {"href": self.at("x")}}, "url": self.at(f"x/_apis/wit/classificationNodes/{kind}s"),
                "projectId": project}
        if kind == "iteration" and not children:
            node["attributes"] = {"startDate": "2024-01-15T00:00:00Z", "finishDate": "2024-01-28T00:00:00Z"}
        self.rows[kind + "s"][project, node["id"]] = node
        node["children of it"] = [self.tree(project, child, kind, below, path) for child, below in children]
        return node

    def item(self, at, revisions=None):
        """Adds a work item, with a few revisions an hour apart; gives its id."""
        random, project = self.random, self.random.choice(list(self.rows["projects"]))
        self.ids += 1
        key, who = self.ids, self.identity()
        name = self.rows["projects"][project]["name"]
        fields = {"System.Id": key, "System.AreaId": 1, "System.AreaPath": name, "System.TeamProject": name, "System.NodeName": name,
                  "System.Rev": 0, "System.IterationPath": f"{name}\\Sprint 1", "System.WorkItemType": random.choice(["Bug", "Task"]),
                  "System.State": "New", "System.Reason": "New", "System.CreatedDate": net(at), "System.CreatedBy": who,
                  "System.Title": self.name(), "System.CommentCount": 0, "System.Watermark": 0}
        if random.random() < 0.5:
            fields |= {"System.AssignedTo": self.identity(), "System.Tags": "urgent; später", "System.Description": "<div>é 🚀 'x'\n\"y\"</div>",
                       "Microsoft.VSTS.Common.Priority": random.randrange(1, 5), "Microsoft.VSTS.Scheduling.StoryPoints": 2.5}
        if random.random() < 0.7:
            fields |= {"Custom.Customer": self.name(), "Custom.Effort": random.choice([1.5, 3.25]), "Custom.Approved": random.random() < 0.5,
                       "Custom.Reviewer": self.identity(), "Custom.Due": net(self.past()), "Custom.Count": random.randrange(9),
                       "WEF_6CB513B6E70E43499D9FC94E5BBFB784_Kanban.Column": "New"}
        self.rows["items"][key] = project, {}
        for place in range(revisions or random.choice([1, 1, 2, 3])):
            moment = at.fromtimestamp(at.timestamp() + place * 3600.5, at.tzinfo)
            if place:
                fields = {**self.rows["items"][key][1]["fields"], "System.State": "Active", "System.Title": self.name()}
            self.revise(key, fields, moment)
            if random.random() < 0.3:
                self.comment(key, moment, revise=False)
        if random.random() < 0.3 and len(self.rows["items"]) > 1:
            self.link(key, random.choice([other for other in self.rows["items"] if other != key]), at)
        return key

    def revise(self, key, fields, at):
        """Another revision of an item."""
        project, last = self.rows["items"][key]
        self.seq += 1
        fields = {**fields, "System.Rev": fields["System.Rev"] + 1, "System.ChangedDate": net(at), "System.ChangedBy": self.identity(),
                  "System.RevisedDate": "9999-01-01T00:00:00Z", "System.Watermark": self.seq}
        if last:
            last["fields"] = {**last["fields"], "System.RevisedDate": net(at)}
        row = {"id": key, "rev": fields["System.Rev"], "fields": fields}
        self.rows["items"][key] = project, row
        self.revisions.append((self.seq, project, row))
        return row["rev"]

    def comment(self, key, at, revise=True):
        """A comment on an item, which is a revision of it too."""
        self.ids += 1
        _, row = self.rows["items"][key]
        count = row["fields"]["System.CommentCount"] + 1
        if revise:
            self.revise(key, {**row["fields"], "System.CommentCount": count}, at)
        else:
            row["fields"]["System.CommentCount"] = count
        who = self.identity()
        self.rows["work_item_comments"][key, self.ids] = {
            "workItemId": key, "id": self.ids, "version": 1, "text": f"<div>{self.name()}</div>", "createdBy": who, "createdDate": net(at),
            "modifiedBy": who, "modifiedDate": net(at), "format": "html", "url": self.at(f"x/_apis/wit/workItems/{key}/comments/{self.ids}")}
        return key, self.ids

    def link(self, source, target, at, active=True):
        """A link between two items, of the first one's project."""
        self.seq += 1
        self.links = [one for one in self.links if (one[2]["sourceId"], one[2]["targetId"]) != (source, target)]
        row = {"rel": "System.LinkTypes.Hierarchy", "sourceId": source, "targetId": target, "changedDate": net(at), "isActive": active,
               "changedBy": self.identity(), "changedOperation": "create", "sourceProjectId": self.rows["items"][source][0],
               "targetProjectId": self.rows["items"][target][0]}
        self.links.append((self.seq, self.rows["items"][source][0], row))
        return source, target, row["rel"]

    # ------------------------------------------------------------ for the driver

    def config(self, **more):
        return {"organization": ORG[1:], "personal_access_token": TOKEN, "api_url": self.url, **more}

    def bad_config(self):
        return self.config(personal_access_token="wrong")

    @staticmethod
    def spread(project, row):
        """A revision as the tap gives it."""
        custom = []
        for name, value in row["fields"].items():
            if name.startswith(STANDARD):
                continue
            text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else str(value)
            kind = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
            one = {"id": name, "name": name.split(".")[-1], "type": kind, "value": text, "displayValue": text}
            if isinstance(value, dict):
                one |= {"type": "identity", "value": value["id"], "displayValue": value["displayName"]}
            custom.append(one)
        return {**row, "projectId": project, "changedDate": row["fields"]["System.ChangedDate"], "customFields": custom,
                "fields": {name: value for name, value in row["fields"].items() if name.startswith(STANDARD) and name != "System.RevisedDate"}}

    def truth(self, stream):
        there = lambda project: project not in self.forbidden
        if stream == "work_items":
            return {key: self.spread(project, row) for key, (project, row) in self.rows["items"].items() if there(project)}
        if stream == "work_item_revisions":
            return {(row["id"], row["rev"]): self.spread(project, row) for _, project, row in self.revisions if there(project)}
        if stream == "work_item_links":
            return {(row["sourceId"], row["targetId"], row["rel"]): {**row, "projectId": project}
                    for _, project, row in self.links if there(project)}
        if stream == "work_item_comments":
            return {key: {**row, "projectId": self.rows["items"][key[0]][0]} for key, row in self.rows[stream].items()
                    if there(self.rows["items"][key[0]][0])}
        rows = {key: {name: value for name, value in row.items() if name != "children of it"} for key, row in self.rows[stream].items()
                if stream == "projects" or there(row.get("projectId"))}
        if stream == "board_columns":
            rows = {key: {**row, "stateMappings": [{"workItemType": kind, "state": state} for kind, state in row["stateMappings"].items()]}
                    for key, row in rows.items()}
        return rows

    def edit(self, random):
        changed, items = set(), self.rows["items"]
        live = [key for key, (project, row) in items.items()
                if project not in self.forbidden and not row["fields"].get("System.IsDeleted")]
        first, second, third, fourth = random.sample(live, 4)

        def revised(key):
            changed.update({("work_items", (key,)), ("work_item_revisions", (key, items[key][1]["rev"]))})

        for key in (first, second):
            self.revise(key, {**items[key][1]["fields"], "System.State": random.choice(["Active", "Closed"]),
                              "System.Title": self.name(random), "Custom.Effort": random.choice([1, 2.5])}, self.now())
            revised(key)
        changed.add(("work_item_comments", self.comment(third, self.now())))
        revised(third)
        if not items[fourth][1]["fields"]["System.CommentCount"]:
            self.revise(fourth, {**items[fourth][1]["fields"], "System.IsDeleted": True}, self.now())
            revised(fourth)
        changed.add(("work_item_links", self.link(first, second, self.now(), active=random.random() < 0.5)))
        made = self.item(self.now(), 1)
        if items[made][0] not in self.forbidden:
            revised(made)
            changed |= {("work_item_comments", key) for key in self.rows["work_item_comments"] if key[0] == made}
            changed |= {("work_item_links", (row["sourceId"], row["targetId"], row["rel"])) for _, _, row in self.links if row["sourceId"] == made}
        return changed

    def throttle(self):
        return Refused(429, {"$id": "1", "message": "TF400733: The request has been canceled: Request was blocked due to exceeding usage of "
                             "resource 'Concurrency' in namespace 'User'.", "typeKey": "RequestBlockedException", "errorCode": 0},
                       {"Retry-After": "1", "X-RateLimit-Resource": "Core/User", "X-RateLimit-Delay": "0.5"})

    def forbid(self):
        """One project: its name is still listed."""
        project = next(iter(self.rows["projects"]))
        before = {stream: set(self.truth(stream)) for stream in self.streams}
        self.forbidden.add(project)
        return {stream: sorted(gone) for stream in self.streams if (gone := before[stream] - set(self.truth(stream)))}

    # ------------------------------------------------------------ answers

    @route("POST", "/entra/oauth2/v2.0/token")
    def token(self, call):
        """Microsoft Entra: a refresh token serves once here."""
        form = call.form
        if "499b84ac-1321-427f-aa17-267ca6975798/.default" not in form.get("scope", "").split():
            raise Refused(400, {"error": "invalid_scope", "error_description": "AADSTS70011: The scope is not valid."})
        if form.get("client_secret") != "secret" or form.get("grant_type") == "refresh_token" and form.get("refresh_token") != self.refresh:
            raise Refused(400, {"error": "invalid_grant", "error_description": "AADSTS70000: The provided grant is not valid."})
        self.access.add(access := self.give_token("access"))
        answer = {"token_type": "Bearer", "expires_in": 3599, "access_token": access}
        if form["grant_type"] == "refresh_token":
            self.refresh = self.give_token("refresh")
            answer["refresh_token"] = self.refresh
        return answer

    def authorized(self, call, *parameters, version="7.1"):
        given = call.headers.get("Authorization") or ""
        if given != "Basic " + base64.b64encode(f":{TOKEN}".encode()).decode() and given.removeprefix("Bearer ") not in self.access:
            raise Refused(203, SIGN_IN, {"Content-Type": "text/html; charset=utf-8"})
        call.only("api-version", *parameters, body={"$id": "1", "message": "A query parameter is not known.", "typeKey": "VssPropertyValidationException"})
        if call.query.get("api-version") != version:
            raise Refused(400, {"$id": "1", "message": "No api-version was supplied", "typeKey": "VssVersionNotSpecifiedException"})
        project = call.params.get("project")
        if project is not None and (project not in self.rows["projects"] or project in self.forbidden):
            raise Refused(404, {"$id": "1", "innerException": None, "message": f"TF200016: The following project does not exist: {project}. "
                                "Verify that the name of the project is correct and that the project exists.", "errorCode": 0,
                                "typeKey": "ProjectDoesNotExistWithNameException", "eventId": 3000})
        return project

    @staticmethod
    def listed(rows, *without):
        rows = [{name: value for name, value in row.items() if name not in without} for row in rows]
        return {"count": len(rows), "value": rows}

    def skipped(self, call, rows, *without):
        """A page by `$top` and `$skip`."""
        self.paged(call)
        top, skip = call.number("$top", 100, 1, 1000), call.number("$skip", 0)
        return self.listed(rows[skip:skip + top], *without)

    @route("GET", ORG + "/_apis/projects")
    def projects(self, call):
        self.authorized(call, "stateFilter", "$top", "$skip", "continuationToken", "getDefaultTeamImageUrl")
        return self.skipped(call, list(self.rows["projects"].values()))

    @route("GET", ORG + "/_apis/projects/{project}/teams")
    def teams(self, call):
        project = self.authorized(call, "$mine", "$top", "$skip", "$expandIdentity")
        return self.skipped(call, [row for row in self.rows["teams"].values() if row["projectId"] == project])

    @route("GET", ORG + "/_apis/projects/{project}/teams/{team}/members")
    def team_members(self, call):
        self.authorized(call, "$top", "$skip")
        rows = [row for (team, _), row in self.rows["team_members"].items() if team == call.params["team"]]
        return self.skipped(call, rows, "projectId", "teamId", "id")

    def of_team(self, call, stream, *parameters):
        self.authorized(call, *parameters)
        if call.params["team"] not in self.rows["teams"]:
            raise Refused(404, {"message": "The team does not exist.", "typeKey": "TeamNotFoundException"})
        return self.listed([row for key, row in self.rows[stream].items() if key[0] == call.params["team"]], "projectId", "teamId")

    @route("GET", ORG + "/{project}/{team}/_apis/work/teamsettings/iterations")
    def team_iterations(self, call):
        return self.of_team(call, "team_iterations", "$timeframe")

    @route("GET", ORG + "/{project}/{team}/_apis/work/boards")
    def boards(self, call):
        return self.of_team(call, "boards")

    @route("GET", ORG + "/{project}/{team}/_apis/work/boards/{board}/columns")
    def board_columns(self, call):
        self.authorized(call)
        rows = [row for key, row in self.rows["board_columns"].items() if key[:2] == (call.params["team"], call.params["board"])]
        return self.listed(rows, "projectId", "teamId", "boardId")

    @route("GET", ORG + "/_apis/graph/users")
    def users(self, call):
        self.authorized(call, "subjectTypes", "continuationToken", "scopeDescriptor", version="7.1-preview.1")
        self.paged(call)
        token = call.query.get("continuationToken")
        start = 0 if token is None else self.take_token(token)
        if start is None:
            raise Refused(400, {"message": "The continuation token is not valid.", "typeKey": "GraphBadRequestException"})
        rows = list(self.rows["users"].values())
        more = {"X-MS-ContinuationToken": self.give_token(start + 100)} if start + 100 < len(rows) else {}
        return Reply(self.listed(rows[start:start + 100]), headers=more)

    @route("GET", ORG + "/{project}/_apis/wit/classificationnodes")
    def nodes(self, call):
        project = self.authorized(call, "$depth")
        depth = call.number("$depth", 0)

        def shown(node, deep):
            made = {name: value for name, value in node.items() if name not in ("projectId", "children of it")}
            if deep and node["children of it"]:
                made["children"] = [shown(child, deep - 1) for child in node["children of it"]]
            return made

        roots = [next(node for (of, _), node in self.rows[stream].items() if of == project) for stream in ("areas", "iterations")]
        return {"count": 2, "value": [shown(node, depth) for node in roots]}

    @route("GET", ORG + "/{project}/_apis/wit/workitemtypes")
    def work_item_types(self, call):
        project = self.authorized(call)
        rows = [{**row, "xmlForm": "<FORM/>", "fieldInstances": row["fields"], "transitions": {"New": [{"to": "Closed", "actions": None}]}}
                for (of, _), row in self.rows["work_item_types"].items() if of == project]
        return self.listed(rows, "projectId")

    @route("GET", ORG + "/_apis/wit/fields")
    def fields(self, call):
        self.authorized(call, "$expand")
        return self.listed(self.rows["fields"].values())

    @route("GET", ORG + "/{project}/_apis/wit/tags")
    def tags(self, call):
        project = self.authorized(call)
        return self.listed([row for (of, _), row in self.rows["tags"].items() if of == project], "projectId")

    def batch(self, call, rows):
        """A batch of the reporting API; rows are (watermark, row), in order."""
        self.paged(call)
        token, start = call.query.get("continuationToken"), call.query.get("startDateTime")
        if token and start:
            raise Refused(400, {"message": "startDateTime may not be used with a continuationToken.", "typeKey": "VssPropertyValidationException"})
        after = 0
        if token:
            after = self.take_token(token)
            if after is None:
                raise Refused(400, {"message": "The continuation token is not valid.", "typeKey": "VssPropertyValidationException"})
        elif start:
            since = moment_of(start)
            if since is None:
                raise Refused(400, {"message": "startDateTime is not valid.", "typeKey": "VssPropertyValidationException"})
            rows = [one for one in rows if moment_of(one[1].get("changedDate") or one[1]["fields"]["System.ChangedDate"]) > since]
        size = call.number("$maxPageSize", 200, 1, 1000)
        rows = [one for one in rows if one[0] > after]
        page, mark = rows[:size], rows[:size][-1][0] if rows else after
        token = self.give_token(mark)
        return {"values": [row for _, row in page], "nextLink": self.at(f"{call.path}?continuationToken={token}"), "continuationToken": token,
                "isLastBatch": len(rows) <= size}

    @route("GET", ORG + "/{project}/_apis/wit/reporting/workitemrevisions")
    def work_item_revisions(self, call):
        project = self.authorized(call, *OF_REPORT)
        latest = call.query.get("includeLatestOnly") == "true"
        rows = []
        for mark, of, row in self.revisions:
            if of != project or latest and self.rows["items"][row["id"]][1] is not row:
                continue
            if row["fields"].get("System.IsDeleted") and call.query.get("includeDeleted") != "true":
                continue
            fields = {name: value for name, value in row["fields"].items()
                      if name != "System.Description" or call.query.get("$expand") == "fields"}
            if call.query.get("includeIdentityRef") != "true":
                fields = {name: f"{value['displayName']} <{value['uniqueName']}>" if isinstance(value, dict) else value
                          for name, value in fields.items()}
            rows.append((mark, {**row, "fields": fields}))
        return self.batch(call, rows)

    @route("GET", ORG + "/{project}/_apis/wit/reporting/workitemlinks")
    def work_item_links(self, call):
        project = self.authorized(call, "linkTypes", "types", "continuationToken", "startDateTime")
        return self.batch(call, [(mark, row) for mark, of, row in self.links if of == project])

    @route("GET", ORG + "/{project}/_apis/wit/workItems/{item}/comments")
    def comments(self, call):
        self.authorized(call, "$top", "continuationToken", "includeDeleted", "$expand", "order", version="7.1-preview.4")
        self.paged(call)
        rows = [row for (item, _), row in self.rows["work_item_comments"].items() if item == int(call.params["item"])]
        token, size = call.query.get("continuationToken"), call.number("$top", 200, 1, 200)
        start = self.take_token(token) if token else 0
        page = rows[start:start + size]
        answer = {"totalCount": len(rows), "count": len(page), "comments": page}
        if start + size < len(rows):
            token = self.give_token(start + size)
            answer |= {"nextPage": self.at(f"x?continuationToken={token}"), "continuationToken": token}
        return answer


if __name__ == "__main__":
    main(AzureDevops)
