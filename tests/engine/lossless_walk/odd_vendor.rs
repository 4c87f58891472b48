//! A vendor with known records and randomly odd responses.
//!
//! Comes in: requests. Goes out: replies in the form of `support::vendor`. Called by the walk. Where it keeps rows
//! back, an attentive reader can see it: a bare `{}` looks like the end of many healthy vendors' pages, so only a page
//! that has no rows is answered so.

use serde_json::{Value as Json, json};
use time::{Duration, OffsetDateTime};

use super::plan::{Paging, Plan, Words};
use crate::support::population::Dice;
use crate::support::vendor::Asked;

/// After so many odd answers in a row comes a good one: the breaker waits long after more.
const ODD_IN_A_ROW: u32 = 4;

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) part: String,
    pub(super) id: String,
    pub(super) updated: String,
    pub(super) version: u64,
    /// Stands in the order, but on no page: what a token may not see.
    hidden: bool,
}

/// What stands in place of a page with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oddity {
    /// HTTP 200 with errors and no list.
    Errors,
    /// Errors, and not all of the rows.
    ErrorsBeside,
    NoBody,
    NoContent,
    /// The list under another name.
    Moved,
    Truncated,
    Trailing,
    /// The connection ends within the body.
    Cut,
    Html,
    ServerError,
    Limit,
    NotFound,
    /// No rows, and a token for them.
    EmptyPage,
}

impl Oddity {
    const ALL: [Oddity; 13] = [
        Oddity::Errors,
        Oddity::ErrorsBeside,
        Oddity::NoBody,
        Oddity::NoContent,
        Oddity::Moved,
        Oddity::Truncated,
        Oddity::Trailing,
        Oddity::Cut,
        Oddity::Html,
        Oddity::ServerError,
        Oddity::Limit,
        Oddity::NotFound,
        Oddity::EmptyPage,
    ];
}

/// A page as it is in truth.
struct Page {
    rows: Vec<Record>,
    /// The page number, offset or token of the next page.
    next: Option<String>,
    first: bool,
    total: usize,
    /// The query of the next page, for links.
    query: String,
    /// The token of this page.
    token: String,
    /// Did the answer before it promise this one by word, token or link?
    promised: bool,
    /// Could only a number in the answer before it have promised it?
    counted: bool,
}

pub(super) struct OddVendor {
    plan: Plan,
    dice: Dice,
    records: Vec<Record>,
    versions: u64,
    tokens: u64,
    clock: OffsetDateTime,
    pub(super) url: String,
    /// Does it answer oddly now?
    pub(super) odd: bool,
    odd_in_a_row: u32,
    /// An oddity that stays for so many answers.
    stays: Option<(Oddity, u64)>,
    pub(super) history: Vec<String>,
}

impl OddVendor {
    pub(super) fn new(plan: &Plan, mut dice: Dice) -> OddVendor {
        let now = OffsetDateTime::now_utc();
        let mut vendor = OddVendor {
            plan: plan.clone(),
            records: Vec::new(),
            versions: 0,
            tokens: 0,
            clock: now,
            url: String::new(),
            odd: true,
            odd_in_a_row: 0,
            stays: None,
            history: Vec::new(),
            dice: Dice(dice.below(u64::MAX)),
        };
        let mut seconds: Vec<u64> = (0..plan.records).map(|_| dice.below(30 * 86_400)).collect();
        seconds.sort_unstable();
        // Some are of one moment.
        for i in 1..seconds.len() {
            if dice.chance(0.2) {
                seconds[i] = seconds[i - 1];
            }
        }
        for (number, seconds) in seconds.into_iter().enumerate() {
            let updated = vendor.moment(now - Duration::days(31) + Duration::seconds(i64::try_from(seconds).unwrap()));
            let hidden = plan.short_pages && plan.paging == Paging::Page && dice.chance(0.2);
            vendor.add(number, updated, hidden);
        }
        if plan.record_ahead {
            vendor.add(plan.records as usize, vendor.moment(now + Duration::days(27_000)), false);
        }
        vendor
    }

