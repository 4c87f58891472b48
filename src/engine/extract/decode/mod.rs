//! Converts bodies that are not plain JSON into JSON: lines, tables, XML, and archives of them.
//!
//! Input: a decoder's definition; then each body. Output: a JSON document, or a list of bodies for formats with
//! several. Called by `answer` and `async_job`, so that later stages handle only JSON. The formats are those of
//! airbyte-cdk's decoders, but unreadable data is a fault: the reference skips a bad line, and treats bad XML as
//! empty.

mod table;
mod xml;

use std::borrow::Cow;
use std::io::Read as _;

use serde_json::Value as Json;

use super::{RecordPath, Segment, WalkError, not_json, walk};
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::{JsonKind, Scanner};
use crate::manifest::model;
use crate::manifest::node::Place;

/// A compiled decoder.
#[derive(Debug, Clone)]
pub struct Decoder {
    form: Form,
    at: Place,
}

#[derive(Debug, Clone)]
enum Form {
    Json,
    /// One JSON value per line.
    Lines,
    /// The elements of one list.
    Items(RecordPath, Charset),
    Csv {
        charset: Charset,
        delimiter: u8,
        nulls: Vec<String>,
    },
    Xml,
    /// One text per line, under `record`.
    Texts,
    Gzip(Box<Form>),
    Zip(Box<Form>),
    /// A table in a file, compressed or not, parsed as pandas does.
    Table {
        keep_na: bool,
    },
}

/// The magic bytes of gzip.
const GZIP: &[u8] = b"\x1f\x8b";

/// A text encoding, by Python's names.
#[derive(Debug, Clone, Copy)]
enum Charset {
    Utf8,
    /// Every byte is the character with its number.
    Latin1,
    Other(&'static encoding_rs::Encoding),
}

/// Compiles a decoder; without a definition it is JSON.
pub fn build(def: Option<&model::Decoder>, extractor: Option<&model::Extractor>, at: &Place) -> Result<Decoder> {
    let form = match (extractor, def) {
        // That extractor reads the body itself.
        (Some(model::Extractor::ResponseToFileExtractor(def)), _) => {
            Form::Table { keep_na: def.preserve_na_values.unwrap_or(false) }
        }
        (_, Some(def)) => form(def, false)?,
        (_, None) => Form::Json,
    };
    Ok(Decoder { form, at: at.clone() })
}

fn form(def: &model::Decoder, inner: bool) -> Result<Form> {
    let alone = |at: &Place, name: &str| at.fault(format!("`{name}` cannot be inside another decoder"));
    Ok(match def {
        model::Decoder::JsonDecoder(_) => Form::Json,
        model::Decoder::JsonlDecoder(_) => Form::Lines,
        model::Decoder::JsonItemsDecoder(def) => {
            if def.items_path.is_empty() {
                return Err(def.at.field("items_path", None).fault("`items_path` is empty"));
            }
            // In this notation the elements of a list are named `item`.
            let name = |part: &str| if part == "item" { Segment::Any } else { Segment::Key(part.to_owned()) };
            let segments = def.items_path.split('.').map(name).chain([Segment::Any]).collect();
            Form::Items(RecordPath { segments, wild: true }, charset(def.encoding.as_deref(), &def.at)?)
        }
        model::Decoder::CsvDecoder(def) => Form::Csv {
            charset: charset(def.encoding.as_deref(), &def.at)?,
            delimiter: delimiter(def.delimiter.as_deref().unwrap_or(","), &def.at)?,
            nulls: def.set_values_to_none.clone().unwrap_or_default(),
        },
        model::Decoder::XmlDecoder(def) if inner => return Err(alone(&def.at, "XmlDecoder")),
        model::Decoder::XmlDecoder(_) => Form::Xml,
        model::Decoder::IterableDecoder(def) if inner => return Err(alone(&def.at, "IterableDecoder")),
        model::Decoder::IterableDecoder(_) => Form::Texts,
        model::Decoder::ZipfileDecoder(def) if inner => return Err(alone(&def.at, "ZipfileDecoder")),
        model::Decoder::ZipfileDecoder(def) => Form::Zip(Box::new(form(&def.decoder, true)?)),
        model::Decoder::GzipDecoder(def) => Form::Gzip(Box::new(form(&def.decoder, true)?)),
    })
}

fn charset(name: Option<&str>, at: &Place) -> Result<Charset> {
    let written = name.unwrap_or("utf-8");
    let name = written.to_ascii_lowercase().replace('_', "-");
    Ok(match &*name {
        "utf-8" | "utf8" | "utf-8-sig" | "ascii" | "us-ascii" => Charset::Utf8,
        "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" | "l1" => Charset::Latin1,
        _ => match encoding_rs::Encoding::for_label(name.replace("cp12", "windows-12").as_bytes()) {
            Some(encoding) => Charset::Other(encoding),
            None => return Err(at.field("encoding", None).fault(format!("`encoding: {written}` is not supported"))),
        },
    })
}

/// A delimiter of one byte; a leading backslash starts an escape as in Python.
fn delimiter(written: &str, at: &Place) -> Result<u8> {
    let read = match written.strip_prefix('\\') {
        Some("t") => "\t".to_owned(),
        Some("\\") => "\\".to_owned(),
        Some(rest) => {
            let digits = rest.strip_prefix(['x', 'u']).unwrap_or_default();
            let code = u32::from_str_radix(digits, 16).ok();
            code.and_then(char::from_u32).map_or_else(|| written.to_owned(), String::from)
        }
        None => written.to_owned(),
    };
    match read.as_bytes() {
        [one] if *one != b'\n' && *one != b'\r' => Ok(*one),
        _ => Err(at.field("delimiter", None).fault("`delimiter` must be one ASCII character")),
    }
}

impl Charset {
    fn text(self, bytes: &[u8]) -> Result<Cow<'_, str>> {
        let bad = || {
            Fault::data("the response has bytes that are invalid in its encoding")
                .hint("check `encoding` of the decoder")
        };
        match self {
            Charset::Utf8 => {
                let text = simdutf8::basic::from_utf8(bytes).map_err(|_| bad())?;
                Ok(Cow::Borrowed(text.trim_start_matches('\u{feff}')))
            }
            Charset::Latin1 => Ok(Cow::Owned(bytes.iter().map(|b| char::from(*b)).collect())),
            Charset::Other(encoding) => {
                let (text, _, failed) = encoding.decode(bytes);
                if failed { Err(bad()) } else { Ok(text) }
            }
        }
    }
}

