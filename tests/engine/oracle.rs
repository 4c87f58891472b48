//! The reference as oracle: every case in `fixtures/oracle/` was recorded from airbyte-cdk 7.39.1 by `record.py`
//! there; requests, records, state and status must be the same.
//!
//! The cases are run with schemas and keys taken out of their manifests, since the reference's protocol does not
//! touch records and Singer's rules do (`protocol/singer_rules.rs` tests those). Where schemas matter, the case is run
//! in Airbyte's protocol instead.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dripfeed::manifest::yaml::parse_yaml;
use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap};
use crate::support::vendor::{Asked, Vendor};

/// Cases of components that are not built yet: they must be refused by name, before any request.
const LATER: &[&str] = &[];

/// Cases in which dripfeed differs on purpose; each has a test of its own and a row in COMPATIBILITY.md.
const DIFFERS: &[&str] = &[
    "async_csv_lower_case_header",
    "async_decoder",
    "async_download_target_requester",
    "async_substream_extra_fields",
    "auth_jwt_json_loads",
    "auth_jwt_numbers",
    "auth_jwt_rs256_passphrase_pkcs1",
    "auth_legacy_session_invalid",
    "auth_legacy_session_no_password",
    "auth_legacy_session_number",
    "auth_legacy_session_numeric_password",
    "auth_legacy_session_templates",
    "auth_legacy_session_valid",
    "auth_legacy_session_validation_fails",
    "auth_oauth_answer_depth",
    "auth_oauth_body_collision",
    "auth_oauth_body_values",
    "auth_oauth_empty_secret",
    "auth_oauth_expires_in_negative",
    "auth_oauth_header_number",
    "auth_oauth_numeric_secrets",
    "auth_oauth_token_expiry_forms",
    "auth_oauth_token_expiry_missing",
    "auth_oauth_two_streams",
    "auth_oauth_updater_date_forms",
    "auth_oauth_updater_in_templates",
    "auth_oauth_updater_no_token",
    "auth_oauth_updater_null_date",
    "auth_selective_other_refused",
    "auth_session_duration_months",
    "auth_session_login_ignored",
    "auth_session_no_duration_bearer",
    "auth_session_no_duration_header",
    "auth_session_no_duration_parameter_retry",
    "auth_session_no_duration_retry",
    "auth_session_numeric_header",
    "auth_session_two_streams",
    "auth_tokens_refused",
    "config_rules_predicate",
    "config_rules_remap_list",
    "cursor_incrementing_fractions",
    "cursor_incrementing_state_ranges_gap",
    "cursor_incrementing_state_text",
    "cursor_incrementing_texts",
    "cursor_record_beyond_end",
    "cursor_split_window_depth",
    "cursor_split_window_minimum",
    "cursor_split_window_smallest",
    "cursor_start_zone",
    "decoder_csv_content_encoding",
    "decoder_csv_delimiter",
    "decoder_csv_delimiter_bad",
    "decoder_csv_encoding",
    "decoder_csv_encoding_bad",
    "decoder_csv_extra_values",
    "decoder_csv_paging",
    "decoder_gzip_broken",
    "decoder_gzip_content_encoding",
    "decoder_gzip_inner",
    "decoder_gzip_json_broken",
    "decoder_gzip_members",
    "decoder_gzip_paging_csv",
    "decoder_iterable_bytes",
    "decoder_iterable_paging",
    "decoder_json_items_broken",
    "decoder_json_items_content_encoding",
    "decoder_json_items_elements",
    "decoder_json_items_empty_path",
    "decoder_json_items_encoding",
    "decoder_json_items_paging",
    "decoder_json_items_path",
    "decoder_jsonl",
    "decoder_jsonl_bad_bytes",
    "decoder_jsonl_bad_lines",
    "decoder_jsonl_filter_reads_body",
    "decoder_jsonl_numbers",
    "decoder_jsonl_paging",
    "decoder_jsonl_scalar",
    "decoder_xml_encoding",
    "decoder_xml_entities",
    "decoder_xml_invalid",
    "decoder_xml_null_among",
    "decoder_zip_bad",
    "decoder_zip_failing_member",
    "decoder_zip_inner",
    "decoder_zip_paging",
    "differs_html_body",
    "differs_no_spec",
    "differs_null_keys",
    "differs_secret_number",
    "dynamic_config_several",
    "dynamic_http_two_definitions",
    "dynamic_mapping_condition_http",
    "dynamic_mapping_condition_parametrized",
    "dynamic_mapping_empty_text",
    "dynamic_mapping_yaml",
    "dynamic_mapping_yaml_alias",
    "dynamic_mapping_yaml_broken",
    "dynamic_name_no_text",
    "dynamic_parametrized_percent",
    "error_budget_remaining_unreadable",
    "error_composite_shadowing",
    "error_in_transformation_mid_page",
    "error_refresh_token_answer_unusable",
    "error_refresh_token_no_endpoint",
    "error_refresh_token_no_retries",
    "error_refresh_token_session",
    "error_wait_from_response_cap_zero",
    "error_wait_until_cap_now",
    "file_uploader_ignored",
    "file_uploader_leaves",
    "file_uploader_name_number",
    "file_uploader_name_quoted",
    "file_uploader_parent",
    "page_cursor_header_spelling",
    "page_cursor_token_literal",
    "page_reset_limit_no_progress",
    "page_reset_split_no_cursor_values",
    "page_reset_split_no_progress",
    "query_properties_failing_chunk",
    "query_properties_merge_number",
    "record_add_undefined_depth",
    "record_combined_errors",
    "record_combined_streamed",
    "record_empty_object",
    "record_expander_parent_field_blocked",
    "record_expander_scalars",
    "record_expander_truncated_fails",
    "record_extractor_double_star",
    "record_extractor_segment_types",
    "record_normalization_overflow",
    "record_normalization_true_schema",
    "record_normalization_unknown_type",
    "request_headers",
    "request_parameters_number_refused",
    "router_group_with_grandparent_refused",
    "router_group_with_parent_refused",
    "router_grouping_cursor_state_without_flag",
    "router_grouping_unhashable",
    "router_union_extra_fields",
    "router_union_grouped",
    "router_union_incremental_parents",
    "state_delegating_retention_unreadable",
    "state_migration_legacy",
    "substream_failing_parent",
    "substream_lazy_one_of_two",
    "substream_text_ids",
    "url_literal_evaluated",
];

