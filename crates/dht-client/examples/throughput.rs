//! How many small gets one client on one core brings to a node on another one.
//!
//! ```text
//! cargo run --release -p dht-client --example throughput -- [seconds] [in flight] [host:port]
//! ```
//!
//! Without an address it starts a node with one worker in this process. The client is a runtime of
//! one thread: its tasks and the driver of the connection share that thread, and nothing else runs
//! there. Figures of a busy machine say little.

use std::{error::Error, time::Duration};

use dht_client::{Client, ClientCredentials, Key};
use dht_test::TestNode;
use tokio::time::Instant;

const RECORDS: u64 = 100_000;
const VALUE_BYTES: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: f64 = args.next().map_or(Ok(5.0), |text| text.parse())?;
    let in_flight: u64 = args.next().map_or(Ok(256), |text| text.parse())?;
    let node = match args.next() {
        Some(address) => Err(address),
        None => Ok(TestNode::start()),
    };
    let address = node.as_ref().map_or_else(Clone::clone, TestNode::neo_address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&address, in_flight, Duration::from_secs_f64(seconds)))
}

async fn measure(address: &str, in_flight: u64, time: Duration) -> Result<(), Box<dyn Error>> {
    let credentials = ClientCredentials::new("admin", [0; 128]);
    let client = Client::builder().node(address).credentials(credentials).connect().await?;
    let channel = client.channel("throughput")?;
    let records = (0..RECORDS).map(|key| (Key(key), vec![b'v'; VALUE_BYTES]));
    channel.put_all(records).await?;
    client.reset_stats();
    let begun = Instant::now();
    let end = begun + time;
    let tasks: Vec<_> = (0..in_flight)
        .map(|number| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let mut done = 0_u64;
                let mut key = number;
                while !done.is_multiple_of(64) || Instant::now() < end {
                    key = (key * 25 + 7_919) % RECORDS;
                    let value = channel.get(key).await?.expect("it was put");
                    assert_eq!(value.len(), VALUE_BYTES);
                    done += 1;
                }
                Ok::<_, dht_client::Error>(done)
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let counts = client.stats().request("Get");
    assert_eq!(counts.answered, done);
    println!("{in_flight} in flight: {:.0} gets/s in {seconds:.1} s", done as f64 / seconds);
    println!("mean latency {} us", counts.total_micros / done.max(1));
    Ok(())
}
