#!/usr/bin/env python3
"""An Asana-shaped vendor in a box, made from Asana's documentation alone: it shares no code with the tap.

It keeps whole objects and renders them by `opt_fields`, pages by opaque tokens that expire, filters by `modified_since`, and
gives lists in an order that says nothing. It can be edited, limit its rate and fail by rule, and it remembers every call.

Subtasks, tasks in no project, stories, attachments, time entries, memberships, custom fields, status updates, portfolios and
goals are there as well, and an OAuth app whose access tokens run out.

usage: asana_vendor.py [--port N] [--tasks N]      (prints its base URL; the token is asana-test-token)
"""
import argparse
import contextlib
import datetime
import functools
import gzip
import hashlib
import json
import math
import random
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

ROOT = "/api/1.0"
HELP = ("For more information on API status codes and how to handle them, read the docs on errors: "
        "https://developers.asana.com/docs/errors")
EXPIRED = "offset: Your pagination token has expired."
MESSAGES = {
    400: "Bad Request", 401: "Not Authorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    451: "Unavailable For Legal Reasons", 500: "Server Error",
    429: "You've made too many requests and hit a rate limit. Please retry after the given amount of time.",
}

# What `opt_fields` may name, list by list, as Asana's OpenAPI file has it. `x+` is short for `x x.name`.
IN_CUSTOM_FIELD = """
    date_value date_value.date date_value.date_time display_value enabled enum_options enum_options.color enum_options.enabled
    enum_options.name enum_value enum_value.color enum_value.enabled enum_value.name id_prefix input_restrictions is_formula_field
    multi_enum_values multi_enum_values.color multi_enum_values.enabled multi_enum_values.name name number_value
    representation_type text_value type"""
MORE_IN_CUSTOM_FIELD = """
    asana_created_field created_by+ currency_code custom_label custom_label_position default_access_level description format
    has_notifications_enabled html_text_value is_global_to_workspace is_value_read_only people_value+ precision privacy_setting
    reference_value+ resource_subtype"""


def below(name, fields):
    """A field and those within it."""
    return f" {name} " + " ".join(f"{name}.{field}" for field in fields.split())


IN_SETTING = "is_important parent+ project+" + below("custom_field", IN_CUSTOM_FIELD + MORE_IN_CUSTOM_FIELD)
SETTINGS = below("custom_field_settings", IN_SETTING)
OPT_FIELDS = {
    "workspaces": "email_domains is_organization name",
    "teams": """
        description edit_team_name_or_description_access_level edit_team_visibility_or_trash_team_access_level endorsed
        guest_invite_management_access_level html_description join_request_management_access_level
        member_invite_management_access_level name organization+ permalink_url team_content_management_access_level
        team_member_removal_access_level visibility""" + SETTINGS,
    "users": """
        email name photo photo.image_1024x1024 photo.image_128x128 photo.image_21x21 photo.image_27x27 photo.image_36x36
        photo.image_60x60 workspaces+""" + below("custom_fields", IN_CUSTOM_FIELD),
    "projects": """
        archived color completed completed_at completed_by+ created_at created_from_template+ current_status
        current_status.author+ current_status.color current_status.created_at current_status.created_by+ current_status.html_text
        current_status.modified_at current_status.text current_status.title current_status_update
        current_status_update.resource_subtype current_status_update.title default_access_level default_view due_date due_on
        followers+ html_notes icon members+ minimum_access_level_for_customization minimum_access_level_for_sharing modified_at
        name notes owner permalink_url privacy_setting project_brief public start_on team+ workspace+
        """ + SETTINGS + below("custom_fields", IN_CUSTOM_FIELD),
    "sections": "created_at name project+ projects+",
    "tags": "color created_at followers+ name notes permalink_url workspace+",
    "tasks": """
        actual_time_minutes approval_status assigned_by+ assignee+ assignee_section+ assignee_status completed completed_at
        completed_by+ created_at created_by custom_type+ custom_type_status_option+ dependencies dependents due_at due_on external
        external.data followers+ hearted hearts hearts.user+ html_notes is_rendered_as_separator liked likes likes.user+
        memberships memberships.project+ memberships.section+ modified_at name notes num_hearts num_likes num_subtasks parent+
        parent.created_by parent.resource_subtype permalink_url projects+ resource_subtype start_at start_on tags+ workspace+
        """ + below("custom_fields", IN_CUSTOM_FIELD + MORE_IN_CUSTOM_FIELD),
    "stories": """
        assignee+ created_at created_by+ dependency+ dependency.created_by dependency.resource_subtype duplicate_of+
        duplicate_of.created_by duplicate_of.resource_subtype duplicated_from+ duplicated_from.created_by
        duplicated_from.resource_subtype follower+ html_text is_editable is_edited is_pinned liked likes likes.user+
        new_approval_status new_date_value new_dates new_dates.due_at new_dates.due_on new_dates.start_on new_enum_value+
        new_enum_value.color new_enum_value.enabled new_multi_enum_values+ new_multi_enum_values.color
        new_multi_enum_values.enabled new_name new_number_value new_people_value+ new_resource_subtype new_section+
        new_text_value num_likes old_approval_status old_date_value old_dates old_dates.due_at old_dates.due_on
        old_dates.start_on old_enum_value+ old_enum_value.color old_enum_value.enabled old_multi_enum_values+
        old_multi_enum_values.color old_multi_enum_values.enabled old_name old_number_value old_people_value+
        old_resource_subtype old_section+ old_text_value project+ resource_subtype source sticker_name story
        story.created_at story.created_by+ story.resource_subtype story.text tag+ target+ target.created_by
        target.resource_subtype task+ task.created_by task.resource_subtype text type""" + below("custom_field", IN_CUSTOM_FIELD),
    "attachments": """
        connected_to_app created_at download_url host name parent+ parent.created_by parent.resource_subtype permanent_url
        resource_subtype size view_url""",
    "time_tracking_entries": "attributable_to+ categories+ categories.color created_by+ duration_minutes entered_on",
    "custom_fields": IN_CUSTOM_FIELD + MORE_IN_CUSTOM_FIELD,
    "project_memberships": "access_level member+ parent+",
    "team_memberships": "is_admin is_guest is_limited_access team+ user+",
    "workspace_memberships": """
        created_at is_active is_admin is_guest is_view_only user+ user_task_list+ user_task_list.owner user_task_list.workspace
        vacation_dates vacation_dates.end_on vacation_dates.start_on workspace+""",
    "status_updates": """
        author+ created_at created_by+ hearted hearts hearts.user+ html_text liked likes likes.user+ modified_at num_hearts
        num_likes parent+ resource_subtype status_type text title""",
    "portfolios": """
        archived color created_at created_by+ current_status_update current_status_update.resource_subtype
        current_status_update.title default_access_level due_on members+ name owner+ permalink_url privacy_setting
        project_templates+ public start_on workspace+""" + SETTINGS + below("custom_fields", IN_CUSTOM_FIELD),
    "goals": """
        current_status_update current_status_update.resource_subtype current_status_update.title default_access_level due_on
        followers+ html_notes is_workspace_level liked likes likes.user+ metric metric.can_manage metric.currency_code
        metric.current_display_value metric.current_number_value metric.initial_number_value metric.is_custom_weight
        metric.precision metric.progress_source metric.resource_subtype metric.target_number_value metric.unit name notes
        num_likes owner+ privacy_setting start_on status team+ time_period time_period.display_name time_period.end_on
        time_period.period time_period.start_on workspace+""" + SETTINGS + below("custom_fields", IN_CUSTOM_FIELD),
}
OPT_FIELDS["portfolio_items"] = OPT_FIELDS["projects"]
OPT_FIELDS = {stream: {*re.sub(r"(\S+)\+", r"\1 \1.name", text).split(), "offset", "path", "uri"}
              for stream, text in OPT_FIELDS.items()}
