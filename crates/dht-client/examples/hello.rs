//! Puts a record, reads it, and watches the channel. Start a node first: `dhtnode`.
use dht_client::{Client, ClientCredentials, MirrorEvent};
use futures_util::StreamExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let admin = ClientCredentials::new("admin", [0; 128]); // what a node without credentials takes
    let client = Client::builder().node("127.0.0.1:10100").credentials(admin).connect().await?;
    let fruits = client.channel("fruits")?;
    fruits.put(1, "apple").await?;
    println!("{:?}", fruits.get(1).await?);
    let mut changes = fruits.mirror();
    while let Some(event) = changes.next().await {
        match event {
            MirrorEvent::Refreshed(key, value) => println!("{key} is {value:?}"),
            MirrorEvent::Updated(key, value) => println!("{key} is now {value:?}"),
            MirrorEvent::Deleted(key) => println!("{key} is gone"),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