/// Longer than this means that pages or tries do not end, which is another result. The recorded cases take less than
/// half of it even on a busy machine.
const LONGEST: Duration = Duration::from_secs(6);

/// Fields that make no difference to what a Singer tap shows: how a case's name begins, and a part of the field's path.
const IDLE: &[(&str, &str)] = &[
    ("auth_none: ", "streams.1.retriever.requester.authenticator"),
    // `Retry-After` is waited for without a strategy too.
    ("error_429_header: ", "error_handler"),
    // A filter that only repeats the default.
    ("error_default_message_kept: ", "error_handler"),
    // Whose fault an error is (Airbyte's `failure_type`), and which of two messages says that credentials are refused.
    ("error_fail_with_message: ", "failure_type"),
    ("auth_oauth_error_configured: ", "refresh_token_error_"),
    ("auth_oauth_updater_error_configured: ", "refresh_token_error_"),
    // A refused token is replaced without REFRESH_TOKEN_THEN_RETRY too.
    ("auth_oauth_", "error_handler"),
    ("error_refresh_token_", "error_handler"),
    // Neither is tried again, whatever the manifest says of tries.
    ("error_no_retries_422: ", "error_handler"),
    ("page_size_reduction_config_at_minimum: ", "error_handler"),
    // A matcher without a pattern fits every request.
    ("error_budget_weight: ", "url_path_pattern"),
    // A table without rows has no records, however they are found.
    ("async_csv_empty: ", "download_extractor"),
    // A session of one request is the same however long it lives.
    ("auth_session_", "expiration_duration"),
    ("auth_selective_kinds: ", "expiration_duration"),
    // A pool without matchers takes the calls of no pool too, a rejection needs no number, nothing else is asked for,
    // and a wait of five seconds ends in the same way as one of one.
    ("auth_tokens_no_default_pool: ", "quotas.0.matchers"),
    ("auth_tokens_rejected_late: ", "remaining_header"),
    ("auth_tokens_path_missing: ", "requester.path"),
    ("auth_tokens_wait: ", "max_wait_time"),
    // What stands in the config wins; where it is put back, Airbyte's CONTROL message shows.
    ("auth_oauth_updater_config_first: ", "authenticator."),
    ("auth_oauth_updater_paths: ", "_config_path"),
    ("auth_oauth_updater_expires_in_name: ", "expires_in_name"),
    // An expiry that is no time, as an empty one, is past.
    ("auth_oauth_token_expiry_date: ", "streams.2.$parameters"),
    // The default.
    ("auth_jwt_typ_empty: ", "typ"),
    // A rule that the config keeps; in other cases it breaks one, and is refused.
    ("config_rules_validate", "rules.validations"),
    // Values that the config does not have, and conditions that hold.
    ("config_rules_remap_", ".map."),
    ("config_rules_add_condition: ", ".2.condition"),
    ("config_rules_remove_condition: ", ".0.condition"),
    ("config_rules_description: ", "description"),
    ("config_rules_migration_unchanged: ", "config_migrations"),
    // A stream that is not read in this case, or in which nothing is left to ask for.
    ("conditional_streams_off: ", "streams.1."),
    ("conditional_streams_truth: ", ".streams.0.retriever.requester."),
    ("cursor_clamping_nothing_left: ", "requester.path"),
    ("cursor_clamping_same_day_strictly: ", "requester.path"),
    ("router_grouping_unhashable: ", "streams.1.retriever.requester."),
    ("state_delegating_", "definitions.changes."),
    ("state_delegating_", "definitions.full.retriever.requester.path"),
    // A state that is not too old, in one of several streams.
    ("state_delegating_retention", "api_retention_period"),
    // The body cannot be read either way.
    ("decoder_csv_field_path: ", "decoder"),
    ("decoder_iterable_field_path: ", "decoder"),
    ("decoder_gzip_deflate: ", "streams.0.retriever.decoder"),
    // The order is what they show; the wire casts these values as the schema does.
    ("record_normalization_after_", "schema_normalization"),
    ("record_normalization_client_side_cursor: ", "schema_normalization"),
    // Mappings that set what is there, nothing, or what the type would be in any case.
    ("dynamic_http_no_create: ", "create_or_update"),
    ("dynamic_mapping_falsy_values: ", "requester.request_headers"),
    ("dynamic_mapping_undefined: ", "request_parameters.a"),
    ("dynamic_mapping_value_type: ", "value_type"),
    ("dynamic_parametrized_yaml: ", "value_type"),
    ("dynamic_parameters: ", "requester.$parameters"),
    ("dynamic_parameters_own: ", "stream_template.$parameters.field"),
    // A group makes its streams wait for each other, which a result does not show.
    ("router_group_", "stream_groups"),
    // What happens in any case when a page token fails.
    ("page_reset_split_without_cursor: ", "pagination_reset"),
    ("page_reset_with_cursor: ", "pagination_reset"),
    // Words, the default, and pages that are not reached.
    ("page_size_reduction_", "failure_message"),
    ("page_size_reduction_", "page_token_option"),
    ("page_size_reduction_stop_condition_minimum: ", "minimum_page_size"),
    // All pages stand in the parents' records, or none is taken from there.
    ("substream_lazy", "streams.0.retriever.requester.path"),
    ("substream_lazy_", "lazy_read_pointer"),
    // Waits that are short enough; how long they are does not show.
    ("error_wait_", "max_waiting_time_in_seconds"),
    ("error_wait_until_cap_min_wait: ", "min_wait"),
    ("error_exponential_backoff_jitter: ", "backoff_strategies."),
    // What wins over it, fails before it, or leaves nothing for it is what they show.
    ("query_properties_both_places: ", "query_properties"),
    ("query_properties_endpoint_fails: ", "streams.0.retriever.requester.path"),
    ("query_properties_extra_fields: ", "request_parameters.parent"),
    ("query_properties_ignored_chunk: ", "paginator"),
    ("query_properties_selector: ", "streams.1.retriever.requester.request_parameters.properties.property_chunking"),
    ("query_properties_selector_no_limit: ", "property_selector"),
    // Jobs that do not get that far, and options that are never sent with them.
    ("async_creation_", "requester.path"),
    ("async_timeout_always: ", "download_requester.path"),
    ("async_download_fails: ", "delete_requester"),
    ("async_failed_", "abort_requester"),
    ("async_failed_always: ", "download_requester.path"),
    ("async_cursor: ", "start_time_option"),
    ("async_cursor_partitions: ", "end_datetime"),
    ("async_partitions: ", "request_option"),
    // The file cannot be read either way.
    ("async_csv_long_row: ", "download_extractor"),
    ("async_csv_not_utf8: ", "download_extractor"),
    // What matches nothing, and formats that another one covers.
    ("error_filter_action_only: ", "error_handler"),
    ("cursor_number_with_fraction: ", "cursor_datetime_formats"),
    ("cursor_partitions_no_record: ", "start_datetime.datetime_format"),
    ("template_unknown_in_unused: ", "streams."),
];

