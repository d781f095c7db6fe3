//! The form of names that stand in URLs and as names of folders: Roots, views, plugins, Keyspaces.

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// True for a name that routes, tables and files may be made of: `[a-z0-9][a-z0-9_-]{0,62}`, and not `e`.
pub fn is_name(name: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().next().is_some_and(part)
        && name.bytes().all(|byte| part(byte) || matches!(byte, b'_' | b'-'))
        && name.len() <= NAME_BYTES_MAX
        && name != "e"
}