/// Bodies found inside another body, as the elements of a JSON list.
struct Bodies {
    list: Vec<u8>,
    limit: u64,
}

impl Bodies {
    /// Appends the text of a JSON value.
    fn add(&mut self, json: &[u8]) -> Result<()> {
        self.list.push(if self.list.is_empty() { b'[' } else { b',' });
        self.list.extend_from_slice(json);
        if self.list.len() as u64 > self.limit { Err(too_large(self.limit)) } else { Ok(()) }
    }

    fn add_value(&mut self, json: &Json) -> Result<()> {
        self.add(json.to_string().as_bytes())
    }
}

/// The fault for a page with too many parts: their number counts as well as their bytes.
fn too_many(what: &str, most: usize) -> Fault {
    Fault::data(format!("the response has more than {most} {what}")).hint("request smaller pages")
}

fn too_large(limit: u64) -> Fault {
    Fault::data(format!("the response is larger than {limit} bytes after decompression"))
        .hint("request smaller pages, or raise dripfeed.max_page_bytes")
}

impl Decoder {
    /// Does the reference stream this format? Then paging sees an empty `response`.
    pub fn streams(&self) -> bool {
        !matches!(self.form, Form::Json | Form::Xml | Form::Zip(_))
    }

    /// Are bodies plain JSON?
    pub fn is_json(&self) -> bool {
        matches!(self.form, Form::Json)
    }

    /// Does this format mark its end, so that a truncated body cannot be parsed?
    pub fn ends_by_itself(&self, body: &[u8]) -> bool {
        self.form.ends_by_itself(body)
    }

    /// Does the last row show that the body was truncated?
    pub fn is_torn(&self, body: &[u8]) -> bool {
        self.form.is_torn(body)
    }

    /// Converts a body to JSON. `content_type` is the header's value; more than `limit` bytes are refused.
    pub fn decode<'b>(&self, body: &'b [u8], content_type: Option<&str>, limit: u64) -> Result<Cow<'b, [u8]>> {
        match &self.form {
            Form::Json => return Ok(Cow::Borrowed(body)),
            Form::Xml => {
                return xml::json(&xml::text(body, content_type)?)
                    .map(|json| Cow::Owned(json.to_string().into_bytes()));
            }
            _ => {}
        }
        let mut bodies = Bodies { list: Vec::new(), limit };
        self.form.bodies(body, &mut bodies).map_err(|fault| fault.at(&self.at.location))?;
        let mut list = bodies.list;
        list.extend_from_slice(if list.is_empty() { b"[]" } else { b"]" });
        Ok(Cow::Owned(list))
    }
}

impl Form {
    fn ends_by_itself(&self, body: &[u8]) -> bool {
        match self {
            Form::Json | Form::Items(..) | Form::Xml | Form::Zip(_) => true,
            Form::Lines | Form::Csv { .. } | Form::Texts => false,
            Form::Gzip(inner) => body.starts_with(GZIP) || inner.ends_by_itself(body),
            Form::Table { .. } => table::is_packed(body),
        }
    }

