//! A test read as text, for a terminal of 80 columns and more.
//!
//! Input: a [`TestReport`], and the properties of the terminal. Output: text. Called by the verb `test`.

use serde_json::Value as Json;

use super::{FieldTypes, TestPage, TestReport, TestSlice};
use crate::base::display::terminal::{Look, Style};
use crate::base::display::{number, plain};
use crate::run::exchange::{Exchange, preview};

/// The width without a terminal, and the largest one.
const WIDTHS: (usize, usize) = (100, 140);
/// The lines of a record that are shown.
const RECORD_LINES: usize = 24;
/// The fields of a schema that are shown.
const FIELDS: usize = 60;

impl TestReport {
    /// The report as text.
    pub(crate) fn text(&self, look: Look) -> String {
        let width = look.width.unwrap_or(WIDTHS.0).clamp(40, WIDTHS.1);
        let mut page = Page { look, width, out: String::new() };
        page.report(self);
        page.out
    }
}

/// Text that grows.
struct Page {
    look: Look,
    width: usize,
    out: String,
}

impl Page {
    fn line(&mut self, style: Style, text: &str) {
        self.out += &self.look.paint(style, text);
        self.out.push('\n');
    }

    fn cut(&mut self, style: Style, text: &str) {
        let text = preview::cut(text, self.width);
        self.line(style, &text);
    }

    fn heading(&mut self, text: &str) {
        self.out.push('\n');
        self.line(Style::Strong, text);
    }

    fn report(&mut self, report: &TestReport) {
        self.line(Style::Strong, &format!("{}, stream `{}`", report.source, report.stream));
        if !report.auxiliary_requests.is_empty() {
            self.heading("BEFORE IT");
            for exchange in &report.auxiliary_requests {
                let line = format!("  {} for {}: {}", exchange.what(), exchange.stream, exchange.result());
                self.cut(Style::Plain, &line);
            }
        }
        let several = report.slices.len() > 1;
        for (position, slice) in report.slices.iter().enumerate() {
            self.slice(slice, several.then_some(position + 1));
        }
        if !report.failed_requests.is_empty() {
            self.heading("FAILED");
            report.failed_requests.iter().for_each(|exchange| self.exchange(exchange));
        }
        if let Some(state) = report.slices.last().and_then(|slice| slice.state.as_ref()) {
            let complete = report.slices.last().is_some_and(|slice| slice.complete);
            self.heading(if complete { "STATE after the slice" } else { "STATE if the slice ended here" });
            self.json(state, RECORD_LINES);
        }
        if !report.fields.is_empty() {
            self.schema(&report.fields);
        }
        if !report.limits.is_empty() {
            self.heading("LIMITS in headers");
            let widest = report.limits.keys().map(|name| name.chars().count()).max().unwrap_or(0);
            for (name, value) in &report.limits {
                self.cut(Style::Plain, &format!("  {name:<widest$}  {}", value.as_str().unwrap_or_default()));
            }
        }
        if !report.suspicious.is_empty() {
            self.heading(&format!("SUSPICIOUS ({})", report.suspicious.len()));
            for suspicion in &report.suspicious {
                self.wrapped(Style::Warning, "  - ", &suspicion.message);
            }
        }
        self.out.push('\n');
        self.end(report);
    }

    /// The last line: what was read.
    fn end(&mut self, report: &TestReport) {
        let pages = || report.slices.iter().flat_map(|slice| &slice.pages);
        let records: usize = pages().map(|page| page.records.len()).sum();
        let read = format!("{} on {}", number(records, "record"), number(pages().count(), "page"));
        let more = if report.test_read_limit_reached { "; there are more (--pages N reads more)" } else { "" };
        let style = if report.error.is_some() || records == 0 { Style::Warning } else { Style::Calm };
        self.line(style, &format!("{read}{more}; nothing was stored"));
    }

    fn slice(&mut self, slice: &TestSlice, position: Option<usize>) {
        if !slice.slice_descriptor.is_empty() || position.is_some() {
            let number = position.map(|n| format!(" {n}")).unwrap_or_default();
            self.heading(&format!("SLICE{number}"));
            let parts = slice.slice_descriptor.iter().filter(|(name, _)| *name != "parent_slice");
            for (name, value) in parts {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.cut(Style::Plain, &format!("  {name} = {value}"));
            }
        }
        for (position, page) in slice.pages.iter().enumerate() {
            self.page(page, position + 1);
        }
    }

