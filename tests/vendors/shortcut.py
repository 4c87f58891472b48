"""A Shortcut-shaped vendor in a box (REST API v3), made from Shortcut's Swagger file alone.

Stories are found by `POST /stories/search` (201, no pages, both bounds of `updated_at` inclusive, in an order that says nothing);
the other lists come whole. Not in the file, and so assumed: what a wrong token and a 429 answer, and that comments and checklist
tasks move their story's `updated_at`.
"""
import sys
import uuid

if __name__ == "__main__":
    sys.path[0] = str(__import__("pathlib").Path(__file__).resolve().parents[1])
from vendors.core import Refused, Reply, Stream, Vendor, main, moment_of, route, stamp

API = "/api/v3"
TOKEN = "5f0c1d9e-0b52-4b57-9c8e-2f7f0f3d6a21"
SEARCH = {"archived", "owner_id", "story_type", "epic_ids", "project_ids", "updated_at_end", "completed_at_end", "workflow_state_types",
          "deadline_end", "created_at_start", "epic_id", "label_name", "requested_by_id", "iteration_id", "label_ids", "group_id",
          "workflow_state_id", "iteration_ids", "created_at_end", "deadline_start", "group_ids", "owner_ids", "external_id",
          "includes_description", "estimate", "project_id", "completed_at_start", "updated_at_start"}
COUNTS = ("num_points_done num_related_documents num_stories_unstarted num_stories_total num_points_started num_points_unstarted "
          "num_stories_started num_stories_unestimated num_stories_backlog num_points_backlog num_points num_stories_done").split()
LABEL_COUNTS = ("num_related_documents num_epics num_stories_unstarted num_stories_total num_epics_unstarted num_epics_in_progress "
                "num_points_unstarted num_stories_unestimated num_points_in_progress num_epics_total num_points_completed "
                "num_stories_completed num_stories_backlog num_points_total num_stories_in_progress num_points_backlog "
                "num_epics_completed").split()
COLORS = ["#ff0000", "#49a940", None]


