//! A guide: [`first_steps`], [`channels_and_keys`], [`streams`], [`failures`], [`testing`].

/// From nothing to a record that was stored and read.
///
/// A cluster is a list of nodes. A client is given that list, or any part of it that covers the
/// keys it needs, as a nodes file or by address; and the name and key by which nodes know it.
///
/// ```
/// # let node = dht_test::TestNode::start();
/// # let dir = node.dir();
/// # node.write_config_files(dir)?;
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use dht_client::Client;
///
/// let client = Client::builder()
///     .nodes_file(dir.join("dht.neo.nodes")) // one `host:port` a line, neo ports
///     .credentials_file(dir.join("dht.credentials")) // one line `name:key`
///     .connect()
///     .await?;
///
/// let fruits = client.channel("fruits")?;
/// fruits.put(1, "apple").await?;
/// assert_eq!(fruits.get(1).await?.as_deref(), Some(&b"apple"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Without credentials the client speaks the legacy protocol, and the ports are legacy ports: 100
/// below. The same calls work, with three differences: there is no
/// [`update`](crate::Channel::update), a removal does not tell whether there was a record, and
/// hash ranges are learnt once, at the start.
///
/// [`Client`](crate::Client) and [`Channel`](crate::Channel) are cheap to clone and safe to share:
/// one client for the whole program is right. Any number of requests run at once over its one
/// connection to each node. Programs without async use [`crate::blocking`].
///
/// [`connect`](crate::Builder::connect) waits until every node has told its hash range.
/// [`build`](crate::Builder::build) does not wait at all; then [`ready`](crate::Client::ready) and
/// [`nodes_ready`](crate::Client::nodes_ready) wait as long as you like, and the client goes on
/// trying whatever comes of that.
pub mod first_steps {}

/// Records, their keys, and which node has them.
///
/// A record is a 64-bit key and a value of bytes, in a named channel. Channels need not be created:
/// the first put does that. A name has ASCII letters, digits, `_` and `-`.
///
/// A key is any `u64`, or a [`Key`](crate::Key). Nobody hashes it: the application chooses it, and
/// two records with the same key in a channel are one. Keys spread over the nodes by their *lowest*
/// bits, so numbers that count up are as good as hashes.
///
/// Values have 1 to 65,512 bytes, and come as [`bytes::Bytes`], which is cheap to clone. With the
/// feature `serde` they can be of any type that serde knows: `get_json`, `put_json`, `update_json`.
///
/// A record that many clients change is updated: the closure sees the value and says what becomes
/// of it; if another client was faster, it is called again with the newer value.
///
/// ```
/// # let node = dht_test::TestNode::start();
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let client = node.client().await;
/// use dht_client::{Change, Updated};
///
/// let counters = client.channel("counters")?;
/// counters.put(7, "41").await?;
/// let updated = counters
///     .update(7, |value| {
///         let count: u64 = String::from_utf8_lossy(value).parse().unwrap_or(0);
///         if count < 100 { Change::from((count + 1).to_string()) } else { Change::Keep }
///     })
///     .await?;
/// assert_eq!(updated, Updated::Written);
/// assert_eq!(counters.get(7).await?.as_deref(), Some(&b"42"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`check_ranges`](crate::Client::check_ranges) tells of hashes that no node, or more than one, is
/// responsible for. While data moves between nodes, a key may have several: reads ask the newest
/// first, writes go to the newest. New nodes are learnt from those that are known.
pub mod channels_and_keys {}

