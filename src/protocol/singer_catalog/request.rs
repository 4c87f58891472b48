//! The user's selection in a Singer catalog.
//!
//! Input: a catalog file, and the source's description of its streams. Output: the selected streams, each with its
//! fields, key and schema. Called by `run`. Every request in the catalog is honoured, or refused by name before
//! anything is requested. Automatic fields are always included, because a target needs the keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value as Json, json};

use super::{Chosen, SchemaOverrides, Selection};
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::base::json::schema::MAX_DEPTH;

/// The source's description of a stream, as far as a catalog can override it.
#[derive(Debug, Clone)]
pub struct KnownStream {
    /// The name of the stream.
    pub name: String,
    /// The key fields of the stream.
    pub keys: Vec<String>,
    /// The cursor field of the stream.
    pub cursor: Option<String>,
}

/// Reads a catalog file. `known` are the source's streams.
pub fn read(path: &Path, known: &[KnownStream]) -> Result<Vec<Chosen>> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|e| Fault::config(format!("cannot read the catalog {shown}: {e}")))?;
    let json: Json = serde_json::from_str(&text).map_err(|e| {
        Fault::config(format!("the catalog {shown} is not valid JSON at line {}, column {}", e.line(), e.column()))
    })?;
    let streams = json["streams"].as_array().ok_or_else(|| {
        Fault::config(format!("the catalog {shown} has no `streams` list")).hint("create one with `dripfeed discover`")
    })?;
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut seen = BTreeSet::new();
    for stream in streams {
        let name = stream["tap_stream_id"].as_str().or(stream["stream"].as_str());
        let name = match (name, stream["stream"].is_object()) {
            (Some(name), _) => name,
            (None, true) => {
                return Err(Fault::config(format!("the catalog {shown} is an Airbyte catalog"))
                    .hint("a Singer run takes a Singer catalog"));
            }
            (None, false) => {
                return Err(Fault::config(format!("a stream of the catalog {shown} has no `tap_stream_id`")));
            }
        };
        let Some(known) = known.iter().find(|known| known.name == name) else {
            let fault = Fault::config(format!(
                "the catalog {shown} names the stream `{name}`, which this source does not have"
            ));
            return Err(match did_you_mean(name, known.iter().map(|known| known.name.as_str())) {
                Some(near) => fault.hint(format!(
                    "did you mean `{near}`? If the catalog belongs to another source, create a \
                        new one with `dripfeed discover`"
                )),
                None => fault.hint("create a catalog of this source with `dripfeed discover`"),
            });
        };
        if !seen.insert(name.to_owned()) {
            return Err(Fault::config(format!("the catalog {shown} names the stream `{name}` twice")));
        }
        let choice = StreamRequest { known, stream }.choose();
        chosen.extend(choice.map_err(|f| Fault { message: format!("the catalog {shown}: {}", f.message), ..f })?);
    }
    Ok(chosen)
}

/// The request for a field, in the catalog's metadata or, in the older form, in its schema.
#[derive(Debug, Default)]
struct FieldRequest {
    selected: Option<bool>,
    by_default: Option<bool>,
    inclusion: Option<String>,
}

impl FieldRequest {
    fn wanted(&self) -> Option<bool> {
        self.selected.or(self.by_default)
    }

    fn is(&self, inclusion: &str) -> bool {
        self.inclusion.as_deref() == Some(inclusion)
    }
}

/// A stream's entry in a catalog, with the source's description.
struct StreamRequest<'c> {
    known: &'c KnownStream,
    stream: &'c Json,
}

