//! Lists as CSV: the rows are the elements of an array in a JSON answer, the columns their members.
//!
//! Columns are those of the first row in its order, then what further rows add. A text stands as it is, null and what
//! is missing are empty cells, anything nested is written as JSON; numbers keep their digits.

use crate::core::csv::write_row;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// An object's members in their order, their values as text.
struct Members<'j>(Vec<(Cow<'j, str>, &'j RawValue)>);

impl<'de: 'j, 'j> Deserialize<'de> for Members<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name.0, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One row: cells by the name of their column.
type Row<'j> = Vec<(Cow<'j, str>, Cow<'j, str>)>;

/// A list whose rows are the elements of the member `list`.
pub(super) fn list(json: &[u8], list: &str) -> serde_json::Result<Bytes> {
    let Members(answer) = serde_json::from_slice(json)?;
    let Some((_, rows)) = answer.into_iter().find(|(name, _)| name == list) else {
        return Ok(Bytes::new());
    };
    let rows: Vec<Members<'_>> = serde_json::from_str(rows.get())?;
    let rows: Vec<Row<'_>> = rows.into_iter().map(|Members(members)| row(members)).collect();
    Ok(table(&rows))
}

fn row<'j>(members: Vec<(Cow<'j, str>, &'j RawValue)>) -> Row<'j> {
    members.into_iter().map(|(name, value)| (name, cell(value))).collect()
}

/// The answer of a View or Report, one key or a page of them: the parts of the key, then the members of the value.
/// Behind it where the list goes on.
pub(super) fn view(json: &[u8]) -> serde_json::Result<(Bytes, Option<String>)> {
    let Members(answer) = serde_json::from_slice(json)?;
    let member = |wanted: &str| answer.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let cursor = member("cursor").map(|cursor| serde_json::from_str(cursor.get())).transpose()?;
    let rows = match member("items") {
        None => vec![item(&answer)?],
        Some(items) => {
            let items: Vec<Members<'_>> = serde_json::from_str(items.get())?;
            items.iter().map(|Members(members)| item(members)).collect::<Result<_, _>>()?
        }
    };
    Ok((table(&rows), cursor))
}

fn item<'j>(members: &[(Cow<'j, str>, &'j RawValue)]) -> serde_json::Result<Row<'j>> {
    let mut row: Row<'j> = Vec::new();
    for (name, value) in members {
        match name.as_ref() {
            "key" if value.get().starts_with('[') => {
                let parts: Vec<&RawValue> = serde_json::from_str(value.get())?;
                let parts = parts.into_iter().enumerate();
                row.extend(parts.map(|(at, part)| (Cow::from(format!("key{}", at + 1)), cell(part))));
            }
            "key" => row.push((Cow::from("key"), cell(value))),
            "value" if value.get().starts_with('{') => {
                let Members(members) = serde_json::from_str(value.get())?;
                row.extend(members.into_iter().map(|(name, value)| (name, cell(value))));
            }
            "value" => row.push((Cow::from("value"), cell(value))),
            _ => {}
        }
    }
    Ok(row)
}

fn cell(value: &RawValue) -> Cow<'_, str> {
    let text = value.get();
    if text == "null" {
        return Cow::from("");
    }
    let string = if text.starts_with('"') { serde_json::from_str::<Text<'_>>(text).ok() } else { None };
    string.map_or(Cow::from(text), |Text(string)| string)
}

/// A member of a value may have the name of a part of the key: columns are told apart by name and occurrence.
fn table(rows: &[Row<'_>]) -> Bytes {
    let (mut columns, mut place_of) = (Vec::new(), BTreeMap::new());
    let mut row_places = Vec::with_capacity(rows.len());
    for row in rows {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        let places = row.iter().map(|(name, _)| {
            let nth = times.entry(name).or_default();
            *nth += 1;
            *place_of.entry((name.as_ref(), *nth)).or_insert_with(|| {
                columns.push(name.as_bytes());
                columns.len() - 1
            })
        });
        row_places.push(places.collect::<Vec<_>>());
    }
    let mut out = Vec::new();
    write_row(&mut out, columns.iter().copied());
    for (row, places) in rows.iter().zip(row_places) {
        let mut cells: Vec<&[u8]> = vec![b""; columns.len()];
        for ((_, cell), place) in row.iter().zip(places) {
            *cells.get_mut(place).expect("every place is a column's") = cell.as_bytes();
        }
        write_row(&mut out, cells);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).expect("UTF-8")
    }

    // Parts of keys, members in the order of the first row, nested values, digits as they stand, a member called key.
    #[test]
    fn views() {
        let page = br#"{"items":[
            {"key":["a, b","x"],"value":{"n":1.10e+2,"list":[1,{"a":"q"}],"text":"=1+1"}},
            {"key":["c"],"value":{"more":12345678901234567890123,"n":null,"key1":"k"}},
            {"key":["d"],"value":[1,2]}],"cursor":"abc"}"#;
        let (csv, cursor) = view(page).expect("a page");
        let expected = "key1,key2,n,list,text,more,key1,value\r\n\
            \"a, b\",x,1.10e+2,\"[1,{\"\"a\"\":\"\"q\"\"}]\",=1+1,,,\r\n\
            c,,,,,12345678901234567890123,k,\r\nd,,,,,,,\"[1,2]\"\r\n";
        assert_eq!((text(&csv), cursor.as_deref()), (expected, Some("abc")));
        let one = br#"{"key":"apples","value":{"n":42,"count":2},"events":2,"incomplete":[]}"#;
        assert_eq!(text(&view(one).expect("one").0), "key,n,count\r\napples,42,2\r\n");
    }

    // Rows with different members; an empty list has no columns.
    #[test]
    fn lists() {
        let roots = br#"{"roots":[{"root":"a","plugins":["p","q"]},{"root":"b\"","stored":true}],"other":1}"#;
        let expected = "root,plugins,stored\r\na,\"[\"\"p\"\",\"\"q\"\"]\",\r\n\"b\"\"\",,true\r\n";
        assert_eq!(text(&list(roots, "roots").expect("a list")), expected);
        assert_eq!(text(&list(b"{\"roots\":[]}", "roots").expect("a list")), "\r\n");
    }
}
