"""A Linear-shaped vendor in a box, made from Linear's GraphQL schema and its developer pages.

The SDL below is the part of Linear's schema that is served here, with Linear's names, types and nullability. Each
query must be allowed by Linear's own schema (tests/specs) too, and what answers it must be a part of that. Not in the pages, and so assumed: the body and status of a
refused key, what a query that is too complex is answered with, that a cursor is the id of a node and stands where that node
stands now, that a private team is in no list and no error tells of it.
"""
import sys

if __name__ == "__main__":
    sys.path[0] = str(__import__("pathlib").Path(__file__).resolve().parents[1])
import datetime
import functools
import math
import time
import uuid
from pathlib import Path

import graphql

from vendors.core import Refused, Stream, main, moment_of, route, stamp
from vendors.graphql import GraphQL, connection

KEY = "lin_api_0Yb2bTgHrwvqYYb8KGbEqgTRqdC2Yr9Jsz8nRzNm"
TYPES = {  # stream -> type and field of Query
    "organization": ("Organization", "organization"), "teams": ("Team", "teams"), "users": ("User", "users"),
    "team_memberships": ("TeamMembership", "teamMemberships"), "workflow_states": ("WorkflowState", "workflowStates"),
    "issue_labels": ("IssueLabel", "issueLabels"), "cycles": ("Cycle", "cycles"), "projects": ("Project", "projects"),
    "project_statuses": ("ProjectStatus", "projectStatuses"), "project_labels": ("ProjectLabel", "projectLabels"),
    "project_milestones": ("ProjectMilestone", "projectMilestones"), "project_updates": ("ProjectUpdate", "projectUpdates"),
    "initiatives": ("Initiative", "initiatives"), "initiative_updates": ("InitiativeUpdate", "initiativeUpdates"),
    "initiative_to_projects": ("InitiativeToProject", "initiativeToProjects"), "issues": ("Issue", "issues"),
    "issue_relations": ("IssueRelation", "issueRelations"), "comments": ("Comment", "comments"),
    "attachments": ("Attachment", "attachments"),
}
UNFILTERED = {"TeamMembership", "ProjectStatus", "InitiativeToProject", "IssueRelation"}
WHOLE = {"organization", "team_memberships", "project_statuses", "initiative_to_projects"}
OBJECTS = """
scalar DateTime scalar DateTimeOrDuration scalar TimelessDate scalar JSONObject
enum PaginationOrderBy { createdAt updatedAt }
type PageInfo { hasNextPage: Boolean!, hasPreviousPage: Boolean!, startCursor: String, endCursor: String }
type Organization { id: ID!, name: String!, urlKey: String!, previousUrlKeys: [String!]!, logoUrl: String, userCount: Int!,
  samlEnabled: Boolean!, scimEnabled: Boolean!, roadmapEnabled: Boolean!, trialEndsAt: DateTime, deletionRequestedAt: DateTime,
  createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type Team { id: ID!, key: String!, name: String!, displayName: String!, description: String, icon: String, color: String,
  visibility: TeamVisibility!, timezone: String!, parent: Team, defaultIssueState: WorkflowState, cyclesEnabled: Boolean!,
  cycleDuration: Float!, cycleCooldownTime: Float!, cycleStartDay: Float!, upcomingCycleCount: Float!, triageEnabled: Boolean!,
  issueEstimationType: String!, issueEstimationAllowZero: Boolean!, issueEstimationExtended: Boolean!, defaultIssueEstimate:
  Float!, autoArchivePeriod: Float!, autoClosePeriod: Float, scimManaged: Boolean!, scimGroupName: String, retiredAt: DateTime,
  createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type User { id: ID!, name: String!, displayName: String!, email: String!, title: String, description: String, active: Boolean!,
  admin: Boolean!, guest: Boolean!, app: Boolean!, isAssignable: Boolean!, disableReason: String, avatarUrl: String, url:
  String!, timezone: String, statusEmoji: String, statusLabel: String, statusUntilAt: DateTime, lastSeen: DateTime,
  gitHubUserId: String, createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type TeamMembership { id: ID!, team: Team!, user: User!, owner: Boolean!, sortOrder: Float!, createdAt: DateTime!, updatedAt:
  DateTime!, archivedAt: DateTime }
type WorkflowState { id: ID!, name: String!, type: String!, description: String, color: String!, position: Float!, team: Team!,
  inheritedFrom: WorkflowState, createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type IssueLabel { id: ID!, name: String!, description: String, color: String!, isGroup: Boolean!, team: Team, parent:
  IssueLabel, inheritedFrom: IssueLabel, creator: User, lastAppliedAt: DateTime, createdAt: DateTime!, updatedAt: DateTime!,
  archivedAt: DateTime }
type Cycle { id: ID!, number: Float!, name: String, description: String, team: Team!, startsAt: DateTime!, endsAt: DateTime!,
  completedAt: DateTime, progress: Float!, scopeHistory: [Float!]!, inProgressScopeHistory: [Float!]!, completedScopeHistory:
  [Float!]!, issueCountHistory: [Float!]!, completedIssueCountHistory: [Float!]!, inheritedFrom: Cycle, autoArchivedAt:
  DateTime, createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type Project { id: ID!, name: String!, description: String!, content: String, icon: String, color: String!, slugId: String!,
  url: String!, status: ProjectStatus!, lead: User, creator: User, priority: Int!, priorityLabel: String!, progress: Float!,
  scope: Float!, health: ProjectUpdateHealthType, healthUpdatedAt: DateTime, startDate: TimelessDate, startDateResolution:
  DateResolutionType, targetDate: TimelessDate, targetDateResolution: DateResolutionType, startedAt: DateTime, completedAt:
  DateTime, canceledAt: DateTime, autoArchivedAt: DateTime, trashed: Boolean, labelIds: [String!]!, sortOrder: Float!,
  convertedFromIssue: Issue, lastUpdate: ProjectUpdate, teams(first: Int, after: String): TeamConnection!, members(first: Int,
  after: String): UserConnection!, createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type ProjectStatus { id: ID!, name: String!, type: ProjectStatusType!, description: String, color: String!, position: Float!,
  indefinite: Boolean!, createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type ProjectLabel { id: ID!, name: String!, description: String, color: String!, isGroup: Boolean!, parent: ProjectLabel,
  creator: User, lastAppliedAt: DateTime, createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type ProjectMilestone { id: ID!, name: String!, description: String, status: ProjectMilestoneStatus!, progress: Float!,
  targetDate: TimelessDate, sortOrder: Float!, project: Project!, createdAt: DateTime!, updatedAt: DateTime!, archivedAt:
  DateTime }
type ProjectUpdate { id: ID!, body: String!, health: ProjectUpdateHealthType!, project: Project!, user: User!, diffMarkdown:
  String, reactionData: JSONObject!, slugId: String!, url: String!, editedAt: DateTime, createdAt: DateTime!, updatedAt:
  DateTime!, archivedAt: DateTime }
type Initiative { id: ID!, name: String!, description: String, content: String, status: InitiativeStatus!, health:
  InitiativeUpdateHealthType, healthUpdatedAt: DateTime, owner: User, creator: User, parentInitiative: Initiative, lastUpdate:
  InitiativeUpdate, targetDate: TimelessDate, targetDateResolution: DateResolutionType, startedAt: DateTime, completedAt:
  DateTime, color: String, icon: String, slugId: String!, url: String!, labelIds: [String!]!, sortOrder: Float!, trashed:
  Boolean, createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type InitiativeUpdate { id: ID!, body: String!, health: InitiativeUpdateHealthType!, initiative: Initiative!, user: User!,
  diffMarkdown: String, reactionData: JSONObject!, slugId: String!, url: String!, editedAt: DateTime, createdAt: DateTime!,
  updatedAt: DateTime!, archivedAt: DateTime }
type InitiativeToProject { id: ID!, initiative: Initiative!, project: Project!, sortOrder: String!, createdAt: DateTime!,
  updatedAt: DateTime!, archivedAt: DateTime }
type Issue { id: ID!, identifier: String!, previousIdentifiers: [String!]!, number: Float!, title: String!, description: String,
  url: String!, branchName: String!, priority: Float!, priorityLabel: String!, estimate: Float, dueDate: TimelessDate, team:
  Team!, state: WorkflowState!, assignee: User, creator: User, delegate: User, parent: Issue, project: Project,
  projectMilestone: ProjectMilestone, cycle: Cycle, labelIds: [String!]!, sourceComment: Comment, recurringIssueTemplate:
  Template, externalUserCreator: ExternalUser, botActor: ActorBot, integrationSourceType: IntegrationService,
  customerTicketCount: Int!, startedAt: DateTime, completedAt: DateTime, canceledAt: DateTime, startedTriageAt: DateTime,
  triagedAt: DateTime, snoozedUntilAt: DateTime, addedToCycleAt: DateTime, addedToProjectAt: DateTime, addedToTeamAt: DateTime,
  autoClosedAt: DateTime, autoArchivedAt: DateTime, slaType: String, slaStartedAt: DateTime, slaMediumRiskAt: DateTime,
  slaHighRiskAt: DateTime, slaBreachesAt: DateTime, trashed: Boolean, sortOrder: Float!, subIssueSortOrder: Float, createdAt:
  DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type IssueRelation { id: ID!, type: String!, issue: Issue!, relatedIssue: Issue!, createdAt: DateTime!, updatedAt: DateTime!,
  archivedAt: DateTime }
type Comment { id: ID!, issue: Issue, body: String!, quotedText: String, url: String!, issueId: String, projectId: String, projectUpdateId:
  String, initiativeId: String, initiativeUpdateId: String, documentContentId: String, parentId: String, user: User,
  externalUser: ExternalUser, botActor: ActorBot, resolvedAt: DateTime, resolvingUser: User, resolvingCommentId: String,
  reactionData: JSONObject!, editedAt: DateTime, createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type Attachment { id: ID!, title: String!, subtitle: String, url: String!, sourceType: String, source: JSONObject, metadata:
  JSONObject!, groupBySource: Boolean!, issue: Issue!, originalIssue: Issue, creator: User, externalUserCreator: ExternalUser,
  createdAt: DateTime!, updatedAt: DateTime!, archivedAt: DateTime }
type ActorBot { id: ID, name: String, type: String! }
type ExternalUser { id: ID!, name: String! }
type Template { id: ID! }
enum DateResolutionType { halfYear month quarter year }
enum InitiativeStatus { Active Canceled Completed Planned Proposed }
enum InitiativeUpdateHealthType { atRisk offTrack onTrack }
enum IntegrationService { airbyte asksWeb discord email figma figmaPlugin front github githubCodeAccessPersonal githubCommit
  githubEnterpriseServer githubImport githubPersonal gitlab gong googleCalendarPersonal googleSheets intercom jira jiraPersonal
  launchDarkly launchDarklyPersonal loom mcpServer mcpServerPersonal microsoftPersonal microsoftTeams microsoftTeamsProjectPost
  notion opsgenie pagerDuty salesforce sentry slack slackAsks slackCustomViewNotifications slackInitiativePost
  slackOrgInitiativeUpdatesPost slackOrgProjectUpdatesPost slackPersonal slackPost slackProjectPost slackProjectUpdatesPost
  zendesk }
enum ProjectMilestoneStatus { done next overdue unstarted }
enum ProjectStatusType { backlog canceled completed paused planned started }
enum ProjectUpdateHealthType { atRisk offTrack onTrack }
enum TeamVisibility { private public restricted }
input StringComparator { eq: String, neq: String, in: [String!], nin: [String!] }
input DateComparator { eq: DateTimeOrDuration, gt: DateTimeOrDuration, gte: DateTimeOrDuration, lt: DateTimeOrDuration,
  lte: DateTimeOrDuration }
input TeamCollectionFilter { some: TeamFilter }
"""
FILTERS = {  # what may be asked of a type, beside `updatedAt`, `and` and `or`
    "Team": "key: StringComparator, name: StringComparator", "Issue": "team: TeamFilter, project: NullableProjectFilter",
    "Cycle": "team: TeamFilter", "WorkflowState": "team: TeamFilter", "IssueLabel": "team: NullableTeamFilter",
    "Project": "accessibleTeams: TeamCollectionFilter", "ProjectMilestone": "project: NullableProjectFilter",
    "ProjectUpdate": "project: ProjectFilter", "Comment": "issue: NullableIssueFilter, project: NullableProjectFilter",
}