    /// Before all of its records.
    pub(super) fn start(&self) -> String {
        self.moment(self.clock - Duration::days(32))
    }

    fn add(&mut self, number: usize, updated: String, hidden: bool) {
        let part = match self.plan.partitions {
            0 => String::new(),
            partitions => Plan::partition(number % partitions),
        };
        self.versions += 1;
        let (id, version) = (format!("r{number}"), self.versions);
        self.history.push(format!("record {id} {part} {updated} v{version}{}", if hidden { " hidden" } else { "" }));
        self.records.push(Record { part, id, updated, version, hidden });
    }

    fn moment(&self, time: OffsetDateTime) -> String {
        let micros = if self.plan.microseconds { format!(".{:06}", time.microsecond()) } else { String::new() };
        let (date, clock) = (time.date(), time.time());
        format!("{date}T{:02}:{:02}:{:02}{micros}Z", clock.hour(), clock.minute(), clock.second())
    }

    /// What must have been sent in the end.
    pub(super) fn visible(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| !record.hidden)
    }

    /// A record changes now: it moves to the end of the order.
    pub(super) fn edit(&mut self) {
        self.clock = OffsetDateTime::now_utc().max(self.clock + Duration::microseconds(1));
        let updated = self.moment(self.clock);
        self.versions += 1;
        let at = self.dice.below(self.records.len() as u64) as usize;
        let record = &mut self.records[at];
        (record.updated, record.version) = (updated, self.versions);
        self.history.push(format!("  edit {} {} v{}", record.id, record.updated, record.version));
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Json {
        if self.odd && self.plan.edits_between_pages && self.dice.chance(0.25) {
            self.edit();
        }
        let page = self.page(asked);
        let (name, reply) = self.reply(&page);
        let rows: Vec<String> = page.rows.iter().map(|row| format!("{}v{}", row.id, row.version)).collect();
        self.history.push(format!("  {}: {name} [{}] next {:?}", asked.query, rows.join(" "), page.next));
        reply
    }

    /// The rows that a request asks for, in order.
    fn listed(&self, asked: &Asked) -> Vec<Record> {
        let [part, since, until] = ["part", "since", "until"].map(|name| asked.param(name).unwrap_or_default());
        let wanted = |record: &&Record| {
            record.part == part && record.updated >= since && (until.is_empty() || record.updated <= until)
        };
        let mut rows: Vec<Record> = self.records.iter().filter(wanted).cloned().collect();
        rows.sort_by(|a, b| (&a.updated, a.version).cmp(&(&b.updated, b.version)));
        if self.plan.newest_first {
            rows.reverse();
        }
        // Of hidden rows no two stand beside each other: a page of them alone would look like the end.
        rows.dedup_by(|row, before| row.hidden && before.hidden);
        rows
    }

    fn page(&mut self, asked: &Asked) -> Page {
        let listed = self.listed(asked);
        let token = asked.param("token").unwrap_or_default();
        let number = |name: &str| asked.param(name).and_then(|text| text.parse::<usize>().ok());
        let size = self.plan.page_size;
        let begin = match self.plan.paging {
            Paging::Token | Paging::Link => {
                listed.len() - listed.iter().filter(|row| self.is_after(row, &token)).count()
            }
            Paging::Page => (number("page").unwrap_or(1) - 1) * size,
            Paging::Offset => number("offset").unwrap_or(0),
        };
        let first = token.is_empty() && number("page").unwrap_or(1) == 1 && number("offset").unwrap_or(0) == 0;
        let short = self.plan.short_pages && self.plan.paging != Paging::Page && self.dice.chance(0.4);
        let take = if short { 1 + self.dice.below(size as u64) as usize } else { size };
        let begin = begin.min(listed.len());
        let end = (begin + take).min(listed.len());
        let more = listed[end..].iter().any(|row| !row.hidden);
        let last = listed[begin..end].last();
        let next = last.filter(|_| more).map(|row| self.token_of(&row.updated, row.version));
        let by_token = matches!(self.plan.paging, Paging::Token | Paging::Link);
        let query: Vec<&str> = asked.query.split('&').filter(|pair| !pair.starts_with("token=")).collect();
        Page {
            rows: listed[begin..end].iter().filter(|row| !row.hidden).cloned().collect(),
            next,
            first,
            total: listed.iter().filter(|row| !row.hidden).count(),
            query: query.join("&"),
            token,
            promised: !first && (by_token || self.plan.words == Words::HasMore),
            counted: !first && !by_token && matches!(self.plan.words, Words::Total | Words::FalseTotal),
        }
    }

    /// A token for what stands after a row; each is another.
    fn token_of(&mut self, updated: &str, version: u64) -> String {
        self.tokens += 1;
        format!("{updated}_{version}_{}", self.tokens)
    }

    fn is_after(&self, row: &Record, token: &str) -> bool {
        let mut parts = token.split('_');
        let (Some(updated), Some(version)) = (parts.next(), parts.next()) else { return true };
        let order = (row.updated.as_str(), row.version).cmp(&(updated, version.parse().unwrap()));
        if self.plan.newest_first { order.is_lt() } else { order.is_gt() }
    }

    fn reply(&mut self, page: &Page) -> (String, Json) {
        let oddity = self.drawn(page).filter(|_| self.odd && self.odd_in_a_row < ODD_IN_A_ROW);
        self.odd_in_a_row = if oddity.is_some() { self.odd_in_a_row + 1 } else { 0 };
        match oddity {
            Some(oddity) => (format!("{oddity:?}"), self.odd_reply(oddity, page)),
            None if page.rows.is_empty() && self.odd => ("no rows".to_owned(), self.no_rows(page)),
            None => ("page".to_owned(), self.good(page)),
        }
    }

    /// What goes wrong with this answer, if anything does.
    fn drawn(&mut self, page: &Page) -> Option<Oddity> {
        if let Some((oddity, left)) = self.stays.take() {
            self.stays = (left > 1).then_some((oddity, left - 1));
            if possible(oddity, page, &self.plan) {
                return Some(oddity);
            }
        }
        if !self.dice.chance(self.plan.odd) {
            return None;
        }
        let oddity = self.dice.of(&Oddity::ALL);
        let left = self.dice.below(4);
        self.stays = (left > 0).then_some((oddity, left));
        Some(oddity).filter(|oddity| possible(*oddity, page, &self.plan))
    }

    fn good(&mut self, page: &Page) -> Json {
        let rows = page.rows.clone();
        self.whole(page, &rows, page.next.as_deref())
    }

    /// A good answer with these rows and this token.
    fn whole(&mut self, page: &Page, rows: &[Record], next: Option<&str>) -> Json {
        let data: Vec<Json> =
            rows.iter().map(|row| json!({"id": row.id, "updated": row.updated, "version": row.version})).collect();
        let mut body = json!({"data": data});
        match self.plan.words {
            Words::Nothing => {}
            Words::HasMore => body["has_more"] = json!(next.is_some()),
            Words::Total => body["total"] = json!(page.total),
            Words::FalseTotal => body["total"] = json!(500),
        }
        let mut reply = json!({"status": 200});
        match (self.plan.paging, next) {
            (Paging::Token, Some(token)) => body["next_token"] = json!(token),
            (Paging::Token, None) => {
                if let Some(none) = self.dice.of(&[None, Some(Json::Null), Some(json!(""))]) {
                    body["next_token"] = none;
                }
            }
            (Paging::Link, Some(token)) => {
                let link = format!("<{}/items?{}&token={token}>; rel=\"next\"", self.url, page.query);
                reply["headers"] = json!({"Link": link.replace("?&", "?")});
            }
            _ => {}
        }
        reply["json"] = body;
        reply
    }

    /// There are no rows here: a list left out, null, no body, all mean that.
    fn no_rows(&mut self, page: &Page) -> Json {
        match self.dice.below(6) {
            0 => json!({"status": 200, "json": {}}),
            1 => json!({"status": 200, "json": {"data": null}}),
            2 => json!({"status": 200, "text": ""}),
            3 => json!({"status": 204}),
            4 => json!({"status": 200, "json": {"meta": {"took": 3}}}),
            _ => self.good(page),
        }
    }

    fn odd_reply(&mut self, oddity: Oddity, page: &Page) -> Json {
        let good = self.good(page);
        let text = good["json"].to_string();
        let with_text = |text: &str| {
            let mut reply = good.clone();
            reply.as_object_mut().unwrap().remove("json");
            reply["text"] = json!(text);
            reply
        };
        match oddity {
            Oddity::Errors => {
                let errors = json!([{"message": "Something went wrong"}]);
                let body = self.dice.of(&[
                    json!({"errors": errors}),
                    json!({"data": null, "errors": errors}),
                    json!({"error": "internal"}),
                ]);
                json!({"status": 200, "json": body})
            }
            Oddity::ErrorsBeside => {
                let keep = self.dice.below(page.rows.len() as u64) as usize;
                let mut reply = self.whole(page, &page.rows[..keep], page.next.as_deref());
                reply["json"]["errors"] = json!([{"message": "A part timed out"}]);
                reply
            }
            Oddity::NoBody => json!({"status": 200, "text": ""}),
            Oddity::NoContent => json!({"status": 204}),
            Oddity::Moved => json!({"status": 200, "json": {"result": {"items": good["json"]["data"]}}}),
            Oddity::Truncated => with_text(&text[..=self.dice.below(text.len() as u64 - 1) as usize]),
            Oddity::Trailing => with_text(&format!("{text}}}")),
            Oddity::Cut => {
                let mut reply = good.clone();
                reply["cut"] = json!(1 + self.dice.below(text.len() as u64 - 1));
                reply
            }
            Oddity::Html => json!({"status": 200, "text": "<html><body>Down for maintenance</body></html>"}),
            Oddity::ServerError => json!({"status": self.dice.of(&[500, 502, 503]), "json": {"message": "down"}}),
            Oddity::Limit => self.dice.of(&[
                json!({"status": 429, "json": {"message": "slow down"}}),
                json!({"status": 429, "headers": {"Retry-After": "0"}, "json": {}}),
                json!({"status": 403, "headers": {"X-RateLimit-Remaining": "0"}, "json": {}}),
                json!({"status": 403, "json": {"message": "You have exceeded a secondary rate limit."}}),
                json!({"status": 200, "json": {"errors": [{"message": "Budget exhausted",
                    "extensions": {"code": "COMPLEXITY_BUDGET_EXHAUSTED", "retry_in_seconds": 0}}]}}),
                json!({"status": 400, "json": {"errors": [{"message": "Rate limit exceeded",
                    "extensions": {"code": "RATELIMITED"}}]}}),
            ]),
            Oddity::NotFound => json!({"status": 404, "json": {"message": "not found"}}),
            Oddity::EmptyPage => {
                let mut place = page.token.split('_').map(str::to_owned);
                let token = match (place.next(), place.next()) {
                    (Some(updated), Some(version)) => self.token_of(&updated, version.parse().unwrap()),
                    _ if self.plan.newest_first => self.token_of("9999", 0),
                    _ => self.token_of("0", 0),
                };
                self.whole(page, &[], Some(&token))
            }
        }
    }
}

/// May a page with rows be answered so, and a reader know that it is not the end?
fn possible(oddity: Oddity, page: &Page, plan: &Plan) -> bool {
    if page.rows.is_empty() {
        return matches!(oddity, Oddity::ServerError | Oddity::Limit | Oddity::Cut | Oddity::Truncated);
    }
    match oddity {
        Oddity::NoBody | Oddity::NoContent => page.promised,
        // An ignored first page is the manifest's word; a number alone is no promise of a page.
        Oddity::NotFound => !page.counted && (!page.first || !plan.ignores_404),
        Oddity::EmptyPage => matches!(plan.paging, Paging::Token | Paging::Link),
        _ => true,
    }
}
