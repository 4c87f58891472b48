//! What looks like a change and is none raises nothing; what is one is found all the same.

use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, incremental, paged, told};
use crate::support::tap::items;
use crate::support::vendor::Vendor;

fn schema() -> Json {
    json!({"id": {"type": "integer"}, "a": {"type": ["null", "integer"]}})
}

/// Reads records that raise nothing.
fn calm(tenant: &mut Tenant, records: &[Json]) {
    assert_eq!(told(tenant.items(records).expect(0, &[])), [""; 0]);
}

#[test]
fn a_read_without_records_teaches_nothing() {
    let mut tenant = Tenant::new(&items(&schema(), &json!({}), &json!({})));
    calm(&mut tenant, &[]);
    calm(&mut tenant, &[json!({"id": 1, "a": "x", "new": 1}), json!({"id": 2, "a": null})]);
    // Now it knows.
    assert_eq!(told(tenant.items(&[json!({"id": 1, "a": "x", "b": 1})]).expect(0, &[])), ["field_added /b"]);
}

#[test]
fn reads_that_never_come_to_their_end_teach_enough() {
    let mut tenant = Tenant::new(&items(&schema(), &json!({}), &paged()));
    let mut broken = |value: Json| {
        let records: Vec<Json> = (0..600).map(|id| json!({"id": id, "a": 1})).collect();
        let replies = json!([
            {"status": 200, "json": {"data": records, "next": "p1"}},
            {"status": 200, "json": {"data": [{"id": 1000, "a": value}], "next": "p2"}},
            {"status": 400, "json": {}},
        ]);
        let ran = tenant.read(&Vendor::of_items(replies));
        assert!(ran.code != 0);
        told(&ran)
    };
    assert_eq!(broken(json!(1)), [""; 0]);
    assert_eq!(broken(json!(1)), [""; 0]);
    assert_eq!(broken(json!("x")), ["field_type_changed /a"]);
}

#[test]
fn a_cursor_that_never_could_be_read_is_not_gone() {
    let schema = json!({"id": {"type": "integer"}, "at": {"type": "string"}});
    let mut tenant = Tenant::new(&items(&schema, &incremental(), &json!({})));
    let records = |unread: usize| -> Vec<Json> {
        (0..100).map(|id| json!({"id": id, "at": if id % 4 < unread { "" } else { "2024-02-01T00:00:00Z" }})).collect()
    };
    for _ in 0..3 {
        calm(&mut tenant, &records(2));
    }
    // More of them than ever.
    assert_eq!(told(tenant.items(&records(4)).expect(40, &[])), ["cursor_missing /at"]);
    // That was not learned.
    assert_eq!(told(tenant.items(&records(4)).expect(40, &[])), ["cursor_missing /at"]);
    calm(&mut tenant, &records(2));
}

