//! What lies on disk depends on the events alone.

use super::laws::{World, key};
use super::plugin::adds;
use crate::core::event::EventKey;
use crate::views::build::Build;
use crate::views::index::entry::{Entries, NOW};
use crate::views::index::node::{Root, read_children};
use crate::views::rows::{Rows as _, Table};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The index by aggregate key, without what may differ between replicas: numbers of aggregates, arrivals, versions.
fn content(world: &World) -> BTreeMap<(Vec<u8>, Vec<u8>), Vec<String>> {
    let build = Build::new(&world.plugins);
    let keyspace = build.keyspaces.first().expect("one");
    let derived = world.views().derived().expect("open");
    let rows = derived.read().expect("reads");
    let mut names = BTreeMap::new();
    rows.scan(Table::Numbers(keyspace.tables), &[0], &mut |name, id| {
        names.insert(id.to_vec(), name.to_vec());
        ControlFlow::Continue(())
    })
    .expect("reads");
    let mut content = BTreeMap::new();
    let packed = |row: &[u8]| -> Vec<String> {
        let entries = Entries::new(row).map(|entry| entry.expect("whole"));
        entries
            .map(|(event, body)| {
                format!("{event} {:?}", body.live(NOW).map(|d| d.map(<[u8]>::to_vec).collect::<Vec<_>>()))
            })
            .collect()
    };
    rows.scan(Table::Index(keyspace.tables), &[0], &mut |row, value| {
        let (id, place) = row.split_at(8);
        let shown = match place.first() {
            None => match Root::read(value).expect("whole") {
                Root::Small { live, packed: entries, .. } => {
                    [vec![format!("{live}")], packed(&entries)].concat()
                }
                Root::Large { height, live, .. } => vec![format!("height {height}, {live}")],
            },
            Some(0) => packed(value),
            Some(_) => {
                let children = read_children(value).expect("whole");
                children.iter().map(|child| format!("{} {}", child.first, child.live)).collect()
            }
        };
        content.insert((names[id].clone(), place.to_vec()), shown);
        ControlFlow::Continue(())
    })
    .expect("reads");
    content
}

/// Goal: the same events give the same rows, whatever the order of arrival and the sizes of flushes. Method: thousands
/// of events in four orders, with other batches.
#[test]
fn rows_do_not_depend_on_the_order_of_arrival() {
    let events: Vec<(EventKey, Vec<u8>)> = (0..6_000_u16)
        .map(|n| (key(n, 0), adds((n % 200) as u8, if n % 50 == 0 { &[0, 1] } else { &[0] })))
        .collect();
    let mut orders: Vec<Vec<(EventKey, Vec<u8>)>> =
        vec![events.clone(), events.clone(), events.clone(), events];
    orders[1].reverse();
    orders[2].sort_by_key(|(key, _)| {
        u128::from_be_bytes(key.0).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    });
    orders[3].sort_by_key(|(key, _)| blake3::hash(&key.0).as_bytes().to_owned());
    let mut contents = Vec::new();
    for (order, batch) in orders.iter().zip([6_000, 700, 97, 1_500]) {
        let mut world = World::new();
        for events in order.chunks(batch) {
            world.arrive(events);
            world.check(0, 0, super::model::Question::default());
            world.flush();
        }
        contents.push(content(&world));
    }
    assert!(contents[0].len() > 80, "large aggregates have many rows: {}", contents[0].len());
    for other in &contents[1..] {
        assert_eq!(other, &contents[0]);
    }
}
