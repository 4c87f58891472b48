"""A Trello-shaped vendor in a box (REST API, version 1), made from Atlassian's OpenAPI file and its guides.

The file has no schemas of answers, so that shapes are those of its components and examples. Not in either, and so assumed: the
order of a page of cards without `sort` (as they stand on the board), that `sort=-id` gives them newest first, that `since` is
exclusive (the harder case), and which status a forbidden board answers with.
"""
import sys

if __name__ == "__main__":
    sys.path[0] = str(__import__("pathlib").Path(__file__).resolve().parents[1])
from vendors.core import Refused, Reply, Stream, Vendor, main, moment_of, route, stamp

KEY, TOKEN = "0471642aefef5fa1fa76530ce1ba4c85", "ATTA9eb76d9a9d02b8dd40c2f3e5df18556c"
CARDS = {"fields", "limit", "before", "since", "sort", "customFieldItems", "attachments", "attachment_fields", "members", "checklists",
         "stickers", "pluginData", "list"}
BOARD = {"name", "desc", "closed", "idOrganization", "idMemberCreator", "pinned", "starred", "subscribed", "url", "shortUrl",
         "shortLink", "prefs", "labelNames", "dateLastActivity", "dateLastView"}
MEMBER = {"activityBlocked", "avatarUrl", "bio", "confirmed", "fullName", "initials", "memberType", "nonPublic", "nonPublicAvailable",
          "status", "url", "username"}
COLORS = ["green", "yellow", "orange", "red", "purple", "blue", "sky", "lime", "pink", "black"]


