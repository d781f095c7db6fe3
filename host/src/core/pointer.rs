//! JSON pointers (RFC 6901), as errors name places in a body.

/// One step of a pointer, to the member `name`: `a/b` becomes `/a~1b`.
pub fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
