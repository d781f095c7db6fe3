//! A deserializer without input: it makes up each value that it is asked for and writes it down as JSON.

use super::Chance;
use super::learned::{Fault, Learned};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Below so many arrays and objects nothing further is nested, so that types that contain themselves end.
const DEPTH_MAX: usize = 4;

/// Few words, so that events meet in their aggregates.
const WORDS: [&str; 4] = ["a", "b", "pallet 7", "größe"];

/// Texts that code may stumble over.
const ODD_WORDS: [&str; 6] = ["", " ", "\u{0}", "\"\\/\n", "🦀", "\u{202e}abc"];

/// How many kinds of text there are.
const TEXT_KINDS: usize = 8;

/// Makes up one value.
pub(super) struct Maker<'c> {
    chance: &'c mut Chance,
    learned: &'c mut Learned,
    json: Vec<u8>,
    /// Where the value at hand stands, from the innermost struct on; elements and keys are `*`.
    place: Vec<String>,
    /// In how many others the value at hand is nested.
    depth: usize,
    /// The value at hand is the name of a member: numbers stand in quotes.
    is_name: bool,
}

impl<'c> Maker<'c> {
    pub(super) fn new(chance: &'c mut Chance, learned: &'c mut Learned) -> Self {
        Self { chance, learned, json: Vec::new(), place: Vec::new(), depth: 0, is_name: false }
    }

    /// What was made up.
    pub(super) fn into_json(self) -> Vec<u8> {
        self.json
    }

    fn place(&self) -> String {
        self.place.join("/")
    }

    /// True `once` times in `out_of`.
    fn one_of(&mut self, once: u64, out_of: u64) -> bool {
        self.chance.below(out_of) < once
    }

    fn write(&mut self, text: &str) {
        self.json.extend_from_slice(text.as_bytes());
    }

    /// Writes a number or a bool.
    fn write_bare(&mut self, text: &str) {
        if self.is_name { self.write_quoted(text) } else { self.write(text) }
    }

    fn write_quoted(&mut self, text: &str) {
        let quoted = serde_json::to_string(text).expect("a text is JSON");
        self.write(&quoted);
    }

