//! A server with a plugin of its own, linked in: `cargo run --example embedded`, then
//! `curl -H 'content-type: application/json' localhost:4000/shed/e -d '{"type":"opened","data":{"door":"north"}}'`
//! and `curl localhost:4000/shed/openings`.

use laterbase::Host;
use laterbase_plugin::{
    BuildError, DeclaredType, Emit, Event, EventKey, EventType, Instance, Keyspace, Ordered,
};
use laterbase_plugin::{Schema, Setup, View, event_types, export_plugin};
use std::sync::Arc;

export_plugin! { name: "shed", roots: ["shed"], configure: configure }

fn configure(_: &Setup<'_>) -> Result<Instance, BuildError> {
    Instance::builder().schema(Doors).keyspace(ByDoor).view(Openings).build()
}

#[derive(serde::Deserialize, EventType)]
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

struct Openings;
impl View for Openings {
    const NAME: &'static str = "openings";
    type Over = ByDoor;
    type State = u64;
    type Algebra = Ordered;
    fn fold(&self, times: &mut u64, _: EventKey, (): ()) {
        *times += 1;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Arc::new(Host::builder().data("data").plugin(plugin()).open()?);
    let server = host.bind(([127, 0, 0, 1], 4000).into()).await?;
    server.serve(async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