    fn is_torn(&self, body: &[u8]) -> bool {
        match self {
            Form::Csv { delimiter, .. } => table::is_torn(body, *delimiter),
            Form::Gzip(inner) => !body.starts_with(GZIP) && inner.is_torn(body),
            Form::Table { .. } => !table::is_packed(body) && table::is_torn(body, b','),
            Form::Json | Form::Lines | Form::Items(..) | Form::Xml | Form::Texts | Form::Zip(_) => false,
        }
    }

    fn bodies(&self, body: &[u8], out: &mut Bodies) -> Result<()> {
        match self {
            Form::Json => elements(body, out),
            Form::Lines => lines(body, out),
            Form::Items(path, charset) => {
                let text = charset.text(body)?;
                let mut each = |scanner: &mut Scanner<'_>| {
                    let start = scanner.at();
                    scanner.skip()?;
                    out.add(scanner.slice(start..scanner.at())).map_err(WalkError::Callback)
                };
                walk(text.as_bytes(), path, &[], &mut each).map(drop).map_err(|stop| match stop {
                    WalkError::Json(error) => not_json(text.as_bytes(), &error),
                    WalkError::Callback(fault) => fault,
                })
            }
            Form::Csv { charset, delimiter, nulls } => table::csv(&charset.text(body)?, *delimiter, nulls, out),
            Form::Table { keep_na } => table::table(body, *keep_na, out),
            Form::Xml => out.add_value(&xml::json(&xml::text(body, None)?)?),
            Form::Texts => {
                let text = Charset::Utf8.text(body)?.replace("\r\n", "\n");
                let text = text.strip_suffix(['\n', '\r']).unwrap_or(&text);
                let lines = text.split(['\n', '\r']).filter(|_| !text.is_empty());
                lines.into_iter().try_for_each(|line| out.add_value(&serde_json::json!({"record": line})))
            }
            Form::Gzip(inner) => {
                if !body.starts_with(GZIP) {
                    return inner.bodies(body, out);
                }
                let mut unpacked = Vec::new();
                let reader = flate2::read::MultiGzDecoder::new(body);
                reader
                    .take(out.limit + 1)
                    .read_to_end(&mut unpacked)
                    .map_err(|e| Fault::broken_body(format!("cannot decompress the response: {e}")))?;
                if unpacked.len() as u64 > out.limit { Err(too_large(out.limit)) } else { inner.bodies(&unpacked, out) }
            }
            Form::Zip(inner) => {
                let bad = |e: &dyn std::fmt::Display| {
                    Fault::broken_body(format!("the response is not a valid zip file: {e}"))
                };
                let mut archive = zip::ZipArchive::new(std::io::Cursor::new(body)).map_err(|e| bad(&e))?;
                for index in 0..archive.len() {
                    let file = archive.by_index(index).map_err(|e| bad(&e))?;
                    if file.is_dir() {
                        continue;
                    }
                    let mut unpacked = Vec::new();
                    file.take(out.limit + 1).read_to_end(&mut unpacked).map_err(|e| bad(&e))?;
                    if unpacked.len() as u64 > out.limit {
                        return Err(too_large(out.limit));
                    }
                    inner.bodies(&unpacked, out)?;
                }
                Ok(())
            }
        }
    }
}

/// The elements of a list, or the single value.
fn elements(body: &[u8], out: &mut Bodies) -> Result<()> {
    let broken = |error| not_json(body, &error);
    let mut scanner = Scanner::new(body);
    let mut one = |scanner: &mut Scanner<'_>| -> Result<()> {
        scanner.peek().map_err(broken)?;
        let start = scanner.at();
        scanner.skip().map_err(broken)?;
        out.add(scanner.slice(start..scanner.at()))
    };
    if scanner.peek().map_err(broken)? == JsonKind::Array {
        scanner.enter().map_err(broken)?;
        let mut first = true;
        while scanner.element(&mut first).map_err(broken)? {
            one(&mut scanner)?;
        }
    } else {
        one(&mut scanner)?;
    }
    scanner.end().map_err(broken)
}

fn lines(body: &[u8], out: &mut Bodies) -> Result<()> {
    let last = memchr::memchr_iter(b'\n', body.trim_ascii_end()).count();
    for (number, line) in body.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let mut scanner = Scanner::new(line);
        let read = scanner.peek().and_then(|_| scanner.skip()).and_then(|()| scanner.end());
        read.map_err(|e| {
            let text = format!("line {} of the response is not valid JSON: {e}", number + 1);
            // The last line may be truncated.
            if number == last && e.is_of_its_end(line) { Fault::broken_body(text) } else { Fault::data(text) }
        })?;
        out.add(line)?;
    }
    Ok(())
}
