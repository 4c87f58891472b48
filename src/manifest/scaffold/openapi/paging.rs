//! Recognizes how a list is paged, by the names of parameters and the fields of the answer.
//!
//! Input: an operation and the envelope of its answer. Output: a [`PagingPlan`], with comments where the document
//! leaves something open. Called by `streams`.

use serde_json::{Map, Value as Json};

use super::super::plan::{DECIDE, PageSize, PagingPlan, Slot};
use super::document::{Description, Operation, Parameter};
use super::names::squeezed;
use super::records::{RecordList, type_name_of};
use super::schema::short;

const SIZE_NAMES: [&str; 14] = [
    "perpage",
    "pagesize",
    "limit",
    "maxresults",
    "pagelimit",
    "pagelen",
    "resultsperpage",
    "itemsperpage",
    "size",
    "count",
    "first",
    "top",
    "take",
    "maxresult",
];
const PAGE_NAMES: [&str; 6] = ["page", "pagenumber", "pageno", "pagenum", "currentpage", "pageindex"];
const OFFSET_NAMES: [&str; 7] = ["offset", "skip", "startat", "startindex", "start", "pageoffset", "from"];
const TOKEN_NAMES: [&str; 20] = [
    "cursor",
    "pagetoken",
    "after",
    "startingafter",
    "nextpagetoken",
    "nextcursor",
    "pagecursor",
    "pageafter",
    "nexttoken",
    "continuationtoken",
    "continuation",
    "startcursor",
    "paginationtoken",
    "paginationcursor",
    "next",
    "nextpage",
    "marker",
    "scrollid",
    "aftercursor",
    "bookmark",
];
/// Fields of an answer with a token.
const NEXT_NAMES: [&str; 17] = [
    "nextcursor",
    "nextpagetoken",
    "nexttoken",
    "nextpage",
    "next",
    "cursor",
    "after",
    "endcursor",
    "continuationtoken",
    "continuation",
    "nextmarker",
    "pagetoken",
    "nextpagecursor",
    "cursornext",
    "scrollid",
    "aftercursor",
    "bookmark",
];
/// Objects in an answer that hold them.
const HOLDERS: [&str; 11] = [
    "meta",
    "metadata",
    "paging",
    "pagination",
    "pageinfo",
    "links",
    "nextpage",
    "next",
    "page",
    "responsemetadata",
    "cursors",
];
/// Fields that announce another page.
const MORE_NAMES: [&str; 4] = ["hasmore", "hasnextpage", "hasnext", "more"];

/// A field of the answer that leads to the next page.
struct Next {
    path: Vec<String>,
    is_link: bool,
    is_number: bool,
}

/// How the list of an operation is paged, and comments on it.
pub(super) fn detect(
    document: &Description,
    operation: &Operation<'_>,
    list: &RecordList<'_>,
) -> (PagingPlan, Vec<String>) {
    let named = |names: &[&str]| {
        names.iter().find_map(|name| operation.query().find(|parameter| squeezed(parameter.name) == *name))
    };
    let mut notes = Vec::new();
    let size = named(&SIZE_NAMES).and_then(|parameter| page_size(parameter, &mut notes));
    let next = next_field(document, &list.envelope);
    let (page, offset, token) = (named(&PAGE_NAMES), named(&OFFSET_NAMES), named(&TOKEN_NAMES));
    let slot = |parameter: &Parameter<'_>| Slot::Query(parameter.name.to_owned());
    let by_token = |parameter: &Parameter<'_>, next: &Next| PagingPlan::Token {
        slot: slot(parameter),
        at: next.path.clone(),
        more: more_field(document, &list.envelope),
        size: size.clone(),
    };
    // A token that the answer gives is the surest way; a text named `offset` is a token too.
    let texts = token.or_else(|| offset.filter(|parameter| !parameter.is_number()));
    let numbered = offset.filter(|parameter| parameter.is_number());
    let plan = match (&next, texts, page) {
        (Some(next), Some(token), _) if !next.is_link && !next.is_number => by_token(token, next),
        (Some(next), _, Some(page)) if next.is_number => by_token(page, next),
        _ if has_link_header(document, operation) => PagingPlan::HeaderLink { size: size.clone() },
        (_, _, Some(page)) => {
            let first = page.schema["default"].as_u64().or(page.schema["minimum"].as_u64());
            if first.is_none() {
                notes.push(format!("{DECIDE}the document does not give the number of the first page; 1 is assumed."));
            }
            PagingPlan::Page { slot: slot(page), first: first.unwrap_or(1), size: size.clone() }
        }
        _ if numbered.is_some() => {
            let slot = Slot::Query(numbered.map(|parameter| parameter.name.to_owned()).unwrap_or_default());
            PagingPlan::Offset { slot, size: size.clone() }
        }
        (Some(next), ..) if next.is_link => PagingPlan::BodyLink { at: next.path.clone(), size: size.clone() },
        _ => {
            notes.extend(unknown(operation, texts.map(|parameter| parameter.name), next.as_ref()));
            return (PagingPlan::None, notes);
        }
    };
    (plan, notes)
}

