//! Plans the streams of the chosen paths, and of the lists that they need as parents.
//!
//! Input: a document and paths. Output: the streams of a [`SourcePlan`], parents before their children. Called by
//! [`super`].

use serde_json::{Map, Value as Json, json};

use super::super::config::ConfigKey;
use super::super::plan::{DECIDE, PagingPlan, ParentPlan, Slot, SourcePlan, StreamOutline};
use super::document::{Description, Operation, Parameter, type_name};
use super::records::{self, RecordList};
use super::schema::{Converter, short};
use super::{cursor, names, paging, selection};

/// Names that a definition of another kind has.
const TAKEN: [&str; 1] = ["requester"];

/// A planned stream: its path, its name, and the templates of the variables in its path.
#[derive(Clone)]
struct Planned {
    path: String,
    name: String,
    values: Vec<String>,
}

/// Plans streams one by one.
pub(super) struct Planner<'d> {
    document: &'d Description,
    planned: Vec<Planned>,
    pub(super) plan: SourcePlan,
}

impl<'d> Planner<'d> {
    pub(super) fn new(document: &'d Description, plan: SourcePlan) -> Self {
        Planner { document, planned: Vec::new(), plan }
    }

    /// Plans the list of an operation; `is_listed` tells whether it is read, or only a parent.
    pub(super) fn add(&mut self, operation: &Operation<'d>, is_listed: bool) {
        if let Some(known) = self.planned.iter().find(|known| known.path == operation.path) {
            let stream = self.plan.streams.iter_mut().find(|stream| stream.name == known.name);
            if let Some(stream) = stream {
                stream.is_listed |= is_listed;
            }
            return;
        }
        let list = records::find(self.document, operation);
        let (values, parent) = self.variables(operation);
        let name = self.name(operation.path);
        let mut stream = StreamOutline {
            name: name.clone(),
            is_listed,
            path: path_template(operation.path, &values),
            ..StreamOutline::default()
        };
        stream.notes = notes(operation, is_listed);
        match &list {
            Some(list) => self.fill(operation, list, &mut stream),
            None => self.fill_whole(operation, &mut stream),
        }
        if let Some((mut parent, parameter)) = parent {
            let has = |field: &String| names::squeezed(field) == names::squeezed(&parent.field);
            parent.adds_field = !stream.properties.keys().any(has);
            if parent.adds_field {
                let kind = if parent.is_number { "integer" } else { "string" };
                let what =
                    format!("The `{}` of the record in `{}` that this one belongs to.", parent.key, parent.stream);
                stream.properties.insert(parent.field.clone(), json!({"type": [kind, "null"], "description": what}));
                if let Some(key) = &stream.key {
                    let note = format!(
                        "can several of `{}` have the same record? Then the key is [{}, {key}].",
                        parent.stream, parent.field
                    );
                    stream.key_notes.push(format!("{DECIDE}{note}"));
                }
            }
            stream.notes.push(format!("Read for each record of `{}`, by `{{{parameter}}}`.", parent.stream));
            stream.parent = Some(parent);
        }
        self.parameters(operation, &mut stream);
        self.planned.push(Planned { path: operation.path.to_owned(), name, values });
        self.plan.streams.push(stream);
    }

    /// Everything that the schema of the records tells.
    fn fill(&self, operation: &Operation<'d>, list: &RecordList<'d>, stream: &mut StreamOutline) {
        stream.records.clone_from(&list.path);
        if !list.others.is_empty() {
            let note = format!("the answer has other lists too: {}.", list.others.join(", "));
            stream.record_notes.push(format!("{DECIDE}{note}"));
        }
        self.record(list.items, stream);
        (stream.paging, stream.paging_notes) = paging::detect(self.document, operation, list);
        let wanted = selection::fields(self.document, operation, &stream.properties);
        if let Some(wanted) = wanted {
            stream.parameters.push((wanted.parameter, wanted.value));
            stream.parameter_notes.push(wanted.note);
            wanted.properties.into_iter().for_each(|(name, schema)| drop(stream.properties.insert(name, schema)));
        }
        (stream.cursor, stream.cursor_notes) = cursor::detect(operation, &stream.properties);
    }

    /// An answer without a list of records: one record.
    fn fill_whole(&self, operation: &Operation<'d>, stream: &mut StreamOutline) {
        let note = "no list of records was recognized in the answer; the answer itself is taken for one record.";
        stream.record_notes.push(format!("{DECIDE}{note}"));
        match self.document.answer_schema(operation) {
            Some(schema) => self.record(schema, stream),
            None => stream.key_notes.push(format!("{DECIDE}which field identifies a record?")),
        }
    }