class Trello(Vendor):
    """Trello, as one token sees it."""

    source = "trello"
    streams = {
        **{name: Stream(key=["id"]) for name in ("organizations", "boards", "lists", "cards", "checklists", "labels", "members", "memberships",
                                                 "custom_fields")},
        **{name: Stream(key=["id"], cursor="date", inclusive=True, overlap=1, per=lambda record: record["idBoard"])
           for name in ("actions", "comments")},
    }
    conformance_skips = {"members": "a member of several boards comes once for each of them"}

    # ------------------------------------------------------------ the account

    def fill(self, random, size):
        self.serial, self.gone, self.forbidden, self.hides, self.most = 0, set(), set(), False, 40
        rows = self.rows
        for n in range(6):
            id = self.id(self.past())
            rows["members"][id] = {
                "id": id, "fullName": self.name(), "username": f"member{n}", "initials": "MB", "url": f"https://trello.com/member{n}",
                "avatarUrl": random.choice([None, f"https://trello-members.s3.amazonaws.com/{id}/db2adf80"]), "bio": "",
                "confirmed": True, "memberType": random.choice(["normal", "ghost"]), "activityBlocked": False, "status": "disconnected",
                "nonPublicAvailable": n % 2 == 0, "nonPublic": {"fullName": self.name(), "initials": "M"} if n % 2 == 0 else {}}
        for n in range(2):
            id = self.id(self.past())
            rows["organizations"][id] = {
                "id": id, "name": f"acme{n}", "displayName": self.name(), "desc": "", "descData": {"emoji": {}}, "idBoards": [],
                "url": f"https://trello.com/w/acme{n}", "website": None, "logoHash": None, "idEnterprise": None, "premiumFeatures": [],
                "dateLastActivity": stamp(self.past()), "offering": "trello.business_class", "products": [110],
                "memberships": [{"id": self.id(self.past()), "idMember": one, "memberType": "normal", "unconfirmed": False,
                                 "deactivated": False} for one in list(rows["members"])[:3]],
                "prefs": {"permissionLevel": "private", "boardVisibilityRestrict": {"private": "org", "org": "org", "public": "admin"},
                          "attachmentRestrictions": ["computer", "link"]}}
        for n in range(5):
            self.board(f"short{n}xx"[:8], closed=n == 4)
        boards = list(rows["boards"])
        for _ in range(size):
            self.card(random.choice(boards), self.past(), closed=random.random() < 0.1)
        for _ in range(size):
            card = rows["cards"][random.choice(list(rows["cards"]))]
            self.act(card, random.choice(["commentCard", "updateCard", "addMemberToCard"]), self.past())
        for _ in range(size // 4):
            self.checklist(rows["cards"][random.choice(list(rows["cards"]))], self.past())
        last = rows["cards"][max(rows["cards"])]
        # Several at one moment.
        for _ in range(3):
            self.act(last, "commentCard", self.past() if _ == 0 else None, moment=self.rows["actions"][self.latest]["date"] if _ else None)

    def id(self, moment):
        """An id: its first eight digits are the second in which it was made."""
        self.serial += 1
        return f"{int(moment.timestamp()):08x}{'5e' * 5}{self.serial:06x}"

    def board(self, short, closed):
        """A board with its lists, labels, members and custom fields."""
        random, rows, made = self.random, self.rows, self.past()
        id, home = self.id(made), random.choice(list(rows["organizations"]))
        rows["organizations"][home]["idBoards"].append(id)
        rows["boards"][id] = {
            "id": id, "name": self.name(), "desc": "", "closed": closed, "idOrganization": home, "idMemberCreator": min(rows["members"]),
            "pinned": False, "starred": random.random() < 0.3, "subscribed": False, "url": f"https://trello.com/b/{short}/board",
            "shortUrl": f"https://trello.com/b/{short}", "shortLink": short, "dateLastActivity": None if closed else stamp(self.past()),
            "dateLastView": stamp(self.past()), "labelNames": {color: "" for color in COLORS},
            "prefs": {"permissionLevel": "org", "hideVotes": False, "voting": "disabled", "comments": "members", "invitations": "members",
                      "selfJoin": True, "cardCovers": True, "isTemplate": False, "cardAging": "regular", "background": "blue"}}
        for n in range(3):
            one = self.id(made)
            rows["lists"][one] = {"id": one, "name": self.name(), "closed": n == 2, "color": None, "idBoard": id, "pos": 65536 * (n + 1) + 0.5,
                                  "softLimit": None, "subscribed": False, "type": None}
        for color in random.sample([*COLORS, None], 4):
            one = self.id(made)
            rows["labels"][one] = {"id": one, "idBoard": id, "name": "" if color and random.random() < 0.3 else self.name(), "color": color,
                                   "uses": 0}
        for member in random.sample(list(rows["members"]), 4):
            one = self.id(made)
            rows["memberships"][one] = {"id": one, "idMember": member, "memberType": random.choice(["admin", "normal", "observer"]),
                                        "unconfirmed": False, "deactivated": False, "idBoard": id}
        for n, kind in enumerate(["text", "number", "date", "checkbox", "list", "list"]):
            one = self.id(made)
            rows["custom_fields"][one] = {
                "id": one, "idModel": id, "modelType": "board", "fieldGroup": f"{self.serial:064x}", "display": {"cardFront": True},
                "name": f"it's \"{kind}\" {n}" if n == 5 else f"{kind} {n}", "pos": 16384 * (n + 1), "type": kind}
            if kind == "list":
                rows["custom_fields"][one]["options"] = [
                    {"id": self.id(made), "idCustomField": one, "value": {"text": text}, "color": "none", "pos": 1024 * k}
                    for k, text in enumerate(["High", "Łów", "it's", "say \"no\"", "2024"])]
        return id

    def card(self, board, made, closed=False):
        """A card, and the action that made it."""
        random, rows = self.random, self.rows
        id, lists = self.id(made), [one["id"] for one in rows["lists"].values() if one["idBoard"] == board and (closed or not one["closed"])]
        labels = random.sample([one for one in rows["labels"].values() if one["idBoard"] == board], random.randrange(3))
        short = f"c{self.serial:07x}"
        rows["cards"][id] = {
            "id": id, "idShort": self.serial, "name": self.name(), "desc": random.choice(["", "*text*\n" + self.name()]), "descData": {"emoji": {}},
            "closed": closed, "idBoard": board, "idList": random.choice(lists), "pos": random.choice([65535, 131071.25]),
            "dateLastActivity": stamp(made), "start": None, "due": stamp(self.past()) if random.random() < 0.4 else None, "dueComplete": False,
            "dueReminder": random.choice([None, 1440, -1]), "idMembers": random.sample(list(rows["members"]), random.randrange(3)),
            "idMembersVoted": [], "idLabels": [one["id"] for one in labels],
            "labels": [{key: one[key] for key in ("id", "idBoard", "name", "color")} for one in labels], "idChecklists": [],
            "checkItemStates": [], "idAttachmentCover": None, "manualCoverAttachment": False,
            "cover": {"idAttachment": None, "color": random.choice([None, "green"]), "idUploadedBackground": None, "size": "normal", "brightness": "dark"},
            "cardRole": random.choice([None, None, None, "separator", "link"]), "mirrorSourceId": None, "isTemplate": False, "shortLink": short,
            "shortUrl": f"https://trello.com/c/{short}", "url": f"https://trello.com/c/{short}/{self.serial}", "subscribed": False,
            "badges": {"votes": 0, "viewingMemberVoted": False, "subscribed": False, "checkItems": 0, "checkItemsChecked": 0,
                       "checkItemsEarliestDue": None, "comments": 0, "attachments": 0, "description": False, "due": None, "start": None,
                       "dueComplete": False, "location": False, "fogbugz": "", "attachmentsByType": {"trello": {"board": 0, "card": 0}}},
            "customFieldItems": [self.value(field, id) for field in rows["custom_fields"].values()
                                 if field["idModel"] == board and random.random() < 0.5]}
        self.act(rows["cards"][id], "createCard", made)
        return id

    def value(self, field, card):
        """A value of a custom field."""
        random, kind = self.random, field["type"]
        value = {"text": {"text": random.choice([self.name(), "12", "None", "[1]"])}, "number": {"number": random.choice(["42", "-1.5", "007"])},
                 "date": {"date": stamp(self.past())}, "checkbox": {"checked": "true"}, "list": None}[kind]
        item = {"id": self.id(self.past()), "value": value, "idCustomField": field["id"], "idModel": card, "modelType": "card"}
        return {**item, "idValue": random.choice(field["options"])["id"]} if kind == "list" else item

    def act(self, card, kind, made, moment=None):
        """Something that was done to a card."""
        if made is None:
            seconds = moment_of(moment)
            made = type(self.last).fromtimestamp(seconds, self.last.tzinfo)
        id, board = self.id(made), self.rows["boards"][card["idBoard"]]
        member = self.rows["members"][self.random.choice(list(self.rows["members"]))]
        data = {"board": {"id": board["id"], "name": board["name"], "shortLink": board["shortLink"]},
                "card": {"id": card["id"], "name": card["name"], "idShort": card["idShort"], "shortLink": card["shortLink"]}}
        if kind == "commentCard":
            data["text"] = self.name()
        elif kind == "updateCard":
            data |= {"old": {"name": self.name()}, "list": {"id": card["idList"], "name": "Doing"}}
        self.rows["actions"][id] = {
            "id": id, "idMemberCreator": member["id"], "data": data, "type": kind, "date": stamp(made), "appCreator": None,
            "limits": {"reactions": {"perAction": {"status": "ok", "disableAt": 1000, "warnAt": 900}}} if kind == "commentCard" else None,
            "memberCreator": {key: member[key] for key in ("id", "fullName", "username")}}
        self.latest = id
        return id

    def checklist(self, card, made):
        """A checklist with items."""
        random, id = self.random, self.id(made)
        self.rows["checklists"][id] = {
            "id": id, "name": self.name(), "idBoard": card["idBoard"], "idCard": card["id"], "pos": 16384.5,
            "checkItems": [{"id": self.id(made), "idChecklist": id, "name": self.name(), "nameData": None, "pos": 1024 * n, "due": None,
                            "dueReminder": None, "idMember": random.choice([None, min(self.rows["members"])]),
                            "state": random.choice(["complete", "incomplete"])} for n in range(random.randrange(1, 5))]}
        card["idChecklists"].append(id)

    # ------------------------------------------------------------ what the driver wants

    def config(self, **more):
        hidden = {"include_archived": False} if self.hides else {}
        return {"api_url": self.url + "/1", "api_key": KEY, "api_token": TOKEN, "cards_per_page": 20, **hidden, **more}

    def bad_config(self):
        return {**self.config(), "api_token": "ATTAwrong"}

    def open_boards(self):
        """Boards that may be read."""
        return [one["id"] for one in self.rows["boards"].values() if one["id"] not in self.gone | self.forbidden]

    def truth(self, stream):
        rows, boards = self.rows, set(self.open_boards())
        if stream == "organizations":
            there = rows["organizations"].values()
        elif stream == "boards":
            there = [one for one in rows["boards"].values() if one["id"] not in self.gone]
        elif stream == "cards":
            there = [self.as_read(one) for one in rows["cards"].values() if one["idBoard"] in boards]
        elif stream == "custom_fields":
            there = [one for one in rows[stream].values() if one["idModel"] in boards]
        elif stream == "members":
            seen = {one["idMember"] for one in rows["memberships"].values() if one["idBoard"] in boards}
            there = [rows["members"][id] for id in seen]
        elif stream in ("actions", "comments"):
            there = [{**one, "idBoard": one["data"]["board"]["id"]} for one in rows["actions"].values()
                     if one["data"]["board"]["id"] in boards and (stream == "actions" or one["type"] == "commentCard")]
        else:
            there = [one for one in rows[stream].values() if one["idBoard"] in boards]
        return {(one["id"],): one for one in there}

    def as_read(self, card):
        """A card with its custom fields as the tap must give them."""
        card, fields = dict(card), []
        for item in card.pop("customFieldItems"):
            field = self.rows["custom_fields"][item["idCustomField"]]
            if field["type"] == "list":
                value, shown = item["idValue"], next(o["value"]["text"] for o in field["options"] if o["id"] == item["idValue"])
            else:
                value = shown = next(iter(item["value"].values()))
            fields.append({"id": field["id"], "name": field["name"], "type": field["type"], "value": value, "display_value": shown})
        return {**card, "custom_fields": fields, "attachments": []}

    def edit(self, random):
        changed, rows = set(), self.rows
        boards = [id for id in self.open_boards() if not rows["boards"][id]["closed"]]
        cards = [one for one in rows["cards"].values() if one["idBoard"] in boards]
        for card in random.sample(cards, min(4, len(cards))):
            now = self.moment()
            card["name"], card["dateLastActivity"] = self.name(), stamp(now)
            changed |= {("cards", card["id"]), ("actions", self.act(card, "updateCard", now))}
            comment = self.act(card, "commentCard", self.moment())
            changed |= {("actions", comment), ("comments", comment)}
        card = random.choice(cards)  # moves to another list
        card["idList"] = random.choice([one["id"] for one in rows["lists"].values() if one["idBoard"] == card["idBoard"]])
        changed |= {("cards", card["id"]), ("actions", self.act(card, "updateCard", self.moment()))}
        new = self.card(random.choice(boards), self.moment())
        self.checklist(rows["cards"][new], self.moment())
        return changed | {("cards", new), ("actions", self.latest), ("checklists", max(rows["checklists"]))}

    def moment(self):
        """Now, or what the driver says."""
        return self.clock() if hasattr(self, "clock") else self.now()

    def throttle(self):
        return Refused(429, {"error": "API_TOKEN_LIMIT_EXCEEDED", "message": "Rate limit exceeded"},
                       {"x-rate-limit-api-token-interval-ms": "1000", "x-rate-limit-api-token-max": "100", "x-rate-limit-api-token-remaining": "0"})

    def forbid(self):
        first, second, third = [id for id in self.open_boards() if not self.rows["boards"][id]["closed"]][:3]
        self.forbidden |= {first, second}
        self.refuses = {first: (401, "unauthorized permission requested"), second: (404, "board not found")}
        del third
        gone = {stream: [] for stream in self.streams}
        for board in (first, second):
            for stream in ("lists", "cards", "checklists", "labels", "memberships"):
                gone[stream] += [one["id"] for one in self.rows[stream].values() if one["idBoard"] == board]
        return gone

    def archive(self):
        self.hides = True
        card = next(one for one in self.rows["cards"].values() if one["idBoard"] in self.open_boards() and not one["closed"])
        card["closed"] = True
        return {"include_archived": True}, "cards", card["id"]

    # ------------------------------------------------------------ the API

    def authorized(self, call):
        """The key and the token."""
        if call.headers.get("Authorization") != f'OAuth oauth_consumer_key="{KEY}", oauth_token="{TOKEN}"':
            raise Refused(401, "invalid token", {"Content-Type": "text/plain; charset=utf-8"})

    def readable(self, call):
        """A board that may be read."""
        self.authorized(call)
        id = call.params["id"]
        if id in self.forbidden:
            raise Refused(*self.refuses[id], {"Content-Type": "text/plain; charset=utf-8"})
        if id not in self.rows["boards"] or id in self.gone:
            raise Refused(404, "The requested resource was not found.", {"Content-Type": "text/plain; charset=utf-8"})
        return id

    @staticmethod
    def shaped(things, fields, known):
        """Things with the fields that were asked for."""
        if fields in (None, "all"):
            return list(things)
        names = fields.split(",")
        if unknown := set(names) - known - {"id"}:
            raise Refused(400, f"invalid value for fields: {sorted(unknown)}", {"Content-Type": "text/plain; charset=utf-8"})
        return [{key: value for key, value in thing.items() if key in names or key == "id"} for thing in things]

    @staticmethod
    def visible(things, call):
        """By `filter`."""
        wanted = {"all": (True, False), "open": (False,), "closed": (True,)}[call.query.get("filter", "open")]
        return [thing for thing in things if thing["closed"] in wanted]

    @route("GET", "/1/members/me/organizations")
    def organizations(self, call):
        self.authorized(call)
        call.only("filter", "fields", "paid_account")
        return list(self.rows["organizations"].values())

    @route("GET", "/1/members/me/boards")
    def boards(self, call):
        self.authorized(call)
        call.only("filter", "fields", "lists", "organization", "organization_fields")
        there = [one for one in self.rows["boards"].values() if one["id"] not in self.gone]
        return self.shaped(self.visible(there, call), call.query.get("fields"), BOARD)

    @route("GET", "/1/organizations/{id}/boards")
    def boards_of(self, call):
        self.authorized(call)
        call.only("filter", "fields")
        home = next((one["id"] for one in self.rows["organizations"].values() if call.params["id"] in (one["id"], one["name"])), None)
        if not home:
            raise Refused(404, "model not found", {"Content-Type": "text/plain; charset=utf-8"})
        there = [one for one in self.rows["boards"].values() if one["id"] not in self.gone and one["idOrganization"] == home]
        return self.shaped(self.visible(there, call), call.query.get("fields"), BOARD)

    @route("GET", "/1/boards/{id}")
    def one_board(self, call):
        id = self.readable(call)
        call.only("fields", "customFields")
        more = {"customFields": [one for one in self.rows["custom_fields"].values() if one["idModel"] == id]}
        return {**self.shaped([self.rows["boards"][id]], call.query.get("fields"), BOARD)[0],
                **(more if call.query.get("customFields") == "true" else {})}

    @route("GET", "/1/boards/{id}/lists")
    def lists(self, call):
        id = self.readable(call)
        call.only("cards", "card_fields", "filter", "fields")
        return self.visible([one for one in self.rows["lists"].values() if one["idBoard"] == id], call)

    @route("GET", "/1/boards/{id}/cards/{filter}")
    def cards(self, call):
        id = self.readable(call)
        call.only(*CARDS)
        closed = {one["id"] for one in self.rows["lists"].values() if one["closed"]}
        there = [one for one in self.rows["cards"].values() if one["idBoard"] == id and (
            call.params["filter"] == "all" or not one["closed"] and (call.params["filter"] == "open" or one["idList"] not in closed))]
        page = self.newest(call, there, "all")
        if call.query.get("sort") != "-id":
            page = sorted(page, key=lambda one: (one["idList"], one["pos"], one["id"]))
        page = [dict(one) for one in page]
        for one in page:
            if call.query.get("customFieldItems") != "true":
                del one["customFieldItems"]
            if "attachments" in call.query:
                one["attachments"] = []
        return page

    def newest(self, call, things, default):
        """The newest before an id."""
        self.paged(call)
        before = call.query.get("before")
        things = sorted((one for one in things if not before or one["id"] < before), key=lambda one: one["id"], reverse=True)
        # Fewer than were asked for say nothing: `most` stands for a limit that was lowered without a word.
        return things[:min(call.number("limit", len(things) if default == "all" else default, 0, 1000), self.most)]

    @route("GET", "/1/boards/{id}/checklists")
    def checklists(self, call):
        id = self.readable(call)
        call.only("fields", "checkItems", "checkItem_fields", "cards", "card_fields", "filter")
        return [one for one in self.rows["checklists"].values() if one["idBoard"] == id]

    @route("GET", "/1/boards/{id}/labels")
    def labels(self, call):
        id = self.readable(call)
        call.only("fields", "limit")
        return [one for one in self.rows["labels"].values() if one["idBoard"] == id][:call.number("limit", 50, 0, 1000)]

    @route("GET", "/1/boards/{id}/members")
    def members(self, call):
        id = self.readable(call)
        call.only("fields", "filter")
        there = [self.rows["members"][one["idMember"]] for one in self.rows["memberships"].values() if one["idBoard"] == id]
        return self.shaped(there, call.query.get("fields", "fullName,username"), MEMBER)

    @route("GET", "/1/boards/{id}/memberships")
    def memberships(self, call):
        id = self.readable(call)
        call.only("filter", "activity", "orgMemberType", "member", "member_fields")
        return [{key: value for key, value in one.items() if key != "idBoard"} for one in self.rows["memberships"].values() if one["idBoard"] == id]

    @route("GET", "/1/boards/{id}/actions")
    def actions(self, call):
        id = self.readable(call)
        call.only("fields", "filter", "format", "idModels", "limit", "member", "member_fields", "memberCreator", "memberCreator_fields",
                  "page", "reactions", "before", "since")
        kinds, since = call.query.get("filter", "all").split(","), call.query.get("since")
        if since and moment_of(since) is None:
            raise Refused(400, "invalid value for since", {"Content-Type": "text/plain; charset=utf-8"})
        there = [one for one in self.rows["actions"].values() if one["data"]["board"]["id"] == id
                 and ("all" in kinds or one["type"] in kinds) and (not since or moment_of(one["date"]) > moment_of(since))]
        return self.newest(call, there, 50)


if __name__ == "__main__":
    main(Trello)
