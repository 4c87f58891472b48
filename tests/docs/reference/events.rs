//! Each event that the code writes stands on its page, with each of its fields. The page's words are written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value as Json;
use syn::visit::{self, Visit};

use super::{Page, root};
use crate::support::tap::Tap;

/// The events of a file with the fields that their `json!` names.
#[derive(Default)]
struct Events {
    found: BTreeMap<String, BTreeSet<String>>,
    /// `let fields = json!(…)` of the function that is looked at, by name: the last one before.
    locals: BTreeMap<String, BTreeSet<String>>,
}

/// The keys of a `json!({…})`: texts before a `:` in its braces.
fn keys(tokens: proc_macro2::TokenStream) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for tree in tokens {
        let proc_macro2::TokenTree::Group(group) = tree else { continue };
        let inside: Vec<_> = group.stream().into_iter().collect();
        for pair in inside.windows(2) {
            if let [proc_macro2::TokenTree::Literal(name), proc_macro2::TokenTree::Punct(colon)] = pair
                && colon.as_char() == ':'
            {
                out.insert(name.to_string().trim_matches('"').to_owned());
            }
        }
    }
    out
}

fn json(expression: &syn::Expr) -> Option<BTreeSet<String>> {
    match expression {
        syn::Expr::Macro(call) if call.mac.path.segments.last()?.ident == "json" => Some(keys(call.mac.tokens.clone())),
        syn::Expr::Reference(reference) => json(&reference.expr),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Events {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let (syn::Pat::Ident(name), Some(init)) = (&local.pat, &local.init)
            && let Some(keys) = json(&init.expr)
        {
            self.locals.insert(name.ident.to_string(), keys);
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let arguments: Vec<&syn::Expr> = call.args.iter().collect();
        if call.method == "event"
            && let [_, _, syn::Expr::Lit(name), fields] = arguments[..]
            && let syn::Lit::Str(name) = &name.lit
        {
            let named = match fields {
                syn::Expr::Reference(reference) => match &*reference.expr {
                    syn::Expr::Path(path) => path.path.get_ident().and_then(|i| self.locals.get(&i.to_string())),
                    _ => None,
                },
                _ => None,
            };
            let fields = json(fields).or_else(|| named.cloned()).unwrap_or_default();
            self.found.entry(name.value()).or_default().extend(fields);
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn written(folder: &Path, events: &mut Events) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            written(&path, events);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            events.locals.clear();
            events.visit_file(&syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap());
        }
    }
}

/// The page's rows: the code spans of each event's row.
fn rows() -> BTreeMap<String, BTreeSet<String>> {
    let page = Page::read("docs/src/reference/events.md");
    let rows = page.text.lines().filter(|line| line.starts_with("| `"));
    let spans = |row: &str| row.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.map(|row| (spans(row)[0].clone(), spans(row)[1..].iter().cloned().collect())).collect()
}

#[test]
fn each_event_and_field_of_the_code_stands_on_the_page() {
    let mut events = Events::default();
    written(&root().join("src"), &mut events);
    let rows = rows();
    assert!(events.found.len() > 15, "{:?}", events.found.keys());
    let names: Vec<&String> = events.found.keys().collect();
    let common = ["v", "event", "ts", "source", "tenant", "message"];
    let listed: Vec<&String> = rows.keys().filter(|name| !common.contains(&name.as_str())).collect();
    assert_eq!(listed, names, "events on the page, and in the code");
    for (name, fields) in &events.found {
        let missing: Vec<&String> = fields.difference(&rows[name]).collect();
        assert!(missing.is_empty(), "{name}: {missing:?} are not on the page");
    }
}

#[test]
fn what_a_run_writes_stands_on_the_page() {
    let tap = Tap::new("read --source sandbox -q");
    let file = tap.dir.path().join("events.jsonl");
    let tap = tap.args(&["--events", file.to_str().unwrap()]);
    tap.run().expect(0, &[]);
    let rows = rows();
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written.lines().count() > 3, "{written}");
    for line in written.lines() {
        let event: Json = serde_json::from_str(line).unwrap();
        let row = &rows[event["event"].as_str().unwrap()];
        for key in event.as_object().unwrap().keys() {
            assert!(row.contains(key) || rows.contains_key(key), "`{key}` of {line} is not on the page");
        }
    }
}
