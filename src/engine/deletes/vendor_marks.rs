//! Records that the vendor reports as deleted: `is_deleted`, `trashed`, an event `deleted`.
//!
//! Input: a record as the vendor sent it. Output: whether it is deleted, since when, and its key. Called by
//! `record_writer`, before the manifest's filter and transformations: a filter may drop such records, so that the
//! manifest means the same elsewhere.

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use super::StreamKeys;
use crate::base::config::deletes::DeleteSettings;
use crate::base::fault::{Fault, Result};
use crate::base::timefmt::parse_iso;
use crate::manifest::Manifest;
use crate::manifest::node::Place;
use crate::manifest::template::{RECORD, Template, Types, Vars};

/// Which records are deleted.
#[derive(Debug, Clone)]
pub struct VendorMarks {
    when: Template,
    at: Option<Template>,
    /// The values of the key fields, if a deleted record has its key elsewhere.
    key: Vec<(String, Template)>,
}

impl VendorMarks {
    /// Compiles the settings of a stream.
    pub(super) fn build(
        stream: StreamKeys<'_>,
        settings: &DeleteSettings,
        manifest: &Manifest,
    ) -> Result<Option<VendorMarks>> {
        let place = Place::top(&manifest.name).field("deletes", None).field(stream.name, None);
        let template = |name: &str, text: &String| {
            Template::of(&Json::String(text.clone()), &place.field(name, None), RECORD)?.known()
        };
        let Some(when) = &settings.deleted_when else {
            let other = settings.deleted_at.is_some() || !settings.deleted_key.is_empty();
            let fault = Fault::config(format!("`deletes` of `{}` has no `deleted_when`", stream.name));
            return if other { Err(fault.hint("it says which records are deleted")) } else { Ok(None) };
        };
        if let (false, Some(unset)) = (
            settings.deleted_key.is_empty(),
            stream.keys.iter().find(|key| !settings.deleted_key.contains_key(&key.join("."))),
        ) {
            let fault =
                Fault::config(format!("`deleted_key` of `{}` lacks the key field `{}`", stream.name, unset.join(".")));
            return Err(fault.hint("give a template for each field of the `primary_key`"));
        }
        let key = settings.deleted_key.iter().map(|(name, text)| Ok((name.clone(), template("deleted_key", text)?)));
        Ok(Some(VendorMarks {
            when: template("deleted_when", when)?,
            at: settings.deleted_at.as_ref().map(|text| template("deleted_at", text)).transpose()?,
            key: key.collect::<Result<_>>()?,
        }))
    }

    /// When a record was deleted, by the vendor or else `now`; `None` for one that is not.
    pub(in crate::engine) fn deleted_at(
        &self,
        record: &Json,
        vars: &Vars<'_>,
        now: OffsetDateTime,
    ) -> Result<Option<OffsetDateTime>> {
        let vars = Vars { record: Some(record), ..*vars };
        if !self.when.truth(&vars)? {
            return Ok(None);
        }
        let told = self.at.as_ref().map(|at| at.text(&vars)).transpose()?;
        Ok(Some(told.and_then(|text| parse_iso(&text)).unwrap_or(now)))
    }

    /// The record of the key alone, if a deleted record has its key elsewhere.
    pub(in crate::engine) fn key(&self, record: &Json, vars: &Vars<'_>) -> Result<Option<Json>> {
        if self.key.is_empty() {
            return Ok(None);
        }
        let vars = Vars { record: Some(record), ..*vars };
        let value = |(name, template): &(String, Template)| Ok((name.clone(), template.value(&vars, Types::Json)?));
        Ok(Some(Json::Object(self.key.iter().map(value).collect::<Result<Map<_, _>>>()?)))
    }
}