impl StreamRequest<'_> {
    /// The selection of the stream; `None` if it is not selected.
    fn choose(&self) -> Result<Option<Chosen>> {
        let mut fields = self.fields()?;
        let root = fields.remove(&Vec::<String>::new()).unwrap_or_default();
        let selected = match root.selected {
            Some(selected) => Some(selected),
            None => {
                let above = self.flag(&self.stream["selected"], "`selected`")?;
                let older = || self.flag(&self.stream["schema"]["selected"], "`schema.selected`");
                above.map_or_else(older, |above| Ok(Some(above)))?.or(root.by_default)
            }
        };
        if root.is("unsupported") || !selected.unwrap_or(true) && !root.is("automatic") {
            return Ok(None);
        }
        let keys = self.keys()?;
        let full_table = self.is_full_table()?;
        if !full_table {
            self.check_replication_key()?;
        }
        let automatic: Vec<&String> =
            keys.as_ref().unwrap_or(&self.known.keys).iter().chain(&self.known.cursor).collect();
        let dropped = dropped(&fields, &automatic);
        Ok(Some(Chosen {
            stream: self.known.name.clone(),
            fields: Selection { dropped, overrides: SchemaOverrides::NONE },
            named: None,
            full_table,
            full_refresh: false,
            keys,
            schema: self.stream.get("schema").filter(|schema| schema.is_object()).cloned(),
        }))
    }

    /// The requests for each field, by path; the empty path is the stream itself.
    fn fields(&self) -> Result<BTreeMap<Vec<String>, FieldRequest>> {
        let mut fields: BTreeMap<Vec<String>, FieldRequest> = BTreeMap::new();
        let metadata = &self.stream["metadata"];
        if !metadata.is_array() && !metadata.is_null() {
            return Err(self.fault("`metadata`", "is not a list"));
        }
        for entry in metadata.as_array().into_iter().flatten() {
            let path = entry["breadcrumb"].as_array().into_iter().flatten().filter_map(Json::as_str);
            // `["properties", "a", "properties", "b"]` is a, b; `items` enters lists.
            let path = path.enumerate().filter(|(i, p)| i % 2 == 1 || *p != "properties").map(|(_, p)| p.to_owned());
            let path: Vec<String> = path.filter(|p| p != "items").collect();
            self.add(fields.entry(path.clone()).or_default(), &entry["metadata"], &path)?;
        }
        self.add_older(&self.stream["schema"], &mut Vec::new(), &mut fields)?;
        Ok(fields)
    }

    /// Adds the requests of an older catalog, from the schema of each property.
    fn add_older(
        &self,
        schema: &Json,
        path: &mut Vec<String>,
        fields: &mut BTreeMap<Vec<String>, FieldRequest>,
    ) -> Result<()> {
        if path.len() > MAX_DEPTH {
            return Ok(());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            path.push(name.clone());
            if ["selected", "selected-by-default", "inclusion"].iter().any(|word| !field[*word].is_null()) {
                self.add(fields.entry(path.clone()).or_default(), field, path)?;
            }
            self.add_older(if field["items"].is_object() { &field["items"] } else { field }, path, fields)?;
            path.pop();
        }
        Ok(())
    }

    /// Adds the requests of one place; earlier ones take precedence.
    fn add(&self, field: &mut FieldRequest, entry: &Json, path: &[String]) -> Result<()> {
        let of = |word: &str| match path {
            [] => format!("`{word}`"),
            path => format!("`{word}` of the field `{}`", path.join(".")),
        };
        let selected = self.flag(&entry["selected"], &of("selected"))?;
        let by_default = self.flag(&entry["selected-by-default"], &of("selected-by-default"))?;
        field.selected = field.selected.or(selected);
        field.by_default = field.by_default.or(by_default);
        field.inclusion = field.inclusion.take().or_else(|| entry["inclusion"].as_str().map(str::to_owned));
        Ok(())
    }

    /// A boolean, as JSON or text.
    fn flag(&self, value: &Json, place: &str) -> Result<Option<bool>> {
        match value {
            Json::Null => Ok(None),
            Json::Bool(flag) => Ok(Some(*flag)),
            Json::String(text) if text.trim().eq_ignore_ascii_case("true") => Ok(Some(true)),
            Json::String(text) if text.trim().eq_ignore_ascii_case("false") => Ok(Some(false)),
            other => Err(self.fault(place, &format!("is {other}, which is neither true nor false"))),
        }
    }

    /// The key fields, if the catalog overrides those of the source.
    fn keys(&self) -> Result<Option<Vec<String>>> {
        // Some tools leave the older list empty.
        let older = &self.stream["key_properties"];
        let older = if older.as_array().is_some_and(Vec::is_empty) { &Json::Null } else { older };
        let root = self.root();
        let places = [
            ("table-key-properties", &root["table-key-properties"]),
            ("view-key-properties", &root["view-key-properties"]),
            ("key_properties", older),
        ];
        let Some((place, keys)) = self.changed(&places, &json!(self.known.keys))? else { return Ok(None) };
        let names: Option<Vec<String>> = match keys {
            Json::String(name) => Some(vec![name.clone()]),
            Json::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let names = names.ok_or_else(|| self.fault(&format!("`{place}`"), "is not a list of field names"))?;
        Ok(Some(names).filter(|names| *names != self.known.keys))
    }

    /// Is the whole stream read?
    fn is_full_table(&self) -> Result<bool> {
        let root = self.root();
        let places = [
            ("replication-method", &root["replication-method"]),
            ("forced-replication-method", &root["forced-replication-method"]),
            ("replication_method", &self.stream["replication_method"]),
        ];
        let own = if self.known.cursor.is_some() { "INCREMENTAL" } else { "FULL_TABLE" };
        let Some((place, method)) = self.changed(&places, &json!(own))? else { return Ok(own == "FULL_TABLE") };
        match method.as_str().map(str::to_ascii_uppercase).as_deref() {
            Some("FULL_TABLE") => Ok(true),
            Some("INCREMENTAL") if self.known.cursor.is_some() => Ok(false),
            Some("INCREMENTAL") => {
                let fault = self.fault(&format!("`{place}`"), "is INCREMENTAL, but the stream has no replication key");
                Err(fault.hint("every run reads it completely: use FULL_TABLE"))
            }
            _ => {
                let fault =
                    self.fault(&format!("`{place}`"), &format!("is {method}, which this source does not support"));
                Err(fault.hint("it can be INCREMENTAL where the stream has a replication key, or FULL_TABLE"))
            }
        }
    }

    /// Refuses a replication key other than the stream's: requests and bookmarks depend on that field.
    fn check_replication_key(&self) -> Result<()> {
        let root = self.root();
        let places =
            [("replication-key", &root["replication-key"]), ("replication_key", &self.stream["replication_key"])];
        let Some((place, key)) = self.changed(&places, &json!(self.known.cursor))? else { return Ok(()) };
        if key.as_array().is_some_and(|keys| *keys == [json!(self.known.cursor)]) {
            return Ok(());
        }
        let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        Err(match &self.known.cursor {
            Some(cursor) => {
                let what = format!("is `{key}`, but the source requests changes only by `{cursor}`");
                self.fault(&format!("`{place}`"), &what)
                    .hint(format!("use `{cursor}`, or read the whole stream: `replication-method: FULL_TABLE`"))
            }
            None => self
                .fault(&format!("`{place}`"), &format!("is `{key}`, but the stream has no replication key"))
                .hint("every run reads it completely: use `replication-method: FULL_TABLE`"),
        })
    }

    /// The metadata of the stream itself.
    fn root(&self) -> &Json {
        let entries = self.stream["metadata"].as_array();
        let of_stream = |entry: &&Json| entry["breadcrumb"].as_array().is_none_or(Vec::is_empty);
        entries.into_iter().flatten().find(of_stream).map_or(&Json::Null, |entry| &entry["metadata"])
    }

    /// Of the places where a catalog can state a value, the one that differs from the source; two contradicting ones
    /// are refused.
    fn changed<'p>(&self, places: &[(&'p str, &'p Json)], own: &Json) -> Result<Option<(&'p str, &'p Json)>> {
        let says = |value: &Json| !value.is_null() && value.as_str() != Some("") && value != own;
        let mut changed = places.iter().filter(|(_, value)| says(value));
        let Some((place, value)) = changed.next() else { return Ok(None) };
        match changed.find(|(_, other)| other != value) {
            Some((other_place, other)) => {
                let what = format!("is {value}, but its `{other_place}` is {other}");
                Err(self.fault(&format!("`{place}`"), &what).hint("set only one of them"))
            }
            None => Ok(Some((*place, *value))),
        }
    }

    fn fault(&self, place: &str, what: &str) -> Fault {
        Fault::config(format!("{place} of the stream `{}` {what}", self.known.name))
    }
}

/// The deselected fields; `automatic` are keys and cursor.
fn dropped(fields: &BTreeMap<Vec<String>, FieldRequest>, automatic: &[&String]) -> BTreeSet<Vec<String>> {
    let is_automatic = |path: &[String], field: &FieldRequest| {
        field.is("automatic") || matches!(path, [name] if automatic.contains(&name))
    };
    let wanted: Vec<&Vec<String>> = fields
        .iter()
        .filter(|(path, field)| field.selected == Some(true) || is_automatic(path, field))
        .map(|(path, _)| path)
        .collect();
    let is_dropped = |path: &Vec<String>, field: &FieldRequest| {
        let unwanted = field.is("unsupported") || field.wanted() == Some(false);
        // A selected child needs its parents.
        let has_wanted_child = wanted.iter().any(|w| w.len() > path.len() && w.starts_with(path));
        unwanted && !is_automatic(path, field) && !has_wanted_child
    };
    fields.iter().filter(|(path, field)| is_dropped(path, field)).map(|(path, _)| path.clone()).collect()
}