/// What the whole suite holds at least: fewer are no checkout of it.
const FEWEST_CASES: usize = 900;
const FEWEST_FIELDS: usize = 1000;

/// The beginnings of names that `ORACLE` asks for. CI runs the whole suite.
fn narrowed() -> Option<String> {
    let wanted = std::env::var("ORACLE").ok()?;
    assert!(std::env::var_os("CI").is_none(), "ORACLE={wanted} would leave out cases in CI");
    Some(wanted)
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    assert!(cases.len() >= FEWEST_CASES, "there are only {} cases in fixtures/oracle", cases.len());
    // While one works at something: `ORACLE=decoder_,router_ cargo test oracle` runs only cases whose names begin so.
    if let Some(wanted) = narrowed() {
        let all = cases.len();
        cases.retain(|c| c.join("expect.json").exists() && wanted.split(',').any(|start| name(c).starts_with(start)));
        // Past the test runner's capture: nobody takes a part for the whole.
        let left_out = all - cases.len();
        let note = format!("{left_out} of {all} cases left out by ORACLE={wanted}\n");
        std::io::stdout().write_all(note.as_bytes()).unwrap();
        assert!(!cases.is_empty(), "ORACLE={wanted} leaves no case");
    }
    cases.sort();
    cases
}

fn json(path: &Path) -> Option<Json> {
    Some(serde_json::from_str(&std::fs::read_to_string(path).ok()?).unwrap())
}

