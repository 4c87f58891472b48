//! How targets and models handle each kind of change, in one sentence.
//!
//! Output: a text for reports. The sentences reflect measurements with target-jsonl, both Postgres targets, an SDK
//! SQL target and target-duckdb, and the Airbyte protocol.

use super::super::rules::Rule;

/// What happens to the data downstream.
pub(super) fn of(rule: Rule) -> &'static str {
    match rule {
        Rule::FieldAdded => {
            "targets add a column, since the wider schema goes before the record; without it SQL targets drop the \
            field without a word"
        }
        Rule::FieldRemoved => "the column stays, and is NULL from now on",
        Rule::FieldAbsent => "if it is gone, the column stays and is NULL from now on",
        Rule::FieldRenamed => {
            "the old column is NULL from now on, and a new one begins empty: queries by the old name see nothing new"
        }
        Rule::FieldTypeWidened => {
            "a whole-number column would store 1.5 as 2 or refuse it: fractions go to a column of their own, \
            `<field>__number`, and the old one is NULL there"
        }
        Rule::FieldTypeChanged => {
            "targets with typed columns refuse the record, and most fail the load; once it is accepted such values go \
            to a column beside, `<field>__<type>`"
        }
        Rule::FieldTypeNarrowed | Rule::FieldBecameRequired | Rule::EnumValueUnseen => "nothing breaks",
        Rule::FieldStructureChanged => "typed and JSON columns alike refuse it: most targets fail the load",
        Rule::FieldBecameNullable => {
            "loads go on, columns allow NULL; models that test not-null, and inner joins, see it"
        }
        Rule::KeyMissing => "rows cannot be told apart: targets fail, or append what they should update",
        Rule::CursorMissing => "the bookmark cannot move on: later runs read the same again, or miss changes",
        Rule::EnumValueAdded => {
            "loads go on, no enum is sent; CASE expressions and accepted-values tests do not know it"
        }
        Rule::FormatChanged => "targets that parse dates fail the load or store NULL; text columns hold two formats",
        Rule::PartialErrors => "no target notices: records may be missing until a later run reads them",
        Rule::ScaleChanged => "no target notices: sums and averages mix two units",
        Rule::FieldMoved => "the old column is NULL from now on; what was in it is in another column, or inside JSON",
        Rule::ItemTypeChanged => "JSON columns take it; typed arrays and targets that flatten refuse the record",
        Rule::MapDetected => "targets that flatten make a column for every name",
        Rule::KeyTypeChanged => "updates find no row: every record stands a second time beside its old one",
        Rule::NumberOutOfRange => "BIGINT columns refuse it and fail the load; NUMERIC takes it",
        Rule::DuplicateIds => "targets that update hide it; tables that append hold the row twice",
        Rule::EnvelopeChanged => "a run would load nothing and look well",
        Rule::PageSizeChanged => "the same records cost more calls; where paging counts on the size, pages are missed",
        Rule::FilterIgnored => "no target notices: each run brings too much, or misses changes",
        Rule::OrderChanged => "no target notices: a bookmark taken from such pages passes records that were not read",
        Rule::EndpointGone => "the table grows no more, and no target notices",
        Rule::StreamEmptied => "nothing is loaded and no target notices: the table goes stale",
        Rule::ScopeLost => "the table goes stale until the permission is back",
        Rule::Deprecation | Rule::Sunset | Rule::ApiVersionChanged => {
            "nothing yet: plan the move before the endpoint ends"
        }
        Rule::UpstreamFormat => "nothing can be loaded from such an answer",
        Rule::FieldCaseChanged => {
            "as a rename where the database tells case apart; elsewhere two fields fall into one column"
        }
        Rule::DuplicateJsonKeys => "the last one counts in every target, without a word",
        Rule::RecordTooLarge => "targets and brokers refuse such a line, and the load fails",
        Rule::RecordNotUtf8 | Rule::RecordNotObject => "no target reads such a line: the load fails",
    }
}
