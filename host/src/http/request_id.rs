//! The name of one request, in its answer and in every line that is logged on its behalf: the caller's own, so that it
//! can be followed through several programs, or one made here.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::HEXLOWER;

/// The header that carries it, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken from a caller, in bytes.
const BYTES_MAX: usize = 64;

/// Letters, digits, dots, dashes and underscores: safe in a header, a log line and JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's, if there is one and it is sane; else a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(REQUEST_ID).iter();
        let first = given.next().filter(|_| given.next().is_none());
        let sane = first.filter(|given| is_sane(given.as_bytes()));
        Self(sane.cloned().unwrap_or_else(|| {
            let made = HEXLOWER.encode(&rand::random::<[u8; 8]>());
            HeaderValue::try_from(made).expect("hex digits are those of a header")
        }))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().expect("its characters are visible ASCII")
    }

    /// As a header's value.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_sane(given: &[u8]) -> bool {
    let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=BYTES_MAX).contains(&given.len()) && given.iter().copied().all(of_a_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A caller's own name is kept if it can do no harm; otherwise the request gets another one.
    #[test]
    fn only_sane_ones_are_kept() {
        let id = |given: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for given in given {
                headers.append(REQUEST_ID, HeaderValue::from_bytes(given).expect("a header"));
            }
            RequestId::of(&headers).as_str().to_owned()
        };
        let longest = [b'a'; BYTES_MAX];
        for kept in [b"a".as_slice(), b"0-Z_.9", b"550e8400-e29b-41d4-a716-446655440000", &longest] {
            assert_eq!(id(&[kept]).as_bytes(), kept);
        }
        let long = [b'a'; BYTES_MAX + 1];
        for not in [&[b"".as_slice()][..], &[b"a b"], &[b"a\"b"], &[b"\xff"], &[&long], &[b"a", b"b"], &[]] {
            let made = id(not);
            assert!(made.len() == 16 && is_sane(made.as_bytes()), "{not:?}: {made}");
            assert_ne!(made, id(not), "each gets its own");
        }
    }
}