/// Cases with records of which one field has values of several types: a Singer column has one, so that they are
/// compared as Airbyte's protocol sends them.
const MIXED: [&str; 10] = [
    "decoder_csv_field_path",
    "decoder_iterable_field_path",
    "decoder_xml_texts",
    "query_properties_merge_keys",
    "record_add_literals",
    "record_add_value_type",
    "record_combined_nulls",
    "record_expander_emit_parent",
    "record_expander_merge_parent",
    "record_filter_truth",
];

/// Is a case run in Airbyte's protocol? Where schemas matter (records are cast to them, the vendor tells them), and
/// files.
fn by_schema(case: &Path, manifest: &Json) -> bool {
    let text = manifest.to_string();
    MIXED.iter().any(|name| case.ends_with(name))
        || text.contains(r#""schema_normalization":"Default""#)
        || text.contains(r#""DynamicSchemaLoader""#)
        || text.contains(r#""JsonSchemaPropertySelector""#)
        // Only Airbyte's protocol carries them.
        || text.contains(r#""FileUploader""#)
}

/// The manifest of a case as it is run.
fn as_run(case: &Path) -> Json {
    let text = std::fs::read_to_string(case.join("manifest.yaml")).unwrap();
    let mut manifest = parse_yaml(&text, "manifest.yaml").unwrap().to_json();
    if !by_schema(case, &manifest) {
        bare(&mut manifest);
    }
    manifest
}

/// Takes schemas and keys out of a manifest.
fn bare(manifest: &mut Json) {
    match manifest {
        Json::Object(map) => {
            if map.contains_key("schema_loader") {
                map.insert("schema_loader".into(), json!({"type": "InlineSchemaLoader", "schema": {}}));
            }
            map.shift_remove("primary_key");
            map.values_mut().for_each(bare);
        }
        Json::Array(items) => items.iter_mut().for_each(bare),
        _ => {}
    }
}

struct Outcome {
    ran: Ran,
    requests: Vec<Json>,
    streams: BTreeMap<String, Json>,
    /// Of cases in which the vendor tells them.
    schemas: BTreeMap<String, Json>,
    /// What stands in the staging directory afterwards.
    files: BTreeMap<String, String>,
}

/// Bookmarks in the form of Airbyte's state per stream.
fn stream_states(bookmarks: &Json) -> Json {
    let one = |(name, state): (&String, &Json)| {
        let stream = json!({"stream_descriptor": {"name": name}, "stream_state": state});
        json!({"type": "STREAM", "stream": stream})
    };
    bookmarks.as_object().unwrap().iter().map(one).collect()
}

/// Runs a case; nothing when it does not end in time, or asks for more than `most` requests.
fn run(case: &Path, manifest: &Json, limit: Duration, most: usize) -> Option<Outcome> {
    let vendor = Vendor::start(&json(&case.join("server.json")).unwrap_or_else(|| json!({"routes": []})));
    let mut config = json(&case.join("config.json")).unwrap_or_else(|| json!({}));
    config["url"] = json!(vendor.url);
    if manifest.to_string().contains(r#""AsyncRetriever""#) {
        config["dripfeed"] = json!({"poll_seconds": 0.02});
    }
    let mut tap = Tap::new("read --log-format json")
        .source(&manifest.to_string())
        .config(&config)
        .env("DRIPFEED_NOW", "2024-03-01T00:00:00Z");
    // Tokens that change with every use need a place.
    let kept = tempfile::tempdir().unwrap();
    tap = tap.env("DRIPFEED_STATE_DIR", &kept.path().display().to_string());
    let staging = tempfile::tempdir().unwrap();
    tap = tap.env("AIRBYTE_STAGING_DIRECTORY", &staging.path().display().to_string());
    let state = json(&case.join("state.json"));
    if by_schema(case, manifest) {
        let names = manifest["streams"].as_array().unwrap().iter().map(|s| s["name"].clone());
        let streams = names.map(|name| {
            json!({"stream": {"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]},
                   "sync_mode": "incremental", "destination_sync_mode": "append"})
        });
        tap = tap.args(&["--protocol", "airbyte"]).catalog(&json!({"streams": streams.collect::<Vec<_>>()}));
        if let Some(state) = &state {
            tap = tap.state(&stream_states(state));
        }
    } else if let Some(state) = state {
        tap = tap.state(&json!({"bookmarks": state}));
    }
    let ran = tap.run_as_long_as(limit, || vendor.asked().len() <= most)?;
    let requests_end = vendor.asked().len();
    let mut schemas = BTreeMap::new();
    if manifest.to_string().contains(r#""DynamicSchemaLoader""#) {
        let tap = Tap::new("discover --protocol airbyte").source(&manifest.to_string()).config(&config);
        for message in tap.run_within(limit)?.messages() {
            for stream in message["catalog"]["streams"].as_array().into_iter().flatten() {
                schemas.insert(stream["name"].as_str().unwrap().to_owned(), stream["json_schema"].clone());
            }
        }
    }
    let own = |text: &str| text.replace(&vendor.url, "@url@");
    let shown = |asked: &Asked| {
        json!({
            "method": asked.method, "path": asked.path, "query": own(&asked.query),
            "body": if asked.body.is_empty() { Json::Null } else { json!(own(&asked.body)) },
            "headers": asked.headers,
        })
    };
    let requests: Vec<Json> = vendor.asked()[..requests_end].iter().map(shown).collect();
    let mut streams = BTreeMap::new();
    if by_schema(case, manifest) {
        streams = airbyte_streams(&ran, staging.path());
        for stream in streams.values_mut() {
            *stream = serde_json::from_str(&stream.to_string().replace(&vendor.url, "@url@")).unwrap();
        }
    } else if ran.code != 10 || !requests.is_empty() {
        let state = ran.state();
        let failed: Vec<String> = ran
            .err
            .lines()
            .filter_map(|l| serde_json::from_str::<Json>(l).ok())
            .filter(|l| l["level"] == "error")
            .map(|l| l["message"].as_str().unwrap().to_owned())
            .collect();
        for message in ran.messages().iter().filter(|m| m["type"] == "RECORD") {
            let entry =
                streams.entry(message["stream"].as_str().unwrap().to_owned()).or_insert_with(|| json!({"records": []}));
            entry["records"].as_array_mut().unwrap().push(message["record"].clone());
        }
        let names: Vec<String> = streams
            .keys()
            .cloned()
            .chain(state["bookmarks"].as_object().into_iter().flatten().map(|(k, _)| k.clone()))
            .collect();
        for name in names {
            let entry = streams.entry(name.clone()).or_insert_with(|| json!({"records": []}));
            let mut bookmark = state["bookmarks"][&name].clone();
            if let Some(map) = bookmark.as_object_mut() {
                for own in ["replication_key", "replication_key_value", "lookback_window"] {
                    map.shift_remove(own);
                }
            }
            entry["state"] = bookmark;
            entry["status"] =
                json!(if failed.iter().any(|f| f.contains(&format!("`{name}`"))) { "INCOMPLETE" } else { "COMPLETE" });
        }
        for message in &failed {
            if let Some(name) = message.split("stream `").nth(1).and_then(|r| r.split('`').next()) {
                let entry = streams.entry(name.to_owned()).or_insert_with(|| json!({"records": [], "state": null}));
                entry["status"] = json!("INCOMPLETE");
            }
        }
    }
    let mut files = BTreeMap::new();
    files_in(staging.path(), "", &mut files);
    Some(Outcome { ran, requests, streams, schemas, files })
}

/// The files below a folder with their content, by path.
fn files_in(folder: &Path, at: &str, out: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let shown = format!("{at}{}", without_uuids(path.file_name().unwrap().to_str().unwrap()));
        if path.is_dir() {
            files_in(&path, &format!("{shown}/"), out);
        } else {
            out.insert(shown, std::fs::read_to_string(path).unwrap());
        }
    }
}

/// A UUID of version 4 as `@uuid@`.
fn without_uuids(text: &str) -> String {
    let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
    regex::Regex::new(uuid).unwrap().replace_all(text, "@uuid@").into_owned()
}

/// Records with their files, state and status of each stream, from Airbyte's messages.
fn airbyte_streams(ran: &Ran, staging: &Path) -> BTreeMap<String, Json> {
    let mut streams: BTreeMap<String, Json> = BTreeMap::new();
    let mut of = |name: &Json, with: &dyn Fn(&mut Json)| {
        with(streams.entry(name.as_str().unwrap().to_owned()).or_insert_with(|| json!({"records": [], "state": null})));
    };
    for message in ran.messages() {
        let (record, state, status) =
            (&message["record"], &message["state"]["stream"], &message["trace"]["stream_status"]);
        if record.is_object() {
            of(&record["stream"], &|s| s["records"].as_array_mut().unwrap().push(record["data"].clone()));
            if let Some(file) = record.get("file_reference") {
                let file = without_uuids(&file.to_string().replace(staging.to_str().unwrap(), "@staging@"));
                let file: Json = serde_json::from_str(&file).unwrap();
                of(&record["stream"], &|s| match s["files"].as_array_mut() {
                    Some(files) => files.push(file.clone()),
                    None => s["files"] = json!([file]),
                });
            }
        }
        if state.is_object() {
            let shown = Some(&state["stream_state"]).filter(|s| s.get("__ab_no_cursor_state_message").is_none());
            of(&state["stream_descriptor"]["name"], &|s| s["state"] = shown.cloned().unwrap_or_default());
        }
        if status.is_object() {
            of(&status["stream_descriptor"]["name"], &|s| s["status"] = status["status"].clone());
        }
    }
    streams
}

/// What differs from the recording, in words; nothing when all is the same.
fn differences(case: &Path, outcome: &Outcome) -> Vec<String> {
    let (id, expect) = (name(case), json(&case.join("expect.json")).unwrap());
    let mut out = Vec::new();
    if expect.get("refused").is_some() {
        // Streams that the vendor names are asked for before it can be known.
        let asks = id.starts_with("dynamic_");
        // Airbyte's protocol has one exit code for all faults.
        if id.starts_with("file_uploader_") && outcome.ran.code == 1 && outcome.requests.is_empty() {
            return out;
        }
        // And a schema that cannot be had ends its stream alone.
        if id.starts_with("schema_dynamic_") && outcome.ran.code == 1 && !outcome.ran.out.contains("RECORD") {
            return out;
        }
        if !(asks && outcome.ran.code != 0 && outcome.ran.out.is_empty())
            && (outcome.ran.code != 10 || !outcome.requests.is_empty())
        {
            out.push(format!("must be refused, ended with {}: {}", outcome.ran.code, outcome.ran.err));
        }
        return out;
    }
    if outcome.ran.code == 10 && outcome.requests.is_empty() {
        return vec![format!("refused: {}", outcome.ran.err.trim())];
    }
    // The cases name waits far below those that are taken without a strategy.
    let written = std::fs::read_to_string(case.join("manifest.yaml")).unwrap();
    let waits =
        outcome.ran.err.split("retrying in ").skip(1).map(|w| w.split(' ').next().unwrap().parse::<f64>().unwrap());
    for wait in waits.filter(|w| written.contains("backoff_strategies") && *w > 0.09) {
        out.push(format!("waits {wait} s, which no strategy says"));
    }
    let wanted = &expect["requests"];
    let sent = json!(with_wanted_headers(&outcome.requests, wanted));
    if !same(wanted, &sent) {
        out.push(format!("requests\n  wanted {wanted}\n  sent   {sent}"));
    }
    for (name, schema) in expect["schemas"].as_object().into_iter().flatten() {
        let told = outcome.schemas.get(name).cloned().unwrap_or_default();
        if !same(schema, &told) {
            out.push(format!("{name} schema\n  wanted {schema}\n  given  {told}"));
        }
    }
    if expect.get("files").is_some_and(|files| *files != json!(outcome.files)) {
        out.push(format!("files\n  wanted {}\n  found  {:?}", expect["files"], outcome.files));
    }
    for (name, stream) in expect["streams"].as_object().unwrap() {
        let none = json!({"records": [], "state": null, "status": "COMPLETE"});
        let got = outcome.streams.get(name).unwrap_or(&none);
        // The reference's protocol leaves out fields that are null, which is a row of its own.
        let mut given = got["records"].clone();
        if id != "differs_null_keys" {
            without_nulls(&mut given);
        }
        if !same(&stream["records"], &given) {
            out.push(format!("{name} records\n  wanted {}\n  given  {}", stream["records"], got["records"]));
        }
        if stream["files"] != got["files"] {
            out.push(format!("{name} files\n  wanted {}\n  told   {}", stream["files"], got["files"]));
        }
        let shown = |state: &Json| {
            let none = state.get("__ab_no_cursor_state_message").is_some();
            if none { Json::Null } else { state.clone() }
        };
        let (state, given) = (shown(&stream["state"]), shown(&got["state"]));
        if !same(&state, &given) {
            out.push(format!("{name} state\n  wanted {state}\n  given  {given}"));
        }
        let message = stream["error"]["message"].as_str().unwrap_or_default();
        let message = message.rsplit("Exception: ").next().unwrap();
        let says = message.starts_with("HTTP Status Code") || written.contains("error_message:");
        let python = ["Response was not ok", "An unexpected error occurred"].iter().any(|own| message.starts_with(own));
        if says && !python && !outcome.ran.logged().contains(message) && !outcome.ran.out.contains(message) {
            out.push(format!("{name} says: wanted {message:?}: {}", outcome.ran.err.trim()));
        }
        // The recording's catalog may name a stream that is not there.
        let missing = !outcome.streams.contains_key(name) && stream["error"].is_null();
        if stream["status"] != got["status"] && !(missing && stream["status"] == "INCOMPLETE") {
            out.push(format!(
                "{name} status: wanted {}, is {}: {}",
                stream["status"],
                got["status"],
                outcome.ran.err.trim()
            ));
        }
    }
    out
}

/// Takes fields that are null out of records.
fn without_nulls(records: &mut Json) {
    for record in records.as_array_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        record.retain(|_, value| !value.is_null());
    }
}

/// The requests with those of their headers that the recording holds, named as there.
fn with_wanted_headers(requests: &[Json], wanted: &Json) -> Vec<Json> {
    let keep = |(i, request): (usize, &Json)| {
        let mut request = request.clone();
        let named = wanted[i]["headers"].as_object().into_iter().flatten();
        let sent = |name: &str| request["headers"].get(name.to_lowercase()).cloned();
        let headers: serde_json::Map<String, Json> =
            named.filter_map(|(name, _)| Some((name.clone(), sent(name)?))).collect();
        request["headers"] = json!(headers);
        request
    };
    requests.iter().enumerate().map(keep).collect()
}

/// Equal as JSON: the order of keys means nothing, `1` and `1.0` are two things.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Object(x), Json::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        (Json::Array(x), Json::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(v, w)),
        // `1e2` and `100.0` are one number, written in two ways.
        (Json::Number(x), Json::Number(y)) => {
            let whole = |n: &serde_json::Number| !n.to_string().contains(['.', 'e', 'E']);
            if whole(x) || whole(y) { x == y } else { x.as_f64() == y.as_f64() }
        }
        _ => a == b,
    }
}

fn name(case: &Path) -> &str {
    case.file_name().unwrap().to_str().unwrap()
}

/// More than there are cores: the runs mostly wait.
const THREADS: usize = 24;

/// Runs `each` for every item, on many threads.
fn every<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}

