//! Which alternative of an `anyOf` or `oneOf` the author of a config meant.
//!
//! Input: an error about alternatives, with the errors of each. Output: what is wrong with the closest one, or the
//! keys of which one is needed. Called by `explain`, which explains the errors of the closest one.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::{Map, Value as Json};

use crate::base::fault::did_you_mean;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// The place, as a JSON pointer.
    pub(super) pointer: String,
    /// The rest of a sentence; its subject is the place.
    pub(super) text: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

/// The most alternatives that are listed.
const LISTED: usize = 12;
/// How alike two keys are at least, of which one is taken for a misspelling of the other.
const ALIKE: f64 = 0.55;

/// Explains any error.
type Explain<'e> = dyn Fn(&ValidationError<'_>) -> Finding + 'e;

/// Explains that a value fits no alternative.
pub(super) fn alternative(
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    branches: &[Json],
    explain: &Explain<'_>,
) -> Finding {
    let pointer = error.instance_path().to_string();
    let value = error.instance();
    let constants: Vec<&Json> = branches.iter().flat_map(constants).collect();
    if !branches.is_empty() && branches.iter().all(|branch| !constants_of(branch).is_empty()) {
        let constants: Vec<Json> = constants.into_iter().cloned().collect();
        return one_of(pointer, value, &constants);
    }
    let Some(object) = value.as_object() else { return of_types(error, context, explain, pointer) };
    if let Some(name) = discriminator(branches) {
        let options = || branches.iter().flat_map(|branch| constants_of(&branch["properties"][name.as_str()]));
        let at = format!("{pointer}/{name}");
        let Some(given) = object.get(&name) else {
            let shown: Vec<String> = options().map(ToString::to_string).collect();
            let hint = Some(format!("it selects one of {}", shown.join(", ")));
            return Finding { pointer: at, text: " is missing".into(), hint };
        };
        let meant =
            branches.iter().position(|branch| constants_of(&branch["properties"][name.as_str()]).contains(&given));
        let Some(meant) = meant else {
            return one_of(at, given, &options().cloned().collect::<Vec<_>>());
        };
        return of_branch(meant, context, branches, explain).unwrap_or_else(|| unspecific(error, pointer));
    }
    let scores: Vec<f64> = branches.iter().map(|branch| score(object, branch)).collect();
    let best = scores.iter().copied().fold(0.0, f64::max);
    let closest: Vec<usize> = (0..scores.len()).filter(|at| best > 0.0 && (scores[*at] - best).abs() < 1e-9).collect();
    match &closest[..] {
        [one] => {
            let mut found =
                of_branch(*one, context, branches, explain).unwrap_or_else(|| unspecific(error, pointer.clone()));
            let others =
                || context.iter().enumerate().filter(|(at, _)| at != one).filter_map(|(_, e)| lacks(e, &pointer));
            let others: Vec<String> = others().collect();
            if found.text == " is missing" && !others.is_empty() {
                let instead = format!("or give {} instead", others.join(" or "));
                found.hint = Some(found.hint.map_or(instead.clone(), |hint| format!("{hint}; {instead}")));
            }
            found
        }
        _ => match context.iter().map(|errors| lacks(errors, &pointer)).collect::<Option<Vec<String>>>() {
            Some(mut keys) => {
                keys.dedup();
                Finding { pointer, text: format!(" needs one of {}", keys.join(", ")), hint: None }
            }
            None => unspecific(error, pointer),
        },
    }
}

/// The values of a `const` or an `enum`.
fn constants_of(schema: &Json) -> Vec<&Json> {
    constants(schema).collect()
}

fn constants(schema: &Json) -> impl Iterator<Item = &Json> {
    schema.get("const").into_iter().chain(schema["enum"].as_array().into_iter().flatten())
}

