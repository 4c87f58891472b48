//! A web page that needs nothing else: no script, no request, no font.
//!
//! Comes in: a title and styles. Goes out: the page's head, and parts that pages share. Every text that is not a page's
//! own goes through [`HtmlText`].

use std::fmt::{self, Display};

use super::{minute, plain};

/// Colours have a contrast of at least 4.5 to what they stand on, in the light and in the dark.
const BASE: &str = include_str!("base.css");
/// The last lines of a page.
pub const END: &str = "</body>\n</html>\n";

/// The page as far as its body.
pub fn head(title: &str, style: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
        <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
        <style>\n{BASE}{style}</style>\n</head>\n<body>\n",
        HtmlText(title)
    )
}

/// A text on the page: what HTML would act on is escaped.
#[derive(Debug, Clone, Copy)]
pub struct HtmlText<'t>(pub &'t str);

impl Display for HtmlText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in plain(self.0).chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

/// A command to copy, which is wrapped between its words only.
pub fn command(line: &str) -> String {
    let words: Vec<String> =
        line.trim_end().split(' ').map(|word| format!("<span>{}</span>", HtmlText(word))).collect();
    format!("<code class=\"command\">{}</code>", words.join(" "))
}

/// A time, to the minute.
pub fn time(text: &str) -> String {
    format!("<time datetime=\"{}\">{}</time>", HtmlText(text), HtmlText(&minute(text)))
}