/// A list with unknown paging: what the document does say about it.
fn unknown(operation: &Operation<'_>, token: Option<&str>, next: Option<&Next>) -> Option<String> {
    let sized = operation.query().find(|parameter| SIZE_NAMES.contains(&squeezed(parameter.name).as_str()));
    let note = match (token, next, sized) {
        (Some(token), ..) => {
            format!("`{token}` looks like a page token, and no field of the answer like the next one.")
        }
        (None, Some(next), _) => {
            let path = next.path.join(".");
            format!("`{path}` of the answer looks like the next page, and no parameter takes it.")
        }
        (None, None, Some(size)) => {
            format!("`{}` looks like a page size, and no parameter like a page.", size.name)
        }
        (None, None, None) => return None,
    };
    Some(format!("{DECIDE}{note} Only the first page is read."))
}

/// The page size of a parameter: its maximum, else its default.
fn page_size(parameter: &Parameter<'_>, notes: &mut Vec<String>) -> Option<PageSize> {
    let name = parameter.name.to_owned();
    let sized = |size: u64| Some(PageSize { slot: Some(Slot::Query(name.clone())), size });
    let (maximum, default) = (parameter.schema["maximum"].as_u64(), parameter.schema["default"].as_u64());
    let description = short(parameter.description);
    let quoted = description.map_or_else(String::new, |text| format!(" It says: {text}"));

    match (maximum.filter(|maximum| (1..=10_000).contains(maximum)), default.filter(|size| *size > 0)) {
        (Some(maximum), _) => sized(maximum),
        (None, Some(default)) => {
            let note = format!(
                "the document gives no maximum of `{name}`; {default} is its default, and a larger one means fewer \
                 requests.{quoted}"
            );
            notes.push(format!("{DECIDE}{note}"));
            sized(default)
        }
        (None, None) => {
            let note = format!(
                "the document gives neither maximum nor default of `{name}`; without a `page_size` the API's own \
                 applies.{quoted}"
            );
            notes.push(format!("{DECIDE}{note}"));
            None
        }
    }
}

/// Does the document promise a `Link` header?
fn has_link_header(document: &Description, operation: &Operation<'_>) -> bool {
    let headers = document.answer(operation)["headers"].as_object();
    let is_declared = headers.is_some_and(|headers| headers.keys().any(|name| name.eq_ignore_ascii_case("link")));
    is_declared || operation.description().to_ascii_lowercase().contains("link header")
}

/// The properties of merged members.
fn fields(members: &Map<String, Json>) -> impl Iterator<Item = (&String, &Json)> {
    members.get("properties").and_then(Json::as_object).into_iter().flatten()
}