def sdl():
    """The whole of it: connections, filters and `Query` follow from the types."""
    text, query = [OBJECTS], []
    for kind, field in TYPES.values():
        if kind == "Organization":
            query.append("organization: Organization!")
            continue
        text.append(f"type {kind}Connection {{ nodes: [{kind}!]!, pageInfo: PageInfo! }}")
        words = "after: String, before: String, first: Int, last: Int, includeArchived: Boolean, orderBy: PaginationOrderBy"
        if kind not in UNFILTERED:
            words += f", filter: {kind}Filter"
            nullable = [(f"Nullable{kind}Filter", ", null: Boolean")] if kind in ("Issue", "Project", "Team") else []
            for name, more in [(f"{kind}Filter", ""), *nullable]:
                asked = ", ".join(filter(None, [FILTERS.get(kind), "updatedAt: DateComparator", f"and: [{name}!], or: [{name}!]"]))
                text.append(f"input {name} {{ {asked}{more} }}")
        query.append(f"{field}({words}{', includeDisabled: Boolean' if kind == 'User' else ''}): {kind}Connection!")
    return "\n".join([*text, f"type Query {{ {chr(10).join(query)} }}"])


@functools.lru_cache(maxsize=1)
def published():
    """Linear's own schema, as far as the source asks for it."""
    path = Path(__file__).resolve().parents[1] / "specs" / "linear.graphql"
    return graphql.build_schema(path.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=100)
