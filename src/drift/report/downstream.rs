//! How targets and models handle each kind of change, in one sentence.
//!
//! Output: a text for reports. The sentences reflect measurements with target-jsonl, both Postgres targets, an SDK
//! SQL target and target-duckdb, and the Airbyte protocol.

use super::super::rules::Rule;

/// What happens to the data downstream.
pub(super) fn of(rule: Rule) -> &'static str {
    match rule {
        Rule::FieldAdded => {
            "the wider schema precedes the record, so targets add a column; without it, SQL targets drop the field \
            silently"
        }
        Rule::FieldRemoved => "the column stays, and is NULL from now on",
        Rule::FieldAbsent => "if the field is gone, the column stays and is NULL from now on",
        Rule::FieldRenamed => {
            "the old column is NULL from now on, and a new one starts empty: queries on the old column see no new \
            values"
        }
        Rule::FieldTypeWidened => {
            "an integer column would store 1.5 as 2 or refuse it: fractions go to their own column, \
            `<field>__number`, and the old column is NULL for them"
        }
        Rule::FieldTypeChanged => {
            "targets with typed columns refuse the record, and most fail the load; once accepted, such values go to \
            a second column, `<field>__<type>`"
        }
        Rule::FieldTypeNarrowed | Rule::FieldBecameRequired | Rule::EnumValueUnseen => "nothing breaks",
        Rule::FieldStructureChanged => "typed and JSON columns refuse it: most targets fail the load",
        Rule::FieldBecameNullable => {
            "loads continue, because columns allow NULL; not-null tests and inner joins notice it"
        }
        Rule::KeyMissing => "rows have no identity: targets fail, or append rows that they should update",
        Rule::CursorMissing => "the bookmark cannot advance: later runs read the same records again, or miss changes",
        Rule::EnumValueAdded => {
            "loads continue, because no enum is sent; CASE expressions and accepted-values tests miss it"
        }
        Rule::FormatChanged => "targets that parse dates fail the load or store NULL; text columns hold two formats",
        Rule::PartialErrors => "no target notices: records may be missing until a later run reads them",
        Rule::ScaleChanged => "no target notices: sums and averages mix two units",
        Rule::FieldMoved => "the old column is NULL from now on; its values are in another column or inside JSON",
        Rule::ItemTypeChanged => "JSON columns accept it; typed arrays and targets that flatten refuse the record",
        Rule::MapDetected => "targets that flatten make a column for every name",
        Rule::KeyTypeChanged => "updates find no row: every record is stored twice, beside its old version",
        Rule::NumberOutOfRange => "BIGINT columns refuse it and fail the load; NUMERIC accepts it",
        Rule::DuplicateIds => "targets that update hide it; append-only tables contain the row twice",
        Rule::EnvelopeChanged => "a run would load nothing and look successful",
        Rule::PageSizeChanged => "the same records cost more calls; if paging relies on the size, pages are missed",
        Rule::FilterIgnored => "no target notices: each run reads too much, or misses changes",
        Rule::OrderChanged => "no target notices: a bookmark from such pages skips unread records",
        Rule::EndpointGone => "the table stops growing, and no target notices",
        Rule::RecordsGone => "nothing is marked as deleted until the change is accepted: dead rows stay",
        Rule::StreamEmptied => "nothing is loaded and no target notices: the table goes stale",
        Rule::ScopeLost => "the table goes stale until the permission is back",
        Rule::Deprecation | Rule::Sunset | Rule::ApiVersionChanged => {
            "nothing yet: plan the move before the endpoint ends"
        }
        Rule::UpstreamFormat => "nothing can be loaded from such a response",
        Rule::FieldCaseChanged => {
            "as a rename if the database is case-sensitive; otherwise two fields share one column"
        }
        Rule::DuplicateJsonKeys => "every target silently uses the last one",
        Rule::RecordTooLarge => "targets and brokers refuse such a line, and the load fails",
        Rule::RecordNotUtf8 | Rule::RecordNotObject => "no target can read such a line: the load fails",
    }
}
