//! Identifiers over a table of how they are written and what they become.

use crate::support::data;
use epcis::ident;

// Goal: every scheme, short name and spelling that has a Digital Link becomes the one canonical link;
// everything else stays as written; and the canonical form is its own canonical form.
#[test]
fn table() {
    let table = data("identifiers.tsv");
    for row in table.lines() {
        let (written, canonical) = row.split_once('\t').expect("two columns");
        assert_eq!(ident::canonical(written), canonical, "{written}");
        assert_eq!(ident::canonical(canonical), canonical);
    }
    assert!(table.lines().count() > 70);
}