/// The field with the next page, if the answer has one.
fn next_field(document: &Description, envelope: &Map<String, Json>) -> Option<Next> {
    let named = |members: &Map<String, Json>, name: &str| {
        fields(members)
            .find(|(field, _)| squeezed(field) == name)
            .map(|(field, schema)| (field.clone(), schema.clone()))
    };
    let leaf = |path: Vec<String>, schema: &Json| {
        let members = document.merged(schema);
        let kind = type_name_of(&members);
        let text = members.get("description").and_then(Json::as_str).unwrap_or_default().to_ascii_lowercase();
        let format = members.get("format").and_then(Json::as_str).unwrap_or_default();
        let says_link = ["url", "uri", "link", "href"]
            .iter()
            .any(|word| text.split(|c: char| !c.is_alphanumeric()).any(|w| w == *word));
        let is_link = matches!(format, "uri" | "url" | "uri-reference") || says_link;
        match kind {
            Some("integer" | "number") => Some(Next { path, is_link: false, is_number: true }),
            Some("string") | None => Some(Next { path, is_link, is_number: false }),
            _ => None,
        }
    };
    for name in NEXT_NAMES {
        let Some((field, schema)) = named(envelope, name) else { continue };
        let kind = document.merged(&schema);
        if type_name_of(&kind) == Some("object") || kind.contains_key("properties") {
            continue;
        }
        // A number may also be a total, but not under these names.
        if let Some(next) = leaf(vec![field], &schema) {
            return Some(next);
        }
    }
    for (holder, schema) in fields(envelope).filter(|(name, _)| HOLDERS.contains(&squeezed(name).as_str())) {
        let inner = document.merged(schema);
        if let Some(next) = in_holder(document, holder, &inner, &leaf, &named) {
            return Some(next);
        }
    }
    None
}

type Named<'f> = &'f dyn Fn(&Map<String, Json>, &str) -> Option<(String, Json)>;
type Leaf<'f> = &'f dyn Fn(Vec<String>, &Json) -> Option<Next>;

/// The field with the next page, in an object beside the records: `meta.next_cursor`, `next_page.offset`,
/// `links.next.href`.
fn in_holder(
    document: &Description,
    holder: &str,
    inner: &Map<String, Json>,
    leaf: Leaf<'_>,
    named: Named<'_>,
) -> Option<Next> {
    let is_next = squeezed(holder).contains("next");
    let own: &[&str] =
        if is_next { &["offset", "cursor", "token", "after", "pagetoken", "href", "uri", "url"] } else { &[] };
    for name in own.iter().chain(&NEXT_NAMES) {
        let Some((field, schema)) = named(inner, name) else { continue };
        let members = document.merged(&schema);
        let path = vec![holder.to_owned(), field.clone()];
        if members.contains_key("properties") {
            let deeper = ["href", "url", "uri", "after", "cursor"].iter().find_map(|name| named(&members, name));
            let Some((deep, schema)) = deeper else { continue };
            return leaf([path, vec![deep.clone()]].concat(), &schema).map(|next| as_link(next, &deep));
        }
        return leaf(path, &schema).map(|next| as_link(next, &field)).map(|next| match squeezed(holder).as_str() {
            "links" => Next { is_link: true, ..next },
            _ => next,
        });
    }
    None
}

/// A field of such a name is a link, whatever the document says.
fn as_link(next: Next, field: &str) -> Next {
    let is_link = next.is_link || matches!(squeezed(field).as_str(), "href" | "url" | "uri");
    Next { is_link, ..next }
}

/// The flag that announces another page.
fn more_field(document: &Description, envelope: &Map<String, Json>) -> Option<Vec<String>> {
    let is_flag = |name: &str, schema: &Json| {
        MORE_NAMES.contains(&squeezed(name).as_str()) && type_name_of(&document.merged(schema)) == Some("boolean")
    };
    if let Some((name, _)) = fields(envelope).find(|(name, schema)| is_flag(name, schema)) {
        return Some(vec![name.clone()]);
    }
    fields(envelope).filter(|(name, _)| HOLDERS.contains(&squeezed(name).as_str())).find_map(|(holder, schema)| {
        let inner = document.merged(schema);
        let (name, _) = fields(&inner).find(|(name, schema)| is_flag(name, schema))?;
        Some(vec![holder.clone(), name.clone()])
    })
}
