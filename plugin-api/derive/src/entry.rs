//! The part of `export_plugin!` that a `macro_rules!` cannot do: names with hyphens become symbols with underscores.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, LitStr, Result, Token};

/// `"name", (header expression), (section length), (section expression)`.
pub(crate) struct Entry {
    name: LitStr,
    header: Expr,
    length: Expr,
    section: Expr,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![,]>()?;
        let header = input.parse()?;
        input.parse::<Token![,]>()?;
        let length = input.parse()?;
        input.parse::<Token![,]>()?;
        Ok(Self { name, header, length, section: input.parse()? })
    }
}

pub(crate) fn expand(entry: &Entry) -> Result<TokenStream> {
    let Entry { name, header, length, section } = entry;
    let text = name.value();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins = text.bytes().next().is_some_and(is_plain);
    if !begins || text.len() > 63 || !text.bytes().all(|byte| is_plain(byte) || byte == b'_' || byte == b'-')
    {
        return Err(Error::new_spanned(name, "a plugin's name is [a-z0-9][a-z0-9_-]{0,62}"));
    }
    let symbol = format!("laterbase_plugin_{}", text.replace('-', "_"));
    Ok(quote! {
        #[unsafe(export_name = #symbol)]
        static HEADER: ::laterbase_plugin::abi_stable::library::LibHeader = #header;
        #[used]
        #[unsafe(link_section = ".laterbase")]
        static SECTION: [::core::primitive::u8; #length] = #section;
    })
}
