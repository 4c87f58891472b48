//! Each relative link leads to a file that exists, and to a heading that it has; each page stands in the book's summary
//! once; README stays short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{Page, book, read, root};

/// The most bytes of README.
const README: usize = 9 * 1024;

/// mdBook's name for a heading: lower case, spaces as hyphens, no other signs.
fn slug(heading: &str) -> String {
    let plain = heading.replace('`', "");
    let plain = strip_links(&plain);
    let kept = plain.trim().chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_lowercase().next().unwrap_or(c)),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    kept.collect()
}

/// `[text](link)` as `text`.
fn strip_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out += before;
        let Some((label, link)) = after.split_once("](") else {
            out.push('[');
            rest = after;
            continue;
        };
        out += label;
        rest = link.split_once(')').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// The anchors of a page; a heading that comes twice gets a number.
fn anchors(page: &Page) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = BTreeSet::new();
    for (_, line) in page.prose() {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug = slug(heading);
        let before = seen.entry(slug.clone()).or_default();
        out.insert(if *before == 0 { slug } else { format!("{slug}-{before}") });
        *before += 1;
    }
    out
}

/// What the page's links name, with their lines; links of code spans are none.
fn links(page: &Page) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for (number, line) in page.prose() {
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let named = plain.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_owned());
        out.extend(named.map(|link| (number, link)));
    }
    out
}

/// A path without `..` and `.`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[test]
fn each_link_leads_to_a_file_and_a_heading() {
    let named = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "COMPATIBILITY.md", "CHANGELOG.md"];
    let pages: Vec<Page> = named.iter().map(|path| Page::read(path)).chain(book()).collect();
    let headings: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_str(), anchors(page))).collect();
    let (mut broken, mut count) = (Vec::new(), 0);
    for page in &pages {
        for (line, link) in links(page) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = match file {
                "" => PathBuf::from(&page.path),
                file => normal(&Path::new(&page.path).parent().unwrap().join(file)),
            };
            // The book is built from its own folder: what lies outside is not in it.
            let inside = !page.path.starts_with("docs/src") || path.starts_with("docs/src");
            let known = headings.get(path.to_str().unwrap());
            if !root().join(&path).exists() || !inside {
                broken.push(format!("{}:{line}: `{link}` leads nowhere", page.path));
            } else if !anchor.is_empty() && !known.is_some_and(|known| known.contains(anchor)) {
                broken.push(format!("{}:{line}: `{link}`: there is no such heading", page.path));
            }
        }
    }
    assert!(count > 200, "{count} links");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_summary_names_each_page_once() {
    let summary = Page::read("docs/src/SUMMARY.md");
    let mut named: Vec<String> = links(&summary).into_iter().map(|(_, link)| format!("docs/src/{link}")).collect();
    named.sort();
    let pages: Vec<String> =
        book().into_iter().map(|page| page.path).filter(|path| !path.ends_with("/SUMMARY.md")).collect();
    assert_eq!(named, pages);
}

#[test]
fn the_readme_is_short() {
    let size = read("README.md").len();
    assert!(size <= README, "README.md has {size} bytes, and {README} are allowed");
}

#[test]
fn headings_are_named_as_mdbook_names_them() {
    for (heading, name) in [
        (" Write the definitions with `schedule`", "write-the-definitions-with-schedule"),
        (" 75: saved, not finished", "75-saved-not-finished"),
        (" The [pace](pace.md) of it", "the-pace-of-it"),
    ] {
        assert_eq!(slug(heading), name);
    }
}