class Shortcut(Vendor):
    """Shortcut, one workspace."""

    source, specified = "shortcut", True
    streams = {
        "stories": Stream(key=["id"], cursor="updated_at"),
        # All of a story that changed comes again.
        "story_comments": Stream(key=["id"], cursor="updated_at", loose=True),
        "tasks": Stream(key=["id"], cursor="updated_at", loose=True),
        "story_history": Stream(key=["story_id", "id"], cursor="changed_at", loose=True),
        **{name: Stream(key=["id"]) for name in (
            "epics", "epic_comments", "epic_workflow", "iterations", "objectives", "categories", "projects", "groups", "members",
            "labels", "workflows", "custom_fields", "files", "linked_files")},
    }

    # ------------------------------------------------------------ the account

    def fill(self, random, size):
        self.ids, self.gone = 100, set()
        rows, some = self.rows, random.choice
        for _ in range(6):
            self.member()
        people = list(rows["members"])
        for _ in range(3):
            group = self.thing("groups", "group", self.uuid(), description=self.name(), color=some(COLORS), num_stories_started=1,
                               mention_name=f"team-{self.ids}", color_key=some(["blue", "green", None]), num_stories=9,
                               num_epics_started=0, num_stories_backlog=2, display_icon=None, member_ids=random.sample(people, 2),
                               workflow_ids=[], app_url=self.app("team"))
            group["archived"] = False
        workflow = self.thing("workflows", "workflow", description="", project_ids=[], states=[], auto_assign_owner=True, team_id=1,
                              default_state_id=0)
        del workflow["global_id"]
        for position, (kind, name) in enumerate([("unstarted", "To do"), ("started", "Doing"), ("done", "Done")]):
            workflow["states"].append({
                "description": "", "entity_type": "workflow-state", "color": "#ffffff", "verb": None, "name": name,
                "global_id": f"v2:ws:{position}", "num_stories": 0, "type": kind, "updated_at": workflow["updated_at"],
                "id": self.number(), "num_story_templates": 0, "position": position, "created_at": workflow["created_at"]})
        workflow["default_state_id"] = workflow["states"][0]["id"]
        epics = self.thing("epic_workflow", "epic-workflow", default_epic_state_id=500, epic_states=[])
        del epics["global_id"], epics["name"]
        epics["epic_states"] = [{"description": "", "entity_type": "epic-state", "name": "To Do", "global_id": "v2:es", "type": "unstarted",
                                 "updated_at": epics["updated_at"], "id": 500, "position": 1, "created_at": epics["created_at"]}]
        for _ in range(3):
            self.thing("projects", "project", description=self.name(), archived=False, days_to_thermometer=14, color=some(COLORS),
                       workflow_id=workflow["id"], start_time=stamp(self.past(), ms=False), follower_ids=[], external_id=None,
                       show_thermometer=True, team_id=1, iteration_length=2, abbreviation=None, app_url=self.app("project"),
                       stats={"num_stories": 3, "num_points": 5, "num_related_documents": 0})
        for _ in range(4):
            self.thing("labels", "label", description=None, archived=False, color=some(COLORS), external_id=None,
                       app_url=self.app("label"), stats={name: random.randrange(9) for name in LABEL_COUNTS})
        category = self.thing("categories", "category", archived=False, color=some(COLORS), type="milestone", external_id=None)
        self.thing("objectives", "objective", description=self.name(), archived=False, started=True, completed_at_override=None,
                   started_at=None, completed_at=None, completed=False, state="in progress", started_at_override=None,
                   categories=[category], key_result_ids=[], position=1, app_url=self.app("objective"),
                   stats={"num_related_documents": 0})
        for _ in range(3):
            iteration = self.thing("iterations", "iteration", labels=[], mention_ids=[], member_mention_ids=[], associated_groups=[],
                                   label_ids=[], group_mention_ids=[], end_date="2024-02-01T00:00:00Z", follower_ids=[], group_ids=[],
                                   start_date="2024-01-15T00:00:00Z", status="started", app_url=self.app("iteration"),
                                   stats={name: random.randrange(9) for name in COUNTS if name != "num_stories_total"})
            iteration["associated_groups"] = [{"group_id": some(list(rows["groups"])), "associated_stories_count": 2}]
        for kind in ("Priority", "Überprüfung"):
            field = self.thing("custom_fields", "custom-field", self.uuid(), field_type="enum", position=1, enabled=True, values=[
                {"id": self.uuid(), "value": value, "position": place, "color_key": None, "enabled": True,
                 "entity_type": "custom-field-enum-value"} for place, value in enumerate(["Low", "High", "höchst"])])
            field["name"] = kind
            del field["global_id"]
        for _ in range(5):
            epic = self.thing("epics", "epic", description=self.name(), archived=False, started=False, labels=[], mention_ids=[],
                              member_mention_ids=[], associated_groups=[], project_ids=[], stories_without_projects=0,
                              completed_at_override=None, productboard_plugin_id=None, started_at=None, completed_at=None,
                              objective_ids=[], completed=False, productboard_url=None, planned_start_date=None, state="to do",
                              milestone_id=None, requested_by_id=some(people), epic_state_id=500, label_ids=[],
                              started_at_override=None, group_id=None, group_mention_ids=[], productboard_id=None, follower_ids=[],
                              group_ids=[], owner_ids=[some(people)], external_id=None, position=self.number(),
                              productboard_name=None, deadline=None, app_url=self.app("epic"),
                              stats={**{name: random.randrange(9) for name in COUNTS}, "last_story_update": None})
            for _ in range(random.randrange(3)):
                answers = [self.epic_comment(epic, [])] if random.random() < 0.5 else []
                made = self.epic_comment(epic, answers)
                rows["epic_comments"][made["id"]] = (epic["id"], made)
        for _ in range(size):
            self.story(self.past(), archived=random.random() < 0.1)
        for stream, kind in (("files", "file"), ("linked_files", "linked-file")):
            for _ in range(3):
                made = self.thing(stream, kind, description=None, story_ids=[some(list(rows["stories"]))], mention_ids=[],
                                  member_mention_ids=[], thumbnail_url=None, size=random.randrange(9999), uploader_id=some(people),
                                  content_type="image/png", group_mention_ids=[], url="https://files.example.com/x")
                del made["global_id"]
                made |= {"filename": "x.png", "external_id": None} if stream == "files" else {"type": "google"}

    def number(self):
        self.ids += self.random.randrange(1, 9)
        return self.ids

    def uuid(self):
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    @staticmethod
    def app(kind):
        return f"https://app.shortcut.com/acme/{kind}/1"

    def thing(self, stream, kind, key=None, **more):
        """Adds an object with what nearly all have."""
        key = key or self.number()
        at = self.past()
        made = {"id": key, "entity_type": kind, "name": self.name(), "global_id": f"v2:{kind}:{key}", "created_at": stamp(at, ms=False),
                "updated_at": stamp(at, ms=False), **more}
        self.rows[stream][key] = made
        return made

    def member(self):
        key, at = self.uuid(), stamp(self.past(), ms=False)
        self.rows["members"][key] = {
            "role": "member", "entity_type": "member", "disabled": False, "global_id": f"v2:m:{key}", "state": "full", "updated_at": at,
            "created_without_invite": False, "group_ids": [], "id": key, "created_at": at,
            "profile": {"entity_type": "profile", "deactivated": False, "two_factor_auth_activated": False, "mention_name": f"m{key[:4]}",
                        "name": self.name(), "gravatar_hash": "0" * 32, "id": key, "display_icon": None, "is_owner": False,
                        "email_address": f"{key[:8]}@example.com"}}

    def epic_comment(self, epic, answers):
        at = stamp(self.past(), ms=False)
        return {"app_url": self.app("epic"), "entity_type": "epic-comment", "deleted": False, "mention_ids": [],
                "author_id": self.random.choice(list(self.rows["members"])), "member_mention_ids": [], "comments": answers,
                "updated_at": at, "group_mention_ids": [], "external_id": None, "id": self.number(), "created_at": at,
                "text": self.name()}

    def story(self, at, archived=False):
        """Adds a story, with comments, tasks and history."""
        random, rows = self.random, self.rows
        some = random.choice
        people, text = list(rows["members"]), stamp(at, ms=False)
        states = next(iter(rows["workflows"].values()))["states"]
        labels = [{k: v for k, v in label.items() if k != "stats"}
                  for label in random.sample(list(rows["labels"].values()), random.randrange(3))]
        fields = [{"field_id": field["id"], "value_id": value["id"], "value": value["value"]}
                  for field in rows["custom_fields"].values() if random.random() < 0.5 for value in [some(field["values"])]]
        story = self.thing(
            "stories", "story", app_url=self.app("story"), description=some(["", self.name()]), archived=archived, started=False,
            story_links=[], labels=labels, task_ids=[], mention_ids=[], member_mention_ids=[], story_type=some(["bug", "chore", "feature"]),
            file_ids=[], num_tasks_completed=0, workflow_id=next(iter(rows["workflows"])), completed_at_override=None, started_at=None,
            completed_at=None, completed=False, blocker=False, epic_id=some([None, *rows["epics"]]), story_template_id=None,
            external_links=[], previous_iteration_ids=[], requested_by_id=some(people), iteration_id=some([None, *rows["iterations"]]),
            label_ids=[label["id"] for label in labels], started_at_override=None, group_id=some([None, *rows["groups"]]),
            workflow_state_id=some(states)["id"], group_mention_ids=[], follower_ids=random.sample(people, 1),
            owner_ids=random.sample(people, random.randrange(3)), external_id=None, estimate=some([None, 1, 2, 3]), position=self.number(),
            blocked=False, project_id=some([None, *rows["projects"]]), linked_file_ids=[], deadline=None,
            stats={"num_related_documents": 0}, comment_ids=[], moved_at=None, custom_fields=fields, formatted_vcs_branch_name=None,
            parent_story_id=None, sub_task_story_ids=[])
        story |= {"created_at": text, "updated_at": text}
        if random.random() < 0.2:
            story |= {"completed": True, "completed_at": text, "lead_time": 3600, "cycle_time": 60}
        if random.random() < 0.05 and len(rows["stories"]) > 1:
            parent = some([s for s in rows["stories"].values() if s is not story])
            story["parent_story_id"] = parent["id"]
            parent["sub_task_story_ids"] = [*parent["sub_task_story_ids"], story["id"]]
            rows_linked = {"entity_type": "story-link", "object_id": story["id"], "verb": "blocks", "type": "object", "updated_at": text,
                           "id": self.number(), "subject_id": parent["id"], "subject_workflow_state_id": parent["workflow_state_id"],
                           "created_at": text}
            story["story_links"] = [rows_linked]
        for _ in range(random.randrange(3)):
            self.comment(story, at)
        for _ in range(random.randrange(3)):
            self.task(story, at)
        self.change(story, at, "create")
        return story

    def comment(self, story, at):
        text = stamp(at, ms=False)
        made = {"app_url": self.app("story"), "entity_type": "story-comment", "deleted": False, "story_id": story["id"], "mention_ids": [],
                "author_id": self.random.choice([None, *self.rows["members"]]), "member_mention_ids": [], "linked_to_slack": False,
                "updated_at": text, "group_mention_ids": [], "external_id": None, "parent_id": None, "id": self.number(),
                "position": len(story["comment_ids"]) + 1, "reactions": [], "created_at": text, "text": self.name()}
        story["comment_ids"] = [*story["comment_ids"], made["id"]]
        self.rows["story_comments"][made["id"]] = made
        return made

    def task(self, story, at):
        text = stamp(at, ms=False)
        made = {"description": self.name(), "entity_type": "story-task", "story_id": story["id"], "mention_ids": [],
                "member_mention_ids": [], "completed_at": None, "global_id": "v2:t", "updated_at": text, "group_mention_ids": [],
                "owner_ids": [], "external_id": None, "id": self.number(), "position": len(story["task_ids"]) + 1, "complete": False,
                "created_at": text}
        story["task_ids"] = [*story["task_ids"], made["id"]]
        self.rows["tasks"][made["id"]] = made
        return made

    def change(self, story, at, action):
        made = {"changed_at": stamp(at), "primary_id": story["id"], "id": self.uuid(), "version": "v1", "actor_name": "Somebody",
                "member_id": story["requested_by_id"], "references": [],
                "actions": [{"id": story["id"], "entity_type": "story", "action": action, "name": story["name"],
                             "app_url": story["app_url"], "story_type": story["story_type"]}]}
        if action == "update":
            made["actions"][0]["changes"] = {"name": {"old": "before", "new": story["name"]}}
        self.rows["story_history"][story["id"], made["id"]] = made
        return made

    # ------------------------------------------------------------ for the driver

    def config(self, **more):
        return {"api_token": TOKEN, "api_url": self.url + API, **more}

    def bad_config(self):
        return self.config(api_token="00000000-0000-4000-8000-000000000000")

    def truth(self, stream):
        if stream == "story_history":
            return {key: {**row, "story_id": key[0], "primary_id": str(row["primary_id"])} for key, row in self.rows[stream].items() if key[0] not in self.gone}
        if stream == "epic_comments":
            return {key: {**row, "epic_id": epic} for key, (epic, row) in self.rows[stream].items()}
        return {key: row for key, row in self.rows[stream].items() if row.get("story_id") not in self.gone}

    def edit(self, random):
        changed = set()
        at = self.now()
        for story in random.sample(list(self.rows["stories"].values()), 3):
            story["name"] = self.name(random)
            story["workflow_state_id"] = random.choice(next(iter(self.rows["workflows"].values()))["states"])["id"]
            story["group_id"] = random.choice([None, *self.rows["groups"]])
            story["updated_at"] = stamp(at, ms=False)
            made = self.change(story, at, "update")
            changed |= {("stories", (story["id"],)), ("story_history", (story["id"], made["id"]))}
            if random.random() < 0.5:
                changed.add(("story_comments", (self.comment(story, at)["id"],)))
            for task in [self.rows["tasks"][key] for key in story["task_ids"][:1]]:
                task |= {"complete": True, "completed_at": stamp(at, ms=False), "updated_at": stamp(at, ms=False)}
                changed.add(("tasks", (task["id"],)))
        story = self.story(at)
        changed.add(("stories", (story["id"],)))
        changed |= {("story_comments", (key,)) for key in story["comment_ids"]} | {("tasks", (key,)) for key in story["task_ids"]}
        changed |= {("story_history", key) for key in self.rows["story_history"] if key[0] == story["id"]}
        epic = random.choice(list(self.rows["epics"].values()))
        epic |= {"name": self.name(random), "updated_at": stamp(at, ms=False)}
        return changed | {("epics", (epic["id"],))}

    def throttle(self):
        return Refused(429, {"message": "Too Many Requests"}, {"Retry-After": "1"})

    def forbid(self):
        """A story that is deleted after the search found it."""
        story = next(s for s in self.rows["stories"].values() if s["comment_ids"] and s["task_ids"])
        self.gone.add(story["id"])
        story["updated_at"] = stamp(self.now(), ms=False)
        return {"story_comments": [(key,) for key in story["comment_ids"]], "tasks": [(key,) for key in story["task_ids"]],
                "story_history": [key for key in self.rows["story_history"] if key[0] == story["id"]]}

    # ------------------------------------------------------------ answers

    def authorized(self, call):
        if call.headers.get("Shortcut-Token") != TOKEN:
            raise Refused(401, {"message": "Unauthorized", "tag": "unauthorized"})

    def list(self, call, stream, *parameters):
        self.authorized(call)
        call.only(*parameters)
        return list(self.rows[stream].values())

    def of_story(self, call):
        self.authorized(call)
        call.only()
        story = self.rows["stories"].get(int(call.params["story"]))
        if story is None or story["id"] in self.gone:
            raise Refused(404, {"message": "Resource not found."})
        return story

    @route("POST", API + "/stories/search")
    def search(self, call):
        self.authorized(call)
        asked = call.json
        if not isinstance(asked, dict) or set(asked) - SEARCH:
            raise Refused(400, {"message": "The request included invalid or missing parameters.", "errors": {}})
        if not isinstance(asked.get("archived", True), bool) or not isinstance(asked.get("includes_description", True), bool):
            raise Refused(400, {"message": "The request included invalid or missing parameters.", "errors": {"archived": "not a boolean"}})
        moments = [moment_of(asked.get(name, default)) for name, default in
                   (("updated_at_start", "1970-01-01T00:00:00Z"), ("updated_at_end", "2100-01-01T00:00:00Z"))]
        if None in moments:
            raise Refused(400, {"message": "The request included invalid or missing parameters.", "errors": {"updated_at_start": "not a date"}})
        self.paged(call)
        found = [story for story in self.rows["stories"].values()
                 if moments[0] <= moment_of(story["updated_at"]) <= moments[1] and asked.get("archived", story["archived"]) == story["archived"]]
        found.sort(key=lambda story: hash((self.seed, story["id"])))
        if not asked.get("includes_description"):
            found = [{k: v for k, v in story.items() if k != "description"} for story in found]
        return Reply(found, status=201)

    @route("GET", API + "/stories/{story}/comments")
    def comments(self, call):
        return [self.rows["story_comments"][key] for key in self.of_story(call)["comment_ids"]]

    @route("GET", API + "/stories/{story}/history")
    def history(self, call):
        story = self.of_story(call)
        return [row for key, row in self.rows["story_history"].items() if key[0] == story["id"]]

    @route("GET", API + "/stories/{story}")
    def one(self, call):
        story = self.of_story(call)
        whole = {k: v for k, v in story.items() if k not in ("task_ids", "comment_ids", "file_ids", "linked_file_ids", "num_tasks_completed")}
        return {**whole, "branches": [], "commits": [], "pull_requests": [], "files": [], "linked_files": [],
                "tasks": [self.rows["tasks"][key] for key in story["task_ids"]],
                "comments": [self.rows["story_comments"][key] for key in story["comment_ids"]]}

    @route("GET", API + "/epics")
    def epics(self, call):
        rows = self.list(call, "epics", "includes_description")
        return rows if call.query.get("includes_description") == "true" else [{k: v for k, v in row.items() if k != "description"} for row in rows]

    @route("GET", API + "/epics/{epic}/comments")
    def epic_comments(self, call):
        self.authorized(call)
        return [row for epic, row in self.rows["epic_comments"].values() if epic == int(call.params["epic"])]

    @route("GET", API + "/epic-workflow")
    def epic_workflow(self, call):
        return self.list(call, "epic_workflow")[0]

    @route("GET", API + "/groups")
    def groups(self, call):
        return self.list(call, "groups", "archived")

    @route("GET", API + "/members")
    def members(self, call):
        return self.list(call, "members", "org-public-id", "disabled")

    @route("GET", API + "/labels")
    def labels(self, call):
        return self.list(call, "labels", "slim")

    @route("GET", API + "/iterations")
    @route("GET", API + "/objectives")
    @route("GET", API + "/categories")
    @route("GET", API + "/projects")
    @route("GET", API + "/workflows")
    @route("GET", API + "/custom-fields")
    @route("GET", API + "/files")
    @route("GET", API + "/linked-files")
    def plain(self, call):
        return self.list(call, call.path.rsplit("/", 1)[1].replace("-", "_"))


if __name__ == "__main__":
    main(Shortcut)