#[test]
fn cases_are_as_recorded() {
    let report = std::sync::Mutex::new(Vec::new());
    every(&cases(), |case| {
        let id = name(case);
        let manifest = as_run(case);
        let outcome = run(case, &manifest, 20 * LONGEST, usize::MAX).unwrap_or_else(|| panic!("{id} does not end"));
        let found = differences(case, &outcome);
        let text = if LATER.contains(&id) {
            let refused =
                outcome.ran.code == 10 && outcome.ran.err.contains("does not support") && outcome.requests.is_empty();
            if refused { String::new() } else { format!("is to be refused by name: {found:?} {}", outcome.ran.err) }
        } else if DIFFERS.contains(&id) {
            if found.is_empty() { "does not differ any more: take it off the list".into() } else { String::new() }
        } else {
            found.join("\n")
        };
        if !text.is_empty() {
            report.lock().unwrap().push(format!("--- {id}\n{text}\n"));
        }
    });
    let mut report = report.into_inner().unwrap();
    report.sort();
    assert!(report.is_empty(), "{} cases\n{}", report.len(), report.join(""));
}

/// Paths of every field that a case's manifest could do without.
fn fields(node: &Json, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    match node {
        Json::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                // What a component is, and what it is called, is no idea of a case; schemas are taken out anyway.
                if !["type", "name", "primary_key", "schema_loader", "check", "spec", "version", "concurrency_level"]
                    .contains(&key.as_str())
                {
                    out.push(path.clone());
                    fields(value, path, out);
                }
                path.pop();
            }
        }
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                fields(item, path, out);
                path.pop();
            }
        }
        _ => {}
    }
}