/// All records, all keys, and what changes.
///
/// [`get_all`](crate::Channel::get_all), [`filter`](crate::Channel::filter) and
/// [`keys`](crate::Channel::keys) ask all nodes at the same time. What they give is a
/// [`Stream`](futures_core::Stream) of results:
///
/// ```
/// # let node = dht_test::TestNode::start();
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let client = node.client().await;
/// use futures_util::TryStreamExt as _;
///
/// let fruits = client.channel("fruits")?;
/// fruits.put_all([(1, "apple"), (2, "pear")]).await?;
/// let mut records = fruits.get_all();
/// while let Some((key, value)) = records.try_next().await? {
///     println!("{key} {}", String::from_utf8_lossy(&value));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A node that sends faster than you take is told to pause, and to go on later; other requests on
/// the same connection are not held up. If a connection is lost, the node goes on behind the last
/// key as soon as it is back, so that nothing comes twice. A node that stays away for longer than
/// [`stream_patience`](crate::Limits::stream_patience) is given up with an error, while the others
/// go on; `try_next` and `try_collect` stop at that error, `next` does not.
/// [`events`](crate::Scan::events) tells all that happens to nodes.
///
/// [`mirror`](crate::Channel::mirror) brings every change as it comes, and all records from time to
/// time; [`listen`](crate::Channel::listen) only the changes.
///
/// ```
/// # let node = dht_test::TestNode::start();
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let client = node.client().await;
/// use dht_client::MirrorEvent;
/// use futures_util::StreamExt as _;
///
/// let fruits = client.channel("fruits")?;
/// let mut changes = fruits.listen();
/// while let Some(event) = changes.next().await {
///     match event {
///         MirrorEvent::Started => fruits.put(1, "apple").await?,
///         MirrorEvent::Updated(key, value) => {
///             println!("{key} is now {}", String::from_utf8_lossy(&value));
///             break;
///         }
///         MirrorEvent::Deleted(key) => println!("{key} is gone"),
///         // Changes may be missing now: a refresh, or reading all records, brings them.
///         MirrorEvent::UpdatesLost(_) | MirrorEvent::NodeLost(_) => {}
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Most programs want neither of these but the records as they are now, in memory: that is
/// [`mirror_map`](crate::Channel::mirror_map), which finds out by itself what it has missed.
pub mod streams {}

/// What can go wrong, and what to do then.
///
/// An [`Error`](crate::Error) says which node and which request, and answers two questions:
///
/// - [`is_retry_safe`](crate::Error::is_retry_safe): may the cause pass, and does it do no harm to
///   send the request again?
/// - [`may_have_written`](crate::Error::may_have_written): may the write have happened, although
///   there is an error? That is so if the connection was lost, or time ran out, after the request
///   was sent; the client knows whether it was.
///
/// ```
/// # let node = dht_test::TestNode::start();
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let client = node.client().await;
/// use std::time::Duration;
///
/// let fruits = client.channel("fruits")?;
/// # node.lose();
/// # let mut attempts = 0;
/// loop {
///     match fruits.put(1, "apple").await {
///         Ok(()) => break,
///         Err(error) if error.is_retry_safe() => {
///             eprintln!("{error}; trying again");
///             # attempts += 1;
///             # if attempts == 2 { node.come_back(); }
///             tokio::time::sleep(Duration::from_millis(100)).await;
///         }
///         Err(error) => return Err(error.into()),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The client repeats nothing by itself, with two exceptions that cannot do harm: a node that
/// refuses a key and has told who has it now, and requests to all nodes that read or remove. A
/// request to a node that is not connected fails at once instead of waiting; the client connects
/// again for ever, at first at once, then after up to 2.5 seconds. [`Overflow`](crate::Overflow)
/// keeps puts on disk meanwhile.
///
/// Every request ends within [`request_timeout`](crate::Limits::request_timeout) (30 s; see
/// [`with_timeout`](crate::Channel::with_timeout)). Queues have limits, and a request that finds
/// one full fails: [`Limits`](crate::Limits). [`events`](crate::Client::events) tells of
/// connections, [`stats`](crate::Client::stats) what was counted. Requests to all nodes tell what
/// became of each node: [`Outcomes`](crate::Outcomes).
pub mod failures {}

/// Tests with a real node.
///
/// The crate `dht-test` starts the node itself within a test program, on free ports, with its data
/// in a folder that vanishes:
///
/// ```
/// use std::time::Duration;
///
/// use dht_test::TestCluster;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let cluster = TestCluster::start(3);
/// let client = cluster.client().await;
///
/// // What the application under test does ...
/// let channel = client.channel("orders")?;
/// let application = tokio::spawn(async move { channel.put(1, "shipped").await });
///
/// // ... is seen at the node.
/// let node = cluster.node_of(1);
/// let seen = |value: Option<&[u8]>| value == Some(b"shipped");
/// node.expect_record("orders", 1, Duration::from_secs(5), seen).await?;
/// application.await??;
///
/// // And what if a node is lost?
/// node.lose();
/// assert!(client.channel("orders")?.get(1).await.is_err());
/// node.come_back();
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `drop_connections` breaks connections only; `stop`, `kill` and `restart` end the process that
/// the node would be, with and without a dump; `clear` and `reset` empty it for the next test.
pub mod testing {}
