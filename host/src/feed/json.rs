//! Events as JSON, written straight into the page's bytes: stored JSON is handed through, not parsed and printed.

use super::TypeNames;
use crate::core::event::{Dot, EventKey, Value};
use data_encoding::{BASE64, HEXLOWER};
use memchr::memchr2;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::io::Write;

/// The JSON texts of the type names that a page has met, so that each is asked for and escaped once.
pub(super) struct NameTexts<'n> {
    names: &'n dyn TypeNames,
    texts: BTreeMap<u32, Vec<u8>>,
}

impl<'n> NameTexts<'n> {
    pub(super) fn new(names: &'n dyn TypeNames) -> Self {
        Self { names, texts: BTreeMap::new() }
    }

    /// The name of type `number` as it is declared.
    pub(super) fn name(&self, number: u32) -> Option<String> {
        self.names.name(number)
    }

    /// The name of type `number` as a JSON string, or `null`.
    pub(super) fn text(&mut self, number: u32) -> &[u8] {
        self.texts.entry(number).or_insert_with(|| {
            serde_json::to_vec(&self.names.name(number)).expect("a text and a null have a JSON form")
        })
    }
}

/// One event as the feed gives it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FeedEvent<'a> {
    /// Its key.
    pub(super) key: EventKey,
    /// Its value.
    pub(super) value: Value<'a>,
    /// The least dot under which it is known.
    pub(super) dot: Dot,
    /// Whether it lost its key to a smaller value.
    pub(super) clash: bool,
}

/// Appends `event` to `out` as one JSON object without a line break; `type_name` is a JSON text.
pub(super) fn write_event(out: &mut Vec<u8>, event: &FeedEvent<'_>, type_name: &[u8]) {
    let FeedEvent { key, value, dot, clash } = event;
    out.extend_from_slice(b"{\"key\":\"");
    hex(out, &key.0, &mut [0; 32]);
    out.extend_from_slice(b"\",\"time\":\"");
    write!(out, "{}", key.time()).expect("a Vec takes all that is written");
    out.extend_from_slice(b"\",\"type\":");
    number(out, value.type_number.into());
    out.extend_from_slice(b",\"type_name\":");
    out.extend_from_slice(type_name);
    out.extend_from_slice(b",\"version\":");
    number(out, value.version.into());
    out.extend_from_slice(b",\"dot\":\"");
    hex(out, &dot.origin.0, &mut [0; 16]);
    out.push(b':');
    number(out, dot.seq.0);
    out.push(b'"');
    if *clash {
        out.extend_from_slice(b",\"clash\":true");
    }
    write_data(out, value.data);
    out.push(b'}');
}

/// `data` where the bytes are JSON, else `data_base64`.
fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    if !is_json(data) {
        out.extend_from_slice(b",\"data_base64\":\"");
        out.extend_from_slice(BASE64.encode(data).as_bytes());
        out.push(b'"');
        return;
    }
    out.extend_from_slice(b",\"data\":");
    let start = out.len();
    out.extend_from_slice(data);
    if memchr2(b'\n', b'\r', data).is_none() {
        return;
    }
    // JSON has line breaks between its tokens only, where a space says the same and keeps the event on one line.
    for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

/// Whether the bytes are one JSON value. What a plugin or a client stored as bytes may be anything.
pub(super) fn is_json(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn hex(out: &mut Vec<u8>, bytes: &[u8], digits: &mut [u8]) {
    HEXLOWER.encode_mut(bytes, digits);
    out.extend_from_slice(digits);
}

fn number(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(out, &number).expect("a Vec takes all that is written");
}
