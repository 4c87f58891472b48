//! Filters on texts.
//!
//! Input: a value, converted to text. Output: usually a text. Called through the table of `filter`.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use regex::Regex;

use super::{CallArgs, Error, Eval, Value};
use crate::manifest::jinja::format::percent_format;
use crate::manifest::jinja::value::{fits, replaced};

pub(super) fn title<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut inside = false;
    let mut out = String::new();
    for c in of.text().chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = !(c.is_whitespace() || "-({[<".contains(c));
    }
    Ok(Value::str(out))
}

pub(super) fn trim<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let chars = args.text(0, "chars")?;
    let text = of.text();
    Ok(Value::str(match chars {
        Some(set) => text.trim_matches(|c| set.contains(c)).to_string(),
        None => text.trim().to_string(),
    }))
}

pub(super) fn replace<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let (old, new) = (args.need(0, "old")?.text(), args.need(1, "new")?.text());
    Ok(Value::str(replaced(&of.text(), &old, &new, args.count(2, "count")?)?))
}

pub(super) fn truncate<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let length = usize::try_from(args.int(0, "length")?.unwrap_or(255)).unwrap_or(0);
    let end = args.text(2, "end")?.unwrap_or("...".into());
    let leeway = usize::try_from(args.int(3, "leeway")?.unwrap_or(5)).unwrap_or(0);
    let all = of.text();
    if all.chars().count() <= length + leeway {
        return Ok(Value::str(all));
    }
    let cut: String = all.chars().take(length.saturating_sub(end.chars().count())).collect();
    let whole_words = !args.flag(1, "killwords");
    let cut = if whole_words { cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head) } else { &cut };
    Ok(Value::str(format!("{cut}{end}")))
}

pub(super) fn wordcount<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let text = of.text();
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
    Ok(Value::Int(words.count() as i128))
}

pub(super) fn format<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let values = if args.plain().is_empty() { args.named_dict() } else { Value::tuple(args.plain().to_vec()) };
    Ok(Value::str(percent_format(&of.text(), &values)?))
}

pub(super) fn striptags<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let (mut out, mut inside) = (String::new(), false);
    for c in of.text().chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    Ok(Value::str(out.split_whitespace().collect::<Vec<_>>().join(" ")))
}

pub(super) fn indent<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let width = args.width(0, 4, 1000)?;
    Ok(Value::str(replaced(&of.text(), "\n", &format!("\n{}", " ".repeat(width)), None)?))
}

pub(super) fn center<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let width = args.width(0, 80, 1 << 15)?;
    Ok(Value::str(format!("{:^width$}", of.text())))
}

pub(super) fn regex_search<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let found = pattern(&args.need_text(0, "regex")?)?;
    Ok(match found.captures(&of.text()).map(|c| c.get(1).map(|m| m.as_str().to_owned())) {
        Some(Some(group)) => Value::str(group),
        Some(None) => Value::None,
        None => Value::str(""),
    })
}

pub(super) fn regex_replace<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let found = pattern(&args.need_text(0, "regex")?)?;
    // Python writes a group as `\1`.
    let with = args.need_text(1, "replacement")?.replace('$', "$$");
    let with = pattern(r"\\(\d)")?.replace_all(&with, "$${${1}}").into_owned();
    let text = of.text();
    // Each reference to a group brings at most the text, all matches together.
    let matches = found.find_iter(&text).count();
    let groups = text.len().saturating_mul(with.matches("${").count());
    fits(text.len().saturating_add(matches.saturating_mul(with.len())).saturating_add(groups))?;
    Ok(Value::str(found.replace_all(&text, with.as_str()).into_owned()))
}

/// A compiled pattern. The first 256 patterns of the process are cached. A template that runs per record usually has
/// a fixed pattern, but it may come from the record, so it cannot be compiled with the template.
fn pattern(text: &str) -> Eval<Regex> {
    static COMPILED: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
    let mut cache = COMPILED.lock();
    if let Some(found) = cache.get(text) {
        return Ok(found.clone());
    }
    let compiled =
        regex::RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|e| Error::other(e.to_string()))?;
    if cache.len() < 256 {
        cache.insert(text.into(), compiled.clone());
    }
    Ok(compiled)
}
