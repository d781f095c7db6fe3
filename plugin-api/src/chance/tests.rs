//! Types of every habit get examples that they read themselves.

use super::Chance;
use crate::EventKey;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU8;

/// The examples of fifty seeds; a seed may have none.
fn examples<T: DeserializeOwned>(extreme: bool) -> BTreeSet<Vec<u8>> {
    let example = |seed| Chance::new(seed, extreme).json::<T>();
    let made: Vec<_> = (0..50).map(example).collect();
    assert_eq!(made, (0..50).map(example).collect::<Vec<_>>(), "the same seed, the same value");
    let made: BTreeSet<_> = made.into_iter().flatten().collect();
    assert!(made.iter().all(|json| serde_json::from_slice::<T>(json).is_ok()));
    made
}

fn check<T: DeserializeOwned>() {
    let made = examples::<T>(false);
    assert!(made.len() > 4, "{}: {}", std::any::type_name::<T>(), made.len());
    assert!(examples::<T>(true).len() > 4, "{}", std::any::type_name::<T>());
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    _item: String,
    _n: i64,
    _key: EventKey,
    _ratio: Option<f64>,
    _tags: BTreeSet<String>,
    _sizes: BTreeMap<u8, (bool, char)>,
    #[serde(default, alias = "_also", alias = "_too")]
    _named: u128,
    _some: NonZeroU8,
}

#[derive(Deserialize)]
struct Nested {
    _lines: Vec<Plain>,
    _how: How,
    _again: Option<Box<Nested>>,
    #[serde(flatten)]
    _flat: Flat,
}

#[derive(Deserialize)]
struct Flat {
    #[serde(rename = "Flat Name")]
    _name: String,
}

#[derive(Deserialize)]
enum How {
    ByTruck,
    ByShip { _name: String, _n: u16 },
    ByRail { _cars: (i8, i8) },
    Else { _how: Box<How> },
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Tagged {
    CameIn { _item: String },
    WentOut { _item: String, _where: Option<String> },
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only what is read matters")]
enum Untagged {
    Text(String),
    Number(i64),
}

#[derive(Deserialize)]
struct Loose {
    _any: serde_json::Value,
    _either: Untagged,
}

// Goal: what a type asks for is made up, also where it says so by refusing only. Method: types of many habits.
#[test]
fn every_habit_has_examples() {
    check::<Plain>();
    check::<Nested>();
    check::<How>();
    check::<Tagged>();
    check::<Loose>();
}

// Goal: a type that takes nothing has no example, and ends.
#[test]
fn what_takes_nothing_has_none() {
    #[derive(Deserialize)]
    enum Never {}
    assert_eq!(Chance::new(1, false).json::<Never>(), None);
    assert_eq!(Chance::new(1, false).json::<Box<serde_json::value::RawValue>>(), None);
}

// Goal: ordinary values meet: few words, small numbers.
#[test]
fn ordinary_values_meet() {
    #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Add {
        item: String,
        n: i64,
    }
    let made: Vec<Add> =
        examples::<Add>(false).iter().map(|json| serde_json::from_slice(json).expect("it reads")).collect();
    let items: BTreeSet<_> = made.iter().map(|add| &add.item).collect();
    assert!(items.len() <= 4 && made.iter().all(|add| (-12..12).contains(&add.n)));
    let extreme = examples::<Add>(true);
    assert!(extreme.iter().any(|json| json.windows(19).any(|piece| piece == b"9223372036854775807")));
}
