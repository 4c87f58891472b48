//! The drift rules: names, severities, and default policies.
//!
//! Output: [`Rule`] and its table. Used by everything in `drift`, by reports and by config checks. The numbers D1 to
//! D34 are those of docs/src/reference/drift-rules.md.

use serde::{Deserialize, Serialize};

use crate::base::config::DriftPolicy as Policy;

/// The severity of a change for the users of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// For information only.
    Info,
    /// A person should look at it.
    Warn,
    /// Values are wrong, or a load fails.
    Break,
    /// The extracted data cannot be trusted.
    Extraction,
}

impl Severity {
    /// The name of the severity.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Break => "break",
            Severity::Extraction => "extraction",
        }
    }

    /// The severity with a name.
    pub fn of(name: &str) -> Option<Severity> {
        [Severity::Info, Severity::Warn, Severity::Break, Severity::Extraction].into_iter().find(|s| s.name() == name)
    }
}

macro_rules! rules {
    ($($name:ident $id:literal $number:literal $severity:ident $policy:ident $what:literal;)*) => {
        /// A kind of drift.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Rule {
            $(#[doc = $what] #[serde(rename = $id)] $name,)*
        }

        impl Rule {
            /// All rules, in the order of the taxonomy.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];

            /// The name in configs, events and reports.
            pub fn id(self) -> &'static str {
                match self { $(Rule::$name => $id),* }
            }

            /// The number in the taxonomy.
            pub fn number(self) -> &'static str {
                match self { $(Rule::$name => $number),* }
            }

            /// The default severity.
            pub fn severity(self) -> Severity {
                match self { $(Rule::$name => Severity::$severity),* }
            }

            /// The default policy.
            pub fn policy(self) -> Policy {
                match self { $(Rule::$name => Policy::$policy),* }
            }

            /// A short description.
            pub fn what(self) -> &'static str {
                match self { $(Rule::$name => $what),* }
            }
        }
    };
}

rules! {
    FieldAdded "field_added" "D1" Info Evolve "a new field";
    FieldRemoved "field_removed" "D2/D3" Break FailStream "a field was removed; this is proved";
    FieldAbsent "field_absent" "D2/D3" Warn Warn "a field no longer appears; its removal is not proved";
    FieldRenamed "field_renamed" "D4" Break FailStream "a field was removed, and a new one of its type appeared";
    FieldTypeWidened "field_type_widened" "D5" Warn Evolve "fractions in a field of whole numbers";
    FieldTypeChanged "field_type_changed" "D6" Break Quarantine "values of another type";
    FieldTypeNarrowed "field_type_narrowed" "D7" Info Record "values of a narrower type only";
    FieldStructureChanged "field_structure_changed" "D8" Break FailStream
        "an object, a list or a plain value became another of the three";
    FieldBecameNullable "field_became_nullable" "D9" Warn Evolve "null in a field that was never null";
    FieldBecameRequired "field_became_required" "D10" Info Ignore "a field that is now never null";
    KeyMissing "key_missing" "D11" Extraction Quarantine "a record without its key";
    CursorMissing "cursor_missing" "D12" Extraction FailStream "records without a readable cursor value";
    EnumValueAdded "enum_value_added" "D13" Info Record "a value that is not among the listed ones";
    EnumValueUnseen "enum_value_unseen" "D14" Info Ignore "a listed value that no longer appears";
    FormatChanged "format_changed" "D15" Break NullValue "a date or time in another format";
    ScaleChanged "scale_changed" "D16" Extraction Warn "numbers of another magnitude";
    FieldMoved "field_moved" "D18" Break FailStream "a field moved to another place";
    ItemTypeChanged "item_type_changed" "D19" Break Quarantine "items of a list are of another type";
    MapDetected "map_detected" "D20" Warn Warn "an object whose field names are data";
    KeyTypeChanged "key_type_changed" "D21" Extraction FailStream "keys of another type";
    NumberOutOfRange "number_out_of_range" "D22" Break NullValue "a whole number that a 64-bit column cannot hold";
    DuplicateIds "duplicate_ids" "D23" Warn Warn "records that appear twice in one slice";
    EnvelopeChanged "envelope_changed" "D24" Extraction FailStream "the list of records moved in the response";
    PartialErrors "partial_errors" "answer" Extraction FailStream "a response reports errors beside its records";
    PageSizeChanged "page_size_changed" "D25" Warn Warn "pages are smaller than before";
    FilterIgnored "filter_ignored" "D26" Extraction FailStream "records outside the requested window";
    OrderChanged "order_changed" "D26" Extraction FailStream "records in another order than before";
    EndpointGone "endpoint_gone" "D27" Extraction FailStream "the endpoint of a stream no longer exists";
    RecordsGone "records_gone" "deletes" Warn Warn "more records are gone than is believed without a person";
    StreamEmptied "stream_emptied" "D28" Extraction Warn "a stream that had records is empty";
    ScopeLost "scope_lost" "D28" Extraction FailStream "access to a readable stream is refused";
    Deprecation "deprecation" "D31" Info Record "the vendor announces that the endpoint is deprecated";
    Sunset "sunset" "D31" Info Record "the vendor announces the end of the endpoint";
    ApiVersionChanged "api_version_changed" "D31" Info Record "another version of the API responds";
    UpstreamFormat "upstream_format" "D32" Extraction FailStream
        "responses of another kind, such as a web page";
    FieldCaseChanged "field_case_changed" "D33" Break FailStream "a field name with another case or spelling";
    DuplicateJsonKeys "duplicate_json_keys" "D34" Warn Warn "an object with a duplicate field";
    RecordTooLarge "record_too_large" "poison" Break Quarantine "a record that is too large for targets";
    RecordNotUtf8 "record_not_utf8" "poison" Break Quarantine "a record that is not UTF-8";
    RecordNotObject "record_not_object" "poison" Break Quarantine "a record that is not an object";
}

impl Rule {
    /// The rule with a name.
    pub fn of(id: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.id() == id)
    }

    /// The action for a change that cannot be accepted, because it does not concern a schema; `None` if it can be
    /// accepted.
    pub fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Rule::EnvelopeChanged => "correct the record selector in the manifest: it locates the records",
            Rule::PartialErrors => {
                "ask the vendor about the errors; if they are permanent, give the rule partial_errors the policy record"
            }
            Rule::UpstreamFormat => {
                "look at the vendor's response, and correct the URL or the login in the manifest and the config"
            }
            Rule::EndpointGone => "give the stream its new URL in the manifest, or remove the stream",
            Rule::ScopeLost => "ask the vendor for the permission, or deselect the stream",
            Rule::KeyMissing => {
                "correct the key in the manifest, filter such records there, or allow more quarantined records \
                (dripfeed.drift.quarantine)"
            }
            Rule::RecordTooLarge => {
                "raise dripfeed.drift.max_record_bytes, filter such records in the manifest, or allow more \
                quarantined records (dripfeed.drift.quarantine)"
            }
            Rule::RecordNotUtf8 | Rule::RecordNotObject => {
                "filter such records in the manifest, or allow more quarantined records (dripfeed.drift.quarantine)"
            }
            _ => return None,
        })
    }

    /// Does the change make extracted data untrustworthy? Then a config needs `allow_unsafe` to tolerate it.
    pub fn must_stop(self) -> bool {
        matches!(
            self,
            Rule::KeyMissing
                | Rule::CursorMissing
                | Rule::KeyTypeChanged
                | Rule::EnvelopeChanged
                | Rule::FilterIgnored
                | Rule::OrderChanged
        )
    }
}
