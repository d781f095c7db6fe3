//! The address of a peer: `http://HOST[:PORT]`.

use axum::http::Uri;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// The port of a peer that names none.
const PORT: u16 = 4000;

/// Where a peer listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PeerAddress {
    /// Host and port, as a connection needs them.
    authority: String,
}

/// The text is no address of a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not of the form.
    #[error("{0:?} is no address of a peer: write http://HOST:PORT")]
    Form(String),
    /// It asks for TLS.
    #[error("{0:?}: https is not spoken yet; use http inside a network that you trust, or a tunnel")]
    Tls(String),
}

impl PeerAddress {
    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| form())?;
        if uri.scheme_str() == Some("https") {
            return Err(AddressError::Tls(text.to_owned()));
        }
        let authority = uri.authority().ok_or_else(form)?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if uri.scheme_str() != Some("http") || !is_bare || authority.as_str().contains('@') {
            return Err(form());
        }
        let port = authority.port_u16().unwrap_or(PORT);
        Ok(Self { authority: format!("{}:{port}", authority.host()) })
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address is a scheme and an authority, nothing more.
    #[test]
    fn addresses() {
        let read = |text: &str| text.parse::<PeerAddress>().map(|address| address.to_string());
        assert_eq!(read("http://depot.example").as_deref(), Ok("http://depot.example:4000"));
        assert_eq!(read("http://10.0.0.7:4100/").as_deref(), Ok("http://10.0.0.7:4100"));
        assert_eq!(read("http://[::1]:4100").as_deref(), Ok("http://[::1]:4100"));
        assert!(matches!(read("https://depot.example"), Err(AddressError::Tls(_))));
        for bad in ["", "depot", "depot:4000", "http://", "ftp://depot", "http://depot/tally", "http://a@b"] {
            assert!(matches!(read(bad), Err(AddressError::Form(_))), "{bad}");
        }
    }
}
