//! Properties that hold for every input: scanner, state, time formats. Those of the limiter are in `pace/limiter.rs`.

use dripfeed::base::json::scan::Scanner;
use dripfeed::base::timefmt::{Format, Period, from_micros, isoformat, parse_iso};
use dripfeed::engine::cursor::ranges::{Range, Ranges, Span, Spans};
use dripfeed::engine::extract;
use dripfeed::engine::shape::wire::RecordSchema;
use dripfeed::manifest::jinja::literal;
use dripfeed::manifest::node::{Place, Read};
use dripfeed::manifest::template::EvalContext;
use dripfeed::manifest::yaml::parse_yaml;
use dripfeed::protocol::singer_catalog::Selection;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|p| Json::Object(p.into_iter().collect())),
        ]
    })
}

fn accepts(bytes: &[u8]) -> bool {
    let mut scanner = Scanner::new(bytes);
    scanner.skip().and_then(|()| scanner.end()).is_ok()
}

proptest! {
    /// Spans are what a set of moments is: each in it or not, in as few pieces as can be.
    #[test]
    fn spans_are_a_set_of_moments(
        added in prop::collection::vec((0..40i64, 0..12i64), 0..12),
        asked in (0..40i64, 1..20i64),
    ) {
        let at = |hour: i64| from_micros(i128::from(hour) * 3_600_000_000).unwrap();
        let span = |(from, length): (i64, i64)| Span { start: at(from), end: at(from + length) };
        let spans: Spans = added.iter().copied().map(span).collect();
        let inside = |hour: i64| added.iter().any(|(from, length)| (*from..from + length).contains(&hour));
        let holds = |list: &[Span], hour: i64| list.iter().any(|s| s.start <= at(hour) && at(hour) < s.end);
        let missing = spans.missing(span(asked));
        for hour in 0..80 {
            prop_assert_eq!(holds(spans.list(), hour), inside(hour), "hour {}", hour);
            let wanted = (asked.0..asked.0 + asked.1).contains(&hour) && !inside(hour);
            prop_assert_eq!(holds(&missing, hour), wanted, "hour {} is missing", hour);
        }
        for list in [spans.list(), &missing] {
            prop_assert!(list.iter().all(|s| s.start < s.end));
            prop_assert!(list.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
        // What was missing and is read is all that was asked for.
        let mut whole = spans.clone();
        for span in missing {
            whole.add(span);
        }
        prop_assert!(whole.missing(span(asked)).is_empty());
    }

    /// What serde_json writes, the scanner accepts; pretty-printed too.
    #[test]
    fn the_scanner_accepts_json(json in any_json()) {
        prop_assert!(accepts(json.to_string().as_bytes()));
        prop_assert!(accepts(serde_json::to_string_pretty(&json).unwrap().as_bytes()));
    }

    /// One byte changed, dropped or doubled: the scanner and serde_json agree whether it is JSON.
    #[test]
    fn the_scanner_refuses_what_serde_json_refuses(
        json in any_json(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        way in 0..3,
    ) {
        let mut bytes = json.to_string().into_bytes();
        let at = at.index(bytes.len());
        match way {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        // The scanner is given UTF-8 only.
        if std::str::from_utf8(&bytes).is_ok() {
            let serde = serde_json::from_slice::<Json>(&bytes);
            // A huge exponent is a number to the scanner, as it is to JSON.
            let out_of_range = serde.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
            prop_assert!(out_of_range || accepts(&bytes) == serde.is_ok(), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    /// A record that nothing describes is rewritten to the same JSON, on one line.
    #[test]
    fn rewriting_keeps_what_no_rule_asks_to_change(json in any_json()) {
        let record = json!({"id": "1", "x": json});
        let schema = json!({"properties": {"id": {"type": "string"}}});
        let wire = RecordSchema::build(&schema, &["id".into()], None, &Selection::default());
        for text in [record.to_string(), serde_json::to_string_pretty(&record).unwrap()] {
            let mut out = Vec::new();
            wire.rewrite(&mut Scanner::new(text.as_bytes()), &mut out).unwrap();
            prop_assert!(!out.contains(&b'\n'));
            let again: Json = serde_json::from_slice(&out).unwrap();
            let clean = |j: &Json| j.to_string().replace("\\u0000", "");
            prop_assert_eq!(clean(&again), clean(&record));
        }
    }

    /// Records come out in order, however the page is laid out around them.
    #[test]
    fn every_record_of_a_page_is_found(
        records in prop::collection::vec(any_json().prop_map(|j| json!({"r": j})), 0..8),
        noise in any_json(),
    ) {
        let body = json!({"noise": noise, "data": {"rows": records}, "next": "t"}).to_string();
        let def = parse_yaml("{type: DpathExtractor, field_path: [data, rows]}", "t").unwrap();
        let def = dripfeed::manifest::model::Extractor::read(&def, &Place::top("t")).unwrap();
        let cx = EvalContext { config: json!({}), now: from_micros(0).unwrap(), began: None };
        let extract::Records::Walk(path) = extract::build(&def, &cx).unwrap() else { panic!("it is a plain path") };
        let mut found = Vec::new();
        let page = extract::walk::<()>(body.as_bytes(), &path, &["next".into()], &mut |scanner| {
            scanner.peek()?;
            let start = scanner.at();
            scanner.skip()?;
            found.push(serde_json::from_slice::<Json>(scanner.slice(start..scanner.at())).unwrap());
            Ok(())
        }).unwrap_or_else(|_| panic!("{body}"));
        prop_assert_eq!(&found, &records);
        prop_assert_eq!(page.records as usize, records.len());
        prop_assert_eq!(&body[page.fields[0].1.clone()], "\"t\"");
    }

    /// Windows closed in any order give one range, and the state never passes a window that is still open.
    #[test]
    fn a_state_never_runs_past_a_gap(
        order in Just((0..20usize).collect::<Vec<_>>()).prop_shuffle(),
        done in 0..20usize,
    ) {
        let day = |n: usize| from_micros(n as i128 * 86_400_000_000).unwrap();
        let gap = Period { months: 0, exact: time::Duration::DAY };
        let mut ranges = Ranges::of(vec![Range { start: day(0), end: day(0), newest: Some(day(0)) }]);
        for n in &order[..done] {
            ranges.add(Range { start: day(1 + 2 * n), end: day(2 + 2 * n), newest: Some(day(2 + 2 * n)) }, gap);
        }
        let first_open = (0..20).find(|n| !order[..done].contains(n)).unwrap();
        prop_assert_eq!(ranges.list[0].newest, Some(day(2 * first_open)));
        for pair in ranges.list.windows(2) {
            prop_assert!(pair[0].end < pair[1].start);
        }
    }

    /// What a format writes, it reads.
    #[test]
    fn time_formats_read_what_they_write(micros in 0i64..4_000_000_000_000_000, offset in -720i32..=840) {
        let offset = time::UtcOffset::from_whole_seconds(offset * 60).unwrap();
        let t = from_micros(micros.into()).unwrap().to_offset(offset);
        for (source, exact) in [
            ("%Y-%m-%dT%H:%M:%S.%f%z", true),
            ("%d/%b/%Y %I:%M:%S %p %z", false),
            ("%s", false),
            ("%Y%m%d%H%M%S", false),
        ] {
            let format = Format::compile(source).unwrap();
            let again = format.parse(&format.format(t)).unwrap();
            if exact {
                prop_assert_eq!(isoformat(again, 'T'), isoformat(t, 'T'));
            }
            if source == "%s" || source.contains("%z") {
                prop_assert_eq!(format.format(again), format.format(t));
            }
        }
        prop_assert_eq!(parse_iso(&isoformat(t, 'T')).unwrap(), t);
    }

    /// No text makes the readers of untrusted texts panic or hang.
    #[test]
    fn nothing_panics_on_any_text(text in "\\PC{0,40}", format in "[%a-zA-Z0-9: .]{0,12}") {
        let _ = literal(&text);
        let _ = parse_iso(&text);
        let _ = Period::parse(&text);
        let _ = dripfeed::manifest::jinja::JinjaTemplate::parse(&text);
        let _ = dripfeed::manifest::jinja::JinjaTemplate::parse(&format!("{{{{ {text} }}}}"));
        if let Ok(format) = Format::compile(&format) {
            let _ = format.parse(&text);
            let _ = format.format(from_micros(0).unwrap());
        }
    }
}
