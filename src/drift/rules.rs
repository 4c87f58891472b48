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
    FieldAdded "field_added" "D1" Info Evolve "a field that was not there";
    FieldRemoved "field_removed" "D2/D3" Break FailStream "a field is gone, which is proved";
    FieldAbsent "field_absent" "D2/D3" Warn Warn "a field is not seen any more, which is not proved: a suspect";
    FieldRenamed "field_renamed" "D4" Break FailStream "a field is gone, and another of its kind came";
    FieldTypeWidened "field_type_widened" "D5" Warn Evolve "fractions in a field of whole numbers";
    FieldTypeChanged "field_type_changed" "D6" Break Quarantine "values of another type";
    FieldTypeNarrowed "field_type_narrowed" "D7" Info Record "values of a narrower type only";
    FieldStructureChanged "field_structure_changed" "D8" Break FailStream
        "an object, list or plain value became another of these";
    FieldBecameNullable "field_became_nullable" "D9" Warn Evolve "null in a field that never was null";
    FieldBecameRequired "field_became_required" "D10" Info Ignore "a field that is never null any more";
    KeyMissing "key_missing" "D11" Extraction Quarantine "a record without its key";
    CursorMissing "cursor_missing" "D12" Extraction FailStream "records without a cursor value that can be read";
    EnumValueAdded "enum_value_added" "D13" Info Record "a value beyond those that were listed";
    EnumValueUnseen "enum_value_unseen" "D14" Info Ignore "a listed value that does not come any more";
    FormatChanged "format_changed" "D15" Break NullValue "a date or time that is written in another way";
    ScaleChanged "scale_changed" "D16" Extraction Warn "numbers of another magnitude";
    FieldMoved "field_moved" "D18" Break FailStream "a field is in another place";
    ItemTypeChanged "item_type_changed" "D19" Break Quarantine "items of a list are of another type";
    MapDetected "map_detected" "D20" Warn Warn "an object whose field names are data";
    KeyTypeChanged "key_type_changed" "D21" Extraction FailStream "keys of another type";
    NumberOutOfRange "number_out_of_range" "D22" Break NullValue "a whole number that a 64-bit column cannot hold";
    DuplicateIds "duplicate_ids" "D23" Warn Warn "records that come twice in one slice";
    EnvelopeChanged "envelope_changed" "D24" Extraction FailStream "the list of records is not where it was";
    PartialErrors "partial_errors" "answer" Extraction FailStream "an answer reports errors beside its records";
    PageSizeChanged "page_size_changed" "D25" Warn Warn "pages are smaller than they were";
    FilterIgnored "filter_ignored" "D26" Extraction FailStream "records outside the window that was asked for";
    OrderChanged "order_changed" "D26" Extraction FailStream "records in another order than they were";
    EndpointGone "endpoint_gone" "D27" Extraction FailStream "the address of a stream is gone";
    StreamEmptied "stream_emptied" "D28" Extraction Warn "a stream that had records has none";
    ScopeLost "scope_lost" "D28" Extraction FailStream "a stream that could be read is refused";
    Deprecation "deprecation" "D31" Info Record "the vendor announces that this endpoint is deprecated";
    Sunset "sunset" "D31" Info Record "the vendor says when this endpoint ends";
    ApiVersionChanged "api_version_changed" "D31" Info Record "another version of the API answers";
    UpstreamFormat "upstream_format" "D32" Extraction FailStream
        "answers are not what they should be, such as a web page";
    FieldCaseChanged "field_case_changed" "D33" Break FailStream "a field is written with other letters";
    DuplicateJsonKeys "duplicate_json_keys" "D34" Warn Warn "an object that names a field twice";
    RecordTooLarge "record_too_large" "poison" Break Quarantine "a record that no target takes";
    RecordNotUtf8 "record_not_utf8" "poison" Break Quarantine "a record that is not text";
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
            Rule::EnvelopeChanged => "mend the manifest: its record selector says where the records are",
            Rule::PartialErrors => {
                "ask the vendor what the errors mean; if they are always there, accept them: partial_errors, with the \
                 policy record"
            }
            Rule::UpstreamFormat => {
                "see what the vendor answers with, and mend the address or the login in manifest and config"
            }
            Rule::EndpointGone => "mend the manifest: give the stream its new address, or take the stream out",
            Rule::ScopeLost => "ask the vendor for the permission, or leave the stream out",
            Rule::KeyMissing => {
                "mend the key in the manifest, filter such records out there, or let more be put aside: \
                dripfeed.drift.quarantine"
            }
            Rule::RecordTooLarge => {
                "raise dripfeed.drift.max_record_bytes, filter such records out in the manifest, or let more be put \
                aside: \
                 dripfeed.drift.quarantine"
            }
            Rule::RecordNotUtf8 | Rule::RecordNotObject => {
                "filter such records out in the manifest, or let more be put aside: dripfeed.drift.quarantine"
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
