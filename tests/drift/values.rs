//! Values of every kind at every place: what a first contact brings is kept and is no change afterwards, keys have the
//! type that was announced, and harmless spellings stop nothing.

use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, told};
use crate::support::tap::{Ran, items};

/// A value of each kind.
fn kinds() -> Vec<Json> {
    vec![json!("text"), json!(5), json!(5.25), json!(true), json!({"a": 1}), json!([{"a": 1}]), json!([1, 2])]
}

/// Runs the check for each case, several at once, and gives what it found.
fn all<T: Sync>(cases: &[T], check: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    std::thread::scope(|scope| {
        let check = &check;
        let parts = cases.chunks(cases.len().div_ceil(4));
        let parts = parts.map(|part| scope.spawn(move || part.iter().filter_map(check).collect::<Vec<_>>()));
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// Does the value stand in what was written, as it is or as its text?
fn stands(value: &Json, written: &Json) -> bool {
    let as_text = written.as_str().is_some_and(|text| {
        text == value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            || serde_json::from_str::<Json>(text).is_ok_and(|json| json == *value)
    });
    written == value || as_text
}

/// A place of a record: what is declared of it, the record with a value there, and where values stand in what is sent.
struct Spot {
    name: &'static str,
    schema: fn(Json) -> Json,
    put: fn(Json) -> Json,
    /// One record that has all of the values, where it can.
    together: Option<fn(&[Json]) -> Json>,
    found: fn(&Json) -> Vec<Json>,
}

/// The columns of a field: its own and those beside it.
fn columns(object: &Json) -> Vec<Json> {
    let columns = object.as_object().into_iter().flatten();
    columns.filter(|(name, _)| *name == "v" || name.starts_with("v__")).map(|(_, value)| value.clone()).collect()
}

/// What is written, or what its text spells.
fn spelled(json: &Json) -> Json {
    json.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| json.clone())
}

/// The items of a list, as they are written or as its text spells them.
fn list(record: &Json) -> Vec<Json> {
    spelled(&record["l"]).as_array().cloned().unwrap_or_default()
}

fn spots() -> Vec<Spot> {
    vec![
        Spot { name: "field", schema: |of| json!({"v": of}), put: |v| json!({"v": v}), together: None, found: columns },
        Spot {
            name: "field within",
            schema: |of| json!({"o": {"type": ["null", "object"], "properties": {"v": of, "k": {"type": "string"}}}}),
            put: |v| json!({"o": {"v": v, "k": "k"}}),
            together: None,
            found: |record| columns(&spelled(&record["o"])),
        },
        Spot {
            name: "item",
            schema: |of| json!({"l": {"type": ["null", "array"], "items": of}}),
            put: |v| json!({"l": [v]}),
            together: Some(|values| json!({"l": values})),
            found: list,
        },
        Spot {
            name: "field of an item",
            schema: |of| {
                let fields = json!({"v": of, "k": {"type": "string"}});
                json!({"l": {"type": ["null", "array"], "items": {"type": ["null", "object"], "properties": fields}}})
            },
            put: |v| json!({"l": [{"v": v, "k": "k"}]}),
            together: Some(|values| json!({"l": values.iter().map(|v| json!({"v": v, "k": "k"})).collect::<Vec<_>>()})),
            found: |record| list(record).iter().flat_map(|item| columns(&spelled(item))).collect(),
        },
    ]
}

/// A place that no schema says anything of.
fn nowhere() -> Spot {
    Spot {
        name: "field of an unknown object",
        schema: |_| json!({}),
        put: |v| json!({"w": {"v": v, "k": "k"}}),
        together: None,
        found: |record| columns(&spelled(&record["w"])),
    }
}

/// The schema without the fields of which it says nothing.
fn declared(mut schema: Json) -> Json {
    fn clean(at: &mut Json) {
        if let Json::Object(fields) = at {
            fields.retain(|_, inner| !inner.is_null());
            fields.values_mut().for_each(clean);
        }
    }
    clean(&mut schema);
    schema["id"] = json!({"type": "string"});
    schema
}

fn records(spot: &Spot, values: &[Json]) -> Vec<Json> {
    let record = |(number, value): (usize, &Json)| {
        let mut record = (spot.put)(value.clone());
        record["id"] = json!(format!("r{number}"));
        record
    };
    values.iter().enumerate().map(record).collect()
}

/// The records that a run sent, in either protocol.
fn sent(ran: &Ran) -> Vec<Json> {
    let records = ran.messages().into_iter().filter(|message| message["type"] == "RECORD");
    records.map(|message| message["record"].get("data").unwrap_or(&message["record"]).clone()).collect()
}

/// Which values do not stand in what a run sent.
fn lost(spot: &Spot, values: &[Json], ran: &Ran) -> Vec<Json> {
    let found: Vec<Json> = sent(ran).iter().flat_map(|record| (spot.found)(record)).collect();
    let missing = |value: &&Json| !found.iter().any(|written| stands(value, written));
    values.iter().filter(missing).cloned().collect()
}

/// What is wrong when records with such values are read twice. `kept`: with a state directory?
fn twice(
    spot: &Spot,
    of: &Json,
    values: &[Json],
    (together, kept, protocol): (bool, bool, &'static str),
) -> Vec<String> {
    let mut tenant = Tenant::new(&items(&declared((spot.schema)(of.clone())), &json!({}), &json!({})));
    tenant.protocol = protocol;
    if !kept {
        tenant.ours.as_object_mut().unwrap().remove("state_dir");
    }
    let mut records = records(spot, values);
    if let Some(all) = spot.together.filter(|_| together) {
        records.truncate(1);
        records[0]["l"] = all(values)["l"].clone();
    }
    let mut found = Vec::new();
    for run in 1..=2 {
        let ran = tenant.items(&records);
        if ran.code != 0 || !told(&ran).is_empty() {
            found.push(format!("run {run} ended with {} and told {:?}", ran.code, told(&ran)));
        }
        let lost = lost(spot, values, &ran);
        if !lost.is_empty() {
            found.push(format!("run {run} lost {lost:?} of {:?}", sent(&ran)));
        }
    }
    let shown = |what| format!("{} of {}, {together} {kept} {protocol}: {values:?}: {what}", spot.name, of["type"][1]);
    found.into_iter().map(shown).collect()
}

#[test]
fn what_the_first_contact_brings_is_sent_and_no_change_in_the_next_run() {
    let declared = ["string", "integer", "object"].map(|name| json!({"type": ["null", name]}));
    let mut cases = Vec::new();
    for a in kinds() {
        for b in kinds() {
            let values = [a.clone(), b];
            for spot in 0..spots().len() {
                let none = Json::Null;
                // Of fields that are not declared nothing is lost, whatever is kept.
                let ways =
                    [(false, true, "singer"), (true, true, "singer"), (true, false, "singer"), (true, true, "airbyte")];
                cases.extend(ways.map(|way| (Some(spot), none.clone(), values.clone(), way)));
                cases
                    .extend(declared.iter().map(|of| (Some(spot), of.clone(), values.clone(), (true, true, "singer"))));
            }
            cases.extend([true, false].map(|kept| (None, Json::Null, values.clone(), (false, kept, "singer"))));
        }
    }
    let wrong = all(&cases, |(spot, of, values, way)| {
        let spot = spot.map_or_else(nowhere, |spot| spots().remove(spot));
        let found = twice(&spot, of, values, *way);
        (!found.is_empty()).then(|| found.join("\n"))
    });
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The type of a value, as a schema names it.
fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// What a run did to its keys, where that is not as it must be.
fn keys(ran: &Ran) -> Option<String> {
    let mut announced = Json::Null;
    for message in ran.messages() {
        if message["type"] == "SCHEMA" {
            announced = message["schema"]["properties"]["id"]["type"].clone();
        }
        let key = &message["record"]["id"];
        let names = [type_of(key), if type_of(key) == "integer" { "number" } else { "" }];
        let fits = names
            .iter()
            .any(|name| announced == *name || announced.as_array().is_some_and(|a| a.contains(&json!(name))));
        if message["type"] == "RECORD" && !fits {
            return Some(format!("the key {key}, announced as {announced}"));
        }
    }
    (![0, 40].contains(&ran.code)).then(|| format!("exit {}", ran.code))
}

#[test]
fn keys_are_never_null_and_of_the_type_that_was_announced() {
    let types = ["string", "integer", "number", "boolean"].map(|name| json!({"type": ["null", name]}));
    let types: Vec<Json> = types.into_iter().chain([Json::Null]).collect();
    let values = [json!("a"), json!("12"), json!(5), json!(5.5), json!(true), json!({"a": 1}), json!([1])];
    let mut cases = Vec::new();
    for of in &types {
        for a in &values {
            cases.extend(values.iter().map(|b| (of.clone(), a.clone(), b.clone())));
        }
    }
    let wrong = all(&cases, |(of, a, b)| {
        let schema = if of.is_null() { json!({"n": {"type": "string"}}) } else { json!({"id": of}) };
        let manifest = items(&schema, &json!({}), &json!({}));
        let page = [json!({"id": a, "n": "a"}), json!({"id": b, "n": "b"})];
        let mut found = Vec::new();
        for stores in [true, false] {
            let mut tenant = Tenant::new(&manifest);
            if !stores {
                tenant.ours.as_object_mut().unwrap().remove("state_dir");
            }
            for run in 1..=2 {
                let ran = tenant.items(&page);
                found.extend(keys(&ran).map(|what| format!("run {run}, kept {stores}: {what}")));
                // A first contact teaches: the same keys are well in the next run.
                if ran.code != 0 || ran.records("items").len() != 2 {
                    found.push(format!("run {run}, kept {stores}: exit {}", ran.code));
                }
            }
        }
        (!found.is_empty()).then(|| format!("{}: {a} and {b}: {}", of["type"][1], found.join("; ")))
    });
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn harmless_spellings_are_null_or_the_boolean_that_they_say() {
    let text = |format: &str| json!({"type": ["null", "string"], "format": format});
    let of = |name: &str| json!({"type": ["null", name]});
    let object = json!({"type": ["null", "object"], "properties": {"a": {"type": ["null", "integer"]}}});
    let list = json!({"type": ["null", "array"], "items": {"type": "integer"}});
    let nothing = |well: &Json, ways: &[Json]| ways.iter().map(|way| (well.clone(), way.clone(), Json::Null)).collect();
    let said = |yes: bool| move |way: &Json| (json!(true), way.clone(), json!(yes));
    let yes = [json!("true"), json!("True"), json!("TRUE"), json!("1"), json!(1)];
    let no = [json!("false"), json!("False"), json!("0"), json!(0)];
    let flags = yes.iter().map(said(true)).chain(no.iter().map(said(false)));
    let flags = flags.chain([(json!(false), json!(""), Json::Null)]).collect();
    let structure = [json!([]), json!({}), json!(false), json!("")];
    // What is declared, and for each spelling a value as it mostly is, the spelling, and what is sent for it.
    let cases: Vec<(Json, Vec<(Json, Json, Json)>)> = vec![
        (of("integer"), nothing(&json!(5), &[json!("")])),
        (of("number"), nothing(&json!(5.25), &[json!("")])),
        (text("date-time"), nothing(&json!("2024-01-01T00:00:00Z"), &[json!("")])),
        (text("date"), nothing(&json!("2024-01-01"), &[json!("")])),
        (object, nothing(&json!({"a": 1}), &[structure[0].clone(), structure[2].clone(), structure[3].clone()])),
        (list, nothing(&json!([1]), &structure[1..])),
        (of("boolean"), flags),
    ];
    let cases: Vec<(Json, (Json, Json, Json))> =
        cases.into_iter().flat_map(|(of, ways)| ways.into_iter().map(move |way| (of.clone(), way))).collect();
    let wrong = all(&cases, |(of, (well, spelling, sent))| {
        let mut found = Vec::new();
        for spot in spots() {
            let mut tenant = Tenant::new(&items(&declared((spot.schema)(of.clone())), &json!({}), &json!({})));
            let wells = vec![well.clone(); 30];
            let mut odd = wells.clone();
            odd.push(spelling.clone());
            // On the first contact, and once it is known what is normal there.
            for (run, values) in [(1, &odd), (2, &wells), (3, &odd)] {
                let ran = tenant.items(&records(&spot, values));
                let last = ran.records("items").pop().unwrap_or_default();
                let written = (spot.found)(&last);
                let wanted = if run == 2 { well } else { sent };
                if ran.code != 0 || !told(&ran).is_empty() || written != std::slice::from_ref(wanted) {
                    found.push(format!("{} {run}: {} {:?} sent {written:?}", spot.name, ran.code, told(&ran)));
                }
            }
        }
        (!found.is_empty()).then(|| format!("{spelling} for {well}: {}", found.join("; ")))
    });
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
