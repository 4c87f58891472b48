//! The policy for a change: the rule's default, unless the config overrides it.
//!
//! Input: `dripfeed.drift` of the config. Output: one policy for a rule at a place of a stream. Called by
//! [`super::monitor`], and by `run`, which refuses invalid policies before any request.

use super::rules::Rule;
use crate::base::config::{Drift, DriftPolicy as Policy, DriftRule};
use crate::base::fault::{Fault, Result, did_you_mean};

/// The config's overrides of the defaults.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    rules: Vec<(Option<Rule>, DriftRule)>,
}

impl Policies {
    /// Compiles the overrides.
    ///
    /// # Errors
    /// The rule does not exist, or the policy tolerates untrustworthy data without `allow_unsafe`.
    pub fn new(config: &Drift) -> Result<Policies> {
        let mut rules = Vec::with_capacity(config.rules.len());
        for (number, entry) in config.rules.iter().enumerate() {
            let at = format!("config `dripfeed.drift.rules[{number}]`");
            let rule = entry.rule.as_deref().map(|id| {
                Rule::of(id).ok_or_else(|| {
                    let fault = Fault::config(format!("{at}: no rule is named `{id}`"));
                    match did_you_mean(id, Rule::ALL.iter().map(|rule| rule.id())) {
                        Some(near) => fault.hint(format!("did you mean `{near}`?")),
                        None => fault.hint("docs/src/reference/drift-rules.md lists all rules"),
                    }
                })
            });
            let rule = rule.transpose()?;
            if let Some(rule) = rule {
                if rule.must_stop() && entry.policy < rule.policy() && !entry.allow_unsafe {
                    return Err(Fault::config(format!(
                        "{at}: `{}` cannot be `{}`: the extracted data could not be trusted",
                        rule.id(),
                        entry.policy.name()
                    ))
                    .hint("to use it all the same, add \"allow_unsafe\": true to the entry"));
                }
                if applicable(rule, entry.policy) != entry.policy {
                    return Err(Fault::config(format!(
                        "{at}: `{}` cannot be `{}`: there is nothing to {}",
                        rule.id(),
                        entry.policy.name(),
                        if entry.policy == Policy::Evolve { "add to the schema" } else { "quarantine" },
                    ))
                    .hint("use record, warn, fail-stream or fail-run"));
                }
            }
            if let Some(pointer) = entry.pointer.as_deref().filter(|p| !p.is_empty() && !p.starts_with('/')) {
                return Err(Fault::config(format!("{at}: the pointer `{pointer}` does not start with `/`")));
            }
            rules.push((rule, entry.clone()));
        }
        Ok(Policies { rules })
    }

    /// The policy for a change. The most specific override wins: a rule before a place, a place before a stream;
    /// among equals the last one.
    pub fn of(&self, rule: Rule, stream: &str, pointer: &str, default: Policy) -> Policy {
        let fits = |(id, entry): &&(Option<Rule>, DriftRule)| {
            id.is_none_or(|id| id == rule)
                && entry.stream.as_deref().is_none_or(|s| s == stream)
                && entry.pointer.as_deref().is_none_or(|glob| matches(glob, pointer))
        };
        let weight =
            |(id, entry): &&(Option<Rule>, DriftRule)| (id.is_some(), entry.pointer.is_some(), entry.stream.is_some());
        let Some((id, entry)) = self.rules.iter().filter(fits).max_by_key(weight) else { return default };
        let policy = applicable(rule, entry.policy);
        // An override for all rules does not apply to untrustworthy data.
        let unsafe_ = rule.must_stop() && policy < default && !entry.allow_unsafe;
        if unsafe_ && id.is_none() { default } else { policy }
    }
}

/// The applicable form of a policy: nothing can be removed from a record if the change is not in one.
fn applicable(rule: Rule, policy: Policy) -> Policy {
    let (grows, has_value, has_record) = match rule {
        Rule::FieldTypeWidened
        | Rule::FieldTypeChanged
        | Rule::FieldTypeNarrowed
        | Rule::FieldStructureChanged
        | Rule::FieldBecameNullable
        | Rule::EnumValueAdded
        | Rule::FormatChanged
        | Rule::ItemTypeChanged
        | Rule::NumberOutOfRange => (true, true, true),
        Rule::FieldAdded => (true, false, true),
        Rule::KeyTypeChanged => (true, false, true),
        Rule::KeyMissing
        | Rule::DuplicateJsonKeys
        | Rule::RecordTooLarge
        | Rule::RecordNotUtf8
        | Rule::RecordNotObject => (false, false, true),
        _ => (false, false, false),
    };
    match policy {
        Policy::Evolve if !grows => Policy::Warn,
        Policy::NullValue if !has_value && has_record => Policy::Quarantine,
        Policy::NullValue | Policy::Quarantine if !has_record => Policy::FailStream,
        policy => policy,
    }
}

/// Does a glob match a pointer? `*` matches one segment, `**` any number of them.
fn matches(glob: &str, pointer: &str) -> bool {
    fn fits(glob: &[&str], path: &[&str]) -> bool {
        match glob {
            [] => path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|skip| fits(rest, &path[skip..])),
            [first, rest @ ..] => {
                path.first().is_some_and(|segment| *first == "*" || first == segment) && fits(rest, &path[1..])
            }
        }
    }
    let split = |text: &'_ str| -> Vec<String> { text.split('/').skip(1).map(str::to_owned).collect() };
    let (glob, path) = (split(glob), split(pointer));
    fits(&glob.iter().map(String::as_str).collect::<Vec<_>>(), &path.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_stand_for_segments() {
        for (glob, pointer, fits) in [
            ("/a", "/a", true),
            ("/a", "/a/b", false),
            ("/a/*", "/a/b", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/b/c", true),
            ("/**/id", "/a/*/id", true),
            ("/**/id", "/id", true),
            ("/*", "", false),
        ] {
            assert_eq!(matches(glob, pointer), fits, "{glob} and {pointer}");
        }
    }
}
