//! Identifiers: EPC URNs and GS1 Digital Links in, one canonical Digital Link out.
//!
//! `urn:epc:id:sgtin:4012345.011111.9876`, `https://shop.example/gtin/4012345111118/ser/9876?17=261231` and
//! `https://id.gs1.org/01/04012345111118/21/9876` name one thing, and views must not split it in three. The Digital
//! Link is the canonical form because the way there is mechanical, while the way back needs GS1's table of company
//! prefix lengths. The form is the one that the CBV event hash prescribes: host `id.gs1.org`, numeric application
//! identifiers, no query, and only the finest level (a serial number without its lot).
//!
//! Everything that is not such an identifier stays as written: other URNs (`bic`, `imovn`, `adi`, `usdod`…), other
//! URLs, malformed ones. Check digits are computed for URNs, which carry none, and not judged in Digital Links.

use std::borrow::Cow;

/// Texts longer than this are not looked at: no identifier is.
const TEXT_BYTES_MAX: usize = 2048;

/// The canonical form of `text`: a Digital Link, or `text` itself.
pub fn canonical(text: &str) -> Cow<'_, str> {
    if text.len() > TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let link = match text.strip_prefix("urn:epc:") {
        Some(urn) => of_urn(urn),
        None => of_link(text),
    };
    match link {
        Some(link) if link != text => Cow::Owned(link),
        _ => Cow::Borrowed(text),
    }
}

/// Which texts an element may hold.
#[derive(Clone, Copy)]
enum Alphabet {
    /// The 82 characters of GS1's element strings.
    General,
    /// The 39 of component and part identifiers.
    Parts,
    /// Digits.
    Digits,
}

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Digits => byte.is_ascii_digit(),
            Self::Parts => byte.is_ascii_digit() || byte.is_ascii_uppercase() || b"#-/".contains(&byte),
            Self::General => byte.is_ascii_alphanumeric() || b"!\"%&'()*+,-./:;<=>?_".contains(&byte),
        }
    }
}

fn of_urn(urn: &str) -> Option<String> {
    let (class, rest) = urn.split_once(':')?;
    let (scheme, body) = rest.split_once(':')?;
    let path = match class {
        "id" => of_instance(scheme, body)?,
        "class" if scheme == "lgtin" => {
            let (gtin, lot) = gtin(body)?;
            format!("01/{gtin}/10/{}", urn_element(lot, 20, Alphabet::General)?)
        }
        "idpat" => of_pattern(scheme, body)?,
        _ => return None,
    };
    Some(format!("https://id.gs1.org/{path}"))
}

fn of_instance(scheme: &str, body: &str) -> Option<String> {
    let general = |text, length_max| urn_element(text, length_max, Alphabet::General);
    Some(match scheme {
        "sgtin" => {
            let (gtin, serial) = gtin(body)?;
            format!("01/{gtin}/21/{}", general(serial, 20)?)
        }
        "upui" => {
            let (gtin, serial) = gtin(body)?;
            format!("01/{gtin}/235/{}", general(serial, 28)?)
        }
        "itip" => {
            let (gtin, rest) = gtin(body)?;
            let (piece, rest) = rest.split_once('.')?;
            let (total, serial) = rest.split_once('.')?;
            format!("8006/{gtin}{}{}/21/{}", number(piece, 2)?, number(total, 2)?, general(serial, 20)?)
        }
        "sscc" => format!("00/{}", first_moved(body, 17)?),
        "sgln" => {
            let (gln, extension) = keyed(body, "")?;
            match extension {
                "0" => format!("414/{gln}"),
                _ => format!("414/{gln}/254/{}", general(extension, 20)?),
            }
        }
        "pgln" => {
            let (prefix, reference) = prefixed(body)?;
            format!("417/{}", checked(number(&[prefix, reference].concat(), 12)?))
        }
        "grai" => {
            let (asset, serial) = keyed(body, "0")?;
            format!("8003/{asset}{}", general(serial, 16)?)
        }
        "gdti" => {
            let (document, serial) = keyed(body, "")?;
            format!("253/{document}{}", general(serial, 17)?)
        }
        "sgcn" => {
            let (coupon, serial) = keyed(body, "")?;
            format!("255/{coupon}{}", urn_element(serial, 12, Alphabet::Digits)?)
        }
        "gsrn" => format!("8018/{}", joined(body, 17)?),
        "gsrnp" => format!("8017/{}", joined(body, 17)?),
        "gsin" => format!("402/{}", joined(body, 16)?),
        "giai" => format!("8004/{}", open(body, Alphabet::General)?),
        "ginc" => format!("401/{}", open(body, Alphabet::General)?),
        "cpi" => {
            let (part, serial) = body.rsplit_once('.')?;
            format!(
                "8010/{}/8011/{}",
                open(part, Alphabet::Parts)?,
                urn_element(serial, 12, Alphabet::Digits)?
            )
        }
        _ => return None,
    })
}