#[test]
fn a_record_is_told_from_others_by_all_of_its_keys() {
    let flag = json!({"id": {"type": "integer"}, "test": {"type": "boolean"}});
    let mut tenant = Tenant::new(&items(&flag, &json!({"primary_key": ["id", "test"]}), &json!({})));
    let mut records: Vec<Json> = (0..30).map(|n| json!({"id": n / 2, "test": n % 2 == 0})).collect();
    calm(&mut tenant, &records);
    calm(&mut tenant, &records);
    records.push(json!({"id": 3, "test": true}));
    assert_eq!(told(tenant.items(&records).expect(0, &[])), ["duplicate_ids"]);

    let within = json!({"a": {"type": "object"}, "v": {"type": "integer"}});
    let mut tenant = Tenant::new(&items(&within, &json!({"primary_key": [["a", "id"]]}), &json!({})));
    let records: Vec<Json> = (0..30).map(|n| json!({"a": {"id": n}, "v": 1})).collect();
    calm(&mut tenant, &records);
    calm(&mut tenant, &records);

    // The same values under other keys are another record.
    let two = json!({"a": {"type": "integer"}, "b": {"type": "integer"}});
    let mut tenant = Tenant::new(&items(&two, &json!({"primary_key": ["a", "b"]}), &json!({})));
    for _ in 0..2 {
        let ran = tenant.text(r#"{"data": [{"a": 1, "b": 2}, {"b": 1, "a": 2}, {"a": 12, "b": 1}, {"a": 1, "b": 21}]}"#);
        assert_eq!(told(ran.expect(0, &[])), [""; 0]);
    }
}

#[test]
fn a_key_that_no_schema_declares_tells_records_apart_or_is_not_asked() {
    let mut tenant = Tenant::new(&items(&json!({"v": {"type": "integer"}}), &json!({}), &json!({}))).airbyte();
    let records: Vec<Json> = (0..30).map(|n| json!({"id": n, "v": 1})).collect();
    for _ in 0..2 {
        let ran = tenant.items(&records);
        assert!(!told(ran.expect(0, &[])).contains(&"duplicate_ids".to_owned()));
    }
    assert_eq!(tenant.open(), [""; 0]);
}

/// A paginator that asks for pages of a size, which must be the vendor's too.
fn pages_of(size: u64) -> Json {
    let mut more = paged();
    more["paginator"]["pagination_strategy"]["page_size"] = json!(size);
    more["paginator"]["page_size_option"] =
        json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": "limit"});
    more
}

#[test]
fn smaller_pages_are_no_news_when_smaller_ones_were_asked_for() {
    let read = |tenant: &mut Tenant, size: usize| {
        let records: Vec<Json> = (0..60).map(|id| json!({"id": id, "a": 1})).collect();
        let pages: Vec<Vec<Json>> = records.chunks(size).map(<[Json]>::to_vec).collect();
        told(tenant.pages(&pages).expect(0, &[]))
    };
    let mut tenant = Tenant::new(&items(&schema(), &json!({}), &pages_of(20)));
    assert_eq!(read(&mut tenant, 20), [""; 0]);
    tenant.manifest = items(&schema(), &json!({}), &pages_of(10));
    assert_eq!(read(&mut tenant, 10), [""; 0]);
    assert_eq!(read(&mut tenant, 10), [""; 0]);
    // The vendor's doing.
    assert_eq!(read(&mut tenant, 5), ["page_size_changed"]);
    assert_eq!(read(&mut tenant, 5), [""; 0]);
}

/// Nine of ten records have `b`, if any.
fn table(count: u64, with: bool) -> Vec<Json> {
    let record = |id: u64| if with && id % 10 > 0 { json!({"id": id, "b": 1}) } else { json!({"id": id, "a": 1}) };
    (0..count).map(record).collect()
}

#[test]
fn a_small_table_that_is_read_often_says_no_more_than_once() {
    let mut tenant = Tenant::new(&items(&schema(), &json!({}), &json!({})));
    for _ in 0..30 {
        calm(&mut tenant, &[json!({"id": 1, "a": 1, "b": 1})]);
    }
    for _ in 0..25 {
        calm(&mut tenant, &[json!({"id": 1, "a": 1})]);
    }
    // Few of many have it: these few lose it.
    let mut tenant = Tenant::new(&items(&schema(), &json!({}), &json!({})));
    let mut records = table(500, false);
    records.iter_mut().take(10).for_each(|record| record["c"] = json!(1));
    for _ in 0..12 {
        calm(&mut tenant, &records);
    }
    for _ in 0..5 {
        calm(&mut tenant, &table(500, false));
    }
    assert_eq!(tenant.open(), [""; 0]);
}

#[test]
fn a_field_that_leaves_a_table_is_found_by_one_read_of_it() {
    let mut tenant = Tenant::new(&items(&schema(), &json!({}), &json!({})));
    for _ in 0..3 {
        calm(&mut tenant, &table(60, true));
    }
    assert_eq!(told(tenant.items(&table(60, false)).expect(0, &[])), ["field_removed /b"]);
    assert_eq!(told(tenant.items(&table(60, false)).expect(0, &[])), ["field_removed /b"]);
    assert_eq!(tenant.open(), ["field_removed /b"]);
    calm(&mut tenant, &table(60, true));
    assert_eq!(tenant.open(), [""; 0]);
}
