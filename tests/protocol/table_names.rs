//! Two streams never meet in one table: names that a loader would fold together are sent as names of their own.

use std::collections::BTreeSet;

use dripfeed::protocol::table_names::TableNames;
use serde_json::{Value as Json, json};

use crate::support::tap::{Tap, items};
use crate::support::vendor::Vendor;

/// Streams, and what they are sent as.
fn sent(streams: &[&str]) -> Vec<String> {
    let names = TableNames::of(streams.iter().copied());
    streams.iter().map(|stream| names.renamed(stream).unwrap_or(stream).to_owned()).collect()
}

#[test]
fn streams_that_would_meet_get_names_of_their_own() {
    let long = "a".repeat(63);
    for (streams, expected) in [
        // Nothing meets: names stay, odd ones too.
        (vec!["open_issues", "users", "teams-2"], vec!["open_issues", "users", "teams-2"]),
        (vec!["Users", "Größe", "a/b", "任务"], vec!["Users", "Größe", "a/b", "任务"]),
        // meltano/sdk#2909
        (vec!["open-issues", "closed-issues"], vec!["open_issues", "closed_issues"]),
        (vec!["issues", "open-issues"], vec!["issues", "open_issues"]),
        (vec!["a-b-c", "c"], vec!["a_b_c", "c"]),
        (vec!["a/b", "a_b"], vec!["a_b_98ad6b1a", "a_b"]),
        (vec!["openIssues", "open_issues"], vec!["open_issues_2ba7c7bc", "open_issues"]),
        (vec!["users", "Users"], vec!["users", "users_b4cf9bb8"]),
    ] {
        let found = sent(&streams);
        let without_hash =
            |name: &String| name.rsplit_once('_').filter(|(_, h)| h.len() == 8).map(|(n, _)| n.to_owned());
        for (found, expected) in found.iter().zip(expected.iter().map(|name| (*name).to_owned())) {
            let same =
                *found == expected || without_hash(found).is_some() && without_hash(found) == without_hash(&expected);
            assert!(same, "{streams:?}: {found} and not {expected}");
        }
    }
    let twins = [format!("{long}1"), format!("{long}2")];
    let found = sent(&[&twins[0], &twins[1]]);
    assert!(found[0] != found[1] && found.iter().all(|name| name.len() <= 63), "{found:?}");
}

#[test]
fn no_two_names_meet_and_order_does_not_matter() {
    let all = [
        "a-b", "a_b", "A_B", "A-B", "a/b", "aB", "b", "B", "x-b", "x-y-b", "y-b", "a b", "a.b", "-", "--", "a-", "a_b_",
    ];
    let found = sent(&all);
    let lower: BTreeSet<String> = found.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(lower.len(), all.len(), "{found:?}");
    // What is sent meets nothing.
    let again: Vec<&str> = found.iter().map(String::as_str).filter(|name| *name != "-" && *name != "--").collect();
    assert_eq!(TableNames::of(again.iter().copied()).meetings().count(), 0, "{again:?}");
    let mut reversed = all;
    reversed.reverse();
    let mut names = sent(&reversed);
    names.reverse();
    assert_eq!(names, found);
}

fn manifest(names: &[&str]) -> String {
    let mut manifest: Json =
        serde_json::from_str(&items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({}))).unwrap();
    let stream = manifest["streams"][0].clone();
    let named = |name: &&str| {
        let mut stream = stream.clone();
        stream["name"] = json!(name);
        stream
    };
    manifest["streams"] = names.iter().map(named).collect();
    manifest.to_string()
}

#[test]
fn runs_catalogs_and_validate_tell_of_them() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1}]}}]));
    let manifest = manifest(&["open-issues", "closed-issues"]);
    let tap = |verb: &str| Tap::new(verb).source(&manifest).config(&json!({"url": vendor.url}));
    let both = ["`open-issues`", "`closed-issues`"];
    // Whatever is selected, the names are the same.
    for verb in ["read", "read --streams open-issues"] {
        let ran = tap(verb).run();
        ran.expect(0, &both);
        assert_eq!(ran.records("open_issues").len(), 1);
        assert_eq!(ran.records("open-issues").len(), 0);
        assert_eq!(ran.schema("open_issues")["type"], "object");
    }
    let catalog: Json = serde_json::from_str(&tap("discover").run().expect(0, &both).out).unwrap();
    assert_eq!(
        (&catalog["streams"][0]["tap_stream_id"], &catalog["streams"][0]["stream"]),
        (&json!("open-issues"), &json!("open_issues"))
    );
    assert_eq!(tap("read").catalog(&catalog).run().expect(0, &[]).records("closed_issues").len(), 1);
    let ran = tap("read --protocol airbyte").run();
    ran.expect(0, &[]);
    assert!(format!("{}{}", ran.out, ran.err).contains("one table"), "{}", ran.err);
    assert!(ran.out.contains(r#""stream":"open-issues""#), "{}", ran.out);
    let validated = Tap::new("validate").file("", "m.yaml", &manifest);
    let path = validated.dir.path().join("m.yaml").display().to_string();
    validated.args(&[&path]).run().expect(0, &both);
}