    fn page(&mut self, page: &TestPage, position: usize) {
        self.heading(&format!("PAGE {position}"));
        for exchange in &page.earlier_requests {
            let line = format!("  {}: {}", exchange.what(), exchange.result());
            self.cut(Style::Faint, &line);
        }
        match &page.exchange {
            Some(exchange) => self.exchange(exchange),
            None => self.line(Style::Faint, "  (no request: the page comes from another answer)"),
        }
        let at = if page.records_at.is_empty() { "the body" } else { &page.records_at };
        let kept = page.records.len();
        let found = number(usize::try_from(page.extracted).unwrap_or(usize::MAX), "record");
        let kept = if kept as u64 == page.extracted { String::new() } else { format!(", {kept} kept by the filter") };
        let style = if page.extracted == 0 { Style::Warning } else { Style::Calm };
        self.line(style, &format!("  {found} at {at}{kept}"));
        if let Some(record) = page.records.first() {
            self.line(Style::Faint, "  the first one:");
            self.json(record, RECORD_LINES);
        }
        if let Some(cursor) = &page.cursor {
            let shown = |value: &Option<Json>| value.as_ref().map_or("none".to_owned(), Json::to_string);
            let format = cursor.format.as_ref().map(|format| format!(", format {format}")).unwrap_or_default();
            let range = format!("{} .. {}", shown(&cursor.lowest), shown(&cursor.highest));
            self.wrapped(Style::Plain, "  ", &format!("cursor {}: {range}{format}", cursor.field));
        }
        if let Some(next) = &page.next_page {
            let text = match &next.token {
                Some(token) => format!("next page: {token}, from {}, sent as {}", next.from, next.into),
                None => format!("no further page (token: {})", next.from),
            };
            self.wrapped(Style::Plain, "  ", &text);
        }
    }

    fn exchange(&mut self, exchange: &Exchange) {
        let failed = exchange.response.status >= 400;
        for (position, line) in exchange.lines(self.width.saturating_sub(2)).into_iter().enumerate() {
            let style = match () {
                () if position == 0 => Style::Notice,
                () if line.starts_with("HTTP ") && failed => Style::Bad,
                () if line.starts_with("HTTP ") => Style::Calm,
                () => Style::Plain,
            };
            self.line(style, &format!("  {}", plain(&line)));
        }
    }

    fn json(&mut self, value: &Json, most: usize) {
        let lines = preview::json(value);
        let more = lines.len().saturating_sub(most);
        for line in lines.iter().take(most) {
            self.cut(Style::Plain, &format!("    {line}"));
        }
        if more > 0 {
            self.line(Style::Faint, &format!("    … {}", number(more, "more line")));
        }
    }

    fn schema(&mut self, fields: &[FieldTypes]) {
        self.heading("SCHEMA");
        let wide = |of: fn(&FieldTypes) -> &str, least: usize, most: usize| {
            fields.iter().map(|field| of(field).chars().count()).max().unwrap_or(0).clamp(least, most)
        };
        let (name, declared) = (wide(|f| &f.name, 5, 32), wide(|f| &f.declared, 8, 24));
        self.cut(Style::Faint, &format!("  {:<name$}  {:<declared$}  seen", "field", "declared"));
        for field in fields.iter().take(FIELDS) {
            let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            let line =
                format!("  {:<name$}  {:<declared$}  {}", field.name, or_none(&field.declared), or_none(&field.seen));
            let style = if field.declared.is_empty() { Style::Warning } else { Style::Plain };
            self.cut(style, line.trim_end());
        }
        if fields.len() > FIELDS {
            self.line(Style::Faint, &format!("  … {}", number(fields.len() - FIELDS, "more field")));
        }
    }

    /// A text in lines of the terminal's width.
    fn wrapped(&mut self, style: Style, head: &str, text: &str) {
        let look = Look { width: Some(self.width), ..self.look };
        let words: Vec<(Style, String)> = plain(text).split(' ').map(|word| (style, word.to_owned())).collect();
        let used = head.chars().count();
        self.out += head;
        self.out += &look.flow(&words, 1, used, used);
    }
}
