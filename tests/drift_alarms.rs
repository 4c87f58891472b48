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