/// Patterns that name a whole class: all serial numbers of one key.
fn of_pattern(scheme: &str, body: &str) -> Option<String> {
    let class = body.strip_suffix(".*")?;
    let keyed = |extra| keyed(body, extra).map(|(key, _)| key);
    Some(match scheme {
        "sgtin" | "upui" => format!("01/{}", first_moved(class, 13)?),
        "grai" => format!("8003/{}", keyed("0")?),
        "gdti" => format!("253/{}", keyed("")?),
        "sgcn" => format!("255/{}", keyed("")?),
        "cpi" => format!("8010/{}", open(class, Alphabet::Parts)?),
        "itip" => {
            let (gtin, rest) = gtin(class)?;
            let (piece, total) = rest.split_once('.')?;
            format!("8006/{gtin}{}{}", number(piece, 2)?, number(total, 2)?)
        }
        _ => return None,
    })
}

/// `text` if it consists of exactly `length` digits.
fn number(text: &str, length: usize) -> Option<&str> {
    (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// Splits off the company prefix: 6 to 12 digits up to the first point.
fn prefixed(body: &str) -> Option<(&str, &str)> {
    let (prefix, rest) = body.split_once('.')?;
    ((6..=12).contains(&prefix.len()) && number(prefix, prefix.len()).is_some()).then_some((prefix, rest))
}

/// Appends the check digit.
fn checked(digits: &str) -> String {
    let weighted = digits.bytes().rev().zip([3, 1].iter().cycle());
    let sum: u32 = weighted.map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// `prefix.reference` whose first reference digit goes to the front (the indicator or extension digit).
fn first_moved(body: &str, length: usize) -> Option<String> {
    let (prefix, reference) = prefixed(body)?;
    let (first, others) = reference.split_at_checked(1)?;
    Some(checked(number(&[first, prefix, others].concat(), length)?))
}

/// A 14-digit GTIN of `prefix.item`, and what follows the next point.
fn gtin(body: &str) -> Option<(String, &str)> {
    let (prefix, rest) = prefixed(body)?;
    let (item, rest) = rest.split_once('.')?;
    let (first, others) = item.split_at_checked(1)?;
    Some((checked(number(&[first, prefix, others].concat(), 13)?), rest))
}

/// The 13-digit key of `prefix.reference` (with `extra` in front), and what follows the next point.
fn keyed<'a>(body: &'a str, extra: &str) -> Option<(String, &'a str)> {
    let (prefix, rest) = prefixed(body)?;
    let (reference, rest) = rest.split_once('.')?;
    Some((checked(number(&[extra, prefix, reference].concat(), 12 + extra.len())?), rest))
}

/// `prefix.reference` of a fixed number of digits.
fn joined(body: &str, length: usize) -> Option<String> {
    let (prefix, reference) = prefixed(body)?;
    Some(checked(number(&[prefix, reference].concat(), length)?))
}

/// `prefix.reference` of at most 30 characters, without a check digit.
fn open(body: &str, alphabet: Alphabet) -> Option<String> {
    let (prefix, reference) = prefixed(body)?;
    let reference = urn_element(reference, 30 - prefix.len(), alphabet)?;
    Some([prefix, &reference].concat())
}

/// An element of a URN, where most punctuation must be percent-encoded, as one of a Digital Link.
fn urn_element(text: &str, length_max: usize, alphabet: Alphabet) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!')(*+,.:;=_%-".contains(&byte);
    if text.bytes().all(plain) { element(text, length_max, alphabet) } else { None }
}

/// An element of 1 to `length_max` characters, decoded and encoded again in the one canonical way.
fn element(text: &str, length_max: usize, alphabet: Alphabet) -> Option<String> {
    let (mut encoded, mut bytes, mut length) = (String::with_capacity(text.len()), text.bytes(), 0);
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { hex(bytes.next()?)? * 16 + hex(bytes.next()?)? } else { byte };
        if !alphabet.has(byte) {
            return None;
        }
        length += 1;
        if byte.is_ascii_alphanumeric() || b"-._';=".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digit =
                |half: u8| char::from(b"0123456789ABCDEF".get(usize::from(half)).copied().unwrap_or(b'0'));
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    (1..=length_max).contains(&length).then_some(encoded)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn of_link(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let path = rest.split(['?', '#']).next()?;
    let (host, path) = path.split_once('/')?;
    if host.is_empty() {
        return None;
    }
    let mut path = path.strip_suffix('/').unwrap_or(path);
    loop {
        if let Some(link) = of_path(path) {
            return Some(link);
        }
        path = path.split_once('/')?.1;
    }
}

/// The canonical link of `key/value/qualifier/value…`, if the path is all of that.
fn of_path(path: &str) -> Option<String> {
    let mut segments = path.split('/');
    let (key, value) = (ai(segments.next()?), segments.next()?);
    let value = primary(key, value)?;
    // The finest qualifier: its rank, application identifier and value.
    let mut finest: Option<(u8, &str, String)> = None;
    while let Some(qualifier) = segments.next() {
        let (qualifier, text) = (ai(qualifier), segments.next()?);
        let (rank, length_max, alphabet) = match (key, qualifier) {
            ("01" | "8006", "22") | ("8017" | "8018", "8019") => (0, 20, Alphabet::General),
            ("01" | "8006", "10") | ("414", "254") => (1, 20, Alphabet::General),
            ("01", "235") => (2, 28, Alphabet::General),
            ("01" | "8006", "21") => (3, 20, Alphabet::General),
            ("8010", "8011") => (1, 12, Alphabet::Digits),
            _ => return None,
        };
        let text = element(text, length_max, alphabet)?;
        if finest.as_ref().is_none_or(|(other, ..)| *other < rank) {
            finest = Some((rank, qualifier, text));
        }
    }
    Some(match finest {
        Some((1.., qualifier, text)) => format!("https://id.gs1.org/{key}/{value}/{qualifier}/{text}"),
        _ => format!("https://id.gs1.org/{key}/{value}"),
    })
}

/// The value of a primary key in canonical form, if it is one.
fn primary(key: &str, value: &str) -> Option<String> {
    let fixed = |length| number(value, length).map(str::to_owned);
    // A key of `digits` digits with up to `serial_max` characters of a serial number behind it.
    let serial = |digits: usize, serial_max: usize, alphabet| {
        let (key, serial) = value.split_at_checked(digits)?;
        number(key, digits)?;
        let serial = if serial.is_empty() { String::new() } else { element(serial, serial_max, alphabet)? };
        Some([key, &serial].concat())
    };
    let company = |alphabet| {
        number(value.get(..4)?, 4)?;
        element(value, 30, alphabet)
    };
    match key {
        "00" | "8006" | "8017" | "8018" => fixed(18),
        "01" if matches!(value.len(), 8 | 12 | 13 | 14) => {
            number(value, value.len())?;
            Some(format!("{value:0>14}"))
        }
        "253" => serial(13, 17, Alphabet::General),
        "255" => serial(13, 12, Alphabet::Digits),
        "402" => fixed(17),
        "414" | "417" => fixed(13),
        "8003" => serial(14, 16, Alphabet::General),
        "401" | "8004" => company(Alphabet::General),
        "8010" => company(Alphabet::Parts),
        _ => None,
    }
}

/// The application identifier that a short name of the first Digital Link standard stands for.
fn ai(name: &str) -> &str {
    match name {
        "gtin" => "01",
        "itip" => "8006",
        "cpid" => "8010",
        "gln" => "414",
        "party" => "417",
        "gsrnp" => "8017",
        "gsrn" => "8018",
        "gcn" => "255",
        "sscc" => "00",
        "gdti" => "253",
        "ginc" => "401",
        "gsin" => "402",
        "grai" => "8003",
        "giai" => "8004",
        "cpv" => "22",
        "lot" => "10",
        "ser" => "21",
        _ => name,
    }
}