    /// Schema and key of a record.
    fn record(&self, items: &Json, stream: &mut StreamOutline) {
        let mut converter = Converter::new(self.document);
        stream.properties = converter.record(items);
        if converter.is_cut {
            let note = "An object without properties is deep, or inside itself, in the document.";
            stream.schema_notes.push(note.to_owned());
        }
        let Some((key, is_required)) = records::key(self.document, items, &stream.name) else {
            let note = "no field was recognized that identifies a record: `primary_key: [FIELD]`. Without it, targets \
                        append each version of a record.";
            stream.key_notes.push(format!("{DECIDE}{note}"));
            return;
        };
        if !is_required {
            let note = format!("the document does not require `{key}`; does each record have it?");
            stream.key_notes.push(format!("{DECIDE}{note}"));
        }
        if let Some(schema) = stream.properties.get_mut(&key) {
            never_null(schema);
        }
        stream.key = Some(key);
    }

    /// A name that no other stream has: as many words of the path as that takes.
    fn name(&self, path: &str) -> String {
        let is_free =
            |name: &String| !TAKEN.contains(&&**name) && !self.plan.streams.iter().any(|stream| stream.name == *name);
        let words = path.split('/').filter(|step| !step.is_empty()).count();
        let found = (1..=words.max(1)).map(|length| names::of_path(path, length)).find(is_free);
        found.unwrap_or_else(|| {
            let base = names::of_path(path, words);
            let mut numbered = (2..).map(|number| format!("{base}_{number}"));
            numbered.find(is_free).unwrap_or(base)
        })
    }

    /// The templates of the variables in a path, and the parent that the last of them comes from.
    fn variables(&mut self, operation: &Operation<'d>) -> (Vec<String>, Option<(ParentPlan, String)>) {
        let path = operation.path;
        let mut starts: Vec<(usize, &str)> = Vec::new();
        for (at, _) in path.match_indices('{') {
            let name = path[at + 1..].split('}').next().unwrap_or_default();
            starts.push((at, name));
        }
        let mut values = Vec::new();
        let mut found = None;
        for (number, (at, name)) in starts.iter().enumerate().rev() {
            let Some((parent, inherited)) = self.parent(&path[..*at], name, path) else { continue };
            values = inherited;
            values.truncate(number);
            values.push(format!("stream_partition['{}']", parent.field));
            found = Some((parent, (*name).to_owned()));
            break;
        }
        for (_, name) in &starts[values.len()..] {
            let parameter = operation.parameters.iter().find(|p| p.place == "path" && p.name == *name);
            values.push(format!("config['{}']", self.config_key(name, parameter)));
        }
        (values, found)
    }

    /// The stream that lists the values of a variable: the list at the path before it.
    fn parent(&mut self, before: &str, variable: &str, path: &str) -> Option<(ParentPlan, Vec<String>)> {
        let base = before.trim_end_matches('/');
        let candidates = [base.to_owned(), format!("{base}.json"), format!("{base}/search")];
        let mut found: Vec<Operation<'d>> = candidates
            .iter()
            .filter(|candidate| **candidate != path)
            .filter_map(|candidate| self.document.operation(candidate))
            .filter(|operation| records::find(self.document, operation).is_some())
            .collect();
        found.sort_by_key(Operation::is_deprecated);
        let operation = found.into_iter().next()?;
        let list = records::find(self.document, &operation)?;
        let merged = self.document.merged(list.items);
        let properties = merged.get("properties")?.as_object()?;
        let key = parent_key(properties, variable).or_else(|| {
            records::key(self.document, list.items, &names::of_path(operation.path, 1)).map(|(key, _)| key)
        })?;
        let is_number = type_name(self.document.resolved(&properties[&key])) == Some("integer");
        self.add(&operation, false);
        let known = self.planned.iter().find(|known| known.path == operation.path)?.clone();
        let below = |value: &String| value.replace("stream_partition", "stream_partition['parent_slice']");
        let field = names::snake(variable);
        let plan = ParentPlan { stream: known.name, key, field, is_number, adds_field: false };
        Some((plan, known.values.iter().map(below).collect()))
    }

    /// A config key for a value that the document leaves open.
    fn config_key(&mut self, name: &str, parameter: Option<&Parameter<'_>>) -> String {
        let key = names::snake(name);
        // These are keys of the address and of authenticators.
        let reserved = ["url", "token", "api_key", "username", "password", "client_id", "client_secret", "start_date"];
        let key = if reserved.contains(&&*key) { format!("{key}_parameter") } else { key };
        if !self.plan.keys.iter().any(|known| known.name == key) {
            let what = parameter.and_then(|parameter| short(parameter.description));
            let what = what.unwrap_or_else(|| format!("The `{name}` of the requests."));
            let example = parameter.and_then(|parameter| parameter.schema["enum"][0].as_str());
            self.plan.keys.push(ConfigKey::required(&key, name, &what).like(example));
        }
        key
    }

