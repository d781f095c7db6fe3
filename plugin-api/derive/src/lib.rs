//! The derive macros of `laterbase-plugin`, and the attribute part of its `export_plugin!`; use them through that
//! crate, whose documentation explains them. They write paths beginning with `::laterbase_plugin`, so a plugin must
//! not rename its dependency.

mod canonical;
mod entry;
mod event;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `Canonical` for a struct or enum without generics: the fields in order, before an enum's fields the
/// variant's position as one byte.
#[proc_macro_derive(Canonical)]
pub fn canonical(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    canonical::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Derives `EventType` for a struct or enum that is `Deserialize`, from `#[event(number = 1, name = "add",
/// version = 1)]`. Without `name` it is the type's name in snake case, without `version` it is 1.
#[proc_macro_derive(EventType, attributes(event))]
pub fn event_type(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::derive_type(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Derives `EventData` for an enum whose variants each hold one event type, so that a Keyspace can take them all.
#[proc_macro_derive(EventData)]
pub fn event_data(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::derive_data(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Part of `export_plugin!`: gives the entry symbol its name and the section its place.
#[doc(hidden)]
#[proc_macro]
pub fn entry(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as entry::Entry);
    entry::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
