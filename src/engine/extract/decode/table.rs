//! Tables: CSV as in Python's `csv`, and files as in pandas.
//!
//! Input: text or bytes of a body. Output: a JSON object per row. Called by [`super::Decoder`].

use std::io::Read as _;

use indexmap::IndexSet;
use serde_json::{Map, Value as Json};

use super::{Bodies, Charset, too_large, too_many};
use crate::base::fault::{Fault, Result};

/// The most cells of a page, with those that rows leave out: a short row under many names has as many as a long one.
const MAX_CELLS: usize = 8 << 20;

/// Counts the cells of one more row.
fn count(cells: &mut usize, row: usize) -> Result<()> {
    *cells += row.max(1);
    if *cells > MAX_CELLS { Err(too_many("cells", MAX_CELLS)) } else { Ok(()) }
}

/// Parses a table with names in the first row, like Python's `csv.DictReader`: missing cells are null, excess cells
/// are a list under `null`.
pub(super) fn csv(text: &str, delimiter: u8, nulls: &[String], out: &mut Bodies) -> Result<()> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let mut names: Option<Vec<String>> = None;
    let mut row = csv::StringRecord::new();
    let mut line = String::new();
    let mut cells = 0;
    while reader.read_record(&mut row).map_err(|e| Fault::data(format!("the response is not a valid table: {e}")))? {
        let Some(names) = &names else {
            names = Some(row.iter().map(str::to_owned).collect());
            continue;
        };
        count(&mut cells, names.len())?;
        let value = |text: &str| {
            let null = nulls.iter().any(|null| null == text);
            if null { Json::Null } else { Json::String(text.to_owned()) }
        };
        let mut record = Map::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            record.insert(name.clone(), row.get(index).map_or(Json::Null, value));
        }
        if row.len() > names.len() {
            let more = row.iter().skip(names.len()).map(|text| Json::String(text.to_owned()));
            record.insert("null".into(), Json::Array(more.collect()));
        }
        line.clear();
        line += &Json::Object(record).to_string();
        out.add(line.as_bytes())?;
    }
    Ok(())
}

/// Was a table truncated in its last row? Then that row has fewer cells than the first, or an open quote, and no line
/// break at its end.
pub(super) fn is_torn(body: &[u8], delimiter: u8) -> bool {
    if body.ends_with(b"\n") || body.ends_with(b"\r") {
        return false;
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(body);
    let (mut first, mut cells) = (None, 0);
    let mut row = csv::ByteRecord::new();
    while reader.read_byte_record(&mut row).unwrap_or(false) {
        cells = row.len();
        first.get_or_insert(cells);
    }
    let quotes = memchr::memchr_iter(b'"', body).count();
    quotes % 2 == 1 || first.is_some_and(|first| cells < first)
}

/// Is a table in a file compressed?
pub(super) fn is_packed(body: &[u8]) -> bool {
    match body {
        [0x1f, 0x8b, ..] => true,
        [0x78, second, ..] => (0x7800 + u16::from(*second)) % 31 == 0,
        _ => false,
    }
}

/// The texts that pandas treats as missing values.
const MISSING: &[&str] = &[
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Parses a table in a file like pandas' `read_csv` in the reference: duplicate names are numbered, a row that is too
/// long is a fault.
pub(super) fn table(body: &[u8], keep_na: bool, out: &mut Bodies) -> Result<()> {
    let mut unpacked = Vec::new();
    let bad = |e: std::io::Error| Fault::broken_body(format!("the answer cannot be unpacked: {e}"));
    match body {
        [0x1f, 0x8b, ..] => flate2::read::GzDecoder::new(body).take(out.limit + 1).read_to_end(&mut unpacked),
        [0x78, second, ..] if (0x7800 + u16::from(*second)) % 31 == 0 => {
            flate2::read::ZlibDecoder::new(body).take(out.limit + 1).read_to_end(&mut unpacked)
        }
        plain => {
            unpacked.extend(plain.iter().filter(|byte| **byte != 0));
            Ok(0)
        }
    }
    .map_err(bad)?;
    if unpacked.len() as u64 > out.limit {
        return Err(too_large(out.limit));
    }
    let text = Charset::Utf8.text(&unpacked)?.replace("\r\n", "\n").replace('\r', "\n");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut names: IndexSet<String> = IndexSet::new();
    let mut cells = 0;
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(|e| Fault::data(format!("the response is not a valid table: {e}")))? {
        if names.is_empty() {
            for (index, name) in row.iter().enumerate() {
                let name = if name.is_empty() { format!("Unnamed: {index}") } else { name.to_owned() };
                let numbered = (1..).map(|n| format!("{name}.{n}"));
                let free = [name.clone()].into_iter().chain(numbered).find(|name| !names.contains(name));
                names.insert(free.unwrap_or(name));
            }
            continue;
        }
        count(&mut cells, names.len())?;
        if row.len() > names.len() {
            let line = row.position().map_or(0, csv::Position::line);
            return Err(Fault::data(format!("line {line} of the table has more cells than its first line")));
        }
        let missing = |text: &str| if keep_na { text.is_empty() } else { MISSING.contains(&text) };
        let cell = |index: usize| row.get(index).filter(|text| !missing(text)).map_or(Json::Null, Json::from);
        let record: Map<String, Json> = names.iter().enumerate().map(|(i, name)| (name.clone(), cell(i))).collect();
        out.add_value(&Json::Object(record))?;
    }
    Ok(())
}
