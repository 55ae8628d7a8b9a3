//! Values of any type that serde knows, stored as JSON. Feature `serde`.

use dht_protocol::{legacy, neo};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Channel, Error, ErrorKind, Key, RequestName, Updated};

fn refused(request: RequestName, error: &serde_json::Error) -> Error {
    Error { node: None, request: Some(request), kind: ErrorKind::Value(error.to_string().into()) }
}

impl Channel {
    /// A record's value, read as JSON. [`ErrorKind::Value`] if it is not a `T`.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let node = dht_test::TestNode::start();
    /// # let channel = node.client().await.channel("people")?;
    /// channel.put_json(1, &("Ada", 36)).await?;
    /// let person: Option<(String, u32)> = channel.get_json(1).await?;
    /// assert_eq!(person, Some(("Ada".to_owned(), 36)));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        key: impl Into<Key>,
    ) -> Result<Option<T>, Error> {
        let get = if self.client().is_neo() {
            RequestName::Neo(neo::Command::Get)
        } else {
            RequestName::Legacy(legacy::Command::Get)
        };
        let value = self.get(key).await?;
        value.map(|value| serde_json::from_slice(&value).map_err(|e| refused(get, &e))).transpose()
    }

    /// Stores a record whose value is `value` as JSON.
    pub async fn put_json<T: Serialize + Sync + ?Sized>(
        &self,
        key: impl Into<Key>,
        value: &T,
    ) -> Result<(), Error> {
        let put = if self.client().is_neo() {
            RequestName::Neo(neo::Command::Put)
        } else {
            RequestName::Legacy(legacy::Command::Put)
        };
        let value = serde_json::to_vec(value).map_err(|error| refused(put, &error))?;
        self.put(key, value).await
    }

    /// Like [`Channel::update`]: `change` gets the value as a `T`, and leaves in it what is to be
    /// written. A record that is no `T` stays as it is, and the error says so.
    pub async fn update_json<T: Serialize + DeserializeOwned>(
        &self,
        key: impl Into<Key>,
        mut change: impl FnMut(&mut T) + Send,
    ) -> Result<Updated, Error> {
        let mut failed = None;
        let updated = self
            .update(key, |value| {
                let changed = serde_json::from_slice(value).and_then(|mut value: T| {
                    change(&mut value);
                    serde_json::to_vec(&value)
                });
                match changed {
                    Ok(value) => crate::Change::Write(value.into()),
                    Err(error) => {
                        failed = Some(refused(RequestName::Neo(neo::Command::Update), &error));
                        crate::Change::Keep
                    }
                }
            })
            .await?;
        failed.map_or(Ok(updated), Err)
    }
}
