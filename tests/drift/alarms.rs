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
        let ran =
            tenant.text(r#"{"data": [{"a": 1, "b": 2}, {"b": 1, "a": 2}, {"a": 12, "b": 1}, {"a": 1, "b": 21}]}"#);
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
    let record =
        |id: u64| if with && !id.is_multiple_of(10) { json!({"id": id, "b": 1}) } else { json!({"id": id, "a": 1}) };
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

/// `count` records of a window, each made from its number.
fn window(first: u64, count: u64, made: impl Fn(u64) -> Json) -> Vec<Json> {
    let record = |id: u64| {
        let mut record = made(id);
        record["id"] = json!(id);
        record["at"] = json!(format!("2024-{:02}-{:02}T00:00:00Z", 1 + id / 27_000 % 12, 1 + id / 1000 % 27));
        record
    };
    (first..first + count).map(record).collect()
}

/// A tenant that reads windows: `no` and `price` are numbers, `paid` is a text or null.
fn by_windows() -> Tenant {
    let schema = json!({
        "id": {"type": "integer"}, "at": {"type": "string"}, "no": {"type": "integer"}, "price": {"type": "number"},
        "paid": {"type": ["null", "string"]},
    });
    Tenant::new(&items(&schema, &incremental(), &json!({})))
}

#[test]
fn numbers_that_grow_are_of_no_other_scale() {
    let mut tenant = by_windows();
    calm(&mut tenant, &window(1, 199, |id| json!({"no": id})));
    for first in [5000, 5200, 5400, 90_000, 90_300] {
        calm(&mut tenant, &window(first, 200, |id| json!({"no": id})));
    }
    assert_eq!(tenant.open(), [""; 0]);
    // A table of the last records, all of which is read each time.
    let mut tenant = Tenant::new(&items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({})));
    for first in [100, 300, 900, 2000, 5000, 40_000, 900_000] {
        let records: Vec<Json> = (first..first + 150).map(|id| json!({"id": id, "no": id + 7})).collect();
        calm(&mut tenant, &records);
    }
}

#[test]
fn cents_are_found_by_the_second_window_and_at_once_in_all_records() {
    let priced = |id: u64, times: f64| json!({"price": (0.125 + f64::from((id * 37 % 400) as u32)) * times});
    let mut tenant = by_windows();
    for first in [0, 1000] {
        calm(&mut tenant, &window(first, 300, |id| priced(id, 1.0)));
    }
    calm(&mut tenant, &window(2000, 300, |id| priced(id, 100.0)));
    // Too few to tell.
    calm(&mut tenant, &window(2500, 5, |id| priced(id, 100.0)));
    for first in [3000, 4000] {
        assert_eq!(
            told(tenant.items(&window(first, 300, |id| priced(id, 100.0))).expect(0, &[])),
            ["scale_changed /price"]
        );
    }
    // One window alone is none, again and again.
    let mut tenant = by_windows();
    for (number, times) in [1.0, 1.0, 100.0, 1.0, 1.0, 100.0, 1.0].into_iter().enumerate() {
        calm(&mut tenant, &window(number as u64 * 1000, 300, |id| priced(id, times)));
    }
    let mut tenant = Tenant::new(&items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({})));
    let mut read = |times: f64| {
        let records = window(0, 300, |id| priced(id, times));
        told(tenant.items(&records).expect(0, &[]))
    };
    assert_eq!(read(1.0), [""; 0]);
    assert_eq!(read(1.0), [""; 0]);
    assert_eq!(read(100.0), ["scale_changed /price"]);
}

#[test]
fn nulls_of_one_window_are_no_change() {
    let paid = |paid: bool| move |_| json!({"paid": if paid { json!("x") } else { Json::Null }});
    let mut tenant = by_windows();
    calm(&mut tenant, &window(0, 200, paid(true)));
    calm(&mut tenant, &window(1000, 15, paid(false)));
    // The next has values: so it may be null.
    calm(&mut tenant, &window(2000, 15, paid(true)));
    calm(&mut tenant, &window(3000, 15, paid(false)));
    calm(&mut tenant, &window(4000, 15, paid(false)));

    let mut tenant = by_windows();
    calm(&mut tenant, &window(0, 200, paid(true)));
    calm(&mut tenant, &window(1000, 15, paid(false)));
    calm(&mut tenant, &window(2000, 2, paid(false)));
    let second = tenant.items(&window(3000, 15, paid(false)));
    assert_eq!(told(second.expect(0, &[])), ["field_became_nullable /paid"]);
    calm(&mut tenant, &window(4000, 15, paid(false)));

    let mut tenant = Tenant::new(&items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({})));
    calm(&mut tenant, &window(0, 200, paid(true)));
    let all = tenant.items(&window(0, 200, paid(false)));
    assert_eq!(told(all.expect(0, &[])), ["field_became_nullable /paid"]);
}
