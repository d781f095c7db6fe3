//! A client that posts all the time, to any host, and notes what it was told is written.

use super::{Acknowledged, NAMES, PORT, ROOT};
use axum::http::{Request, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

/// How long an answer may take; later ones are not waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Posts until the time is up.
pub(super) async fn post(seed: u64, hosts: usize, time: Duration, told: Acknowledged) -> turmoil::Result {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut number = 0;
    while turmoil::sim_elapsed().is_some_and(|elapsed| elapsed < time) {
        number += 1;
        let text = format!("\"event {number}\"");
        let host = NAMES[chance.random_range(0..hosts)];
        if let Ok(Ok(true)) = timeout(PATIENCE, one(host, text.clone())).await {
            told.lock().expect("no panic").insert(text);
        }
        sleep(Duration::from_millis(chance.random_range(1..150))).await;
    }
    Ok(())
}

/// True if the host says that the event is written.
async fn one(host: &str, text: String) -> Result<bool, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect((host, PORT)).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    drop(tokio::spawn(connection));
    let request = Request::post(format!("/{ROOT}/e"))
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(text)))?;
    Ok(sender.send_request(request).await?.status().is_success())
}