def not_published(query):
    """What of a query Linear's own schema does not allow."""
    return [error.message for error in graphql.validate(published(), graphql.parse(query))]


@functools.lru_cache(maxsize=1)
def strangers():
    """What of the SDL above is not as Linear's own schema has it: types, fields with their types and arguments, values."""
    def parts(kind):
        if graphql.is_enum_type(kind):
            return set(kind.values)
        fields = getattr(kind, "fields", {})
        return {(name, str(field.type), argument and f"{argument}: {field.args[argument].type}")
                for name, field in fields.items() for argument in (None, *getattr(field, "args", ()))}

    known = published().type_map
    return [f"{name} of the vendor: {part} is not Linear's" for name, kind in Linear.schema().type_map.items() if not name.startswith("__")
            for part in sorted(map(str, parts(kind) - parts(known[name]) if name in known else ["it"]))]


class Linear(GraphQL):
    """A workspace of Linear, as one member of it sees it."""

    source, specified = "linear", True
    sdl = sdl()
    streams = {name: Stream(key=["id"], cursor=None if name in WHOLE else "updatedAt") for name in TYPES}
    vanishes = "Linear lists only the teams that the key may see; a team that turned private is missing without an error"

    # ------------------------------------------------------------ the workspace

    def fill(self, random, size):
        self.access, self.refresh, self.hidden, self.base = "lin_oauth_0", "refresh_0", set(), {}
        self.version, self.truths, self.mates, self.talk = 0, {}, {}, {}
        self.asked, self.everything, self.points, self.spent, self.numbers = {}, False, (3_000_000, 3600), [], {}
        some = lambda kind, **of: random.choice(self.all(kind, **of))["id"]
        self.make("Organization", random, name="Acme", urlKey="acme", previousUrlKeys=["acme-old"])
        for n in range(12):
            self.make("User", random, active=n % 6 != 5, displayName=f"person{n}", email=f"person{n}@example.com")
        for kind in "backlog planned started paused completed canceled".split():
            self.make("ProjectStatus", random, type=kind)
        labels = [self.make("ProjectLabel", random, isGroup=n == 0)["id"] for n in range(4)]
        for n in range(3):
            self.make("IssueLabel", random, isGroup=n == 0)
        for key in ("ENG", "OPS", "DÉS", "SEC"):
            team = self.make("Team", random, key=key, visibility="private" if key == "SEC" else "public")["id"]
            for kind in "triage backlog unstarted started completed canceled".split():
                self.make("WorkflowState", random, team=team, type=kind)
            self.rows["Team"][team]["defaultIssueState"] = some("WorkflowState", team=team)
            for n in range(2):
                self.make("IssueLabel", random, team=team)
                self.make("Cycle", random, team=team, number=n + 1)
            for user in random.sample(list(self.rows["User"]), 5):
                self.make("TeamMembership", random, team=team, user=user)
        teams = list(self.rows["Team"])
        for n in range(8):
            # One team has projects of its own alone.
            of = [teams[3]] if n > 5 else random.sample(teams[:3], random.choice([1, 2]))
            project = self.make("Project", random, status=some("ProjectStatus"), teams=of, lead=some("User"), creator=some("User"),
                                labelIds=random.sample(labels, 2), members=random.sample(list(self.rows["User"]), 4))["id"]
            for _ in range(2):
                self.make("ProjectMilestone", random, project=project)
                self.report(project, random, self.past(random))
        for n in range(4):
            initiative = self.make("Initiative", random, owner=some("User"))["id"]
            self.make("InitiativeUpdate", random, initiative=initiative, user=some("User"))
            for project in random.sample([row["id"] for row in self.all("Project")], 2):
                self.make("InitiativeToProject", random, initiative=initiative, project=project)
        for _ in range(size):
            self.issue(random, random.choice(teams), self.past(random))
        issues = list(self.rows["Issue"].values())
        for row in issues[-5:]:  # several at one moment
            row["updatedAt"] = issues[-1]["updatedAt"]
        for row in random.sample(issues, size // 10):
            row.update(archivedAt=row["updatedAt"], autoArchivedAt=row["updatedAt"])
        for row in random.sample(issues, 2):
            row.update(trashed=True, archivedAt=row["updatedAt"])
        for n in range(size):
            self.comment(random, random.choice(issues), self.past(random))
            if n % 3 == 0:
                self.attach(random, random.choice(issues), self.past(random))
            if n % 5 == 0:
                self.relate(random, random.choice(issues), self.past(random))
        for _ in range(3):
            self.comment(random, None, self.past(random))

    def all(self, kind, **of):
        """The rows of a type in which these fields have these values."""
        return [row for row in self.rows[kind].values() if all(row[name] == value for name, value in of.items())]

    def make(self, kind, random, at=None, **given):
        """A row: what is not given is anything that its type allows."""
        at = at or self.past(random)
        given = {"id": str(uuid.UUID(int=random.getrandbits(128), version=4)), "archivedAt": None, "trashed": None,
                 "createdAt": stamp(at), "updatedAt": stamp(at + datetime.timedelta(seconds=random.randrange(10**6) if at.year < 2025 else 0)),
                 **given}
        fields = self.schema().type_map[kind].fields
        row = {name: given[name] if name in given else self.value(field.type, random) for name, field in fields.items()}
        self.rows[kind][row["id"]] = {**row, **{name: value for name, value in given.items() if name in ("teams", "members")}}
        return self.rows[kind][row["id"]]

    def value(self, kind, random):
        """A value of a type."""
        if not graphql.is_non_null_type(kind):
            return None if not graphql.is_leaf_type(kind) or random.random() < 0.4 else self.value(graphql.GraphQLNonNull(kind), random)
        kind = kind.of_type
        if graphql.is_list_type(kind):
            return [self.value(kind.of_type, random) for _ in range(random.randrange(4))] if kind.of_type.of_type.name == "Float" else []
        if graphql.is_enum_type(kind):
            return random.choice(list(kind.values))
        return {
            "String": lambda: self.name(random), "Float": lambda: random.choice([0, 1, 2.5, -31.25, 1e-07]), "Int": lambda: random.randrange(5),
            "Boolean": lambda: random.random() < 0.5, "DateTime": lambda: stamp(self.past(random)),
            "TimelessDate": lambda: stamp(self.past(random))[:10],
            "JSONObject": lambda: random.choice([{}, {"type": "github", "draft": False, "reviews": [{"id": 7, "name": self.name(random)}]}]),
        }.get(kind.name, lambda: None)()

    def issue(self, random, team, at):
        """An issue of a team."""
        some = lambda kind, **of: random.choice([None, *(row["id"] for row in self.all(kind, **of))])
        project = random.choice([None, *(row["id"] for row in self.all("Project") if team in row["teams"])])
        mates = self.mates.setdefault(team, [])
        bot = {"id": "bot-1", "name": "GitHub", "type": "github"}
        row = self.make(
            "Issue", random, at, **self.number(team), team=team, state=random.choice(self.all("WorkflowState", team=team))["id"], project=project,
            projectMilestone=project and some("ProjectMilestone", project=project), cycle=some("Cycle", team=team), assignee=some("User"),
            creator=some("User"), parent=random.choice(mates)["id"] if mates and random.random() < 0.3 else None,
            labelIds=random.sample([row["id"] for row in self.all("IssueLabel") if row["team"] in (None, team)], 2), previousIdentifiers=[],
            priority=random.randrange(5), botActor=bot if random.random() < 0.1 else None,
            externalUserCreator={"id": "external-1", "name": self.name(random)} if random.random() < 0.1 else None)
        mates.append(row)
        return row

    def number(self, team):
        """The next number of a team, and the identifier of it."""
        self.numbers[team] = self.numbers.get(team, 0) + 1
        return {"number": self.numbers[team], "identifier": f"{self.rows['Team'][team]['key']}-{self.numbers[team]}"}

    def comment(self, random, issue, at):
        """A comment on an issue, or on a project."""
        others = self.talk.setdefault(issue and issue["id"], [])
        row = self.make("Comment", random, at, issue=issue and issue["id"], issueId=issue and issue["id"], parentId=random.choice([None, *others]),
                        projectId=None if issue else self.all("Project")[0]["id"], user=random.choice([None, *self.rows["User"]]),
                        **dict.fromkeys(("projectUpdateId", "initiativeId", "initiativeUpdateId", "documentContentId", "resolvingCommentId")))
        others.append(row["id"])
        return row

    def attach(self, random, issue, at):
        """An attachment of an issue."""
        return self.make("Attachment", random, at, issue=issue["id"], creator=random.choice([None, *self.rows["User"]]))

    def relate(self, random, issue, at):
        """A relation to another issue of its team."""
        other = random.choice(self.mates[issue["team"]])
        return self.make("IssueRelation", random, at, issue=issue["id"], relatedIssue=other["id"], type=random.choice(["blocks", "related"]))

    def report(self, project, random, at):
        """A status update of a project."""
        row = self.make("ProjectUpdate", random, at, project=project, user=random.choice(list(self.rows["User"])))
        self.rows["Project"][project].update(lastUpdate=row["id"], health=row["health"], healthUpdatedAt=row["createdAt"])
        return row

    def edit(self, random):
        """Changes, moves, adds, archives. No name that other records repeat is changed."""
        self.version += 1
        changed, streams = set(), {kind: stream for stream, (kind, _) in TYPES.items()}

        def touch(kind, row, **values):
            row.update(values, **({} if row["createdAt"] == values.get("updatedAt") else {"updatedAt": stamp(self.now())}))
            changed.add((streams[kind], row["id"]))

        def new(kind, row):
            changed.add((streams[kind], row["id"]))

        teams = [row["id"] for row in self.all("Team") if row["key"] != "SEC"]
        open_ones = [row for row in self.all("Issue") if row["team"] in teams]
        for row in random.sample(open_ones, 5):
            touch("Issue", row, title=self.name(random), state=random.choice(self.all("WorkflowState", team=row["team"]))["id"],
                  assignee=random.choice([None, *self.rows["User"]]))
        row = random.choice(open_ones)
        team = random.choice([one for one in teams if one != row["team"]])
        touch("Issue", row, previousIdentifiers=[*row["previousIdentifiers"], row["identifier"]], **self.number(team), team=team, project=None,
              projectMilestone=None, cycle=None, labelIds=[], parent=None, state=self.all("WorkflowState", team=team)[0]["id"])
        row = random.choice(open_ones)
        touch("Issue", row, archivedAt=stamp(self.now()))
        for _ in range(3):
            row = self.issue(random, random.choice(teams), self.now())
            new("Issue", row)
            new("Comment", self.comment(random, row, self.now()))
            new("Attachment", self.attach(random, row, self.now()))
        new("IssueRelation", self.relate(random, random.choice(open_ones), self.now()))
        touch("Comment", random.choice([row for row in self.all("Comment") if row["issue"] in {one["id"] for one in open_ones}]), body=self.name(random))
        project = random.choice([row for row in self.all("Project") if set(row["teams"]) <= set(teams)])
        new("ProjectUpdate", self.report(project["id"], random, self.now()))
        touch("Project", project, progress=0.75)
        touch("User", random.choice(self.all("User")), title=self.name(random))
        touch("Cycle", random.choice(self.all("Cycle", team=random.choice(teams))), progress=0.5, scopeHistory=[1, 2, 3.5])
        member = self.all("TeamMembership")[0]
        del self.rows["TeamMembership"][member["id"]]
        new("TeamMembership", self.make("TeamMembership", random, self.now(), team=member["team"], user=random.choice(list(self.rows["User"]))))
        return changed

    def forbid(self):
        """A team is made private: it, and all that is its own, is in no list any more."""
        before = {stream: self.truth(stream).keys() for stream in self.streams}
        self.hidden.add(self.all("Team", key="SEC")[0]["id"])
        self.version += 1
        gone = {stream: list(keys - self.truth(stream).keys()) for stream, keys in before.items()}
        return {stream: keys for stream, keys in gone.items() if keys}

    def archive(self):
        """From here on `config` leaves archived things out, where it is not told otherwise."""
        row = next(row for row in self.all("Issue") if not row["archivedAt"])
        row.update(archivedAt=stamp(self.now()), updatedAt=stamp(self.now()))
        self.version += 1
        self.base = {"include_archived": False}
        return {"include_archived": True}, "issues", row["id"]

    def config(self, **more):
        # Small accounts are read in small pages.
        return {"api_key": KEY, "api_url": f"{self.url}/graphql", **({"page_size": 40} if self.size < 1000 else {}), **self.base, **more}

    def bad_config(self):
        return {**self.config(), "api_key": KEY[::-1]}

    def truth(self, stream):
        """Every node that the credentials see, with the fields that were asked for last."""
        kind, field = TYPES[stream]
        if field not in self.asked:
            return {}
        document, variables = self.asked[field]
        known = document, variables.get("includeArchived"), self.version
        if self.truths.get(stream, (None,))[0] != known:
            self.everything = True
            try:
                answer = graphql.execute(self.schema(), document, self, None, {**variables, "after": None}, field_resolver=self.resolve)
            finally:
                self.everything = False
            assert not answer.errors, answer.errors
            found = answer.data[field]
            rows = {(row["id"],): row for row in (found["nodes"] if "nodes" in found else [found])}
            for row in rows.values() if stream in ("attachments", "issue_relations") else ():
                row["issue"].pop("team", None)  # it is asked for to choose by, and left out
            self.truths[stream] = known, rows
        return self.truths[stream][1]

    # ------------------------------------------------------------ what the API gives

    @route("POST", "/graphql")
    def graphql(self, call):
        """The only address."""
        if call.headers.get("Authorization") not in (KEY, f"Bearer {self.access}"):
            raise Refused(401, {"errors": [{"message": "Authentication required, not authenticated", "extensions": {
                "type": "authentication error", "code": "AUTHENTICATION_ERROR", "statusCode": 401, "userError": True,
                "userPresentableMessage": "You need to authenticate to access this operation."}}]})
        return self.execute(call)

    @route("POST", "/oauth/token")
    def token(self, call):
        """A new access token, for a refresh token that is good once."""
        form = call.form
        if (form.get("client_id"), form.get("client_secret"), form.get("grant_type")) != ("client", "secret", "refresh_token"):
            raise Refused(400, {"error": "invalid_client", "error_description": "Client authentication failed."})
        if form.get("refresh_token") != self.refresh:
            raise Refused(400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
        n = int(self.refresh.rsplit("_", 1)[1]) + 1
        self.access, self.refresh = f"lin_oauth_{n}", f"refresh_{n}"
        return {"access_token": self.access, "token_type": "Bearer", "expires_in": 86399, "scope": "read", "refresh_token": self.refresh}

    def cost(self, document, variables):
        """A field costs 0.1, an object 1, and a list its `first` times what is in it."""
        def points(fields):
            total = 0
            for _, kind, _, arguments, within in fields:
                if self.is_leaf(kind):
                    total += 0.1
                elif kind.endswith("Connection"):
                    times = 50 if arguments.get("first") is None else arguments["first"]
                    total += 1 + sum((1 if one[1] == "PageInfo" else times) * points([one]) for one in within)
                else:
                    total += 1 + points(within)
            return total
        return math.ceil(points(self.walk(document, variables)))

    def priced(self, call, points):
        """Refuses what is too much for one query, or for this hour; tells of both limits."""
        if points > 10_000:
            raise self.refusal("INPUT_ERROR", [graphql.GraphQLError(f"Query too complex: {points} of 10000 points")])
        most, period = self.points
        now = time.time()
        self.spent = [(at, cost) for at, cost in self.spent if at > now - period]
        left = most - sum(cost for _, cost in self.spent)
        if points > left:
            raise self.limited(complexity=left)
        self.spent.append((now, points))
        return self.headers(points, left - points)

    def headers(self, points, left, requests=None):
        """The headers of an answer."""
        most, period = self.limit or (2500, 3600)
        used = len(self.recent) if self.limit else len([call for call in self.calls[-most:] if call["at"] > time.time() - period])
        reset = lambda seconds: str(int((time.time() + seconds) * 1000))
        return {"X-Complexity": str(points), "X-RateLimit-Complexity-Limit": str(self.points[0]), "X-RateLimit-Complexity-Remaining": str(left),
                "X-RateLimit-Complexity-Reset": reset(self.points[1]), "X-RateLimit-Requests-Limit": str(most),
                "X-RateLimit-Requests-Remaining": str(max(0, most - used) if requests is None else requests),
                "X-RateLimit-Requests-Reset": reset(min(period, 1) if requests == 0 else period)}

    def limited(self, complexity=None):
        """The answer beyond a limit."""
        headers = self.headers(0, self.points[0] if complexity is None else complexity, requests=0 if complexity is None else None)
        return Refused(400, {"errors": [{"message": "Rate limit exceeded. Only so much is allowed in an hour.", "extensions": {
            "type": "ratelimited", "code": "RATELIMITED", "statusCode": 429, "userError": True,
            "userPresentableMessage": "Rate limit exceeded."}}]}, headers)

    def throttle(self):
        return self.limited()

    def checked(self, document, variables, name):
        """Keeps what is asked for, to know the truth by it."""
        super().checked(document, variables, name)
        self.unfit += not_published(graphql.print_ast(document)) + strangers()
        self.compared += 1
        self.asked[self.operation(document).selection_set.selections[0].name.value] = document, variables

    # ------------------------------------------------------------ the graph

    def resolve(self, row, info, **arguments):
        """Lists of `Query` by their types; a row's reference is the row that it names."""
        if row is self:
            kind = graphql.get_named_type(info.return_type).name
            return self.all("Organization")[0] if kind == "Organization" else self.list(kind.removesuffix("Connection"), info, **arguments)
        kind, value = graphql.get_named_type(info.return_type).name, row[info.field_name]
        if kind.endswith("Connection") and isinstance(value, list):
            nodes = [node for id in value if (node := self.seen(kind.removesuffix("Connection"), id))]
            return connection(nodes, arguments.get("first"), arguments.get("after"))
        return self.seen(kind, value) if isinstance(value, str) and kind in self.rows else value

    def seen(self, kind, id):
        """A row, if it may be seen."""
        row = self.rows[kind].get(id)
        return row if row and self.visible(kind, row) else None

    def visible(self, kind, row):
        """Is it of no team, or of one that may be seen?"""
        if not self.hidden or not row:
            return True
        if kind == "Team":
            return row["id"] not in self.hidden
        if kind == "Project":
            return bool(set(row["teams"]) - self.hidden)
        of = next((name for name in ("team", "issue", "project") if row.get(name)), None)
        return not of or self.visible(of.capitalize(), self.rows[of.capitalize()].get(row[of]))

    def list(self, kind, info, filter=None, first=None, after=None, includeArchived=False, includeDisabled=False, orderBy="createdAt"):
        """A list, the latest first."""
        if not self.everything:
            self.paged(info.context, kind)
        filter = dict(filter or {})
        if self.everything:
            filter.pop("updatedAt", None)
        rows = [row for row in self.rows[kind].values() if self.visible(kind, row) and self.fits(kind, row, filter)
                and (includeArchived or not row["archivedAt"] and not row.get("trashed"))
                and (kind != "User" or includeDisabled or row["active"])]
        place = lambda row: (row[orderBy], row["id"])
        rows.sort(key=place, reverse=True)
        if self.everything:
            return {"nodes": rows, "pageInfo": {"hasNextPage": False, "endCursor": None}}

        def back(text):
            if text not in self.rows[kind]:
                raise ValueError(text)
            return place(self.rows[kind][text])
        return connection(rows, first, after, place=place, cursor=(lambda at: at[1], back))

    def fits(self, kind, row, filter):
        """Does a row fit a filter?"""
        return all(self.fits_in(kind, row, name, want) for name, want in filter.items())

    def fits_in(self, kind, row, name, want):
        """Does it fit one part of a filter?"""
        if name in ("and", "or"):
            return (all if name == "and" else any)(self.fits(kind, row, one) for one in want)
        if name == "null":
            return (row is None) == want
        if row is None:
            return False
        if name == "accessibleTeams":
            teams = [self.rows["Team"][id] for id in row["teams"]]
            return all((any if how == "some" else all)(self.fits("Team", team, one) for team in teams) for how, one in want.items())
        to = graphql.get_named_type(self.schema().type_map[kind].fields[name].type).name
        if to in self.rows:
            return self.fits(to, self.rows[to].get(row[name]), want)
        value = moment_of(row[name]) if to == "DateTime" else row[name]
        compare = {"eq": lambda it: value == it, "neq": lambda it: value != it, "in": lambda it: value in it, "nin": lambda it: value not in it,
                   "gt": lambda it: value > it, "gte": lambda it: value >= it, "lt": lambda it: value < it, "lte": lambda it: value <= it}
        return all(compare[how](moment_of(one) if to == "DateTime" else one) for how, one in want.items())


if __name__ == "__main__":
    main(Linear)
