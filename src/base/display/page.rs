//! The frame of a self-contained web page: no script, no request, no font.
//!
//! Input: a title, styles and a body. Output: the page, and parts that pages share. Called by the reports of `drift`
//! and by `status`. `maud` escapes every text. A text from outside the page code also passes through [`plain`].

use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

use super::{minute, plain};

/// Colours have a contrast of at least 4.5 to their background, in light and dark mode.
const BASE: &str = include_str!("base.css");

/// The page, with each block on its own line, so that two versions can be compared.
pub fn document(title: &str, style: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE) "\n"
        html lang="en" {
            "\n"
            head {
                "\n"
                meta charset="utf-8"; "\n"
                meta name="viewport" content="width=device-width, initial-scale=1"; "\n"
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"; "\n"
                meta name="color-scheme" content="light dark"; "\n"
                title { (plain(title)) }
                "\n"
                style { "\n" (PreEscaped(BASE)) (PreEscaped(style)) }
                "\n"
            }
            "\n"
            body { "\n" (body) }
            "\n"
        }
        "\n"
    };
    page.into_string()
}

/// The parts, joined by a separator.
pub fn joined(parts: impl IntoIterator<Item = impl Render>, separator: impl Render) -> Markup {
    html! {
        @for (index, part) in parts.into_iter().enumerate() {
            @if index > 0 { (separator) }
            (part)
        }
    }
}

/// A command to copy, which wraps only between words.
pub fn command(line: &str) -> Markup {
    let words = line.trim_end().split(' ').map(|word| html! { span { (plain(word)) } });
    html! { code.command { (joined(words, " ")) } }
}

/// A time, to the minute.
pub fn time(text: &str) -> Markup {
    html! { time datetime=(plain(text)) { (minute(text)) } }
}
