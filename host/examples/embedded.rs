//! A server with a plugin of its own, linked in: `cargo run --example embedded`, then
//! `curl -H 'content-type: application/json' localhost:4000/shed/e -d '{"type":"opened","data":{"door":"north"}}'`
//! and `curl localhost:4000/shed/openings`.

use laterbase::Host;
use laterbase_plugin::{
    BuildError, Canonical, Commutative, DeclaredType, Emit, Event, EventKey, EventType, Instance, Keyspace,
    Merge, Schema, Setup, View, event_types, export_plugin,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

export_plugin! { name: "shed", roots: ["shed"], configure: configure }

fn configure(_: &Setup<'_>) -> Result<Instance, BuildError> {
    Instance::builder().schema(Doors).keyspace(ByDoor).view(Openings).build()
}

#[derive(Deserialize, EventType)]
#[event(number = 1, name = "opened")]
struct Opened {
    door: String,
}

struct Doors;
impl Schema for Doors {
    const NAME: &'static str = "doors";
    fn types(&self) -> Vec<DeclaredType> {
        event_types![Opened]
    }
}

struct ByDoor;
impl Keyspace for ByDoor {
    type Event = Opened;
    type Key = String;
    type Delta = ();
    fn map(&self, event: &Event<Opened>, out: &mut Emit<Self>) {
        out.emit(&event.data.door, ());
    }
}

#[derive(Default, Canonical, Serialize)]
struct Times(u64);

struct Openings;
impl View for Openings {
    const NAME: &'static str = "openings";
    type Over = ByDoor;
    type State = Times;
    type Algebra = Commutative;
    fn fold(&self, times: &mut Times, _: EventKey, (): ()) {
        times.0 += 1;
    }
}
impl Merge for Openings {
    fn merge(&self, left: &mut Times, right: Times) {
        left.0 += right.0;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Arc::new(Host::builder().data("data").plugin(plugin()).open()?);
    let server = host.bind(([127, 0, 0, 1], 4000).into()).await?;
    server.serve(async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