    /// Notes the place if the value is refused there.
    fn leaf<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        outcome.map_err(|mut fault| {
            let place = self.place();
            self.learned.of_value(&place, &mut fault);
            fault
        })
    }

    /// A text; after refusals at this place another kind of text each time.
    fn text(&mut self) -> String {
        let place = self.place();
        if let Some(variant) = self.learned.variants(&place).and_then(|known| self.chance.pick(known)) {
            return (*variant).to_owned();
        }
        let number = self.chance.number();
        match self.learned.refused(&place) % TEXT_KINDS {
            0 if self.chance.is_extreme() && self.one_of(1, 8) => "x".repeat(2000),
            0 if self.chance.is_extreme() => {
                self.chance.pick(&ODD_WORDS).copied().unwrap_or_default().to_owned()
            }
            0 => self.chance.pick(&WORDS).copied().unwrap_or_default().to_owned(),
            1 => format!("2026-05-0{}T1{}:00:00.{:03}Z", 1 + number % 3, number % 10, number % 1000),
            2 => format!("{number:032x}"),
            3 => (number % 12).to_string(),
            4 => format!("2026-05-0{}", 1 + number % 3),
            5 => format!("{:08x}-0000-4000-8000-{:012x}", number % 4, number % 3),
            6 => format!("https://example.org/{}", number % 4),
            _ => format!("{:016x}", number % 1000),
        }
    }

    fn visit_text<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let text = self.text();
        self.write_quoted(&text);
        let outcome = visitor.visit_str(&text);
        self.leaf(outcome)
    }

    /// An object with the members that `names` picks, which are read by `visitor`.
    fn visit_object<'de, V: Visitor<'de>>(
        &mut self,
        names: Vec<String>,
        fields: Option<&[&str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (place, mut last) = (self.place(), None);
        self.write("{");
        let members = Members { maker: self, names: names.into_iter(), last: &mut last, value: None };
        let outcome = visitor.visit_map(members);
        self.write("}");
        outcome.map_err(|mut fault| {
            self.learned.of_object(&place, fields, last.as_deref(), &mut fault);
            fault
        })
    }

    fn visit_elements<'de, V: Visitor<'de>>(&mut self, count: usize, visitor: V) -> Result<V::Value, Fault> {
        self.write("[");
        let outcome = visitor.visit_seq(Elements { maker: self, left: count, first: true });
        self.write("]");
        outcome
    }

    /// How many elements a list has.
    fn few(&mut self) -> usize {
        let few = if self.depth > DEPTH_MAX { 0 } else { self.chance.below(4) };
        usize::try_from(few).unwrap_or(0)
    }

    fn within<T>(&mut self, step: &str, make: impl FnOnce(&mut Self) -> T) -> T {
        self.place.push(step.to_owned());
        self.depth += 1;
        let outcome = make(self);
        self.depth -= 1;
        self.place.pop();
        outcome
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $integer:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let ends = [$integer::MIN, $integer::MAX, 0, 1, $integer::MAX - 1, $integer::MAX / 2];
            let small = $integer::try_from(self.chance.below(12)).unwrap_or(1);
            let negative = $integer::MIN != 0 && self.one_of(1, 3);
            let number = match self.chance.is_extreme() {
                true => self.chance.pick(&ends).copied().unwrap_or(0),
                false if negative => $integer::wrapping_sub(0, small),
                false => small,
            };
            self.write_bare(&number.to_string());
            let outcome = visitor.$visit(number);
            self.leaf(outcome)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Maker<'_> {
    type Error = Fault;

    integers! {
        deserialize_i8 visit_i8 i8; deserialize_i16 visit_i16 i16; deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64; deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8; deserialize_u16 visit_u16 u16; deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64; deserialize_u128 visit_u128 u128;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let place = self.place();
        if self.learned.variants(&place).is_some() {
            return self.visit_text(visitor);
        }
        if !self.learned.required(&place).is_empty() || self.depth == 0 {
            return self.deserialize_map(visitor);
        }
        match self.chance.below(10) {
            _ if self.is_name => self.visit_text(visitor),
            0 => self.deserialize_unit(visitor),
            1 => self.deserialize_bool(visitor),
            2 | 3 => self.deserialize_i64(visitor),
            4 => self.deserialize_f64(visitor),
            5 if self.depth <= DEPTH_MAX => self.deserialize_seq(visitor),
            6 if self.depth <= DEPTH_MAX => self.deserialize_map(visitor),
            _ => self.visit_text(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = self.one_of(1, 2);
        self.write_bare(if value { "true" } else { "false" });
        let outcome = visitor.visit_bool(value);
        self.leaf(outcome)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let ends = [0.0, -0.0, 1e300, -1e300, 5e-324];
        let ordinary = [0.5, 1.0, -1.25, 3.0, 0.1];
        let from = if self.chance.is_extreme() { &ends } else { &ordinary };
        let number = self.chance.pick(from).copied().unwrap_or(1.0);
        self.write_bare(&format!("{number:?}"));
        let outcome = visitor.visit_f64(number);
        self.leaf(outcome)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let letter = self.chance.pick(&['a', 'b', 'ü', '7']).copied().unwrap_or('a');
        self.write_quoted(&letter.to_string());
        let outcome = visitor.visit_char(letter);
        self.leaf(outcome)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_text(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.depth <= DEPTH_MAX && self.one_of(2, 3) {
            return visitor.visit_some(self);
        }
        self.write("null");
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.write("null");
        let outcome = visitor.visit_unit();
        self.leaf(outcome)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let count = self.few();
        self.visit_elements(count, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.visit_elements(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.visit_elements(length, visitor)
    }

    /// An object whose members are not known: those that it was found to insist on, or else any.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let mut names = self.learned.required(&self.place());
        if names.is_empty() {
            names = (0..self.few()).map(|_| String::new()).collect();
        }
        let place = self.place();
        self.learned.of_loose(&place);
        self.visit_object(names, None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        // What is learned of a type holds wherever it stands, also within itself.
        let outside = std::mem::replace(&mut self.place, vec![name.to_owned()]);
        let place = self.place();
        let mut names = Vec::new();
        for name in fields {
            let left_out = self.one_of(1, 8) && !self.learned.requires(&place, name);
            if !left_out && !self.learned.unwanted(&place, name) {
                names.push((*name).to_owned());
            }
        }
        let outcome = self.visit_object(names, Some(fields), visitor);
        self.place = outside;
        outcome
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let variant = self.chance.pick(variants).copied().ok_or(Fault::Other)?;
        visitor.visit_enum(Variant { maker: self, variant })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_i64(visitor)
    }
}

/// The elements of an array.
struct Elements<'m, 'c> {
    maker: &'m mut Maker<'c>,
    left: usize,
    first: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if !std::mem::take(&mut self.first) {
            self.maker.write(",");
        }
        self.maker.within("*", |maker| seed.deserialize(maker)).map(Some)
    }
}

/// The members of an object; a name that is empty is made up.
struct Members<'m, 'c> {
    maker: &'m mut Maker<'c>,
    names: std::vec::IntoIter<String>,
    last: &'m mut Option<String>,
    /// The member whose value is next.
    value: Option<String>,
}

impl<'de> MapAccess<'de> for Members<'_, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(name) = self.names.next() else { return Ok(None) };
        if self.last.is_some() {
            self.maker.write(",");
        }
        *self.last = Some(name.clone());
        self.value = Some(if name.is_empty() { "*".to_owned() } else { name.clone() });
        if name.is_empty() {
            self.maker.is_name = true;
            let key = self.maker.within("*", |maker| seed.deserialize(maker));
            self.maker.is_name = false;
            return key.map(Some);
        }
        self.maker.write_quoted(&name);
        let key: StrDeserializer<'_, Fault> = name.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        self.maker.write(":");
        let step = self.value.take().unwrap_or_default();
        self.maker.within(&step, |maker| seed.deserialize(maker))
    }
}

/// One variant of an enum, as text or as an object with one member.
struct Variant<'m, 'c> {
    maker: &'m mut Maker<'c>,
    variant: &'static str,
}

impl Variant<'_, '_> {
    fn wrapped<T>(self, fill: impl FnOnce(&mut Maker<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.maker.write("{");
        self.maker.write_quoted(self.variant);
        self.maker.write(":");
        let made = self.maker.within(self.variant, fill);
        self.maker.write("}");
        made
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.maker.write_quoted(self.variant);
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.wrapped(|maker| seed.deserialize(maker))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.wrapped(|maker| maker.visit_elements(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let variant = self.variant;
        self.wrapped(|maker| maker.deserialize_struct(variant, fields, visitor))
    }
}