COMPACT = {"tasks": ["name", "resource_type", "resource_subtype"]}  # without opt_fields; else name and resource_type

# Lists whose path names what they belong to.
BELOW = {("tasks", "subtasks"), ("tasks", "stories"), ("tasks", "time_tracking_entries"), ("workspaces", "custom_fields"),
         ("workspaces", "workspace_memberships"), ("projects", "project_memberships"), ("portfolios", "items")}
ADJECTIVES = "quarterly open shared final urgent small second public internal late".split()
NOUNS = "budget launch review audit survey newsletter invoice backlog kitchen roadmap".split()
ODD = ["Überprüfung der Verträge", "報告書を書く", "запуск 🚀", 'say "hello"\tto\nthe team', "naïve café — œuvre", "🧑‍🚀🧑🏽‍🚒",
       "\u2028 between", "back\\slash"]
COLORS = ["dark-pink", "light-green", "dark-teal", None]
KINDS = {"workspaces": "workspace", "teams": "team", "users": "user", "projects": "project", "sections": "section", "tags": "tag",
         "tasks": "task", "stories": "story", "attachments": "attachment", "time_tracking_entries": "time_tracking_entry",
         "custom_fields": "custom_field", "project_memberships": "project_membership", "team_memberships": "team_membership",
         "workspace_memberships": "workspace_membership", "status_updates": "status_update", "portfolios": "portfolio",
         "goals": "goal"}


def stamp(moment):
    """Seconds since 1970 as Asana writes times."""
    whole = datetime.datetime.fromtimestamp(int(moment), datetime.timezone.utc)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{int(moment * 1000) % 1000:03}Z"