/// The key that selects the alternative by its value, if there is one.
fn discriminator(branches: &[Json]) -> Option<String> {
    let names = branches.first()?["properties"].as_object()?.keys();
    let selects =
        |name: &&String| branches.iter().all(|branch| constants(&branch["properties"][name.as_str()]).next().is_some());
    names.into_iter().find(selects).cloned()
}

/// How many keys an object has of an alternative; misspelled ones count in part.
fn score(object: &Map<String, Json>, branch: &Json) -> f64 {
    let declared = branch["properties"].as_object().into_iter().flat_map(Map::keys);
    let required = branch["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let known: Vec<&str> = declared.map(String::as_str).chain(required).collect();
    let of = |key: &String| {
        if known.contains(&key.as_str()) {
            // An object without any of the keys that it needs, such as one of defaults, chooses nothing.
            let needed = branch["properties"][key.as_str()]["required"].as_array().into_iter().flatten();
            let mut needed = needed.filter_map(Json::as_str).peekable();
            return f64::from(needed.peek().is_none() || needed.any(|name| object[key].get(name).is_some()));
        }
        let absent = known.iter().filter(|name| !object.contains_key(**name));
        let alike = absent.map(|name| strsim::normalized_damerau_levenshtein(key, name)).fold(0.0, f64::max);
        if alike > ALIKE { alike / 2.0 } else { 0.0 }
    };
    object.keys().map(of).sum()
}

/// What is wrong with one alternative.
fn of_branch(
    at: usize,
    context: &[Vec<ValidationError<'static>>],
    branches: &[Json],
    explain: &Explain<'_>,
) -> Option<Finding> {
    let errors = context.get(at)?;
    // A required key that is misspelled is reported as misspelled.
    let misspelled = errors.iter().map(|error| (error, explain(error))).find(|(error, found)| {
        let hints = found.hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean"));
        matches!(error.kind(), Kind::AdditionalProperties { .. }) && hints
    });
    let mut found = misspelled.map(|(_, found)| found).or_else(|| errors.first().map(explain))?;
    if let Some(title) = branches.get(at).and_then(|branch| branch["title"].as_str()) {
        found.text += &format!(" (for {title})");
    }
    Some(found)
}

/// The key that an alternative lacks, by its path below the value at `outer`.
fn lacks(errors: &[ValidationError<'static>], outer: &str) -> Option<String> {
    errors.iter().find_map(|error| {
        let Kind::Required { property } = error.kind() else { return None };
        let inner = error.instance_path().to_string();
        let steps = inner.strip_prefix(outer)?.split('/').skip(1).chain([property.as_str()?]);
        Some(format!("`{}`", steps.collect::<Vec<_>>().join(".")))
    })
}

/// A value that is no object: the alternative of its own type is meant.
fn of_types(
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    explain: &Explain<'_>,
    pointer: String,
) -> Finding {
    let here = error.instance_path().to_string();
    let of_other_type = |errors: &&Vec<ValidationError<'static>>| {
        errors.iter().any(|e| matches!(e.kind(), Kind::Type { .. }) && e.instance_path().to_string() == here)
    };
    let own = context.iter().find(|errors| !of_other_type(errors)).or_else(|| context.first());
    own.and_then(|errors| errors.first()).map_or_else(|| unspecific(error, pointer), explain)
}

/// A value that is none of those listed.
pub(super) fn one_of(pointer: String, value: &Json, options: &[Json]) -> Finding {
    let shown: Vec<String> = options.iter().take(LISTED).map(ToString::to_string).collect();
    let more = if options.len() > LISTED { ", …" } else { "" };
    let near = value.as_str().and_then(|text| did_you_mean(text, options.iter().filter_map(Json::as_str)));
    let hint = near.map(|near| format!("did you mean `{near}`?"));
    Finding { pointer, text: format!(" must be one of {}{more}", shown.join(", ")), hint }
}

fn unspecific(error: &ValidationError<'_>, pointer: String) -> Finding {
    Finding { pointer, text: format!(": {}", error.masked_with("the value")), hint: None }
}
