//! `#[derive(Canonical)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Member, Result};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    crate::event::refuse_generics(input, "Canonical")?;
    let name = &input.ident;
    let (encode, decode) = match &input.data {
        Data::Struct(data) => {
            let (pattern, encode, decode) = fields(&data.fields);
            (quote!(let Self #pattern = self; #encode), quote!(::core::result::Result::Ok(Self #decode)))
        }
        Data::Enum(data) => {
            if data.variants.is_empty() || data.variants.len() > 256 {
                return Err(Error::new_spanned(name, "Canonical is derived for enums of 1 to 256 variants"));
            }
            let (encode, decode): (Vec<_>, Vec<_>) =
                (0_u8..=255).zip(&data.variants).map(|(tag, variant)| arms(tag, variant)).unzip();
            (
                quote!(match self { #(#encode)* }),
                quote!(match <::core::primitive::u8 as ::laterbase_plugin::Canonical>::decode(input)? {
                    #(#decode)*
                    #[allow(unreachable_patterns, reason = "an enum of 256 variants uses every tag")]
                    tag => ::core::result::Result::Err(::laterbase_plugin::CodecError::Tag { tag }),
                }),
            )
        }
        Data::Union(data) => {
            let message = "a union has no canonical encoding: use an enum, which says which variant it holds";
            return Err(Error::new_spanned(data.union_token, message));
        }
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::laterbase_plugin::Canonical for #name {
            fn encode(&self, out: &mut ::std::vec::Vec<::core::primitive::u8>) {
                #encode
            }
            fn decode(
                input: &mut &[::core::primitive::u8],
            ) -> ::core::result::Result<Self, ::laterbase_plugin::CodecError> {
                #decode
            }
        }
    })
}

/// One variant's arms of the `match` that encodes and of the one that decodes.
fn arms(tag: u8, variant: &syn::Variant) -> (TokenStream, TokenStream) {
    let name = &variant.ident;
    let (pattern, encode, decode) = fields(&variant.fields);
    (
        quote!(Self::#name #pattern => { out.push(#tag); #encode }),
        quote!(#tag => ::core::result::Result::Ok(Self::#name #decode),),
    )
}

/// The pattern that binds all fields, the statements that encode them and the expression that decodes them.
fn fields(fields: &Fields) -> (TokenStream, TokenStream, TokenStream) {
    let members: Vec<Member> = fields.members().collect();
    let names: Vec<_> = (0..members.len()).map(|index| quote::format_ident!("field_{index}")).collect();
    (
        quote!({ #(#members: #names),* }),
        quote!(#(::laterbase_plugin::Canonical::encode(#names, out);)*),
        quote!({ #(#members: ::laterbase_plugin::Canonical::decode(input)?),* }),
    )
}
