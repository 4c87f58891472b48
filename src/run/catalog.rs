//! The selection of streams, and each stream's settings from the user's catalog.
//!
//! Input: the options, the catalog and the source's plan. Output: the selected streams; then for each its key and the
//! schemas of its fields, or a fault that explains what is impossible. Called by `read` before the first request.

use std::sync::Arc;

use serde_json::Value as Json;

use super::load::LoadedSource;
use super::log::Level;
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::base::json::schema::Reader;
use crate::drift::monitor::DriftMonitor;
use crate::engine::build::{SourcePlan, StreamPlan};
use crate::protocol::Protocol;
use crate::protocol::configured_catalog::{self, ConfiguredStream};
use crate::protocol::singer_catalog::{self, Chosen, KnownStream, SchemaOverrides, Selection};
use crate::protocol::table_names::TableNames;
use crate::run::context::Context;

/// The selected streams with their fields, and the names of requested streams that do not exist.
pub(super) fn chosen(context: &Context, loaded: &LoadedSource) -> Result<(Vec<Chosen>, Vec<String>)> {
    let (plan, options) = (&loaded.plan, &context.options);
    // A stream that serves the deletes of another is read only if it is named.
    let serves = |stream: &StreamPlan| {
        let mut ids = plan.streams.iter().filter_map(|other| other.ids.as_ref());
        ids.any(|ids| ids.name == stream.name) && !options.streams.iter().any(|name| *name == *stream.name)
    };
    let all = || {
        let all = plan.streams.iter().filter(|stream| !serves(stream));
        all.map(|s| Chosen { stream: s.name.to_string(), ..Chosen::default() }).collect()
    };
    let (mut chosen, mut missing): (Vec<Chosen>, _) = (Vec::new(), Vec::new());
    match (options.catalog.as_deref(), context.protocol) {
        (None, _) => chosen = all(),
        (Some(path), Protocol::Singer) => {
            let known = |stream: &Arc<StreamPlan>| KnownStream {
                name: stream.name.to_string(),
                keys: stream.keys(),
                cursor: stream.cursor.as_ref().map(|cursor| cursor.field.clone()),
            };
            let known: Vec<KnownStream> = plan.streams.iter().map(known).collect();
            chosen = singer_catalog::read(path, &known)?;
        }
        (Some(path), Protocol::Airbyte) => {
            for ConfiguredStream { name, fields, incremental } in configured_catalog::read(path)? {
                match plan.stream(&name) {
                    Ok(_) => chosen.push(Chosen {
                        stream: name,
                        named: Some(fields),
                        full_refresh: !incremental,
                        ..Chosen::default()
                    }),
                    Err(fault) => {
                        context.log.line(Level::Error, &fault.to_string());
                        missing.push(name);
                    }
                }
            }
        }
    }
    for name in &options.streams {
        plan.stream(name)?;
    }
    let mut wanted = Vec::with_capacity(chosen.len());
    for choice in chosen {
        if options.selects(&loaded.config.ours.tiers, &choice.stream)? {
            wanted.push(choice);
        }
    }
    Ok((wanted, missing))
}

/// The stream with the key from the catalog; each key field must be a field of the stream.
pub(super) fn with_keys(stream: &Arc<StreamPlan>, choice: &Chosen) -> Result<Arc<StreamPlan>> {
    let Some(keys) = &choice.keys else { return Ok(stream.clone()) };
    // A catalog also has the fields that earlier runs discovered.
    let written = choice.schema.clone().unwrap_or_default();
    let schemas = [Reader::new(&stream.schema), Reader::new(&written)];
    let fields = [schemas[0].properties(&stream.schema), schemas[1].properties(&written)];
    for key in keys {
        let place = format!("the catalog's `table-key-properties` of the stream `{}` names `{key}`", stream.name);
        let found = fields.iter().zip(&schemas).find_map(|(fields, schema)| {
            fields.iter().find(|(name, _)| *name == key).map(|(_, field)| schema.types(field))
        });
        match found {
            Some(types) if types.contains("object") || types.contains("array") => {
                return Err(Fault::config(format!("{place}, which is an object or a list and cannot be a key")));
            }
            None if fields.iter().any(|fields| !fields.is_empty()) => {
                let names = fields.iter().flatten().map(|(name, _)| name.as_str());
                let fault = Fault::config(format!("{place}, which is not one of its fields"));
                return Err(match did_you_mean(key, names) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault.hint("`dripfeed discover` prints the fields"),
                });
            }
            _ => {}
        }
    }
    Ok(stream.with_keys(keys))
}

/// The selected fields, with the schemas from the catalog.
pub(super) fn selection(
    stream: &StreamPlan,
    choice: &Chosen,
    monitor: Option<&DriftMonitor>,
    protocol: Protocol,
) -> Result<Selection> {
    let mut selection = choice.fields.clone();
    if let Some(written) = choice.schema.as_ref().filter(|_| protocol == Protocol::Singer) {
        let as_discovered = |schema: &Json| stream.wire(schema, Selection::ALL, protocol).schema;
        let mut discovered = vec![as_discovered(&stream.schema)];
        discovered.extend(monitor.map(|monitor| as_discovered(&monitor.schema())));
        selection.overrides = SchemaOverrides::find(&stream.name, written, &discovered.iter().collect::<Vec<_>>())?;
    }
    Ok(selection)
}

/// Warns of streams that loaders would put into the same table, if one of them is selected.
pub(crate) fn warn_of_tables(context: &Context, plan: &SourcePlan, wanted: impl Fn(&str) -> bool) {
    let names = TableNames::of(plan.streams.iter().map(|stream| &*stream.name));
    for streams in names.meetings().filter(|streams| streams.iter().any(|stream| wanted(stream))) {
        let mut message = one_table(streams);
        if context.protocol == Protocol::Singer {
            message += &format!(": dripfeed sends {}", names.sent_as(streams));
        } else {
            message += "; with Airbyte's protocol names stay unchanged: sync these streams in connections with \
                different prefixes";
        }
        context.log.line(Level::Warning, &message);
    }
}

/// Explains what loaders do with these streams.
pub(crate) fn one_table(streams: &[String]) -> String {
    let named: Vec<String> = streams.iter().map(|stream| format!("`{stream}`")).collect();
    format!("many loaders put the streams {} into one table", named.join(" and "))
}
