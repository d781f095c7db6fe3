//! Fallback.

/// What a plugin library says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The plugin's declared name.
    pub name: String,
    /// The version of the plugin's crate.
    pub version: String,
    /// The version of the plugin-api crate.
    pub api: String,
    /// The number of the binary interface.
    pub abi: u32,
    /// The entry symbol.
    pub entry: String,
    /// `unwind` or `abort`.
    pub panic: String,
}

impl Section {
    /// Parses the section's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, std::string::FromUtf8Error> {
        let text = String::from_utf8(bytes.to_vec())?;
        let get = |key: &str| {
            let mut pairs = text.split('\0').filter_map(|line| line.split_once('='));
            pairs.find(|pair| pair.0 == key).map(|pair| pair.1.to_owned()).unwrap_or_default()
        };
        Ok(Self {
            name: get("name"),
            version: get("version"),
            api: get("api"),
            abi: get("abi").parse().unwrap_or_default(),
            entry: get("entry"),
            panic: get("panic"),
        })
    }
}