def moment_of(text):
    """A time from a query, as Asana writes times; None when it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    moment = moment.astimezone(datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


class Ref:
    """Points to another object."""

    def __init__(self, stream, gid):
        self.stream, self.gid = stream, gid


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status, message=None, headers=None, body=None):
        super().__init__(message)
        error = {"message": message or MESSAGES.get(status, "Error"), "help": HELP}
        if status == 500:
            error["phrase"] = "6 sad squid snuggle softly"
        self.status, self.headers = status, headers or {}
        self.body = {"errors": [error]} if body is None else body


class Asana:
    """The vendor. `with Asana() as asana:` serves it, in threads of this process, until the block ends.

    Switches: `strict` (modified_since leaves out the bound itself), `offset_life` with `offset_unit` "s" or "calls" (how long
    a token lives), `limit_per_minute` with `limit_window` (seconds that count as a minute), `edits_while_paging` (tasks
    changed and added before each later page), `latency` (seconds), `fail`: a list of rules, of which the first that fits a
    call and is not spent decides: {"match": regex for `path?query` or function of (path, query), "skip": calls let through
    first, "times": calls it is for (else all), "do": function to call, "status", "message", "headers", "body"}. Without
    `status` the call is answered as usual.
    """

    def __init__(self, seed=1, workspaces=2, projects=12, tasks=600, users=15, tags=8, teams=3, token="asana-test-token",
                 port=0, strict=False, offset_life=None, offset_unit="s", limit_per_minute=None, limit_window=60,
                 edits_while_paging=0, latency=0, fail=(), odd=ODD, shared=True, subtasks=5):
        self.token, self.strict, self.latency = token, strict, latency
        self.offset_life, self.offset_unit = offset_life, offset_unit
        self.limit_per_minute, self.limit_window = limit_per_minute, limit_window
        self.edits_while_paging, self.edits = edits_while_paging, 0
        self.fail, self.odd, self.shared = list(fail), odd, shared
        self.random, self.seed = random.Random(seed), seed
        self.clock = time.time  # for the stamps of changes
        self.lock = threading.RLock()
        self.calls, self.made = [], 0  # since reset_calls, and all
        self.recent = []  # when calls came, for the limit
        self.tokens, self.given, self.asked = {}, {}, {}
        self.places = {}  # (project, task) -> its place in the project's order
        self.objects = {stream: {} for stream in KINDS}
        self.tasks_of, self.sections_of = {}, {}
        self.of = {}  # (stream, what they belong to) -> gids
        self.items = {}  # portfolio -> projects
        self.app = {"client_id": "1208000000000042", "client_secret": "app-secret", "refresh_token": "2/refresh-me"}
        self.access_tokens, self.logins = {token}, 0
        self.unlisted, self.hidden, self.gone = set(), set(), set()
        self.next_gid = 1_200_000_000_000_000 + seed * 10**9
        self.populate(workspaces, projects, tasks, users, tags, teams, subtasks)
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.server.daemon_threads, self.server.request_queue_size, self.server.vendor = True, 128, self
        self.server.server_bind()
        self.server.server_activate()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{ROOT}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def config(self, path, **more):
        """Writes a tap's config; gives the path."""
        path.write_text(json.dumps({"access_token": self.token, "api_url": self.url, **more}))
        return path

    # ------------------------------------------------------------ the data

    def new(self, stream, name, **more):
        """Adds an object."""
        self.next_gid += self.random.randrange(1, 900)
        made = {"gid": str(self.next_gid), "resource_type": KINDS[stream], "name": name, **more}
        self.objects[stream][made["gid"]] = made
        return made

    def name(self):
        """Some name; now and then an odd one."""
        if self.random.random() < 0.06 and self.odd:
            return self.random.choice(self.odd)
        return f"{self.random.choice(ADJECTIVES)} {self.random.choice(NOUNS)} {self.random.randrange(1000)}"

    def past(self):
        """A moment in 2023 or 2024."""
        return stamp(1_672_531_200 + self.random.randrange(730 * 86400 * 1000) / 1000)

    def populate(self, workspaces, projects, tasks, users, tags, teams, subtasks):
        """All there is at the start: the same for the same seed."""
        dice = self.random
        # The second workspace is not an organization.
        homes = [self.new("workspaces", f"{'Acme' if n == 0 else 'Zuhause'} {n}", is_organization=n != 1,
                          email_domains=["acme.example"] if n != 1 else []) for n in range(workspaces)]
        everyone = []
        for n in range(users):
            photo = {f"image_{x}x{x}": f"https://photos.example/{n}_{x}.png" for x in (21, 27, 36, 60, 128, 1024)}
            places = [Ref("workspaces", home["gid"]) for m, home in enumerate(homes) if m == n % workspaces or self.shared and n % 4 == 0]
            everyone.append(self.new("users", f"{self.name()} {n}", email=f"user{n}@acme.example", photo=photo if n % 3 else None,
                                     workspaces=places, custom_fields=[]))
        organizations = [home for home in homes if home["is_organization"]]
        for n in range(teams if organizations else 0):
            self.team(n, organizations[n % len(organizations)])
        for n in range(tags):
            home = homes[n % workspaces]
            followers = [Ref("users", everyone[n % users]["gid"])] if users else []
            tag = self.new("tags", f"{self.name()} {n}", color=dice.choice(COLORS), notes="" if n % 2 else "über\nuns",
                           created_at=self.past(), followers=followers, workspace=Ref("workspaces", home["gid"]))
            tag["permalink_url"] = f"https://app.asana.com/0/{tag['gid']}/list"
        for n in range(projects):
            self.project(n, homes[0] if n % 5 < 4 else homes[-1])
        # A few moments are shared by many tasks.
        shared = [self.past() for _ in range(5)]
        gids = list(self.objects["projects"])
        sizes = [1 / (n + 1) for n in range(len(gids))]
        if len(sizes) > 2:
            sizes[-1] = 0  # one project is empty
        for n in range(tasks if gids else 0):
            size = dice.choices((1, 2, 3), (85, 12, 3))[0] if self.shared else 1
            self.task(n, dict.fromkeys(dice.choices(gids, sizes, k=size)), dice.choice(shared) if n % 4 == 0 else self.past())
        # Subtasks, in no project, as deep as they go; then tasks in no project: some with subtasks, some that nobody lists.
        level = list(self.objects["tasks"])
        for depth in range(subtasks):
            level = [self.task(tasks + n, (), self.past(), self.objects["tasks"][dice.choice(level)])["gid"]
                     for n in range(depth * 3, depth * 3 + max(tasks // (20 << depth), 2))] if level else []
        for n in range(tasks // 20):
            self.task(n, (), self.past(), home=Ref("workspaces", homes[n % len(homes)]["gid"]))
            if n % 4 == 0 and subtasks:
                self.task(n + 1, (), self.past(), self.objects["tasks"][max(self.objects["tasks"])])
        self.enrich(homes, everyone)

    def enrich(self, homes, everyone):
        """What belongs to tasks, projects, teams and workspaces."""
        dice = self.random
        users = [Ref("users", user["gid"]) for user in everyone] or [None]
        for n, task in enumerate(list(self.objects["tasks"].values())):
            self.story(task, users[n % len(users)], task["created_at"], "assigned", type="system",
                       **({"assignee": task["assignee"]} if task["assignee"] else {}))
            if n % 4 == 0:
                self.story(task, users[n % len(users)], task["modified_at"], "comment_added", type="comment", is_pinned=n % 3 == 0)
            if n % 9 == 2:
                self.story(task, users[n % len(users)], task["modified_at"], "due_date_changed", type="system", new_dates={
                    "start_on": None, "due_on": task["due_on"], "due_at": None}, old_dates=None)
            if n % 7 == 0:
                self.attachment(Ref("tasks", task["gid"]), task["modified_at"])
            if task["actual_time_minutes"]:
                self.time_entry(task, users[n % len(users)], task["modified_at"][:10])
        for n, home in enumerate(homes):
            here = Ref("workspaces", home["gid"])
            for field in self.custom_fields(5):
                self.add_of("custom_fields", home["gid"], self.new("custom_fields", field["name"], **{
                    **{k: v for k, v in field.items() if k not in ("gid", "resource_type", "name")}, "description": "", "format": "none",
                    "currency_code": None, "custom_label": None, "custom_label_position": None, "is_global_to_workspace": True,
                    "is_value_read_only": False, "has_notifications_enabled": n == 0, "privacy_setting": "public",
                    "default_access_level": "user", "created_by": users[0]}))
            for user in everyone:
                if home["gid"] in {place.gid for place in user["workspaces"]}:
                    self.add_of("workspace_memberships", home["gid"], self.new(
                        "workspace_memberships", "", user=Ref("users", user["gid"]), workspace=here, is_active=True, is_admin=False,
                        is_guest=False, is_view_only=False, created_at=self.past(), user_task_list=None, vacation_dates=None))
            for k in range(2):
                portfolio = self.new(
                    "portfolios", f"{self.name()} {k}", archived=False, color=dice.choice(COLORS), start_on=None, due_on="2025-03-31",
                    default_access_level="viewer", privacy_setting="members_only", public=False, created_at=self.past(),
                    created_by=users[0], owner=users[0], members=users[:2] if everyone else [], workspace=here,
                    current_status_update=None, custom_field_settings=[], custom_fields=self.custom_fields(k + 2),
                    project_templates=[], permalink_url="https://app.asana.com/0/portfolio/1/list")
                self.add_of("portfolios", home["gid"], portfolio)
                self.items[portfolio["gid"]] = [gid for gid, project in self.objects["projects"].items()
                                                if project["workspace"].gid == home["gid"]][k::2]
                self.status_update("portfolio", Ref("portfolios", portfolio["gid"]))
                goal = self.new(
                    "goals", f"{self.name()} {k}", notes="Mehr", html_notes="<body>Mehr</body>", start_on="2025-01-01", due_on="2025-12-31",
                    status="green" if k else None, is_workspace_level=k == 0, privacy_setting="public_to_workspace",
                    default_access_level="editor", owner=users[0], team=None, workspace=here, followers=users[:1] if everyone else [],
                    num_likes=0, liked=False, likes=[], current_status_update=None, custom_fields=[], custom_field_settings=[],
                    time_period={"gid": "77", "resource_type": "time_period", "display_name": "FY25", "period": "FY",
                                 "start_on": "2025-01-01", "end_on": "2025-12-31"},
                    metric={"gid": f"88{k}", "resource_type": "goal_metric", "resource_subtype": "number", "unit": "percentage",
                            "precision": 2, "currency_code": None, "initial_number_value": 0.5, "target_number_value": 1,
                            "current_number_value": 0.75, "current_display_value": "75 %", "progress_source": "manual",
                            "is_custom_weight": False, "can_manage": True} if k else None)
                self.add_of("goals", home["gid"], goal)
                self.status_update("goal", Ref("goals", goal["gid"]))
        for gid, project in self.objects["projects"].items():
            for member in project["members"]:
                self.add_of("project_memberships", gid, self.new("project_memberships", "", access_level="editor", member=member,
                                                                 parent=Ref("projects", gid)))
            if project["current_status_update"]:
                self.status_update("project", Ref("projects", gid))
                self.attachment(Ref("projects", gid), project["modified_at"])
        for gid in self.objects["teams"]:
            for user in users[:4] if everyone else []:
                self.add_of("team_memberships", gid, self.new("team_memberships", "", user=user, team=Ref("teams", gid), is_admin=False,
                                                              is_guest=False, is_limited_access=False))

    def add_of(self, stream, parent, thing):
        """Notes what an object belongs to."""
        self.of.setdefault((stream, parent), []).append(thing["gid"])
        return thing

    def story(self, task, user, at, kind, **more):
        """Adds a story. It changes its task, but here nobody's stamp."""
        text = self.name()
        return self.add_of("stories", task["gid"], self.new("stories", "", **{
            "created_at": at, "created_by": user, "resource_subtype": kind, "text": text, "html_text": f"<body>{text}</body>",
            "is_pinned": False, "is_edited": False, "is_editable": False, "source": "web", "num_likes": 0, "liked": False, "likes": [],
            "target": Ref("tasks", task["gid"]), **more}))

    def attachment(self, parent, at):
        """Adds an attachment."""
        name = f"{self.name()}.pdf"
        made = self.new("attachments", name, resource_subtype="asana", host="asana", size=self.random.randrange(10**6),
                        created_at=at, connected_to_app=False, parent=parent)
        made["permanent_url"] = f"https://app.asana.com/app/asana/-/get_asset?asset_id={made['gid']}"
        return self.add_of("attachments", parent.gid, made)

    def time_entry(self, task, user, day):
        """Adds time to a task."""
        home = next((project["project"] for project in task["memberships"]), None)
        return self.add_of("time_tracking_entries", task["gid"], self.new(
            "time_tracking_entries", "", duration_minutes=self.random.randrange(1, 500), entered_on=day, created_by=user,
            attributable_to=home, categories=[], task=Ref("tasks", task["gid"])))

    def status_update(self, kind, parent):
        """Adds a status update."""
        text = self.name()
        return self.add_of("status_updates", parent.gid, self.new(
            "status_updates", "", title=text, text=text, html_text=f"<body>{text}</body>", resource_subtype=f"{kind}_status_update",
            status_type="on_track", author=None, created_at=self.past(), created_by=None, modified_at=self.past(), num_likes=0,
            num_hearts=0, liked=False, likes=[], hearted=False, hearts=[], parent=parent))

    def team(self, n, organization):
        """Adds a team."""
        team = self.new("teams", f"{self.name()} {n}", description="", html_description="<body></body>", endorsed=n == 0,
                        visibility="public", organization=Ref("workspaces", organization["gid"]), custom_field_settings=[])
        team["permalink_url"] = f"https://app.asana.com/0/{team['gid']}/list"
        team["team_content_management_access_level"] = "no_restriction"
        for right in ("edit_team_name_or_description", "edit_team_visibility_or_trash_team", "member_invite_management",
                      "guest_invite_management", "join_request_management", "team_member_removal"):
            team[f"{right}_access_level"] = "all_team_members"

    def project(self, n, home):
        """Adds a project with its sections."""
        dice, made = self.random, self.past()
        users = [Ref("users", gid) for gid in self.objects["users"]]
        some = dice.sample(users, min(3, len(users)))
        one = some[0] if some else None
        teams = [gid for gid, team in self.objects["teams"].items() if team["organization"].gid == home["gid"]]
        status = {"gid": str(9_000_000 + n), "resource_type": "project_status", "title": "Stand der Dinge", "text": "on track",
                  "html_text": "<body>on track</body>", "color": "green", "author": one, "created_at": made, "created_by": one,
                  "modified_at": made} if n % 3 == 0 else None
        update = {"gid": str(9_500_000 + n), "resource_type": "status_update", "title": "Stand der Dinge",
                  "resource_subtype": "project_status_update"} if status else None
        settings = [{"gid": f"6{field['gid']}", "resource_type": "custom_field_setting", "is_important": n % 2 == 0,
                     "custom_field": field} for field in self.custom_fields(n)]
        project = self.new(
            "projects", f"{self.name()} {n}", archived=n % 6 == 4, color=dice.choice(COLORS), icon="list", created_at=made,
            modified_at=self.past(), completed=n % 7 == 3, completed_at=made if n % 7 == 3 else None,
            completed_by=one if n % 7 == 3 else None,
            current_status=status, current_status_update=update, custom_fields=self.custom_fields(n),
            custom_field_settings=settings,
            default_view="board" if n % 2 else "list", due_date=None, due_on=None if n % 3 else "2025-02-28", start_on=None,
            html_notes="<body>Ziele</body>", notes="Ziele", members=some, followers=some[:1], owner=one if n % 4 else None,
            default_access_level="editor", minimum_access_level_for_customization="editor",
            minimum_access_level_for_sharing="editor", public=True, privacy_setting="public_to_workspace",
            team=Ref("teams", teams[n % len(teams)]) if teams else None, project_brief=None, created_from_template=None,
            workspace=Ref("workspaces", home["gid"]))
        gid = project["gid"]
        project["permalink_url"] = f"https://app.asana.com/1/{home['gid']}/project/{gid}"
        self.tasks_of[gid], self.sections_of[gid] = {}, []
        for name in ("Untitled section", "Heute", "Später")[:1 + n % 3]:
            section = self.new("sections", name, created_at=made, project=Ref("projects", gid), projects=[Ref("projects", gid)])
            self.sections_of[gid].append(section["gid"])

    @staticmethod
    def custom_fields(n, people=()):
        """The custom fields of a task or project: each has the value keys of its own type only."""
        def field(number, name, kind, **more):
            return {"gid": str(8_000_000 + number), "resource_type": "custom_field", "name": name, "type": kind,
                    "resource_subtype": kind, "representation_type": kind, "enabled": True, "is_formula_field": False,
                    "input_restrictions": [], **more}

        options = [{"gid": str(8_100_000 + k), "resource_type": "enum_option", "name": name, "enabled": True, "color": "blue"}
                   for k, name in enumerate(("Niedrig", "Hoch"))]
        number = (None, 5, 5.25, -1e-7, 12345678901234)[n % 5]
        shown = None if number is None else str(number)
        fields = [
            field(1, "Aufwand", "number", precision=2, number_value=number, display_value=shown),
            field(2, "Priorität", "enum", enum_options=options, enum_value=options[n % 2] if n % 3 else None,
                  display_value=options[n % 2]["name"] if n % 3 else None),
            field(3, "notes", "text", text_value="é" * (n % 4) or None, display_value="é" * (n % 4) or None),
            field(4, "when", "date", date_value={"date": "2024-08-23", "date_time": None} if n % 2 else None,
                  display_value="2024-08-23T00:00:00.000Z" if n % 2 else None),
            field(5, "which", "multi_enum", enum_options=options, multi_enum_values=options[:n % 3], display_value=None),
        ]
        if people and n % 4 == 0:
            fields.append(field(6, "who", "people", people_value=people, display_value="someone"))
        return fields[:n % 6 + 1] if n % 6 else []

    def task(self, n, projects, modified, parent=None, home=None):
        """Adds a task."""
        users = [Ref("users", gid) for gid in self.objects["users"]]
        people = self.random.sample(users, min(2, len(users)))
        one, other = (people[0], people[-1]) if people else (None, None)
        of_parent = [m["project"].gid for m in parent["memberships"]] if parent else []
        first = next(iter(projects), None) or next(iter(of_parent), None)
        if first:
            home = self.objects["projects"][first]["workspace"]
        elif parent:
            home = parent["workspace"]
        home = home or Ref("workspaces", min(self.objects["workspaces"]))
        tags = [Ref("tags", gid) for gid, tag in self.objects["tags"].items() if tag["workspace"].gid == home.gid]
        needs = [Ref("tasks", min(self.objects["tasks"]))] if n % 11 == 5 else []
        done, likes = n % 3 == 0, [{"gid": str(7_000_000 + n), "user": one}] if n % 9 == 0 and people else []
        task = self.new(
            "tasks", self.name(), resource_subtype=("default_task", "default_task", "milestone", "approval")[n % 4],
            created_by=one, assignee=one if n % 5 else None, assignee_status="inbox", assigned_by=other if n % 5 == 1 else None,
            completed=done, completed_at=modified if done else None, completed_by=other if done else None,
            created_at=min("2022-06-15T08:09:10.011Z", modified), modified_at=modified, start_on=None, start_at=None,
            due_on="2024-12-24" if n % 4 == 1 else None, due_at="2024-12-24T17:00:00.000Z" if n % 8 == 1 else None,
            dependencies=needs, dependents=[], followers=people, html_notes="<body>Über\nuns</body>", notes="Über\nuns",
            hearted=False, hearts=[], num_hearts=0, is_rendered_as_separator=False, liked=bool(likes), likes=likes,
            num_likes=len(likes), num_subtasks=0, actual_time_minutes=(None, 30, 7.5)[n % 3],
            custom_fields=self.custom_fields(n, people), custom_type=None, custom_type_status_option=None, memberships=[],
            projects=[], parent=Ref("tasks", parent["gid"]) if parent else None, tags=tags[:n % 3], workspace=home,
            assignee_section=None)
        task["permalink_url"] = f"https://app.asana.com/1/{home.gid}/task/{task['gid']}"
        if task["resource_subtype"] == "approval":
            task["approval_status"] = "pending"
        if n % 50 == 7:
            task["external"] = {"gid": f"own-{n}", "data": "A blob of information."}
        for project in projects:
            self.put(task, project)
        if parent:
            parent["num_subtasks"] += 1
        return task

    def put(self, task, project):
        """Puts a task into a project."""
        section = self.random.choice(self.sections_of[project])
        task["memberships"].append({"project": Ref("projects", project), "section": Ref("sections", section)})
        task["projects"].append(Ref("projects", project))
        self.tasks_of[project][task["gid"]] = task

    def take(self, task, project):
        """Takes a task out of a project."""
        task["memberships"] = [m for m in task["memberships"] if m["project"].gid != project]
        task["projects"] = [p for p in task["projects"] if p.gid != project]
        del self.tasks_of[project][task["gid"]]

    # ------------------------------------------------------------ what others do meanwhile

    def now(self):
        """This moment, as a change is stamped."""
        return stamp(self.clock())

    def listed(self):
        """Projects that the list of projects has."""
        return {gid: project for gid, project in self.objects["projects"].items() if gid not in self.unlisted}

    def open_projects(self):
        """Projects that are listed and can be read."""
        return [gid for gid in self.listed() if gid not in self.hidden and gid not in self.gone]

    def in_view(self):
        """Tasks of some project that can be read."""
        return {gid: task for project in self.open_projects() for gid, task in self.tasks_of[project].items()}

    def assigned(self):
        """Tasks whose assignee is in their workspace: what can be found by user, in a project or in none."""
        homes = {gid: {home.gid for home in user["workspaces"]} for gid, user in self.objects["users"].items()}
        return {gid: task for gid, task in self.objects["tasks"].items()
                if task["assignee"] and task["workspace"].gid in homes[task["assignee"].gid]}

    def listed_subtasks(self):
        """All that are below a task in view, or below one that is found by its assignee."""
        children, found = {}, {}
        for gid, task in self.objects["tasks"].items():
            if task["parent"]:
                children.setdefault(task["parent"].gid, []).append(gid)
        todo = [*self.in_view(), *(gid for gid, task in self.assigned().items() if not task["parent"] and not task["projects"])]
        while todo:
            below = children.get(todo.pop(), [])
            found |= {gid: self.objects["tasks"][gid] for gid in below}
            todo += below
        return found

    def known_tasks(self):
        """All tasks that can be found."""
        return {**self.in_view(), **self.assigned(), **self.listed_subtasks()}

    def change(self, task):
        """One edit."""
        self.edits += 1
        task["name"] = f"{self.name()} (edit {self.edits})"
        task["modified_at"] = self.now()

    def edit(self, count, project=None):
        """Changes that many tasks, of one project or any; gives their gids."""
        with self.lock:
            chosen = self.random.sample(sorted(self.tasks_of[project] if project else self.in_view()), count)
            for gid in chosen:
                self.change(self.objects["tasks"][gid])
            return chosen

    def add(self, count, project=None):
        """Adds that many tasks, to one project or any; gives their gids."""
        with self.lock:
            homes = [project] if project else self.open_projects()
            return [self.task(len(self.objects["tasks"]), [self.random.choice(homes)], self.now())["gid"] for _ in range(count)]

    def touch(self, gid, kind):
        """Adds a story, an attachment or time to a task, or a subtask below it, as users do; the task changes where Asana says so."""
        with self.lock:
            task, now = self.objects["tasks"][gid], self.now()
            user = next((Ref("users", user) for user in self.objects["users"]), None)
            if kind == "subtask":  # a change of a subtask is none of its parent
                return self.task(len(self.objects["tasks"]), (), now, task)["gid"]
            if kind == "time":
                task["actual_time_minutes"] = (task["actual_time_minutes"] or 0) + 15
                made = self.time_entry(task, user, now[:10])
            elif kind == "attachment":
                made = self.attachment(Ref("tasks", gid), now)
                self.story(task, user, now, "attachment_added", type="system")
            else:
                made = self.story(task, user, now, "comment_added", type="comment")
            task["modified_at"] = now
            return made["gid"]

    def expire_access_tokens(self):
        """Access tokens that the OAuth app was given run out."""
        with self.lock:
            self.access_tokens = {self.token}

    def delete_project(self, gid, listed=False):
        """Deletes a project: 404 from now on. With `listed` the list of projects does not know yet."""
        with self.lock:
            self.gone.add(gid)
            if not listed:
                self.unlisted.add(gid)
            for task in list(self.tasks_of[gid].values()):
                self.take(task, gid)
                task["modified_at"] = self.now()

    def hide_project(self, gid, listed=True):
        """Takes away the right to read a project: 403. Without `listed` it is not in the list of projects either."""
        with self.lock:
            self.hidden.add(gid)
            if not listed:
                self.unlisted.add(gid)

    def show_project(self, gid):
        """Gives the right back."""
        with self.lock:
            self.hidden.discard(gid)
            self.unlisted.discard(gid)

    def expire_offsets(self, project=None):
        """No token that was given out so far, for a project's tasks or at all, is good any more."""
        with self.lock:
            for token in self.tokens.values():
                token["dead"] |= project is None or ("project", project) in token["of"]

    def meddle(self, project, after):
        """What happens between two pages of a project: edits before and behind the reader, additions, a move."""
        place = lambda gid: self.place(project, gid)
        for behind in (True, False):
            some = sorted(gid for gid in self.tasks_of[project] if (place(gid) <= after) == behind)
            for gid in self.random.sample(some, min(self.edits_while_paging, len(some))):
                self.change(self.objects["tasks"][gid])
        self.add(max(1, self.edits_while_paging // 3), project)
        task = self.objects["tasks"][self.random.choice(sorted(self.tasks_of[project]))]
        others = [gid for gid in self.open_projects() if gid not in {p.gid for p in task["projects"]}]
        if others:
            self.take(task, project)
            self.put(task, self.random.choice(others))
            task["modified_at"] = self.now()

    # ------------------------------------------------------------ what the API gives

    def place(self, project, gid):
        """A task's place in a project: fixed, and with no meaning."""
        key = (project, gid)
        if key not in self.places:
            self.places[key] = hashlib.md5(f"{self.seed} {project} {gid}".encode()).hexdigest()
        return self.places[key]

    def render(self, value, tree):
        """A value as `opt_fields` wants it. Objects always have their gid; a bare one also says its type."""
        if isinstance(value, list):
            return [self.render(item, tree) for item in value]
        if isinstance(value, Ref):
            value = self.objects[value.stream][value.gid]
        if not isinstance(value, dict):
            return value
        if "gid" not in value:
            return {k: self.render(v, tree.get(k, {})) for k, v in value.items() if not tree or k in tree}
        names = tree or ("resource_type",)
        return {k: self.render(v, tree.get(k, {})) for k, v in value.items() if k == "gid" or k in names}

    def as_given(self, stream, things, fields):
        """Records of a list."""
        tree = {"gid": {}}
        for field in COMPACT.get(stream, ["name", "resource_type"]) if fields is None else fields:
            node = tree
            for part in field.split("."):
                node = node.setdefault(part, {})
        return [self.render(thing, tree) for thing in things]

    def truth(self, stream, fields=None):
        """What a whole read must bring, by gid, with the `opt_fields` of the last request of that stream, or those given."""
        with self.lock:
            if fields is None:
                shape = "tasks" if stream in ("subtasks", "assigned_tasks") else stream
                fields = self.asked.get(stream, self.asked.get(shape, sorted(OPT_FIELDS[shape])))
            there = self.objects.get(stream, {})
            known = self.known_tasks() if stream in ("stories", "attachments", "time_tracking_entries") else {}
            if stream == "portfolio_items":
                return {(portfolio, record["gid"]): {**record, "portfolio": portfolio} for portfolio, projects in self.items.items()
                        for record in json.loads(json.dumps(self.as_given(
                            stream, [self.objects["projects"][gid] for gid in projects], fields)))}
            if stream in ("subtasks", "assigned_tasks"):
                there = self.listed_subtasks() if stream == "subtasks" else self.assigned()
            elif stream == "attachments":
                there = {gid: a for gid, a in there.items() if a["parent"].gid in known or a["parent"].gid in self.open_projects()}
            elif stream in ("stories", "time_tracking_entries"):
                there = {gid: thing for gid, thing in there.items() if thing["target" if stream == "stories" else "task"].gid in known}
            elif stream == "project_memberships":
                there = {gid: thing for gid, thing in there.items() if thing["parent"].gid in self.open_projects()}
            elif stream == "status_updates":
                there = {gid: thing for gid, thing in there.items()
                         if thing["parent"].stream != "projects" or thing["parent"].gid in self.open_projects()}
            elif stream == "projects":
                there = self.listed()
            elif stream == "sections":
                there = {gid: there[gid] for project in self.open_projects() for gid in self.sections_of[project]}
            elif stream == "tasks":
                there = self.in_view()
            # By way of JSON: nothing shared with the objects that are edited later.
            found = {record["gid"]: record for record in json.loads(json.dumps(self.as_given(stream, there.values(), fields)))}
            if stream == "time_tracking_entries":  # the list does not tell it; the tap knows where it asked
                found = {gid: {**record, "task": {"gid": there[gid]["task"].gid}} for gid, record in found.items()}
            return found

    def reset_calls(self):
        """Forgets the calls."""
        with self.lock:
            self.calls = []

    def answer(self, target, headers):
        """One call: status, headers, body, and what is remembered of it."""
        url = urlsplit(target)
        path, query = url.path.removeprefix(ROOT), dict(parse_qsl(url.query, keep_blank_values=True))
        call = {"path": path, "query": query, "time": time.time(), "answered": None, "status": None, "count": 0}
        with self.lock:
            self.calls.append(call)
            self.made += 1
            try:
                if not url.path.startswith(ROOT + "/"):
                    raise Refused(404, "No matching route for request")
                self.limit(call["time"])
                self.rules(path, query)
                if headers.get("Authorization", "").removeprefix("Bearer ") not in self.access_tokens:
                    raise Refused(401)
                status, more, body = 200, {}, self.route(path, query)
                call["count"] = len(body["data"])
            except Refused as refused:
                status, more, body = refused.status, refused.headers, refused.body
            call["status"] = status
        return status, more, body, call

    def limit(self, now):
        """The calls of the last minute. Those that are refused count too."""
        if not self.limit_per_minute:
            return
        self.recent = [at for at in self.recent if at > now - self.limit_window] + [now]
        if len(self.recent) > self.limit_per_minute:
            free = self.recent[-self.limit_per_minute] + self.limit_window - now
            raise Refused(429, headers={"Retry-After": str(max(1, math.ceil(free)))})

    def rules(self, path, query):
        """The first rule that fits."""
        for rule in self.fail:
            match = rule["match"]
            fits = match(path, query) if callable(match) else re.search(match, f"{path}?{urlencode(query, safe=',:')}")
            if not fits or rule.get("times", 1) <= 0:
                continue
            if rule.get("skip", 0) > 0:
                rule["skip"] -= 1
                continue
            if "times" in rule:
                rule["times"] -= 1
            if "do" in rule:
                rule["do"]()
            if "status" in rule:
                raise Refused(rule["status"], rule.get("message"), rule.get("headers"), rule.get("body"))
            return

    def route(self, path, query):
        """The lists."""
        parts, home, page = path.strip("/").split("/"), query.get("workspace"), functools.partial(self.page, path, query)
        if parts == ["workspaces"]:
            return page("workspaces", self.objects["workspaces"].values())
        if len(parts) == 3 and parts[0] == "workspaces" and parts[2] == "teams":
            if not self.objects["workspaces"].get(parts[1], {}).get("is_organization"):
                raise Refused(404, f"workspace: Not an organization: {parts[1]}")
            return page("teams", [t for t in self.objects["teams"].values() if t["organization"].gid == parts[1]])
        if len(parts) == 3 and parts[0] == "projects" and parts[2] == "sections":
            return page("sections", [self.objects["sections"][gid] for gid in self.sections_of[self.readable(parts[1])]])
        if len(parts) == 3 and (parts[0], parts[2]) in BELOW:
            return self.below(page, *parts)
        if parts in (["attachments"], ["status_updates"]):
            return self.below_parent(page, parts[0], query)
        if parts == ["team_memberships"]:
            if query.get("team") not in self.objects["teams"]:
                raise Refused(400, "team: Not a recognized ID")
            return page("team_memberships", self.those("team_memberships", query["team"]))
        if parts in (["users"], ["projects"], ["tags"], ["portfolios"], ["goals"]) and home not in self.objects["workspaces"]:
            raise Refused(400, f"workspace: {'Not a recognized ID: ' + home if home else 'Missing input'}")
        if parts == ["users"]:
            return page("users", [u for u in self.objects["users"].values() if home in {w.gid for w in u["workspaces"]}])
        if parts == ["projects"]:
            wanted = {"true": (True,), "false": (False,)}.get(query.get("archived"), (True, False))
            return page("projects", [p for p in self.listed().values() if p["workspace"].gid == home and p["archived"] in wanted])
        if parts == ["tags"]:
            return page("tags", [t for t in self.objects["tags"].values() if t["workspace"].gid == home])
        if parts in (["portfolios"], ["goals"]):
            return page(parts[0], self.those(parts[0], home))
        if parts == ["tasks"] and {"assignee", "workspace"} <= query.keys() and "project" not in query:
            if query["assignee"] not in self.objects["users"] or home not in self.objects["workspaces"]:
                raise Refused(404, f"assignee: Unknown object: {query['assignee']}")
            mine = [task for task in self.objects["tasks"].values() if task["assignee"] and task["workspace"].gid == home
                    and task["assignee"].gid == query["assignee"]]
            return page("tasks", self.since(mine, query))
        if parts == ["tasks"]:
            if "project" not in query:
                raise Refused(400, "You should specify one of project, tag, section, user_task_list, or assignee + workspace")
            return self.project_tasks(page, self.readable(query["project"]), query)
        raise Refused(404, "No matching route for request")

    def those(self, stream, parent):
        """What belongs to an object."""
        return [self.objects[stream][gid] for gid in self.of.get((stream, parent), [])]

    def below(self, page, kind, gid, what):
        """A list whose path names what it belongs to."""
        stream = "portfolio_items" if what == "items" else what
        if gid not in self.objects[kind]:
            raise Refused(404, f"{kind}: Unknown object: {gid}")
        if kind == "projects":
            self.readable(gid)
        if what == "items":
            return page(stream, [self.objects["projects"][project] for project in self.items[gid]])
        if what == "subtasks":
            return page("tasks", [task for task in self.objects["tasks"].values() if task["parent"] and task["parent"].gid == gid])
        return page(stream, self.those(stream, gid))

    def below_parent(self, page, stream, query):
        """A list whose `parent` names what it belongs to."""
        parent = query.get("parent")
        kinds = ("tasks", "projects") if stream == "attachments" else ("projects", "portfolios", "goals")
        kind = next((kind for kind in kinds if parent in self.objects[kind]), None)
        if kind is None:
            raise Refused(404 if parent else 400, f"parent: {'Unknown object: ' + parent if parent else 'Missing input'}")
        if kind == "projects":
            self.readable(parent)
        return page(stream, self.those(stream, parent))

    def login(self, form):
        """The OAuth app asks for an access token."""
        with self.lock:
            self.calls.append({"path": "/-/oauth_token", "query": form, "time": time.time(), "answered": time.time(), "status": None,
                               "count": 0})
            if form.get("grant_type") != "refresh_token" or any(form.get(key) != value for key, value in self.app.items()):
                self.calls[-1]["status"] = 400
                return 400, {"error": "invalid_grant", "error_description": "The refresh token is invalid."}
            self.logins += 1
            token = f"1/{self.seed}/{self.logins}-access"
            self.access_tokens.add(token)
            self.calls[-1]["status"] = 200
            return 200, {"access_token": token, "token_type": "bearer", "expires_in": 3600, "data": {"gid": "1", "name": "App"}}

    def readable(self, gid):
        """A project that may be read."""
        if gid not in self.objects["projects"] or gid in self.gone:
            raise Refused(404, f"project: Unknown object: {gid}")
        if gid in self.hidden:
            raise Refused(403, f"project: You do not have access to this project: {gid}")
        return gid

    def project_tasks(self, page, project, query):
        """The tasks of a project, since a time if one is named."""
        after = self.after("/tasks", query)
        if self.edits_while_paging and after is not None:
            self.meddle(project, after)
        tasks = self.since(self.tasks_of[project].values(), query)
        return page("tasks", tasks, lambda task: self.place(project, task["gid"]))

    def since(self, tasks, query):
        """Those that changed since the time that a query names, if it does."""
        since = query.get("modified_since")
        if since is not None and (since := moment_of(since)) is None:
            raise Refused(400, f"modified_since: Value is not a valid timestamp: {query['modified_since']}")
        if since is None:
            return tasks
        return [t for t in tasks if t["modified_at"] > since or (t["modified_at"] == since and not self.strict)]

    def after(self, path, query):
        """The place after which the page of an offset begins."""
        if "offset" not in query:
            return None
        token = self.tokens.get(query["offset"])
        if token is None or token["of"] != self.signature(path, query):
            raise Refused(400, "offset: Your pagination token is invalid.")
        if self.offset_life is not None:
            age = time.monotonic() - token["born"] if self.offset_unit == "s" else self.made - token["call"]
            token["dead"] |= age > self.offset_life
        if token["dead"]:
            raise Refused(400, EXPIRED)
        return token["after"]

    @staticmethod
    def signature(path, query):
        """What a token belongs to: the same query but for the page size."""
        return (path, *sorted((k, v) for k, v in query.items() if k not in ("offset", "limit")))

    def page(self, path, query, stream, things, place=lambda thing: thing["gid"].zfill(20)):
        """A page of a list."""
        fields = [part for field in query["opt_fields"].split(",") if (part := field.strip())] if "opt_fields" in query else None
        for field in fields or []:
            if not self.known(stream, field):
                raise Refused(400, f"opt_fields: Unrecognized field: {field}")
        # Parents may be asked for with fewer fields.
        if fields is None or len(fields) > 4 or stream != "tasks":
            self.asked[stream] = fields if fields is not None else self.asked.get(stream, [])
        things = sorted(things, key=place)
        if (after := self.after(path, query)) is not None:
            things = [thing for thing in things if place(thing) > after]
        limit = query.get("limit")
        if limit is None:
            return {"data": self.as_given(stream, things[:1000], fields)}
        if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= 100:
            raise Refused(400, f"limit: Must be between 1 and 100: {limit}")
        page, more = things[:int(limit)], None
        if len(things) > len(page):
            belongs, last = self.signature(path, query), place(page[-1])
            # Never the same twice, but the same for every reader who does the same.
            self.given[belongs, last] = nth = self.given.get((belongs, last), 0) + 1
            token = hashlib.sha256(f"{self.seed} {belongs} {last} {nth}".encode()).hexdigest()
            self.tokens[token] = {"of": belongs, "after": last, "born": time.monotonic(), "call": self.made, "dead": False}
            target = f"{path}?{urlencode({**query, 'offset': token})}"
            more = {"offset": token, "path": target, "uri": self.url + target}
        return {"data": self.as_given(stream, page, fields), "next_page": more}

    @staticmethod
    def known(stream, field):
        """May `opt_fields` name it? gid and resource_type may stand anywhere."""
        parent, _, last = field.rpartition(".")
        return field in OPT_FIELDS[stream] or (last in ("gid", "resource_type") and (not parent or parent in OPT_FIELDS[stream]))


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for the vendor."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_POST(self):
        """A login: the only call that is none of the API's lists."""
        form = dict(parse_qsl(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()))
        status, body = self.server.vendor.login(form) if self.path == "/-/oauth_token" else (404, {"errors": [{"message": "Not found"}]})
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def do_GET(self):
        """One call."""
        vendor = self.server.vendor
        status, headers, body, call = vendor.answer(self.path, self.headers)
        if vendor.latency:
            time.sleep(vendor.latency)
        content = (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()
        kind = "text/html" if isinstance(body, str) else "application/json; charset=UTF-8"
        headers = {"Content-Type": kind, **headers}
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            content = gzip.compress(content, 1)
        self.send_response(status)  # with Date
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        call["answered"] = time.time()
        self.wfile.write(content)
        self.wfile.flush()

    def handle(self):
        """A client that goes away is no event."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def finish(self):
        """As before."""
        with contextlib.suppress(ConnectionError):
            super().finish()

    def log_message(self, *_):
        """Says nothing."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument("--plain", action="store_true", help="no odd names and nothing in two places: there are readers that "
                        "end a line at U+2028, or want each key once")
    options = parser.parse_args()
    with Asana(port=options.port, tasks=options.tasks, odd=() if options.plain else ODD, shared=not options.plain) as asana:
        print(asana.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