fn without(manifest: &Json, path: &[String]) -> Json {
    let mut manifest = manifest.clone();
    let (last, way) = path.split_last().unwrap();
    let parent = way.iter().fold(&mut manifest, |at, step| match at {
        Json::Array(items) => &mut items[step.parse::<usize>().unwrap()],
        other => &mut other[step.as_str()],
    });
    parent.as_object_mut().unwrap().shift_remove(last);
    manifest
}

/// `cargo test` takes one field of so many out; `ORACLE_FIELDS=all`, as in `.ci/long`, takes each, and so does `ORACLE`
/// for the cases that it names. Each field is a run of a process: all of them take longer than the rest of the tests.
const FIELDS_APART: usize = 4;

/// The cases are honest: without any one field of its manifest, a case gives another result.
#[test]
fn every_field_of_a_case_matters() {
    let idle = std::sync::Mutex::new(Vec::new());
    let mut changed: Vec<(PathBuf, Arc<Json>, usize, Vec<String>)> = Vec::new();
    for case in cases().into_iter().filter(|c| !LATER.contains(&name(c)) && !DIFFERS.contains(&name(c))) {
        let expect = json(&case.join("expect.json")).unwrap();
        if expect.get("refused").is_some() {
            continue;
        }
        // More requests than were recorded are another result, however the run would end.
        let requests = expect["requests"].as_array().unwrap().len();
        let manifest = Arc::new(as_run(&case));
        let mut paths = Vec::new();
        fields(&manifest, &mut Vec::new(), &mut paths);
        let paths = paths.into_iter().filter(|path| path.len() > 1);
        changed.extend(paths.map(|path| (case.clone(), Arc::clone(&manifest), requests, path)));
    }
    let fewest = if narrowed().is_some() { 1 } else { FEWEST_FIELDS };
    assert!(changed.len() > fewest, "only {} fields were found", changed.len());
    if narrowed().is_none() && std::env::var_os("ORACLE_FIELDS").is_none_or(|all| all != "all") {
        let found = changed.len();
        changed = changed.into_iter().step_by(FIELDS_APART).collect();
        // Past the test runner's capture: nobody takes a part for the whole.
        let note = format!("{} of {found} fields are taken out; ORACLE_FIELDS=all takes each\n", changed.len());
        std::io::stdout().write_all(note.as_bytes()).unwrap();
    }
    every(&changed, |(case, manifest, requests, path)| {
        if run(case, &without(manifest, path), LONGEST, *requests)
            .is_some_and(|outcome| differences(case, &outcome).is_empty())
        {
            idle.lock().unwrap().push(format!("{}: {}", name(case), path.join(".")));
        }
    });
    let mut idle = idle.into_inner().unwrap();
    idle.sort();
    let known = |field: &String| IDLE.iter().any(|(case, part)| field.starts_with(case) && field.contains(part));
    let new: Vec<String> = idle.into_iter().filter(|field| !known(field)).collect();
    assert!(new.is_empty(), "{} fields change nothing when they are taken out:\n{}", new.len(), new.join("\n"));
}
