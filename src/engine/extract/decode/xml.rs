//! XML bodies, parsed as in Python's `xmltodict`.
//!
//! Input: the bytes of a body. Output: JSON. Called by [`super::Decoder`].

use std::borrow::Cow;

use quick_xml::events::Event;
use serde_json::{Map, Value as Json};

use super::{Charset, too_many};
use crate::base::fault::{Fault, Result};

/// The maximum nesting of XML.
const MAX_DEPTH: usize = 200;

/// The text of an XML body: UTF-8 if valid, else as declared by the header or the XML declaration.
pub(super) fn text<'b>(body: &'b [u8], content_type: Option<&str>) -> Result<Cow<'b, str>> {
    if let Ok(text) = Charset::Utf8.text(body) {
        return Ok(text);
    }
    let head = String::from_utf8_lossy(&body[..body.len().min(200)]);
    let declared = head.split_once("encoding=").map(|(_, rest)| rest.trim_start_matches(['"', '\'']));
    let named = content_type.and_then(|t| t.split_once("charset=")).map(|(_, rest)| rest.trim_start_matches('"'));
    let label = named.or(declared).and_then(|rest| rest.split(['"', '\'', ';', '?', ' ']).next());
    let charset = label.and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    charset.map_or(Charset::Latin1, Charset::Other).text(body)
}

/// The most elements and attributes of a page: an empty one takes four bytes in the body, and eighty in memory.
const MAX_PARTS: usize = 1 << 20;
/// The most attributes of an element: each is compared with those before it.
const MAX_ATTRIBUTES: usize = 1000;

/// An element being parsed.
#[derive(Default)]
struct Element {
    name: String,
    fields: Option<Map<String, Json>>,
    text: String,
}

impl Element {
    fn push(&mut self, name: &str, value: Json) {
        let fields = self.fields.get_or_insert_default();
        match fields.get_mut(name) {
            Some(Json::Array(items)) => items.push(value),
            Some(other) => *other = Json::Array(vec![other.take(), value]),
            None => drop(fields.insert(name.to_owned(), value)),
        }
    }

    /// The value under the element's name: its fields, its text, both, or null.
    fn value(mut self) -> Json {
        let text = self.text.trim();
        if self.fields.is_none() {
            return if text.is_empty() { Json::Null } else { Json::String(text.to_owned()) };
        }
        if !text.is_empty() {
            let text = Json::String(text.to_owned());
            self.push("#text", text);
        }
        Json::Object(self.fields.unwrap_or_default())
    }
}

/// HTML has unclosed elements.
fn is_html(text: &str) -> bool {
    let head = text.trim_start().chars().take(14).collect::<String>().to_ascii_lowercase();
    head.starts_with("<!doctype html") || head.starts_with("<html")
}

/// Converts XML like `xmltodict`: attributes under `@name`, text next to elements under `#text`, repeated elements as
/// a list.
pub(super) fn json(text: &str) -> Result<Json> {
    let bad = |why: &dyn std::fmt::Display| Fault::data(format!("the answer is not valid XML: {why}"));
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open = vec![Element::default()];
    let mut parts = 0;
    loop {
        let event = reader.read_event().map_err(|e| bad(&e))?;
        let top = open.last_mut().ok_or_else(|| Fault::bug("no element is open"))?;
        match event {
            Event::Start(start) => {
                let mut element = Element { name: start.name().as_ref().to_owned(), ..Element::default() };
                for (number, attribute) in start.attributes().enumerate() {
                    parts += 1;
                    if number >= MAX_ATTRIBUTES {
                        return Err(bad(&"an element has more than 1,000 attributes"));
                    }
                    let attribute = attribute.map_err(|e| bad(&e))?;
                    let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).map_err(|e| bad(&e))?;
                    element.push(&format!("@{}", attribute.key.as_ref()), Json::String(value.into_owned()));
                }
                parts += 1;
                if parts > MAX_PARTS {
                    return Err(too_many("elements", MAX_PARTS));
                }
                if open.len() > MAX_DEPTH {
                    return Err(bad(&"its elements stand too deep"));
                }
                open.push(element);
            }
            Event::End(_) => {
                let element = open.pop().unwrap_or_default();
                let parent = open.last_mut().ok_or_else(|| bad(&"an element ends that did not begin"))?;
                parent.push(&element.name.clone(), element.value());
            }
            Event::Text(text) => top.text += &text.xml10_content(),
            Event::CData(text) => top.text += &text.xml10_content(),
            Event::GeneralRef(name) => match name.resolve_char_ref().map_err(|e| bad(&e))? {
                Some(char) => top.text.push(char),
                None => match quick_xml::escape::resolve_predefined_entity(&name) {
                    Some(text) => top.text += text,
                    None => return Err(bad(&"it names an entity of its own")),
                },
            },
            Event::Eof if open.len() > 1 && !is_html(text) => {
                return Err(Fault::broken_body("the answer is not valid XML: an element does not end"));
            }
            Event::Eof if open.len() > 1 => return Err(bad(&"an element does not end")),
            Event::Eof => {
                let outside = open.pop().unwrap_or_default();
                return match outside.fields {
                    Some(fields) if fields.len() == 1 && outside.text.trim().is_empty() => Ok(Json::Object(fields)),
                    _ => Err(bad(&"it has not one element at its top")),
                };
            }
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}
