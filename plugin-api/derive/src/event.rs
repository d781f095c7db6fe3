//! `#[derive(EventType)]` and `#[derive(EventData)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, LitInt, LitStr, Result};

/// Refuses type and lifetime parameters with a sentence that says what to do.
pub(crate) fn refuse_generics(input: &DeriveInput, what: &str) -> Result<()> {
    if input.generics.params.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{what} is derived for types without generics: write the concrete types out, or a hand-written impl"
    );
    Err(Error::new_spanned(&input.generics, message))
}

pub(crate) fn derive_type(input: &DeriveInput) -> Result<TokenStream> {
    refuse_generics(input, "EventType")?;
    let (mut number, mut name, mut version) = (None::<LitInt>, None::<LitStr>, None::<LitInt>);
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("number") {
                number = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("version") {
                version = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("expected number, name or version"));
            }
            Ok(())
        })?;
    }
    let missing = "say which number is stored with each event: #[event(number = 1)]";
    let number = number.ok_or_else(|| Error::new_spanned(&input.ident, missing))?;
    let version = version.map_or(Ok(1), |version| version.base10_parse::<u32>())?;
    if version == 0 {
        return Err(Error::new_spanned(&input.ident, "versions count from 1"));
    }
    let ident = &input.ident;
    let name = name.map_or_else(|| snake(&ident.to_string()), |name| name.value());
    Ok(quote! {
        #[automatically_derived]
        impl ::laterbase_plugin::EventType for #ident {
            const NUMBER: ::core::primitive::u32 = #number;
            const NAME: &'static ::core::primitive::str = #name;
            const VERSION: ::core::primitive::u32 = #version;
        }
    })
}

pub(crate) fn derive_data(input: &DeriveInput) -> Result<TokenStream> {
    refuse_generics(input, "EventData")?;
    let ident = &input.ident;
    let Data::Enum(data) = &input.data else {
        let message = "EventData is derived for enums; for a struct derive EventType, which is EventData too";
        return Err(Error::new_spanned(ident, message));
    };
    let (mut names, mut types) = (Vec::new(), Vec::new());
    for variant in &data.variants {
        let message = "each variant holds one event type: `Added(Added)`";
        let Fields::Unnamed(fields) = &variant.fields else {
            return Err(Error::new_spanned(variant, message));
        };
        let (Some(field), 1) = (fields.unnamed.first(), fields.unnamed.len()) else {
            return Err(Error::new_spanned(variant, message));
        };
        names.push(&variant.ident);
        types.push(&field.ty);
    }
    Ok(quote! {
        #[automatically_derived]
        impl ::laterbase_plugin::EventData for #ident {
            fn types() -> ::std::vec::Vec<::core::primitive::u32> {
                let mut types = ::std::vec::Vec::new();
                #(types.extend(<#types as ::laterbase_plugin::EventData>::types());)*
                types
            }
            fn read(
                event: &::laterbase_plugin::RawEvent<'_>,
            ) -> ::core::result::Result<Self, ::laterbase_plugin::Refusal> {
                #(if <#types as ::laterbase_plugin::EventData>::types().contains(&event.type_number) {
                    return <#types as ::laterbase_plugin::EventData>::read(event).map(Self::#names);
                })*
                ::core::result::Result::Err(::laterbase_plugin::Refusal::other_type(event.type_number))
            }
            fn example(
                type_number: ::core::primitive::u32,
                chance: &mut ::laterbase_plugin::Chance,
            ) -> ::core::option::Option<::std::vec::Vec<::core::primitive::u8>> {
                #(if <#types as ::laterbase_plugin::EventData>::types().contains(&type_number) {
                    return <#types as ::laterbase_plugin::EventData>::example(type_number, chance);
                })*
                ::core::option::Option::None
            }
        }
    })
}

/// `AddedLine` as `added_line`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
