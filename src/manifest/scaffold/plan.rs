//! What a new source looks like, before it is text.
//!
//! Input: nothing; the planners `rest`, `graphql` and `openapi` fill it in. Output: a [`SourcePlan`] for `render`.

use serde_json::{Map, Value as Json, json};

use super::config::ConfigKey;

/// Marks what a person must look at.
pub(crate) const DECIDE: &str = "decide: ";

/// A source.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourcePlan {
    /// Its name.
    pub(crate) name: String,
    /// What people call the vendor.
    pub(crate) title: String,
    /// Comments at the start of the manifest.
    pub(crate) head: Vec<String>,
    /// The base of every request, as a template.
    pub(crate) url_base: String,
    /// Comments on it.
    pub(crate) url_notes: Vec<String>,
    /// How requests are authenticated.
    pub(crate) auth: AuthPlan,
    /// Comments on it.
    pub(crate) auth_notes: Vec<String>,
    /// Headers and parameters of every request.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) parameters: Vec<(String, String)>,
    /// The keys of the config.
    pub(crate) keys: Vec<ConfigKey>,
    /// A comment before the list of streams.
    pub(crate) stream_notes: Vec<String>,
    /// The streams; parents before their children.
    pub(crate) streams: Vec<StreamOutline>,
}

/// How requests are authenticated.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum AuthPlan {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer`.
    Bearer,
    /// A key in a header or a parameter.
    Key {
        /// Is it a header, or else a parameter?
        in_header: bool,
        /// Its name.
        name: String,
    },
    /// User name and password.
    Basic,
    /// An access token from a refresh token, or from client id and secret alone.
    OAuth {
        /// The address that gives access tokens, as a template.
        token_url: String,
        /// Is there a refresh token?
        refreshes: bool,
    },
}

/// Where a value goes in a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Slot {
    /// A parameter of the query.
    Query(String),
    /// A path in the JSON body.
    Body(Vec<String>),
}

/// The page size, and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PageSize {
    pub(crate) slot: Option<Slot>,
    pub(crate) size: u64,
}

/// How a list is paged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum PagingPlan {
    /// One page.
    #[default]
    None,
    /// Page numbers.
    Page { slot: Slot, first: u64, size: Option<PageSize> },
    /// The number of records so far.
    Offset { slot: Slot, size: Option<PageSize> },
    /// A token in the answer, at a path; `more` is the path of a flag that announces another page.
    Token { slot: Slot, at: Vec<String>, more: Option<Vec<String>>, size: Option<PageSize> },
    /// A link in the answer, at a path.
    BodyLink { at: Vec<String>, size: Option<PageSize> },
    /// The `Link` header.
    HeaderLink { size: Option<PageSize> },
}

/// How a cursor is sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CursorPlan {
    /// The field of a record.
    pub(crate) field: String,
    /// Where the start goes; without it the client filters.
    pub(crate) since: Option<Slot>,
    /// How requests write times.
    pub(crate) format: &'static str,
    /// How records write them.
    pub(crate) record_formats: Vec<&'static str>,
}

/// The formats of a time in ISO 8601, with or without fractions and offset.
pub(crate) const ISO_FORMATS: [&str; 4] =
    ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"];

impl CursorPlan {
    /// A cursor over times in ISO 8601.
    pub(crate) fn iso(field: &str, since: Option<Slot>) -> CursorPlan {
        CursorPlan { field: field.to_owned(), since, format: ISO_FORMATS[0], record_formats: ISO_FORMATS.to_vec() }
    }
}

/// The parent of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParentPlan {
    /// The name of the parent stream.
    pub(crate) stream: String,
    /// The field of its records that the path needs.
    pub(crate) key: String,
    /// The name of the value in templates and in the records of the child.
    pub(crate) field: String,
    /// Is the value a number?
    pub(crate) is_number: bool,
    /// Does the child's record lack such a field?
    pub(crate) adds_field: bool,
}

/// A stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamOutline {
    pub(crate) name: String,
    /// Is it read, or is it only a parent?
    pub(crate) is_listed: bool,
    pub(crate) notes: Vec<String>,
    /// A template, without a slash in front.
    pub(crate) path: String,
    /// The JSON body of a POST.
    pub(crate) body: Option<Json>,
    /// Parameters with values, as templates, and comments on them.
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) parameter_notes: Vec<String>,
    /// Where the records are.
    pub(crate) records: Vec<String>,
    pub(crate) record_notes: Vec<String>,
    pub(crate) key: Option<String>,
    pub(crate) key_notes: Vec<String>,
    pub(crate) paging: PagingPlan,
    pub(crate) paging_notes: Vec<String>,
    pub(crate) cursor: Option<CursorPlan>,
    pub(crate) cursor_notes: Vec<String>,
    pub(crate) parent: Option<ParentPlan>,
    /// The properties of the schema.
    pub(crate) properties: Map<String, Json>,
    pub(crate) schema_notes: Vec<String>,
}

impl StreamOutline {
    /// The properties of a stream of which only key and cursor are known.
    pub(crate) fn known_properties(&self) -> Map<String, Json> {
        let mut out = Map::new();
        if let Some(key) = &self.key {
            // Both types: the API may use either.
            out.insert(key.clone(), json!({"type": ["string", "integer"]}));
        }
        if let Some(cursor) = &self.cursor {
            out.insert(cursor.field.clone(), json!({"type": ["string", "null"], "format": "date-time"}));
        }
        out
    }
}

/// The template that looks a path up in the answer, whatever of it is missing.
pub(crate) fn lookup(path: &[String]) -> String {
    let mut out = String::from("response");
    for (depth, key) in path.iter().enumerate() {
        let key = key.replace('\\', "\\\\").replace('\'', "\\'");
        out = if depth == 0 { format!("{out}.get('{key}')") } else { format!("({out} or {{}}).get('{key}')") };
    }
    out
}