    /// The parameters that each request needs.
    fn parameters(&mut self, operation: &Operation<'d>, stream: &mut StreamOutline) {
        let used = used_names(stream);
        let open =
            operation.query().filter(|parameter| parameter.is_required && !used.contains(&parameter.name.to_owned()));
        for parameter in open.collect::<Vec<_>>() {
            let default = &parameter.schema["default"];
            let value = match default {
                Json::Null => format!("{{{{ config['{}'] }}}}", self.config_key(parameter.name, Some(parameter))),
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            if default.is_null() {
                stream.parameter_notes.push(format!("{DECIDE}the API requires `{}`.", parameter.name));
            }
            stream.parameters.push((parameter.name.to_owned(), value));
        }
        if stream.is_listed && stream.parent.is_none() {
            stream.parameter_notes.extend(self.filters(operation));
        }
    }

    /// Optional parameters that name another list: some APIs require one of them all the same.
    fn filters(&self, operation: &Operation<'d>) -> Option<String> {
        let lists: Vec<&str> = self.document.operations().iter().map(|operation| operation.path).collect();
        let is_list = |name: &str| {
            let name = names::snake(name);
            lists.iter().any(|path| {
                !names::is_single(path) && !path.contains('{') && names::singular(&names::of_path(path, 1)) == name
            })
        };
        let filters: Vec<String> = operation
            .query()
            .filter(|parameter| !parameter.is_required && type_name(parameter.schema) == Some("string"))
            .filter(|parameter| is_list(parameter.name))
            .map(|parameter| format!("`{}`", parameter.name))
            .collect();
        let (verb, one) = if filters.len() == 1 { ("filters", "it") } else { ("filter", "one") };
        (!filters.is_empty()).then(|| {
            format!(
                "{DECIDE}{} {verb} by another list. Does the API require {one}? Then a partition router can send it.",
                filters.join(", ")
            )
        })
    }
}

/// The parameters that paginator, cursor or requester already send.
fn used_names(stream: &StreamOutline) -> Vec<String> {
    let mut out: Vec<String> = stream.parameters.iter().map(|(name, _)| name.clone()).collect();
    let mut add = |slot: Option<&Slot>| {
        if let Some(Slot::Query(name)) = slot {
            out.push(name.clone());
        }
    };
    let size = match &stream.paging {
        PagingPlan::None => None,
        PagingPlan::Page { slot, size, .. }
        | PagingPlan::Offset { slot, size }
        | PagingPlan::Token { slot, size, .. } => {
            add(Some(slot));
            size.as_ref()
        }
        PagingPlan::BodyLink { size, .. } | PagingPlan::HeaderLink { size } => size.as_ref(),
    };
    add(size.and_then(|size| size.slot.as_ref()));
    add(stream.cursor.as_ref().and_then(|cursor| cursor.since.as_ref()));
    out
}

/// What a reader wants to know first.
fn notes(operation: &Operation<'_>, is_listed: bool) -> Vec<String> {
    let summary = operation.written["summary"].as_str().and_then(short).or_else(|| short(operation.description()));
    let end = summary.map_or_else(String::new, |summary| format!(": {summary}"));
    let mut out = vec![format!("GET {}{end}", operation.path)];
    if operation.is_deprecated() {
        out.push(format!("{DECIDE}the document calls this path deprecated."));
    }
    if !is_listed {
        out.push("It is only a parent; its reference under `streams` would read it too.".to_owned());
    }
    out
}

/// The template of a path.
fn path_template(path: &str, values: &[String]) -> String {
    let mut out = String::new();
    let mut rest = path.trim_start_matches('/');
    let mut values = values.iter();
    while let Some((before, after)) = rest.split_once('{') {
        out += before;
        if let Some(value) = values.next() {
            out += &format!("{{{{ {value} }}}}");
        }
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// The field of a parent that a variable names itself: `issue_number` is its `number`.
fn parent_key(properties: &Map<String, Json>, variable: &str) -> Option<String> {
    let snake = names::snake(variable);
    let last = snake.rsplit('_').next().unwrap_or_default();
    let is_short = ["number", "slug", "gid", "uuid", "name", "login", "code"].contains(&last);
    let find = |wanted: &str| properties.keys().find(|name| names::squeezed(name) == names::squeezed(wanted)).cloned();
    find(&snake).or_else(|| if is_short { find(last) } else { None })
}

/// A key is never null.
fn never_null(schema: &mut Json) {
    if let Some(Json::Array(types)) = schema.get("type") {
        let types: Vec<Json> = types.iter().filter(|name| **name != "null").cloned().collect();
        schema["type"] = if types.len() == 1 { types[0].clone() } else { Json::Array(types) };
    }
    if let Some(Json::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}
