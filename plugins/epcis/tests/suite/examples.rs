//! The bodies in `scripts` and what the README says that they answer.

use crate::support::Replica;
use serde_json::json;

fn script(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// Goal: the README's answers, and that a declared error leaves the views as if it had not been.
#[test]
fn readme() {
    let mut replica = Replica::default();
    replica.post_as("application/json", &script("event.json"));
    let pallet = "https://id.gs1.org/00/195212340000001215";
    let seen = json!({
        "bizLocation": "https://id.gs1.org/414/9521234003052", "disposition": "in_progress",
        "readPoint": "https://id.gs1.org/414/9521234003052/254/1", "step": "receiving", "t": 1_767_369_823_916_i64
    });
    assert_eq!(replica.view("last_seen")[pallet], seen);
    assert_eq!(replica.view("throughput"), [("2026-01-02 receiving".to_owned(), json!(1))].into());
    replica.post_as("application/x-ndjson", &script("corrected.ndjson"));
    assert_eq!(replica.written(), 3);
    assert_eq!(replica.view("last_seen")[pallet], seen);
    replica.post_as("application/json", &script("document.json"));
    assert_eq!(replica.view("last_seen").len(), 3);
    assert_eq!(
        replica.view("last_seen")[pallet]["disposition"],
        "in_progress",
        "the newest event that names one"
    );
    assert_eq!(replica.view("last_seen")[pallet]["step"], "packing");
}
